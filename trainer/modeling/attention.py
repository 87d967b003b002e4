"""Attention with dropout, its backward pass written out.

    attend = Attention(is_token, dropout, pieces)
    attend(query, key, value, place=2)      # each [batch, heads, length, size]

Besides inputs and result it keeps the probabilities and a byte of random bits for each,
and goes from the rows'
sums of dO * O (Dao et al. 2022, "FlashAttention", equation 4) instead of those over the
probabilities' gradients.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.modeling.pieces import Dropout, Pieces, drop, shape_of

_MASKED = -1e9


class Attention:
    """Softmax(q kᵀ) v, heads apart.

    Args:
      is_token: bool [batch, length]; other keys get no attention.
    """

    def __init__(self, is_token: tf.Tensor, dropout: Dropout, pieces: Pieces) -> None:
        # Not tf.newaxis twice, which TensorFlow Lite cannot convert at unknown shapes.
        mask = tf.expand_dims(tf.where(is_token, 0.0, _MASKED), 1)
        self._mask = tf.expand_dims(mask, 1)
        self._dropout = dropout
        self._pieces = pieces

    def __call__(
        self, query: tf.Tensor, key: tf.Tensor, value: tf.Tensor, *, place: int
    ) -> tf.Tensor:
        """Each [batch, heads, length, size], the query scaled; the result likewise."""
        bits: tuple[tf.Tensor, ...] = ()
        if self._dropout.is_on:
            batch_size, num_heads, length, _ = shape_of(query)
            scores_shape = [batch_size, num_heads, length, length]
            bits = self._dropout.draw(scores_shape, place=place)
        if not self._pieces.differentiable:
            return self._forward(query, key, value, *bits)[0]

        @tf.custom_gradient
        def run(query: tf.Tensor, key: tf.Tensor, value: tf.Tensor) -> Any:
            result, kept = self._forward(query, key, value, *bits)
            return result, lambda gradient: self._backward(gradient, *kept)

        return run(query, key, value)

    def _forward(
        self,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        *bits: tf.Tensor,
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """The result, and what `_backward` needs."""
        scores = tf.matmul(query, key, transpose_b=True)
        probabilities = tf.nn.softmax(tf.cast(scores, tf.float32) + self._mask)
        probabilities = tf.cast(probabilities, query.dtype)
        kept = probabilities
        if bits:
            kept = self._pieces.fused("drop", drop)(probabilities, *bits)
        result = tf.matmul(kept, value)
        return result, (result, query, key, value, probabilities, *bits)

    def _backward(
        self,
        gradient: tf.Tensor,
        result: tf.Tensor,
        query: tf.Tensor,
        key: tf.Tensor,
        value: tf.Tensor,
        probabilities: tf.Tensor,
        *bits: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The gradients of query, key and value."""
        rows = tf.reduce_sum(
            tf.cast(gradient, tf.float32) * tf.cast(result, tf.float32),
            axis=-1,
            keepdims=True,
        )
        towards = tf.matmul(gradient, value, transpose_b=True)
        kept, scores = self._pieces.fused("scores", _gradient_of_scores)(
            probabilities, towards, rows, *bits
        )
        return (
            tf.matmul(scores, key),
            tf.matmul(scores, query, transpose_a=True),
            tf.matmul(kept, gradient, transpose_a=True),
        )


def _gradient_of_scores(
    probabilities: tf.Tensor, towards: tf.Tensor, rows: tf.Tensor, *bits: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The probabilities after dropout, and the gradient of what softmax was taken of.

    Args:
      towards: the gradient of the probabilities after dropout.
      rows: float32 [..., length, 1], sums over the result's elements times gradient.
    """
    kept = probabilities
    if bits:
        kept, towards = drop(probabilities, *bits), drop(towards, *bits)
    difference = tf.cast(towards, tf.float32) - rows
    return kept, tf.cast(
        tf.cast(probabilities, tf.float32) * difference, probabilities.dtype
    )

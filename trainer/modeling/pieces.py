"""What lies between the matrix products of a transformer: dropout, and fused pieces.

    dropout = Dropout(0.1, seed)
    pieces = Pieces(compiled=True)
    x = pieces.add_and_normalize(1e-12)(x, bias, residual, gamma, beta, *bits)

Used by `forward.py` and `attention.py`.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

import tensorflow as tf


class Dropout:
    """Sets elements to 0 with a probability, and scales up the others.

    Eight random bits decide, so a single draw has one of 256 rates. Which of the two
    nearest to the wanted one, is drawn as well, in proportion: each element is dropped
    with exactly the wanted probability, and the scale is that of the rate drawn.

    Args:
      seed: int32 [2]; None: nothing is dropped.
    """

    def __init__(self, rate: float, seed: tf.Tensor | None) -> None:
        self._rate = rate
        self._seed = seed

    @property
    def is_on(self) -> bool:
        """Whether anything is dropped."""
        return self._rate > 0 and self._seed is not None

    def draw(self, shape: Sequence[Any], *, place: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Bits to drop by.

        Args:
          place: another number for each use of a seed.

        Returns:
          bits: uint8 of the shape; those below the threshold are dropped.
          threshold: int32 scalar from 0 to 255.
        """
        seed = fold_in(self._seed, place)
        size = math.prod(shape)
        # A word more, for the threshold.
        words = tf.random.stateless_uniform(
            [-(-size // 4) + 1], seed, None, None, tf.uint32, alg="philox"
        )
        share = tf.cast(words[-1], tf.float32) / 2**32
        threshold = tf.cast(tf.floor(self._rate * 256 + share), tf.int32)
        bits = tf.reshape(tf.bitcast(words[:-1], tf.uint8), [-1])[:size]
        return tf.reshape(bits, shape), tf.minimum(threshold, 255)

    def __call__(self, x: tf.Tensor, *, place: int) -> tf.Tensor:
        """Drops elements of x, of any shape and float dtype."""
        if not self.is_on:
            return x
        return drop(x, *self.draw(shape_of(x), place=place))


def fold_in(seed: tf.Tensor, number: Any) -> tf.Tensor:
    """Another seed, int32 [2], for each number.

    By Philox always: what TensorFlow would choose differs where XLA compiles it.
    """
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")


def drop(x: tf.Tensor, bits: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Sets elements to 0 whose bits are below the threshold, and scales up the others.

    Scaled in float32: the scale itself, 1.1111 at a rate of 0.1, is 1.1094 in bfloat16,
    and all that is kept would be 0.16% too small.
    """
    scale = 256.0 / tf.cast(256 - threshold, tf.float32)
    scaled = tf.cast(tf.cast(x, tf.float32) * scale, x.dtype)
    return tf.where(bits >= tf.cast(threshold, tf.uint8), scaled, tf.zeros((), x.dtype))


class Pieces:
    """What lies between matrix products, element by element or row by row.

    A piece is computed again in the backward pass, from its inputs, which is next to
    nothing, and saves what a gradient would otherwise keep of it. Made anew for each
    trace: a tf.function that meets many shapes warns of retracing.

    Args:
      compiled: whether XLA makes one loop over the memory of each piece.
      differentiable: whether there shall be gradients.
    """

    def __init__(self, *, compiled: bool, differentiable: bool = True) -> None:
        self.differentiable = differentiable
        self._compiled = compiled
        self._made: dict[Any, Callable[..., Any]] = {}

    def normalize(self, epsilon: float) -> Callable[..., tf.Tensor]:
        """(x, gamma, beta) → LayerNorm(x)."""
        return self._differentiable(
            ("normalize", epsilon),
            lambda x, gamma, beta: _layer_norm(x, gamma, beta, epsilon),
        )

    def add_and_normalize(self, epsilon: float) -> Callable[..., tf.Tensor]:
        """(x, bias, residual, gamma, beta, *bits to drop by) → LayerNorm(x + ...)."""

        def compute(
            x: tf.Tensor,
            bias: tf.Tensor,
            residual: tf.Tensor,
            gamma: tf.Tensor,
            beta: tf.Tensor,
            *bits: tf.Tensor,
        ) -> tf.Tensor:
            x = x + tf.cast(bias, x.dtype)
            if bits:
                x = drop(x, *bits)
            # Both terms have one gradient, and a tape that gives one tensor for two of
            # its sources never frees it, nor its graph (TensorFlow 2.21). The reshape
            # changes nothing but that: its gradient is a tensor of its own.
            residual = tf.reshape(residual, shape_of(residual))
            return _layer_norm(x + residual, gamma, beta, epsilon)

        return self._differentiable(("add_and_normalize", epsilon), compute)

    def activate(
        self, activation: Callable[[tf.Tensor], tf.Tensor]
    ) -> Callable[..., tf.Tensor]:
        """(x, bias) → activation(x + bias)."""
        return self._differentiable(
            ("activate", activation),
            lambda x, bias: activation(x + tf.cast(bias, x.dtype)),
        )

    def fused(self, name: Any, compute: Callable[..., Any]) -> Callable[..., Any]:
        """A function of tensors as one piece, without a gradient."""
        if not self._compiled:
            return compute
        if name not in self._made:
            self._made[name] = tf.function(compute, autograph=False, jit_compile=True)
        return self._made[name]

    def _differentiable(
        self, name: Any, compute: Callable[..., tf.Tensor]
    ) -> Callable[..., tf.Tensor]:
        if not self.differentiable:
            return self.fused((name, "forward"), compute)

        def backward(gradient: tf.Tensor, *inputs: tf.Tensor) -> list[tf.Tensor]:
            watched = [x for x in inputs if x.dtype.is_floating]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(watched)
                result = compute(*inputs)
            gradients: list[tf.Tensor] = tape.gradient(result, watched, gradient)
            return gradients

        @tf.custom_gradient
        def run(*inputs: tf.Tensor) -> Any:
            def gradient_of(gradient: tf.Tensor) -> list[tf.Tensor | None]:
                computed = self.fused((name, "backward"), backward)(gradient, *inputs)
                gradients = iter(computed)
                return [
                    next(gradients) if x.dtype.is_floating else None for x in inputs
                ]

            return self.fused((name, "forward"), compute)(*inputs), gradient_of

        piece: Callable[..., tf.Tensor] = run
        return piece


def shape_of(x: tf.Tensor) -> list[Any]:
    """The shape, as numbers where they are known."""
    dynamic = tf.shape(x)
    return [dynamic[i] if n is None else n for i, n in enumerate(x.shape.as_list())]


def _layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float
) -> tf.Tensor:
    """Over the last axis, in float32."""
    wide = tf.cast(x, tf.float32)
    centred = wide - tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
    normal = centred * tf.math.rsqrt(variance + epsilon)
    gamma, beta = tf.cast(gamma, tf.float32), tf.cast(beta, tf.float32)
    return tf.cast(normal * gamma + beta, x.dtype)

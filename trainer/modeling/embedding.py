"""Rows of an embedding's table, whose gradient is deterministic and fast on accelerators.

    vectors = rows(table, token_ids)        # tf.gather, and its gradient below

The gradient adds up the rows of each token. As TensorFlow writes it, it is a scatter of
floats: fast on a GPU where the order of the sums is left to chance, and expanded by XLA
to a scatter of single numbers, one sorted index each, where it must not be (12.6 million
of them a step at 32 texts of 512 tokens, 768 wide). Here the rows are sorted by token,
added up by two matrix products, and each token takes its sum: nothing is scattered but
whole numbers, of which the largest is taken, whatever the order.

On a CPU the scatter is as good, and on a TPU it has an order: there it stays
(`forward.py`).
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.modeling.pieces import shape_of

# Rows that are added up by one matrix product, of a matrix of this size squared.
_BLOCK = 128


def rows(table: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """What `tf.gather` gives.

    Args:
      table: float [rows, size].
      indices: int32 of any shape, each from 0 to rows - 1.

    Returns:
      float [..., size].
    """
    num_rows, size = shape_of(table)

    @tf.custom_gradient
    def gather(table: tf.Tensor) -> Any:
        def gradient_of(gradient: tf.Tensor) -> tf.Tensor:
            gradients = tf.reshape(gradient, [-1, size])
            return sum_by_row(gradients, tf.reshape(indices, [-1]), num_rows=num_rows)

        return tf.gather(table, indices), gradient_of

    gathered: tf.Tensor = gather(table)
    return gathered


def sum_by_row(values: tf.Tensor, indices: tf.Tensor, *, num_rows: int) -> tf.Tensor:
    """The sums of the values of each index; zeros for an index without values.

    Args:
      values: float [n, size].
      indices: int32 [n], each from 0 to num_rows - 1.

    Returns:
      float [num_rows, size], always of the same bits.
    """
    sums, ids = _running_sums(values, indices, beyond=num_rows)
    positions = tf.range(1, shape_of(ids)[0] + 1)
    # Where the last value of each index is, from 1; 0 where it has none, of which
    # TensorFlow makes the smallest number there is.
    ends = tf.math.unsorted_segment_max(positions, ids, num_rows + 1)[:num_rows]
    ends = tf.maximum(ends, 0)
    totals = tf.gather(sums, tf.maximum(ends - 1, 0))
    return tf.where(tf.expand_dims(ends > 0, 1), totals, tf.zeros((), values.dtype))


def _running_sums(
    values: tf.Tensor, indices: tf.Tensor, *, beyond: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The sum of each value and all before it of the same index, in sorted order.

    Args:
      beyond: what the indices are filled up with to whole blocks.

    Returns:
      sums: float [m, size]; m is n, rounded up.
      ids: int32 [m], ascending.
    """
    num_values, size = shape_of(values)
    num_blocks = -(-num_values // _BLOCK)
    missing = num_blocks * _BLOCK - num_values
    order = tf.argsort(indices, stable=True)
    ids = tf.pad(tf.gather(indices, order), [[0, missing]], constant_values=beyond)
    by_block = tf.reshape(ids, [num_blocks, _BLOCK])
    sorted_values = tf.pad(tf.gather(values, order), [[0, missing], [0, 0]])
    # Within a block: each is added to those behind it that have its index.
    is_same = tf.expand_dims(by_block, 2) == tf.expand_dims(by_block, 1)
    sums = tf.matmul(
        tf.linalg.band_part(tf.cast(is_same, values.dtype), -1, 0),
        tf.reshape(sorted_values, [num_blocks, _BLOCK, size]),
    )
    # From block to block: what ends a block goes on in those behind it that begin with
    # the same index, and, being sorted, have no other before it.
    first, last = by_block[:, 0], by_block[:, -1]
    goes_on = tf.cast(tf.expand_dims(first, 1) == last, values.dtype)
    is_before = tf.linalg.band_part(goes_on, -1, 0) - tf.linalg.band_part(goes_on, 0, 0)
    carried = tf.expand_dims(tf.matmul(is_before, sums[:, -1]), 1)
    is_first = tf.expand_dims(by_block == tf.expand_dims(first, 1), 2)
    sums += tf.where(is_first, carried, tf.zeros((), values.dtype))
    return tf.reshape(sums, [-1, size]), ids

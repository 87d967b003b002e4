"""Which rows form which batch, computed; and the tf.data pipeline that does it.

    buckets = choose_bucket_lengths(lengths, num_buckets=4, max_length=512)
    plan = plan_epoch(lengths, buckets, seed=0, epoch=2, batch_size=32)
    plan.rows[7], buckets[plan.buckets[7]]      # the rows of step 7, and its length

The order is a pure function of (seed, epoch, lengths): a run that was stopped finds
its place again by the step's number alone, and it does not depend on how many
replicas share the work. Every batch has exactly `batch_size` rows, at one of a few
lengths: where rows are missing, a row is repeated with weight 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.tokens import TokenizedTexts

# Bucket lengths are multiples of this, which suits both matrix units and caches.
LENGTH_MULTIPLE = 16
_PREFETCHED_BATCHES = 2


class Batch(NamedTuple):
    """What one replica gets for one step, as tensors of static shape.

    Attributes:
      token_ids: int32 [batch, length], filled up with [PAD].
      num_tokens: int32 [batch], how many of them are not padding; at least 2.
      labels: int32 [batch].
      weights: float32 [batch], 1 / (real rows of the global batch), 0 for a
        repeated row: they sum to 1 over all replicas.
    """

    token_ids: Any
    num_tokens: Any
    labels: Any
    weights: Any


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The batches of an epoch or an evaluation, in order.

    Attributes:
      buckets: int32 [num_batches], the index of each batch's padded length.
      rows: int64 [num_batches, batch_size], the rows of each batch; -1 where there
        is none.
    """

    buckets: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.buckets)


def choose_bucket_lengths(
    lengths: np.ndarray, *, num_buckets: int, max_length: int
) -> tuple[int, ...]:
    """The padded lengths that cost the least padding, by dynamic programming.

    Args:
      lengths: int32 [n], lengths in tokens.
      num_buckets: how many padded lengths there may be at most.
      max_length: the longest a text can be; always the last bucket's length, so
        that texts other than these fit as well.

    Returns:
      Ascending lengths, multiples of LENGTH_MULTIPLE but for `max_length`.
    """
    candidates = [*range(LENGTH_MULTIPLE, max_length, LENGTH_MULTIPLE), max_length]
    # rows_up_to[j]: how many texts fit into the first j candidates.
    rows_up_to = [0, *np.searchsorted(np.sort(lengths), candidates, side="right")]
    # cost[j]: the least tokens, padding included, for the texts of the first j
    # candidates when the j-th is a bucket; with the buckets that do it.
    cost: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    finished = []
    for _ in range(min(num_buckets, len(candidates))):
        cost = {
            j: min(
                (
                    tokens + (rows_up_to[j] - rows_up_to[i]) * candidates[j - 1],
                    (*chosen, candidates[j - 1]),
                )
                for i, (tokens, chosen) in cost.items()
                if i < j
            )
            for j in range(min(cost) + 1, len(candidates) + 1)
        }
        finished.append(cost[len(candidates)])
    return min(finished, key=lambda result: result[0])[1]


def plan_epoch(
    lengths: np.ndarray,
    bucket_lengths: Sequence[int],
    *,
    seed: int,
    epoch: int,
    batch_size: int,
) -> BatchPlan:
    """Shuffles the rows into batches of like lengths, and the batches.

    Every row is in exactly one batch, and all batches but at most one are full: what
    a bucket has over a multiple of the batch size goes on to the next longer one.
    """
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    plan = _fill_batches(shuffled, lengths, bucket_lengths, batch_size)
    order = generator.permutation(len(plan))
    return BatchPlan(plan.buckets[order], plan.rows[order])


def plan_evaluation(
    lengths: np.ndarray, bucket_lengths: Sequence[int], *, batch_size: int
) -> BatchPlan:
    """Batches that hold every row once, from the shortest to the longest."""
    by_length = np.argsort(lengths, kind="stable")
    return _fill_batches(by_length, lengths, bucket_lengths, batch_size)


def _fill_batches(
    order: np.ndarray,
    lengths: np.ndarray,
    bucket_lengths: Sequence[int],
    batch_size: int,
) -> BatchPlan:
    bucket_of_row = np.searchsorted(bucket_lengths, lengths[order])
    waiting = np.empty(0, np.int64)
    buckets: list[int] = []
    batches: list[np.ndarray] = []
    last_bucket = int(bucket_of_row.max(initial=0))
    for bucket in range(last_bucket + 1):
        waiting = np.concatenate([waiting, order[bucket_of_row == bucket]])
        num_full = len(waiting) // batch_size
        batches.extend(waiting[: num_full * batch_size].reshape(-1, batch_size))
        buckets.extend([bucket] * num_full)
        waiting = waiting[num_full * batch_size :]
    if len(waiting):
        batches.append(
            np.pad(waiting, (0, batch_size - len(waiting)), constant_values=-1)
        )
        buckets.append(last_bucket)
    rows = np.array(batches, np.int64).reshape(-1, batch_size)
    return BatchPlan(np.array(buckets, np.int32), rows)


def padded_fraction(
    plan: BatchPlan, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> float:
    """The share of a plan's tokens that are padding, repeated rows included."""
    if not len(plan):
        return 0.0
    computed = np.take(bucket_lengths, plan.buckets).sum() * plan.rows.shape[1]
    return 1.0 - float(lengths[plan.rows[plan.rows >= 0]].sum() / computed)


class TrainingPlan:
    """The batches of all epochs, addressed by the step's number from 0.

    Args:
      lengths: int32 [n], the training texts' lengths in tokens.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        bucket_lengths: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        num_epochs: int,
    ) -> None:
        self._plan_epoch: Callable[[int], BatchPlan] = lambda epoch: plan_epoch(
            lengths, bucket_lengths, seed=seed, epoch=epoch, batch_size=batch_size
        )
        self._num_epochs = num_epochs
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self.total_steps = self.steps_per_epoch * num_epochs

    def from_step(self, step: int) -> BatchPlan:
        """The batches of this step, which must be below total_steps, and after."""
        epoch, position = divmod(step, self.steps_per_epoch)
        plans = [self._plan_epoch(e) for e in range(epoch, self._num_epochs)]
        return BatchPlan(
            np.concatenate([plan.buckets for plan in plans])[position:],
            np.concatenate([plan.rows for plan in plans])[position:],
        )


class BatchFeeder:
    """Carries out plans over one split's tokens: puts batches on the devices.

    Each bucket is a tf.data pipeline of its own, of static shape, that makes ready
    the bucket's next batches while the devices work; the plan says which is next.
    The pipelines are TensorFlow throughout: a Python generator in them would need
    the interpreter's lock, and can lock up when its iterator is deleted.

    Args:
      labels: int32 [n].
    """

    def __init__(
        self,
        tokens: TokenizedTexts,
        labels: np.ndarray,
        bucket_lengths: Sequence[int],
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._bucket_lengths = bucket_lengths
        self._strategy = strategy
        self._pad_id = tokens.pad_id
        with tf.device("CPU:0"):
            self._token_ids = tf.constant(tokens.token_ids)
            self._row_splits = tf.constant(tokens.row_splits)
            self._labels = tf.constant(labels, tf.int32)

    def __call__(self, plan: BatchPlan) -> Iterator[tuple[np.ndarray, Batch]]:
        """Carries out a plan step by step.

        Yields:
          rows: int64 [batch_size], -1 where there is none, in the replicas' order.
          batch: a Batch of per-replica tensors [batch_size / replicas, ...].
        """
        pipelines = {
            bucket: iter(
                self._strategy.distribute_datasets_from_function(
                    lambda context, bucket=bucket: self._pipeline(
                        plan.rows[plan.buckets == bucket],
                        self._bucket_lengths[bucket],
                        context,
                    )
                )
            )
            for bucket in np.unique(plan.buckets)
        }
        for bucket, rows in zip(plan.buckets, plan.rows):
            yield rows, next(pipelines[bucket])

    def _pipeline(
        self, rows: np.ndarray, length: int, context: tf.distribute.InputContext
    ) -> tf.data.Dataset:
        """One bucket's batches for the replicas of one host, replica by replica.

        Args:
          rows: int64 [steps, batch_size].
        """
        num_local = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * num_local
        filled, weights = fill(rows)

        def local_parts(values: np.ndarray) -> np.ndarray:
            parts = values.reshape(len(values), context.num_replicas_in_sync, -1)
            local = parts[:, first : first + num_local]
            return local.reshape(-1, local.shape[-1])

        dataset = tf.data.Dataset.from_tensor_slices(
            (local_parts(filled), local_parts(weights))
        )
        dataset = dataset.map(
            lambda rows, weights: self._batch(rows, weights, length=length),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        # Without an end, or several workers would agree at each step whether there
        # is a next batch; the plan knows.
        return dataset.repeat().prefetch(_PREFETCHED_BATCHES * num_local)

    def _batch(self, rows: tf.Tensor, weights: tf.Tensor, *, length: int) -> Batch:
        starts = tf.gather(self._row_splits, rows)
        num_tokens = tf.gather(self._row_splits, rows + 1) - starts
        position = tf.range(length, dtype=tf.int64)
        is_token = position < num_tokens[:, tf.newaxis]
        # What lies beyond a text's end is read from its start, then overwritten.
        index = starts[:, tf.newaxis] + tf.where(is_token, position, 0)
        token_ids = tf.cast(tf.gather(self._token_ids, index), tf.int32)
        return Batch(
            token_ids=tf.where(is_token, token_ids, self._pad_id),
            num_tokens=tf.cast(num_tokens, tf.int32),
            labels=tf.gather(self._labels, rows),
            weights=weights,
        )


def fill(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights of global batches, where rows are missing a repeated one.

    What is repeated is a real text, the batch's first, so that a row of nothing but
    padding cannot bring a NaN into a sum where its weight is 0.

    Args:
      rows: int64 [steps, batch_size], -1 where there is none.

    Returns:
      rows: int64 [steps, batch_size], all at least 0.
      weights: float32 [steps, batch_size], summing to 1 over each batch.
    """
    is_real = rows >= 0
    weights = is_real / is_real.sum(axis=1, keepdims=True)
    return np.where(is_real, rows, rows[:, :1]), weights.astype(np.float32)

"""Which rows form which batch, computed; and the tf.data pipeline that does it.

    buckets = choose_bucket_lengths(lengths, num_buckets=6, max_length=512)
    plan = plan_epoch(lengths, buckets, seed=0, epoch=2, batch_size=32)
    plan.rows[7], buckets[plan.buckets[7]]      # the rows of step 7, and its length

The order is a pure function of (seed, epoch, lengths): a run that was stopped finds
its place again by the step's number alone, and it does not depend on how many
replicas share the work. Every batch has exactly `batch_size` rows, or as many as a
budget of tokens allows at its length, which is one of a few: where rows are missing, a
row is repeated with weight 0.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.tokens import TokenizedTexts, without_autotuning

# Bucket lengths are multiples of this, which suits both matrix units and caches.
LENGTH_MULTIPLE = 16
_PREFETCHED_BATCHES = 2
# By a budget of tokens, a batch has a multiple of at least this many rows, so that
# usual numbers of replicas can share it.
MIN_ROWS_MULTIPLE = 8
# BERT-base's, for a model that does not tell.
_HIDDEN_SIZE = 768
# In a plan's rows, where a batch has no row: not filled up, or shorter than others.
_NO_ROW = -1
_NO_PLACE = -2


class Batch(NamedTuple):
    """What one replica gets for one step, as tensors of static shape.

    Attributes:
      token_ids: int32 [batch, length], filled up with [PAD].
      num_tokens: int32 [batch], how many of them are not padding; at least 2.
      labels: int32 [batch].
      weights: float32 [batch], 1 / (real rows of the global batch), so that they sum
        to 1 over all replicas, or 1 / (nominal batch size); 0 for a repeated row.
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
        is none, and -2 beyond the size of a batch, in a plan whose batches of longer
        texts are smaller than `batch_size`.
    """

    buckets: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.buckets)

    def rows_of(self, bucket: int) -> np.ndarray:
        """int64 [batches of this bucket, their size], -1 where there is none."""
        rows = self.rows[self.buckets == bucket]
        result: np.ndarray = rows[:, (rows > _NO_PLACE).any(axis=0)]
        return result


def choose_bucket_lengths(
    lengths: np.ndarray,
    *,
    num_buckets: int,
    max_length: int,
    max_windows: int = 1,
    hidden_size: int = _HIDDEN_SIZE,
) -> tuple[int, ...]:
    """The padded lengths at which the texts cost the least, by dynamic programming.

    A text padded to L tokens costs L (1 + L / 6h), h being the hidden size: of each
    layer the linear maps take 24 h² operations a token (8 h² for attention's four,
    16 h² for a feed-forward of 4h), and attention's two products 4 h L (Narayanan et
    al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using
    Megatron-LM", appendix).

    Args:
      lengths: int32 [n], lengths in tokens.
      num_buckets: how many padded lengths up to `max_length` there may be at most.
      max_length: the longest a text of one window can be; always a bucket's length,
        so that texts other than these fit as well.
      max_windows: the most windows of `max_length` that a text can have.

    Returns:
      Ascending lengths: multiples of LENGTH_MULTIPLE, then `max_length`, and then its
      multiples, one for each number of windows.
    """
    lengths = lengths[lengths <= max_length]
    candidates = np.array(
        [0, *range(LENGTH_MULTIPLE, max_length, LENGTH_MULTIPLE), max_length]
    )
    row_cost = candidates * (1 + candidates / (6 * hidden_size))
    num_rows = np.searchsorted(np.sort(lengths), candidates, side="right")
    # step[i, j]: the cost of the texts between candidates i and j, in j's bucket.
    step = (num_rows - num_rows[:, np.newaxis]) * row_cost
    step[np.tril_indices(len(candidates))] = np.inf
    # least[j]: the least cost of the texts up to candidate j when it is a bucket, at
    # each turn by one more of them; chosen[j]: these buckets.
    least = np.where(candidates == 0, 0.0, np.inf)
    chosen: list[tuple[int, ...]] = [()] * len(candidates)
    finished = []
    for _ in range(min(num_buckets, len(candidates) - 1)):
        total = least[:, np.newaxis] + step
        before = total.argmin(axis=0)
        least = total.min(axis=0)
        chosen = [(*chosen[i], int(c)) for i, c in zip(before, candidates)]
        finished.append((least[-1], chosen[-1]))
    of_one_window = min(finished, key=lambda result: result[0])[1]
    return (*of_one_window, *(n * max_length for n in range(2, max_windows + 1)))


def rows_multiple(*, tokens_per_batch: int, max_length: int) -> int:
    """What the number of rows of each batch is a multiple of, by a budget of tokens.

    MIN_ROWS_MULTIPLE, and for large batches more, that many replicas can share them: a
    power of two, at most a quarter of the rows of `max_length` that the budget allows.
    """
    quarter = tokens_per_batch // max_length // 4
    return max(MIN_ROWS_MULTIPLE, 1 << max(0, quarter.bit_length() - 1))


def _batch_sizes(
    bucket_lengths: Sequence[int], *, batch_size: int, tokens_per_batch: int
) -> list[int]:
    """How many rows a batch of each bucket has."""
    if not tokens_per_batch:
        return [batch_size] * len(bucket_lengths)
    multiple = rows_multiple(
        tokens_per_batch=tokens_per_batch, max_length=bucket_lengths[-1]
    )
    # At least one multiple: the config refuses a budget below that.
    return [
        tokens_per_batch // length // multiple * multiple for length in bucket_lengths
    ]


def plan_epoch(
    lengths: np.ndarray,
    bucket_lengths: Sequence[int],
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    tokens_per_batch: int = 0,
) -> BatchPlan:
    """Shuffles the rows into batches of like lengths, and the batches.

    Every row is in exactly one batch, and all batches but at most one are full: what
    a bucket has over a multiple of the batch size goes on to the next longer one.

    Args:
      batch_size: rows of each batch, unless there is a budget.
      tokens_per_batch: the most tokens of a batch, padding included. 0: no budget.
    """
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    sizes = _batch_sizes(
        bucket_lengths, batch_size=batch_size, tokens_per_batch=tokens_per_batch
    )
    plan = _fill_batches(shuffled, lengths, bucket_lengths, sizes)
    order = generator.permutation(len(plan))
    return BatchPlan(plan.buckets[order], plan.rows[order])


def plan_evaluation(
    lengths: np.ndarray, bucket_lengths: Sequence[int], *, batch_size: int
) -> BatchPlan:
    """Batches that hold every row once, from the shortest to the longest."""
    by_length = np.argsort(lengths, kind="stable")
    sizes = [batch_size] * len(bucket_lengths)
    return _fill_batches(by_length, lengths, bucket_lengths, sizes)


def _fill_batches(
    order: np.ndarray,
    lengths: np.ndarray,
    bucket_lengths: Sequence[int],
    sizes: Sequence[int],
) -> BatchPlan:
    bucket_of_row = np.searchsorted(bucket_lengths, lengths[order])
    largest = max(sizes)
    waiting = np.empty(0, np.int64)
    buckets: list[int] = []
    blocks: list[np.ndarray] = [np.empty([0, largest], np.int64)]
    last_bucket = int(bucket_of_row.max(initial=0))
    for bucket, size in enumerate(sizes[: last_bucket + 1]):
        waiting = np.concatenate([waiting, order[bucket_of_row == bucket]])
        if bucket == last_bucket:
            num_missing = -len(waiting) % size
            waiting = np.pad(waiting, (0, num_missing), constant_values=_NO_ROW)
        num_batches = len(waiting) // size
        block = waiting[: num_batches * size].reshape(-1, size)
        beyond = ((0, 0), (0, largest - size))
        blocks.append(np.pad(block, beyond, constant_values=_NO_PLACE))
        buckets.extend([bucket] * num_batches)
        waiting = waiting[num_batches * size :]
    return BatchPlan(np.array(buckets, np.int32), np.concatenate(blocks))


def padded_fraction(
    plan: BatchPlan, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> float:
    """The share of a plan's tokens that are padding, repeated rows included."""
    if not len(plan):
        return 0.0
    sizes = (plan.rows > _NO_PLACE).sum(axis=1)
    computed = (np.take(bucket_lengths, plan.buckets) * sizes).sum()
    return 1.0 - float(lengths[plan.rows[plan.rows >= 0]].sum() / computed)


class TrainingPlan:
    """The batches of all epochs, addressed by the step's number from 0.

    Each epoch has as many steps, for as many rows of each bucket go on to the next.

    Args:
      lengths: int32 [n], the training texts' lengths in tokens.
      batch_size: rows of each batch; with a budget of tokens, the rows of a nominal
        batch, by which examples are weighed and the learning rate's steps counted.
      tokens_per_batch: the most tokens of a batch, padding included. 0: no budget.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        bucket_lengths: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        num_epochs: int,
        tokens_per_batch: int = 0,
    ) -> None:
        self._plan_epoch: Callable[[int], BatchPlan] = lambda epoch: plan_epoch(
            lengths,
            bucket_lengths,
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            tokens_per_batch=tokens_per_batch,
        )
        self._num_epochs = num_epochs
        self.nominal_batch_size = batch_size if tokens_per_batch else None
        self.nominal_steps = -(-len(lengths) // batch_size) * num_epochs
        self.steps_per_epoch = len(self._plan_epoch(0))
        self.total_steps = self.steps_per_epoch * num_epochs

    def nominal_steps_done(self) -> np.ndarray | None:
        """Examples seen before each step, as nominal batches; None without a budget.

        Returns:
          float32 [total_steps + 1], the last of them of the end.
        """
        if self.nominal_batch_size is None:
            return None
        num_examples = (self.from_step(0).rows >= 0).sum(axis=1)
        seen = np.cumsum([0, *num_examples]) / self.nominal_batch_size
        return seen.astype(np.float32)

    def weight_sums(self, rows: np.ndarray) -> np.ndarray:
        """What the weights of batches of this plan sum to: float64 [num_batches].

        Args:
          rows: int64 [num_batches, batch_size], as in the plan.
        """
        num_examples = (rows >= 0).sum(axis=1)
        result: np.ndarray = num_examples / (self.nominal_batch_size or num_examples)
        return result

    def from_step(self, step: int) -> BatchPlan:
        """The batches of this step, which must be below total_steps, and after."""
        epoch, position = divmod(step, self.steps_per_epoch)
        plans = [self._plan_epoch(e) for e in range(epoch, self._num_epochs)]
        return BatchPlan(
            np.concatenate([plan.buckets for plan in plans])[position:],
            np.concatenate([plan.rows for plan in plans])[position:],
        )


class Feed:
    """A plan's batches on their way to the devices.

    To iterate over it is to carry the plan out, step by step. The pipelines begin anew
    after their last batch, so this may be done again.

    Attributes:
      plan: what is carried out.
      lengths: the padded lengths that occur in the plan, ascending.
      pipelines: for each of these, an iterator without end over its batches, each a
        Batch of per-replica tensors [batch_size / replicas, ...].
      order: int32 [num_batches], the number of the pipeline that each batch of the
        plan is the next of.
    """

    def __init__(
        self,
        plan: BatchPlan,
        pipelines: Mapping[int, Iterator[Batch]],
        bucket_lengths: Sequence[int],
    ) -> None:
        buckets = sorted(pipelines)
        self.plan = plan
        self.lengths = tuple(bucket_lengths[bucket] for bucket in buckets)
        self.pipelines = tuple(pipelines[bucket] for bucket in buckets)
        self.order = np.searchsorted(buckets, plan.buckets).astype(np.int32)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Batch]]:
        """Carries the plan out once.

        Yields:
          rows: int64 [batch_size], -1 where there is none, in the replicas' order.
          batch: a Batch of per-replica tensors.
        """
        for index, rows in zip(self.order, self.plan.rows):
            yield rows[rows > _NO_PLACE], next(self.pipelines[index])


class BatchFeeder:
    """Carries out plans over one split's tokens: puts batches on the devices.

    Each bucket is a tf.data pipeline of its own, of static shape, that makes ready
    the bucket's next batches while the devices work; the plan says which is next.
    The pipelines are TensorFlow throughout: a Python generator in them would need
    the interpreter's lock, and can lock up when its iterator is deleted.

    Args:
      labels: int32 [n].
      nominal_batch_size: each row weighs 1 / this, whatever the size of its batch.
        None: the weights of each batch sum to 1.
    """

    def __init__(
        self,
        tokens: TokenizedTexts,
        labels: np.ndarray,
        bucket_lengths: Sequence[int],
        strategy: tf.distribute.Strategy,
        *,
        nominal_batch_size: int | None = None,
    ) -> None:
        self._nominal_batch_size = nominal_batch_size
        self._bucket_lengths = bucket_lengths
        self._strategy = strategy
        self._pad_id = tokens.pad_id
        with tf.device("CPU:0"):
            self._token_ids = (
                _mapped(tokens.token_ids.filename, tokens.token_ids.dtype.name)
                # A TPU's hosts, which make the batches, do not see this machine's.
                if isinstance(tokens.token_ids, np.memmap)
                and not isinstance(strategy, tf.distribute.TPUStrategy)
                else tf.constant(tokens.token_ids)
            )
            self._row_splits = tf.constant(tokens.row_splits)
            self._labels = tf.constant(labels, tf.int32)

    def __call__(self, plan: BatchPlan) -> Feed:
        """Makes the pipelines that carry a plan out."""
        pipelines = {
            int(bucket): self._distributed(
                functools.partial(
                    self._pipeline, plan.rows_of(bucket), self._bucket_lengths[bucket]
                )
            )
            for bucket in np.unique(plan.buckets)
        }
        return Feed(plan, pipelines, self._bucket_lengths)

    def rehearsal(self, *plans: BatchPlan) -> Feed:
        """A batch of each shape that the plans have, of nothing but padding.

        To compile on: its pipelines are of the same types as those of the plans.
        """
        sizes: dict[int, int] = {}
        for plan in plans:
            for bucket, first in zip(*np.unique(plan.buckets, return_index=True)):
                sizes[int(bucket)] = int((plan.rows[first] > _NO_PLACE).sum())
        pipelines = {
            bucket: self._distributed(
                functools.partial(_padding, size, self._bucket_lengths[bucket])
            )
            for bucket, size in sizes.items()
        }
        no_rows = np.empty([len(sizes), 0], np.int64)
        plan = BatchPlan(np.array(sorted(sizes), np.int32), no_rows)
        return Feed(plan, pipelines, self._bucket_lengths)

    def _distributed(
        self, make_dataset: Callable[[tf.distribute.InputContext], tf.data.Dataset]
    ) -> Iterator[Batch]:
        distribute = self._strategy.distribute_datasets_from_function
        iterator: Iterator[Batch] = iter(distribute(make_dataset))
        return iterator

    def _pipeline(
        self, rows: np.ndarray, length: int, context: tf.distribute.InputContext
    ) -> tf.data.Dataset:
        """One bucket's batches for the replicas of one host, replica by replica.

        Args:
          rows: int64 [steps, batch_size].
        """
        num_local = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * num_local
        filled, weights = fill(rows, self._nominal_batch_size)

        def local_parts(values: np.ndarray) -> np.ndarray:
            parts = values.reshape(len(values), context.num_replicas_in_sync, -1)
            local = parts[:, first : first + num_local]
            return local.reshape(-1, local.shape[-1])

        dataset = tf.data.Dataset.from_tensor_slices(
            (local_parts(filled), local_parts(weights))
        )
        dataset = dataset.map(
            lambda rows, weights: self._batch(rows, weights, length=length),
            num_parallel_calls=_PREFETCHED_BATCHES,
            deterministic=True,
        )
        # Without an end, or several workers would agree at each step whether there
        # is a next batch; the plan knows.
        dataset = dataset.repeat().prefetch(_PREFETCHED_BATCHES * num_local)
        return dataset.with_options(without_autotuning())

    def _batch(self, rows: tf.Tensor, weights: tf.Tensor, *, length: int) -> Batch:
        starts = tf.gather(self._row_splits, rows)
        num_tokens = tf.gather(self._row_splits, rows + 1) - starts
        position = tf.range(length, dtype=tf.int64)
        is_token = position < num_tokens[:, tf.newaxis]
        # What lies beyond a text's end is read from its start, then overwritten.
        index = starts[:, tf.newaxis] + tf.where(is_token, position, 0)
        token_ids = tf.cast(
            tf.gather(tf.convert_to_tensor(self._token_ids), index), tf.int32
        )
        return Batch(
            token_ids=tf.where(is_token, token_ids, self._pad_id),
            num_tokens=tf.cast(num_tokens, tf.int32),
            labels=tf.gather(self._labels, rows),
            weights=weights,
        )


@functools.cache
def _mapped(path: str | os.PathLike[str], dtype: str) -> tf.Variable:
    """A file's numbers, whose memory is the file's: nothing is copied.

    In a variable, for tf.data, when it rewrites a pipeline, copies the tensors that are
    captured in it. And read as a whole (it is not copied) before rows are gathered:
    gathering from a variable makes it a copy of its own.

    It is kept to the end of the process, for TensorFlow's threads would need the
    interpreter's lock to let go of it. ImmutableConst would map the file as well, but
    reads all of it into memory first, where TensorFlow folds constants.
    """
    # DLPack refuses read-only memory; what is written to this stays in memory. A map
    # starts at a page's start, and so is aligned as TensorFlow demands.
    array = np.memmap(path, dtype, mode="c")
    return tf.Variable(
        tf.experimental.dlpack.from_dlpack(array.__dlpack__()), trainable=False
    )


def _padding(
    batch_size: int, length: int, context: tf.distribute.InputContext
) -> tf.data.Dataset:
    """One replica's shares of batches of nothing but padding, without end."""
    share = batch_size // context.num_replicas_in_sync
    batch = Batch(
        token_ids=np.zeros([share, length], np.int32),
        num_tokens=np.full([share], length, np.int32),
        labels=np.zeros([share], np.int32),
        weights=np.zeros([share], np.float32),
    )
    return tf.data.Dataset.from_tensors(batch).repeat()


def fill(
    rows: np.ndarray, nominal_batch_size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and weights of global batches, where rows are missing a repeated one.

    What is repeated is a real text, the batch's first, so that a row of nothing but
    padding cannot bring a NaN into a sum where its weight is 0.

    Args:
      rows: int64 [steps, batch_size], -1 where there is none.

    Returns:
      rows: int64 [steps, batch_size], all at least 0.
      weights: float32 [steps, batch_size], summing to 1 over each batch, or
        1 / `nominal_batch_size` for each row that is there.
    """
    is_real = rows >= 0
    weights = is_real / (nominal_batch_size or is_real.sum(axis=1, keepdims=True))
    return np.where(is_real, rows, rows[:, :1]), weights.astype(np.float32)

"""Puts the batches of a plan on the devices: tf.data pipelines of static shape.

    feeder = BatchFeeder(tokens, labels, bucket_lengths, strategy)
    for rows, batch in feeder(plan):    # a Batch of per-replica tensors a step
        ...

Which rows form which batch is computed in `plans.py`.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

# Not public; there is no other way to reach the data sets on the devices.
from tensorflow.python.data.ops import multi_device_iterator_ops

from trainer.data import label_sets
from trainer.data.plans import NO_PLACE, Batches, BatchPlan, fill
from trainer.data.tokens import TokenizedTexts, without_autotuning

_PREFETCHED_BATCHES = 2


class Inputs(NamedTuple):
    """What a model reads, as tensors of static shape.

    Attributes:
      token_ids: int32 [batch, length], filled up with [PAD].
      num_tokens: int32 [batch], how many of them are not padding; at least 2.
    """

    token_ids: Any
    num_tokens: Any


class Batch(NamedTuple):
    """What one replica gets for one step, as tensors of static shape.

    Attributes:
      inputs: what the model reads.
      targets: what it shall answer, as the task has it: int32 [batch] for one label
        a text, float32 [batch, labels] for several, float32 [batch] for a number, in
        spreads from the mean; the text's number in its pool where tokens are masked.
      weights: float32 [batch], 1 / (real rows of the global batch), so that they sum
        to 1 over all replicas, or 1 / (nominal batch size); 0 for a repeated row. Each
        times the weight of the example, if examples have any.
    """

    inputs: Inputs
    targets: Any
    weights: Any


class Feed:
    """A plan's batches on their way to the devices.

    To iterate over it is to carry the plan out, step by step. The pipelines begin anew
    after their last batch, so this may be done again.

    Attributes:
      plan: what is carried out.
      lengths: the padded lengths that occur in the plan, ascending, or in the whole
        plan of which these are some batches.
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
            yield rows[rows > NO_PLACE], next(self.pipelines[index])


class BatchFeeder:
    """Carries out plans over one split of a pool: puts batches on the devices.

    Each bucket is a tf.data pipeline of its own, of static shape, that makes ready
    the bucket's next batches while the devices work; the plan says which is next.
    The pipelines are TensorFlow throughout: a Python generator in them would need
    the interpreter's lock, and can lock up when its iterator is deleted.

    Args:
      tokens: of a pool of texts.
      targets: integers [n], or 0 and 1 [n, labels], or floats [n], of the same texts.
      rows: int64 [m], the pool's rows that the plans' rows 0 to m - 1 are: a split.
        None: all of the pool.
      nominal_batch_size: each row weighs 1 / this, whatever the size of its batch.
        None: the weights of each batch sum to 1.
      example_weights: float32 [m], by which the weights of the plans' rows are
        multiplied. None: 1 for each.
      share_batches: whether the weights of each batch sum to 1 after that, too.
    """

    def __init__(
        self,
        tokens: TokenizedTexts,
        targets: np.ndarray,
        bucket_lengths: Sequence[int],
        strategy: tf.distribute.Strategy,
        *,
        rows: np.ndarray | None = None,
        nominal_batch_size: int | None = None,
        example_weights: np.ndarray | None = None,
        share_batches: bool = False,
    ) -> None:
        self._nominal_batch_size = nominal_batch_size
        self._share_batches = share_batches
        self._example_weights = example_weights
        self._bucket_lengths = bucket_lengths
        self._strategy = strategy
        self._pad_id = tokens.pad_id
        self._rows = rows
        with tf.device("CPU:0"):
            self._token_ids = (
                _mapped(tokens.token_ids.filename, tokens.token_ids.dtype.name)
                # A TPU's hosts, which make the batches, do not see this machine's.
                if isinstance(tokens.token_ids, np.memmap)
                and not isinstance(strategy, tf.distribute.TPUStrategy)
                else tf.constant(tokens.token_ids)
            )
            self._row_splits = tf.constant(tokens.row_splits)
            # The one place that says what targets are to a model.
            is_position = targets.ndim == 1 and not label_sets.are_numbers(targets)
            dtype = tf.int32 if is_position else tf.float32
            self._targets = tf.constant(targets, dtype)

    def __call__(self, plan: BatchPlan) -> Feed:
        """Makes the pipelines that carry a plan out."""
        there = plan.num_batches
        pipelines = {
            bucket: self._distributed(
                functools.partial(
                    self._pipeline, plan.rows_of(bucket), self._bucket_lengths[bucket]
                )
                if bucket in there
                # Never asked, but steps are compiled for all pipelines together.
                else self._of_padding(bucket, size)
            )
            for bucket, size in plan.batch_sizes.items()
        }
        return Feed(plan, pipelines, self._bucket_lengths)

    def rehearsal(self, *plans: Batches) -> Feed:
        """A batch of each shape that the plans have, of nothing but padding.

        To compile on: its pipelines are of the same types as those of the plans.
        """
        sizes: dict[int, int] = {}
        for plan in plans:
            sizes |= plan.batch_sizes
        pipelines = {
            bucket: self._distributed(self._of_padding(bucket, size))
            for bucket, size in sizes.items()
        }
        no_rows = np.empty([len(sizes), 0], np.int64)
        plan = BatchPlan(np.array(sorted(sizes), np.int32), no_rows)
        return Feed(plan, pipelines, self._bucket_lengths)

    def _of_padding(
        self, bucket: int, size: int
    ) -> Callable[[tf.distribute.InputContext], tf.data.Dataset]:
        length = self._bucket_lengths[bucket]
        return functools.partial(_padding, size, length, self._targets[:0])

    def _distributed(
        self, make_dataset: Callable[[tf.distribute.InputContext], tf.data.Dataset]
    ) -> Iterator[Batch]:
        distribute = self._strategy.distribute_datasets_from_function
        with _no_autotuning_on_devices():
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
        if self._example_weights is not None:
            weights = weights * self._example_weights[filled]
        if self._share_batches:
            weights = weights / weights.sum(axis=1, keepdims=True)
        pool_rows = filled if self._rows is None else self._rows[filled]

        def local_parts(values: np.ndarray) -> np.ndarray:
            parts = values.reshape(len(values), context.num_replicas_in_sync, -1)
            local = parts[:, first : first + num_local]
            return local.reshape(-1, local.shape[-1])

        dataset = tf.data.Dataset.from_tensor_slices(
            (local_parts(pool_rows), local_parts(weights))
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
            inputs=Inputs(
                token_ids=tf.where(is_token, token_ids, self._pad_id),
                num_tokens=tf.cast(num_tokens, tf.int32),
            ),
            targets=tf.gather(self._targets, rows),
            weights=weights,
        )


@contextlib.contextmanager
def _no_autotuning_on_devices() -> Iterator[None]:
    """Iterators that a strategy makes meanwhile have no autotuning on the devices.

    For several devices TensorFlow puts a data set of its own on each of them, which
    does not have the options of ours. With autotuning its iterator has a thread that
    looks up every minute, and whoever deletes the iterator now and then waits for
    that: a run with two replicas and two lengths ended up to four minutes late.
    """
    create = multi_device_iterator_ops._create_device_dataset

    def create_without(*arguments: Any) -> tf.data.Dataset:
        return create(*arguments).with_options(without_autotuning())

    multi_device_iterator_ops._create_device_dataset = create_without
    try:
        yield
    finally:
        multi_device_iterator_ops._create_device_dataset = create


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
    batch_size: int,
    length: int,
    targets: tf.Tensor,
    context: tf.distribute.InputContext,
) -> tf.data.Dataset:
    """One replica's shares of batches of nothing but padding, without end.

    targets: [0, ...], of the dtype and the shape that a text has.
    """
    share = batch_size // context.num_replicas_in_sync
    batch = Batch(
        inputs=Inputs(
            token_ids=np.zeros([share, length], np.int32),
            num_tokens=np.full([share], length, np.int32),
        ),
        targets=np.zeros([share, *targets.shape[1:]], targets.dtype.as_numpy_dtype),
        weights=np.zeros([share], np.float32),
    )
    return tf.data.Dataset.from_tensors(batch).repeat()

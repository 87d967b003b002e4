"""Which rows form which batch, at which padded length, in which order: computed.

    buckets = choose_bucket_lengths(lengths, num_buckets=6, window_length=512)
    plan = plan_epoch(lengths, buckets, seed=0, epoch=2, batch_size=32)
    plan.rows[7], buckets[plan.buckets[7]]      # the rows of step 7, and its length

The order is a pure function of (seed, epoch, lengths): a run that was stopped finds
its position again by the step's number alone, and the order does not depend on how
many replicas share the work. Every batch has exactly `batch_size` rows, or as many as
a budget of tokens allows at its length, which is one of a few: where rows are missing,
a row is repeated with weight 0. NumPy alone; `batches.py` carries a plan out.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Sequence

import numpy as np

# Bucket lengths are multiples of this, which suits both matrix units and caches.
LENGTH_MULTIPLE = 16
# By a budget of tokens, a batch has a multiple of at least this many rows, so that
# usual numbers of replicas can share it.
MIN_ROWS_MULTIPLE = 8
# BERT-base's, for a model that does not tell.
_HIDDEN_SIZE = 768
# In a plan's rows, where a batch has no row: not filled up, or shorter than others.
NO_ROW = -1
NO_PLACE = -2


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
        result: np.ndarray = rows[:, (rows > NO_PLACE).any(axis=0)]
        return result


def choose_bucket_lengths(
    lengths: np.ndarray,
    *,
    num_buckets: int,
    window_length: int,
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
      num_buckets: how many padded lengths up to `window_length` there may be at most.
      window_length: the longest a text of one window can be; always a bucket's length,
        so that texts other than these fit as well.
      max_windows: the most windows of `window_length` that a text can have.

    Returns:
      Ascending lengths: multiples of LENGTH_MULTIPLE, then `window_length`, and then its
      multiples, one for each number of windows.
    """
    lengths = lengths[lengths <= window_length]
    candidates = np.array(
        [0, *range(LENGTH_MULTIPLE, window_length, LENGTH_MULTIPLE), window_length]
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
    return (*of_one_window, *(n * window_length for n in range(2, max_windows + 1)))


def rows_multiple(*, tokens_per_batch: int, max_text_length: int) -> int:
    """What the number of rows of each batch is a multiple of, by a budget of tokens.

    MIN_ROWS_MULTIPLE, and for large batches more, that many replicas can share them: a
    power of two, at most a quarter of the rows of `max_text_length` that the budget allows.
    """
    quarter = tokens_per_batch // max_text_length // 4
    return max(MIN_ROWS_MULTIPLE, 1 << max(0, quarter.bit_length() - 1))


def _batch_sizes(
    bucket_lengths: Sequence[int], *, batch_size: int, tokens_per_batch: int
) -> list[int]:
    """How many rows a batch of each bucket has."""
    if not tokens_per_batch:
        return [batch_size] * len(bucket_lengths)
    multiple = rows_multiple(
        tokens_per_batch=tokens_per_batch, max_text_length=bucket_lengths[-1]
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
    a bucket has over a multiple of the batch size moves to the next longer one.

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
            waiting = np.pad(waiting, (0, num_missing), constant_values=NO_ROW)
        num_batches = len(waiting) // size
        block = waiting[: num_batches * size].reshape(-1, size)
        beyond = ((0, 0), (0, largest - size))
        blocks.append(np.pad(block, beyond, constant_values=NO_PLACE))
        buckets.extend([bucket] * num_batches)
        waiting = waiting[num_batches * size :]
    return BatchPlan(np.array(buckets, np.int32), np.concatenate(blocks))


def padded_fraction(
    plan: BatchPlan, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> float:
    """The share of a plan's tokens that are padding, repeated rows included."""
    if not len(plan):
        return 0.0
    sizes = (plan.rows > NO_PLACE).sum(axis=1)
    computed = (np.take(bucket_lengths, plan.buckets) * sizes).sum()
    return 1.0 - float(lengths[plan.rows[plan.rows >= 0]].sum() / computed)


class TrainingPlan:
    """The batches of all epochs, addressed by the step's number from 0.

    Each epoch has as many steps, for as many rows of each bucket move to the next.

    Args:
      lengths: int32 [n], the training texts' lengths in tokens.
      batch_size: rows of each batch; with a budget of tokens, the rows of a nominal
        batch, by which examples are weighed and the learning rate's steps counted.
      num_epochs: how many; None: as many as `num_steps` takes.
      tokens_per_batch: the most tokens of a batch, padding included. 0: no budget.
      num_steps: how many steps in all, whatever the epochs. Each batch then counts
        alike, also with a budget of tokens, for it is as large as that allows. None:
        whole epochs.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        bucket_lengths: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        num_epochs: int | None = None,
        tokens_per_batch: int = 0,
        num_steps: int | None = None,
    ) -> None:
        self._plan_epoch: Callable[[int], BatchPlan] = lambda epoch: plan_epoch(
            lengths,
            bucket_lengths,
            seed=seed,
            epoch=epoch,
            batch_size=batch_size,
            tokens_per_batch=tokens_per_batch,
        )
        self.steps_per_epoch = len(self._plan_epoch(0))
        if num_steps is not None:
            self._num_epochs = -(-num_steps // self.steps_per_epoch)
            self.nominal_batch_size = None
            self.nominal_steps = self.total_steps = num_steps
            return
        self._num_epochs = num_epochs or 0
        self.nominal_batch_size = batch_size if tokens_per_batch else None
        self.nominal_steps = -(-len(lengths) // batch_size) * self._num_epochs
        self.total_steps = self.steps_per_epoch * self._num_epochs

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
        steps = slice(position, position + self.total_steps - step)
        return BatchPlan(
            np.concatenate([plan.buckets for plan in plans])[steps],
            np.concatenate([plan.rows for plan in plans])[steps],
        )


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

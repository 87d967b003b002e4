"""Which rows form which batch, at which padded length, in which order: computed.

    buckets = choose_bucket_lengths(lengths, num_buckets=6, window_length=512)
    plan = TrainingPlan(lengths, buckets, seed=0, batch_size=32, num_epochs=3)
    batches = plan.from_step(7_000, num_steps=100)
    batches.rows[7], buckets[batches.buckets[7]]    # the rows of step 7,007, its length

The order is a pure function of (seed, epoch, lengths): a run that was stopped finds
its position again by the step's number alone, and the order does not depend on how
many replicas share the work. Every batch has exactly `batch_size` rows, or as many as
a budget of tokens allows at its length, which is one of a few: where rows are missing,
a row is repeated with weight 0. NumPy alone; `batches.py` carries a plan out.

No more batches are listed than are asked for. How many there are of each length
follows from counts. Of many rows the epochs are `KeyedEpochs`, which compute any batch
from its number; of few they are `ListedEpochs`, which list one epoch at a time.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Iterator, Protocol, Sequence

import numpy as np

from trainer.data.permutations import KeyedPermutation

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
# Up to so many rows an epoch is listed, in the order that NumPy's generator gives it;
# of more it is computed. A change of this changes the order of some runs.
MOST_LISTED_ROWS = 1 << 18
# About so many places for rows a plan gives at once: some 50 MB while pipelines are
# made of them, and hours of training on a CPU.
PLACES_AT_ONCE = 1 << 20


class Batches(Protocol):
    """What is known of batches without their rows."""

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Rows of a batch, by bucket, ascending."""

    @property
    def num_batches(self) -> dict[int, int]:
        """How many batches there are, by bucket, ascending."""

    def __len__(self) -> int:
        """How many there are."""


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The batches of an epoch or an evaluation, in order.

    Attributes:
      buckets: int32 [num_batches], the index of each batch's padded length.
      rows: int64 [num_batches, batch_size], the rows of each batch; -1 where there
        is none, and -2 beyond the size of a batch, in a plan whose batches of longer
        texts are smaller than `batch_size`.
      whole: the plan that these are some batches of. None: they are all there are.
    """

    buckets: np.ndarray
    rows: np.ndarray
    whole: Batches | None = None

    def __len__(self) -> int:
        return len(self.buckets)

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Rows of a batch, by bucket, ascending; of all buckets of the whole plan."""
        if self.whole is not None:
            return self.whole.batch_sizes
        buckets, first = np.unique(self.buckets, return_index=True)
        sizes = (self.rows[first] > NO_PLACE).sum(axis=1)
        return {int(bucket): int(size) for bucket, size in zip(buckets, sizes)}

    @property
    def num_batches(self) -> dict[int, int]:
        """How many batches there are, by bucket, ascending."""
        counted = zip(*np.unique(self.buckets, return_counts=True))
        return {int(bucket): int(count) for bucket, count in counted}

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


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the batches of any epoch have in common, for it follows from counts.

    A bucket's batches are filled with what moved on from the bucket before, then with
    rows of its own; what does not fill a batch moves on. Only the last bucket that has
    rows fills its last batch up.

    Attributes:
      sizes: rows of a batch, by bucket.
      num_rows: of each bucket's own.
      num_moved: rows that move on to it from the bucket before.
      num_batches: of each bucket.
    """

    sizes: tuple[int, ...]
    num_rows: tuple[int, ...]
    num_moved: tuple[int, ...]
    num_batches: tuple[int, ...]

    @classmethod
    def of(cls, num_rows: Sequence[int], sizes: Sequence[int]) -> Layout:
        """Of so many rows, and rows of a batch, a bucket."""
        last = max((b for b, count in enumerate(num_rows) if count), default=-1)
        waiting, num_moved, num_batches = 0, [], []
        for bucket, (count, size) in enumerate(zip(num_rows, sizes)):
            num_moved.append(waiting)
            there = waiting + count
            full = -(-there // size) if bucket == last else there // size
            num_batches.append(full)
            waiting = max(there - full * size, 0)
        return cls(
            tuple(sizes),
            tuple(int(count) for count in num_rows),
            tuple(num_moved),
            tuple(num_batches),
        )

    def __len__(self) -> int:
        return sum(self.num_batches)

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """int64 [buckets], each one's batches end here, where they are in a row."""
        return np.cumsum(self.num_batches)

    @property
    def num_missing(self) -> int:
        """Rows that the last batch, where batches are in a row, has too few."""
        there = sum(self.num_rows)
        return int(np.dot(self.num_batches, self.sizes)) - there


class ListedEpochs:
    """Epochs that are listed when they are asked for, as `plan_epoch` lists them.

    Args:
      lengths: int32 [n], the texts' lengths in tokens.
      settings: of `plan_epoch`, but for the epoch.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        bucket_lengths: Sequence[int],
        *,
        seed: int,
        batch_size: int,
        tokens_per_batch: int,
    ) -> None:
        def list_epoch(epoch: int) -> BatchPlan:
            return plan_epoch(
                lengths,
                bucket_lengths,
                seed=seed,
                epoch=epoch,
                batch_size=batch_size,
                tokens_per_batch=tokens_per_batch,
            )

        # The steps of one are asked for one part after the other.
        self._epoch = functools.lru_cache(maxsize=1)(list_epoch)

    def batches(self, epoch: int, places: range) -> BatchPlan:
        """The batches at these places of the epoch."""
        plan = self._epoch(epoch)
        steps = slice(places.start, places.stop)
        return BatchPlan(plan.buckets[steps], plan.rows[steps])

    def num_examples(self, epoch: int) -> np.ndarray:
        """Rows that are there, of each batch of the epoch: int64."""
        result: np.ndarray = (self._epoch(epoch).rows >= 0).sum(axis=1)
        return result

    def buckets(self, epoch: int, places: range) -> np.ndarray:
        """int32 [places], the buckets of the batches."""
        return self.batches(epoch, places).buckets


class KeyedEpochs:
    """Epochs of many rows, of which any batch is computed from its place.

    An epoch is the same as one that is listed but for how it is shuffled: the rows of
    each bucket by a keyed permutation, and the batches by another. So nothing is kept
    but the rows of each bucket, the same for all epochs: 4 bytes a row.

    Args:
      bucket_of_row: integers [n].
      layout: of these.
    """

    def __init__(self, bucket_of_row: np.ndarray, layout: Layout, *, seed: int) -> None:
        self._layout = layout
        self._seed = seed
        self._rows = [
            np.flatnonzero(bucket_of_row == bucket).astype(np.int32)
            for bucket in range(len(layout.sizes))
        ]

    def batches(self, epoch: int, places: range) -> BatchPlan:
        """The batches at these places of the epoch."""
        layout = self._layout
        numbers = self._order(epoch)(np.arange(places.start, places.stop))
        buckets = self._buckets_of(numbers)
        rows = np.full([len(numbers), max(layout.sizes)], NO_PLACE, np.int64)
        for bucket in np.unique(buckets).tolist():
            size = layout.sizes[bucket]
            is_here = buckets == bucket
            first = layout.ends[bucket] - layout.num_batches[bucket]
            of_stream = (numbers[is_here, np.newaxis] - first) * size + np.arange(size)
            rows[is_here, :size] = self._stream(epoch, bucket, of_stream)
        return BatchPlan(buckets, rows)

    def buckets(self, epoch: int, places: range) -> np.ndarray:
        """int32 [places], the buckets of the batches."""
        order = self._order(epoch)
        return self._buckets_of(order(np.arange(places.start, places.stop)))

    def num_examples(self, epoch: int) -> np.ndarray:
        """Rows that are there, of each batch of the epoch: int64."""
        numbers = self._order(epoch)(np.arange(len(self._layout)))
        result = np.take(self._layout.sizes, self._buckets_of(numbers))
        result[numbers == len(numbers) - 1] -= self._layout.num_missing
        return result

    def _order(self, epoch: int) -> KeyedPermutation:
        """The number of the batch at each place; in a row, buckets are ascending."""
        return KeyedPermutation(len(self._layout), key=[self._seed, epoch, 0])

    def _buckets_of(self, numbers: np.ndarray) -> np.ndarray:
        buckets = np.searchsorted(self._layout.ends, numbers, side="right")
        return buckets.astype(np.int32)

    def _stream(self, epoch: int, bucket: int, places: np.ndarray) -> np.ndarray:
        """The rows at some places of all that fills a bucket's batches.

        Args:
          places: int64 [...]; where they are beyond its end, the result is -1.
        """
        layout = self._layout
        length = layout.num_moved[bucket] + layout.num_rows[bucket]
        shape, result = places.shape, np.full(places.size, NO_ROW, np.int64)
        wanted = np.flatnonzero(places.reshape(-1) < length)
        places = places.reshape(-1)[wanted]
        # What moved on is looked for where it came from, which may be further down.
        while len(wanted):
            own = places - layout.num_moved[bucket]
            is_own = own >= 0
            shuffled = self._shuffle(epoch, bucket)(own[is_own])
            result[wanted[is_own]] = self._rows[bucket][shuffled]
            wanted, places, bucket = wanted[~is_own], places[~is_own], bucket - 1
            places = places + layout.num_batches[bucket] * layout.sizes[bucket]
        return result.reshape(shape)

    def _shuffle(self, epoch: int, bucket: int) -> KeyedPermutation:
        return KeyedPermutation(
            self._layout.num_rows[bucket], key=[self._seed, epoch, 1 + bucket]
        )


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
      most_listed_rows: of how many rows an epoch is listed; of more it is computed.
      places_at_once: how many places for rows the batches of a part have, about.

    Attributes:
      padded_fraction: of the tokens of an epoch, those that are padding, repeated rows
        included.
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
        most_listed_rows: int = MOST_LISTED_ROWS,
        places_at_once: int = PLACES_AT_ONCE,
    ) -> None:
        bucket_of_row = _buckets_of_rows(lengths, bucket_lengths)
        self._layout = layout = Layout.of(
            [
                int(np.count_nonzero(bucket_of_row == bucket))
                for bucket in range(len(bucket_lengths))
            ],
            _batch_sizes(
                bucket_lengths, batch_size=batch_size, tokens_per_batch=tokens_per_batch
            ),
        )
        self._epochs: ListedEpochs | KeyedEpochs = (
            KeyedEpochs(bucket_of_row, layout, seed=seed)
            if len(lengths) > most_listed_rows
            else ListedEpochs(
                lengths,
                bucket_lengths,
                seed=seed,
                batch_size=batch_size,
                tokens_per_batch=tokens_per_batch,
            )
        )
        self._steps_at_once = max(places_at_once // max(layout.sizes), 1)
        self.padded_fraction = _padded_fraction(layout, lengths, bucket_lengths)
        self.steps_per_epoch = len(layout)
        if num_steps is not None:
            self.nominal_batch_size = None
            self.nominal_steps = self.total_steps = num_steps
            return
        self.nominal_batch_size = batch_size if tokens_per_batch else None
        self.nominal_steps = -(-len(lengths) // batch_size) * (num_epochs or 0)
        self.total_steps = self.steps_per_epoch * (num_epochs or 0)

    def __len__(self) -> int:
        return self.total_steps

    @functools.cached_property
    def num_batches(self) -> dict[int, int]:
        """How many batches all steps have, by bucket, ascending."""
        num_epochs, rest = divmod(self.total_steps, max(self.steps_per_epoch, 1))
        counts = num_epochs * np.asarray(self._layout.num_batches)
        if rest:
            buckets = self._epochs.buckets(num_epochs, range(rest))
            counts = counts + np.bincount(buckets, minlength=len(counts))
        return {bucket: int(count) for bucket, count in enumerate(counts) if count}

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Rows of a batch, by bucket, ascending; of those that a step has."""
        return {bucket: self._layout.sizes[bucket] for bucket in self.num_batches}

    def nominal_steps_done(self) -> np.ndarray | None:
        """Examples seen before each step, as nominal batches; None without a budget.

        Returns:
          float32 [total_steps + 1], the last of them of the end.
        """
        if self.nominal_batch_size is None:
            return None
        num_epochs = self.total_steps // max(self.steps_per_epoch, 1)
        counts = [self._epochs.num_examples(epoch) for epoch in range(num_epochs)]
        seen = np.cumsum(np.concatenate([[0], *counts])) / self.nominal_batch_size
        return seen.astype(np.float32)

    def weight_sums(self, rows: np.ndarray) -> np.ndarray:
        """What the weights of batches of this plan sum to: float64 [num_batches].

        Args:
          rows: int64 [num_batches, batch_size], as in the plan.
        """
        num_examples = (rows >= 0).sum(axis=1)
        result: np.ndarray = num_examples / (self.nominal_batch_size or num_examples)
        return result

    def end_of_part(self, step: int) -> int:
        """Where to end the batches from this step on that are listed at once."""
        return min(step + self._steps_at_once, self.total_steps)

    def from_step(self, step: int, *, num_steps: int | None = None) -> BatchPlan:
        """The batches of this step, which must be below total_steps, and after.

        Args:
          num_steps: so many, or fewer where the plan ends. None: to its end.
        """
        end = self.total_steps
        if num_steps is not None:
            end = min(step + num_steps, end)
        parts = [
            self._epochs.batches(epoch, places) for epoch, places in self._of(step, end)
        ]
        return BatchPlan(
            np.concatenate([part.buckets for part in parts]),
            np.concatenate([part.rows for part in parts]),
            whole=self,
        )

    def _of(self, step: int, end: int) -> Iterator[tuple[int, range]]:
        """The epochs from a step to another, and which places of each."""
        while step < end:
            epoch, place = divmod(step, self.steps_per_epoch)
            count = min(self.steps_per_epoch - place, end - step)
            yield epoch, range(place, place + count)
            step += count


def _buckets_of_rows(lengths: np.ndarray, bucket_lengths: Sequence[int]) -> np.ndarray:
    """The least bucket that each text fits: int16 [n]."""
    # A length's bucket is looked up once for all texts of that length.
    of_length = np.searchsorted(bucket_lengths, np.arange(bucket_lengths[-1] + 1))
    result: np.ndarray = of_length.astype(np.int16)[lengths]
    return result


def _padded_fraction(
    layout: Layout, lengths: np.ndarray, bucket_lengths: Sequence[int]
) -> float:
    """The same as `padded_fraction` of an epoch, from counts."""
    num_tokens = np.multiply(layout.sizes, bucket_lengths)
    computed = int(np.dot(layout.num_batches, num_tokens))
    return 1.0 - float(lengths.sum(dtype=np.int64) / computed) if computed else 0.0


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

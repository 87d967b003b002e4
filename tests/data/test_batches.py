"""Tests of trainer/data/batches.py: the plan, by other means; and its carrying out."""

from __future__ import annotations

import faulthandler
import gc
import itertools
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.data import batches
from trainer.data.batches import Batch, BatchFeeder, BatchPlan, TrainingPlan
from trainer.data.tokens import TokenizedTexts
from trainer.training import strategies

BUCKETS = (16, 32, 64)
NUM_TEXTS = 45


def some_lengths(count: int, *, longest: int = 64, seed: int = 0) -> np.ndarray:
    """Lengths in tokens of `count` texts: int32 [count]."""
    generator = np.random.default_rng(seed)
    return generator.integers(2, longest + 1, count).astype(np.int32)


def num_computed(lengths: np.ndarray, buckets: tuple[int, ...]) -> int:
    """Tokens computed, padding included, if each text is in the least bucket."""
    return sum(
        min(bucket for bucket in buckets if bucket >= length) for length in lengths
    )


def least_computed(lengths: np.ndarray, *, num_buckets: int, max_length: int) -> int:
    """The least of `num_computed` over all choices of buckets, by trying each."""
    below = range(16, max_length, 16)
    return min(
        num_computed(lengths, (*chosen, max_length))
        for count in range(num_buckets)
        for chosen in itertools.combinations(below, count)
    )


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("max_length", [3, 10, 16, 17, 64, 100, 128])
@pytest.mark.parametrize("seed", [0, 1])
def test_bucket_lengths_cost_the_least(
    num_buckets: int, max_length: int, seed: int
) -> None:
    lengths = some_lengths(40, longest=max_length, seed=seed)
    chosen = batches.choose_bucket_lengths(
        lengths, num_buckets=num_buckets, max_length=max_length
    )
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == max_length
    assert 1 <= len(chosen) <= num_buckets
    assert all(length % batches.LENGTH_MULTIPLE == 0 for length in chosen[:-1])
    assert num_computed(lengths, chosen) == least_computed(
        lengths, num_buckets=num_buckets, max_length=max_length
    )


@pytest.mark.parametrize(
    "lengths, num_buckets, max_length, expected",
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
    lengths: list[int], num_buckets: int, max_length: int, expected: tuple[int, ...]
) -> None:
    chosen = batches.choose_bucket_lengths(
        np.array(lengths, np.int32), num_buckets=num_buckets, max_length=max_length
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
        plan = batches.plan_epoch(
            lengths, BUCKETS, seed=0, epoch=epoch, batch_size=batch_size
        )
        assert_whole(plan, lengths, batch_size)


@pytest.mark.parametrize("num_rows, batch_size", SIZES)
@pytest.mark.parametrize("longest", [16, 30, 64])
def test_plan_evaluation_holds_every_row_once(
    num_rows: int, batch_size: int, longest: int
) -> None:
    lengths = some_lengths(num_rows, longest=longest)
    plan = batches.plan_evaluation(lengths, BUCKETS, batch_size=batch_size)
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
        return batches.plan_epoch(
            lengths, BUCKETS, seed=seed, epoch=epoch, batch_size=8
        )

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
    plan = batches.plan_epoch(lengths, BUCKETS, seed=0, epoch=0, batch_size=8)
    num_changes = int((np.diff(plan.buckets) != 0).sum())
    assert num_changes > len(plan) / 4
    for half in (plan.buckets[: len(plan) // 2], plan.buckets[len(plan) // 2 :]):
        assert set(half) == {0, 1, 2}


@pytest.mark.parametrize("num_rows, batch_size", SIZES)
def test_padded_fraction(num_rows: int, batch_size: int) -> None:
    lengths = some_lengths(num_rows)
    plan = batches.plan_epoch(lengths, BUCKETS, seed=0, epoch=0, batch_size=batch_size)
    num_tokens = num_padding = 0
    for bucket, rows in zip(plan.buckets.tolist(), plan.rows.tolist()):
        for row in rows:
            in_row = int(lengths[row]) if row >= 0 else 0
            num_tokens += in_row
            num_padding += BUCKETS[bucket] - in_row
    expected = num_padding / max(1, num_padding + num_tokens)
    assert batches.padded_fraction(plan, lengths, BUCKETS) == pytest.approx(expected)


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
        expected = batches.plan_epoch(
            lengths, BUCKETS, seed=3, epoch=epoch, batch_size=batch_size
        )
        assert same(BatchPlan(whole.buckets[steps], whole.rows[steps]), expected)


def test_fill() -> None:
    rows, weights = batches.fill(np.array([[4, 2, 0, 1], [7, 5, -1, -1]]))
    assert rows.tolist() == [[4, 2, 0, 1], [7, 5, 7, 7]]
    assert weights.tolist() == [[0.25] * 4, [0.5, 0.5, 0.0, 0.0]]
    assert weights.dtype == np.float32


@pytest.fixture(scope="module")
def material(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[TokenizedTexts, np.ndarray]:
    """Tokens and labels of tiny reviews; labels of many classes, to tell rows apart."""
    texts, _ = tiny.labelled_sentences(NUM_TEXTS)
    cache: pathlib.Path = tmp_path_factory.mktemp("cache")
    return tiny.tokenize(texts, cache), np.arange(100, 100 + NUM_TEXTS, dtype=np.int32)


def strategy_of(num_replicas: int) -> tf.distribute.Strategy:
    """The default strategy for one replica, a mirrored one for several."""
    if num_replicas == 1:
        return tf.distribute.get_strategy()
    return strategies.mirror([f"CPU:{i}" for i in range(num_replicas)])


def padded_by_hand(
    tokens: TokenizedTexts, labels: np.ndarray, rows: np.ndarray, length: int
) -> Batch:
    """A global batch in plain Python."""
    num_real = sum(row >= 0 for row in rows)
    result: dict[str, list[Any]] = {name: [] for name in Batch._fields}
    for row in rows:
        text = row if row >= 0 else rows[0]
        ids = tokens.token_ids[tokens.row_splits[text] : tokens.row_splits[text + 1]]
        padding = [tokens.pad_id] * (length - len(ids))
        result["token_ids"].append([*ids.tolist(), *padding])
        result["num_tokens"].append(len(ids))
        result["labels"].append(labels[text])
        result["weights"].append(1 / num_real if row >= 0 else 0.0)
    return Batch(
        token_ids=np.array(result["token_ids"], np.int32),
        num_tokens=np.array(result["num_tokens"], np.int32),
        labels=np.array(result["labels"], np.int32),
        weights=np.array(result["weights"], np.float32),
    )


@pytest.mark.parametrize("kind", ["training", "evaluation"])
@pytest.mark.parametrize("num_replicas", [1, 2, 4])
def test_replicas_batches_are_the_plans_rows(
    num_replicas: int, kind: str, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    tokens, labels = material
    batch_size = 8
    plan = (
        TrainingPlan(
            tokens.lengths, BUCKETS, seed=0, batch_size=batch_size, num_epochs=2
        ).from_step(3)
        if kind == "training"
        else batches.plan_evaluation(tokens.lengths, BUCKETS, batch_size=batch_size)
    )
    assert len(set(plan.buckets)) > 1 and (plan.rows < 0).any(), "too plain a plan"
    strategy = strategy_of(num_replicas)
    num_batches = 0
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy)
    for step, (rows, batch) in enumerate(feeder(plan)):
        num_batches += 1
        length = BUCKETS[plan.buckets[step]]
        assert rows.tolist() == plan.rows[step].tolist()
        expected = padded_by_hand(tokens, labels, rows, length)
        for name, whole in expected._asdict().items():
            parts = strategy.experimental_local_results(getattr(batch, name))
            assert len(parts) == num_replicas
            for part in parts:
                assert part.shape == (batch_size // num_replicas, *whole.shape[1:])
                assert part.dtype == whole.dtype, name
            together = np.concatenate([part.numpy() for part in parts])
            np.testing.assert_array_equal(together, whole, err_msg=name)
    assert num_batches == len(plan)


def test_weights_sum_to_one_and_repeated_rows_have_none(
    material: tuple[TokenizedTexts, np.ndarray],
) -> None:
    tokens, labels = material
    plan = batches.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy_of(1))
    num_repeated = 0
    for rows, batch in feeder(plan):
        weights = batch.weights.numpy()
        assert weights.sum() == pytest.approx(1.0, abs=1e-6)
        assert (weights[rows < 0] == 0).all() and (weights[rows >= 0] > 0).all()
        assert (batch.num_tokens.numpy() > 2).all(), "a row of nothing but padding"
        num_repeated += int((rows < 0).sum())
    assert num_repeated == -NUM_TEXTS % 8


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_step_is_traced_once_a_bucket(
    num_replicas: int, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    """Shapes inside a compiled step are static, and no others than the buckets'."""
    tokens, labels = material
    strategy = strategy_of(num_replicas)
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy)
    traced: list[tuple[int | None, ...]] = []

    def on_replica(batch: Batch) -> tf.Tensor:
        traced.append(tuple(batch.token_ids.shape))
        return tf.reduce_sum(batch.weights)

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: Batch) -> Any:
        return strategy.run(on_replica, args=(batch,))

    plan = TrainingPlan(tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=2)
    used = set()
    for bucket, (_, batch) in zip(plan.from_step(0).buckets, feeder(plan.from_step(0))):
        step(batch)
        used.add(BUCKETS[bucket])
    assert len(used) > 1
    assert sorted(set(traced)) == sorted((8 // num_replicas, n) for n in used)
    assert len(traced) == num_replicas * len(used)


def test_a_feeder_carries_out_several_plans(
    material: tuple[TokenizedTexts, np.ndarray],
) -> None:
    """Training goes on where it was after an evaluation in between."""
    tokens, labels = material
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy_of(1))
    plan = batches.plan_epoch(tokens.lengths, BUCKETS, seed=0, epoch=0, batch_size=8)
    evaluation = batches.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    training = feeder(plan)
    seen = []
    for step in range(len(plan)):
        seen.append(next(training)[1].labels.numpy() - 100)
        if step == 2:
            assert len(list(feeder(evaluation))) == len(evaluation)
    np.testing.assert_array_equal(seen, batches.fill(plan.rows)[0])


def test_an_empty_plan_gives_nothing(
    material: tuple[TokenizedTexts, np.ndarray],
) -> None:
    tokens, labels = material
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy_of(1))
    empty = BatchPlan(np.empty(0, np.int32), np.empty((0, 8), np.int64))
    assert list(feeder(empty)) == []


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_dropped_half_way_does_not_hang(
    num_replicas: int, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    tokens, labels = material
    strategy = strategy_of(num_replicas)
    plan = TrainingPlan(tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=50)
    # A hang would hold the interpreter's lock: only this ends it, with a traceback.
    faulthandler.dump_traceback_later(120, exit=True)
    try:
        for num_steps in (0, 1, 2, 5, 9):
            feeder = BatchFeeder(tokens, labels, BUCKETS, strategy)
            steps = feeder(plan.from_step(num_steps))
            taken = list(itertools.islice(steps, num_steps))
            assert len(taken) == num_steps
            del feeder, steps, taken
            gc.collect()
    finally:
        faulthandler.cancel_dump_traceback_later()

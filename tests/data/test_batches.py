"""Tests of trainer/data/batches.py: plans carried out on devices."""

from __future__ import annotations

import dataclasses
import faulthandler
import gc
import itertools
import pathlib
from typing import Any, Iterator

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from tests import tiny
from trainer.data import plans
from trainer.data.batches import Batch, BatchFeeder, Inputs
from trainer.data.plans import BatchPlan, TrainingPlan
from trainer.data.tokens import TokenizedTexts
from trainer.runtime import strategies

BUCKETS = (16, 32, 64)
NUM_TEXTS = 45


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
    names = ("token_ids", "num_tokens", "targets", "weights")
    result: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        text = row if row >= 0 else rows[0]
        ids = tokens.token_ids[tokens.row_splits[text] : tokens.row_splits[text + 1]]
        padding = [tokens.pad_id] * (length - len(ids))
        result["token_ids"].append([*ids.tolist(), *padding])
        result["num_tokens"].append(len(ids))
        result["targets"].append(labels[text])
        result["weights"].append(1 / num_real if row >= 0 else 0.0)
    return Batch(
        inputs=Inputs(
            token_ids=np.array(result["token_ids"], np.int32),
            num_tokens=np.array(result["num_tokens"], np.int32),
        ),
        targets=np.array(result["targets"], np.int32),
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
        else plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=batch_size)
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
        flat = zip(tf.nest.flatten(expected), tf.nest.flatten(batch), strict=True)
        for name, (whole, replicas) in enumerate(flat):
            parts = strategy.experimental_local_results(replicas)
            assert len(parts) == num_replicas
            for part in parts:
                assert part.shape == (batch_size // num_replicas, *whole.shape[1:])
                assert part.dtype == whole.dtype, name
            together = np.concatenate([part.numpy() for part in parts])
            np.testing.assert_array_equal(together, whole, err_msg=str(name))
    assert num_batches == len(plan)


@pytest.mark.parametrize("num_replicas", [1, 4])
def test_batches_by_budget(
    num_replicas: int, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    """Each example once an epoch at the same weight, whatever the size of its batch."""
    tokens, labels = material
    plan = TrainingPlan(
        tokens.lengths,
        BUCKETS,
        seed=0,
        batch_size=4,
        num_epochs=1,
        tokens_per_batch=512,
    )
    strategy = strategy_of(num_replicas)
    feeder = BatchFeeder(
        tokens, labels, BUCKETS, strategy, nominal_batch_size=plan.nominal_batch_size
    )
    seen: list[int] = []
    shapes = set()
    for rows, batch in feeder(plan.from_step(0)):
        found = [
            np.concatenate([p.numpy() for p in strategy.experimental_local_results(t)])
            for t in tf.nest.flatten(batch)
        ]
        token_ids, num_tokens, found_labels, weights = found
        shapes.add(token_ids.shape)
        assert (found_labels[rows >= 0] - 100).tolist() == rows[rows >= 0].tolist()
        assert num_tokens.tolist() == tokens.lengths[found_labels - 100].tolist()
        assert weights.tolist() == np.where(rows >= 0, 0.25, 0.0).tolist()
        seen += rows[rows >= 0].tolist()
    assert sorted(seen) == list(range(NUM_TEXTS))
    assert len(shapes) > 1 and shapes <= {(32, 16), (16, 32), (8, 64)}


@pytest.fixture(params=[False, True], ids=["any_order", "deterministic"])
def _determinism(request: pytest.FixtureRequest) -> Iterator[None]:
    """With and without it: tf.data rewrites pipelines that shall be deterministic."""
    was_on = config.is_op_determinism_enabled()
    if request.param:
        tf.config.experimental.enable_op_determinism()
    yield
    if not was_on:
        config.disable_op_determinism()


@pytest.mark.usefixtures("_determinism")
def test_cached_tokens_are_read_through_a_map(tmp_path: pathlib.Path) -> None:
    """Of 256 MiB of tokens only what is asked for comes to memory."""
    path, num_texts, length = tmp_path / "token_ids.bin", 2**17, 2**10
    with open(path, "wb") as file:
        file.truncate(2 * num_texts * length)
        file.seek(2 * 77_000 * length)
        file.write(np.arange(1, length + 1, dtype=np.uint16).tobytes())
    tokens = TokenizedTexts(
        np.memmap(path, np.uint16, mode="r"),
        np.arange(num_texts + 1, dtype=np.int64) * length,
        np.full(num_texts, length, np.int32),
        pad_id=0,
    )
    strategy_of(1)
    before = resident_kib()
    feeder = BatchFeeder(
        tokens, np.zeros(num_texts, np.int32), (length,), strategy_of(1)
    )
    plan = BatchPlan(np.zeros(1, np.int32), np.array([[3, 77_000]]))
    ((_, batch),) = feeder(plan)
    assert batch.inputs.token_ids.numpy().tolist() == [
        [0] * length,
        [*range(1, length + 1)],
    ]
    assert str(path) in pathlib.Path("/proc/self/maps").read_text()
    assert resident_kib() - before < 64 * 1024


def resident_kib() -> int:
    """Memory of this process that is in use now."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_mapped_tokens_give_the_same_batches(
    dtype: Any, material: tuple[TokenizedTexts, np.ndarray], tmp_path: pathlib.Path
) -> None:
    tokens, labels = material
    in_memory = dataclasses.replace(tokens, token_ids=np.array(tokens.token_ids, dtype))
    in_memory.token_ids.tofile(tmp_path / "ids.bin")
    mapped = dataclasses.replace(
        tokens, token_ids=np.memmap(tmp_path / "ids.bin", dtype, mode="r")
    )
    plan = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    one, other = (
        [batch for _, batch in BatchFeeder(t, labels, BUCKETS, strategy_of(1))(plan)]
        for t in (in_memory, mapped)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.inputs.token_ids, b.inputs.token_ids)
        np.testing.assert_array_equal(a.inputs.num_tokens, b.inputs.num_tokens)


def test_weights_sum_to_one_and_repeated_rows_have_none(
    material: tuple[TokenizedTexts, np.ndarray],
) -> None:
    tokens, labels = material
    plan = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy_of(1))
    num_repeated = 0
    for rows, batch in feeder(plan):
        weights = batch.weights.numpy()
        assert weights.sum() == pytest.approx(1.0, abs=1e-6)
        assert (weights[rows < 0] == 0).all() and (weights[rows >= 0] > 0).all()
        assert (
            batch.inputs.num_tokens.numpy() > 2
        ).all(), "a row of nothing but padding"
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
        traced.append(tuple(batch.inputs.token_ids.shape))
        return tf.reduce_sum(batch.weights)

    @tf.function
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
    plan = plans.plan_epoch(tokens.lengths, BUCKETS, seed=0, epoch=0, batch_size=8)
    evaluation = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    training = iter(feeder(plan))
    seen = []
    for step in range(len(plan)):
        seen.append(next(training)[1].targets.numpy() - 100)
        if step == 2:
            assert len(list(feeder(evaluation))) == len(evaluation)
    np.testing.assert_array_equal(seen, plans.fill(plan.rows)[0])


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
            steps = iter(feeder(plan.from_step(num_steps)))
            taken = list(itertools.islice(steps, num_steps))
            assert len(taken) == num_steps
            del feeder, steps, taken
            gc.collect()
    finally:
        faulthandler.cancel_dump_traceback_later()


def _inner(pipeline: Any) -> list[Any]:
    """The iterators on the devices."""
    inner: list[Any] = pipeline._iterators[0]._iterator._device_iterators
    return inner


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_no_pipeline_is_autotuned(
    num_replicas: int, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    """Whoever deletes the iterator of one that is may wait for it for a minute."""
    tokens, labels = material
    plan = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=8)
    feed = BatchFeeder(tokens, labels, BUCKETS, strategy_of(num_replicas))(plan)
    iterators: list[Any] = [
        owned
        for pipeline in feed.pipelines
        for owned in (_inner(pipeline) if num_replicas > 1 else [pipeline])
    ]
    assert len(iterators) == len(feed.pipelines) * num_replicas
    for iterator in iterators:
        assert iterator._dataset.options().autotune.enabled is False


def _spec(pipeline: Any) -> Any:
    return pipeline.element_spec


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_part_has_the_pipelines_of_the_whole(
    num_replicas: int, material: tuple[TokenizedTexts, np.ndarray]
) -> None:
    """Or steps would be compiled anew for a part that has no batch of some length."""
    tokens, labels = material
    plan = TrainingPlan(tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=2)
    part = plan.from_step(3, num_steps=1)
    strategy = strategy_of(num_replicas)
    feeder = BatchFeeder(tokens, labels, BUCKETS, strategy)
    whole, feed = feeder(plan.from_step(0)), feeder(part)
    assert feed.lengths == whole.lengths and len(feed.lengths) > 1 == len(part)
    specs = [[_spec(p) for p in f.pipelines] for f in (whole, feed)]
    assert specs[0] == specs[1]
    ((rows, batch),) = feed
    local = strategy.experimental_local_results(batch.targets)
    assert rows.tolist() == part.rows[0].tolist()
    targets = np.concatenate([each.numpy() for each in local])
    assert targets.tolist() == (100 + plans.fill(part.rows)[0][0]).tolist()

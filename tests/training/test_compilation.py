"""All shapes are compiled before training, and nothing else has changed by it."""

from __future__ import annotations

import logging
import pathlib
import re
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.training.test_steps import make_classifier, strategy_of
from trainer.data import batches, plans
from trainer.modeling.forward import Fusion
from trainer.training import compilation

BUCKETS = (32, 64)


@pytest.mark.parametrize(
    ("num_replicas", "steps_per_call", "by_running", "fusion"),
    [
        (1, 1, False, "pieces"),
        pytest.param(1, 3, False, "none", marks=pytest.mark.slow),
        pytest.param(1, 3, True, "whole", marks=pytest.mark.slow),
        pytest.param(2, 1, True, "whole", marks=pytest.mark.slow),
        pytest.param(2, 2, True, "none", marks=pytest.mark.slow),
    ],
)
def test_compiles_all_there_is_and_keeps_the_weights(
    num_replicas: int,
    steps_per_call: int,
    by_running: bool,
    fusion: Fusion,
    tiny_preset: str,
    cache_dir: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts, labels = tiny.labelled_sentences(27)
    tokens = tiny.tokenize(texts, cache_dir)
    strategy = strategy_of(num_replicas)
    model = make_classifier(strategy, tiny_preset, dropout=0.1)
    feeder = batches.BatchFeeder(tokens, labels, BUCKETS, strategy)
    plan = plans.TrainingPlan(
        tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=2
    ).from_step(0)
    evaluation = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=6)
    step = tiny.make_train_step(
        model,
        strategy,
        clip_norm=0.5,
        seed=0,
        steps_per_call=steps_per_call,
        fusion=fusion,
    )
    predict = tiny.make_predict_step(model, strategy, fusion=fusion)
    variables = [*model.trainable_variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in model.variables + variables]
    beats: list[str] = []

    with caplog.at_level(logging.INFO, logger=compilation.__name__):
        compilation.compile_steps(
            step,
            predict,
            train_feed=feeder.rehearsal(plan),
            predict_feed=feeder.rehearsal(evaluation),
            variables=variables,
            by_running=by_running,
            beat=beats.append,
        )

    after = [variable.numpy() for variable in model.variables + variables]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {record.name for record in caplog.records} == {compilation.__name__}
    lines = [re.sub(r"[\d.]+ s$", "… s", m) for m in caplog.messages]
    lengths = [BUCKETS[bucket] for bucket in sorted(set(plan.buckets))]
    assert len(lengths) > 1
    assert lines[: 2 * len(lengths)] == [
        line
        for i, n in enumerate(lengths, 1)
        for line in (
            f"compiling train step at length {n} ({i} of {len(lengths)}) ...",
            f"compiled train step at length {n} ({i} of {len(lengths)}): … s",
        )
    ]
    assert f"compiling predict step at length {BUCKETS[-1]}" in lines[-2]
    assert f"compiled predict step at length {BUCKETS[-1]}" in lines[-1]
    assert 2 * (len(beats) - (steps_per_call > 1)) == len(lines)

    functions: list[Any] = [step._one, step._many, predict._run]
    functions += [step._step] * (steps_per_call > 1)
    traced = [function.experimental_get_tracing_count() for function in functions]
    assert traced[0] == traced[-1] == len(lengths)
    assert traced[1] == (steps_per_call > 1)
    feed = feeder(plan)
    step(feed.pipelines, feed.order[:steps_per_call])
    for index in range(len(lengths)):
        step(feed.pipelines, np.array([index], np.int32))
    for _, batch in feeder(evaluation):
        predict(batch)
    assert traced == [f.experimental_get_tracing_count() for f in functions]
    assert any((v.numpy() != b).any() for v, b in zip(model.variables, before))


def test_says_before_it_starts_how_long_it_takes() -> None:
    """48 programs on the eight GPUs of a machine."""
    said = compilation.announcement(3, 3, 8, 80.0)
    assert said.startswith(
        "compiling 48 programs: 3 lengths to train and 3 to predict, on 8 replicas. At "
        "80 s each (BERT-base on an H100) it takes 1:04:00; "
    )
    assert "on 1 replica. At" in compilation.announcement(1, 1, 1, 80.0)

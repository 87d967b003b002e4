"""All shapes are compiled before training, and nothing else has changed by it."""

from __future__ import annotations

import logging
import pathlib
import re
from typing import Any, Callable, Sequence

import numpy as np
import pytest

from tests import tiny
from tests.training.test_steps import make_classifier, strategy_of
from trainer.data import batches, plans
from trainer.modeling.forward import Fusion
from trainer.training import compilation

BUCKETS = (32, 64)


class Steps:
    """Steps of a tiny classifier, and the feeds that show them all lengths."""

    def __init__(
        self,
        preset: str,
        cache_dir: pathlib.Path,
        *,
        num_replicas: int = 1,
        fusion: Fusion,
        steps_per_call: int = 1,
        any_length: bool = False,
    ) -> None:
        texts, labels = tiny.labelled_sentences(27)
        tokens = tiny.tokenize(texts, cache_dir)
        strategy = strategy_of(num_replicas)
        self.model = make_classifier(strategy, preset, dropout=0.1)
        self.feeder = batches.BatchFeeder(tokens, labels, BUCKETS, strategy)
        self.all_steps = plans.TrainingPlan(
            tokens.lengths, BUCKETS, seed=0, batch_size=8, num_epochs=2
        )
        self.plan = self.all_steps.from_step(0)
        # All batches of one size, which a graph of any length has.
        self.evaluation = plans.plan_evaluation(tokens.lengths, BUCKETS, batch_size=6)
        self.train = tiny.make_train_step(
            self.model,
            strategy,
            clip_norm=0.5,
            seed=0,
            steps_per_call=steps_per_call,
            fusion=fusion,
            any_length=any_length,
        )
        self.predict = tiny.make_predict_step(
            self.model, strategy, fusion=fusion, any_length=any_length
        )
        self.variables = [
            *self.model.trainable_variables,
            *self.model.optimizer.variables,
        ]

    def compile(
        self, *, by_running: bool, beat: Callable[[str], None], **settings: Any
    ) -> None:
        compilation.compile_steps(
            self.train,
            self.predict,
            train_feed=self.feeder.rehearsal(self.all_steps),
            predict_feed=self.feeder.rehearsal(self.evaluation),
            variables=self.variables,
            by_running=by_running,
            beat=beat,
            **settings,
        )

    def run(self, lengths: Sequence[int]) -> None:
        """Trains at each length, and predicts all."""
        feed = self.feeder(self.plan)
        self.train(feed.pipelines, feed.order[: self.train.steps_per_call])
        for index in range(len(lengths)):
            self.train(feed.pipelines, np.array([index], np.int32))
        # And of steps that are listed in parts, as of large data.
        for step in range(len(self.plan)):
            part = self.feeder(self.all_steps.from_step(step, num_steps=1))
            self.train(part.pipelines, part.order)
        for _, batch in self.feeder(self.evaluation):
            self.predict(batch)

    def num_traced(self) -> list[int]:
        functions: list[Any] = [self.train._one, self.train._many, self.predict._run]
        functions += [self.train._step] * (self.train.steps_per_call > 1)
        return [function.experimental_get_tracing_count() for function in functions]


@pytest.mark.parametrize(
    ("settings", "by_running"),
    [
        ({"fusion": "pieces"}, False),
        pytest.param(
            {"fusion": "none", "steps_per_call": 3}, False, marks=pytest.mark.slow
        ),
        pytest.param(
            {"fusion": "whole", "num_replicas": 2}, True, marks=pytest.mark.slow
        ),
        pytest.param(
            {"fusion": "none", "num_replicas": 2, "steps_per_call": 2},
            True,
            marks=pytest.mark.slow,
        ),
        ({"fusion": "pieces", "any_length": True}, True),
    ],
)
def test_compiles_all_there_is_and_keeps_the_weights(
    settings: dict[str, Any],
    by_running: bool,
    one_layer_preset: str,
    cache_dir: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Steps(one_layer_preset, cache_dir, **settings)
    watched = steps.model.variables + steps.variables
    before = [variable.numpy() for variable in watched]
    beats: list[str] = []

    with caplog.at_level(logging.INFO, logger=compilation.__name__):
        steps.compile(by_running=by_running, beat=beats.append)

    for one, other in zip(before, watched, strict=True):
        np.testing.assert_array_equal(one, other.numpy())
    assert {record.name for record in caplog.records} == {compilation.__name__}
    lines = [re.sub(r"[\d.]+ s$", "… s", m) for m in caplog.messages]
    lengths = [BUCKETS[bucket] for bucket in sorted(set(steps.plan.buckets))]
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
    is_many = settings.get("steps_per_call", 1) > 1
    assert 2 * (len(beats) - is_many) == len(lines)

    traced = steps.num_traced()
    num_graphs = 1 if settings.get("any_length") else len(lengths)
    assert traced[0] == traced[-1] == num_graphs
    assert traced[1] == is_many
    steps.run(lengths)
    assert traced == steps.num_traced()
    assert any((v.numpy() != b).any() for v, b in zip(steps.model.variables, before))


def test_one_graph_that_nothing_compiles_is_made_once(
    one_layer_preset: str, cache_dir: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps(one_layer_preset, cache_dir, fusion="none", any_length=True)
    with caplog.at_level(logging.INFO, logger=compilation.__name__):
        steps.compile(
            by_running=False, beat=lambda waiting_for: None, secs_per_program=80.0
        )
    first, *others = caplog.messages
    assert "it takes 0:0" in first and first.startswith("compiling 4 programs: ")
    assert [message.partition(": ")[0] for message in others] == [
        "compiling train step for all lengths ...",
        "compiled train step for all lengths",
        "compiling predict step for all lengths ...",
        "compiled predict step for all lengths",
    ]
    traced = steps.num_traced()
    assert traced == [1, 0, 1]
    steps.run(BUCKETS)
    assert traced == steps.num_traced()


def test_says_before_it_starts_how_long_it_takes() -> None:
    """48 programs on the eight GPUs of a machine."""
    said = compilation.announcement(3, 3, 8, 80.0)
    assert said.startswith(
        "compiling 48 programs: 3 lengths to train and 3 to predict, on 8 replicas. At "
        "80 s each (BERT-base on an H100) it takes 1:04:00; "
    )
    assert "on 1 replica. At" in compilation.announcement(1, 1, 1, 80.0)

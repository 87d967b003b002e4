"""Runs whose epochs are computed and fed in parts, as those of large data are."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.equalities import assert_same_when_killed_and_on_two_replicas
from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.data.plans import TrainingPlan
from trainer.stages.context import Stopwatch


@pytest.fixture(name="as_of_large_data")
def _as_of_large_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is listed, and no more than five steps are fed at a time."""
    defaults: Any = TrainingPlan.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "most_listed_rows", 0)
    monkeypatch.setitem(defaults, "places_at_once", 5 * 8)


@pytest.mark.usefixtures("as_of_large_data")
def test_learns_from_parts(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    report = experiment.run(make_config(tmp_path, tiny_preset)).report
    training = report["training"]
    assert training["num_steps_run"] == training["total_steps"] > 3 * 5
    assert report["after"]["test"]["accuracy"] > 0.85


@pytest.mark.slow
@pytest.mark.usefixtures("as_of_large_data")
def test_killed_and_on_two_replicas_it_is_the_same(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    short: dict[str, Any] = {"num_train_epochs": 2, "save_every_steps": 3}

    def made(name: str, **changes: Any) -> ExperimentConfig:
        model_dir = str(tmp_path / name)
        return make_config(
            tmp_path, tiny_preset, training=short, model_dir=model_dir, **changes
        )

    assert_same_when_killed_and_on_two_replicas(made, tmp_path)


def test_the_first_part_is_the_first_step() -> None:
    """What later parts are fed at does not change how long it took to begin."""
    stopwatch = Stopwatch()
    stopwatch.start_training()
    first = stopwatch.laps["secs_to_first_step"]
    stopwatch.start_training()
    assert stopwatch.laps["secs_to_first_step"] == first

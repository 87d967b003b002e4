"""--accumulation_steps=auto: as many parts as the memory asks for, the same result."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.test_experiment import make_config, weights_of
from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.forecast.workload import Workload
from trainer.runtime import memory
from trainer.stages import parts
from trainer.training.checkpoints import Checkpoints
from trainer.training.steps import TrainStep

TRAINING = {"accumulation_steps": "auto", "num_train_epochs": 1, "save_every_steps": 7}
Limit = Callable[[int | None], None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    """Says how many bytes there are, of which the program holds none."""

    def set_limit(num_bytes: int | None) -> None:
        monkeypatch.setattr(memory, "limit_bytes", lambda *, on_gpu: num_bytes)

    monkeypatch.setattr(memory, "held_bytes", lambda: 0)
    return set_limit


def make_auto(folder: pathlib.Path, preset: str, **changes: Any) -> ExperimentConfig:
    """Steps of eight texts, without dropout, whose masks differ by part."""
    return make_config(
        folder, preset, **{"model": {"dropout": 0.0}, "training": TRAINING} | changes
    )


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[pathlib.Path, Workload]:
    """A run with memory for all rows at once: its folder, and what its step takes."""
    folder = tmp_path_factory.mktemp("whole")
    loads = []
    with pytest.MonkeyPatch.context() as patched:
        reckoned = parts.reckoned

        def noting(*arguments: Any) -> parts.Parts:
            found = reckoned(*arguments)
            loads.append(found.load)
            return found

        patched.setattr(parts, "reckoned", noting)
        patched.setattr(memory, "held_bytes", lambda: 0)
        report = experiment.run(make_auto(folder, tiny_preset)).report
    assert report["training"]["accumulation_steps"] == 1
    assert report["settings_in_words"]["accumulation_steps"] == "all at once"
    assert loads[0].rows == loads[0].rows_multiple == 8
    return folder / "run", loads[0]


def taken(load: Workload, num_parts: int) -> int:
    """Bytes of a step in so many parts."""
    return dataclasses.replace(load, num_parts=num_parts).total_bytes()


def assert_close_weights(one: pathlib.Path, other: pathlib.Path) -> None:
    """Weights, moments and all, to rounding."""
    expected, found = weights_of(one), weights_of(other)
    assert expected.keys() == found.keys()
    worst = sorted(np.abs(expected[key] - found[key]).max() for key in expected)
    # The gradient of a key's bias is 0 but for rounding, which Adam blows up: the two
    # layers' key biases and their moments are let off more lightly.
    assert worst[-7] < 5e-5 and worst[-1] < 5e-3, worst


@pytest.mark.slow
def test_a_run_resumes_in_less_memory_and_in_more(
    whole: tuple[pathlib.Path, Workload],
    limit: Limit,
    tmp_path: pathlib.Path,
    tiny_preset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undisturbed, load = whole
    config = make_auto(tmp_path, tiny_preset)
    save = Checkpoints.save_latest
    reports = []
    for num_parts, dies in ((4, True), (2, False)):
        limit(taken(load, num_parts))
        with monkeypatch.context() as patched:
            used = []
            accumulated = TrainStep._accumulated

            def noting(self: TrainStep, *arguments: Any) -> Any:
                used.append(self._accumulation_steps)
                return accumulated(self, *arguments)

            def save_and_die(self: Checkpoints) -> None:
                save(self)
                raise RuntimeError("killed")

            patched.setattr(TrainStep, "_accumulated", noting)
            if dies:
                patched.setattr(Checkpoints, "save_latest", save_and_die)
                with pytest.raises(RuntimeError, match="killed"):
                    experiment.run(config)
            else:
                reports.append(experiment.run(config).report)
            assert set(used) == {num_parts}
    assert_close_weights(undisturbed, tmp_path / "run")
    (report,) = reports
    undone = json.loads((undisturbed / "report.json").read_text())
    assert report["training"] == undone["training"] | {"accumulation_steps": 2}
    assert report["settings_in_words"]["accumulation_steps"] == "2 parts"
    assert report["config"]["training"]["accumulation_steps"] == "auto"
    chosen = report["environment"]["chosen"]
    assert "share of a batch in 2 parts of 4 texts of 48 tokens, reckoned" in chosen


@pytest.mark.slow
def test_a_plan_has_the_parts_and_what_never_fits_is_refused_before_the_work(
    whole: tuple[pathlib.Path, Workload],
    limit: Limit,
    tmp_path: pathlib.Path,
    tiny_preset: str,
) -> None:
    _, load = whole
    config = make_auto(tmp_path, tiny_preset)

    def planned() -> tuple[dict[str, Any], str]:
        table = experiment.dry_run(config)
        return json.loads((tmp_path / "run" / "plan.json").read_text()), table

    limit(taken(load, 4))
    plan, table = planned()
    assert plan["fits"] and plan["accumulation_steps"] == 4
    assert "Parts     4 of" in table

    limit(taken(load, 8) - 1)
    plan, table = planned()
    assert not plan["fits"] and plan["accumulation_steps"] == 8
    assert plan["remedies"] and "DOES NOT FIT" in table
    with pytest.raises(ValueError, match="parts of 1 text of 48 tokens. Rec") as caught:
        experiment.run(config)
    assert "too little on this machine" in str(caught.value)
    for flag in plan["remedies"]:
        assert not flag.startswith("--accumulation") and flag in str(caught.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["plan.json"]


@pytest.mark.slow
def test_devices_that_run_out_of_memory_try_more_parts(
    whole: tuple[pathlib.Path, Workload],
    limit: Limit,
    tmp_path: pathlib.Path,
    tiny_preset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two replicas of four rows each; the reckoning has it that two parts would do."""
    undisturbed, load = whole
    mirrored = {"strategy": "mirrored", "num_virtual_devices": 2}
    config = make_auto(tmp_path, tiny_preset, runtime=mirrored)
    # CPUs are not tried, for their processes would be killed.
    monkeypatch.setattr(parts, "are_tried", lambda run: True)
    each = dataclasses.replace(load, rows=4, rows_multiple=4, num_replicas=2)
    limit(taken(each, 2))
    compute = TrainStep._loss_and_gradients
    tried = []

    def with_memory_for(least_parts: int) -> None:
        def computing(self: TrainStep, *arguments: Any) -> Any:
            tried.append(self._accumulation_steps)
            if self._accumulation_steps < least_parts:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return compute(self, *arguments)

        monkeypatch.setattr(TrainStep, "_loss_and_gradients", computing)

    with_memory_for(5)
    with pytest.raises(ValueError, match="too little on this machine; .*--remat"):
        experiment.run(config)
    assert set(tried) == {2, 4} and not (tmp_path / "run" / "config.json").exists()

    with_memory_for(4)
    report = experiment.run(config).report
    assert report["training"]["accumulation_steps"] == 4
    assert "4 parts of 1 text of 48 tokens, tried" in report["environment"]["chosen"]
    # What was tried has changed nothing.
    assert_close_weights(undisturbed, tmp_path / "run")

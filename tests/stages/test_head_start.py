"""The head that begins as the frozen encoder's logistic regression."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import pytest

from tests.test_experiment import assert_equal_weights, make_config
from trainer import experiment
from trainer.config import ServingConfig


def _run(
    folder: pathlib.Path, preset: str, *, name: str = "run", **changes: Any
) -> dict[str, Any]:
    """The report of a run of one epoch."""
    config = make_config(
        folder,
        preset,
        model_dir=str(folder / name),
        training={"num_train_epochs": 1},
        **changes,
    )
    return dict(experiment.run(config).report)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_untrained_it_answers_as_the_frozen_baseline(
    tmp_path: pathlib.Path, tiny_preset: str, pooling: str
) -> None:
    report = _run(
        tmp_path,
        tiny_preset,
        model={"head_start": "frozen", "pooling": pooling},
        # So low that nothing is trained.
        optimizer={"learning_rate": 1e-12},
        serving=ServingConfig(calibrate=False),
        baselines=("frozen",),
    )
    for split in ("validation", "test"):
        model, frozen = report["after"][split], report["baselines"]["frozen"][split]
        assert model["accuracy"] == frozen["accuracy"] > 0.55
        assert model["loss"] == pytest.approx(frozen["loss"], abs=1e-4)
    # Before, the head was random.
    assert report["before"]["test"]["loss"] > report["after"]["test"]["loss"] + 1e-3
    comparison = report["comparisons"]["frozen"]
    assert (comparison["difference"], comparison["num_discordant"]) == (0.0, 0)


def test_begun_again_it_starts_from_the_recorded_head(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    settings: dict[str, Any] = {"model": {"head_start": "frozen"}, "baselines": ()}
    report = _run(tmp_path, tiny_preset, **settings)
    assert report["baselines"] == report["comparisons"] == {}
    run, whole = tmp_path / "run", tmp_path / "whole"
    shutil.copytree(run, whole)
    # As a run that was killed before its first checkpoint.
    shutil.rmtree(run / "checkpoints")
    (run / "report.json").unlink()
    read_before = (run / "baselines" / "head.json").read_text()
    _run(tmp_path, tiny_preset, **settings)
    assert (run / "baselines" / "head.json").read_text() == read_before
    assert_equal_weights(run, whole)

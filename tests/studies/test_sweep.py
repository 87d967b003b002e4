"""Tests of trainer/studies/sweep.py: real tiny trials, killed and not, together and alone."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from tests import processes
from tests.studies.tiny_runs import make_study, start
from tests.test_experiment import assert_equal_weights
from tests.test_flags import parse as parse_run
from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.studies import driver
from trainer.study_config import StudyConfig


def make_sweep(folder: pathlib.Path, preset: str, **changes: Any) -> StudyConfig:
    """Two trials on half of the texts, one on all; one rate learns, one does not."""
    values: dict[str, Any] = {
        "study": "sweep",
        "train_sizes": (),
        "sweep": ("learning_rate=1e-9,1e-2",),
        "num_trials": 2,
        "rungs": ("0.5", "1"),
        # That of what was chosen; no trial has one.
        "serving": {"export": True},
    }
    return make_study(folder, preset, **values | changes)


def results(config: StudyConfig) -> Any:
    """study.json without what depends on clock and folder."""
    study = json.loads((pathlib.Path(config.study_dir) / "study.json").read_text())
    del study["config"], study["environment"], study["title"]
    for each in study["runs"]:
        assert each.pop("secs") > 0
    for trial in study["trials"]:
        trial.pop("train_secs")
    return study


def report(config: StudyConfig, number: int) -> Any:
    path = pathlib.Path(config.study_dir) / "runs" / f"{number:03}" / "report.json"
    return json.loads(path.read_text())


def config_of(config: StudyConfig, number: int) -> ExperimentConfig:
    path = pathlib.Path(config.study_dir) / "runs" / f"{number:03}" / "config.json"
    return ExperimentConfig.from_json(path.read_text())


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> StudyConfig:
    """A sweep that was let alone."""
    config = make_sweep(tmp_path_factory.mktemp("sweep"), tiny_preset)
    driver.run(config)
    return config


@pytest.mark.slow
def test_the_planted_best_wins(undisturbed: StudyConfig) -> None:
    study = results(undisturbed)
    trials = study["trials"]
    assert trials[study["winner"]]["settings"] == {"learning_rate": 1e-2}
    assert trials[study["winner"]]["status"] == "winner"
    assert sorted(len(trial["rungs"]) for trial in trials) == [1, 2]
    assert [each["number"] for each in study["runs"]] == list(range(2 + 1 + 1))
    chosen = report(undisturbed, study["chosen_run"])
    assert study["split"] == "test"
    # The metric of tests/test_experiment.py's runs is the loss.
    assert study["mean"] == chosen["after"]["test"]["loss"]
    interval = chosen["after"]["test"]["confidence_intervals_95"]["loss"]
    assert study["interval_95"] == interval
    assert not any("exactly as its trial's did" in said for said in study["answers"])
    folder = pathlib.Path(undisturbed.study_dir)
    assert "learning_rate=0.01" in (folder / "study.txt").read_text()
    assert "<img" in (folder / "study.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_test_is_answered_once_and_never_trained_on(undisturbed: StudyConfig) -> None:
    *trials, chosen = (report(undisturbed, number) for number in range(4))
    held_out = chosen["data"]["fingerprint"]
    assert set(held_out) == {"train", "validation", "test"}
    for number, trial in enumerate(trials):
        assert set(trial["data"]["fingerprint"]) == {"train", "validation"}
        assert set(trial["after"]) == set(trial["before"]) == {"validation"}
        assert trial["data"]["fingerprint"]["validation"] == held_out["validation"]
        folder = pathlib.Path(undisturbed.study_dir) / "runs" / f"{number:03}"
        assert not (folder / "predictions" / "test.jsonl").exists()
        assert not (folder / "export").exists() and trial["export"] is None
    # On all texts trials train on the very texts of a run that tests.
    assert trials[2]["data"]["fingerprint"]["train"] == held_out["train"]
    assert chosen["export"]["path"]
    assert chosen["history"]["validation"] == trials[2]["history"]["validation"]


@pytest.mark.slow
def test_the_winners_flagfile_is_its_run(undisturbed: StudyConfig) -> None:
    folder = pathlib.Path(undisturbed.study_dir)
    config = parse_run(f"--flagfile={folder / 'winner.flags'}")
    assert config == config_of(undisturbed, 3)
    # It is there, and finished.
    assert experiment.run(config).report == report(undisturbed, 3)


@pytest.mark.slow
def test_a_trial_alone_gives_what_it_gives_within(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """Trial 1, before which another was trained in the process; to the bit."""
    within = pathlib.Path(undisturbed.study_dir) / "runs" / "001"
    config = config_of(undisturbed, 1)
    alone = dataclasses.replace(config, model_dir=str(tmp_path / "alone"))
    other = experiment.run(alone)
    assert other.saved_model is None
    assert_equal_weights(within, tmp_path / "alone")
    one = report(undisturbed, 1)
    for part in ("before", "after", "training", "decision"):
        assert one[part] == other.report[part]


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_same_table(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    config = dataclasses.replace(undisturbed, study_dir=str(tmp_path / "killed"))
    latest = tmp_path / "killed" / "runs" / "001" / "checkpoints" / "latest"
    processes.kill_when(start(config), lambda: any(latest.glob("*.index")))
    assert not (tmp_path / "killed" / "study.json").exists()
    driver.run(config)
    assert results(config) == results(undisturbed)
    for number in range(4):
        folders = [
            pathlib.Path(each.study_dir) / "runs" / f"{number:03}"
            for each in (config, undisturbed)
        ]
        assert_equal_weights(*folders)


@pytest.mark.slow
def test_a_range_test_leaves_a_curve_and_no_checkpoint(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    config = dataclasses.replace(
        undisturbed,
        study_dir=str(tmp_path / "ranged"),
        sweep=(),
        rungs=("1",),
        range_test=True,
    )
    table = driver.run(config)
    study = results(config)
    curve = study["range_test"]
    rates = curve["learning_rates"]
    assert rates[0] == pytest.approx(1e-4) and 10 < len(rates) <= 100
    assert len(rates) == len(curve["losses"]) == len(curve["smoothed"])
    assert 1e-4 < curve["low"] < curve["high"] < 1
    assert (
        f"--sweep=learning_rate=log:{curve['low']:g}:{curve['high']:g}"
        in table.replace("\n", " ")
    )
    assert study["mean"] is None and study["runs"] == []
    left = {path.name for path in (tmp_path / "ranged").rglob("*") if path.is_file()}
    assert left == {
        *("config.json", "study.json", "study.html", "study.txt", "range_test.json"),
    }

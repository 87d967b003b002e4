"""Tests of trainer/studies/driver.py: real tiny runs, killed and not, together and alone."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import signal
from typing import Any

import pytest

from tests import processes
from tests.evaluation.tiny_report import TIMING, tiny_report
from tests.studies.tiny_runs import make_study, results, start
from tests.test_experiment import assert_equal_weights
from trainer import exit_codes
from trainer.config import DataConfig, ExperimentConfig, ModelConfig
from trainer.studies import driver
from trainer.studies.plan import FinishedRun, PlannedRun
from trainer.study_config import StudyConfig


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> StudyConfig:
    """A study that was let alone."""
    config = make_study(tmp_path_factory.mktemp("undisturbed"), tiny_preset)
    driver.run(config)
    return config


def test_it_leaves_runs_and_results(undisturbed: StudyConfig) -> None:
    folder = pathlib.Path(undisturbed.study_dir)
    left = {path.name for path in folder.iterdir()}
    assert left == {
        *("config.json", "runs", "study.json", "study.html", "study.txt"),
        "learning_curve.png",
    }
    study = results(undisturbed)
    points = study["curves"]["fine_tuned"]["points"]
    assert [point["num_train_examples"] for point in points] == [16, 40]
    held_out = []
    for run, point in zip(study["runs"], points, strict=True):
        report = json.loads((folder / run["folder"] / "report.json").read_text())
        after = report["after"]["test"]
        assert point["mean"] == run["accuracy"] == after["accuracy"]
        assert report["training"]["num_train_examples"] == run["num_train_examples"]
        assert after["num_examples"] == study["num_examples"] == 20
        held_out.append(report["data"]["fingerprint"]["test"])
        assert f'href="{run["folder"]}/report.html"' in (
            folder / "study.html"
        ).read_text(encoding="utf-8")
    assert held_out[0] == held_out[1]
    assert study["curves"]["fine_tuned"]["fit"] is None
    assert (folder / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_finished_study_is_left_alone(
    undisturbed: StudyConfig, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pathlib.Path(undisturbed.study_dir)
    files = [path for path in folder.glob("runs/*/**/*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    results_before = results(undisturbed)
    with caplog.at_level(logging.INFO, "trainer"):
        table = driver.run(undisturbed)
    assert before == {path: path.stat().st_mtime_ns for path in files}
    assert caplog.text.count("finished: nothing to do") == 2
    assert results(undisturbed) == results_before
    assert table == (folder / "study.txt").read_text()


@pytest.mark.slow
def test_a_run_gives_within_a_study_what_it_gives_alone(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """The second one, after which another was trained in the process; to the bit."""
    within = pathlib.Path(undisturbed.study_dir) / "runs" / "001"
    config = ExperimentConfig.from_json((within / "config.json").read_text())
    alone = dataclasses.replace(config, model_dir=str(tmp_path / "alone"))
    processes.finish([processes.start(alone)])
    assert_equal_weights(within, tmp_path / "alone")
    one, other = (
        json.loads((path / "report.json").read_text())
        for path in (within, tmp_path / "alone")
    )
    for part in ("before", "after", "training", "decision"):
        assert one[part] == other[part]


@pytest.mark.slow
def test_a_stopped_study_continues_where_it_was(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """Killed in its first run and told to end in its second, in real processes."""
    study_dir = tmp_path / "study"
    config = dataclasses.replace(undisturbed, study_dir=str(study_dir))

    def is_in(run: str) -> bool:
        return any((study_dir / "runs" / run / "checkpoints").glob("latest/*.index"))

    processes.kill_when(start(config), lambda: is_in("000"))
    assert not (study_dir / "runs" / "000" / "report.json").exists()
    process = start(config)
    processes.signal_when(process, lambda: is_in("001"), signal.SIGTERM)
    (output,) = processes.finish([process], returncode=exit_codes.RESTART)
    assert "resuming from step" in output and "start it again to resume" in output
    assert not (study_dir / "runs" / "001" / "report.json").exists()
    assert not (study_dir / "study.json").exists()
    driver.run(config)

    assert results(config) == results(undisturbed)
    for run in ("000", "001"):
        runs = [pathlib.Path(c.study_dir) / "runs" / run for c in (config, undisturbed)]
        assert_equal_weights(*runs)


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"train_sizes": ("16", "30")}, "--train_sizes: 16,40 there, 16,30 now"),
        ({"seeds": ("1",)}, "--seeds:  there, 1 now"),
        ({"sample_texts": ("A film.",)}, "--sample_texts:  there, A film. now"),
    ],
    ids=str,
)
def test_a_folder_of_another_study_is_refused(
    undisturbed: StudyConfig, changes: dict[str, Any], received: str
) -> None:
    other = dataclasses.replace(undisturbed, **changes)
    with pytest.raises(ValueError, match="a study with other settings") as caught:
        driver.run(other)
    assert received in str(caught.value)
    # The mend: its own settings.
    driver.run(undisturbed)


def test_a_folder_of_a_run_is_refused(undisturbed: StudyConfig) -> None:
    folder = f"{undisturbed.study_dir}/runs/000"
    with pytest.raises(ValueError, match="expected the config of a study"):
        driver.run(dataclasses.replace(undisturbed, study_dir=folder))


def test_several_workers_are_refused(
    undisturbed: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = {"worker": ["localhost:1", "localhost:2"]}
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ValueError, match="by a single worker") as caught:
        driver.run(undisturbed)
    assert "names 2 workers; start the same" in str(caught.value)
    assert os.environ.pop("TF_CONFIG")
    driver.run(undisturbed)


def test_time_left_is_by_the_text_and_by_the_run() -> None:
    """Of the tiny report 3600 s are steps."""
    base = StudyConfig(
        study_dir="a",
        data=DataConfig(dataset="files:a.csv"),
        model=ModelConfig(preset="tiny"),
    )
    planned = [
        PlannedRun(
            number=number,
            name="",
            config=base.run(number, num_train_examples=size, seed=0),
        )
        for number, size in enumerate((100, 300, 1000))
    ]
    assert driver.secs_left([], planned) is None
    report = tiny_report()
    training = dataclasses.replace(report.training, num_train_examples=100)
    first = FinishedRun(
        planned[0], dataclasses.replace(report, timing=TIMING, training=training)
    )
    others = first.secs - 3600
    assert 0 < others < 300
    assert driver.secs_left([first], planned[1:]) == pytest.approx(
        2 * others + 36 * 1300
    )
    assert driver.secs_left([first], []) == 0
    # All the texts there are: as many as the largest run so far had.
    everything = dataclasses.replace(
        planned[1], config=base.run(1, num_train_examples=0, seed=0)
    )
    assert driver.secs_left([first], [everything]) == pytest.approx(others + 3600)

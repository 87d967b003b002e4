"""Tests of trainer/studies/ladder.py: two tiny models and a simple one."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import pytest

from tests.evaluation.tiny_report import export_facts, tiny_report
from tests.studies.tiny_runs import make_study
from trainer.studies import driver, ladder, ladder_page
from trainer.studies.choice import Candidate, Standing
from trainer.studies.plan import FinishedRun, PlannedRun
from trainer.studies.sweep_schema import Model
from trainer.study_config import StudyConfig


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> StudyConfig:
    """A ladder of a model and its copy, without exports."""
    folder = tmp_path_factory.mktemp("ladder")
    copy = shutil.copytree(tiny_preset, folder / "copy")
    base = make_study(folder, tiny_preset)
    config = dataclasses.replace(
        base,
        study="ladder",
        train_sizes=(),
        presets=(tiny_preset, str(copy)),
        baselines=("commonest", "tfidf"),
        serving=dataclasses.replace(base.serving, export=False),
    )
    driver.run(config)
    return config


@pytest.mark.slow
def test_the_smallest_that_is_not_shown_to_be_worse(climbed: StudyConfig) -> None:
    folder = pathlib.Path(climbed.study_dir)
    study = json.loads((folder / "study.json").read_text())
    models = {model["name"]: model for model in study["models"]}
    first, copied = climbed.presets
    # Copies answer alike, so the first of them is as good and as small.
    assert models[first]["value"] == models[copied]["value"]
    assert study["winner"] == first and len(models) == 4
    sizes = [model["num_parameters"] for model in study["models"]]
    assert sizes == sorted(sizes) and sizes[:2] == [0, 0]
    good = [
        model["name"]
        for model in study["models"]
        if model["status"] in ("winner", "as_good")
    ]
    assert study["smallest"] == good[0]
    assert [run["number"] for run in study["runs"]] == [0, 1, 2]
    reports = [
        json.loads((folder / run["folder"] / "report.json").read_text())
        for run in study["runs"]
    ]
    assert [set(each["after"]) for each in reports] == [
        {"validation"},
        {"validation"},
        {"validation", "test"},
    ]
    assert study["mean"] == reports[2]["after"]["test"]["loss"]
    # Of the simple models the same figures as in the run's report.
    baselines = reports[0]["baselines"]
    for facts in baselines.values():
        assert models[facts["title"]]["value"] == pytest.approx(
            facts["validation"]["loss"], rel=1e-6
        )
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert all(title in page for title in models)
    assert (folder / "winner.flags").is_file()


def test_a_preset_that_is_not_there_is_named_before_any_run(
    climbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    config = dataclasses.replace(
        climbed,
        study_dir=str(tmp_path / "study"),
        presets=(climbed.presets[0], str(tmp_path / "nowhere")),
    )
    with pytest.raises(ValueError, match="nowhere"):
        driver.run(config)
    assert not (tmp_path / "study" / "runs").exists()


def test_size_and_latency_are_those_of_the_export() -> None:
    report = dataclasses.replace(tiny_report(), export=export_facts())
    planned: Any = PlannedRun(number=0, name="", config=None)  # type: ignore[arg-type]
    contestant = ladder._Contestant(
        "fine_tuned",
        "tiny",
        Candidate((), (4.4e6, 3.0)),
        (FinishedRun(planned, report),),
    )
    standing = Standing(
        value=0.9, std=None, behind=0.0, behind_interval_95=None, is_as_good=True
    )
    model = ladder._model(contestant, standing, "winner", "accuracy")
    first = export_facts().formats[0]
    assert (model.export_bytes, model.latency_ms) == (first.bytes, first.latency_ms)
    assert model.peak_memory_bytes == report.timing.peak_host_memory_bytes
    assert model.train_secs == report.timing.train_steps_secs
    line = ladder_page._line(model, "accuracy")
    assert f"{first.bytes / 1e6:.1f} MB" in line


def test_a_line_says_which_is_frozen_where_its_path_is_cut() -> None:
    made = {"preset": "/a/long/way/to/the/folder/of/a/preset", "value": 0.5}
    facts: dict[str, Any] = {field.name: None for field in dataclasses.fields(Model)}
    facts |= {**made, "train_secs": 1.0, "status": "winner", "name": "a name"}
    tuned = ladder_page._line(Model(**facts | {"kind": "fine_tuned"}), "accuracy")
    frozen = ladder_page._line(Model(**facts | {"kind": "frozen"}), "accuracy")
    assert tuned.startswith("/a/long/way/to/the/folder/of/a/preset ")
    assert frozen.startswith("frozen: …way/to/the/folder/of/a/preset ")
    assert len(tuned) == len(frozen)

"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from tests import kills
from tests.evaluation.tiny_report import export_facts, tiny_report
from trainer import run_folder, storage
from trainer.config import DataConfig, ServingConfig
from trainer.evaluation import schema
from trainer.run_folder import RunFolder
from trainer.stages import record
from trainer.training.progress import JsonLinesWriter


def small_report(**changes: Any) -> dict[str, Any]:
    """A run's report, as its JSON is read."""
    report = dataclasses.replace(
        tiny_report(),
        title="tiny BERT on sch\u00f6ne reviews",
        samples=(
            schema.Sample(
                text="A caf\u00e9.",
                before=schema.Prediction(
                    label="bad", score=0.5, probabilities=(0.5, 0.5)
                ),
                after=schema.Prediction(
                    label="good", score=0.875, probabilities=(0.125, 0.875)
                ),
                label=None,
                why="given",
            ),
        ),
        export=dataclasses.replace(export_facts(), path="/runs/a/export/3"),
    )
    content: dict[str, Any] = json.loads(report.to_json())
    return content | changes


@pytest.mark.parametrize(
    ("before", "now", "published"),
    [
        ({}, {}, []),
        ({"export": False}, {}, ["--export=True"]),
        # What is not wanted need not be made again.
        ({}, {"export": False}, []),
        ({"export": False}, {"export": False, "calibrate": False}, []),
        ({}, {"calibrate": False}, ["--calibrate=False"]),
        ({}, {"export_explain": True}, ["--export_explain=True"]),
    ],
)
def test_what_a_finished_run_has_to_publish(
    before: dict[str, Any], now: dict[str, Any], published: list[str]
) -> None:
    recorded = {"serving": dataclasses.asdict(ServingConfig(**before))}
    assert record._unpublished(recorded, ServingConfig(**now)) == published


def test_a_run_from_before_a_setting_is_at_its_default() -> None:
    recorded = {"serving": dataclasses.asdict(ServingConfig())}
    del recorded["serving"]["export_explain"]
    assert record._unpublished(recorded, ServingConfig()) == []
    now = ServingConfig(export_explain=True)
    assert record._unpublished(recorded, now) == ["--export_explain=True"]


def test_a_run_without_an_export_is_read_and_says_so(tmp_path: pathlib.Path) -> None:
    run = RunFolder(tmp_path / "run")
    report = dataclasses.replace(
        tiny_report(),
        status="complete",
        export=None,
        paths=dataclasses.replace(tiny_report().paths, saved_model=None),
        commands=schema.Commands(predict=None),
    )
    record._write(run, report)
    written = record.read(run)
    assert written.saved_model is None
    for text in (written.summary, written.report_path.read_text(encoding="utf-8")):
        assert "none, as --export=false says" in text


def test_round_trip(tmp_path: pathlib.Path) -> None:
    run, folder = RunFolder(tmp_path / "run"), tmp_path / "run"
    assert not run.is_finished
    report = schema.from_mapping(schema.Report, small_report())
    record._write(run, report)
    assert run.is_finished
    written = record.read(run)
    assert sorted(os.listdir(folder)) == ["report.html", "report.json", "summary.txt"]
    assert written.report == small_report()
    assert written.report_path == folder / "report.html"
    assert written.saved_model == pathlib.Path("/runs/a/export/3")
    assert written.summary == (folder / "summary.txt").read_text(encoding="utf-8")
    assert "A caf\u00e9." in written.summary and "87.5%" in written.summary
    page = written.report_path.read_text(encoding="utf-8")
    assert "sch\u00f6ne" in page and "A caf\u00e9." in page
    # For people too: no escapes, a line a value.
    text = (folder / "report.json").read_text(encoding="utf-8")
    assert "sch\u00f6ne" in text and text.count("\n") > 10 and text.endswith("}\n")


def with_export_secs(value: Any) -> dict[str, Any]:
    """A report with one number changed."""
    content = small_report()
    content["timing"]["export_secs"] = value
    return content


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (with_export_secs(math.nan), "JSON compliant: nan"),
        (with_export_secs(-math.inf), "JSON compliant: -inf"),
        (with_export_secs(pathlib.Path("a")), "Report.timing.export_secs"),
        (small_report(after={"test": {"loss": 1.0}}), "Report.after.test: "),
        (small_report(samples=[{"no": "text"}]), r"Report.samples\[0\]: "),
    ],
)
def test_a_run_whose_report_fails_is_not_finished(
    content: dict[str, Any], error: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=error):
        report = schema.from_mapping(schema.Report, content)
        record._write(RunFolder(tmp_path), report)
    assert not RunFolder(tmp_path).is_finished
    assert os.listdir(tmp_path) == []


def write_twice(folder: pathlib.Path) -> None:
    """The results of a run, and those of the same run published again."""
    for text in ("first", "second"):
        files = {"text": text, "page": text, "summary": text}
        record._write_files(RunFolder(folder), **files)


def test_killed_before_each_file_operation(tmp_path: pathlib.Path) -> None:
    """A run that is finished has three files of the same results."""
    num_finished = 0
    for place in kills.before_each(f"{__name__}:write_twice", tmp_path):
        storage.remove_leftovers(place)
        if RunFolder(place).is_finished:
            num_finished += 1
            assert len({path.read_text() for path in place.iterdir()}) == 1, place
            assert len(os.listdir(place)) == 3
    assert num_finished >= 1


@pytest.mark.parametrize(
    "damaged", [b"\0" * 20, b"[1]", b'{"a": 2}', b'{"a": 1.5, "sha']
)
def test_what_can_be_made_again_is_not_believed(
    damaged: bytes, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "before.json"
    assert run_folder.read_kept(path) is None and not caplog.records
    run_folder.write_kept(path, {"a": 1.5, "b": ["é", None]})
    assert run_folder.read_kept(path) == {"a": 1.5, "b": ["é", None]}
    digest = json.loads(path.read_text())["sha256"]
    if damaged.endswith(b"}"):
        damaged = json.dumps({**json.loads(damaged), "sha256": digest}).encode()
    path.write_bytes(damaged)
    assert run_folder.read_kept(path) is None
    assert f"{path} is damaged and is made anew" in caplog.text


@pytest.mark.parametrize("is_chief", [True, False])
def test_what_a_dead_process_had_not_finished_goes_at_the_start(
    is_chief: bool, tmp_path: pathlib.Path
) -> None:
    """By the chief, who alone writes."""
    left = [
        tmp_path / ".report.json.0123abc_.tmp",
        tmp_path / "predictions" / ".test.jsonl.0123abc_.tmp",
        tmp_path / "baselines" / ".tfidf.json.0123abc_.tmp",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    with run_folder.opened(str(tmp_path), is_chief=is_chief):
        assert [path.exists() for path in left] == [not is_chief] * 3


def test_what_a_run_needs_is_named_where_it_is_damaged(tmp_path: pathlib.Path) -> None:
    (tmp_path / "report.json").write_bytes(bytes(20))
    with pytest.raises(ValueError, match="report.json: expected JSON"):
        record.read(RunFolder(tmp_path))


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 9.0], 9.0),
        ([1.0, 8.0, 9.0], 8.5),
        ([1.0, 90.0, 7.0, 8.0], 8.0),
    ],
)
def test_steady_rate_leaves_the_first_line_out_where_it_can(
    rates: list[float], expected: float
) -> None:
    records = [{"step": n, "examples_per_sec": rate} for n, rate in enumerate(rates)]
    assert record.steady_rate(records) == expected


@pytest.mark.parametrize(
    ("shares", "expected"),
    [([0.5], 0.5), ([0.9, 0.25], 0.25), ([0.9, 0.25, 0.75], 0.5), ([None], None)],
)
def test_steady_input_wait_leaves_the_first_line_out_where_it_can(
    shares: list[float | None], expected: float | None
) -> None:
    records = [{} if s is None else {"input_wait_fraction": s} for s in shares]
    assert record.steady_input_wait(records) == expected


def test_history(tmp_path: pathlib.Path) -> None:
    empty: dict[str, list[Any]] = {"pretraining": [], "train": [], "validation": []}
    assert RunFolder(tmp_path).history() == empty
    writer = JsonLinesWriter(RunFolder(tmp_path).metrics)
    writer.write("pretraining", step=30, values={"loss": 6.5})
    # What fine-tuning, begun anew, leaves of it.
    writer = JsonLinesWriter(RunFolder(tmp_path).metrics)
    writer.write("train", step=10, values={"loss": 0.5})
    writer.write("validation", step=10, values={"loss": 0.75})
    writer.write("train", step=20, values={"loss": 0.25})
    assert RunFolder(tmp_path).history() == {
        "pretraining": [{"step": 30, "loss": 6.5}],
        "train": [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}],
        "validation": [{"step": 10, "loss": 0.75}],
    }


@pytest.mark.parametrize("folder", ["runs/a", "my runs/a", 'it\'s $HOME; `a` \\ "b"'])
def test_the_command_to_predict_can_be_copied_into_a_shell(folder: str) -> None:
    command = record._predict_command(f"{folder}/export/1", DataConfig())
    script = f"printf '%s\\0' {command}"
    shown = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, check=True)
    python, *arguments, end = shown.stdout.decode().split("\0")
    assert pathlib.Path(python).absolute() == pathlib.Path(sys.executable)
    assert end == "" and arguments == [
        *("-m", "trainer.predict", f"--saved_model={folder}/export/1"),
        *("--input=TEXTS.txt", "--output=-"),
    ]

"""What a run leaves behind."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import pytest

from tests.evaluation.tiny_report import export_facts, tiny_report
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
    assert RunFolder(tmp_path).history() == {"train": [], "validation": []}
    writer = JsonLinesWriter(RunFolder(tmp_path).metrics)
    writer.write("train", step=10, values={"loss": 0.5})
    writer.write("validation", step=10, values={"loss": 0.75})
    writer.write("train", step=20, values={"loss": 0.25})
    assert RunFolder(tmp_path).history() == {
        "train": [{"step": 10, "loss": 0.5}, {"step": 20, "loss": 0.25}],
        "validation": [{"step": 10, "loss": 0.75}],
    }

"""Tests of scripts/benchmarks/measure_evaluation.py: everything it times runs."""

from __future__ import annotations

import json
import pathlib

import pytest

from scripts.benchmarks import measure_evaluation


@pytest.mark.parametrize("case", measure_evaluation.CASES)
def test_every_part_runs(case: str) -> None:
    parts = measure_evaluation._parts(case, 300)
    assert set(parts) <= set(measure_evaluation.PARTS)
    for name, work in parts.items():
        assert work() is not None, name


def test_a_table_is_made_of_what_was_measured(tmp_path: pathlib.Path) -> None:
    key = {"num_texts": 1_000, "case": "two", "part": "groups"}
    measured = {
        "results": [{**key, "secs": 1.25, "processor_secs": 1, "peak_rise_mb": 7}]
    }
    before = {"results": [{**key, "secs": None, "why": "more than 9 s"}]}
    for name, content in (("now", measured), ("before", before)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    document = tmp_path / "page.md"
    document.write_text("A\n<!-- table: evaluation -->\n<!-- end -->\nB\n")
    measure_evaluation.main(
        [f"--input={tmp_path}/now.json", f"--before={tmp_path}/before.json"]
        + [f"--document={document}"]
    )
    text = document.read_text()
    row = "| groups | 1,000 | 1.0 s, 7 MB; more than 9 s |"
    assert row in text and text.startswith("A\n") and text.endswith("B\n")


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure_evaluation.main(["--parts=grops"])
    assert "--parts must be among" in capsys.readouterr().err

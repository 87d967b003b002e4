"""Tests of scripts/benchmarks/measure_coverage.py: it counts intervals that hold."""

from __future__ import annotations

import json
import pathlib

import pytest

from scripts.benchmarks import measure_coverage


def test_intervals_of_large_sets_hold_mostly(tmp_path: pathlib.Path) -> None:
    """Of 66,000 texts groups are drawn; of two samples hardly an interval misses both."""
    output = tmp_path / "coverage.json"
    options = "--num_samples=2 --num_texts=66000 --num_truth=400000 --num_resamples=60"
    assert measure_coverage.main([*options.split(), f"--output={output}"]) == 0
    results = json.loads(output.read_text())["results"]
    assert [each["case"] for each in results] == ["ordinal", "multi_label"]
    for each in results:
        held = each["percent_held"]
        assert each["num_samples"] == 2 and {"accuracy", "loss", "roc_auc"} <= {*held}
        assert set(held.values()) <= {0.0, 50.0, 100.0}
        assert sum(held.values()) / len(held) > 70
    assert "quadratic_kappa" in results[0]["percent_held"]
    assert "hamming_loss" in results[1]["percent_held"]


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        measure_coverage.main(["--cases=ordnal"])
    assert "--cases must be among" in capsys.readouterr().err

"""Tests of scripts/benchmarks/measure_memory.py: every step runs, and a row's cost is told."""

from __future__ import annotations

import json
import pathlib

from scripts.benchmarks import measure_memory


def test_steps_are_measured_at_two_sizes(tmp_path: pathlib.Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("A\n<!-- table: memory -->\n<!-- end -->\nB\n")
    options = f"--work_dir={tmp_path} --num_rows=300,600 --until=facts"
    output = tmp_path / "memory.json"
    measure_memory.main([*options.split(), f"--output={output}"])
    results = json.loads(output.read_text())["results"]
    assert [each["num_rows"] for each in results] == [300, 600]
    for each in results:
        names = [step["step"] for step in each["steps"]]
        assert names == list(measure_memory.STEPS[:5])
        assert all(step["peak_mb"] >= step["before_mb"] > 0 for step in each["steps"])
    measure_memory.main([f"--input={output}", f"--document={document}"])
    assert "| splitting |" in document.read_text()


def test_the_cost_of_a_row_is_what_a_peak_rises_between_sizes() -> None:
    def of(num_rows: int, peak: float) -> dict[str, object]:
        step = {"step": "look", "processor_secs": 1, "before_mb": 50, "peak_mb": peak}
        return {"num_rows": num_rows, "steps": [step]}

    made = measure_memory.table({"results": [of(300_000, 60), of(1_000_000, 130)]})
    assert "| look | 1.0 | 50 | 10 | 1.0 | 50 | 80 | 100 |" in made

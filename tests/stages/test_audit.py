"""`trainer.audit` says what a run would make of a file, in seconds, without TensorFlow."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from trainer.config import AuditConfig, DataConfig
from trainer.stages import audit

ROWS = [(f"a lovely thing, number {n}", "good") for n in range(150)]
ROWS += [(f"a dull thing, number {n}", "bad") for n in range(150)]


def write(path: pathlib.Path, rows: list[tuple[str, str]]) -> AuditConfig:
    """A CSV of these rows, and the config that audits it."""
    lines = [f'"{text}",{label}' for text, label in rows]
    path.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    return AuditConfig(data=DataConfig(dataset=f"files:{path}"))


def test_what_was_read(tmp_path: pathlib.Path) -> None:
    result = audit.audit(write(tmp_path / "a.csv", ROWS))

    assert result["label_names"] == ["bad", "good"]
    assert result["num_rows"] == 300 and result["num_skipped"] == 0
    assert result["class_counts"] == {"bad": 150, "good": 150}
    assert len(result["settled"]) == 1 and "a.csv" in result["settled"][0]
    assert sum(s["num_examples"] for s in result["splits"].values()) == 300


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (ROWS[:1] * 30 + ROWS, "duplicates"),
        ([(ROWS[0][0], "bad"), *ROWS], "contradicting_labels"),
        (ROWS[:150] + ROWS[150:160], "few_texts_of_class"),
        (ROWS[:150] + ROWS[150:175], "imbalance"),
        (ROWS[100:200], "few_test_texts"),
        (ROWS[100:200], "few_validation_texts"),
        (ROWS, "revealing_word"),
    ],
)
def test_doubts(tmp_path: pathlib.Path, rows: list[tuple[str, str]], kind: str) -> None:
    result = audit.audit(write(tmp_path / "a.csv", rows))

    assert kind in [doubt["kind"] for doubt in result["doubts"]]


def test_sound_texts_are_not_doubted(tmp_path: pathlib.Path) -> None:
    rows = [(f"{text} {n % 7} {n}", f"{n % 2}") for n, (text, _) in enumerate(ROWS * 5)]

    assert audit.audit(write(tmp_path / "a.csv", rows))["doubts"] == []


def test_rows_too_few_to_hold_out_are_doubted(tmp_path: pathlib.Path) -> None:
    """A run refuses them; here all that can be said of them is said."""
    result = audit.audit(write(tmp_path / "a.csv", ROWS[148:152]))

    assert result["class_counts"] == {"bad": 2, "good": 2}
    kinds = [doubt["kind"] for doubt in result["doubts"]]
    assert kinds == ["few_texts_of_class", "few_validation_texts", "few_test_texts"]


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "trainer.audit", *flags]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_program_writes_json_without_tensorflow(tmp_path: pathlib.Path) -> None:
    config = write(tmp_path / "a.csv", ROWS)

    done = run(f"--dataset={config.data.dataset}", f"--output={tmp_path / 'a.json'}")

    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert result == audit.audit(config)
    assert "Label     bad: 150 texts, 50.0%\n" in done.stdout
    assert " tensorflow\n" not in done.stderr


def test_what_a_run_refuses_is_refused(tmp_path: pathlib.Path) -> None:
    config = write(tmp_path / "a.csv", [*ROWS, ("no label", "")])

    done = run(f"--dataset={config.data.dataset}")

    assert done.returncode == 2
    assert "error: " in done.stderr and "a.csv:302" in done.stderr


def test_what_a_dead_process_left_of_the_output_goes(tmp_path: pathlib.Path) -> None:
    for name in (".a.json.0123abc_.tmp", ".b.json.0123abc_.tmp"):
        (tmp_path / name).touch()
    audit.write({"a": 1}, str(tmp_path / "a.json"))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".b.json.0123abc_.tmp", "a.json"]

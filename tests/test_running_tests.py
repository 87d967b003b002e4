"""scripts/test.sh and pytest's settings: what the last line says, and that it is last."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Ends as the file `codes` says, by whether the files that run alone are left out.
PYTHON = """#!/usr/bin/env bash
[[ $2 == pytest ]] || exit 0
part=alone
[[ $* != *--ignore=* ]] || part=others
read -r code <"$part"
echo "=== $part: $code ==="
exit "$code"
"""


@pytest.mark.parametrize(
    ("alone", "others", "expected", "last"),
    [
        (0, 0, 0, "others: 0"),
        (1, 0, 1, "alone: 1"),
        (0, 1, 1, "others: 1"),
        (1, 2, 2, "alone: 1"),
    ],
)
def test_the_last_line_tells_of_a_failure(
    alone: int, others: int, expected: int, last: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "test.sh", tmp_path / "scripts")
    (tmp_path / "scripts" / "install.sh").touch()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / "alone").write_text(f"{alone}\n")
    (tmp_path / "others").write_text(f"{others}\n")
    done = subprocess.run(
        ["bash", "scripts/test.sh"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == expected
    assert done.stdout.splitlines()[-1] == f"=== {last} ==="


@pytest.mark.slow
def test_nothing_follows_pytests_closing_line_which_counts_no_warning() -> None:
    """Side by side, as scripts/test.sh runs them; tests that once warned."""
    tests = [
        "tests/modeling/test_presets.py::test_keras_folder",
        "tests/baselines/test_logistic_regression.py::"
        "test_edges_have_finite_logits[5-1-100]",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--numprocesses=1", "-p", "no:cacheprovider"]
        + tests,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.fullmatch(r"=+ \d+ passed in [^,]*=+", done.stdout.splitlines()[-1])

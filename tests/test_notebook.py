"""docs/colab.ipynb, its five code cells run in order with a tiny setting.

Of a notebook's own words the cells use four, which are read here as Jupyter and Colab
read them: `NAME = "..."`, `!command` (with the names as variables), `%cd`, and
`%%writefile`. Any other line fails.
"""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "colab.ipynb"
_ASSIGNMENT = re.compile(r"([A-Z_]+) = (\".*?\")  #@param \{type: \"string\"\}")


def code_cells() -> list[str]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == "code"]


class Kernel:
    """Runs cells; `values` are what a user typed into the fields."""

    def __init__(self, folder: pathlib.Path, values: dict[str, str]) -> None:
        self._folder = folder
        self._values = values
        self.names: dict[str, str] = {}
        self.output = ""

    def run(self, cell: str) -> None:
        if cell.startswith("%%writefile "):
            first, _, content = cell.partition("\n")
            (self._folder / first.split()[1]).write_text(content + "\n")
            return
        for line in cell.splitlines():
            self._run_line(line)

    def _run_line(self, line: str) -> None:
        if line.startswith("!"):
            done = subprocess.run(
                ["bash", "-c", line[1:]],
                cwd=self._folder,
                env={**os.environ, **self.names},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            self.output += done.stdout
        elif line.startswith("%cd "):
            self._folder /= line.split()[1]
        else:
            assigned = _ASSIGNMENT.fullmatch(line)
            assert assigned, f"the test cannot run {line!r}"
            name, value = assigned[1], ast.literal_eval(assigned[2])
            self.names[name] = self._values.get(name, value)


def test_the_notebook_is_valid_and_empty() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4 and len(code_cells()) == 5
    # What a session left in it would be of no use to the next reader.
    assert not any(cell.get("outputs") for cell in content["cells"])


@pytest.mark.slow
def test_its_five_cells(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    reviews = tmp_path / "reviews.csv"
    tiny.write_reviews(reviews, count=120)
    clone = tmp_path / "bert-trainer"
    for name in ("trainer", "scripts", "configs"):
        shutil.copytree(ROOT / name, clone / name)
    inputs = ["setup.cfg", "pyproject.toml", "constraints.txt"]
    inputs.append("requirements-quickstart.txt")
    for name in inputs:
        shutil.copy(ROOT / name, clone)
    # What is installed already; the stamp names another folder.
    venv = clone / ".venv"
    venv.mkdir()
    for path in (ROOT / ".venv").iterdir():
        if path.name != "installed_from.txt":
            (venv / path.name).symlink_to(path)
    read = "".join((clone / name).read_text() for name in inputs)
    stamp = f"{clone}\n{read}".rstrip("\n") + "\n"
    (venv / "installed_from.txt").write_text(stamp)
    more_flags = [
        f"--preset={tiny_preset}",
        "--pooling=first",
        "--max_length=32",
        "--num_buckets=1",
        "--num_export_examples=8",
        "--num_train_epochs=1",
    ]
    kernel = Kernel(
        tmp_path,
        {"DATASET": f"files:{reviews}", "MORE_FLAGS": " ".join(more_flags)},
    )
    for cell in code_cells():
        kernel.run(cell)
    assert kernel.names["REPOSITORY"].startswith("https://")
    assert "install: .venv is up to date" in kernel.output
    assert "Fine-tuning" in kernel.output
    answer = json.loads(kernel.output.splitlines()[-1])
    assert answer["label"] in ("bad", "good")
    assert (clone / "runs" / "mine" / "report.html").is_file()

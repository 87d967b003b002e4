"""What is installed from a wheel runs outside of the repository, its files inside."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from typing import Sequence

import pytest

import trainer
from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
TIMEOUT_SECS = 120


def run(command: Sequence[object], cwd: pathlib.Path) -> str:
    """What it printed on both streams; it has to end well."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def environment() -> dict[str, str]:
    """Of a user, who knows nothing of this repository."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def built(folder: pathlib.Path) -> pathlib.Path:
    """The wheel of the tree."""
    tree = folder / "tree"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "trainer", tree / "trainer", ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    # What the build needs is installed here: no index is asked.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "wheel", *options]
    run([*pip, f"--wheel-dir={folder}", tree], cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """The Python of an environment that has the wheel alone, and sees what it needs."""
    run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", f"--target={packages}"]
    run([*pip, "--no-deps", "--no-index", "--quiet", wheel], cwd=folder.parent)
    # Behind its own packages; what is installed for development there stays unseen.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.slow
def test_a_wheel_trains_predicts_and_serves(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    wheel = built(tmp_path)
    assert wheel.name.startswith(f"bert_trainer-{trainer.__version__}-")
    files = {path for path in (ROOT / "trainer").rglob("*") if path.is_file()}
    wanted = {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())
    python = installed(wheel, tmp_path / "environment")
    outside = tmp_path / "outside"
    outside.mkdir()
    place = run([python, "-c", "import trainer; print(trainer.__file__)"], cwd=outside)
    assert place.startswith(str(tmp_path / "environment"))

    flags = [
        f"--dataset={tiny.write_reviews(outside / 'reviews.csv', count=60)}",
        *(f"--preset={tiny_preset}", "--model_dir=run", "--max_length=16"),
        *("--num_train_epochs=1", "--cache_dir=cache", "--compile_cache_dir="),
    ]
    table = run([python, "-m", "trainer.main", *flags], cwd=outside)
    report = json.loads((outside / "run" / "report.json").read_text())
    assert "run/export/1" in table
    assert report["environment"]["bert-trainer"] == trainer.__version__
    assert (outside / "run" / "report.html").read_text().endswith("</html>")
    card = (outside / "run" / "export" / "1" / "MODEL_CARD.md").read_text()
    assert f"bert-trainer {trainer.__version__}" in card

    (outside / "texts.txt").write_text("a good film\n")
    flags = ["--saved_model=run/export", "--input=texts.txt", "--output=answers.csv"]
    run([python, "-m", "trainer.predict", *flags], cwd=outside)
    assert len((outside / "answers.csv").read_text().splitlines()) == 2
    assert "<html" in page_of_a_server(python, outside)


def page_of_a_server(python: pathlib.Path, cwd: pathlib.Path) -> str:
    """What a browser gets from a server of the run's model."""
    command = [str(python), "-m", "trainer.serve", "--saved_model=run/export"]
    with subprocess.Popen(
        [*command, "--port=0"],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            url = next(
                filter(
                    None, (re.search(r"http://\S+:\d+", each) for each in server.stdout)
                )
            )[0]
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECS) as answer:
                page: str = answer.read().decode()
        finally:
            server.send_signal(signal.SIGINT)
            server.stdout.read()
    return page


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == trainer.__version__


def test_the_version_has_one_place() -> None:
    files = [ROOT / "setup.cfg", ROOT / "pyproject.toml", *ROOT.glob("trainer/**/*.py")]
    pattern = re.compile(r"^\s*(?:__)?version(?:__)?\s*=\s*[\"']?[0-9]", re.M)
    found = [file for file in files if pattern.search(file.read_text())]
    assert found == [ROOT / "trainer" / "__init__.py"]

"""scripts/install.sh: which Python it takes, and what it says where there is none."""

from __future__ import annotations

import configparser
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Says that it is of a version, and that whatever it is asked to do is done.
PYTHON = """#!/bin/bash
case "$1 $2" in
"-c import sys"*) echo {version} ;;
"-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo "by $0" ;;
esac
"""


def install(
    folder: pathlib.Path, found: dict[str, str], *, venv: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs it where these Pythons are found, name → version, and .venv has one."""
    programs = folder / "programs"
    (folder / "scripts").mkdir()
    programs.mkdir()
    for name in ("bash", "cat", "cp", "dirname", "mkdir"):
        (programs / name).symlink_to(str(shutil.which(name)))
    shutil.copy(ROOT / "scripts" / "install.sh", folder / "scripts")
    files = ["pyproject.toml", "constraints.txt", "requirements-quickstart.txt"]
    for name in ("setup.cfg", *files):
        (folder / name).touch()
    places = {programs / name: version for name, version in found.items()}
    if venv:
        (folder / ".venv" / "bin").mkdir(parents=True)
        places[folder / ".venv" / "bin" / "python"] = venv
    for place, version in places.items():
        place.write_text(PYTHON.format(version=version))
        place.chmod(0o755)
    return subprocess.run(
        ["bash", "scripts/install.sh"],
        cwd=folder,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("found", "venv", "taken"),
    [
        ({"python3": "3.13"}, "", "python3"),
        ({"python3": "3.14", "python3.13": "3.13"}, "", "python3.13"),
        ({"python3": "3.13", "python3.12": "3.12"}, "", "python3.12"),
        ({"python3": "3.10"}, "", "python3"),
        # One of before is left alone, unless the program cannot run there.
        ({"python3": "3.12"}, "3.11", ""),
        ({"python3": "3.12"}, "3.9", "python3"),
    ],
)
def test_the_python_that_is_taken(
    found: dict[str, str], venv: str, taken: str, tmp_path: pathlib.Path
) -> None:
    done = install(tmp_path, found, venv=venv)
    assert done.returncode == 0, done.stderr
    assert re.findall("^by .*/(.*)$", done.stdout, re.M) == ([taken] if taken else [])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({}, "found: none that runs."),
        ({"python3": "3.9"}, "found: python3 is 3.9."),
        ({"python3": "3.14"}, "found: python3 is 3.14."),
    ],
)
def test_without_a_python_it_says_what_to_install(
    found: dict[str, str], says: str, tmp_path: pathlib.Path
) -> None:
    done = install(tmp_path, found)
    assert done.returncode == 2
    assert says in done.stderr
    for system in ("Debian", "Ubuntu", "Fedora: sudo dnf", "macOS: brew install"):
        assert system in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_package_admits_what_the_script_does() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    versions = re.findall(r"Python :: (3\.\d+)", parser["metadata"]["classifiers"])
    assert versions == ["3.10", "3.11", "3.12", "3.13"]
    assert parser["options"]["python_requires"] == ">=3.10,<3.14"
    text = (ROOT / "scripts" / "install.sh").read_text()
    for version in versions:
        assert f"python{version}" in text

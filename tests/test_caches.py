"""Caches that are damaged, full, in use, or cannot be had."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Iterator, Mapping, Sequence

import pytest

from tests import processes
from trainer import caches

# Variables that say where this user's caches are.
OF_THIS_USER = {"HOME", "MPLCONFIGDIR", "KERAS_HOME", "HF_HOME", "KAGGLEHUB_CACHE"}


class Text(str):
    """A value that something can refer to weakly."""


def text_of(folder: pathlib.Path) -> Text:
    return Text((folder / "a.txt").read_text())


def entry(root: pathlib.Path, name: str, *, size: int = 100, limit: int = 0) -> Text:
    """One of so many bytes, and about a hundred more of checksums."""

    def make(folder: pathlib.Path) -> None:
        (folder / "a.txt").write_text(name * size)

    return caches.entry(root, name, make=make, read=text_of, max_bytes=limit)


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_those_used_longest_ago_go_first(tmp_path: pathlib.Path) -> None:
    for number, name in enumerate("abcd"):
        entry(tmp_path, name, size=1000)
        os.utime(tmp_path / name, (number, number))
    entry(tmp_path, "a", size=1000)
    gc.collect()
    entry(tmp_path, "e", size=1000, limit=3500)
    assert names(tmp_path) == ["a", "d", "e"], "a was used after b and c were"


def test_what_was_just_written_is_read_for_its_checksums_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    checksums_of = caches._content

    def noting(folder: pathlib.Path) -> Mapping[str, Any]:
        checked.append(folder.name)
        return checksums_of(folder)

    monkeypatch.setattr(caches, "_content", noting)
    entry(tmp_path, "a")
    assert len(checked) == 1
    # What lay there for a while is looked at before it is used.
    entry(tmp_path, "a")
    assert checked[1:] == ["a"]


def test_an_entry_that_another_process_has_made_meanwhile_is_checked(
    tmp_path: pathlib.Path,
) -> None:
    def make(folder: pathlib.Path) -> None:
        # The other one was quicker, and its entry is damaged.
        entry(tmp_path, "a")
        (tmp_path / "a" / "a.txt").write_text("b" * 100)
        (folder / "a.txt").write_text("c" * 100)

    with pytest.raises(OSError, match="is not what was just written there"):
        caches.entry(
            tmp_path, "a", make=make, read=text_of, max_bytes=0, falls_back=False
        )


def test_no_limit(tmp_path: pathlib.Path) -> None:
    for name in "abcd":
        entry(tmp_path, name, size=1000)
    assert names(tmp_path) == ["a", "b", "c", "d"]


# Without the material of the tests, which takes long to import.
CODE = """
import os, pathlib, sys
from trainer import caches
class Text(str): pass
def write(folder): (folder / "a.txt").write_text("a" * 100)
def read(folder): return Text((folder / "a.txt").read_text())
def entry(name, make=write):
    return caches.entry(sys.argv[1], name, make=make, read=read, max_bytes=0)
"""


def start(
    code: str, root: pathlib.Path, *, become: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """A process of its own with a cache in `root`."""
    return subprocess.Popen(
        [*become, sys.executable, "-c", CODE + code, root],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )


def test_what_is_in_use_stays(tmp_path: pathlib.Path) -> None:
    """In this process and in others; a process that was killed uses nothing."""
    other = start(
        "value = entry('a'); print('held', flush=True); sys.stdin.read()", tmp_path
    )
    assert other.stdout and other.stdout.readline() == "held\n"
    kept = entry(tmp_path, "b")
    entry(tmp_path, "c", limit=1)
    assert names(tmp_path) == ["a", "b", "c"]
    other.send_signal(signal.SIGKILL)
    other.wait()
    entry(tmp_path, "d", limit=1)
    assert names(tmp_path) == ["b", "d"]
    assert kept == "b" * 100


def test_what_a_dead_process_left_goes(tmp_path: pathlib.Path) -> None:
    start("entry('a', lambda folder: os._exit(0))", tmp_path).wait()
    (left,) = names(tmp_path)
    assert left.startswith(".a.tmp-")
    assert entry(tmp_path, "b") == "b" * 100
    assert names(tmp_path) == ["b"]


def test_a_cache_that_cannot_be_had_costs_one_warning(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "cache"
    for name in "abba":
        assert entry(place, name) == name * 100
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{place} cannot be used as a cache (Not a directory)" in record.getMessage()


def test_an_entry_of_a_cache_that_is_full_is_made_elsewhere(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[pathlib.Path] = []

    def make(folder: pathlib.Path) -> None:
        made.append(folder)
        (folder / "a.txt").write_text("whole")
        if len(made) == 1:
            raise OSError(28, "No space left on device")

    value = caches.entry(tmp_path, "a", make=make, read=text_of, max_bytes=0)
    assert value == "whole" and names(tmp_path) == []
    assert "(No space left on device)" in caplog.text


# Nobody has this number, so its user has no entry in the list of users.
NOBODY = 54321


BECOME = {
    # Still who we are to files, and somebody without a name to all else.
    "namespace": ["unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}"],
    "root": ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"],
}


@pytest.fixture
def nobody() -> Iterator[tuple[list[str], pathlib.Path]]:
    """How a command is begun as that user, and a folder that the user may write."""
    for way, command in BECOME.items():
        with contextlib.suppress(OSError):
            done = subprocess.run([*command, sys.executable, "-c", ""], check=False)
            if not done.returncode:
                break
    else:
        pytest.skip("this machine lets no process become another user")
    with tempfile.TemporaryDirectory() as name:
        if way == "root":
            os.chown(name, NOBODY, NOBODY)
        os.mkdir(f"{name}/tmp")
        os.chmod(f"{name}/tmp", 0o777)
        yield command, pathlib.Path(name)


def run_as_nobody(
    nobody: tuple[list[str], pathlib.Path], module: str, *flags: str
) -> str:
    """What a command says that is run by that user."""
    become, folder = nobody
    environment = {k: v for k, v in os.environ.items() if k not in OF_THIS_USER}
    done = subprocess.run(
        [*become, sys.executable, "-B", "-m", f"trainer.{module}", *flags],
        env=environment | {"TMPDIR": str(folder / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=processes.TIMEOUT_SECS,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_a_run_of_a_user_without_a_home(
    nobody: tuple[list[str], pathlib.Path], tiny_preset: str
) -> None:
    """One warning, and nothing is left; then the answers to a file of texts."""
    _, folder = nobody
    shutil.copytree(tiny_preset, folder / "preset")
    rows = [f"{word} film {n},{word}" for n in range(30) for word in ("good", "bad")]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows, ""]))
    output = run_as_nobody(
        nobody,
        "main",
        f"--dataset=files:{folder}/reviews.csv",
        f"--preset={folder}/preset",
        f"--model_dir={folder}/run",
        *("--num_train_epochs=1", "--max_length=48", "--baselines="),
        *("--num_bootstrap_resamples=20", "--jit_compile=off"),
    )
    warnings = [line for line in output.splitlines() if " WARNING " in line]
    (of_caches,) = [line for line in warnings if "cache" in line]
    place = "/dev/null/.cache/bert_trainer/tokens"
    assert f"{place} cannot be used as a cache (Not a directory)" in of_caches
    assert "Matplotlib" not in output and "Traceback" not in output
    answers = folder / "answers.jsonl"
    run_as_nobody(
        nobody,
        "predict",
        f"--saved_model={folder}/run/export",
        f"--input={folder}/reviews.csv",
        f"--output={answers}",
    )
    assert len(answers.read_text().splitlines()) == 60
    assert names(folder / "tmp") == []


SETTLE = """
caches.settle()
for name in ("KERAS_HOME", "KAGGLEHUB_CACHE", "HF_HOME", "MPLCONFIGDIR"):
    print(os.environ.get(name, ""))
"""


def test_caches_of_libraries_in_a_home_that_cannot_be_written(
    nobody: tuple[list[str], pathlib.Path],
) -> None:
    """What is there is read, what the user says is kept, for the rest there is a way."""
    become, folder = nobody
    home = folder / "home"
    (home / ".cache" / "huggingface").mkdir(parents=True)
    home.chmod(0o555)
    (home / ".cache").chmod(0o555)
    child = start(SETTLE, folder, become=become, HOME=str(home), KERAS_HOME="/own")
    keras, kaggle, hugging_face, matplotlib = child.communicate()[0].split("\n")[:4]
    assert keras == "/own" and not hugging_face
    assert kaggle.endswith("/kagglehub_cache")
    assert os.path.dirname(kaggle) == os.path.dirname(matplotlib)


def test_an_entry_where_nothing_can_be_written_is_read(
    nobody: tuple[list[str], pathlib.Path],
) -> None:
    """A cache may come with an image."""
    become, folder = nobody
    entry(folder / "cache", "a")
    for path in (folder / "cache" / "a", folder / "cache"):
        path.chmod(0o555)
    reader = start("print(entry('a'))", folder / "cache", become=become)
    assert reader.communicate()[0] == "a" * 100 + "\n"
    assert names(folder / "cache") == ["a"]
    (folder / "cache").chmod(0o755)

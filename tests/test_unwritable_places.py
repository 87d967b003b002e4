"""Places that cannot be written: one line that names the place and the mend, exit 2."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
from typing import Any, Callable, Iterator, TextIO

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags

from trainer import audit, flags, main, predict, storage, study
from trainer.config import AuditConfig, ExperimentConfig, PredictConfig
from trainer.serving import resumable
from trainer.study_config import StudyConfig
from trainer.training.progress import JsonLinesWriter

ROOT = pathlib.Path(__file__).parent.parent

# What an entry point is given besides the flag of the place that it writes to.
RUN = ("--dataset=files:{}/a.csv", "--preset=none", "--cache_dir={}/cache")
WRITERS: dict[str, tuple[Any, Callable[[Any], None], tuple[str, ...], str]] = {
    "main": (ExperimentConfig, main.main, RUN, "model_dir"),
    # Known at the start, not after the training.
    "main's export": (
        ExperimentConfig,
        main.main,
        (*RUN, "--model_dir={}/run"),
        "export_dir",
    ),
    "study": (StudyConfig, study.main, RUN, "study_dir"),
    "audit": (AuditConfig, audit.main, ("--dataset=files:{}/a.csv",), "output"),
    "predict": (
        PredictConfig,
        predict.main,
        ("--saved_model={}/model", "--input={}/a.csv"),
        "output",
    ),
}
# Places that nobody can write to, root neither; and what is said of them.
PLACES = {
    "under a file": ("{}/a.csv/below", "Not a directory; remove the file that is in"),
    "a name too long": ("{}/" + 300 * "n", "File name too long; give a shorter name"),
    "a folder without files": ("/proc/below", "; "),
}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Of a table, and of what is a model until it is loaded."""
    rows = [f"film {number},{number % 2}\n" for number in range(40)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    return tmp_path


Refused = Callable[[str, str], str]


@pytest.fixture
def refused(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """The line with which a writer ends, when it is given a place."""

    def end(writer: str, place: str) -> str:
        config_class, entry_point, arguments, flag = WRITERS[writer]
        values: Any = absl_flags.FlagValues()  # type: ignore[no-untyped-call]
        flags.define(config_class, values)
        others = [each.format(folder) for each in arguments]
        values(["main", *others, f"--{flag}={place}"])
        config = flags.read(config_class, values)
        with pytest.raises(SystemExit) as caught, flags._exit_codes(values):
            entry_point(config)
        assert caught.value.code == 2
        (line,) = re.findall("^error: .*\n", capsys.readouterr().err, re.MULTILINE)
        return str(line)

    return end


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", PLACES)
def test_a_place_that_cannot_be_written_costs_one_line(
    writer: str, kind: str, folder: pathlib.Path, refused: Refused
) -> None:
    place, expected = PLACES[kind]
    place = place.format(folder)
    line, flag = refused(writer, place), WRITERS[writer][3]
    assert line.startswith(f"error: --{flag}={place} must be ")
    assert line.count(place) == 1 and expected in line
    assert {path.name for path in folder.iterdir()} <= {"a.csv", "model", "run"}


@pytest.mark.parametrize("writer", ["main", "study", "audit", "predict"])
def test_the_home_of_nobody_is_named(writer: str, refused: Refused) -> None:
    place, flag = "~nobody-of-this-name/a", WRITERS[writer][3]
    assert refused(writer, place) == (
        "error: a path that begins with ~ must name a user of this machine. Received: "
        f"--{flag}={place}; write the path in full\n"
    )


@pytest.mark.parametrize("writer", ["audit", "predict"])
def test_an_output_may_be_named_from_home(
    writer: str,
    folder: pathlib.Path,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    line = refused(writer, "~/a.csv/below")
    assert f"Not a directory: {folder}/a.csv/below" in line


def test_a_folder_of_another_user_is_named(folder: pathlib.Path) -> None:
    """Or one that its owner may not write to, which is the same to all but root."""
    closed = folder / "closed"
    closed.mkdir(mode=0o555)
    arguments = [f"--dataset=files:{folder}/a.csv", f"--output={closed}/a.json"]
    command = [sys.executable, "-m", "trainer.audit", *arguments]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv, which takes root's rights, is not installed")
        command = ["setpriv", "--bounding-set=-all", *command]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith(
        f"error: --output={closed}/a.json must be in a place that can be read and "
        "written. Received: Permission denied; check its permissions, or "
    )


@pytest.mark.parametrize("is_full", ["stdout", "stderr", "both"])
def test_standard_streams_on_a_full_disk(is_full: str, folder: pathlib.Path) -> None:
    """The exit code still says that a restart would not help."""
    dataset = f"--dataset=files:{folder}/a.csv"
    if is_full == "stderr":
        dataset = "--dataset=files:missing.csv"
    with open("/dev/full", "w") as full:
        pipe: int | TextIO = subprocess.PIPE
        result = subprocess.run(
            [sys.executable, "-m", "trainer.audit", dataset],
            cwd=ROOT,
            stdout=pipe if is_full == "stderr" else full,
            stderr=pipe if is_full == "stdout" else full,
            text=True,
        )
    assert result.returncode == 2
    if is_full == "stdout":
        *_, last = result.stderr.splitlines()
        assert last.startswith("error: ") and "No space left on device: stand" in last


def test_a_reader_that_has_enough_is_no_error(folder: pathlib.Path) -> None:
    """As in `trainer.audit … | head -n 1`, when all is said."""
    reader, writer = os.pipe()
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "trainer.audit", f"--dataset=files:{folder}/a.csv"],
        cwd=ROOT,
        env=buffered,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert result.returncode == 0 and "Broken" not in result.stderr


@contextlib.contextmanager
def no_file_larger_than(num_bytes: int) -> Iterator[None]:
    """For this process; it is told at the write that passes the limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_text(place: pathlib.Path) -> None:
    storage.write_text(place, 10_000 * "a")


def write_array(place: pathlib.Path) -> None:
    """NumPy says neither what is wrong nor where."""
    with storage.new_directory(place, keep_existing=True) as unfinished:
        np.save(unfinished / "array.npy", np.zeros(10_000))


def write_record(place: pathlib.Path) -> None:
    JsonLinesWriter(place).write("train", step=1, values={10_000 * "a": 0.0})


def write_lines(place: pathlib.Path) -> None:
    with resumable.opened(place, {}, batch_size=1) as output:
        output.append(["a"], [10_000 * "a"])


def write_checkpoint(place: pathlib.Path) -> None:
    checkpoint = tf.train.Checkpoint(variable=tf.Variable(tf.zeros(10_000)))
    with storage.naming_refusals():
        checkpoint.write(str(place))


def map_file(place: pathlib.Path) -> None:
    """Without room for it, the first write to its memory would be the end."""
    storage.make_room(place, 10_000)


@pytest.mark.parametrize(
    "write",
    [write_text, write_array, write_record, write_lines, write_checkpoint, map_file],
)
def test_a_write_without_room_names_the_place(
    write: Callable[[pathlib.Path], None], tmp_path: pathlib.Path
) -> None:
    place = tmp_path / "a b"
    with pytest.raises(OSError) as caught, no_file_larger_than(5_000):
        write(place)
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert str(caught.value.filename).startswith(str(place))
    write(tmp_path / "with room")


def test_room_is_on_the_disk(tmp_path: pathlib.Path) -> None:
    storage.make_room(tmp_path / "a", 1 << 20)
    status = (tmp_path / "a").stat()
    assert status.st_size == 1 << 20
    assert 512 * status.st_blocks >= 1 << 20, "a hole: it may be full at a later write"


def test_what_tensorflow_is_refused_on_a_disk_names_the_file() -> None:
    text = "{{function_node x}} /runs/a b/x; Permission denied [Op:SaveV2]"
    with pytest.raises(PermissionError) as caught, storage.naming_refusals():
        raise tf.errors.PermissionDeniedError(None, None, text)
    assert caught.value.filename == "/runs/a b/x"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (tf.errors.PermissionDeniedError, "403 when writing to gs://b/a: no"),
        (tf.errors.UnauthenticatedError, "403 when writing to gs://b/a: no"),
        (tf.errors.UnavailableError, None),
    ],
)
def test_a_bucket_that_refuses_is_no_crash_and_one_that_is_away_is(
    error: type[Exception], named: str | None
) -> None:
    text = "403 when writing to gs://b/a:\n  no"
    expected = error if named is None else PermissionError
    with pytest.raises(expected) as caught, storage.naming_refusals():
        raise error(None, None, text)
    assert getattr(caught.value, "filename", None) == named

"""What XLA compiled is kept for the next process."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from trainer.runtime import compile_cache

KEEP = (
    "import os, sys\n"
    "from trainer.runtime import compile_cache\n"
    "def keep(folder, deterministic=True):\n"
    "    return compile_cache.keep_compiled(folder, deterministic=deterministic)\n"
)
COMPILE = (
    "print(keep(sys.argv[1]))\n"
    "import tensorflow as tf\n"
    "double = tf.function(lambda x: tf.nn.softmax(x @ x), jit_compile=True)\n"
    "double(tf.ones([4, 4]))\n"
)


def python(code: str, *arguments: str, flags: str | None = None) -> list[str]:
    """The lines that code prints in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_XLA_FLAGS"}
    if flags is not None:
        environment["TF_XLA_FLAGS"] = flags
    done = subprocess.run(
        [sys.executable, "-c", KEEP + code, *arguments],
        env=environment,
        timeout=120,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_next_process_finds_what_one_compiled(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "a folder [1]"
    (said,) = python(COMPILE, str(folder))
    (kept,) = folder.iterdir()
    assert said == f"kept in {kept}"
    (compiled,) = kept.glob("*.pb")
    assert compiled.with_suffix(".sha256").is_file()
    # Compiled again, it would be written again, and so be another file.
    before = compiled.stat().st_ino, compiled.stat().st_mtime_ns
    assert python(COMPILE, str(folder)) == [said]
    assert (compiled.stat().st_ino, compiled.stat().st_mtime_ns) == before
    # TensorFlow would fail.
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    assert python(COMPILE, str(folder)) == [said]
    assert len(compiled.read_bytes()) == len(whole)


# A field of a number, one of bytes, and one of four bytes.
MESSAGE = b"\x08\x96\x01" + b"\x12\x03abc" + b"\x1d1234"


@pytest.mark.parametrize(
    ("content", "is_whole"),
    [
        (MESSAGE, True),
        (b"", False),
        (bytes(len(MESSAGE)), False),
        *((MESSAGE[:size], False) for size in (1, 4, 7, len(MESSAGE) - 1)),
    ],
)
def test_what_a_killed_process_compiled_is_kept_if_it_is_whole(
    content: bytes, is_whole: bool, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "a.pb"
    file.write_bytes(content)
    compile_cache._remove_damaged(tmp_path)
    assert file.exists() == is_whole == file.with_suffix(".sha256").exists()


def test_a_bit_that_changed_is_found(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which may be in the middle of a program."""
    file = tmp_path / "a.pb"
    file.write_bytes(MESSAGE)
    compile_cache._remove_damaged(tmp_path)
    compile_cache._remove_damaged(tmp_path)
    assert file.exists() and not caplog.records
    file.write_bytes(MESSAGE.replace(b"b", b"c"))
    compile_cache._remove_damaged(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert f"{file} is damaged and is compiled anew" in caplog.text


def test_a_users_own_flags_stay_and_win(tmp_path: pathlib.Path) -> None:
    code = "print(keep(sys.argv[1])); print(os.environ.get('TF_XLA_FLAGS'))\n"
    own = "--tf_xla_persistent_cache_directory=/own --tf_xla_clustering_debug"
    assert python(code, str(tmp_path), flags=own) == ["kept in /own", own]
    named = "/etc/xla_flags"
    said, flags = python(code, str(tmp_path), flags=named)
    assert named in said and flags == named
    other = "--tf_xla_clustering_debug"
    said, flags = python(code, str(tmp_path), flags=other)
    assert said.startswith(f"kept in {tmp_path}/")
    assert flags.startswith(f'{other} --tf_xla_persistent_cache_directory="{tmp_path}/')


def test_asked_again_it_says_the_same(tmp_path: pathlib.Path) -> None:
    first, again = python(
        "print(keep(sys.argv[1])); print(keep('/elsewhere'))", str(tmp_path)
    )
    assert first == again


@pytest.mark.parametrize(
    "code",
    [
        "print(keep(sys.argv[1], deterministic=False))",
        "os.environ['XLA_FLAGS'] = '--xla_other'; print(keep(sys.argv[1]))",
        "compile_cache._hardware = lambda: ['another']; print(keep(sys.argv[1]))",
        "compile_cache.importlib.metadata.version = lambda name: '9.9'\n"
        "print(keep(sys.argv[1]))",
    ],
    ids=["deterministic", "XLA_FLAGS", "hardware", "version"],
)
def test_what_was_compiled_otherwise_is_kept_apart(
    code: str, tmp_path: pathlib.Path
) -> None:
    (usual,) = python("print(keep(sys.argv[1]))", str(tmp_path))
    (other,) = python(code, str(tmp_path))
    assert other.startswith("kept in ") and other != usual


def test_the_hardware_of_this_machine_is_seen() -> None:
    if pathlib.Path("/proc/cpuinfo").is_file():
        assert compile_cache._hardware()


def test_nothing_is_kept_where_nothing_can_be(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "xla")
    code = (
        "print(keep(''))\n"
        "print(keep(sys.argv[1]))\n"
        "print(keep('gs://bucket/xla'))\n"
        "assert 'TF_XLA_FLAGS' not in os.environ\n"
    )
    empty, unwritable, bucket = python(code, folder)
    assert empty == "not kept: --compile_cache_dir is empty"
    assert unwritable.startswith(f"not kept: {folder}")
    assert bucket == "not kept: gs://bucket/xla is no folder of this machine"


def test_the_oldest_goes_where_there_is_too_much(tmp_path: pathlib.Path) -> None:
    for age, name in enumerate(["new/a", "old/a", "new/b", "old/b"]):
        program = tmp_path / f"{name}.pb"
        program.parent.mkdir(exist_ok=True)
        program.write_bytes(bytes(100))
        program.with_suffix(".sha256").write_text("")
        os.utime(program, (0, 1_000 - age))
    left = {
        400: ["new", "new/a", "new/b", "old", "old/a", "old/b"],
        399: ["new", "new/a", "new/b", "old", "old/a"],
        200: ["new", "new/a", "old", "old/a"],
        150: ["new", "new/a"],
        0: [],
    }
    for max_bytes, names in left.items():
        compile_cache._remove_oldest(tmp_path, max_bytes=max_bytes)
        places = {
            str(p.relative_to(tmp_path).with_suffix("")) for p in tmp_path.rglob("*")
        }
        assert sorted(places) == names


def test_it_is_too_late_once_tensorflow_has_started() -> None:
    # As here: conftest.py makes the logical devices.
    said = compile_cache.keep_compiled("/nowhere", deterministic=True)
    assert said == "not kept: this process had used TensorFlow before"
    assert "nowhere" not in os.environ.get("TF_XLA_FLAGS", "")

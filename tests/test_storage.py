"""Tests of trainer/storage.py."""

from __future__ import annotations

import os
import pathlib
import tempfile
import stat
import uuid
from typing import Any, Iterator

import pytest
import tensorflow as tf

from trainer import storage

UMASKS = [0o022, 0o077, 0o002]


@pytest.fixture
def restored_umask() -> Iterator[None]:
    """The process's umask after the test is what it was before."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("text", ["", "one\ntwo\n", "naïve 🎬\u2028 \r\n"])
def test_write_text(text: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "folders" / "report.json"
    storage.write_text(path, text)
    assert path.read_bytes() == text.encode("utf-8")
    assert names(path.parent) == ["report.json"]


def test_write_text_replaces_the_file_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("the old and longer text")
    with path.open() as reader:
        storage.write_text(str(path), "new")
        assert reader.read() == "the old and longer text", "written into, not replaced"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["state.json"]


def test_write_text_error_keeps_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        storage.write_text(path, "x" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_parts_that_fail_to_be_made_keep_the_old_file(
    scheme: str, tmp_path: pathlib.Path
) -> None:
    place = f"{scheme}{tmp_path}/answers.jsonl"
    storage.write_parts(place, (f"{number}\n" for number in range(3)))

    def failing() -> Iterator[str]:
        yield "new\n"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        storage.write_parts(place, failing())
    assert (tmp_path / "answers.jsonl").read_text() == "0\n1\n2\n"
    assert [n for n in names(tmp_path) if not n.startswith(".")] == ["answers.jsonl"]


def test_write_text_over_a_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="state.json"):
        storage.write_text(tmp_path / "state.json", "new")
    assert names(tmp_path) == ["state.json"]


def new_directory(place: storage.Path) -> Any:
    return storage.new_directory(place, keep_existing=True)


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
@pytest.mark.usefixtures("restored_umask")
def test_permissions_follow_the_umask(umask: int, tmp_path: pathlib.Path) -> None:
    os.umask(umask)
    storage.write_text(tmp_path / "file", "text")
    with new_directory(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "file") == 0o666 & ~umask
    assert mode(tmp_path / "folder") == 0o777 & ~umask
    assert os.umask(umask) == umask, "the umask was not put back"


def test_new_directory_gets_its_name_at_the_end(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "new" / "export"
    with new_directory(target) as folder:
        (folder / "weights").write_text("1")
        assert not target.exists()
        # Beside the target, so that a rename does: it cannot cross file systems.
        assert folder.parent == target.parent
        assert folder.name.startswith("."), "a server would take it for a version"
    assert (target / "weights").read_text() == "1"
    assert names(target.parent) == ["export"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_new_directory_leaves_nothing_after_an_error(
    error: type[BaseException], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(error):
        with new_directory(tmp_path / "export") as folder:
            (folder / "weights").write_text("1")
            raise error
    assert names(tmp_path) == []


def test_new_directory_keeps_the_folder_that_came_first(
    tmp_path: pathlib.Path,
) -> None:
    target = tmp_path / "export"
    with new_directory(target) as folder:
        (folder / "weights").write_text("ours")
        target.mkdir()
        (target / "weights").write_text("theirs")
    assert (target / "weights").read_text() == "theirs"
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_name_that_is_taken_meanwhile_is_noticed(
    is_empty: bool, tmp_path: pathlib.Path
) -> None:
    """A rename alone would take an empty folder's place without a word."""
    target = tmp_path / "3"
    with pytest.raises(ValueError, match="made meanwhile; start again"):
        with storage.new_directory(target, keep_existing=False) as folder:
            (folder / "weights").write_text("ours")
            target.mkdir()
            if not is_empty:
                (target / "weights").write_text("theirs")
    assert names(target) == ([] if is_empty else ["weights"])
    assert names(tmp_path) == ["3"]


def test_new_directory_over_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "export").write_text("a file")
    with pytest.raises(OSError):
        with new_directory(tmp_path / "export"):
            pass
    assert (tmp_path / "export").read_text() == "a file"
    assert names(tmp_path) == ["export"]


@pytest.fixture
def remote() -> Iterator[storage.RemotePath]:
    """A folder in TensorFlow's file system in memory, whose scheme is ram."""
    folder = storage.path(f"ram://{uuid.uuid4()}")
    assert isinstance(folder, storage.RemotePath)
    yield folder
    storage.remove(folder)


def test_remote_path_is_used_like_a_local_one(
    remote: storage.RemotePath, tmp_path: pathlib.Path
) -> None:
    for folder in (remote, tmp_path):
        place = folder / "runs" / "a"
        assert (place.name, place.parent) == ("a", folder / "runs")
        assert str(place) == os.fspath(place) == f"{folder}/runs/a"
        assert not place.is_dir() and not place.is_file()
        place.mkdir(parents=True, exist_ok=True)
        place.mkdir(parents=True, exist_ok=True)
        assert place.is_dir() and not place.is_file()
        storage.write_text(place / "x.txt", "naïve 🎬\n")
        with (place / "x.txt").open("a", encoding="utf-8") as file:
            file.write("more")
        storage.write_text(place / "y.txt", "old")
        storage.write_text(place / "y.txt", "new")
        assert (place / "x.txt").read_text(encoding="utf-8") == "naïve 🎬\nmore"
        assert (place / "y.txt").read_text(encoding="utf-8") == "new"
        assert (place / "x.txt").is_file() and not (place / "x.txt").is_dir()
        assert sorted(p.name for p in place.iterdir()) == ["x.txt", "y.txt"]
        (place / "x.txt").unlink()
        assert [p.name for p in place.iterdir()] == ["y.txt"]
        storage.remove(place / "y.txt")
        assert [p.name for p in place.iterdir()] == []
        storage.remove(folder / "runs")
        assert not (folder / "runs").is_dir()
    assert remote / "a" == storage.path(f"{remote}/a/") != remote
    assert len({remote, storage.path(str(remote))}) == 1


def test_new_directory_elsewhere(remote: storage.RemotePath) -> None:
    """Filled on this machine, then copied, the file that makes it valid last."""
    target = remote / "export" / "1"
    with pytest.raises(ZeroDivisionError):
        with new_directory(target) as unfinished:
            (unfinished / "saved_model.pb").write_text("model")
            raise ZeroDivisionError
    assert not target.is_dir()
    with new_directory(target) as unfinished:
        (unfinished / "variables").mkdir()
        (unfinished / "saved_model.pb").write_text("model")
        (unfinished / "variables" / "v.index").write_bytes(b"\x00\xff")
        assert not target.is_dir()
    assert not unfinished.exists()
    assert (target / "saved_model.pb").read_text() == "model"
    assert (target / "variables" / "v.index").open("rb").read() == b"\x00\xff"


def test_copied_with_the_model_last(
    remote: storage.RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    copy = tf.io.gfile.copy

    def noting(source: str, target: str, overwrite: bool) -> None:
        copied.append(pathlib.PurePath(target).name)
        copy(source, target, overwrite)

    monkeypatch.setattr(tf.io.gfile, "copy", noting)
    with new_directory(remote / "1") as unfinished:
        for name in ("a", "manifest.json", "saved_model.pb", "variables.index", "z"):
            (unfinished / name).touch()
    assert copied == ["a", "variables.index", "z", "saved_model.pb", "manifest.json"]


def test_unknown_scheme_is_named() -> None:
    with pytest.raises(ValueError) as error:
        storage.path("s4://bucket/run")
    for part in ("s4://bucket/run", "ram://", "tensorflow[gcs-filesystem]", "`gcs`"):
        assert part in str(error.value)


def test_leftovers_of_the_living_and_what_only_looks_like_one_stay(
    tmp_path: pathlib.Path,
) -> None:
    others = [
        ".a.tmp",
        ".a.tmp-1",
        "a.12345678.tmp",
        ".a.tmp-12345678x",
        ".a.tmp-ABCDEFGH",
    ]
    for name in (*others, ".a.0123abc_.tmp", ".b.0123abc_.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".a.tmp-0123abc_").mkdir()
    (tmp_path / ".a.tmp-0123abc_" / "file").touch()
    with storage.new_directory(tmp_path / "a", keep_existing=False) as unfinished:
        storage.remove_leftovers(tmp_path, of="a")
        living = unfinished.name
        assert names(tmp_path) == sorted([*others, ".b.0123abc_.tmp", living])
    storage.remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*others, "a"])


def test_scratch_of_a_dead_process_goes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / ".mine.tmp-0123abc_").mkdir()
    (tmp_path / ".other.tmp-0123abc_").mkdir()
    with storage.scratch("mine") as folder:
        assert names(tmp_path) == sorted([folder.name, ".other.tmp-0123abc_"])
    assert names(tmp_path) == [".other.tmp-0123abc_"]


@pytest.mark.parametrize("name", ["a[1]", "what?", "a*", r"a\b"])
def test_pattern_as_a_name_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="takes for a pattern") as error:
        storage.path(f"ram://bucket/{name}/run")
    assert f"ram://bucket/{name}/run; give" in str(error.value)


@pytest.mark.parametrize(
    "name", ["a[1]", "[!a]", "what?", "a*", r"a\b", "a{1,2}", "a b"]
)
def test_checkpoint_is_read_by_its_literal_name(
    name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tf.train.Checkpoint(v=tf.Variable(3.0)).write(f"{name}/step-1")
    read = tf.Variable(0.0)
    with storage.literal(pathlib.Path(name)) as folder:
        tf.train.Checkpoint(v=read).read(str(folder / "step-1"))
    assert read.numpy() == 3.0
    assert names(tmp_path) == [name], "the link stays"


def test_temporary_folder_with_a_pattern_as_its_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "tmp[1]"
    usual.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(usual))
    with storage.literal(usual) as folder:
        assert "[" not in str(folder) and os.path.samefile(str(folder), usual)
    assert not os.path.lexists(str(folder))


def test_home_is_resolved() -> None:
    assert storage.path("~/runs") == pathlib.Path.home() / "runs"

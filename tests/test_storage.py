"""Tests of trainer/storage.py."""

from __future__ import annotations

import os
import pathlib
import stat
from typing import Iterator

import pytest

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


def test_write_text_over_a_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="state.json"):
        storage.write_text(tmp_path / "state.json", "new")
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize("umask", UMASKS, ids=oct)
@pytest.mark.usefixtures("restored_umask")
def test_permissions_follow_the_umask(umask: int, tmp_path: pathlib.Path) -> None:
    os.umask(umask)
    storage.write_text(tmp_path / "file", "text")
    with storage.new_directory(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "file") == 0o666 & ~umask
    assert mode(tmp_path / "folder") == 0o777 & ~umask
    assert os.umask(umask) == umask, "the umask was not put back"


def test_new_directory_gets_its_name_at_the_end(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "new" / "export"
    with storage.new_directory(target) as folder:
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
        with storage.new_directory(tmp_path / "export") as folder:
            (folder / "weights").write_text("1")
            raise error
    assert names(tmp_path) == []


def test_new_directory_keeps_the_folder_that_came_first(
    tmp_path: pathlib.Path,
) -> None:
    target = tmp_path / "export"
    with storage.new_directory(target) as folder:
        (folder / "weights").write_text("ours")
        target.mkdir()
        (target / "weights").write_text("theirs")
    assert (target / "weights").read_text() == "theirs"
    assert names(tmp_path) == ["export"]


def test_new_directory_over_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "export").write_text("a file")
    with pytest.raises(OSError):
        with storage.new_directory(tmp_path / "export"):
            pass
    assert (tmp_path / "export").read_text() == "a file"
    assert names(tmp_path) == ["export"]

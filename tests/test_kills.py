"""Files, folders and caches of processes that were killed between two operations."""

from __future__ import annotations

import gc
import pathlib

from tests import kills
from tests.test_caches import entry, names
from trainer import storage


def rewrite(folder: pathlib.Path) -> None:
    """Files and folders that are made, replaced, and set aside."""
    for text in ("old", "new"):
        storage.write_text(folder / "a.txt", text)
    with storage.new_directory(folder / "b", keep_existing=False) as unfinished:
        for name in ("one", "two"):
            (unfinished / name).write_text("whole")
    storage.set_aside(folder / "b")


def test_files_and_folders(tmp_path: pathlib.Path) -> None:
    """All that has a name is whole, and what has none goes."""
    for folder in kills.before_each(f"{__name__}:rewrite", tmp_path):
        storage.remove_leftovers(folder)
        assert {*names(folder)} <= {"a.txt", "b"}
        if (folder / "a.txt").is_file():
            assert (folder / "a.txt").read_text() in ("old", "new")
        if (folder / "b").is_dir():
            assert names(folder / "b") == ["one", "two"]
            assert (folder / "b" / "two").read_text() == "whole"


def fill(folder: pathlib.Path) -> None:
    """Makes an entry, makes it anew where it is damaged, and removes it for another."""
    entry(folder / "cache", "a")
    (folder / "cache" / "a" / "a.txt").write_text("zeros")
    entry(folder / "cache", "a")
    gc.collect()
    entry(folder / "cache", "b", limit=1)


def test_entries_of_a_cache(tmp_path: pathlib.Path) -> None:
    for folder in kills.before_each(f"{__name__}:fill", tmp_path):
        for name in "abc":
            assert entry(folder / "cache", name) == name * 100
        assert names(folder / "cache") == ["a", "b", "c"], folder

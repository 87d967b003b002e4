"""Whether the files of a data set are still what they were: by what the system says.

    before = states(["reviews.csv"])
    ...                                     # read them
    refuse_changed(before)                  # raises where one was written to meanwhile

    names = ["part-1.csv", "part-2.csv"]    # what a glob stood for at first
    refuse_new(names, now)                  # raises where it stands for more by now

Rows of a file that changes while it is read are of two data sets. And what is kept of a
file (`kept_sources.py`) is not to be taken for what is in another of its name.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any, Iterable, Mapping, NamedTuple

from trainer.data.readers.rows import BadFileError


class FileState(NamedTuple):
    """What the system says of a file that is another one when the content is.

    Attributes:
      path: absolute.
      num_bytes: its size.
      changes: device, number, and when its content and its entry changed last, in
        nanoseconds. The last nobody can set back.
    """

    path: str
    num_bytes: int
    changes: tuple[int, int, int, int]


def states(paths: Iterable[str]) -> tuple[FileState, ...] | None:
    """The states of files; None where one is none, as a name of TensorFlow Datasets."""
    found = []
    for path in paths:
        if not os.path.isfile(path):
            return None
        found.append(_state(os.path.abspath(path)))
    return tuple(found)


def refuse_changed(before: Iterable[FileState]) -> None:
    """Raises BadFileError for the first that is not what it was."""
    for was in before:
        try:
            now = _state(was.path)
            received = f"{was.num_bytes} bytes at first and {now.num_bytes} at the end"
            if now.num_bytes == was.num_bytes:
                received = "it was written to"
        except OSError:
            now, received = None, "it is gone"
        if now != was:
            raise BadFileError(
                was.path,
                rule="expected a file that stays as it is while it is read",
                received=received,
                mend="start again when nothing writes to it any more",
            )


def refuse_new(before: Iterable[str], now: Iterable[str]) -> None:
    """Raises BadFileError for the first file that was not there to be read.

    Args:
      before: the names of the files when reading began.
      now: of those for which the same paths and globs stand at its end.
    """
    known = set(before)
    for name in now:
        if name not in known:
            raise BadFileError(
                name,
                rule="expected the same files from the beginning of reading to its end",
                received="one that came meanwhile and was not read",
                mend="start again when nothing writes to the folder any more",
            )


def row_counts(source_facts: Mapping[str, Any]) -> dict[str, int]:
    """How many rows were read of each file, by its name; see `Sources.facts`."""
    counts: Counter[str] = Counter()
    for split in source_facts["splits"].values():
        for file in split["files"]:
            counts[file["name"]] += file["num_rows"]
    return dict(counts)


def differences(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """How the files of two readings differ, in words; both as of `row_counts`."""
    words = [f"{name} is new" for name in now if name not in before]
    words += [f"{name} is gone" for name in before if name not in now]
    return words + [
        f"{name} has {now[name]} rows and had {number}"
        for name, number in before.items()
        if now.get(name, number) != number
    ]


def _state(path: str) -> FileState:
    found = os.stat(path)
    changes = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
    return FileState(path, found.st_size, changes)

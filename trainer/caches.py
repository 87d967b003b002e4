"""Folders of what can be made again: whole, checked, limited, and never a reason to end.

    tokens = caches.entry("/cache/tokens", "5d41…", make=write, read=read, max_bytes=0)
    # What `read` reads of what `write` wrote, now or in an earlier process.

A cache may be removed at any time. So one that cannot be had (no home folder, a disk
that is full or read-only) costs a warning, and a folder that goes with the process; an
entry that is not what was written is made anew. As long as an entry is in use a lock
says so, and it stays; of the others those that were used longest ago go first.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import logging
import os
import pathlib
import weakref
from typing import Any, Callable, Mapping, TypeVar

from trainer import json_text, locks, storage

# What the files of an entry are; in the entry, written last.
_SEAL = "checksums.json"
_READ_BYTES = 1 << 20
# Other libraries' caches and settings: the variable that names the folder, and where it
# is without. They read it when they are imported.
_OTHERS = {
    "KERAS_HOME": "~/.keras",
    "KAGGLEHUB_CACHE": "~/.cache/kagglehub",
    "HF_HOME": "~/.cache/huggingface",
    "MPLCONFIGDIR": "~/.config/matplotlib",
}

_logger = logging.getLogger(__name__)

Value = TypeVar("Value")


def entry(
    root: str | pathlib.Path,
    name: str,
    *,
    make: Callable[[pathlib.Path], None],
    read: Callable[[pathlib.Path], Value],
    max_bytes: int,
    falls_back: bool = True,
) -> Value:
    """What an entry of a cache holds, made if it is not there or is damaged.

    Args:
      root: folder of the entries; made if it is not there, `~` included.
      name: tells all that the content depends on.
      make: writes the content into a folder.
      read: reads it; raises ValueError where it is not what it should be. The folder is
        in use as long as the value that it gives lives.
      max_bytes: of all entries; what was used longest ago is removed until no more is
        left, or all that is left is in use. 0: any number.
      falls_back: whether a folder that goes with the process will do where the place
        cannot be had.

    Raises:
      OSError: the place cannot be had, and no other will do.
    """
    place = pathlib.Path(root).expanduser()
    try:
        return _entry(place, name, make, read, max_bytes)
    except OSError as error:
        if not falls_back:
            raise
        _warn_of(place, error.strerror or str(error))
    return _entry(temporary() / place.name, name, make, read, max_bytes)


def root(cache_dir: str, name: str) -> pathlib.Path:
    """The folder of one cache's entries: in --cache_dir, where it is on a disk.

    What lies elsewhere (gs://) cannot be mapped into memory: there each process has a
    folder that goes with it.
    """
    place = storage.path(cache_dir)
    return (place if isinstance(place, pathlib.Path) else temporary()) / name


def settle() -> None:
    """Gives other libraries a folder where theirs cannot be written.

    To be called before they are imported. What the user has set stays.
    """
    for variable, usual in _OTHERS.items():
        place = pathlib.Path(usual).expanduser()
        # What is there already is of use though nothing can be added.
        is_usable = os.path.isdir(place) or can_be_written(place)
        if not os.environ.get(variable) and not is_usable:
            # Without room for it they do what they do without us.
            with contextlib.suppress(OSError):
                os.environ[variable] = str(temporary() / variable.lower())


def can_be_written(folder: pathlib.Path) -> bool:
    """Whether the folder, or the first that is there above it, can be written to."""
    above = (folder, *folder.absolute().parents)
    there = next(each for each in above if os.path.exists(each))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


@functools.cache
def _warn_of(place: pathlib.Path, reason: str) -> None:
    """Once for each cache, however often it is asked."""
    _logger.warning(
        "%s cannot be used as a cache (%s): %s is, and goes with this process",
        place,
        reason,
        temporary(),
    )


@functools.cache
def temporary() -> pathlib.Path:
    """A folder that goes with this process."""
    undo = contextlib.ExitStack()
    folder = undo.enter_context(storage.scratch("trainer-cache"))
    atexit.register(undo.close)
    return folder


def _entry(
    root: pathlib.Path,
    name: str,
    make: Callable[[pathlib.Path], None],
    read: Callable[[pathlib.Path], Value],
    max_bytes: int,
) -> Value:
    """The same, or OSError where the place cannot be used."""
    folder = root / name
    storage.remove_leftovers(root)
    value = _read(folder, read)
    if value is not None:
        return value
    with storage.new_directory(folder, keep_existing=True) as unfinished:
        make(unfinished)
        written = _content(unfinished)
        content = json.dumps(written, indent=2)
        (unfinished / _SEAL).write_text(f"{content}\n", encoding="utf-8")
    value = _read(folder, read, just_written=written)
    if value is None:
        raise OSError(f"{folder} is not what was just written there")
    _limit(root, max_bytes)
    return value


def _read(
    folder: pathlib.Path,
    read: Callable[[pathlib.Path], Value],
    *,
    just_written: Mapping[str, Any] | None = None,
) -> Value | None:
    """What an entry holds, in use from now on; None: there is none, or no more.

    Args:
      just_written: checksums as of `_content` that this process has just computed, of an
        entry that may be another's.
    """
    handle = locks.use(folder)
    if handle is None:
        return None
    try:
        _refuse_damaged(folder, just_written)
        value = read(folder)
    except (OSError, ValueError) as error:
        os.close(handle)
        _logger.warning("%s is damaged and is made anew: %s", folder, error)
        storage.set_aside(folder)
        return None
    weakref.finalize(value, os.close, handle)
    # Not all file systems note when something was read.
    with contextlib.suppress(OSError):
        os.utime(folder)
    return value


def _refuse_damaged(
    folder: pathlib.Path, just_written: Mapping[str, Any] | None = None
) -> None:
    """Raises OSError or ValueError unless the files are what was written.

    What was just read to be sealed is not read once more.
    """
    # An entry of an earlier version has no such file, and cannot be told from one that
    # is damaged.
    written = json_text.parse((folder / _SEAL).read_text(encoding="utf-8"))
    is_new = just_written is not None and written == just_written
    if is_new and _sizes(folder) == {
        name: facts["bytes"] for name, facts in written.items()
    }:
        return
    content = _content(folder)
    if not isinstance(written, dict):
        raise ValueError(f"{_SEAL} holds no object")
    if written != content:
        names = sorted({*written, *content})
        changed = [name for name in names if written.get(name) != content.get(name)]
        raise ValueError(f"{', '.join(changed)} changed since")


def _content(folder: pathlib.Path) -> Mapping[str, Any]:
    """The size in bytes and SHA-256 of each file by name."""
    content = {}
    for file in sorted(folder.iterdir()):
        if file.name == _SEAL:
            continue
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
        size = file.stat().st_size
        content[file.name] = {"bytes": size, "sha256": digest.hexdigest()}
    return content


def _sizes(folder: pathlib.Path) -> Mapping[str, int]:
    """The size in bytes of each file that is sealed, by name."""
    files = (file for file in folder.iterdir() if file.name != _SEAL)
    return {file.name: file.stat().st_size for file in files}


def _limit(root: pathlib.Path, max_bytes: int) -> None:
    """Removes entries that nobody uses, those used longest ago first."""
    if not max_bytes:
        return
    entries = [_last_use(place) for place in root.iterdir() if place.name[0] != "."]
    total = sum(num_bytes for _, _, num_bytes in entries)
    for _, folder, num_bytes in sorted(entries):
        if total <= max_bytes:
            break
        with locks.unused(folder, if_unknown=False) as is_unused:
            if is_unused:
                _logger.info("%s is removed: the cache is full", folder)
                storage.set_aside(folder)
                total -= num_bytes
    storage.remove_leftovers(root)


def _last_use(folder: pathlib.Path) -> tuple[float, pathlib.Path, int]:
    """When an entry was used last, in seconds, the entry, and its size in bytes."""
    try:
        sizes = [file.stat().st_size for file in folder.iterdir()]
        return folder.stat().st_mtime, folder, sum(sizes)
    except OSError:  # Another process removes it.
        return 0.0, folder, 0

"""Locks on files and folders, which go with the process that holds them.

    handle, name = tempfile.mkstemp()
    locks.is_ours(handle, name)     # true: nobody takes it for a leftover
    with locks.unused(folder, if_unknown=False) as is_unused:
        ...                         # true: no process has a lock on it
    with locks.claimed(folder / "3.lock") as is_ours:
        ...                         # true: nobody else comes here

The kernel keeps them (flock), so a lock of a process that was killed is never left.
Some file systems have none, or none on folders (NFS): there nothing is known.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from typing import Iterator


def is_ours(handle: int, place: str | pathlib.Path) -> bool:
    """Locks what we just made; false: it was taken for a leftover just before."""
    with contextlib.suppress(OSError):  # No locks there.
        fcntl.flock(handle, fcntl.LOCK_EX)
    return is_at(handle, place)


def is_at(handle: int, place: str | pathlib.Path) -> bool:
    """Whether what is open is what has this name now."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(place))
    except FileNotFoundError:
        return False


def use(folder: pathlib.Path) -> int | None:
    """Locks a folder for those that read it, until the descriptor is closed.

    Returns:
      The descriptor; None: there is no such folder, or it is being removed.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        is_ours = is_at(handle, folder)
    except OSError as error:  # Without locks it is not removed either.
        is_ours = not isinstance(error, BlockingIOError)
    if is_ours:
        return handle
    os.close(handle)
    return None


@contextlib.contextmanager
def unused(place: pathlib.Path, *, if_unknown: bool) -> Iterator[bool]:
    """Whether no process has a lock on a file or folder; none gets one in the block.

    Args:
      if_unknown: what to say where the file system has no locks.
    """
    try:
        handle = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # Gone meanwhile, or another user's.
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            answer = is_at(handle, place)
        except OSError as error:
            answer = if_unknown and not isinstance(error, BlockingIOError)
        yield answer
    finally:
        os.close(handle)


@contextlib.contextmanager
def claimed(place: pathlib.Path) -> Iterator[bool]:
    """Claims what a file stands for; false: another process has claimed it.

    The file is made if it is not there, and stays. True where the file system has no
    locks: then several may believe that it is theirs.

    Raises:
      OSError: the file cannot be made.
    """
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except OSError as error:
            is_ours = not isinstance(error, BlockingIOError)
        yield is_ours
    finally:
        os.close(handle)

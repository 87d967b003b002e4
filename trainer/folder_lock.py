"""One process at a time in a folder.

    with folder_lock.held(storage.path("runs/a"), flag="model_dir"):
        ...     # a second process that comes here is refused, and told who is in it
    with folder_lock.held_in_turn(storage.path("studies/a"), flag="study_dir"):
        ...     # a second process waits for the first

On a disk the kernel holds the lock, and lets go of it with the process, however that
ends: also on NFS and other file systems that have locks between machines. Elsewhere
(gs://) there are none: there a lease says who is in the folder, and is renewed while
its owner lives. Who finds a lease that is not renewed takes it over.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from typing import Any, Iterator, TextIO

import psutil

from trainer import json_text, locks, storage
from trainer.messages import message

FILE_NAME = ".lock"
# How often a lease is renewed, and after how long without that its owner is dead. A
# new process waits at most as long; a bucket may take seconds for a write.
_RENEW_SECS = 10.0
_DEAD_SECS = 45.0
_POLL_SECS = 1.0
_TURN_SECS = 0.2

_logger = logging.getLogger(__name__)


class InUse(ValueError):
    """Another process is in the folder; the message names it."""


@contextlib.contextmanager
def held(folder: storage.Path, *, flag: str) -> Iterator[None]:
    """Keeps other processes out of the folder, which is made if it is not there.

    Args:
      flag: the setting that names the folder, for the message.

    Raises:
      InUse: another process is in it.
      ValueError: the folder cannot be written.
    """
    if isinstance(folder, pathlib.Path):
        with _locked(folder, flag):
            yield
    else:
        with _leased(folder, flag, renew_secs=_RENEW_SECS, dead_secs=_DEAD_SECS):
            yield


@contextlib.contextmanager
def held_in_turn(folder: storage.Path, *, flag: str) -> Iterator[None]:
    """As `held`, but waits until no other process is in the folder.

    For what takes moments, such as writing a file that several processes write.
    """
    while True:
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(folder, flag=flag))
            except InUse:
                time.sleep(_TURN_SECS)
                continue
            yield
            return


def is_held(folder: storage.Path) -> bool:
    """Whether a process is in the folder, as far as a look without waiting tells.

    False where there are no locks but leases, of which one that is left over is told
    from one that is renewed by waiting alone.
    """
    if not isinstance(folder, pathlib.Path):
        return False
    try:
        stream = open(folder / FILE_NAME, "rb")
    except OSError:
        return False
    with stream:
        try:
            # Shared, so that those who look do not see each other.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


@contextlib.contextmanager
def _locked(folder: pathlib.Path, flag: str) -> Iterator[None]:
    path = folder / FILE_NAME
    while True:
        with _opened(path, flag) as stream:
            _lock(stream, folder, flag)
            # Its last owner may have removed it since it was opened.
            if not locks.is_at(stream.fileno(), path):
                continue
            with storage.naming_place(path):
                stream.truncate(0)
                stream.write(f"{_owner()}\n")
                stream.flush()
            try:
                yield
            finally:
                # Before the lock goes: who opened the file meanwhile sees that it is
                # not there any more, and opens the next one.
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # There is a run in it.
                    folder.rmdir()
            return


def _opened(path: pathlib.Path, flag: str) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not "w": what is in it is the owner's until the lock is ours.
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        raise ValueError(
            message(
                f"--{flag}={path.parent} must be a folder that can be written",
                received=error.strerror,
                mend=storage.MENDS.get(error.errno or 0, f"give another --{flag}"),
            )
        ) from error


def _lock(stream: TextIO, folder: pathlib.Path, flag: str) -> None:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        raise InUse(_refusal(folder, flag, stream.read().strip())) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
        _logger.warning(
            "%s is on a file system without locks (%s): see to it that no second "
            "process uses it",
            folder,
            error.strerror,
        )


@contextlib.contextmanager
def _leased(
    folder: storage.Path, flag: str, *, renew_secs: float, dead_secs: float
) -> Iterator[None]:
    place = folder / FILE_NAME
    _wait_for_a_dead_owner(folder, flag, dead_secs=dead_secs)
    token, is_over = uuid.uuid4().hex, threading.Event()

    def renew() -> None:
        count = 0
        while not is_over.wait(renew_secs):
            count += 1
            # What fails once is made up for by the next renewal.
            with contextlib.suppress(Exception):
                owner = _read_lease(place)
                if owner and owner.get("token") != token:
                    _logger.error(
                        "%s was taken over by %s, for this process did not say for "
                        "long that it is alive: end one of the two",
                        folder,
                        owner.get("owner"),
                    )
                    return
                _write_lease(place, token, count)

    _write_lease(place, token, 0)
    # Two processes that saw the same dead owner: the last one to write stays.
    if (winner := _read_lease(place)).get("token") != token:
        raise InUse(_refusal(folder, flag, str(winner.get("owner", ""))))
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        if _read_lease(place).get("token") == token:
            storage.remove(place)


def _wait_for_a_dead_owner(
    folder: storage.Path, flag: str, *, dead_secs: float
) -> None:
    """Returns where there is no lease, or none that is renewed.

    Renewals are seen, not dated: the clocks of two machines need not agree.
    """
    first = _read_lease(folder / FILE_NAME)
    if not first or _has_ended(first):
        return
    _logger.info(
        "%s was in use by %s: looking for %g seconds whether it still is",
        folder,
        first.get("owner", "another process"),
        dead_secs,
    )
    deadline = time.monotonic() + dead_secs
    while time.monotonic() < deadline:
        time.sleep(min(_POLL_SECS, dead_secs))
        now = _read_lease(folder / FILE_NAME)
        if not now:
            return
        if now != first:
            raise InUse(_refusal(folder, flag, str(now.get("owner", ""))))


def _write_lease(place: storage.Path, token: str, count: int) -> None:
    lease = {
        "owner": _owner(),
        "host": socket.gethostname(),
        "process": os.getpid(),
        "token": token,
        "renewals": count,
    }
    storage.write_text(place, json.dumps(lease) + "\n")


def _read_lease(place: storage.Path) -> dict[str, Any]:
    """The lease; empty where there is none."""
    if not place.is_file():
        return {}
    try:
        lease = json_text.parse(place.read_text(encoding="utf-8"))
    except ValueError:
        return {"owner": "another process"}
    return lease if isinstance(lease, dict) else {"owner": "another process"}


def _has_ended(lease: dict[str, Any]) -> bool:
    """Whether its owner was a process of this machine that is there no more."""
    process = lease.get("process")
    if lease.get("host") != socket.gethostname() or not isinstance(process, int):
        return False
    return not psutil.pid_exists(process)


def _owner() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _refusal(folder: storage.Path, flag: str, owner: str) -> str:
    return message(
        f"only one process may use --{flag}={folder}",
        received=f"{owner or 'another process'} uses it",
        mend=f"wait for its end, or give another --{flag}",
    )

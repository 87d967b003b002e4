"""A run's end before its end: what a termination signal asks for, and a lost worker.

    with TerminationSignal() as termination:
        ...                                 # a SIGTERM here raises Preempted at once
        with termination.deferred():
            ...                             # and here sets termination.requested

Outside of training steps all that is worth keeping is on disk already, and a run may
leave at once. Between two training steps it first saves, and all workers together.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any, Iterator


class Preempted(BaseException):
    """The process was told to end; the run resumes when it is started again.

    No Exception, like KeyboardInterrupt: a library must not take it for a failure.
    """


class WorkerLost(Exception):
    """Another worker went away, hangs, or never came; the message names it."""


class TerminationSignal:
    """Takes SIGTERM for a request to leave, from `with` to its end.

    In a thread other than the main one, where Python allows no signal handlers, the
    signal keeps its present meaning.

    Attributes:
      requested: whether the signal came.
    """

    def __init__(self) -> None:
        self.requested = False
        self._is_deferred = False
        self._previous: Any = None

    def __enter__(self) -> "TerminationSignal":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """While it lasts, a signal only sets `requested`."""
        with self._set_deferred(True):
            yield
        self._leave_if_requested()

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within `deferred`: a part in which there is nothing to save."""
        with self._set_deferred(False):
            self._leave_if_requested()
            yield

    @contextlib.contextmanager
    def _set_deferred(self, value: bool) -> Iterator[None]:
        before, self._is_deferred = self._is_deferred, value
        try:
            yield
        finally:
            self._is_deferred = before

    def _handle(self, *_: object) -> None:
        self.requested = True
        if not self._is_deferred:
            self._leave_if_requested()

    def _leave_if_requested(self) -> None:
        if self.requested:
            raise Preempted("told to end (SIGTERM)")

"""How far a long task is: a bar in a terminal, now and then a line of the log elsewhere.

    for row in console.progress(rows, "reading reviews.csv", unit="rows"):
        ...
    with console.counter("tokenizing", unit="texts", total=25_000) as advance:
        advance(512)

A file or a pipe that takes standard error would hold a bar's thousand states one after
the other, so there a line is logged every half minute or tenth of the task. What is done
within seconds says nothing. The training's own lines are in `training/progress.py`.

Who has to know that a process gets on, listens to all long tasks at once:

    with console.heard_by(lambda is_under_way: ...):
        ...
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import sys
import time
from typing import Callable, Iterable, Iterator, TypeVar

from tqdm import tqdm

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# A bar appears for what takes longer than this.
_BAR_DELAY_SECS = 1.0
_LINE_EVERY_SECS = 30.0
_LINE_EVERY_FRACTION = 0.1
# Tenths of a short task would be too many lines.
_LEAST_SECS_BETWEEN_LINES = 10.0

_listener: contextvars.ContextVar[Callable[[bool], object]] = contextvars.ContextVar(
    "listener", default=lambda is_under_way: None
)


@contextlib.contextmanager
def heard_by(listener: Callable[[bool], object]) -> Iterator[None]:
    """Has a listener hear of all tasks of this thread, as long as it lasts.

    Args:
      listener: called with True whenever a task gets on, and with False at its end.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def progress(
    items: Iterable[_T], description: str, *, unit: str, total: int | None = None
) -> Iterator[_T]:
    """The items, counted as they are done; see `counter`."""
    with counter(description, unit=unit, total=total) as advance:
        for item in items:
            yield item
            advance(1)


@contextlib.contextmanager
def counter(
    description: str,
    *,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], object]]:
    """Shows how far a task is, on standard error.

    Args:
      description: what is done, "reading reviews.csv".
      unit: of what is counted, in the plural.
      total: how many there are; None: nobody knows yet.
      initial: how many an earlier process has done.
      clock: seconds.

    Yields:
      A function to be told how many more are done.
    """
    listener = _listener.get()
    with _shown(description, unit, total, initial, clock) as advance:

        def advance_aloud(count: int) -> None:
            advance(count)
            listener(True)

        yield advance_aloud
    listener(False)


@contextlib.contextmanager
def _shown(
    description: str,
    unit: str,
    total: int | None,
    initial: int,
    clock: Callable[[], float],
) -> Iterator[Callable[[int], object]]:
    if sys.stderr.isatty():
        with tqdm(
            desc=description,
            total=total,
            unit=f" {unit}",
            initial=initial,
            delay=_BAR_DELAY_SECS,
            leave=False,
            file=sys.stderr,
        ) as bar:
            yield bar.update
        return
    lines = _Lines(description, unit, total, initial, clock)
    yield lines.advance
    lines.end()


class _Lines:
    """The lines of a task where no bar can be."""

    def __init__(
        self,
        description: str,
        unit: str,
        total: int | None,
        initial: int,
        clock: Callable[[], float],
    ) -> None:
        self._description = description
        self._unit = unit
        self._total = total
        self._initial = self._done = self._done_at_line = initial
        self._clock = clock
        self._start = self._time_of_line = clock()
        self._has_line = False

    def advance(self, count: int) -> None:
        """Counts, and logs a line if it is time for one."""
        self._done += count
        secs = self._clock() - self._time_of_line
        if secs < _LEAST_SECS_BETWEEN_LINES:
            return
        fraction = (self._done - self._done_at_line) / (self._total or float("inf"))
        if fraction >= _LINE_EVERY_FRACTION or secs >= _LINE_EVERY_SECS:
            _logger.info("%s: %s", self._description, self._so_far())
            self._time_of_line, self._done_at_line = self._clock(), self._done
            self._has_line = True

    def end(self) -> None:
        """Logs how long it took, if there were lines before."""
        if self._has_line:
            took = duration(self._clock() - self._start)
            _logger.info(
                "%s: %s %s in %s",
                self._description,
                f"{self._done:,}",
                self._unit,
                took,
            )

    def _so_far(self) -> str:
        if not self._total:
            return f"{self._done:,} {self._unit}"
        secs_each = (self._clock() - self._start) / (self._done - self._initial)
        left = duration(secs_each * (self._total - self._done))
        share = self._done / self._total
        return (
            f"{self._done:,} of {self._total:,} {self._unit} ({share:.0%}), {left} left"
        )


def duration(secs: float) -> str:
    """Seconds as hours, minutes and seconds: 3725 → "1:02:05"."""
    minutes, seconds = divmod(round(secs), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

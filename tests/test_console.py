"""How far a task is, where there is no terminal and where there is one."""

from __future__ import annotations

import io
import logging
import sys
from typing import Iterator

import pytest

from trainer import console


class Terminal(io.StringIO):
    """Standard error of somebody who looks on."""

    def isatty(self) -> bool:
        return True


def lines_of(
    caplog: pytest.LogCaptureFixture,
    *,
    total: int | None,
    secs_each: float,
    num_items: int,
    initial: int = 0,
) -> list[str]:
    """What is logged while items are done, each of so many seconds."""
    now = 0.0
    with caplog.at_level(logging.INFO, logger=console.__name__):
        with console.counter(
            "reading a.csv",
            unit="rows",
            total=total,
            initial=initial,
            clock=lambda: now,
        ) as advance:
            for _ in range(num_items):
                now += secs_each
                advance(1)
    return caplog.messages


@pytest.mark.parametrize(
    ("total", "secs_each", "num_items", "expected"),
    [
        # Done before anybody wonders.
        (1000, 0.005, 1000, []),
        (None, 0.009, 1000, []),
        # Each tenth of a task of minutes, each half minute of one of hours.
        (100, 3.0, 11, ["10 of 100 rows (10%), 0:04:30 left", "11 rows in 0:00:33"]),
        (
            10_000,
            3.0,
            21,
            [
                "10 of 10,000 rows (0%), 8:19:30 left",
                "20 of 10,000 rows (0%), 8:19:00 left",
                "21 rows in 0:01:03",
            ],
        ),
        # Not more often than every ten seconds.
        (
            10,
            5.0,
            4,
            [
                "2 of 10 rows (20%), 0:00:40 left",
                "4 of 10 rows (40%), 0:00:30 left",
                "4 rows in 0:00:20",
            ],
        ),
        (None, 40.0, 2, ["1 rows", "2 rows", "2 rows in 0:01:20"]),
    ],
)
def test_lines_now_and_then(
    total: int | None,
    secs_each: float,
    num_items: int,
    expected: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = lines_of(caplog, total=total, secs_each=secs_each, num_items=num_items)
    assert lines == [f"reading a.csv: {line}" for line in expected]


def test_what_was_done_before_is_counted_but_not_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = lines_of(caplog, total=100, secs_each=15.0, num_items=2, initial=50)
    assert lines[-2] == "reading a.csv: 52 of 100 rows (52%), 0:12:00 left"


def test_a_terminal_gets_a_bar_and_no_lines(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(console, "_BAR_DELAY_SECS", 0.0)
    assert lines_of(caplog, total=3, secs_each=60.0, num_items=3) == []
    assert "reading a.csv" in terminal.getvalue() and "\r" in terminal.getvalue()


def test_items_pass_through_also_when_nobody_takes_all() -> None:
    def numbers() -> Iterator[int]:
        yield from range(10)

    assert list(console.progress(numbers(), "counting", unit="numbers")) == [*range(10)]
    some = console.progress(numbers(), "counting", unit="numbers", total=10)
    assert [next(iter(some)) for _ in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (0, "0:00:00"),
        (0.4, "0:00:00"),
        (59.4, "0:00:59"),
        (59.6, "0:01:00"),
        (60, "0:01:00"),
        (3599.7, "1:00:00"),
        (3725, "1:02:05"),
        (36000, "10:00:00"),
        (90061, "25:01:01"),
    ],
)
def test_duration(secs: float, text: str) -> None:
    assert console.duration(secs) == text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_who_listens_hears_that_tasks_get_on(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    told: list[bool] = []
    with console.heard_by(told.append):
        for _ in console.progress("abc", "reading", unit="rows"):
            pass
        with console.counter("tokenizing", unit="texts") as advance:
            advance(512)
    assert told == [True, True, True, False, True, False]
    for _ in console.progress("abc", "reading", unit="rows"):
        pass
    assert len(told) == 6

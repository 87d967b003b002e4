"""How bad rows are counted and listed."""

from __future__ import annotations

import pytest

from trainer.data.bad_rows import BadRows, counted, listed
from trainer.data.readers.rows import BadRow, BadValue

LABEL = BadValue(rule="expected a label of a", received="'x'", mend="mend it")


def tally(*bad_rows: BadRow | BadValue) -> BadRows:
    result = BadRows()
    for line, bad in enumerate(bad_rows, start=1):
        result.add(bad, file="a.csv", line=line)
    return result


def test_few_are_listed_as_they_are() -> None:
    bad_rows = tally(LABEL, BadRow("b.csv", 7, "expected a text", "none", "fill it in"))
    assert bad_rows.count == 2
    assert listed([bad_rows]) == (
        "\n  a.csv:1: expected a label of a. Received: 'x'; mend it"
        "\n  b.csv:7: expected a text. Received: none; fill it in"
    )


def test_many_are_counted_by_kind_over_all_splits() -> None:
    other = BadValue(rule="expected a label of a", received="'y'", mend="mend it")
    text = BadRow("b.csv", 7, "expected a text", "none", "fill it in")
    lines = listed([tally(*[LABEL] * 1500), tally(text, other)]).splitlines()
    assert len([line for line in lines if "a.csv:" in line]) == 5
    assert lines[-3:] == [
        "  In all:",
        "  1,501 rows: expected a label of a. Received: 'x' (1,500 rows), 'y' (1 row)",
        "  1 row: expected a text. Received: none",
    ]


def test_none_are_listed_as_nothing() -> None:
    assert listed([tally()]) == ""


def test_messages_that_are_all_different_take_no_memory() -> None:
    bad_rows = tally(
        *(BadRow("a.csv", line, "expected", str(line), "") for line in range(5000))
    )
    assert bad_rows.count == 5000
    assert len(bad_rows.first) == 20
    assert len(bad_rows.kinds) == 1001
    assert "5,000 rows: expected. Received: 0 (1 row), " in listed([bad_rows])
    assert listed([bad_rows]).endswith(", ...")


@pytest.mark.parametrize(
    "num_bad, num_good, are_hopeless",
    [(9_999, 0, False), (10_000, 0, True), (10_000, 100, True), (10_000, 200, False)],
)
def test_hopeless(num_bad: int, num_good: int, are_hopeless: bool) -> None:
    bad_rows = BadRows()
    bad_rows.count = num_bad
    assert bad_rows.are_hopeless(num_good) == are_hopeless


def test_counted() -> None:
    assert [counted(1), counted(2_000)] == ["1 bad row", "2,000 bad rows"]

"""Tests of trainer/data/groups.py."""

from __future__ import annotations

import hashlib
from typing import Any, Sequence

import numpy as np
import pyarrow as pa
import pytest

from trainer.data import groups
from trainer.data.duplicates import normalized_digests


@pytest.mark.parametrize(
    "value, name",
    [
        ("Ann", "Ann"),
        (b"Ann", "Ann"),
        (7, "7"),
        (7.0, "7"),
        (np.float64(7), "7"),
        (np.int32(7), "7"),
        (7.5, "7.5"),
        (None, ""),
        ("", ""),
        (float("nan"), ""),
        (np.float32("nan"), ""),
        ("a\ud83d", "a\\ud83d"),
    ],
)
def test_name(value: object, name: str) -> None:
    assert groups.group_name(value) == name


def strings(values: Sequence[str]) -> pa.ChunkedArray:
    return pa.chunked_array([values], pa.large_string())


def units(texts: Sequence[str], names: Sequence[str]) -> list[bytes]:
    digests = groups.united(
        normalized_digests(strings(texts)), groups.group_digests(strings(names))
    )
    return [digest.tobytes() for digest in digests]


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_units() -> None:
    """By group, in any spelling; by text where there is none."""
    texts = ["One.", "Two.", "Three.", "Four.", "four. ", "Five."]
    names = ["Ann", "ANN ", "bob", "", " ", ""]
    ann, bob, four, five = map(sha256, ("ann", "bob", "four.", "five."))
    assert units(texts, names) == [ann, ann, bob, four, four, five]


def test_groups_that_share_a_text_are_one() -> None:
    """Through any number of texts, and with the rows of the text that have none."""
    texts = ["One.", "Two.", "two.", "Three.", "three.", "Four.", "TWO."]
    names = ["ann", "ann", "bob", "bob", "cid", "dee", ""]
    tied = min(map(sha256, ("ann", "bob", "cid")))
    assert units(texts, names) == [tied] * 5 + [sha256("dee"), tied]


def test_no_rows() -> None:
    assert units([], []) == []


@pytest.mark.parametrize("seed", range(30))
def test_units_of_random_rows(seed: int) -> None:
    """Rows of one group or one text have one unit, and others only through these."""
    generator = np.random.default_rng(seed)
    texts = [f"text {i}" for i in generator.integers(60, size=80)]
    names = [f"group {i}" if i else "" for i in generator.integers(25, size=80)]
    found = units(texts, names)

    # The same by a plain search, row by row.
    unit_of = list(range(80))
    for _ in range(80):
        for kind in (texts, names):
            least: dict[str, int] = {}
            for row, value in enumerate(kind):
                if value:
                    least[value] = min(least.get(value, 80), unit_of[row])
            unit_of = [least.get(value, unit) for value, unit in zip(kind, unit_of)]
    assert len(set(found)) == len(set(zip(found, unit_of))) == len(set(unit_of))

    order = generator.permutation(80)
    shuffled: Any = units([texts[i] for i in order], [names[i] for i in order])
    assert shuffled == [found[i] for i in order]


def test_numbers() -> None:
    digests = groups.group_digests(strings(["ann", "", "bob", "Ann"]))
    numbers = groups.group_numbers(digests)
    assert numbers[0] == numbers[3] != numbers[2] and numbers[1] == -1
    assert (numbers[[0, 2]] >= 0).all()

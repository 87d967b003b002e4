"""What is read as a number, what is refused, and what is said of the rest."""

from __future__ import annotations

import csv
import dataclasses
import decimal
import math
import pathlib
from typing import Any

import numpy as np
import pytest

from trainer.config import DataConfig
from trainer.data import label_numbers, label_sets, sources, splits
from trainer.data.label_numbers import LARGEST, number_of
from trainer.data.readers.rows import BadValue, Row

NUMBERS: list[tuple[Any, float]] = [
    (3, 3.0),
    (-2.5, -2.5),
    (np.float32(0.5), 0.5),
    (np.int64(7), 7.0),
    (np.array([4.0]), 4.0),
    (decimal.Decimal("1.25"), 1.25),
    ("3", 3.0),
    (" 3.0 ", 3.0),
    ("+3", 3.0),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("1e3", 1000.0),
    ("1.5E-2", 0.015),
    ('"12"', 12.0),
    ("'12.5'", 12.5),
    ("\u22124", -4.0),
    (b"8", 8.0),
    ("007", 7.0),
    ("１２", 12.0),
    (["6"], 6.0),
    ("-0", 0.0),
]
# A value that is no number → a part of what the user is told.
REFUSED: list[tuple[Any, str]] = [
    ("1,234", "without marks between thousands"),
    ("3,5", "with a decimal point"),
    ("1.234,5", "with a decimal point"),
    ("NaN", "fill it in"),
    ("nan", "fill it in"),
    (math.nan, "fill it in"),
    (None, "fill it in"),
    ("", "fill it in"),
    ("  ", "fill it in"),
    ("n/a", "fill it in"),
    ("-", "fill it in"),
    ("inf", "finite"),
    ("-Infinity", "finite"),
    (math.inf, "finite"),
    ("1e999", "finite"),
    ("1e31", "logarithms"),
    (2 * LARGEST, "logarithms"),
    ("12 kg", "one unit"),
    ("$12", "one unit"),
    ("12%", "without %"),
    ("5/10", "5 or 0.5 for 5/10"),
    ("4:30", "the value alone"),
    ("1_000", "number"),
    ("good", "--task=single_label"),
    (True, "--label_field"),
    ({"a": 1}, "--label_field"),
    ([1, 2], "--label_field"),
]


@pytest.mark.parametrize("value, expected", NUMBERS, ids=repr)
def test_one_number_in_any_spelling(value: Any, expected: float) -> None:
    found = number_of(value)
    assert found == expected
    assert math.copysign(1, found) == math.copysign(1, expected) or expected == 0


@pytest.mark.parametrize("value, told", REFUSED, ids=repr)
def test_nothing_is_guessed(value: Any, told: str) -> None:
    with pytest.raises(BadValue) as caught:
        number_of(value)
    bad = caught.value
    assert bad.rule.startswith("expected a number")
    assert told in f"{bad.rule} {bad.mend}"


def write(path: pathlib.Path, labels: list[str]) -> DataConfig:
    """A row each, all of different texts, after a header in line 1."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row, label in enumerate(labels):
            writer.writerow([f"text number {row}", label])
    return DataConfig(dataset=f"files:{path}", task="regression")


def test_rows_keep_their_numbers_to_the_last_digit(tmp_path: pathlib.Path) -> None:
    given = ["0.1", "1e-7", "123456789.125", "-3", "0.1", "0.30000000000000004"]
    read = sources.load(write(tmp_path / "a.csv", given))
    labels = read.splits["train"].labels
    assert labels.dtype == np.float64
    assert labels.tolist() == list(map(float, given))
    assert read.label_names == ("value",)


def test_a_bad_number_is_named_with_file_and_line(tmp_path: pathlib.Path) -> None:
    config = write(tmp_path / "a.csv", ["1", "2", "12 kg", "3", "inf"])
    with pytest.raises(ValueError) as caught:
        sources.load(config)
    said = str(caught.value)
    assert f"{tmp_path / 'a.csv'}:4: expected a number" in said
    assert "'12 kg'" in said and "one unit for all rows" in said
    assert f"{tmp_path / 'a.csv'}:6:" in said and "--bad_rows=skip" in said


def test_bad_numbers_can_be_skipped(tmp_path: pathlib.Path) -> None:
    config = write(tmp_path / "a.csv", ["1", "2", "12 kg", "3", "inf"])
    read = sources.load(dataclasses.replace(config, bad_rows="skip"))
    assert read.splits["train"].labels.tolist() == [1.0, 2.0, 3.0]
    assert read.facts["splits"]["train"]["num_skipped_rows"] == 2


def test_a_constant_column_is_refused(tmp_path: pathlib.Path) -> None:
    config = write(tmp_path / "a.csv", ["4", "4.0", "4e0"])
    with pytest.raises(ValueError, match="two different numbers.*'4' in all 3 rows"):
        sources.load(config)


@pytest.mark.parametrize(
    "labels, is_told",
    [
        (["1", "2", "3"] * 10, True),
        (["1", "2", "2.5"] * 10, False),
        (["1", "2", "3"], False),
        (list(map(str, range(40))), False),
    ],
)
def test_few_whole_numbers_are_told_of_ordinal(
    tmp_path: pathlib.Path, labels: list[str], is_told: bool
) -> None:
    read = sources.load(write(tmp_path / "a.csv", labels))
    told = [note for note in read.facts["notes"] if "--task=ordinal" in note]
    assert bool(told) == is_told
    if is_told:
        assert "3 whole ones (1, 2, 3)" in told[0]


def test_another_digit_is_other_data(tmp_path: pathlib.Path) -> None:
    """Whole parts alone would not tell 1.25 from 1.5."""
    prints = []
    for name, changed in (("a", "1.25"), ("b", "1.5"), ("c", "1.25")):
        config = write(tmp_path / f"{name}.csv", [changed, *map(str, range(30))])
        read = sources.load(config)
        pool, parts = splits.make_splits(read, config=config, seed=0)
        prints.append(splits.fingerprint(pool, parts))
    assert prints[0] == prints[2] != prints[1]


def test_numbers_are_one_class_to_who_draws_and_counts() -> None:
    numbers = np.array([2.0, 3.5, 2.0])
    assert label_sets.are_numbers(numbers) and label_sets.are_numbers(numbers[0])
    assert not label_sets.are_numbers(np.array([2, 3]))
    assert not label_sets.are_numbers(np.array([[1.0], [0.0]], np.float32))
    assert label_sets.counts(numbers, 1).tolist() == [3]
    assert label_sets.classes_of(numbers, ("value",))[0].tolist() == [0, 0, 0]
    assert label_sets.num_kinds(numbers) == 2
    assert label_sets.name_of(numbers[1], ("value",)) == "3.5"
    assert label_sets.as_json(numbers[1], ("value",)) == 3.5
    apart, names = label_sets.told_apart(numbers, ("value",))
    assert apart.tolist() == [0, 1, 0] and names == ("2", "3.5")


def test_codes_stand_for_numbers() -> None:
    numbers = label_numbers.LabelNumbers()
    rows = [Row(text="a", label=label, line=1) for label in ("2", 1.5, "2.0", "x")]
    codes = [numbers.encode(row, file="a.csv") for row in rows]
    assert isinstance(codes.pop(), BadValue)
    assert numbers.values(np.array(codes)).tolist() == [2.0, 1.5, 2.0]

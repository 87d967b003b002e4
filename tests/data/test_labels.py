"""Which values are labels, which number each class gets, and what is doubted."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.data import datasets
from tests.data.datasets import labelled, load
from tests.data.readers.files import (
    cases,
    check_bad_row,
    csv_rows,
    json_rows,
    written,
)
from trainer.data.labels import DiscoveredLabels, NamedLabels, check_label
from trainer.data.readers.rows import BadRow, BadValue, Row

LABELS = {
    # id: raw value, label
    "string": ("pos", "pos"),
    "string_with_spaces_is_kept": (" pos ", " pos "),
    "bytes": ("é".encode(), "é"),
    "integer": (-1, -1),
    "whole_float": (2.0, 2),
    "string_of_an_integer": ("02", "02"),
}


@pytest.mark.parametrize("value, label", LABELS.values(), ids=LABELS)
def test_values_that_are_labels(value: object, label: str | int) -> None:
    checked = check_label(value)
    assert checked == label and type(checked) is type(label)


@pytest.mark.parametrize(
    "value", [None, float("nan"), "", " ", 0.5, True, [1], b"\xff"]
)
def test_values_that_are_none(value: object) -> None:
    with pytest.raises(BadValue) as error:
        check_label(value)
    assert error.value.rule.startswith("expected ")


BAD_ROWS = {
    # id: name, content, line of the bad row, words of its message
    "empty_label": ("a.csv", csv_rows(b"a,\n"), 3, "expected a label", "an empty one"),
    "blank_label": ("a.csv", csv_rows(b"a, \n"), 3, "white space only: ' '"),
    "null_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": null}'),
        2,
        "Received: none",
    ),
    "nan_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": NaN}'),
        2,
        "Received: none",
    ),
    "boolean_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": true}'),
        2,
        "a boolean True",
        "--label_field",
    ),
    "fraction_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": 0.5}'),
        2,
        "float 0.5",
    ),
    "infinite_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": 1e999}'),
        2,
        "float inf",
    ),
    "list_label": ("a.jsonl", json_rows(b'{"text": "a", "label": [1]}'), 2, "a list"),
    "lone_surrogate_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": "\\udc00"}'),
        2,
        "half a surrogate pair",
    ),
}


@cases("name, content, line, words", BAD_ROWS)
def test_bad_label_is_named_and_the_other_rows_survive(
    tmp_path: pathlib.Path, name: str, content: bytes, line: int, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, name, content), line=line, words=words)


GOOD_LABELS = {
    # id: labels in the file, label_names of the config, classes, labels as classes
    "integers_by_value": ([10, 9, 10], (), ("9", "10"), [1, 0, 1]),
    "negative_integers": ([1, -1], (), ("-1", "1"), [1, 0]),
    "strings_of_integers": (["10", "9"], (), ("9", "10"), [1, 0]),
    "both_kinds_of_integers": ([1, "1", 0], (), ("0", "1"), [1, 1, 0]),
    "whole_floats": ([1.0, 0.0], (), ("0", "1"), [1, 0]),
    "strings_by_alphabet": (["b", "a", "b"], (), ("a", "b"), [1, 0, 1]),
    "not_canonical_integers": (["9", "010"], (), ("010", "9"), [1, 0]),
    "mixed": (["b", 10, 9], (), ("10", "9", "b"), [2, 0, 1]),
    "names": (["b", "a"], ("b", "a"), ("b", "a"), [0, 1]),
    "positions": ([1, 0, "1"], ("b", "a"), ("b", "a"), [1, 0, 1]),
    "names_and_positions": (["a", 0], ("b", "a"), ("b", "a"), [1, 0]),
    "integer_names": ([1, 2], ("2", "1"), ("2", "1"), [1, 0]),
    "unused_name": (["b", "a"], ("b", "c", "a"), ("b", "c", "a"), [0, 2]),
}


@pytest.mark.parametrize(
    "labels, names, expected_names, expected", GOOD_LABELS.values(), ids=GOOD_LABELS
)
def test_labels_become_classes(
    tmp_path: pathlib.Path,
    labels: list[Any],
    names: tuple[str, ...],
    expected_names: tuple[str, ...],
    expected: list[Any],
) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*labels))

    result = load(dataset, label_names=names)

    train = result.splits["train"]
    assert result.label_names == train.label_names == expected_names
    assert train.labels.tolist() == expected
    assert train.labels.dtype == np.int32
    assert train.texts.to_pylist() == [text for text, _ in labelled(*labels)]
    assert train.texts.type == pa.large_string()


BAD_LABELS = {
    "case": (["pos", "neg", "Pos"], (), "'pos' (", ":1)", "'Pos' (", ":3)"),
    "space": (["pos", "neg", " pos"], (), "' pos'", "--label_names"),
    "one_class": (["pos"] * 3, (), "two different labels", "'pos' in all 3 rows"),
    "one_named_class": ([0, 0], ("a", "b"), "two different labels", "'a'"),
    "too_many": (list(range(1001)) * 3, (), "'label'", "1001 different", "3003 rows"),
    "mostly_distinct": (list(range(11)) + [0] * 9, (), "11 different", "20 rows"),
    "unknown_name": (
        ["pos", "ngative"],
        ("pos", "negative"),
        ":2: expected a label of pos, negative, or 0 to 1. Received: 'ngative'",
        "did you mean 'negative'?",
    ),
    "unknown_position": ([0, 2], ("a", "b"), "Received: 2;"),
    "position_among_integer_names": ([1, 0], ("1", "2"), "of 1, 2. Received: 0;"),
    "boolean": ([True, 0, 1], (), "a boolean True"),
}


@pytest.mark.parametrize(
    "labels, names, words",
    [(a, b, c) for a, b, *c in BAD_LABELS.values()],
    ids=BAD_LABELS,
)
def test_doubtful_labels_are_refused(
    tmp_path: pathlib.Path,
    labels: list[Any],
    names: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*labels))
    with pytest.raises(ValueError) as error:
        load(dataset, label_names=names)
    for word in words:
        assert word in str(error.value)


def test_few_rows_may_all_have_their_own_label(tmp_path: pathlib.Path) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*range(19)))
    assert len(load(dataset).label_names) == 19


def test_numbering_by_discovery_and_then_by_those_names() -> None:
    discovered = DiscoveredLabels()
    labels: list[str | int] = [10, "9", "10"]
    rows = [Row("text", label, line) for line, label in enumerate(labels, start=1)]
    assert [discovered.encode(row, file="a.csv") for row in rows] == [0, 1, 0]
    names, new_codes = discovered.in_order()
    assert (names, new_codes) == (("9", "10"), [1, 0])

    named = NamedLabels(names, allow_positions=False)
    assert [named.encode(row, file="a.csv") for row in rows] == [1, 0, 1]
    bad = named.encode(Row("text", 1, 7), file="b.csv")
    assert isinstance(bad, BadRow)
    assert str(bad).startswith("b.csv:7: expected a label of 9, 10. Received: 1")

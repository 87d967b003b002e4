"""Texts with any number of labels: from a raw value to a row of 0 and 1."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from trainer.config import DataConfig
from trainer.data import label_sets, sources, splits
from trainer.data.label_sets import LabelSets
from trainer.data.labels import DiscoveredLabels, named_labels
from trainer.data.readers.rows import BadValue, Row


def read(value: object, *, names: tuple[str, ...] = (), separator: str = "") -> Any:
    """The labels of a raw value, or what is wrong with it."""
    single = named_labels(names) if names else DiscoveredLabels()
    sets = LabelSets(single, separator=separator)
    code = sets.encode(Row("a text", value, 1), file="a.csv")
    if isinstance(code, BadValue):
        return code
    return label_sets.listed(sets.matrix([code])[0], sets.names)


@pytest.mark.parametrize(
    "value, settings, expected",
    [
        (["b", "a"], {}, ["a", "b"]),
        (["a", "a"], {}, ["a"]),
        ([], {}, []),
        ("[]", {}, []),
        ("a", {}, ["a"]),
        ([10, 9.0], {}, ["9", "10"]),
        ('["a", "b"]', {}, ["a", "b"]),
        ("['a', 'b']", {}, ["a", "b"]),
        ("a|b", {"separator": "|"}, ["a", "b"]),
        ("a | b |", {"separator": "|"}, ["a", "b"]),
        ("", {"separator": "|"}, []),
        (" ", {"separator": "|"}, []),
        ("a|b", {}, ["a|b"]),
        ({"a": 1.0, "b": 0.0, "c": 0.5}, {}, ["a", "c"]),
        ({"a": "1", "b": "0"}, {}, ["a"]),
        ({"a": "True", "b": "false"}, {}, ["a"]),
        ({"a": False, "b": False}, {}, []),
        ([{"label": "a", "score": 0.9}, {"label": "b", "score": 0.4}], {}, ["a"]),
        ({"label": "a", "score": 0.2}, {}, []),
        ([1, 0, 1], {"names": ("x", "y", "z")}, ["x", "z"]),
        ([True, False], {"names": ("x", "y")}, ["x"]),
        ("[0 1 1]", {"names": ("x", "y", "z")}, ["y", "z"]),
        (np.array([0, 0]), {"names": ("x", "y")}, []),
        (["1", "2"], {"names": ("1=x", "2=y")}, ["x", "y"]),
    ],
)
def test_labels_of_a_value(
    value: object, settings: dict[str, Any], expected: list[str]
) -> None:
    assert read(value, **settings) == expected


@pytest.mark.parametrize(
    "value, settings, words",
    [
        (None, {}, ("expected the labels", "write an empty list, [], where")),
        (float("nan"), {}, ("expected the labels", "nan")),
        ("", {}, ("expected a label", "an empty one")),
        ({"a": 3}, {}, ("for the label 'a' 0 or 1, or a score between", "int 3")),
        ({"a": "maybe"}, {}, ("for the label 'a'", "'maybe'")),
        ({"a": None}, {}, ("for the label 'a'", "None")),
        ([1, 0, 1], {}, ("a place for each of --label_names", "no --label_names")),
        ([1, 0], {"names": ("a", "b", "c")}, ("2 places and 3 names",)),
        (["a", "d"], {"names": ("a", "b")}, ("expected a label of a, b", "'d'")),
        (["a", "nan"], {}, ("usually mean a missing label",)),
    ],
)
def test_wrong_value(
    value: object, settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    bad = read(value, **settings)
    assert isinstance(bad, BadValue)
    for word in words:
        assert word in str(bad.at("a.csv", line=1))


ROWS = [["joy"], ["fear", "joy"], [], ["fear"]]
FORMS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "lists": ({}, ROWS),
    "joined": ({"label_separator": "|"}, ["|".join(row) for row in ROWS]),
    "scores": ({}, [{n: float(n in row) for n in ("fear", "joy")} for row in ROWS]),
    "multi_hot": (
        {"label_names": ("fear", "joy")},
        [[int(n in row) for n in ("fear", "joy")] for row in ROWS],
    ),
}


def load(path: pathlib.Path, **settings: Any) -> sources.Sources:
    return sources.load(
        DataConfig(dataset=f"files:{path}", task="multi_label", **settings)
    )


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_give_the_same(form: str, tmp_path: pathlib.Path) -> None:
    settings, labels = FORMS[form]
    path = tmp_path / "a.jsonl"
    rows = [{"text": f"text {n}", "label": each} for n, each in enumerate(labels)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(path, **settings)
    train = found.splits["train"]
    assert found.label_names == ("fear", "joy")
    assert train.labels.dtype == np.float32
    assert train.labels.tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]]
    assert "1 of the 4 training rows have no label" in found.facts["notes"]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_column_a_label(ending: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"a.{ending}"
    columns = {
        "text": [f"text {n}" for n in range(4)],
        "joy": [1, 1, 0, 0],
        "fear": [0, 1, 0, 1],
        "unused": [0, 0, 0, 0],
    }
    if ending == "parquet":
        pa.parquet.write_table(pa.table(columns), path)
    elif ending == "csv":
        rows = [columns, *zip(*columns.values())]
        path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    else:
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(path, label_field="joy, fear")
    assert found.label_names == ("fear", "joy")
    assert found.splits["train"].labels.tolist() == [[0, 1], [1, 1], [0, 0], [1, 0]]
    with pytest.raises(ValueError, match="one (column|key) 'anger'"):
        load(path, label_field="joy,anger")


def test_fasttext_has_any_number(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("__label__a __label__b one text\n__label__b another\n")
    found = load(path)
    assert found.splits["train"].texts.to_pylist() == ["one text", "another"]
    assert found.splits["train"].labels.tolist() == [[1, 1], [0, 1]]


def test_joined_labels_without_a_separator_are_doubted(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,label\none,a;b\ntwo,a\nthree,b\n")
    with pytest.raises(ValueError, match="--task=multi_label '--label_separator=;'"):
        load(path)
    found = load(path, label_separator=";")
    assert found.splits["train"].labels.tolist() == [[1, 1], [1, 0], [0, 1]]


def test_one_set_alone_teaches_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "label": ["x", "y"]}\n' * 3)
    with pytest.raises(ValueError, match=r"two different labels. Received: 'x \+ y'"):
        load(path)


MATRIX = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0]], np.float32)
NAMES = ("a", "b", "c")


def test_helpers_take_labels_of_both_kinds() -> None:
    rows, labels = label_sets.pairs(MATRIX)
    assert list(zip(rows, labels)) == [(0, 0), (1, 0), (1, 1), (3, 0), (3, 1)]
    assert label_sets.counts(MATRIX, 3).tolist() == [3, 2, 0]
    classes, names = label_sets.classes_of(MATRIX, NAMES)
    assert [names[each] for each in classes] == ["a", "a + b", "no label", "a + b"]
    given = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]], bool)
    assert label_sets.is_right(MATRIX, given).tolist() == [True, False, True, False]
    assert label_sets.as_json(MATRIX[1], NAMES) == ["a", "b"]

    one_each = np.array([2, 0, 2])
    rows, labels = label_sets.pairs(one_each)
    assert rows.tolist() == [0, 1, 2] and labels.tolist() == [2, 0, 2]
    assert label_sets.counts(one_each, 3).tolist() == [1, 0, 2]
    assert label_sets.classes_of(one_each, NAMES)[1] == NAMES
    assert label_sets.is_right(one_each, one_each[::-1]).all()
    assert label_sets.as_json(one_each[0], NAMES) == "c"


def test_each_label_keeps_texts_in_training(tmp_path: pathlib.Path) -> None:
    """Of a label that few texts have, whatever else these have."""
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for n in range(60):
            labels = ["common"] * (n % 2) + ["rare"] * (n % 12 == 0)
            file.write(json.dumps({"text": f"text {n}", "label": labels}) + "\n")
    config = DataConfig(
        dataset=f"files:{path}", task="multi_label", test_one_in=2, validation_one_in=2
    )
    pool, parts = splits.make_splits(sources.load(config), config=config, seed=0)
    counts = splits.facts(pool, parts, ("common", "rare"))["splits"]
    assert counts["train"]["class_counts"]["rare"] == 5
    assert sum(split["num_examples"] for split in counts.values()) == 60
    assert sum(split["class_counts"]["common"] for split in counts.values()) == 30

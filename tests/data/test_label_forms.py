"""The one form of a label, and values that say none."""

from __future__ import annotations

import decimal

import numpy as np
import pytest

from trainer.data.label_forms import (
    is_fraction,
    is_missing_word,
    is_whole_number,
    label_of,
)
from trainer.data.readers.rows import BadValue

NAMES = {
    # name: raw values
    "pos": [
        "pos",
        " pos ",
        b"pos",
        "ｐｏｓ",
        "pos\u200b",
        "\ufeffpos",
        '"pos"',
        "'pos'",
    ]
    + ["“pos”", "«pos»", ["pos"], [["pos"]], [b"pos"], ("pos",), {"pos"}]
    + ['["pos"]', "['pos']", "[b'pos']", "('pos',)", np.str_("pos"), np.array(["pos"])],
    "1": [
        1,
        1.0,
        "1",
        "1.0",
        "1e0",
        "+1",
        "１",
        "1.",
        "10e-1",
        b"1",
        [1],
        "[1]",
        "[1.0]",
    ]
    + [np.int64(1), np.float32(1), np.array(1), np.array([1]), decimal.Decimal("1.00")]
    + ['"1"'],
    "0": [0, 0.0, -0.0, "0", "0.0", "-0", "0e0", "0.000"],
    "-1": [-1, "-1", "-1.0", "\u22121", "–1"],
    "0.5": [
        0.5,
        "0.5",
        ".5",
        "0.50",
        "5e-1",
        decimal.Decimal("0.500"),
        np.float64(0.5),
    ],
    "12345678901234567890": [12345678901234567890, "12345678901234567890"],
    "True": [True, [True], np.True_, "True"],
    "true": ["true"],
    # What is no number.
    "01": ["01"],
    "1_000": ["1_000"],
    "1,0": ["1,0"],
    "1e999": ["1e999"],
    "-": ["-"],
    # What is no list.
    "[CLS]": ["[CLS]"],
    "(a) and (b)": ["(a) and (b)"],
    "{": ["{"],
    "'a' or 'b'": ["'a' or 'b'"],
    "so so": ["so so"],
    "café": ["cafe\u0301", "café".encode()],
}


@pytest.mark.parametrize("name", NAMES)
def test_values_of_one_label(name: str) -> None:
    values = NAMES[name]
    assert [label_of(value).name for value in values] == [name] * len(values)
    assert label_of(name).name == name


SCORES = {
    # id: raw value, label, other classes
    "scores": ({"POSITIVE": 1.0, "NEGATIVE": 0.0}, "POSITIVE", ("NEGATIVE",)),
    "booleans": ({"a": False, "b": True}, "b", ("a",)),
    "string": ("{'a': 0.1, 'b': 0.9}", "b", ("a",)),
    "json": ('{"a": 0.9, "b": 0.1}', "a", ("b",)),
    "logits": ({"a": -3.0, "b": -0.1}, "b", ("a",)),
    "one_class": ({"a": 1}, "a", ()),
    "keys_have_one_form": ({" ａ": 1, "b": 0}, "a", ("b",)),
    "answer": ({"label": "a", "score": 0.2}, "a", ()),
    "answers": (
        [{"label": "a", "score": 0.2}, {"label": "b", "score": 0.8}],
        "b",
        ("a",),
    ),
    "list_of_one_answer": ([{"label": "a", "confidence": 0.2}], "a", ()),
}


@pytest.mark.parametrize("value, name, others", SCORES.values(), ids=SCORES)
def test_scores(value: object, name: str, others: tuple[str, ...]) -> None:
    label = label_of(value)
    assert (label.name, label.others) == (name, others)


NO_LABELS = {
    # id: raw value, words of the message
    "none": (None, "none (None)"),
    "nan": (float("nan"), "none (nan)"),
    "numpy_nan": (np.float32("nan"), "none (nan)"),
    "infinite": (float("inf"), "float inf"),
    "empty": ("", "an empty one"),
    "blank": (" ", "white space only"),
    "invisible": ("\u200b", "invisible characters only"),
    "empty_quotes": ('""', "an empty one"),
    "no_utf8": (b"\xff", "byte 0xFF"),
    "half_a_surrogate_pair": ("\udc00", "half a surrogate pair"),
    "empty_list": ([], "an empty list"),
    "empty_list_in_a_string": ("[]", "an empty list"),
    "null_in_a_list": ([None], "none (None)"),
    "list": (
        [1, 0, 1],
        "several labels a text need --task=multi_label",
        "a list [1, 0",
    ),
    "list_in_a_string": ("[1, 0, 1]", "several labels a text need --task=multi_label"),
    "array": (np.array([0, 1]), "several labels"),
    "array_in_a_string": ("[0 1 0]", "several labels"),
    "array_of_strings_in_a_string": ("['a' 'b']", "several labels", "['a', 'b']"),
    "words_without_quotes": ("[a, b]", "several labels", "['a', 'b']"),
    "same_twice": (["a", "a"], "several labels"),
    "tie": ({"a": 0.5, "b": 0.5}, "one highest", "the same for 'a', 'b'"),
    "no_class_is_true": ({"a": 0, "b": 0}, "the same for 'a', 'b'"),
    "one_class_that_is_not_it": ({"a": 0.0}, "only 0 for 'a'"),
    "empty_object": ({}, "no score"),
    "nan_score": ({"a": float("nan"), "b": 1}, "an object {'a': nan"),
    "nested_object": ({"label": {"name": "a"}}, "an object", "--label_field"),
    "tied_answers": (
        [{"label": "a", "score": 0.5}, {"label": "b", "score": 0.5}],
        "the same for 'a', 'b'",
    ),
}


@pytest.mark.parametrize(
    "value, words", [(a, b) for a, *b in NO_LABELS.values()], ids=NO_LABELS
)
def test_values_that_are_no_label(value: object, words: list[str]) -> None:
    with pytest.raises(BadValue) as error:
        label_of(value)
    message = str(error.value.at("a.csv", line=3))
    assert error.value.rule.startswith("expected ")
    for word in words:
        assert word in message


def test_long_strings_and_deep_lists_are_strings() -> None:
    for string in ("[" * 5000 + "]" * 5000, "[" + "1, " * 5000 + "1]"):
        assert label_of(string).name == string


def test_lists_of_one_are_opened_however_deep() -> None:
    deep: object = "good"
    for _ in range(5000):
        deep = [deep]
    assert label_of(deep).name == "good"
    # As a string only so far that each version of Python does the same.
    for depth, is_list in ((100, True), (101, False)):
        string = "[" * depth + '"good"' + "]" * depth
        assert (label_of(string).name == "good") == is_list


def test_scored_objects_in_one_another_are_no_label() -> None:
    deep: object = "good"
    for _ in range(5000):
        deep = {"label": deep, "score": 1}
    with pytest.raises(BadValue):
        label_of(deep)


@pytest.mark.parametrize("word", ["nan", "NaN", "NULL", "None", "N/A", "-", "?", "\\N"])
def test_missing_words(word: str) -> None:
    assert is_missing_word(label_of(word).name)


@pytest.mark.parametrize(
    "word", ["unknown", "other", "neutral", "no", "0", "a", "nano"]
)
def test_words_that_are_classes(word: str) -> None:
    assert not is_missing_word(word)


def test_kinds_of_numbers() -> None:
    assert list(map(is_whole_number, ["0", "-1", "10", "01", "-0", "1.5", "a"])) == [
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert list(map(is_fraction, ["0.5", "-1.5", "1", "1.2.3", "a"])) == [
        True,
        True,
        False,
        False,
        False,
    ]

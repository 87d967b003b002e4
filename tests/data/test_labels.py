"""Which number each class gets, and what --label_names makes of labels.

The forms of a label are tested in test_label_forms.py, doubts in test_label_faults.py.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.data import datasets
from tests.data.datasets import labelled, load
from trainer.data import label_forms
from trainer.data.labels import DiscoveredLabels, named_labels
from trainer.data.readers.rows import BadValue, Row

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
    "booleans": ([True, False, "true", "FALSE"], (), ("False", "True"), [1, 0, 1, 0]),
    "booleans_among_others_keep_their_spelling": (
        ["true", "false", "mixture"],
        (),
        ("false", "mixture", "true"),
        [2, 0, 1],
    ),
    "two_spellings_of_a_boolean_among_others": (
        ["true", True, "mixture"],
        (),
        ("True", "mixture"),
        [0, 0, 1],
    ),
    "named_booleans": (["TRUE", False], ("true", "false"), ("true", "false"), [0, 1]),
    "decimal_commas": (["1,0", "0,0"], (), ("0", "1"), [1, 0]),
    "numbers_of_any_spelling": (["1.0", 0, "１", "0e0"], (), ("0", "1"), [1, 0, 1, 0]),
    "scores": (
        [{"a": 0.2, "b": 0.8}, {"b": 0, "a": 1}],
        (),
        ("a", "b"),
        [1, 0],
    ),
    "all_keys_of_scores_are_classes": (
        [{"a": 1, "b": 0, "c": 0}, {"a": 0, "b": 1, "c": 0}],
        (),
        ("a", "b", "c"),
        [0, 1],
    ),
    "mapped": ([0, 4, "4.0"], ("0=bad", "4=good"), ("bad", "good"), [0, 1, 1]),
    "several_labels_of_a_class": (
        [1, 5, 2],
        ("1=bad", "2=bad", "5=good"),
        ("bad", "good"),
        [0, 1, 0],
    ),
    "mapped_and_plain": (
        ["Pos", "neg", "pos"],
        ("neg", "Pos=pos", "pos"),
        ("neg", "pos"),
        [1, 0, 1],
    ),
    "mapped_beside_positions": (
        [0, 1, "good"],
        ("neg", "pos", "good=pos"),
        ("neg", "pos"),
        [0, 1, 1],
    ),
    "last_equals_sign_counts": (
        ["<=5", ">5"],
        ("<=5=low", ">5=high"),
        ("low", "high"),
        [0, 1],
    ),
    "word_for_missing_that_is_named": (
        ["nan", "a"],
        ("a", "nan"),
        ("a", "nan"),
        [1, 0],
    ),
    "negative_numbers_mapped": (
        ["-1", "\u22121", 1],
        ("-1=neg", "1=pos"),
        ("neg", "pos"),
        [0, 0, 1],
    ),
    "names": (["b", "a"], ("b", "a"), ("b", "a"), [0, 1]),
    "positions": ([1, 0, "1"], ("b", "a"), ("b", "a"), [1, 0, 1]),
    "names_and_positions": (["a", 0], ("b", "a"), ("b", "a"), [1, 0]),
    "names_and_a_position_without_0": (["b", 1], ("b", "a"), ("b", "a"), [0, 1]),
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
    "one_class": (["pos"] * 3, (), "two different labels", "'pos' in all 3 rows"),
    "one_named_class": ([0, 0], ("a", "b"), "two different labels", "'a'"),
    "too_many": (list(range(1001)) * 3, (), "'label'", "1001 different", "3003 rows"),
    "mostly_distinct": (list(range(11)) + [0] * 9, (), "11 different", "20 rows"),
    "unknown_name": (
        ["pos", "ngative"],
        ("pos", "negative"),
        ":2: expected a label of pos, negative, or 0 to 1. Received: 'ngative'",
        "did you mean 'negative'?",
        "give it a class: --label_names=pos,negative,ngative=CLASS",
    ),
    "name_in_another_case": (
        ["Pos", "neg"],
        ("pos", "neg"),
        "give it a class: --label_names=pos,neg,Pos=pos",
    ),
    "unknown_position": ([0, 1, 2], ("a", "b"), "Received: '2';", "NUMBER=CLASS"),
    "position_among_integer_names": ([1, 0], ("1", "2"), "of 1, 2. Received: '0'"),
    "not_mapped": (
        [0, 4, 2, 2],
        ("0=bad", "4=good"),
        "2 bad rows; ",
        "--bad_rows=skip",
        "of 0, 4. Received: '2'; mend the label, or give it a class: "
        "--label_names=0=bad,4=good,2=CLASS",
    ),
    "no_position_beside_mapped_numbers": ([0, 1], ("0=a", "2=b"), "Received: '1'"),
    "missing": (["a", "b", "N/A"], (), "usually mean a missing label", "'N/A'"),
    "missing_with_names": (["a", "b", "NULL"], ("a", "b"), "usually mean", "'NULL'"),
    "null": (["a", "b", None], (), "expected a label", "none (None)"),
    "several": (
        ["a", "b", ["a", "b"]],
        (),
        "several labels a text need --task=multi_label",
    ),
    "all_bad_are_not_to_be_skipped": (
        [[1, 0], [0, 1]],
        (),
        "2 bad rows; mend what is named:",
    ),
    "one_label_of_two_classes": (
        ["a", "1"],
        ("a", "1=b", "1.0=a"),
        "two classes",
        "'1.0' for 'b' and 'a'",
    ),
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
    assert discovered.in_order() == (("9", "10"), [1, 0])
    assert discovered.notes() == ["the labels 10, '10' are one class: 10"]

    named = discovered.named()
    assert [named.encode(row, file="a.csv") for row in rows] == [1, 0, 1]
    bad = named.encode(Row("text", 1, 7), file="b.csv")
    assert isinstance(bad, BadValue)
    assert bad.rule == "expected a label of 9, 10"
    assert bad.received.startswith("'1'")


def test_a_spelling_that_only_the_set_decides_is_known_later() -> None:
    discovered = DiscoveredLabels()
    for label in ("1,0", "0,0"):
        discovered.encode(Row("text", label, 1), file="a.csv")
    named = discovered.named()
    later = [named.encode(Row("text", label, 1), file="b.csv") for label in ("0,0", 1)]
    assert later == [0, 1]


POSITIONS = {
    # id: labels, names, words of the refusal, the flag to follow, labels as classes
    "from_1": (
        [1, 2, 3, 1],
        ("a", "b", "c"),
        "the labels are 1 to 3 for 3 names",
        ("1=a", "2=b", "3=c"),
        [0, 1, 2, 0],
    ),
    "from_1_with_a_gap": (
        ["1", "3"],
        ("a", "b", "c"),
        "the labels are 1, 3 for 3 names",
        ("1=a", "2=b", "3=c"),
        [0, 2],
    ),
    "neither_0_nor_the_last": (
        [1, 2],
        ("a", "b", "c"),
        "the labels are 1 to 2 for 3 names",
        ("0=a", "1=b", "2=c"),
        [1, 2],
    ),
    "as_many_numbers_as_names": (
        [4, 0, 4.0],
        ("negative", "positive"),
        "the labels are 0, 4 for 2 names",
        ("0=negative", "4=positive"),
        [1, 0, 1],
    ),
    "negative_numbers": (
        [-1, 0, 1],
        ("a", "b", "c"),
        "the labels are -1 to 1 for 3 names",
        ("-1=a", "0=b", "1=c"),
        [0, 1, 2],
    ),
    "names_with_blanks_and_commas": (
        [1, 2],
        ("so, so", "very good"),
        "the labels are 1 to 2 for 2 names",
        ("1=so, so", "2=very good"),
        [0, 1],
    ),
}


@pytest.mark.parametrize("others", [[], ["N/A", "neutral"]], ids=["alone", "others"])
@pytest.mark.parametrize("bad_rows", ["error", "skip"])
@pytest.mark.parametrize(
    "labels, names, words, entries, expected", POSITIONS.values(), ids=POSITIONS
)
def test_numbers_that_are_no_positions_are_refused_with_the_flag_that_mends(
    tmp_path: pathlib.Path,
    labels: list[Any],
    names: tuple[str, ...],
    words: str,
    entries: tuple[str, ...],
    expected: list[int],
    bad_rows: str,
    others: list[str],
) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*labels, *others))
    with pytest.raises(ValueError) as error:
        load(dataset, label_names=names, bad_rows=bad_rows)
    assert words in str(error.value)
    assert "leave it out with" not in str(error.value)
    assert entries in datasets.flags_in(str(error.value))

    train = load(dataset, label_names=entries, bad_rows="skip").splits["train"]
    assert train.label_names == names
    assert train.labels.tolist() == expected


OWN_NAMES = {
    # id: entries of --label_names, classes, raw label → class
    "own": ((), ("neg", "pos"), {"neg": 0, "pos": 1, 0: 0, "1": 1}),
    "renamed": (("bad", "good"), ("bad", "good"), {"neg": 0, "good": 1, 1: 1}),
    "in_another_order": (("pos", "neg"), ("pos", "neg"), {"neg": 1, "pos": 0}),
    "mapped_by_name": (
        ("neg=bad", "pos=good"),
        ("bad", "good"),
        {"neg": 0, "pos": 1},
    ),
    "mapped_by_number": (
        ("1=good", "0=bad"),
        ("good", "bad"),
        {"neg": 1, "pos": 0, 1: 0},
    ),
    "integers_for_names": (("1", "0"), ("1", "0"), {"neg": 0, "pos": 1, "1": 0}),
}


@pytest.mark.parametrize("entries, names, codes", OWN_NAMES.values(), ids=OWN_NAMES)
def test_names_of_a_data_set_and_of_the_flag(
    entries: tuple[str, ...], names: tuple[str, ...], codes: dict[object, int]
) -> None:
    labels = named_labels(entries, own_names=("neg", "pos"), source="here")
    assert labels.names == names
    rows = {label: Row("text", label, 1) for label in codes}
    assert {k: labels.encode(row, file="a") for k, row in rows.items()} == codes


def test_positions_of_a_data_set_are_not_those_of_another_order() -> None:
    labels = named_labels(("pos", "neg"), own_names=("neg", "pos"))
    assert isinstance(labels.encode(Row("text", 0, 1), file="a.csv"), BadValue)


def test_names_for_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the 2 classes of here \(neg, pos\)"):
        named_labels(("a", "b", "c"), own_names=("neg", "pos"), source="here")


OWN_FAULTS = {
    # id: names that a data set has, words of what is doubted
    "alike": (("Pos", "pos", "neg"), "'Pos' (1 row, first a.csv:1) and 'pos' (1 row"),
    "several": (("a", "b", "a;b"), "several labels a text need --task=multi_label"),
}


@pytest.mark.parametrize("own_names, words", OWN_FAULTS.values(), ids=OWN_FAULTS)
def test_names_that_a_data_set_has_are_doubted_unless_they_are_chosen(
    own_names: tuple[str, ...], words: str
) -> None:
    rows = [Row("text", name, line) for line, name in enumerate(own_names, start=1)]
    for entries in ((), own_names):
        labels = named_labels(entries, own_names=own_names)
        codes = np.array([labels.encode(row, file="a.csv") for row in rows])
        found = labels.faults(codes, label_field="label")
        assert [words in fault for fault in found] == ([] if entries else [True])


def test_word_for_missing_among_the_names_of_a_data_set() -> None:
    row = Row("text", "nan", 1)
    bad = named_labels((), own_names=("a", "nan")).encode(row, file="a.csv")
    assert isinstance(bad, BadValue) and "usually mean a missing label" in bad.rule
    chosen = named_labels(("a", "nan"), own_names=("a", "nan"))
    assert chosen.encode(row, file="a.csv") == 1


def test_names_of_a_data_set_have_the_form_of_labels() -> None:
    labels = named_labels((), own_names=("0.0", "1.0 "))
    assert labels.names == ("0", "1")
    assert labels.encode(Row("text", 1, 1), file="a.csv") == 1


def test_label_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[object] = []

    def label_of_counting(value: object) -> label_forms.Label:
        judged.append(value)
        return label_forms.label_of(value)

    labels = named_labels(("a", "b"))
    monkeypatch.setattr("trainer.data.labels.label_of", label_of_counting)
    for label in ["a", "x", "a", "x", 1, 1.0, True, 1] * 3:
        labels.encode(Row("text", label, 1), file="a.csv")
    # 1, 1.0 and True are one key to a Python dictionary, and two labels.
    assert judged == ["a", "x", 1, 1.0, True]

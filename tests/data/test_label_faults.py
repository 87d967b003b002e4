"""What is doubted in labels as a whole, and that the mends of the messages mend."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.data import datasets
from tests.data.datasets import flags_in, labelled, load
from trainer.data.label_faults import Occurrence, find, names_flag

REFUSED = {
    # id: labels, words of the message, classes by each flag that it names
    "case": (
        ["pos", "neg", "Pos", "pos"],
        ["'pos' (2 rows, first ", "'Pos' (1 row, first ", "train.jsonl:3)"],
        [("pos", "neg"), ("pos", "neg", "Pos")],
    ),
    "blank_within": (
        ["not toxic", "toxic", "not  toxic"],
        ["'not toxic' (", " and 'not  toxic' ("],
        [("not toxic", "toxic"), ("not toxic", "toxic", "not  toxic")],
    ),
    "hyphen": (
        ["non-toxic", "toxic", "non_toxic", "NonToxic"],
        ["'non-toxic' (", "and 'non_toxic' (", "and 'NonToxic' ("],
        [("non-toxic", "toxic"), ("non-toxic", "toxic", "non_toxic", "NonToxic")],
    ),
    "full_stop": (["good.", "good", "bad"], ["'good.' (", "'good' ("], None),
    "cyrillic_letter": (["n\u043e", "no", "yes"], ["'n\u043e' (", "'no' ("], None),
    "brackets": (["[spam]", "spam", "ham"], ["'[spam]' (", "'spam' ("], None),
    "leading_zero": (["01", "1", "2"], ["'01' (", "'1' ("], None),
    "fractions": (
        [0.5, 3.7, 3.0],
        ["'0.5' (1 row", "'3.7'", "a column of scores"],
        [("0.5", "3.7", "3")],
    ),
    "fractions_with_a_decimal_comma": (
        ["0,5", "3,7"],
        ["'0,5' (1 row", "a column of scores"],
        [("0,5", "3,7")],
    ),
    "one_fraction": (["1", "2", "2.5"], ["'2.5' (1 row, first "], [("1", "2", "2.5")]),
    "joined_by_semicolons": (
        ["a", "b", "a;b"],
        ["several labels a text need --task=multi_label", "'a;b' (1 row", "skip"],
        [("a", "b"), ("a", "b", "a;b")],
    ),
    "joined_by_bars": (
        ["a|b", "a|c"],
        ["several labels a text", "'a|c'"],
        [("a|b", "a|c")],
    ),
    "joined_by_commas": (
        ["a", "b", "c", "a, b"],
        ["several labels a text need --task=multi_label", "'a, b'"],
        [("a", "b", "c"), ("a", "b", "c", "a, b")],
    ),
    "numbers_joined": (["1", "27", "1,27"], ["several labels a text", "'1,27'"], None),
    "joined_by_strokes": (
        ["a", "b", "a/b"],
        ["several labels a text", "'a/b'"],
        [("a", "b"), ("a", "b", "a/b")],
    ),
    "multi_hot_with_blanks": (["1 0 1", "0 1 0"], ["several labels a text"], None),
    "one_hot_joined": (["0,1", "1,0"], ["several labels a text"], None),
    "booleans_and_numbers": (
        [True, 0, 1, False],
        ["no and yes in one pair of words", "'True' (1 row"],
        [("1", "0"), ("True", "0", "1", "False")],
    ),
    "words_of_two_data_sets": (
        ["positive", "negative", 1, 0],
        ["no and yes in one pair of words"],
        [("1", "0"), ("positive", "negative", "1", "0")],
    ),
}


@pytest.mark.parametrize("labels, words, classes", REFUSED.values(), ids=REFUSED)
def test_doubtful_labels_are_refused_and_each_flag_mends(
    tmp_path: pathlib.Path,
    labels: list[Any],
    words: list[str],
    classes: list[tuple[str, ...]] | None,
) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*labels))
    with pytest.raises(ValueError) as error:
        load(dataset)
    message = str(error.value)
    for word in words:
        assert word in message
    flags = flags_in(message)
    # A flag that leaves rows out is named with the other one that does.
    bad_rows = "skip" if "--bad_rows=skip" in message else "error"
    found = [load(dataset, label_names=f, bad_rows=bad_rows).label_names for f in flags]
    assert found == classes if classes is not None else found


ACCEPTED = {
    "grades": ["A", "A-", "B+", "B"],
    "programming_languages": ["C", "C++", "C#"],
    "places": ["New York, USA", "Boston, USA"],
    "one_name_with_a_comma": ["Arts, Culture", "Science"],
    "negations": ["toxic", "not toxic"],
    "comparisons": ["<5", ">5"],
    "strokes": ["Sci/Tech", "World"],
    "emoticons": [":)", ":("],
    "versions": ["v1.5", "v15"],
    "signed_numbers": [-1, 0, 1],
    "yes_and_no": ["yes", "no"],
    "one_word_of_each_pair": ["pos", "negative"],
    "three_answers": ["yes", "no", "maybe"],
    "emoji": ["👍", "👎"],
}


@pytest.mark.parametrize("labels", ACCEPTED.values(), ids=ACCEPTED)
def test_labels_without_a_doubt(tmp_path: pathlib.Path, labels: list[Any]) -> None:
    dataset = datasets.written(tmp_path, "train", *labelled(*labels))
    assert len(load(dataset).label_names) == len(labels)


def test_a_column_of_combinations_is_one_of_several_labels() -> None:
    words = "abcdefgh"
    labels = {
        f"{one},{other}": Occurrence(1, f"a.csv:{number}")
        for number, (one, other) in enumerate(
            ((one, other) for one in words for other in words if one < other), start=2
        )
    }
    (fault,) = find(labels, label_field="labels")
    assert "several labels a text need --task=multi_label" in fault
    assert "and 25 more" in fault


def test_a_column_of_scores_is_one_of_scores() -> None:
    labels = {str(n / 1000): Occurrence(1, "a.csv:2") for n in range(1, 900)}
    (fault,) = find(labels, label_field="score")
    assert "as a column of scores has them" in fault
    # 899 names help nobody.
    assert fault.endswith("or name every label in --label_names to keep it as a class")


def test_many_alike_labels_are_not_all_named() -> None:
    labels = {
        f"{word}{n}": Occurrence(9, "a.csv:2") for n in "abcdefghijk" for word in "xX"
    }
    (fault,) = find(labels, label_field="label")
    assert "; ...; write them alike, or name every label in --label_names" in fault


def test_flag_is_quoted_for_the_shell_and_for_its_commas() -> None:
    flag = names_flag(["so, so", "it's", "4=good"])
    assert flag.startswith("'--label_names=")
    assert names_flag(["4=good", "0=bad"]) == "--label_names=4=good,0=bad"

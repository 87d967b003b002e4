"""Tables as people bring them, whose labels are written in one of the usual ways.

The files are in tests/testdata/cases/. Each refusal is followed by what its message
advises, and then the rows are read.
"""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.data.datasets import classes, flags_in, load

CASES = pathlib.Path(__file__).parent.parent / "testdata" / "cases"
LETTERS = ("World", "Sports", "Business", "Sci/Tech")
FROM_1 = {"text_field": "Description", "label_field": "Class Index"}

READ = {
    # id: file, settings, classes, class of the first rows
    "booleans": ("label-boolean.jsonl", {}, ("False", "True"), ["True", "False"]),
    "list_of_one": (
        "label-list-of-one.jsonl",
        {},
        ("negative", "positive"),
        ["positive", "negative"],
    ),
    "scores": (
        "label-object-of-scores.jsonl",
        {"label_field": "cats"},
        ("NEGATIVE", "POSITIVE"),
        ["POSITIVE", "NEGATIVE"],
    ),
    "zero_width_space": (
        "label-with-zero-width-space.csv",
        {},
        ("negative", "positive"),
        ["positive", "negative"] * 4,
    ),
    "integers_and_floats": (
        "labels-int-in-one-shard-float-in-other/*.csv",
        {},
        ("0", "1"),
        ["1", "0"] * 4,
    ),
    "missing_skipped": (
        "label-word-for-missing.csv",
        {"bad_rows": "skip"},
        ("negative", "positive"),
        ["positive", "negative", "negative", "positive", "negative", "negative"],
    ),
    "missing_named": (
        "label-word-for-missing.csv",
        {"label_names": ("negative", "positive", "nan", "N/A")},
        ("negative", "positive", "nan", "N/A"),
        ["positive", "negative", "nan"],
    ),
}


@pytest.mark.parametrize("name, settings, names, first", READ.values(), ids=READ)
def test_case_is_read(
    name: str, settings: dict[str, Any], names: tuple[str, ...], first: list[str]
) -> None:
    result = load(f"files:{CASES / name}", **settings)
    assert result.label_names == names
    assert classes(result.splits["train"])[: len(first)] == first


def test_word_for_missing_is_refused_and_counted_when_skipped() -> None:
    dataset = f"files:{CASES / 'label-word-for-missing.csv'}"
    with pytest.raises(ValueError) as error:
        load(dataset)
    message = str(error.value)
    assert message.startswith("2 bad rows; ") and "--bad_rows=skip:" in message
    assert "usually mean a missing label" in message
    assert "missing.csv:4: " in message and "missing.csv:8: " in message

    facts = load(dataset, bad_rows="skip").facts["splits"]["train"]
    assert facts["num_rows"] == 6 and facts["num_skipped_rows"] == 2


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
def test_several_labels_are_refused_in_these_words(bad_rows: str) -> None:
    dataset = f"files:{CASES / 'label-multihot-list-as-string.csv'}"
    with pytest.raises(ValueError) as error:
        load(dataset, label_field="labels", bad_rows=bad_rows)
    assert "several labels a text need --task=multi_label" in str(error.value)
    assert "string.csv:2: " in str(error.value)
    # It would leave no row.
    assert "--bad_rows=skip" not in str(error.value)


def test_labels_from_1_are_refused_and_the_flag_of_the_message_mends() -> None:
    dataset = f"files:{CASES / 'labels-from-1-with-names.csv'}"
    with pytest.raises(ValueError) as error:
        load(dataset, label_names=LETTERS, **FROM_1)
    message = str(error.value)
    assert "the labels are 1 to 4 for 4 names" in message
    assert "--bad_rows=skip" not in message
    (entries,) = flags_in(message)
    assert entries[:2] == ("1=World", "2=Sports")

    train = load(dataset, label_names=entries, **FROM_1).splits["train"]
    assert train.label_names == LETTERS
    assert train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]

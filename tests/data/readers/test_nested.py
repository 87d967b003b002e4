"""Paths into nested records."""

from __future__ import annotations

from typing import Any

import pytest

from tests.data.readers.files import cases
from trainer.data.readers.nested import AbsentValue, DoubledKeys, lookup
from trainer.data.readers.rows import BadValue

RECORD = {
    "text": "a",
    "data": {"text": "b", "a": {"d": "no"}, "none": None, "x": {"a.b": {"c": 1}}},
    "data.text": "dotted",
    "data.a": {"d": "longest"},
    "annotations": [{"label": "x"}, {"label": "y"}],
    "twice": DoubledKeys([("a", 1), ("b", 2), ("a", 3)]),
    "lists": [[1, 2], []],
}

FOUND = {
    "text": "a",
    "data.text": "dotted",
    "data.a.d": "longest",
    "lists.0.0": 1,
    "data.none": None,
    "data.x.a.b.c": 1,
    "annotations.1.label": "y",
    "lists.0.1": 2,
    "twice.b": 2,
    "annotations.0": {"label": "x"},
}


@pytest.mark.parametrize("path, value", FOUND.items())
def test_value_at_a_path(path: str, value: Any) -> None:
    assert lookup(RECORD, path, mend="") == value


ABSENT = {
    # id: path, words
    "key": ("txet", "one key 'txet'.", "did you mean 'text'?"),
    "first_step": ("annotation.0", "'annotation' for 'annotation.0'", "'annotations'?"),
    "last_step": ("annotations.0.labels", "'labels' in 'annotations.0'", "'label'?"),
    "out_of_range": (
        "annotations.2.label",
        "at least 3 elements in 'annotations'",
        "2",
    ),
    "empty_list": ("lists.1.0", "at least 1 elements in 'lists.1'. Received: 0"),
    "no_position": ("annotations.label", "position in the list 'annotations'"),
    "below_zero": ("annotations.-1", "Received: '-1'"),
    "in_a_text": ("text.a", "object or a list in 'text'", "str 'a'"),
    "in_nothing": ("data.none.a", "in 'data.none'", "Received: none"),
}


@cases("path, words", ABSENT)
def test_step_that_is_not_there_is_named(path: str, words: tuple[str, ...]) -> None:
    with pytest.raises(AbsentValue) as error:
        lookup(RECORD, path, mend="mend it")
    message = str(error.value.at("f", line=1))
    for word in words:
        assert word in message


@pytest.mark.parametrize("path", ["twice.a", "twice"])
def test_doubled_key_is_refused(path: str) -> None:
    with pytest.raises(BadValue) as error:
        lookup(RECORD, path, mend="")
    assert "one key 'a'" in str(error.value.at("f", line=1))
    assert not isinstance(error.value, AbsentValue)

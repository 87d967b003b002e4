"""What a text may be, read from files; labels are in tests/data/test_labels.py."""

from __future__ import annotations

import pathlib

from tests.data.readers.files import (
    cases,
    check_bad_row,
    csv_rows,
    json_rows,
    written,
)
from trainer.data.readers.rows import BadFileError, BadRow

BAD_ROWS = {
    # id: name, content, line of the bad row, words of its message
    "empty_text": ("a.csv", csv_rows(b",1\n"), 3, "expected a text", "an empty one"),
    "blank_text": ("a.csv", csv_rows(b" \t,1\n"), 3, "white space only"),
    "null_text": (
        "a.jsonl",
        json_rows(b'{"text": null, "label": 1}'),
        2,
        "Received: none",
    ),
    "number_as_text": ("a.jsonl", json_rows(b'{"text": 5, "label": 1}'), 2, "int 5"),
    "object_as_text": (
        "a.jsonl",
        json_rows(b'{"text": {"a": 1}, "label": 1}'),
        2,
        "an object {'a': 1}",
    ),
    "nul_in_json": (
        "a.jsonl",
        json_rows(b'{"text": "ab\\u0000", "label": 1}'),
        2,
        "a NUL character at character 3",
    ),
    "lone_surrogate": (
        "a.jsonl",
        json_rows(b'{"text": "ab\\ud800", "label": 1}'),
        2,
        "half a surrogate pair",
        "character 3",
    ),
}


@cases("name, content, line, words", BAD_ROWS)
def test_bad_row_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, name: str, content: bytes, line: int, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, name, content), line=line, words=words)


def test_messages_have_place_rule_received_and_mend() -> None:
    assert str(BadRow("a.csv", 3, "expected a text", "an empty one", "fill it in")) == (
        "a.csv:3: expected a text. Received: an empty one; fill it in"
    )
    error = BadFileError(
        "a", rule="expected a file", received="a folder", mend="name it"
    )
    assert str(error) == "a: expected a file. Received: a folder; name it"
    error = BadFileError("a", line=1, rule="expected b", received="c", mend="do d")
    assert str(error) == "a:1: expected b. Received: c; do d"

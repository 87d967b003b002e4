"""JSON Lines: keys, and lines that are no object among others."""

from __future__ import annotations

import json
import pathlib

from tests.data.readers.files import (
    HEADER,
    LONG_TEXT,
    cases,
    check_bad_file,
    check_bad_row,
    json_rows,
    read,
    summary,
    written,
)

GOOD_FILES = {
    # id: content, rows
    "jsonl": (
        b'{"text": "a", "label": "pos"}\n{"label": 2.0, "text": "\\u00e9", "x": [1]}\n',
        (1, "a", "pos"),
        (2, "é", 2),
    ),
    "other_unicode_line_ends_are_text": (
        '{"text": "a\u2028b\x85c", "label": 1}\n'.encode(),
        (1, "a\u2028b\x85c", 1),
    ),
    "blank_json_lines": (b'\n{"text": "a", "label": 1}\n\n', (2, "a", 1)),
    "long_json_text": (
        json.dumps({"text": LONG_TEXT, "label": 1}).encode(),
        (1, LONG_TEXT, 1),
    ),
}


@cases("content, expected", GOOD_FILES)
def test_rows_and_their_lines(
    tmp_path: pathlib.Path,
    content: bytes,
    expected: tuple[tuple[int, str, str | int], ...],
) -> None:
    assert summary(read(written(tmp_path, "a.jsonl", content))) == list(expected)


BAD_ROWS = {
    # id: line 2, words of its message
    "invalid_utf8_json": (b'{"text": "a\xc3", "label": 1}', "byte 0xC3 at byte 12"),
    "broken_json": (b'{"text": "a",', "no valid JSON"),
    "deep_json": (b'{"a":' * 100_000, "no valid JSON"),
    "json_list": (b'["a", 1]', "Received: a list"),
    "missing_key": (
        b'{"Text": "a", "label": 1}',
        "one key 'text'",
        "keys 'Text', 'label'",
        "did you mean 'Text'?",
        "--text_field",
    ),
    "doubled_key": (
        b'{"text": "a", "label": 1, "label": 0}',
        "one key 'label'",
        "2 of that name",
    ),
}


@cases("line, words", BAD_ROWS)
def test_bad_row_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, line: bytes, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, "a.jsonl", json_rows(line)), line=2, words=words)


BAD_FILES = {
    # id: content, words
    "empty_jsonl": (b"", "at least one row"),
    "csv_in_jsonl": (HEADER + b"a,1\n", "'text,label'", ".csv"),
    "array_in_jsonl": (b'[{"text": "a"}]', "a JSON array", "own"),
}


@cases("content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, content: bytes, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, "a.jsonl", content), words=words)

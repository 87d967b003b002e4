"""JSON: shapes of files, keys and paths, and broken objects among good ones."""

from __future__ import annotations

import io
import json
import pathlib
import tracemalloc
from typing import Any

import pytest

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
from trainer.data.readers import json_rows as reader
from trainer.data.readers import json_scanner
from trainer.data.readers.reading import read_rows
from trainer.data.readers.request import Request
from trainer.data.readers.rows import BadRow, Row

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


ROWS = b'{"text": "a", "label": 1}', b'{"text": "b", "label": 0}'
A, B = (1, "a", 1), (2, "b", 0)

SHAPES = {
    # id: content, rows
    "concatenated": (b"".join(ROWS), A, (1, "b", 0)),
    "over_lines": (b'{\n"text": "a",\n"label": 1}\n\n' + ROWS[1], A, (5, "b", 0)),
    "carriage_returns": (
        b'{\r\n"text": "a",\r"label": 1}\r\n' + ROWS[1],
        A,
        (4, "b", 0),
    ),
    "array": (b"[" + ROWS[0] + b",\n" + ROWS[1] + b"]\n", A, B),
    "array_with_mark": (b"\xef\xbb\xbf [\n\n" + ROWS[0] + b"]", (3, "a", 1)),
    "array_of_long_texts": (
        json.dumps([{"text": LONG_TEXT, "label": 1}] * 2, indent=0).encode(),
        (2, LONG_TEXT, 1),
        (6, LONG_TEXT, 1),
    ),
    "under_a_key": (
        b'{"version": {"a": [{}]}, "data": [\n' + b",\n".join(ROWS) + b'], "n": [2]}',
        (2, "a", 1),
        (3, "b", 0),
    ),
    "under_the_key_that_has_texts": (
        b'{"features": [{"name": "text"}], "rows": [' + ROWS[0] + b"]}",
        A,
    ),
    "under_keys": (b'{"n": [], "a": {"b": [\n' + ROWS[0] + b"]}}", (2, "a", 1)),
    "by_id": (b'{"7": ' + ROWS[0] + b',\n"8": ' + ROWS[1] + b"}", A, B),
    "columns_of_objects": (
        b'{"text": {"0": "a", "5": "b"}, "x": {}, "label": {"0": 1, "5": 0}}',
        A,
        B,
    ),
    "columns_of_lists": (b'{"text": ["a", "b"], "label": [1, 0]}', A, B),
    "names_and_lists": (
        b'{"columns": ["label", "text"], "index": [3, 4], "data": [[1, "a"], [0, "b"]]}',
        A,
        B,
    ),
    "only_row": (b'{"spans": [{"text": "x"}],\n"text": "a", "label": 1}', A),
}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
@cases("content, expected", SHAPES)
def test_shape_is_told_by_the_content(
    tmp_path: pathlib.Path, name: str, content: bytes, expected: tuple[Any, ...]
) -> None:
    assert summary(read(written(tmp_path, name, content))) == list(expected)


@pytest.mark.parametrize("num_rows", [1, 3, 2000])
@pytest.mark.parametrize("indent", [None, 0, 2])
def test_every_shape_holds_the_same_rows(
    tmp_path: pathlib.Path, num_rows: int, indent: int | None
) -> None:
    """Of many pieces of the file, with texts of all planes and escapes."""
    texts = [f'{number} é\u2028\U0001f600 \\"x\\ ' * 3 for number in range(num_rows)]
    rows = [{"text": text, "label": text[:1]} for text in texts]
    columns = {key: [row[key] for row in rows] for key in ("text", "label")}
    contents = [
        "\n".join(json.dumps(row, indent=indent) for row in rows),
        "".join(json.dumps(row, indent=indent, ensure_ascii=False) for row in rows),
        json.dumps(rows, indent=indent),
        json.dumps({"a": 1, "data": rows}, indent=indent, ensure_ascii=False),
        json.dumps(dict(enumerate(rows)), indent=indent),
        json.dumps(columns, indent=indent),
    ]
    for content in contents:
        path = written(tmp_path, "a.json", content.encode())
        read_texts = [text for _, text, _ in summary(read(path))]
        assert read_texts == texts


def test_lines_of_an_array_are_those_of_the_file(tmp_path: pathlib.Path) -> None:
    rows = [{"text": f"text {number}", "label": 1} for number in range(5000)]
    content = json.dumps(rows, indent=1)
    lines = content.splitlines()
    for row in read(written(tmp_path, "a.json", content.encode())):
        assert isinstance(row, Row) and row.text in lines[row.line]


CASES = pathlib.Path("tests/testdata/cases")


@pytest.mark.parametrize(
    "name, num_rows, label_field",
    [
        ("array-of-objects.json", 8, "label"),
        ("one-json-object-over-lines.jsonl", 3, "label"),
        ("label-object-of-scores.jsonl", 8, "cats.POSITIVE"),
        ("label-list-of-one.jsonl", 8, "label.0"),
    ],
)
def test_case(name: str, num_rows: int, label_field: str) -> None:
    rows = read(str(CASES / name), label_field=label_field)
    labels = [row.label for row in rows if isinstance(row, Row)]
    assert len(labels) == num_rows and len(set(labels)) == 2


def test_what_was_settled_is_told(tmp_path: pathlib.Path) -> None:
    told: list[str] = []
    request = Request(
        "a.json", text_field="text", label_field=None, on_settled=told.append
    )
    content = io.BytesIO(b'{"rows": [' + ROWS[0] + b"]}")
    list(reader.read(content, head=b"", request=request))
    assert told == ["JSON objects under the key 'rows'"]


BAD_ROWS = {
    # id: line 2, words of its message
    "invalid_utf8_json": (b'{"text": "a\xc3", "label": 1}', "byte 0xC3 at byte 12"),
    "broken_json": (b'{"text": "a",', "no valid JSON"),
    "deep_json": (b'{"a":' * 100_000, "no valid JSON"),
    "json_list": (b'["a", 1]', "Received: a list"),
    "cut_off": (b'{"text": "a", "label": 1', "line 3, column 1"),
    "cut_off_in_a_text": (b'{"text": "a', "control character", "line 2"),
    "over_lines": (b'{\n "text" "a",\n "label": 1\n}', "line 3, column 9"),
    "comma_after_it": (b'{"text": "a", "label": 1},', "remove the comma", "column 26"),
    "more_after_it": (b'{"text": "a", "label": 1} x', "'x' after the object"),
    "python": (b"{'text': 'a', 'label': 1}", "in double quotes, as json.dumps"),
    "no_json": (b"a", "Expecting value"),
    "long_number": (b'{"text": ' + b"1" * 5000 + b"}", "no valid JSON"),
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
    "doubled_key_in_a_label": (
        b'{"text": "a", "label": {"x": 1, "x": 0}}',
        "one key 'x'",
        "2 of that name",
    ),
}


@cases("line, words", BAD_ROWS)
def test_bad_row_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, line: bytes, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, "a.jsonl", json_rows(line)), line=2, words=words)


ARRAY = b"[" + ROWS[0] + b",\n"

BAD_FILES = {
    # id: content, words
    "empty_jsonl": (b"", "at least one row"),
    "blank_jsonl": (b"\n \n", "at least one row"),
    "empty_array": (b"[]", "at least one row"),
    "csv_in_jsonl": (HEADER + b"a,1\n", "'text,label'", ".csv"),
    "broken_array": (ARRAY + b'{"text": "b" "label": 0}]', ":2: ", "line 2, column 14"),
    "array_that_ends_early": (ARRAY + ROWS[1], ":2: ", "Expecting ']'", "column 26"),
    "comma_at_the_end": (ARRAY + ROWS[1] + b",\n]", ":3: ", "line 3, column 1"),
    "far_down_in_one_line": (
        b"[" + (ROWS[0] + b",") * 9999 + b"}]",
        f"line 1, column {2 + 26 * 9999}",
    ),
    "no_rows_under_a_key": (b'{"data": []}', "at least one row"),
    "columns_without_a_row": (b'{"text": [], "label": []}', "at least one row"),
    "two_arrays": (ARRAY + ROWS[1] + b"]\n[]", ":3: ", "after the array of line 1"),
    "array_of_texts": (b'["a", "b"]', "first element is str 'a'", '{"text": ...}'),
    "two_keys": (
        b'{"train": [' + ROWS[0] + b'], "test": [' + ROWS[1] + b"]}",
        "'train', 'test'",
        "jq -c '.[\"train\"][]'",
    ),
    "key_twice": (
        b'{"data": [' + ROWS[0] + b'], "data": [' + ROWS[1] + b"]}",
        "one key 'data'",
        "2 of that name",
    ),
    "uneven_columns": (b'{"text": ["a"], "label": []}', "'text' of 1, 'label' of 0"),
    "column_that_is_missing": (b'{"text": ["a"], "labels": [1]}', "one key 'label'"),
}


@cases("content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, content: bytes, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, "a.jsonl", content), words=words)


def test_number_that_goes_on_in_the_next_piece() -> None:
    scanner = json_scanner.JsonScanner(io.BytesIO(b"34 5"), head=b"12")
    assert [scanner.value(), scanner.value()] == [1234, 5]


def test_blank_lines_beside_a_bad_row_are_told(tmp_path: pathlib.Path) -> None:
    content = b'\n{"text" 1}\n\n' + ROWS[0] + b"\n\n"
    lines: list[int] = []
    path = written(tmp_path, "a.jsonl", content)
    read(path, on_blank_line=lines.append)
    assert lines == [1, 3, 5]


def test_text_that_no_row_has_is_named(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.jsonl", json_rows())
    words = ["a.jsonl:1: ", "one key 'tite', at least in one row", "keys 'text'"]
    check_bad_file(path, words=words, text_field="tite,text")


@pytest.mark.parametrize("sign", [b"", b"["])
def test_bad_byte_is_a_bad_row(sign: bytes) -> None:
    bad_row = sign + b'{"text": "\xff", "label": 1}'
    content = bad_row + (b",\n" + ROWS[1] + b"]" if sign else b"\n" + ROWS[1])
    request = Request("a.json", text_field="text", label_field="label")
    bad, good = reader.read(io.BytesIO(content), head=b"", request=request)
    assert isinstance(bad, BadRow)
    assert (
        f"a.json:1: expected UTF-8. Received: byte 0xFF at byte {11 + len(sign)}"
        in (str(bad))
    )
    assert good == (2, {"text": "b", "label": 0})


def test_value_that_is_too_long_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_scanner, "MAX_VALUE_CHARACTERS", 100_000)
    rows = [{"text": "a" * 100, "label": 1}] * 2000
    whole = {name: json.dumps(each).encode() for name, each in {"data": rows}.items()}
    path = written(tmp_path, "a.json", b'{"data": ' + whole["data"] + b"}")
    check_bad_file(path, words=["more than 100000 characters", "jq -c '.data[]'"])
    # What the message advises.
    assert len(read(written(tmp_path, "b.json", whole["data"]))) == 2000


def test_array_is_read_in_constant_memory(tmp_path: pathlib.Path) -> None:
    row = b'{"text": "' + b"word " * 100 + b'", "label": 1}'
    path = written(tmp_path, "a.json", b"[" + b",".join([row] * 8000) + b"]")
    rows = read_rows(path, text_field="text", label_field="label")
    next(rows)
    tracemalloc.start()
    num_rows = sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_rows == 7999 and peak < 2**21

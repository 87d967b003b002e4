"""CSV and TSV: quotes, headers, and rows that are broken among others."""

from __future__ import annotations

import csv
import pathlib

import pytest

from tests.data.readers.files import (
    HEADER,
    LONG_TEXT,
    cases,
    check_bad_file,
    check_bad_row,
    csv_rows,
    read,
    summary,
    written,
)
from trainer.data.readers import delimited
from trainer.data.readers.rows import BadRow

GOOD_FILES = {
    # id: name, content, rows
    "csv": ("a.csv", HEADER + b"good,1\nbad,0\n", (2, "good", "1"), (3, "bad", "0")),
    "other_column_first": ("a.csv", b"id,label,text\n7,1,good\n", (2, "good", "1")),
    "unused_column_twice": ("a.csv", b"text,,label,\na,,1,\n", (2, "a", "1")),
    "tsv": ("a.tsv", b"text\tlabel\na, b\tpos\n", (2, "a, b", "pos")),
    "quoted": ("a.csv", HEADER + b'"a ""b"", c",1\n', (2, 'a "b", c', "1")),
    "quoted_newlines": (
        "a.csv",
        HEADER + b'"a\nb\r\n\nc",1\nd,0\n',
        (2, "a\nb\r\n\nc", "1"),
        (6, "d", "0"),
    ),
    "byte_order_mark_before_quote": (
        "a.csv",
        b'\xef\xbb\xbf"text","label"\na,1\n',
        (2, "a", "1"),
    ),
    "blank_lines": ("a.csv", b"\n" + HEADER + b"\n\na,1\n\r\n", (5, "a", "1")),
    "long_csv_text": (
        "a.csv",
        HEADER + LONG_TEXT.encode() + b",1\n",
        (2, LONG_TEXT, "1"),
    ),
}


@cases("name, content, expected", GOOD_FILES)
def test_rows_and_their_lines(
    tmp_path: pathlib.Path,
    name: str,
    content: bytes,
    expected: tuple[tuple[int, str, str], ...],
) -> None:
    assert summary(read(written(tmp_path, name, content))) == list(expected)


BAD_ROWS = {
    # id: name, content, line of the bad row, words of its message
    "too_few_fields": (
        "a.csv",
        csv_rows(b"a\n"),
        3,
        "expected 2 fields",
        "Received: 1;",
    ),
    "too_many_fields": ("a.csv", csv_rows(b"a,b,1\n"), 3, "Received: 3;", "quotes"),
    "white_space_line": ("a.csv", csv_rows(b"  \n"), 3, "expected 2 fields"),
    "header_again": ("a.csv", csv_rows(HEADER), 3, "the header once more"),
    "invalid_utf8_in_quotes": (
        "a.csv",
        csv_rows(b'"a\nb\xff,\nc",1\n'),
        4,
        "byte 0xFF at byte 2",
    ),
    "text_after_quote": (
        "a.csv",
        csv_rows(b'"a" b,1\n'),
        3,
        "quote opened in line 3",
    ),
}


@cases("name, content, line, words", BAD_ROWS)
def test_bad_row_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, name: str, content: bytes, line: int, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, name, content), line=line, words=words)


def test_unclosed_quote_costs_one_row_and_names_its_line(
    tmp_path: pathlib.Path,
) -> None:
    content = csv_rows(b'"a\nb",1\n', b'c,"1\n', b"d,1\n")

    rows = read(written(tmp_path, "a.csv", content))

    assert summary(rows) == [
        (2, "first", "1"),
        (3, "a\nb", "1"),
        (5, None),
        (6, "d", "1"),
        (7, "last", "0"),
    ]
    assert "a quote opened in line 5" in str(rows[2])


OPEN_QUOTES = {
    # id: record from line 2 on, line of the quote
    "never_closed": (b'"a\nb,1\n', 2),
    "second_field": (b'"a\nb","1\n""c,0\n', 3),
    "third_field": (b'a 5" b,"x\ny","1\nc,0\n', 3),
    "closed_by_the_next_quote": (b'"a,1\nb,0\n"c,""\nd",1\n', 2),
    "closed_by_itself": (b'"a\nb" c,1\n', 2),
}


@pytest.mark.parametrize("record, line", OPEN_QUOTES.values(), ids=OPEN_QUOTES)
def test_line_where_a_broken_quote_opened(
    tmp_path: pathlib.Path, record: bytes, line: int
) -> None:
    bad = read(written(tmp_path, "a.csv", HEADER + record))[0]
    assert isinstance(bad, BadRow) and bad.line == 2
    assert f"a quote opened in line {line}," in bad.received


def test_quote_is_looked_at_as_strictly_after_a_broken_row(
    tmp_path: pathlib.Path,
) -> None:
    broken = b'"a" b,1\n'
    rows = read(written(tmp_path, "a.csv", csv_rows(broken, broken)))
    assert [row.line for row in rows if isinstance(row, BadRow)] == [3, 4]


def test_field_over_the_limit_is_an_open_quote(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "MAX_FIELD_CHARACTERS", 1000)
    before = csv.field_size_limit()
    path = written(tmp_path, "a.csv", HEADER + b'"a\n' + b"b,1\n" * 1000)
    try:
        bad, *good = read(path)
    finally:
        csv.field_size_limit(before)

    assert "quote opened in line 2" in str(bad) and "1000" in str(bad)
    assert len(good) == 1000


BAD_FILES = {
    # id: name, content, words
    "missing_column": (
        "a.csv",
        b"Text,label\na,1\n",
        ":1: expected one column 'text'",
        "columns 'Text', 'label' (did you mean 'Text'?)",
        "--text_field",
    ),
    "missing_label_column": ("a.csv", b"text,y\na,1\n", "'label'", "--label_field"),
    "no_header": ("a.csv", b"a good film,1\n", "columns 'a good film', '1'"),
    "doubled_column": ("a.csv", b"text,label,text\na,1,b\n", "2 of that name"),
    "empty_csv": ("a.csv", b"", "at least one row", "0 bytes"),
    "header_only": ("a.csv", HEADER, "at least one row", "Received: none"),
    "blank_header_line_only": ("a.csv", b"\n\n", "at least one row"),
    "header_no_utf8": (
        "a.csv",
        b"text,caf\xe9\n",
        ":1: expected a header of UTF-8",
        "0xE9",
    ),
    "header_open_quote": ("a.csv", b'"text,label\na,1\n', ":1: expected a header"),
    "json_in_csv": (
        "a.csv",
        b'{"text": "a", "label": 1}\n',
        "Received: JSON",
        ".jsonl",
    ),
    "json_array_in_csv": ("a.csv", b"[\n", "Received: JSON"),
    "tabs_in_csv": ("a.csv", b"text\tlabel\na\t1\n", "by tabs", ".tsv"),
    "semicolons_in_csv": ("a.csv", b"text;label\na;1\n", "by semicolons"),
    "commas_in_tsv": ("a.tsv", HEADER + b"a,1\n", "by commas", ".csv"),
}


@cases("name, content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, name, content), words=words)

"""CSV and TSV: quotes, headers, and rows that are broken among others."""

from __future__ import annotations

import csv
import pathlib
import time

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
from trainer.data.readers import dialects
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
    "header_again_with_a_mark": (
        "a.csv",
        csv_rows(b"\xef\xbb\xbf" + HEADER),
        3,
        "the header once more",
    ),
    "header_again": ("a.csv", csv_rows(HEADER), 3, "the header once more"),
    "invalid_utf8_in_quotes": (
        "a.csv",
        csv_rows(b'"a\nb\xc3,\nc",1\n'),
        4,
        "byte 0xC3 at byte 2",
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
    monkeypatch.setattr(dialects, "MAX_FIELD_CHARACTERS", 1000)
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
        b"text,caf\xc3\n",
        ":1: expected a header of UTF-8",
        "0xC3",
    ),
    "header_open_quote": ("a.csv", b'"text,label\na,1\n', ":1: expected a header"),
    "json_in_csv": (
        "a.csv",
        b'{"text": "a", "label": 1}\n',
        "Received: JSON",
        ".jsonl",
    ),
    "json_array_in_csv": ("a.csv", b"[\n", "Received: JSON"),
}


@cases("name, content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, name: str, content: bytes, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, name, content), words=words)


# A quote that a later row happens to close. By id: content, rows, bad ones as None.
STRAY_QUOTES = {
    "label_last": (
        HEADER + b'a,1\n"b,1\nc,0\n19",0\nd,1\n',
        (2, "a", "1"),
        (3, None),
        (4, "c", "0"),
        (5, '19"', "0"),
        (6, "d", "1"),
    ),
    "separators_in_the_texts": (
        HEADER + b'a,1\n"b, b,1\n19",0\n',
        (2, "a", "1"),
        (3, None),
        (4, '19"', "0"),
    ),
    "label_first": (
        b'label,text\n1,"b\n0,c\n0,19"\n1,d\n0,e\n',
        (2, None),
        (3, "c", "0"),
        (4, '19"', "0"),
        (5, "d", "1"),
        (6, "e", "0"),
    ),
    "first_row": (
        HEADER + b'"b,1\nc,0\n19",0\nd,1\n',
        (2, None),
        (3, "c", "0"),
        (4, '19"', "0"),
        (5, "d", "1"),
    ),
    "no_other_rows": (
        HEADER + b'"b,1\nc,0\nd,1\n19",0\n',
        (2, None),
        (3, "c", "0"),
        (4, "d", "1"),
        (5, '19"', "0"),
    ),
    "blank_lines_between": (
        HEADER + b'a,1\nc,0\n"b,1\n\n\n19",0\n',
        (2, "a", "1"),
        (3, "c", "0"),
        (4, None),
        (7, '19"', "0"),
    ),
    "record_of_too_few_fields": (
        HEADER + b'a,1\nz,0\n"b,1\nc,0\nd, d,"\ne,1\n',
        (2, "a", "1"),
        (3, "z", "0"),
        (4, None),
        (5, "c", "0"),
        (6, None),
        (7, "e", "1"),
    ),
    "one_row_in_a_record_of_too_few_fields": (
        HEADER + b'a,1\nz,0\n"b\nb\nb\nc,0\nd,"\ne,1\n',
        (2, "a", "1"),
        (3, "z", "0"),
        (4, None),
        (5, None),
        (6, None),
        (7, "c", "0"),
        (8, None),
        (9, "e", "1"),
    ),
    "honest_lines_with_separators": (
        HEADER + b'a,1\n"b, 1\nc, 0\n",0\n"Yes, I do\nNo, I do not",1\n',
        (2, "a", "1"),
        (3, "b, 1\nc, 0\n", "0"),
        (6, "Yes, I do\nNo, I do not", "1"),
    ),
    "honest_lines_first": (
        HEADER + b'"a, b\nc, d",1\n"e, f\ng, h\ni, j",0\nk,1\n',
        (2, "a, b\nc, d", "1"),
        (4, "e, f\ng, h\ni, j", "0"),
        (7, "k", "1"),
    ),
}


@cases("content, expected", STRAY_QUOTES)
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_stray_quote_swallows_no_rows(
    tmp_path: pathlib.Path,
    name: str,
    content: bytes,
    expected: tuple[tuple[int, str, str], ...],
) -> None:
    rows = read(written(tmp_path, name, content))
    assert summary(rows) == list(expected)
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert not bad or "a quote opened in line" in bad[0].received


def test_stray_quote_without_labels(tmp_path: pathlib.Path) -> None:
    honest = b'3,"Roses, are red\nViolets, are blue"\n'
    content = b'id,text\n1,a\n2,"b\n12,c\n13,19"\n' + honest
    rows = read(written(tmp_path, "a.csv", content), label_field=None)
    assert summary(rows) == [
        (2, "a", None),
        (3, None),
        (4, "c", None),
        (5, '19"', None),
        (6, "Roses, are red\nViolets, are blue", None),
    ]


def test_quote_that_a_far_row_closes_takes_linear_time(tmp_path: pathlib.Path) -> None:
    def secs(num_rows: int) -> float:
        # Each closes the quote of the one before, and opens one itself.
        part = b'"a,1\n' + b"b,0\n" * 100 + b'c,"\n'
        path = written(tmp_path, "a.csv", HEADER + part * (num_rows // 100))
        before = time.process_time()
        assert len(read(path)) > num_rows
        return time.process_time() - before

    assert secs(64_000) < 50 * secs(4_000)


BACKSLASHES = {
    # id: row, text
    "within_quotes": (rb'"the \"best\", really",1', 'the "best", really'),
    "at_the_end": (rb'"ends in \"",1', 'ends in "'),
    "of_itself": (rb'"a \\ b",1', r"a \ b"),
    "at_the_end_of_itself": (rb'"ends in \\",1', "ends in \\"),
    "of_other_characters": (rb'"C:\new \"x\"",1', r'C:\new "x"'),
    "without_quotes": (rb"19\" wide,1", '19" wide'),
    "over_lines": (b'"a \\"b\nc\\" d",1', 'a "b\nc" d'),
}


@pytest.mark.parametrize("row, text", BACKSLASHES.values(), ids=BACKSLASHES)
def test_quotes_escaped_by_backslash(
    tmp_path: pathlib.Path, row: bytes, text: str
) -> None:
    path = written(tmp_path, "a.csv", HEADER + row + b"\nlast,0\n")
    first, last = read(path, escape="backslash")
    assert summary([first]) == [(2, text, "1")]
    assert summary([last])[0][1:] == ("last", "0")


def test_backslash_before_a_quote_is_named_and_its_mend_mends(
    tmp_path: pathlib.Path,
) -> None:
    path = written(tmp_path, "a.csv", HEADER + b'a,1\n"the \\"best\\", yes",0\nb,1\n')
    words = [
        ":3: ",
        'a backslash before a quote, "the \\"best\\"',
        "--escape=backslash",
    ]
    check_bad_file(path, words=words)
    assert [row[1] for row in summary(read(path, escape="backslash"))] == [
        "a",
        'the "best", yes',
        "b",
    ]
    rows = read(path, escape="doubled")
    assert summary(rows) == [(2, "a", "1"), (3, None), (4, "b", "1")]


def test_backslash_that_is_a_character(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv", HEADER + b'"C:\\",1\n\\n "x",0\n')
    assert summary(read(path)) == [(2, "C:\\", "1"), (3, '\\n "x"', "0")]


def test_field_over_the_limit_without_quotes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "MAX_FIELD_CHARACTERS", 1000)
    before = csv.field_size_limit()
    try:
        bad, good = read(
            written(tmp_path, "a.csv", HEADER + b"a" * 1001 + b",1\nb,0\n")
        )
    finally:
        csv.field_size_limit(before)
    assert "at most 1000 characters" in str(bad)
    assert summary([good]) == [(3, "b", "0")]

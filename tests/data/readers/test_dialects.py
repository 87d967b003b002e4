"""How tables are written: separators, headers, blanks, quotes; and what is refused."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.data.readers.files import (
    HEADER,
    cases,
    check_bad_file,
    read,
    summary,
    written,
)
from trainer.data.readers.rows import BadRow

ONE_ROW = [(2, "a, b", "1")]
TWO_ROWS = [(2, "a", "1"), (3, "b", "0")]

READ = {
    # id: name, content, rows
    "semicolons": ("a.csv", b"text;label\na, b;1\n", *ONE_ROW),
    "tabs_in_csv": ("a.csv", b"text\tlabel\na, b\t1\n", *ONE_ROW),
    "bars": ("a.csv", b"text|label\na, b|1\n", *ONE_ROW),
    "commas_in_tsv": ("a.tsv", b'text,label\n"a, b",1\n', *ONE_ROW),
    "semicolons_in_tsv": ("a.tsv", b"text;label\na, b;1\n", *ONE_ROW),
    "decimal_commas": ("a.csv", b"x;text;label\n0,5;a, b;1\n", *ONE_ROW),
    "sep_line": ("a.csv", b"sep=;\r\ntext;label\r\na, b;1\r\n", (3, "a, b", "1")),
    "sep_line_quoted": ("a.csv", b'"sep=;"\ntext;label\na, b;1\n', (3, "a, b", "1")),
    "sep_line_of_another": ("a.csv", b"sep=^\ntext^label\na, b^1\n", (3, "a, b", "1")),
    "sep_line_of_tabs": ("a.csv", b"sep=\t\ntext\tlabel\na, b\t1\n", (3, "a, b", "1")),
    "windows_line_ends": ("a.csv", b"text;label\r\na, b;1\r\n", *ONE_ROW),
    "quoted_header": ("a.csv", b'"text";"label"\n"a, b";"1"\n', *ONE_ROW),
    "mark_before_quoted_header": (
        "a.csv",
        b'\xef\xbb\xbf"text";"label"\na, b;1\n',
        *ONE_ROW,
    ),
    "blanks_around_names": ("a.csv", b" text , label \na,1\nb,0\n", *TWO_ROWS),
    "blanks_after_separators": ("a.csv", b'label, text\n1, "a, b"\n', *ONE_ROW),
    "blanks_in_rows_alone": ("a.csv", b'label,text\n1, "a, b"\n', *ONE_ROW),
    "leading_blanks_of_texts_stay": (
        "a.csv",
        b"label,text\n1, a\n0,b\n",
        (2, " a", "1"),
        (3, "b", "0"),
    ),
    "blank_lines_above": ("a.csv", b"\n  \n\ntext,label\na,1\n", (5, "a", "1")),
    "separators_at_every_end": ("a.csv", b"text,label,\na,1,\nb,0,\n", *TWO_ROWS),
    "separators_of_the_header_in_another_column": (
        "a.csv",
        b"text,label,a;b\na,1,x\nb,0,y\n",
        *TWO_ROWS,
    ),
    "tsv_quotes_are_characters": (
        "a.tsv",
        b'text\tlabel\n"Great!"\t1\nonly 19"\t0\n',
        (2, '"Great!"', "1"),
        (3, 'only 19"', "0"),
    ),
    "tsv_one_quotation_among_plain": (
        "a.tsv",
        b'text\tlabel\n"Great!"\t1\nfine\t0\n',
        (2, '"Great!"', "1"),
        (3, "fine", "0"),
    ),
    "tsv_all_of_a_column_quoted": (
        "a.tsv",
        b'"text"\t"label"\n"a ""b"""\t1\n"c"\t0\n',
        (2, 'a "b"', "1"),
        (3, "c", "0"),
    ),
    "tsv_quoted_where_needed": (
        "a.tsv",
        b'text\tlabel\na\t1\n"a ""b"""\t1\n"c\td"\t0\n"e\nf"\t1\n',
        (2, "a", "1"),
        (3, 'a "b"', "1"),
        (4, "c\td", "0"),
        (5, "e\nf", "1"),
    ),
    "tsv_quotes_late": (
        "a.tsv",
        b"text\tlabel\n" + b"a\t1\n" * 300 + b'"b ""c"""\t0\n',
        *((line, "a", "1") for line in range(2, 302)),
        (302, 'b "c"', "0"),
    ),
    "tsv_quoted_at_the_end_of_the_sample": (
        "a.tsv",
        b"text\tlabel\n" + b'"a\nb\nc"\t1\n' * 400,
        *((line, "a\nb\nc", "1") for line in range(2, 1202, 3)),
    ),
    "tsv_stray_quote": (
        "a.tsv",
        b'text\tlabel\n"Great\t1\nfine\t0\n19"\t0\n',
        (2, '"Great', "1"),
        (3, "fine", "0"),
        (4, '19"', "0"),
    ),
}


@cases("name, content, expected", READ)
def test_table_is_read(
    tmp_path: pathlib.Path, name: str, content: bytes, expected: tuple[Any, ...]
) -> None:
    assert summary(read(written(tmp_path, name, content))) == list(expected)


WITHOUT_HEADER = {
    # id: content, names, rows
    "commas": (b"a,1\nb,0\n", "text,label", (1, "a", "1"), (2, "b", "0")),
    "semicolons": (b"1;a, b\n0;c\n", "label,text", (1, "a, b", "1"), (2, "c", "0")),
    "quoted": (b'"1","a, b"\n', "label,text", (1, "a, b", "1")),
    "blanks": (b'1, "a, b"\n', "label,text", (1, "a, b", "1")),
    "a_row_among_them_is_bad": (
        b"a,1\nb,0,2\nc,1\n",
        "text,label",
        (1, "a", "1"),
        (2, None),
        (3, "c", "1"),
    ),
    "sep_line": (b"sep=|\na;b|1\n", "text,label", (2, "a;b", "1")),
}


@cases("content, names, expected", WITHOUT_HEADER)
def test_table_without_a_header(
    tmp_path: pathlib.Path, content: bytes, names: str, expected: tuple[Any, ...]
) -> None:
    path = written(tmp_path, "a.csv", content)
    rows = read(path, column_names=tuple(names.split(",")))
    assert summary(rows) == list(expected)


def test_one_column_needs_no_separator(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv", b"text\na; b\nc|d\n")
    rows = read(path, label_field=None)
    assert summary(rows) == [(2, "a; b", None), (3, "c|d", None)]
    path = written(tmp_path, "b.csv", b"a\nb\n")
    rows = read(path, label_field=None, column_names=("text",))
    assert summary(rows) == [(1, "a", None), (2, "b", None)]


NO_HEADER = b'"4","1000","someone","fine"\n"0","1001","someone","bad"\n'
BAD_FILES = {
    # id: content, arguments, words
    "no_header": (NO_HEADER, {}, ":1: ", "no header?", "4 columns", "--column_names="),
    "no_header_sentences": (
        b"It is a fine lamp;good\nIt broke;bad\n",
        {},
        "no header?",
        "--column_names=NAME,NAME;",
    ),
    "no_header_short_texts": (
        b"fine,good\nbad,poor\nbest,good\n",
        {},
        "no header?",
        "2 columns",
    ),
    "lines_in_quotes": (
        b'"text;label"\n"a;1"\n',
        {},
        "in quotes as a whole, 'text;label'",
        "remove the quotes",
    ),
    "html": (b"<!DOCTYPE html>\n<html>\n", {}, "Received: HTML or XML"),
    "git_lfs": (b"version https://git-lfs.github.com/spec/v1\n", {}, "git lfs pull"),
    "capitals": (b"TEXT;LABEL\na;1\n", {}, "(did you mean 'TEXT'?)", "--text_field"),
    "other_names": (b"review;stars\na;1\n", {}, "columns 'review', 'stars'"),
    "lines_above_the_header": (
        b"# made by x\n# 2024\ntext,label\na,1\n",
        {},
        "'# made by x', and the names in line 3",
        "remove what stands above",
    ),
    "too_few_names": (
        NO_HEADER,
        {"column_names": ("text", "label")},
        ":1: expected 2 columns",
        "4 in the first row: '4', '1000', 'someone', 'fine'",
    ),
    "names_without_the_text": (
        b"a,1\nb,0\n",
        {"column_names": ("review", "label")},
        "expected one column 'text'",
    ),
    "header_that_is_there": (
        HEADER + b"a,1\n",
        {"column_names": ("text", "label")},
        "expected no header",
        "leave --column_names away",
    ),
    "two_separators_in_the_header": (
        b"x;text;label;y,text,label\na,b,c\n",
        {},
        "columns x;text;label;y, text, label by commas and columns x, text, label, y",
        "sep=,",
    ),
    "two_separators_without_a_header": (
        b"a,b;1\nc,d;0\n",
        {"column_names": ("text", "label")},
        "'a', 'b;1' by commas and columns 'a,b', '1' by semicolons",
    ),
    "separator_at_every_row_s_end": (
        HEADER + b"a,1,\nb,0,\n",
        {},
        "3 in every row, the last one empty",
        "end the header in ','",
    ),
    "comma_too_many_in_every_row": (
        HEADER + b"a,b,1\nc,d,0\n",
        {},
        ":2: expected 2 fields",
        "3 in every row, as in 'a', 'b', '1'",
        "in quotes",
    ),
    "row_names_without_a_name": (
        b'"text";"label"\n"1";"a";"x"\n"2";"b";"y"\n',
        {},
        "3 in every row",
        "name every column",
    ),
    "rows_of_another_separator": (
        HEADER + b"a;1\nb;0\n",
        {},
        "1 in every row, as in 'a;1'",
    ),
    "header_open_quote": (b'"text,label\na,1\n', {}, ":1: expected a header"),
}


@cases("content, arguments, words", BAD_FILES)
def test_table_is_refused_as_a_whole(
    tmp_path: pathlib.Path,
    content: bytes,
    arguments: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    check_bad_file(written(tmp_path, "a.csv", content), words=words, **arguments)


MENDS = {
    # id: refused content, mended content, mended arguments, rows
    "sep_line": (
        b"x;text;label;y,text,label\na,b,c\n",
        b"sep=,\nx;text;label;y,text,label\na,b,c\n",
        {},
        (3, "b", "c"),
    ),
    "separator_at_the_header_s_end": (
        HEADER + b"a,1,\nb,0,\n",
        b"text,label,\na,1,\nb,0,\n",
        {},
        *TWO_ROWS,
    ),
    "name_of_every_column": (
        b"text;label\n1;a;1\n2;b;0\n",
        b"row;text;label\n1;a;1\n2;b;0\n",
        {},
        *TWO_ROWS,
    ),
    "text_field": (
        b"TEXT;LABEL\na;1\nb;0\n",
        b"TEXT;LABEL\na;1\nb;0\n",
        {"text_field": "TEXT", "label_field": "LABEL"},
        *TWO_ROWS,
    ),
    "lines_removed": (
        b"# x\ntext,label\na,1\nb,0\n",
        HEADER + b"a,1\nb,0\n",
        {},
        *TWO_ROWS,
    ),
    "column_names": (
        b"1,a good film\n0,b\n",
        b"1,a good film\n0,b\n",
        {"column_names": ("label", "text")},
        (1, "a good film", "1"),
        (2, "b", "0"),
    ),
}


@cases("content, mended, arguments, expected", MENDS)
def test_mend_mends(
    tmp_path: pathlib.Path,
    content: bytes,
    mended: bytes,
    arguments: dict[str, Any],
    expected: tuple[Any, ...],
) -> None:
    check_bad_file(written(tmp_path, "a.csv", content), words=[])
    assert summary(read(written(tmp_path, "a.csv", mended), **arguments)) == list(
        expected
    )


def test_one_row_of_another_width_is_a_bad_row(tmp_path: pathlib.Path) -> None:
    rows = read(written(tmp_path, "a.csv", HEADER + b"a,b,1\n"))
    assert [type(row) for row in rows] == [BadRow]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_header_without_rows(tmp_path: pathlib.Path, name: str) -> None:
    check_bad_file(written(tmp_path, name, b"text;label\n"), words=["at least one row"])
    check_bad_file(written(tmp_path, name, b"sep=;\n"), words=["at least one row"])

"""fastText's files: which are, their labels, and lines that have not one."""

from __future__ import annotations

import gzip
import pathlib

import pytest

from tests.data.readers.files import cases, check_bad_file, read, summary, written
from trainer.data.readers.rows import BadRow, Row

CONTENT = "__label__pos A fine film.\n\n__label__sehr-gut\tà la carte \r\n".encode()
ROWS = [(1, "A fine film.", "pos"), (3, "à la carte", "sehr-gut")]


@pytest.mark.parametrize("name", ["a.txt", "a.train", "a", "a.csv"])
def test_content_tells_whatever_the_ending(tmp_path: pathlib.Path, name: str) -> None:
    assert summary(read(written(tmp_path, name, CONTENT))) == ROWS


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf" + CONTENT, gzip.compress(CONTENT)], ids=["mark", "gzip"]
)
def test_mark_and_packing(tmp_path: pathlib.Path, content: bytes) -> None:
    assert summary(read(written(tmp_path, "a.txt", content))) == ROWS


def test_text_alone_is_without_the_label(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.txt", CONTENT)
    assert [
        row.text for row in read(path, label_field=None) if isinstance(row, Row)
    ] == [
        "A fine film.",
        "à la carte",
    ]


BAD_LINES = {
    # id: line 2, words
    "several": (
        b"__label__a __label__b text",
        "several labels a text need --task=multi_label",
        "__label__a __label__b",
    ),
    "far_apart": (b"__label__a text __label__b", "several labels"),
    "none": (b"text", "expected one label, __label__NAME", "Received: none"),
    "after_the_text": (b"text __label__a", "before the text"),
    "no_name": (b"__label__ text", "expected one label, __label__NAME"),
    "no_text": (b"__label__a", "expected a text"),
    "no_utf8": (b"__label__a a\xc3", "byte 0xC3"),
}


@cases("line, words", BAD_LINES)
def test_bad_line_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, line: bytes, words: tuple[str, ...]
) -> None:
    content = b"__label__a first\n" + line + b"\n__label__a last\n"
    first, bad, last = read(written(tmp_path, "a.txt", content))
    assert isinstance(first, Row) and isinstance(last, Row)
    assert isinstance(bad, BadRow) and bad.line == 2
    for word in words:
        assert word in str(bad)


def test_other_column_is_not_there(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.txt", CONTENT)
    check_bad_file(path, words=["one column 'id'"], keep=("id",))

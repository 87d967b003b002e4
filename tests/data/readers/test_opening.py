"""Finding files, opening them, and telling their format."""

from __future__ import annotations

import gzip
import pathlib
import sys
from typing import Any

import pytest

from tests.data.readers.files import (
    HEADER,
    Content,
    cases,
    check_bad_file,
    read,
    summary,
    written,
)
from trainer.data.readers.opening import ENDINGS, OTHER_FORMATS, expand
from trainer.data.readers.reading import READERS
from trainer.data.readers.rows import BadFileError

TEXT = {"label_field": None}
PARQUET = {"text": ["a"], "label": [1]}


def test_every_format_has_a_reader_and_every_reader_a_format() -> None:
    assert {*ENDINGS.values(), *OTHER_FORMATS} == set(READERS)


def test_ending_in_capitals(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "A.CSV", HEADER + b"good,1\n")
    assert summary(read(path)) == [(2, "good", "1")]


BAD_FILES = {
    # id: name, content, arguments, words
    "utf16": ("a.csv", "text,label\n".encode("utf-16"), {}, "UTF-16", "as UTF-8"),
    "parquet_in_csv": ("a.csv", PARQUET, {}, "a Parquet file", ".parquet"),
    "gzip_in_csv": ("a.csv", gzip.compress(HEADER), {}, "a gzip archive", "unpack"),
    "zip_in_jsonl": ("a.jsonl", b"PK\x03\x04", {}, "a zip archive"),
    "gzip_in_text": ("a.txt", gzip.compress(HEADER), TEXT, "a gzip archive"),
    "unknown_ending": ("a.xlsx", b"", {}, "ending in .csv", "Received: .xlsx"),
    "no_ending": ("a", b"", {}, "Received: no ending"),
    "unknown_format": ("a.csv", b"", {"file_format": "xml"}, "format 'xml'"),
    "text_has_no_labels": ("a.txt", b"a\n", {}, "expected texts with labels"),
}


@cases("name, content, arguments, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path,
    name: str,
    content: Content,
    arguments: dict[str, Any],
    words: tuple[str, ...],
) -> None:
    check_bad_file(written(tmp_path, name, content), words=words, **arguments)


def test_folder_missing_file_and_unreadable_file(tmp_path: pathlib.Path) -> None:
    written(tmp_path, "reviews.csv", HEADER)
    below_a_file = ["no folder"] if sys.platform == "win32" else ["Received"]
    for name, words in {
        "": ["Received: a folder", "*.csv"],
        "review.csv": ["did you mean 'reviews.csv'?"],
        "away/reviews.csv": [f"no folder {tmp_path}/away"],
        "reviews.csv/a.csv": below_a_file,
    }.items():
        check_bad_file(str(tmp_path / name), words=words)


def test_expand(tmp_path: pathlib.Path) -> None:
    for name in ("b.csv", "a.csv", "c.tsv", "d[1].csv"):
        written(tmp_path, name, b"")
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep", "e.csv", b"")

    def names(pattern: str) -> list[str]:
        paths = expand(str(tmp_path / pattern))
        return [path[len(str(tmp_path)) + 1 :] for path in paths]

    assert names("a.csv") == ["a.csv"]
    assert names("[ab].csv") == ["a.csv", "b.csv"]
    assert names("d[1].csv") == ["d[1].csv"]
    assert names("**/*.csv") == ["a.csv", "b.csv", "d[1].csv", "deep/e.csv"]


def test_expand_names_what_was_looked_for(tmp_path: pathlib.Path) -> None:
    written(tmp_path, "reviews.csv", b"")
    with pytest.raises(BadFileError) as error:
        expand(str(tmp_path / "revews.csv"))
    assert "revews.csv" in str(error.value)
    assert "did you mean 'reviews.csv'?" in str(error.value)

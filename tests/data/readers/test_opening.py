"""Finding files, opening them, and telling their format."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pathlib
import random
import sys
import zipfile
from typing import Any, Callable

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
    "parquet_in_csv": ("a.csv", PARQUET, {}, "a Parquet file", ".parquet"),
    "zip_in_jsonl": ("a.jsonl", b"PK\x03\x04", {}, "a zip archive", "unzip it"),
    "zip_in_gzip": ("a.csv.gz", gzip.compress(b"PK\x03\x04"), {}, "a zip archive"),
    "zstd": ("a.csv.zst", b"\x28\xb5\x2f\xfd", {}, "a zstd file", "zstd -d"),
    "parquet_in_gzip": (
        "a.parquet.gz",
        gzip.compress(b"PAR1"),
        {},
        "one in gzip",
        "unpack it",
    ),
    "excel_before_2007": (
        "a.xls",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        {},
        "an Excel sheet",
        "save it as CSV UTF-8",
    ),
    "ending_within_gzip": ("a.xml.gz", gzip.compress(b"<a>"), {}, "Received: .xml"),
    "column_names_of_jsonl": (
        "a.jsonl",
        b'{"text": "a", "label": 1}',
        {"column_names": ("text", "label")},
        "leave --column_names away",
    ),
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


SHEETS = {
    # first name in the archive: words
    "[Content_Types].xml": "an Excel sheet",
    "xl/workbook.xml": "an Excel sheet",
    "mimetype": "a LibreOffice sheet",
}


@pytest.mark.parametrize("ending", [".xlsx", ".csv"])
@pytest.mark.parametrize("first_name, words", SHEETS.items(), ids=SHEETS)
def test_sheet_is_named_whatever_its_ending(
    tmp_path: pathlib.Path, ending: str, first_name: str, words: str
) -> None:
    path = str(tmp_path / f"a{ending}")
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(first_name, kind if first_name == "mimetype" else "")
    check_bad_file(path, words=[f"Received: {words}", "save it as CSV UTF-8"])


PACKED = {
    # id: name, pack, the packing in the sentence
    "gzip": ("a.csv.gz", gzip.compress, "gzip"),
    "gzip_in_capitals": ("A.CSV.GZ", gzip.compress, "gzip"),
    "gzip_under_a_wrong_name": ("a.csv", gzip.compress, "gzip"),
    "two_gzips_joined": (
        "a.csv.gz",
        lambda text: gzip.compress(text[:7]) + gzip.compress(text[7:]),
        "gzip",
    ),
    "bzip2": ("a.csv.bz2", bz2.compress, "bzip2"),
    "xz": ("a.csv.xz", lzma.compress, "xz"),
}


@cases("name, pack, words", PACKED)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_packed_file_is_opened_through(
    tmp_path: pathlib.Path,
    encoding: str,
    name: str,
    pack: Callable[[bytes], bytes],
    words: tuple[str],
) -> None:
    settled: list[str] = []
    content = pack("text,label\ntrès,1\n".encode(encoding))
    path = written(tmp_path, name, content)
    assert summary(read(path, on_settled=settled.append)) == [(2, "très", "1")]
    assert f"{words[0]}, separated by ','" in settled[0]


def test_stream_is_opened_through_and_left_open() -> None:
    stream = io.BytesIO(gzip.compress(HEADER + b"a,1\n"))
    assert summary(read(stream, file_format="csv")) == [(2, "a", "1")]
    assert not stream.closed


def test_name_of_a_packed_file_that_is_not(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv.gz", HEADER + b"a,1\n")
    assert summary(read(path)) == [(2, "a", "1")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_packed_file_is_one_clear_error(
    tmp_path: pathlib.Path, pack: Callable[[bytes], bytes], damage: str
) -> None:
    packed = pack(HEADER + random.Random(0).randbytes(4000).hex().encode())
    if damage == "cut":
        packed = packed[: len(packed) // 2]
    else:
        middle = len(packed) // 2
        packed = packed[:middle] + bytes(50) + packed[middle + 50 :]
    path = written(tmp_path, "a.csv.gz", packed)
    check_bad_file(path, words=["damaged or cut short", "copy or pack it again"])


SETTLED = {
    # id: name, content, arguments, the sentence after the file's name
    "text_lines": ("a.txt", b"a\n", TEXT, "UTF-8, text lines"),
    "empty_text": ("a.txt", b"", TEXT, "UTF-8, text lines"),
    "json_lines": ("a.jsonl", b'{"text": "a", "label": 1}', {}, "UTF-8, JSON objects"),
    "parquet": ("a.parquet", PARQUET, {}, "Parquet"),
    "csv": (
        "a.csv",
        b"id;text;label;\n1;a;b;\n",
        {},
        "UTF-8, separated by ';', columns id, text, label; not used: id",
    ),
    "tsv": (
        "a.tsv",
        b"text\tlabel\na\tb\n",
        {"encoding": "cp1252"},
        "cp1252, separated by tabs, columns text, label",
    ),
    "without_a_header": (
        "a.csv",
        b"a,b\n",
        {"column_names": ("text", "label")},
        "UTF-8, separated by ',', without a header, columns text, label",
    ),
}


@cases("name, content, arguments, expected", SETTLED)
def test_what_was_settled_is_said_in_a_sentence(
    tmp_path: pathlib.Path,
    name: str,
    content: Content,
    arguments: dict[str, Any],
    expected: tuple[str],
) -> None:
    settled: list[str] = []
    path = written(tmp_path, name, content)
    read(path, on_settled=settled.append, **arguments)
    assert settled == [f"{path}: {expected[0]}"]


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


def test_expand_sorts_plainly(tmp_path: pathlib.Path) -> None:
    """By characters alone, not as a language or a person would: the same everywhere."""
    in_order = ["Part-1.csv", "part-1.csv", "part-10.csv", "part-2.csv", "pärt.csv"]
    for name in reversed(in_order):
        written(tmp_path, name, b"")
    found = expand(str(tmp_path / "*.csv"))
    assert [pathlib.Path(path).name for path in found] == in_order


def test_expand_names_what_is_elsewhere() -> None:
    with pytest.raises(BadFileError) as error:
        expand("gs://bucket/part-*.csv")
    assert "gs://bucket/part-*.csv: expected files of this machine" in str(error.value)
    assert "Received: an address, gs://; copy them here" in str(error.value)


def test_expand_takes_a_folder_that_is_there_by_its_name(
    tmp_path: pathlib.Path,
) -> None:
    for name in ("set [v2]/a.csv", "set v/b.csv", "set [v2]/what?/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        written(tmp_path, name, b"")

    def names(pattern: str) -> list[str]:
        paths = expand(str(tmp_path / pattern))
        return [path[len(str(tmp_path)) + 1 :] for path in paths]

    assert names("set [v2]/*.csv") == ["set [v2]/a.csv"]
    assert names("set [v2]/what?/*") == ["set [v2]/what?/c.csv"]
    assert names("set [v]/*.csv") == ["set v/b.csv"]
    with pytest.raises(BadFileError, match="no match among the 2 names"):
        names("set [v2]/b.csv")


LISTS = {
    # id: pattern, files
    "two": ("b.csv,a.csv", "b.csv", "a.csv"),
    "comma_at_the_end": ("b.csv,", "b.csv"),
    "blanks": ("b.csv, a.csv", "b.csv", "a.csv"),
    "globs": ("[b]*.csv,deep/*.csv", "b,c.csv", "b.csv", "deep/e.csv"),
    "name_with_a_comma": ("b,c.csv", "b,c.csv"),
    "list_with_such_a_name": ("a.csv,b,c.csv,b.csv", "a.csv", "b,c.csv", "b.csv"),
    "glob_with_a_comma": ("[,a].csv", "a.csv"),
}


@cases("pattern, names", LISTS)
def test_list_of_paths_and_globs(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    names: tuple[str, ...],
) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.csv", "b.csv", "b,c.csv", "b", "c.csv", "deep/e.csv"):
        written(tmp_path, name, b"")
    monkeypatch.chdir(tmp_path)
    assert expand(pattern) == list(names)


BAD_LISTS = {
    # id: pattern, words
    "missing": ("a.csv,x.csv", "x.csv: expected a file of this name"),
    "twice": ("a.csv,b.csv,a.csv", "a.csv: expected each file once", "it twice"),
    "by_a_glob_too": ("*.csv,a.csv", "a.csv: expected each file once"),
    "by_a_link": ("a.csv,link.csv", "link.csv: ", "a.csv, the same file"),
}


@cases("pattern, words", BAD_LISTS)
def test_list_that_names_a_file_wrongly(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    words: tuple[str, ...],
) -> None:
    for name in ("a.csv", "b.csv"):
        written(tmp_path, name, b"")
    if "link" in pattern:
        (tmp_path / "link.csv").symlink_to("a.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadFileError) as error:
        expand(pattern)
    for word in words:
        assert word in str(error.value)


def test_expand_names_what_was_looked_for(tmp_path: pathlib.Path) -> None:
    written(tmp_path, "reviews.csv", b"")
    with pytest.raises(BadFileError) as error:
        expand(str(tmp_path / "revews.csv"))
    assert "revews.csv" in str(error.value)
    assert "did you mean 'reviews.csv'?" in str(error.value)

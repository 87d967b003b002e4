"""Parquet: types of columns, strings that are no UTF-8, damaged files."""

from __future__ import annotations

import io
import pathlib
import subprocess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.readers.files import (
    HEADER,
    Content,
    cases,
    check_bad_file,
    check_bad_row,
    read,
    summary,
    written,
)
from trainer.data.readers.rows import BadFileError

GOOD_FILES = {
    # id: columns, rows
    "parquet": (
        {"label": [1, 0], "id": [7, 8], "text": ["a", "b"]},
        (1, "a", 1),
        (2, "b", 0),
    ),
    "parquet_floats": (
        {"text": ["a", "b"], "label": [1.0, None]},
        (1, "a", 1.0),
        (2, "b", None),
    ),
    "parquet_categories": (
        {"text": ["a"], "label": pa.array(["pos"]).dictionary_encode()},
        (1, "a", "pos"),
    ),
    "parquet_binary": (
        {"text": [b"\xc3\xa9", b"\xe9"], "label": [1, 1]},
        (1, "é", 1),
        (2, None),
    ),
}


@cases("content, expected", GOOD_FILES)
def test_rows_and_their_numbers(
    tmp_path: pathlib.Path, content: Content, expected: tuple[tuple[Any, ...], ...]
) -> None:
    assert summary(read(written(tmp_path, "a.parquet", content))) == list(expected)


def test_string_that_is_no_utf8_is_named_and_the_others_survive(
    tmp_path: pathlib.Path,
) -> None:
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (0, 5, 7, 11))
    strings = pa.py_buffer(b"firsta\xfflast")
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(offsets), strings]
    )
    path = written(tmp_path, "a.parquet", {"text": texts, "label": [1, 1, 0]})
    check_bad_row(path, line=2, words=["byte 0xFF at byte 2 of the value"])


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"] * 100, "label": [1] * 100}), sink)
    return sink.getvalue()


BAD_FILES = {
    # id: content, words
    "missing_column_parquet": (
        {"texts": ["a"], "label": [1]},
        "did you mean 'texts'?",
    ),
    "doubled_column_parquet": (
        pa.Table.from_arrays([pa.array(["a"])] * 3, ["text", "label", "label"]),
        "one column 'label'",
        "2 of that name",
    ),
    "empty_parquet": (b"", "a whole Parquet file"),
    "no_parquet_rows": (
        pa.schema([("text", pa.string()), ("label", pa.int64())]).empty_table(),
        "at least one row",
    ),
    "csv_in_parquet": (HEADER + b"a,1\n", "a whole Parquet file"),
    "truncated_parquet": (parquet_bytes()[:-40], "cut short"),
    "damaged_parquet": (
        parquet_bytes()[:4] + b"\xff" * 40 + parquet_bytes()[44:],
        "damaged",
    ),
}


@cases("content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, content: Content, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, "a.parquet", content), words=words)


def test_parquet_from_a_pipe_is_refused(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.parquet", {"text": ["a"], "label": [1]})
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        with pytest.raises(BadFileError, match="Received: a stream"):
            read(process.stdout, file_format="parquet")  # type: ignore[arg-type]

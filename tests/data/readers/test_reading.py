"""What holds for every format: which rows are read, when, and from what."""

from __future__ import annotations

import io
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from tests.data.readers.files import (
    HEADER,
    Content,
    check_bad_file,
    read,
    summary,
    written,
)
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadRow, Row


def test_without_label_field_labels_are_not_looked_at(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv", b"text,label\na,\n")
    assert read(path, label_field=None) == [Row("a", None, 2)]


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_where_keeps_rows_of_one_value(
    tmp_path: pathlib.Path, file_format: str
) -> None:
    table: dict[str, list[Any]] = {
        "text": ["a", "", "c"],
        "label": [1, 0, 0],
        "source": ["x", "y", "x"],
    }
    rows = [dict(zip(table, row)) for row in zip(*table.values())]
    contents: dict[str, Content] = {
        "csv": "text,label,source\na,1,x\n,0,y\nc,0,x\n".encode(),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "parquet": table | {"source": [b"x", b"y", b"x"]},
    }
    path = written(tmp_path, f"a.{file_format}", contents[file_format])
    kept = read(path, where={"source": "x"})
    assert [row.text for row in kept if isinstance(row, Row)] == ["a", "c"]
    assert len(kept) == 2


def test_missing_where_column(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv", HEADER + b"a,1\n")
    where = {"source": "imdb"}
    check_bad_file(path, words=["one column 'source'"], where=where)


def test_blank_lines_are_told(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.csv", b"\n" + HEADER + b"\na,1\n\n")
    lines: list[int] = []
    read(path, on_blank_line=lines.append)
    assert lines == [1, 3, 5]


def test_stream_is_read_like_a_file_and_left_open() -> None:
    stream = io.BytesIO(HEADER + b"a,1\n")
    assert summary(read(stream, file_format="csv")) == [(2, "a", "1")]
    assert not stream.closed


def test_rows_come_before_the_file_is_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        started = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            line = b"a,1\n" if self.started else HEADER
            self.started = True
            buffer[: len(line)] = line
            return len(line)

    rows = read_rows(
        io.BufferedReader(Endless()),
        text_field="text",
        label_field="label",
        file_format="csv",
    )
    assert [next(rows).line for _ in range(3)] == [2, 3, 4]


def test_imports_neither_tensorflow_nor_pyarrow() -> None:
    command = "import sys, trainer.data.readers.reading; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "trainer.data.readers.reading" in modules
    assert not {"tensorflow", "keras", "pyarrow", "numpy"} & set(modules)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_rows_from_one_on_keep_their_lines(tmp_path: pathlib.Path, name: str) -> None:
    lines = {
        "a.csv": ["text,label", "one,1", "two,0", ",1", "four,0"],
        "a.jsonl": ["", '{"text": "one"}', "", '{"text": "two"}', '{"text": 3}', "{"],
    }
    path = tmp_path / name
    path.write_text("\n".join(lines[name]) + "\n", encoding="utf-8")

    def rows(first_row: int) -> list[Row | BadRow]:
        found = read_rows(
            str(path), text_field="text", label_field=None, first_row=first_row
        )
        return list(found)

    expected = rows(0)
    assert len(expected) == 4
    for first_row in range(6):
        assert rows(first_row) == expected[first_row:]

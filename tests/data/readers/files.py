"""Files of rows for the tests, and rows as a test compares them.

A table of bad rows has, by id: the file's name, its content, the line of its one bad
row, and words of its message:

    BAD_ROWS = {"empty_text": ("a.csv", csv_rows(b",1\\n"), 3, "expected a text")}

    @cases("name, content, line, words", BAD_ROWS)
    def test_bad_row(tmp_path, name, content, line, words):
        check_bad_row(written(tmp_path, name, content), line=line, words=words)
"""

from __future__ import annotations

import pathlib
from typing import Any, BinaryIO, Callable, Mapping, Sequence, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadFileError, BadRow, Row

HEADER = b"text,label\n"
LONG_TEXT = "word " * 500_000

Content: TypeAlias = bytes | dict[str, Any] | pa.Table


def cases(names: str, table: Mapping[str, Sequence[Any]]) -> Callable[..., Any]:
    """One test a line of a table; the last name takes all that is left of the line."""
    num_single = len(names.split(",")) - 1
    rows = [(*row[:num_single], row[num_single:]) for row in table.values()]
    return pytest.mark.parametrize(names, rows, ids=table)


def written(folder: pathlib.Path, name: str, content: Content) -> str:
    """A file of these bytes, or a Parquet file of this table."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        table = pa.table(content) if isinstance(content, dict) else content
        pq.write_table(table, path)
    return str(path)


def csv_rows(*lines: bytes) -> bytes:
    """CSV of a header, the row "first", these lines, and the row "last"."""
    return HEADER + b"first,1\n" + b"".join(lines) + b"last,0\n"


def json_rows(*lines: bytes) -> bytes:
    """JSON Lines of the row "first", these lines, and the row "last"."""
    first, last = b'{"text": "first", "label": 1}\n', b'{"text": "last", "label": 0}\n'
    return first + b"".join(line + b"\n" for line in lines) + last


def read(path: str | BinaryIO, **arguments: Any) -> list[Row | BadRow]:
    """All rows, of the columns `text` and `label` if nothing else is said."""
    arguments = {"text_field": "text", "label_field": "label"} | arguments
    return list(read_rows(path, **arguments))


def summary(rows: Sequence[Row | BadRow]) -> list[tuple[Any, ...]]:
    """Rows as tuples; a bad row as its line, with `None` for a text."""
    return [
        (row.line, None) if isinstance(row, BadRow) else (row.line, row.text, row.label)
        for row in rows
    ]


def check_bad_row(path: str, *, line: int, words: Sequence[str]) -> None:
    """Reads "first", one bad row that names file, line and these words, and "last"."""
    first, bad, last = read(path)
    assert isinstance(first, Row) and first.text == "first"
    assert isinstance(last, Row) and last.text == "last"
    assert isinstance(bad, BadRow) and bad.line == line
    assert str(bad).startswith(f"{path}:{line}: expected ")
    assert ". Received: " in str(bad)
    for word in words:
        assert word in str(bad)


def check_bad_file(path: str, *, words: Sequence[str], **arguments: Any) -> None:
    """Reading fails in a message that names the file and these words."""
    with pytest.raises(BadFileError) as error:
        read(path, **arguments)
    message = str(error.value)
    assert message.startswith(path) and ". Received: " in message
    for word in words:
        assert word in message

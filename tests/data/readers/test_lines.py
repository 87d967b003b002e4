"""Physical lines: their ends, byte-order marks, and bytes that are no text."""

from __future__ import annotations

import io
import pathlib
import time

import pytest

from tests.data.readers.files import (
    HEADER,
    cases,
    check_bad_row,
    csv_rows,
    read,
    summary,
    written,
)
from trainer.data.readers import streams

GOOD_FILES = {
    # id: content, rows
    "no_last_line_end": (HEADER + b"good,1", (2, "good", "1")),
    "byte_order_mark": (b"\xef\xbb\xbf" + HEADER + b"a,1\n", (2, "a", "1")),
    "crlf": (b"text,label\r\na,1\r\nb,0\r\n", (2, "a", "1"), (3, "b", "0")),
    "lone_cr": (b"text,label\ra,1\rb,0\r", (2, "a", "1"), (3, "b", "0")),
}


@cases("content, expected", GOOD_FILES)
def test_rows_and_their_lines(
    tmp_path: pathlib.Path, content: bytes, expected: tuple[tuple[int, str, str], ...]
) -> None:
    assert summary(read(written(tmp_path, "a.csv", content))) == list(expected)


BAD_ROWS = {
    # id: line 3, words of its message
    # Cut in the middle of a character: no other encoding makes a word of it.
    "invalid_utf8": (b"caf\xc3,1\n", "byte 0xC3 at byte 4"),
    "nul_byte": (b"a\0b,1\n", "a NUL byte at byte 2"),
}


@cases("line, words", BAD_ROWS)
def test_bad_row_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, line: bytes, words: tuple[str, ...]
) -> None:
    check_bad_row(written(tmp_path, "a.csv", csv_rows(line)), line=3, words=words)


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 1000])
def test_lines_are_the_same_however_the_file_is_cut(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    content = "text,label\r\n\r\né,1\r\n\n\rb,0".encode()
    rows = read(written(tmp_path, "a.csv", content))
    assert summary(rows) == [(3, "é", "1"), (6, "b", "0")]


def test_a_long_line_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # So that a short line has as many chunks as a long one otherwise.
    monkeypatch.setattr(streams, "CHUNK_BYTES", 2**12)

    def best_secs(num_bytes: int) -> float:
        secs = []
        for _ in range(3):
            stream = io.BytesIO(b"a" * num_bytes)
            before = time.process_time()
            read(stream, file_format="text", label_field=None)
            secs.append(time.process_time() - before)
        return min(secs)

    # Sixteen times as long: copied whole at each chunk, it takes up to 256 times.
    assert best_secs(2**24) < 50 * best_secs(2**20)

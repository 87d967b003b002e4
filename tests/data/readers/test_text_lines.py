"""Plain text: every line counts, also an empty one."""

from __future__ import annotations

import pathlib

from tests.data.readers.files import cases, read, summary, written

TEXT_LINES = {
    # id: content, rows
    "lines": (b"a\nb\n", (1, "a", None), (2, "b", None)),
    "empty_and_blank": (b"\n \r\nc", (1, "", None), (2, " ", None), (3, "c", None)),
    "lone_cr": (b"a\rb\r", (1, "a", None), (2, "b", None)),
    "byte_order_mark": (b"\xef\xbb\xbfa\n", (1, "a", None)),
    "commas_and_quotes": (b'a, "b\n', (1, 'a, "b', None)),
    "invalid": (b"a\n\xc3\nc\n", (1, "a", None), (2, None), (3, "c", None)),
    "empty_file": (b"",),
}


@cases("content, expected", TEXT_LINES)
def test_text_lines_each_count(
    tmp_path: pathlib.Path, content: bytes, expected: tuple[tuple[object, ...], ...]
) -> None:
    path = written(tmp_path, "a.txt", content)
    rows = read(path, label_field=None, allow_empty_text=True)
    assert summary(rows) == list(expected)


def test_empty_text_is_bad_unless_allowed(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.txt", b"a\n\n")
    assert summary(read(path, label_field=None)) == [(1, "a", None), (2, None)]

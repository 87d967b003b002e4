"""Collects strings as Arrow's, where millions of Python's own would not fit.

strings = Strings()
strings.append("A fine film.")
strings.extend(pa.array(["Dull.", "So, so."], pa.large_string()))
strings.joined()    # large_string [3]
"""

from __future__ import annotations

import pyarrow as pa

_ROWS_PER_CHUNK = 4096


class Strings:
    """A column of strings: Python's own are those of one chunk only."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._strings: list[str] = []

    def append(self, string: str) -> None:
        """Adds one at the end."""
        self._strings.append(string)
        if len(self._strings) == _ROWS_PER_CHUNK:
            self._end_chunk()

    def extend(self, strings: pa.Array) -> None:
        """Adds many at the end: large_string [m], kept as they are."""
        self._end_chunk()
        self._chunks.append(strings)

    def joined(self) -> pa.ChunkedArray:
        """All of them: large_string [n]."""
        self._end_chunk()
        return pa.chunked_array(self._chunks, pa.large_string())

    def _end_chunk(self) -> None:
        if self._strings:
            self._chunks.append(pa.array(self._strings, pa.large_string()))
            self._strings.clear()

"""Collects strings as Arrow's, where millions of Python's own would not fit.

strings = Strings()
strings.append("A fine film.")
strings.extend(pa.array(["Dull.", "So, so."], pa.large_string()))
strings.joined()    # large_string [3]
taken(strings.joined(), np.array([2, 0]))   # "So, so.", "A fine film."
"""

from __future__ import annotations

import numpy as np
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
        self._add_chunk(strings)

    def joined(self) -> pa.ChunkedArray:
        """All of them: large_string [n]."""
        self._end_chunk()
        return pa.chunked_array(self._chunks, pa.large_string())

    def _end_chunk(self) -> None:
        if self._strings:
            self._add_chunk(pa.array(self._strings, pa.large_string()))
            self._strings.clear()

    def _add_chunk(self, chunk: pa.Array) -> None:
        self._chunks.append(chunk)


def taken(strings: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Some strings, in the order given; nothing else is copied.

    Arrow's own `take` first makes one array of all chunks, so that three texts of 13 GB
    take 13 GB.

    Args:
      strings: large_string [n].
      rows: int [m].
    """
    rows = np.asarray(rows, np.int64)
    ends = np.cumsum([len(chunk) for chunk in strings.chunks])
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    bounds = np.searchsorted(ascending, [0, *ends])
    parts = [
        chunk.take(pa.array(ascending[first:last] - (end - len(chunk))))
        for chunk, end, first, last in zip(
            strings.chunks, ends.tolist(), bounds[:-1], bounds[1:]
        )
        if last > first
    ]
    if bounds[-1] != len(rows) or (len(rows) and ascending[0] < 0):
        raise IndexError(f"rows must be in [0, {len(strings)})")
    if (np.diff(order) == 1).all():
        return pa.chunked_array(parts, strings.type)
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    one = pa.concat_arrays(parts)
    return pa.chunked_array([one.take(pa.array(places))], strings.type)

r"""Lines of a table of which runs can be taken whole: those that read in one way only.

    lines = LineBlocks(stream, head=b"")
    next(lines)                         # Line(1, "text,label\n", None), as of `lines.py`
    run = lines.clean_run(b",", is_quoted=True)
    run.first_line, run.num_lines       # 2, 3100: no line of them needs a second look
    lines.take(run)

A line is clean where every program reads it alike, as one record: it ends in \n or \r\n,
is not blank, has no NUL, is UTF-8, and each of its quotes opens a field, closes one, or is
doubled within one. Whoever reads records asks for a run only where a record begins: then
each line of the run is a record. How many fields it has is left to its parser.
"""

from __future__ import annotations

import codecs
import itertools
from typing import BinaryIO, Iterator, NamedTuple

import numpy as np

from trainer.data import pairs
from trainer.data.readers.lines import Line, decoded
from trainer.data.readers.streams import chunks_of

# With fewer lines a parser takes longer to start than to parse.
MIN_LINES = 32
# What is looked at at once. More of it costs memory, and saves next to nothing.
_BUFFER_BYTES = 2**20

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_PAIR_SEPARATOR = pairs.SEPARATOR.encode()


class Run(NamedTuple):
    """Lines of which each is one record.

    Attributes:
      content: them, with their ends.
      first_line: the number of the first, from 1.
      num_lines: at least `MIN_LINES`.
    """

    content: memoryview
    first_line: int
    num_lines: int


class LineBlocks:
    """Lines one by one, or many at once."""

    def __init__(self, stream: BinaryIO, *, head: bytes):
        """Begins to read. head: the bytes already taken from the stream."""
        head = head.removeprefix(codecs.BOM_UTF8)
        self._buffers = _buffers(
            itertools.chain([head] if head else [], chunks_of(stream))
        )
        self._buffer = b""
        self._has_returns = False
        self._position = 0
        self._number = 1
        self._looked: _Looked | None = None
        # Before it lines come one by one.
        self._careful_until = 0
        self._max_lines = _BUFFER_BYTES

    def __iter__(self) -> LineBlocks:
        return self

    def __next__(self) -> Line:
        if self._position == len(self._buffer):
            self._fill()
        start, end = self._position, self._end_of_line()
        self._position = end
        self._number += 1
        return decoded(self._number - 1, self._buffer[start:end])

    def clean_run(self, separator: bytes, *, is_quoted: bool | None) -> Run | None:
        """The clean lines that come next, not taken; None: they are too few.

        Args:
          separator: of the fields, one byte.
          is_quoted: whether fields may be quoted; None: nobody knows yet, so that a
            line with a quote is not clean.
        """
        if self._position == len(self._buffer):
            try:
                self._fill()
            except StopIteration:
                return None
        if self._position < self._careful_until:
            return None
        if self._looked is None or self._looked.way != (separator, is_quoted):
            self._looked = _Looked(self._buffer, separator, is_quoted)
        start, end, num_lines = self._looked.run_from(self._position, self._max_lines)
        if num_lines < MIN_LINES:
            # As far as the next line that is not clean, and past it.
            self._careful_until = end + 1
            return None
        content = memoryview(self._buffer)[start:end]
        return Run(content, self._number, num_lines)

    def take(self, run: Run) -> None:
        """Says that a run was used; what comes next comes after it."""
        self._position += len(run.content)
        self._number += run.num_lines
        self._max_lines = min(2 * self._max_lines, _BUFFER_BYTES)

    def leave(self, run: Run) -> None:
        """Says that a run as a whole cannot be used: a part of it may be."""
        if run.num_lines >= 2 * MIN_LINES:
            self._max_lines = run.num_lines // 2
        else:
            self._careful_until = self._position + len(run.content)

    def _fill(self) -> None:
        """Goes to the next buffer; raises StopIteration at the end."""
        self._buffer = next(self._buffers)
        self._has_returns = b"\r" in self._buffer
        self._position = self._careful_until = 0
        self._looked = None

    def _end_of_line(self) -> int:
        end = 1 + self._buffer.find(b"\n", self._position) or len(self._buffer)
        if self._has_returns:
            at = self._buffer.find(b"\r", self._position, end)
            if 0 <= at < end - 1 and self._buffer[at + 1] != _NEWLINE:
                return at + 1
        return end


def _buffers(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut at ends of lines."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        # A line of many chunks is joined once, when its end comes.
        # A chunk that ends with a line is taken as it is, not joined with the next.
        if size < _BUFFER_BYTES // 2 or not (b"\n" in chunk or b"\r" in chunk[:-1]):
            continue
        whole = b"".join(parts)
        # Not after a \r at the end, whose \n may come next.
        end = 1 + (whole.rfind(b"\n") if b"\n" in chunk else whole.rfind(b"\r", 0, -1))
        yield whole[:end]
        parts = [whole[end:]]
        size = len(parts[0])
    if size:
        yield b"".join(parts)


class _Looked:
    """Which lines of a buffer are clean.

    Attributes:
      way: separator and quoting that they were looked at by.
    """

    def __init__(self, buffer: bytes, separator: bytes, is_quoted: bool | None):
        self.way = separator, is_quoted
        signs = np.frombuffer(buffer, np.uint8)
        # One after the end of each line; what has no end is no whole line.
        self._ends = np.flatnonzero(signs == _NEWLINE) + 1
        self._starts = np.concatenate([[0], self._ends])[: len(self._ends)]
        # A pair's separator in a text is rare, and read with care.
        is_dirty = np.full(len(self._ends), _holds(buffer, _PAIR_SEPARATOR))
        if len(is_dirty):
            self._mark(is_dirty, buffer, signs)
            if is_quoted or (is_quoted is None and b'"' in buffer):
                self._mark_quotes(is_dirty, signs, separator, bool(is_quoted))
        self._dirty = np.flatnonzero(is_dirty)

    def run_from(self, position: int, max_lines: int) -> tuple[int, int, int]:
        """Start, end and number of the clean lines from a position on."""
        first = int(np.searchsorted(self._starts, position))
        if first == len(self._starts) or self._starts[first] != position:
            # Within a line that a lone \r has parted, or in one without an end.
            return position, position, 0
        at = int(np.searchsorted(self._dirty, first))
        last = int(self._dirty[at]) if at < len(self._dirty) else len(self._starts)
        num_lines = min(last - first, max_lines)
        end = int(self._ends[first + num_lines - 1]) if num_lines else position
        return position, end, num_lines

    def _mark(self, is_dirty: np.ndarray, buffer: bytes, signs: np.ndarray) -> None:
        """Marks what no quote is to blame for."""
        lengths = self._ends - self._starts
        is_dirty |= lengths == 1
        if b"\r" in buffer:
            returns = np.flatnonzero(signs[:-1] == _RETURN)
            is_lone = signs[returns + 1] != _NEWLINE
            self._mark_lines(is_dirty, returns[is_lone])
            is_dirty |= (lengths == 2) & (signs[self._starts] == _RETURN)
        if b"\0" in buffer:
            self._mark_lines(is_dirty, np.flatnonzero(signs == 0))
        if _holds(buffer, codecs.BOM_UTF8):
            starts = self._starts[signs[self._starts] == codecs.BOM_UTF8[0]]
            self._mark_lines(is_dirty, starts)
        if not buffer.isascii() and not _is_utf8(buffer):
            for number in np.flatnonzero(~is_dirty).tolist():
                line = buffer[self._starts[number] : self._ends[number]]
                is_dirty[number] = not (line.isascii() or _is_utf8(line))

    def _mark_quotes(
        self, is_dirty: np.ndarray, signs: np.ndarray, separator: bytes, allows: bool
    ) -> None:
        """Marks lines with a quote that is not where quotes are to be."""
        quotes = np.flatnonzero(signs == _QUOTE)
        quotes = quotes[quotes < self._ends[-1]]
        if not allows:
            self._mark_lines(is_dirty, quotes)
            return
        bounds = np.searchsorted(quotes, [*self._starts, self._ends[-1]])
        counts = np.diff(bounds)
        is_dirty |= counts % 2 == 1
        place = np.arange(len(quotes)) - np.repeat(bounds[:-1], counts)
        before = np.where(quotes > 0, signs[quotes - 1], _NEWLINE)
        is_start = before == _NEWLINE
        # A line's last sign is its end, so a quote is never the last of all.
        after = signs[quotes + 1]
        sign = separator[0]
        # By turns they open and close: one that opens right after one that closed is a
        # doubled one.
        opens = place % 2 == 0
        is_doubled = (before == _QUOTE) & (place > 0)
        is_right = opens & ((before == sign) | is_start | is_doubled)
        is_end = (after == sign) | (after == _NEWLINE) | (after == _RETURN)
        is_right |= ~opens & (is_end | (after == _QUOTE))
        self._mark_lines(is_dirty, quotes[~is_right])

    def _mark_lines(self, is_dirty: np.ndarray, positions: np.ndarray) -> None:
        """Marks the lines that hold these positions."""
        numbers = np.searchsorted(self._ends, positions, side="right")
        is_dirty[numbers[numbers < len(is_dirty)]] = True


def _holds(buffer: bytes, signs: bytes) -> bool:
    """Whether the signs are in the buffer; rare as the first one is, it is looked for."""
    return signs[:1] in buffer and signs in buffer


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True

r"""Physical lines of a text file, decoded one by one.

    for line in read_lines(stream, head=b""):
        line.number, line.text  # 1, "text,label\n"

A line that cannot be decoded is handed out with its `bad_value`, so that its reader
names the row and continues. Which lines make a row is left to the formats, and other
encodings than UTF-8 to `encodings.py`.
"""

from __future__ import annotations

import codecs
import itertools
from collections import deque
from typing import BinaryIO, Iterator, NamedTuple

from trainer.data.readers.rows import BadValue, bad_utf8
from trainer.data.readers.streams import chunks_of


class Line(NamedTuple):
    """A physical line.

    Attributes:
      number: from 1.
      text: with its end. Where `bad_value` is set, a stand-in that has the line's
        separators and quotes, only good to tell where the row ends.
      bad_value: why the line is no text, else None.
    """

    number: int
    text: str
    bad_value: BadValue | None


def read_lines(stream: BinaryIO, *, head: bytes) -> Iterator[Line]:
    """The lines of a stream in UTF-8, in time and memory linear in the longest.

    Args:
      stream: read from where it stands.
      head: the bytes already taken from its beginning.
    """
    raw_lines = _physical_lines(stream, head=head.removeprefix(codecs.BOM_UTF8))
    for number, raw in enumerate(raw_lines, start=1):
        yield decoded(number, raw)


def _physical_lines(stream: BinaryIO, *, head: bytes) -> Iterator[bytes]:
    r"""Lines with their ends, which may be \n, \r\n or \r, as csv counts them."""
    # The parts of a line whose end has not come: joined once, at its end, for a line
    # of many chunks would otherwise be copied at each.
    parts: list[bytes] = []
    for chunk in itertools.chain([head] if head else [], chunks_of(stream)):
        if parts and _is_ended(parts[-1], before=chunk):
            yield b"".join(parts)
            parts.clear()
        # Of bytes, not of a string: str.splitlines also cuts at U+2028, U+0085 and
        # others, which are characters of a text.
        first, *others = chunk.splitlines(keepends=True)
        parts.append(first)
        if others:
            yield b"".join(parts)
            # The last may continue in the next chunk, or end in \r with its \n there.
            parts = [others.pop()]
            yield from others
    if parts:
        yield b"".join(parts)


def _is_ended(part: bytes, *, before: bytes) -> bool:
    """Whether a line's last part ends it, given the chunk that follows."""
    return part.endswith(b"\n") or part.endswith(b"\r") and not before.startswith(b"\n")


def decoded(number: int, raw: bytes) -> Line:
    """A line of these bytes, its end included."""
    if b"\0" in raw:
        bad_value = BadValue(
            rule="expected text",
            received=f"a NUL byte at byte {raw.index(0) + 1} of the line",
            mend="remove it",
        )
        # The csv module of Python 3.10 refuses a NUL, so the stand-in has a space.
        stand_in = raw.replace(b"\0", b" ").decode("utf-8", "replace")
        return Line(number, stand_in, bad_value)
    try:
        return Line(number, raw.decode("utf-8"), None)
    except UnicodeDecodeError as error:
        # Separators and quotes are ASCII and survive, so the row can still be told
        # from the next one.
        stand_in = raw.decode("utf-8", "replace")
        return Line(number, stand_in, bad_utf8(error, unit="line"))


class Rereadable:
    """Lines that can be looked at before they are read, and put back after."""

    def __init__(self, lines: Iterator[Line]):
        self._lines = lines
        self._next: deque[Line] = deque()

    def __iter__(self) -> Rereadable:
        return self

    def __next__(self) -> Line:
        return self._next.popleft() if self._next else next(self._lines)

    @property
    def has_next(self) -> bool:
        """Whether lines were looked at, or put back, that are not read yet."""
        return bool(self._next)

    def ahead(self, num_lines: int) -> list[Line]:
        """The lines that come next, as many as there are; they stay to be read."""
        missing = num_lines - len(self._next)
        if missing > 0:
            self._next.extend(itertools.islice(self._lines, missing))
        return list(itertools.islice(self._next, num_lines))

    def read_again(self, lines: list[Line]) -> None:
        """Puts lines back, to come next and in their order."""
        self._next.extendleft(reversed(lines))

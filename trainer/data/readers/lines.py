"""Physical lines of a text file, decoded one by one.

    for line in read_lines(stream, head=b""):
        line.number, line.text  # 1, "text,label\n"

A line that cannot be decoded is handed out with its `bad_value`, so that its reader
names the row and continues. Which lines make a row is left to the formats.
"""

from __future__ import annotations

import codecs
from typing import BinaryIO, Iterator, NamedTuple

from trainer.data.readers.rows import BadValue, bad_utf8

_CHUNK_BYTES = 2**20


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
    """The lines of a stream in UTF-8, in constant memory.

    Args:
      stream: read from where it stands.
      head: the bytes already taken from its beginning.
    """
    raw_lines = _physical_lines(stream, head=head.removeprefix(codecs.BOM_UTF8))
    for number, raw in enumerate(raw_lines, start=1):
        yield _decoded(number, raw)


def _physical_lines(stream: BinaryIO, *, head: bytes) -> Iterator[bytes]:
    r"""Lines with their ends, which may be \n, \r\n or \r, as csv counts them."""
    rest = head
    while chunk := stream.read(_CHUNK_BYTES):
        # Of bytes, not of a string: str.splitlines also cuts at U+2028, U+0085 and
        # others, which are characters of a text.
        lines = (rest + chunk).splitlines(keepends=True)
        # The last may continue in the next chunk, or end in \r with its \n there.
        rest = lines.pop()
        yield from lines
    yield from rest.splitlines(keepends=True)


def _decoded(number: int, raw: bytes) -> Line:
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

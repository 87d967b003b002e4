"""Takes JSON values from a stream, one after the other, and knows their lines.

    scanner = JsonScanner(io.BytesIO(b'[{"text": "a"},\\n {"text": "b"}]'), head=b"")
    scanner.take("[")
    scanner.value()  # {"text": "a"}
    scanner.take(",")
    scanner.peek(), scanner.line  # "{", 2

What is in memory is the value at hand and one piece of the file. What the values mean
is left to `json_rows.py`.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from typing import BinaryIO

from trainer.data.readers.nested import DoubledKeys
from trainer.data.readers.rows import BadValue, bad_utf8

# A value that is longer is not read: with Python's objects for what is in it, it takes
# some gigabytes already.
MAX_VALUE_CHARACTERS = 2**28

_PIECE_BYTES = 2**16
_SPACE = re.compile(r"[ \t\n\r]*")
_BLANKS = re.compile(r"[ \t]*")
# How `surrogateescape` writes a byte that is no UTF-8. JSON's own \udcff is six
# characters here, so it is not taken for one.
_BAD_BYTE = re.compile("[\udc80-\udcff]")
# The parser stops within this many characters of where a text is cut: the longest are
# "-Infinity" and an escaped surrogate pair.
_MARGIN = 16


class BrokenJson(BadValue):
    """What is no JSON.

    Attributes:
      line: where, from 1, which may be below the line where the value starts.
    """

    def __init__(self, what: str, *, line: int, column: int):
        super().__init__(
            rule="expected a JSON object",
            received=f"no valid JSON: {what} in line {line}, column {column}",
            mend=(
                "write keys in double quotes, as json.dumps does, and no comma after "
                "the last"
                if "double quotes" in what
                else "mend or remove it"
            ),
        )
        self.line = line


class BadBytes(BadValue):
    """A value that was taken, with a byte in it that is no UTF-8."""


class JsonScanner:
    r"""Takes values and signs from a stream; lines end in \n, \r\n or \r."""

    def __init__(self, stream: BinaryIO, *, head: bytes):
        """See the module; `head`: the bytes already taken from its beginning."""
        self._stream = stream
        self._decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder("utf-8")("surrogateescape"), translate=True
        )
        self._text = self._decoder.decode(head.removeprefix(codecs.BOM_UTF8))
        self._position = 0
        self._line = 1
        self._counted = 0
        # Characters of the line at hand that are not in `_text` any more.
        self._num_dropped = 0
        self._is_read = False
        self._parser = json.JSONDecoder(object_pairs_hook=json_object)

    @property
    def line(self) -> int:
        """The line that comes next, from 1."""
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def peek(self) -> str:
        """The next character that is no white space, not taken; "" at the end."""
        while True:
            self._position = self._end_of_space(self._position)
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_more():
                return ""

    def take(self, sign: str) -> None:
        """Takes one character, white space before it too; raises BrokenJson."""
        if self.peek() != sign:
            raise self.broken(f"Expecting {sign!r}")
        self._position += 1

    def value(self) -> object:
        """Takes a value.

        Objects are dicts, `DoubledKeys` where a key is doubled.

        Raises:
          BrokenJson: there is none; nothing is taken.
          BadBytes: there is one, in which a byte is no UTF-8; it is taken.
          BadValue: it is too long to be read.
        """
        self.peek()
        value, end = self._parsed()
        start, self._position = self._position, end
        if bad_byte := _BAD_BYTE.search(self._text, start, end):
            raise self._bad_bytes(bad_byte.start())
        return value

    def only_value(self) -> object:
        """The value ahead, not taken; None where there is none, or others follow it."""
        self.peek()
        # So that `end` stays right when more is read.
        self._drop_taken()
        try:
            value, end = self._parsed()
        except BrokenJson:
            return None
        while (end := self._end_of_space(end)) == len(self._text):
            if not self._read_more():
                return value
        return None

    def lines_ahead(self, num_characters: int) -> str:
        """The whole lines ahead, with their ends, about so many characters; not taken.

        The first begins where the next value does. "" where no line ends ahead.
        """
        self.peek()
        while len(self._text) - self._position < num_characters:
            if not self._read_more():
                break
        end = self._text.rfind("\n", self._position, self._position + num_characters)
        return self._text[self._position : end + 1]

    def take_lines(self, lines: str) -> None:
        """Takes these lines, which were ahead."""
        self._position += len(lines)

    def rest_of_line(self) -> str:
        """Takes the rest of the line, with its end."""
        while (end := self._text.find("\n", self._position)) < 0:
            if not self._read_more():
                end = len(self._text) - 1
                break
        rest = self._text[self._position : end + 1]
        self._position = end + 1
        return rest

    def is_line_done(self) -> bool:
        """Whether no more than blanks, or another object, follows in the line."""
        blanks = _BLANKS.match(self._text, self._position)
        end = blanks.end() if blanks else self._position
        if end == len(self._text) and self._read_more():
            return self.is_line_done()
        return self._text[end : end + 1] in ("", "\n", "{")

    def is_at_object(self) -> bool:
        """Whether the next character, white space included, begins an object."""
        if self._position == len(self._text):
            self._read_more()
        return self._text.startswith("{", self._position)

    def broken(self, what: str) -> BrokenJson:
        """What to raise for what comes next."""
        return self._broken(what, self._position)

    def _parsed(self) -> tuple[object, int]:
        """The value at the position, and where it ends."""
        while True:
            try:
                value, end = self._parser.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                # Before more is read, which moves the text.
                broken = self._broken(error.msg, error.pos)
                if self._is_cut(error) and self._read_more():
                    continue
                raise broken from None
            # Brackets in brackets, because Python's parser recurses; a number of
            # thousands of digits.
            except (RecursionError, ValueError) as error:
                raise self.broken(str(error)) from None
            # A number may continue in the next piece.
            is_closed = end < len(self._text) or self._text[end - 1] in '}]"'
            if is_closed or not self._read_more():
                return value, end

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether what the parser misses may be in the next piece."""
        # No string has a raw line end, so one that does not end was cut.
        return (
            error.msg.startswith("Unterminated string")
            or len(self._text) - self._end_of_space(error.pos) < _MARGIN
        )

    def _read_more(self) -> bool:
        """Reads at least one more character; False at the end of the stream."""
        if len(self._text) - self._position > MAX_VALUE_CHARACTERS:
            raise BadValue(
                rule="expected JSON objects, one a line or in an array",
                received=f"a value of more than {MAX_VALUE_CHARACTERS} characters",
                mend="write its rows so, for example with jq -c '.data[]' FILE",
            )
        self._drop_taken()
        # As much again, so that a long value is parsed a few times only.
        size = max(_PIECE_BYTES, len(self._text))
        more = ""
        while not more and not self._is_read:
            piece = self._stream.read(size)
            self._is_read = not piece
            more = self._decoder.decode(piece, final=self._is_read)
        self._text += more
        return bool(more)

    def _drop_taken(self) -> None:
        """Forgets the text before the position."""
        self._line = self.line
        self._num_dropped = self._column(self._position) - 1
        self._text = self._text[self._position :]
        self._position = self._counted = 0

    def _end_of_space(self, start: int) -> int:
        match = _SPACE.match(self._text, start)
        return match.end() if match else start

    def _column(self, position: int) -> int:
        start = self._text.rfind("\n", 0, position)
        return position - start + (self._num_dropped if start < 0 else 0)

    def _broken(self, what: str, position: int) -> BrokenJson:
        line = self.line + self._text.count("\n", self._position, position)
        return BrokenJson(what, line=line, column=self._column(position))

    def _bad_bytes(self, position: int) -> BadBytes:
        start = self._text.rfind("\n", 0, position) + 1
        line = self._text[start : position + 1].encode("utf-8", "surrogateescape")
        error = UnicodeDecodeError("utf-8", line, len(line) - 1, len(line), "")
        bad = bad_utf8(error, unit="line")
        return BadBytes(rule=bad.rule, received=bad.received, mend=bad.mend)


def json_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of its pairs, which may name a key twice."""
    plain = dict(pairs)
    # Most objects have each key once, and a plain dict is the smallest.
    return plain if len(plain) == len(pairs) else DoubledKeys(pairs)

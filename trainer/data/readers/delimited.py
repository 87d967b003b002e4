"""Reads CSV and TSV, quoted as spreadsheets and pandas write them.

    stream = io.BytesIO(b'text,label\n"So, so.",0\n')
    list(read_csv(stream, head=b"", request=request))
    # [(2, {"text": "So, so.", "label": "0"})]

The first record is the header. A field may be quoted, the quotes within it doubled,
and a quoted field may span lines. A record that is broken costs itself alone: lines
that its open quote swallowed are read again. All values are strings; which of them
are texts and labels is left to `reading.py`.
"""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections import deque
from typing import BinaryIO, Iterator

from trainer.data.readers.lines import Line, read_lines
from trainer.data.readers.request import Reader, Record, Request, column_positions
from trainer.data.readers.rows import BadFileError, BadRow, BadValue

# A longer field is taken for a quote that was never closed; without a limit such a
# quote would pull the rest of the file into memory.
MAX_FIELD_CHARACTERS = 2**24

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_ENDINGS = {",": ".csv", "\t": ".tsv"}

# First line → the fields of the record that starts there.
_Fields = tuple[int, list[str]]


def _read(
    stream: BinaryIO, /, *, head: bytes, request: Request, delimiter: str
) -> Iterator[Record | BadRow]:
    """One record a row after the header.

    Raises:
      BadFileError: the header is broken, of another format, or lacks a column.
    """
    records = _parse(read_lines(stream, head=head), request, delimiter=delimiter)
    first = next(records, None)
    if first is None:
        return
    if isinstance(first, BadRow):
        # Without a header no row can be read, so this one ends the file.
        raise BadFileError(
            first.file,
            line=first.line,
            rule=f"expected a header of {first.rule.removeprefix('expected ')}",
            received=first.received,
            mend=first.mend,
        )
    line, header = first
    _refuse_other_text(header, request, delimiter=delimiter, line=line)
    positions = column_positions(request, header, line=line)
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        line, fields = record
        if len(fields) != len(header) or fields == header:
            wrong = _wrong_fields(fields, header, delimiter=delimiter)
            yield wrong.at(request.file, line=line)
        else:
            yield line, {name: fields[index] for name, index in positions.items()}


read_csv: Reader = functools.partial(_read, delimiter=",")
read_tsv: Reader = functools.partial(_read, delimiter="\t")


def _parse(
    lines: Iterator[Line], request: Request, *, delimiter: str
) -> Iterator[_Fields | BadRow]:
    """Parses records, which may span lines, and continues after a broken one."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    source = _Rereadable(lines)
    # The lines of the record at hand: csv.reader tells its own count of them only.
    record: list[Line] = []

    def feed() -> Iterator[str]:
        for line in source:
            record.append(line)
            yield line.text

    new_reader = functools.partial(csv.reader, delimiter=delimiter, strict=True)
    reader = new_reader(feed())
    while True:
        record.clear()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            broken = _broken_quote(record, delimiter, error)
            yield broken.at(request.file, line=record[0].number)
            # An open quote swallows lines that may be good rows of their own.
            source.read_again(record[1:])
            # After an error the old one is in the middle of a quoted field.
            reader = new_reader(feed())
            continue
        bad_rows = [
            line.bad_value.at(request.file, line=line.number)
            for line in record
            if line.bad_value
        ]
        if bad_rows:
            yield bad_rows[0]
        elif fields:
            yield record[0].number, fields
        else:
            request.on_blank_line(record[0].number)


class _Rereadable:
    """An iterator whose last lines can be put back, to be read again."""

    def __init__(self, lines: Iterator[Line]):
        self._lines = lines
        self._again: deque[Line] = deque()

    def __iter__(self) -> _Rereadable:
        return self

    def __next__(self) -> Line:
        return self._again.popleft() if self._again else next(self._lines)

    def read_again(self, lines: list[Line]) -> None:
        """Puts lines back, to come next and in their order."""
        self._again.extendleft(reversed(lines))


def _broken_quote(record: list[Line], delimiter: str, error: csv.Error) -> BadValue:
    """Names the line of the quote, which may be far above the line of the error."""
    start = _start_of_broken_field("".join(line.text for line in record), delimiter)
    ends = itertools.accumulate(len(line.text) for line in record)
    number = next(line.number for line, end in zip(record, ends) if start < end)
    return BadValue(
        rule="expected a closed quote, and quotes doubled within a quoted field",
        received=f"a quote opened in line {number}, then: {error}",
        mend="close it, or double the quotes of the text",
    )


def _start_of_broken_field(text: str, delimiter: str) -> int:
    """Where the field starts whose quote is not closed, or closed too early."""
    start = 0
    while True:
        if quoted := _QUOTED.match(text, start):
            end = quoted.end()
            if text[end : end + 1] != delimiter:
                return start
        elif text.startswith('"', start):
            return start
        else:
            end = text.find(delimiter, start)
            if end < 0:
                return 0
        start = end + 1


def _wrong_fields(fields: list[str], header: list[str], *, delimiter: str) -> BadValue:
    if fields == header:
        # Left by joining files end to end.
        return BadValue(
            rule="expected a row",
            received="the header once more",
            mend="remove the line",
        )
    return BadValue(
        rule=f"expected {len(header)} fields, as in the header",
        received=f"{len(fields)}",
        mend=f"put a text that holds {_SEPARATORS[delimiter]} in quotes",
    )


def _refuse_other_text(
    header: list[str], request: Request, *, delimiter: str, line: int
) -> None:
    """Recognizes JSON and other separators in what should be the header."""
    if request.text_field in header:
        return
    other = next((sign for sign in _SEPARATORS if sign in header[0]), delimiter)
    if header[0].lstrip().startswith(("{", "[")):
        received, mend = "JSON", "give it the ending .jsonl, an object a line"
    elif len(header) == 1 and other != delimiter:
        received = f"a header separated by {_SEPARATORS[other]}"
        mend = f"separate fields by {_SEPARATORS[delimiter]}"
        if other in _ENDINGS:
            mend += f", or give it the ending {_ENDINGS[other]}"
    else:
        return
    raise BadFileError(
        request.file,
        line=line,
        rule=f"expected fields separated by {_SEPARATORS[delimiter]}",
        received=received,
        mend=mend,
    )

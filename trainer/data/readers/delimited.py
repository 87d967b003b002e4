"""Reads CSV and TSV, quoted as spreadsheets and pandas write them.

    stream = io.BytesIO(b'text,label\n"So, so.",0\n')
    list(read_csv(stream, head=b"", request=request))
    # [(2, {"text": "So, so.", "label": "0"})]

How the table is written, `dialects.py` settles. A field may be quoted, the quotes
within it doubled, and a quoted field may span lines. A record that is broken costs
itself alone: lines that its open quote swallowed are read again, also where another
row's quote happens to close it. All values are strings; which of them are texts and
labels is left to `reading.py`.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import itertools
import re
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Iterator, Mapping, Sequence

from trainer.data.readers import dialects
from trainer.data.readers.dialects import SEPARATORS, Dialect, begins_quoted
from trainer.data.readers.lines import Line, Rereadable, read_lines
from trainer.data.readers.request import (
    Block,
    Reader,
    Record,
    Request,
    column_positions,
)
from trainer.data.readers.rows import BadFileError, BadRow, BadValue

if TYPE_CHECKING:
    # For types alone: who reads a small table does not wait for them.
    import pyarrow as pa
    from trainer.data.readers.line_blocks import LineBlocks
    from trainer.data.readers.table_blocks import CleanBlocks

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_ESCAPED = re.compile(r'\\(["\\])')
# Stands for an escaped quote while a line is parsed: no character of any text.
_QUOTE_SIGN = "\ufdd0"
# Lines that tell the values of a column where no row has yet.
_LINES_AHEAD = 50
_MAX_VALUES = 1000

# First line → the fields of the record that starts there.
_Fields = tuple[int, list[str]]


def _read(
    stream: BinaryIO, /, *, head: bytes, request: Request, separator: str
) -> Iterator[Record | BadRow | Block]:
    """One record a row after the header.

    Raises:
      BadFileError: the header is broken, of another format, or lacks a column; the
        table can be read in more than one way.
    """
    is_escaped = request.escape == "backslash"
    blocks = None if is_escaped else _blocks(stream, head, request)
    if blocks is None:
        lines = read_lines(stream, head=head)
        source = Rereadable(map(_without_backslashes, lines) if is_escaped else lines)
    else:
        source = Rereadable(blocks)
    dialect = dialects.settled(source, request, own_separator=separator)
    if dialect is None:
        return
    request.on_settled(dialect.in_words(request))
    header = list(dialect.columns)
    positions = column_positions(request, header, line=dialect.header_line)
    clean = _clean(blocks, request, dialect, positions) if blocks else None
    for record in _Parser(source, request, dialect, clean).records():
        if isinstance(record, (BadRow, Block)):
            yield record
            continue
        line, fields = record
        if is_escaped:
            fields = [field.replace(_QUOTE_SIGN, '"') for field in fields]
        if len(fields) != len(header) or _is_header(fields, header):
            wrong = _wrong_fields(fields, header, separator=dialect.separator)
            yield wrong.at(request.file, line=line)
        else:
            yield line, {name: fields[index] for name, index in positions.items()}


read_csv: Reader = functools.partial(_read, separator=",")
read_tsv: Reader = functools.partial(_read, separator="\t")


def _blocks(stream: BinaryIO, head: bytes, request: Request) -> LineBlocks | None:
    """The lines, of which many can be taken at once; None: nobody wants that."""
    if not (request.wants_blocks and request.has_plain_fields):
        return None
    from trainer.data.readers.line_blocks import LineBlocks

    return LineBlocks(stream, head=head)


def _clean(
    lines: LineBlocks, request: Request, dialect: Dialect, positions: Mapping[str, int]
) -> CleanBlocks | None:
    """What takes rows together; None: this table cannot be read so."""
    from trainer.data.readers import table_blocks

    if not table_blocks.can_be_read(dialect):
        return None
    return table_blocks.CleanBlocks(lines, request, dialect, positions)


def _without_backslashes(line: Line) -> Line:
    """A line with a sign for each escaped quote; other backslashes are characters."""
    if "\\" not in line.text:
        return line
    text = _ESCAPED.sub(
        lambda match: _QUOTE_SIGN if match[1] == '"' else "\\", line.text
    )
    return line._replace(text=text)


class _Parser:
    """Parses records, which may span lines, and continues after a broken one."""

    def __init__(
        self,
        source: Rereadable,
        request: Request,
        dialect: Dialect,
        clean: CleanBlocks | None,
    ) -> None:
        self._source, self._request, self._dialect = source, request, dialect
        self._clean = clean
        self._values = _Values(request, dialect)
        # None: TSV of which no field has begun with a quote yet. It reads either way.
        self._is_quoted = None if dialect.separator == "\t" else True
        # Lines of the record at hand: csv.reader tells its own count of them only.
        self._record: list[Line] = []
        self._has_rows = False
        self._start_reader()

    def _start_reader(self) -> None:
        self._reader = self._dialect.reader(
            self._feed(), is_quoted=bool(self._is_quoted)
        )

    def _feed(self) -> Iterator[str]:
        for line in self._source:
            self._record.append(line)
            yield line.text

    def records(self) -> Iterator[_Fields | BadRow | Block]:
        """The records after the header, and bad rows in the places of others."""
        while True:
            self._record.clear()
            block = self._next_block()
            if block is not None:
                yield block
                continue
            if self._is_quoted is None:
                self._settle_quotes()
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._broken(error)
                continue
            self._has_rows = True
            result = self._checked(fields)
            if result is not None:
                yield result

    def _next_block(self) -> Block | None:
        """The records that come next, if they need no second look."""
        # Lines that were looked at ahead, or are read again, come one by one.
        if self._clean is None or self._source.has_next:
            return None
        block = self._clean.take(is_quoted=self._is_quoted)
        if block is not None:
            self._has_rows = True
            self._values.learn_columns(block.columns)
        return block

    def _settle_quotes(self) -> None:
        """Decides what quotes are, at the first line where it matters."""
        ahead = self._source.ahead(1)
        if ahead and begins_quoted(ahead[0].text, self._dialect.separator):
            self._is_quoted = dialects.is_quoted_throughout(
                self._source, self._dialect, is_after_rows=self._has_rows
            )
            self._start_reader()

    def _broken(self, error: csv.Error) -> BadRow:
        _refuse_backslashes(self._record, self._request, self._dialect)
        broken = _broken_record(self._record, self._dialect, error)
        bad_row = broken.at(self._request.file, line=self._record[0].number)
        # An open quote swallows lines that may be good rows of their own.
        self._source.read_again(self._record[1:])
        # After an error the old one is in the middle of a quoted field.
        self._start_reader()
        return bad_row

    def _checked(self, fields: list[str]) -> _Fields | BadRow | None:
        """A parsed record, if it is one; None for a blank line."""
        record, first = self._record, self._record[0].number
        for line in record:
            if line.bad_value:
                return line.bad_value.at(self._request.file, line=line.number)
        if not fields:
            self._request.on_blank_line(first)
            return None
        if len(record) > 1:
            if self._values.are_rows(record, fields, self._source):
                self._source.read_again(record[1:])
                return _swallowed(record).at(self._request.file, line=first)
        self._values.learn(fields)
        return first, fields


class _Values:
    """Knows rows by their values, to tell lines of a text from rows of the table.

    A quote that was never meant to be one, and is closed by one of a later row, makes
    a text of whole rows. A line looks like a row if it has the label of another row in
    the right place; where no labels are read, a value as others have it in any column
    besides the text. A text that is quoted rightly may have lines with as many
    separators, but hardly with a label after them.
    """

    def __init__(self, request: Request, dialect: Dialect) -> None:
        columns = list(dialect.columns)
        self._dialect = dialect
        texts = request.text_fields_in(columns)
        # Of several, the last is likeliest to be the long one.
        self._text = columns.index(texts[-1])
        self._has_labels = request.label_field is not None
        labels = request.label_fields_in(columns)
        self._values: Mapping[int, set[str]] = {
            position: set()
            for position, name in enumerate(columns)
            if (name in labels) or (name not in texts and not self._has_labels)
        }

    def learn(self, fields: Sequence[str]) -> None:
        """Remembers a row."""
        if len(fields) == len(self._dialect.columns):
            for position, values in self._values.items():
                if len(values) < _MAX_VALUES:
                    values.add(self._plain(fields[position]))

    def learn_columns(self, columns: Mapping[str, pa.Array]) -> None:
        """Remembers many rows, of which these fields are known: all with labels are."""
        for position, values in self._values.items():
            if len(values) < _MAX_VALUES:
                labels = columns[self._dialect.columns[position]]
                # In the order in which rows have them.
                for value in labels.unique().to_pylist():
                    if len(values) < _MAX_VALUES:
                        values.add(self._plain(value))

    def are_rows(
        self, record: Sequence[Line], fields: Sequence[str], source: Rereadable
    ) -> bool:
        """Whether the lines of a record look like rows of their own.

        Half of them will do where labels tell, and else it takes all. A record that is
        no row itself, by its number of fields, is judged by any of them.
        """
        lines = [line for line in record if line.text.strip()]
        if self._values and not any(self._values.values()):
            self._learn_from(lines, source)
        least = 0.5 if self._has_labels else 1.0
        if len(fields) != len(self._dialect.columns):
            least = 1 / len(record)
        return any(
            self._share_alike(lines, position) >= least for position in self._values
        )

    def _learn_from(self, lines: Sequence[Line], source: Rereadable) -> None:
        """What no row has told yet: the next rows do, or values that repeat."""
        ahead = (line.text for line in source.ahead(_LINES_AHEAD))
        with contextlib.suppress(csv.Error):
            for fields in self._dialect.reader(ahead, is_quoted=True):
                if not any("\n" in field for field in fields):
                    self.learn(fields)
        for position, values in self._values.items():
            if not values:
                counts = Counter(self._value(line, position) for line in lines)
                values |= {value or "" for value, n in counts.items() if n > 1}

    def _share_alike(self, lines: Sequence[Line], position: int) -> float:
        """Of the lines but the one that holds the record's own value."""
        others = lines[1:] if position < self._text else lines[:-1]
        are_alike = [self._is_alike(line, position) for line in others]
        return sum(are_alike) / max(len(are_alike), 1)

    def _is_alike(self, line: Line, position: int) -> bool:
        value, values = self._value(line, position), self._values[position]
        if value is None or self._has_labels or not values:
            return value in values
        # Ids are numbers, each another one.
        return value in values or all(map(str.isdecimal, (value, *values)))

    def _value(self, line: Line, position: int) -> str | None:
        """What a line has in a column if it is a row, separators in its text or not."""
        fields, width = self._split(line), len(self._dialect.columns)
        if len(fields) < width:
            return None
        return self._plain(fields[position - (width if position > self._text else 0)])

    def _split(self, line: Line) -> list[str]:
        return line.text.rstrip("\r\n").split(self._dialect.separator)

    def _plain(self, value: str) -> str:
        return value.strip(' "' if self._dialect.skips_blanks else '"')


def _swallowed(record: Sequence[Line]) -> BadValue:
    return BadValue(
        rule="expected quotes around a field, or doubled within a quoted one",
        received=f"a quote opened in line {record[0].number} that one in line "
        f"{record[-1].number} closes, and whole rows between them",
        mend="remove the quote, or quote the field and double the quotes in it",
    )


def _refuse_backslashes(
    record: Sequence[Line], request: Request, dialect: Dialect
) -> None:
    """Raises BadFileError for a broken record that backslashes before quotes mend."""
    if request.escape != "auto" or '\\"' not in record[0].text:
        return
    lines = (_without_backslashes(line).text for line in record)
    try:
        fields = next(dialect.reader(lines, is_quoted=True))
    except csv.Error:
        return
    if len(fields) == len(dialect.columns):
        at = record[0].text.index('\\"')
        # As it stands: a string's own notation would double the backslash.
        sample = record[0].text[max(0, at - 20) : at + 20].strip()
        raise BadFileError(
            request.file,
            line=record[0].number,
            rule="expected quotes doubled within a quoted field",
            received=f"a backslash before a quote, {sample}",
            mend="if the file writes quotes so, read it with --escape=backslash; with "
            "--escape=doubled such a row alone counts as bad",
        )


def _broken_record(
    record: Sequence[Line], dialect: Dialect, error: csv.Error
) -> BadValue:
    is_long_line = len(record) == 1 and "limit" in str(error)
    if is_long_line and not begins_quoted(record[0].text, dialect.separator):
        return BadValue(
            rule=f"expected fields of at most {dialects.MAX_FIELD_CHARACTERS} characters",
            received="a longer one",
            mend="shorten it or remove the row",
        )
    return _broken_quote(record, dialect.separator, error)


def _broken_quote(record: Sequence[Line], delimiter: str, error: csv.Error) -> BadValue:
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


def _is_header(fields: Sequence[str], header: Sequence[str]) -> bool:
    names = map(dialects.plain_name, fields)
    # The first tells of nearly all rows that they are none.
    return next(names) == header[0] and list(names) == list(header[1:])


def _wrong_fields(
    fields: Sequence[str], header: Sequence[str], *, separator: str
) -> BadValue:
    if len(fields) == len(header):
        # Left by joining files end to end.
        return BadValue(
            rule="expected a row",
            received="the header once more",
            mend="remove the line",
        )
    return BadValue(
        rule=f"expected {len(header)} fields, as in the header",
        received=f"{len(fields)}",
        mend=f"put a text that holds {SEPARATORS.get(separator, separator)} in quotes",
    )

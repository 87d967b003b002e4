"""Reads labelled texts from CSV, TSV, JSONL, Parquet and plain text files.

Rows come one at a time, in the file's order, in constant memory. Fields of CSV and
TSV may be quoted, the quotes within them doubled; JSONL is an object a line. A row that cannot
be used is handed out as a `BadRow` that names file, line, what was expected, what
was found and the mend; a file that is wrong as a whole raises `BadFileError`.

    for row in read_rows("reviews.csv", text_field="text", label_field="label"):
        if isinstance(row, BadRow):
            print(row)  # reviews.csv:7: expected a label; found nothing; ...

Whether a bad row stops the run, which labels exist and what number each gets is
left to `sources.py`.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import difflib
import functools
import glob
import itertools
import json
import math
import os
import re
from collections import deque
from typing import (
    Any,
    BinaryIO,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    NamedTuple,
)

# A longer CSV field is taken for a quote that was never closed; without a limit
# such a quote would pull the rest of the file into memory.
MAX_CSV_FIELD_CHARACTERS = 2**24

_CHUNK_BYTES = 2**20
_PARQUET_BATCH_ROWS = 256
_HEAD_BYTES = 8

_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}

# First bytes → what the file is, and what to do. Text formats are told apart later,
# by their first line.
_MAGIC = {
    b"PAR1": ("a Parquet file", "give it the ending .parquet"),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"PK\x03\x04": ("a zip archive or an Excel sheet", "unpack it, or save it as CSV"),
    b"BZh": ("a bzip2 archive", "unpack it"),
    b"\xfd7zXZ\x00": ("an xz archive", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it"),
    codecs.BOM_UTF16_LE: ("UTF-16 (by its byte-order mark)", "save it as UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16 (by its byte-order mark)", "save it as UTF-8"),
}

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}

PathOrStream = str | os.PathLike[str] | BinaryIO


@dataclasses.dataclass(frozen=True)
class Row:
    """One usable row.

    Attributes:
      text: valid Unicode without NUL; not blank, unless that was allowed.
      label: as the file has it, not yet a class: always a string in CSV and TSV.
        None when no label field was asked for.
      line: the physical line where the row starts, or the row number in Parquet;
        both from 1.
    """

    text: str
    label: str | int | None
    line: int


@dataclasses.dataclass(frozen=True)
class BadRow:
    """One row that cannot be used, and why. `line` is where to look, from 1."""

    file: str
    line: int
    expected: str
    found: str
    mend: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: expected {self.expected}; "
            f"found {self.found}; {self.mend}"
        )


class BadFileError(ValueError):
    """A file that cannot be used at all."""

    def __init__(
        self, file: str, *, expected: str, found: str, mend: str, line: int = 0
    ):
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: expected {expected}; found {found}; {mend}")


class _Flaw(Exception):
    """What is wrong with one value or line, before it is known where that is."""

    def __init__(self, *, expected: str, found: str, mend: str):
        super().__init__(expected, found, mend)
        self.expected, self.found, self.mend = expected, found, mend

    def at(self, file: str, line: int) -> BadRow:
        return BadRow(file, line, self.expected, self.found, self.mend)


class _Line(NamedTuple):
    """A physical line with its end. One that has a flaw is not to be used as text."""

    number: int
    text: str
    flaw: _Flaw | None


@dataclasses.dataclass(frozen=True)
class _Request:
    """What to read from which file."""

    file: str
    text_field: str
    label_field: str | None
    where: Mapping[str, str]
    on_blank_line: Callable[[int], None]

    @property
    def fields(self) -> list[str]:
        label = [] if self.label_field is None else [self.label_field]
        return list(dict.fromkeys([self.text_field, *label, *self.where]))

    def is_wanted(self, values: Mapping[str, object]) -> bool:
        return all(
            values[name] in (value, value.encode())
            for name, value in self.where.items()
        )


# Line → the requested fields of the row that starts there.
_Record = tuple[int, Mapping[str, object]]
_Reader = Callable[[BinaryIO, bytes, _Request], Iterator[_Record | BadRow]]


def read_rows(
    path: PathOrStream,
    *,
    text_field: str,
    label_field: str | None,
    file_format: str = "auto",
    allow_empty_text: bool = False,
    where: Mapping[str, str] | None = None,
    on_blank_line: Callable[[int], None] = lambda line: None,
) -> Iterator[Row | BadRow]:
    """Reads the rows of one file, in order.

    Args:
      path: the file, or a binary stream (not closed here).
      text_field: name of the column with the text (not used for text lines).
      label_field: name of the column with the label. None: labels are not read.
      file_format: csv, tsv, jsonl, parquet or text (one text a line); "auto" goes
        by the file's ending.
      allow_empty_text: hand out empty and white-space-only texts as rows.
      where: column → value; only rows that have these values are read.
      on_blank_line: called with the number of each empty line that is no row.

    Yields:
      A `Row`, or a `BadRow` in the place of one that cannot be used.

    Raises:
      BadFileError: the file is missing, of another format, without the columns, or
        (except for text lines) without any row. Raised when iteration gets there.
    """
    with _opened(path) as (file, stream):
        file_format = _format(file, file_format)
        request = _Request(file, text_field, label_field, where or {}, on_blank_line)
        head = stream.read(_HEAD_BYTES)
        _refuse_other_formats(file, file_format, head, label_field)
        is_empty = file_format != "text"
        for record in _READERS[file_format](stream, head, request):
            is_empty = False
            if isinstance(record, BadRow):
                yield record
            elif request.is_wanted(record[1]):
                yield _row_of(record, request, allow_empty_text=allow_empty_text)
        if is_empty:
            raise BadFileError(
                file,
                expected="at least one row",
                found="none" if head else "an empty file (0 bytes)",
                mend="give a file with rows",
            )


def _row_of(
    record: _Record, request: _Request, *, allow_empty_text: bool
) -> Row | BadRow:
    line, values = record
    return checked_row(
        values[request.text_field],
        None if request.label_field is None else values[request.label_field],
        file=request.file,
        line=line,
        has_label=request.label_field is not None,
        allow_empty_text=allow_empty_text,
    )


def checked_row(
    text: object,
    label: object,
    *,
    file: str,
    line: int,
    has_label: bool = True,
    allow_empty_text: bool = False,
) -> Row | BadRow:
    """Makes a row of two values of any type, or says why they make none.

    Args:
      text: a string, or bytes of UTF-8.
      label: a string, bytes of UTF-8, or a whole number (2.0 counts as 2).
      file: where they come from, for the message.
      line: line or row number, from 1, for the message.
      has_label: whether a label is needed; if not, `label` is not looked at.
      allow_empty_text: whether a text may be empty or white space only.
    """
    try:
        return Row(
            _checked_text(text, allow_empty=allow_empty_text),
            _checked_label(label) if has_label else None,
            line,
        )
    except _Flaw as flaw:
        return flaw.at(file, line)


def expand(pattern: str) -> list[str]:
    """The files a path or glob stands for, sorted.

    Raises:
      BadFileError: there is none. The message says what was looked for.
    """
    path = os.path.expanduser(pattern)
    # A file's own name may hold the characters of a glob: reviews[1].csv.
    found = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
    if not found:
        raise _missing(path)
    return found


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question to append to a message, or an empty string if none is alike."""
    by_plain_name = {other.strip().lower(): other for other in names}
    alike = difflib.get_close_matches(name.strip().lower(), by_plain_name, n=1)
    return f" (did you mean {by_plain_name[alike[0]]!r}?)" if alike else ""


def shown(value: object, *, limit: int = 60) -> str:
    """A value as a message shows it: quoted, and cut where it is long."""
    cut = value[:limit] if isinstance(value, (str, bytes)) else value
    text = repr(cut)
    is_cut = len(text) > limit + 2 or cut != value
    return text[: limit + 2] + "..." if is_cut else text


# Opening a file, and telling what it is.


@contextlib.contextmanager
def _opened(path: PathOrStream) -> Iterator[tuple[str, BinaryIO]]:
    if not isinstance(path, (str, os.PathLike)):
        yield str(getattr(path, "name", "<input>")), path
        return
    file = os.fspath(path)
    if os.path.isdir(file):
        raise BadFileError(
            file,
            expected="a file",
            found="a folder",
            mend=f"name the files in it, for example {os.path.join(file, '*.csv')}",
        )
    try:
        stream = open(file, "rb")
    except FileNotFoundError:
        raise _missing(file) from None
    except OSError as error:
        raise BadFileError(
            file,
            expected="a file that can be read",
            found=str(error.strerror),
            mend="check its permissions",
        ) from error
    with stream:
        yield file, stream


def _missing(path: str) -> BadFileError:
    folder, name = os.path.split(path)
    folder = folder or os.curdir
    if glob.has_magic(folder):
        found = "no match"
    elif not os.path.isdir(folder):
        found = f"no folder {folder}"
    else:
        names = sorted(os.listdir(folder))
        found = f"no match among the {len(names)} names in {folder}"
        found += did_you_mean(name, names)
    return BadFileError(
        path, expected="a file of this name", found=found, mend="check the path"
    )


def _format(file: str, file_format: str) -> str:
    if file_format == "auto":
        file_format = _ENDINGS.get(os.path.splitext(file)[1].lower(), file_format)
    if file_format not in _READERS:
        raise BadFileError(
            file,
            expected=f"a file ending in {', '.join(_ENDINGS)}",
            found=(
                f"{os.path.splitext(file)[1] or 'no ending'}"
                if file_format == "auto"
                else f"format {file_format!r}"
            ),
            mend="rename or convert the file",
        )
    return file_format


def _refuse_other_formats(
    file: str, file_format: str, head: bytes, label_field: str | None
) -> None:
    if file_format == "text" and label_field is not None:
        raise BadFileError(
            file,
            expected="texts with labels",
            found="a file of text lines, which has none",
            mend="use .csv, .tsv, .jsonl or .parquet",
        )
    for magic, (what, mend) in _MAGIC.items():
        if head.startswith(magic) and not (
            file_format == "parquet" and magic == b"PAR1"
        ):
            raise BadFileError(
                file, expected=f"{file_format} in UTF-8", found=what, mend=mend
            )


def _positions(request: _Request, columns: list[str], *, line: int) -> dict[str, int]:
    """Field → position among the columns of a table that has one header."""
    for field in request.fields:
        if columns.count(field) != 1:
            missing = field not in columns
            hint = did_you_mean(field, columns) if missing else ""
            raise BadFileError(
                request.file,
                line=line,
                expected=f"one column {field!r}",
                found=(
                    (f"columns {', '.join(map(shown, columns[:20]))}{hint}")
                    if missing
                    else f"{columns.count(field)} of that name"
                ),
                mend=_flag_mend(request, field) if missing else "rename all but one",
            )
    return {field: columns.index(field) for field in request.fields}


def _flag_mend(request: _Request, field: str) -> str:
    flags = {request.text_field: "text_field", request.label_field: "label_field"}
    return f"name the column with --{flags[field]}" if field in flags else "add it"


# Text, split into lines.


def _lines_of(stream: BinaryIO, head: bytes) -> Iterator[_Line]:
    raw_lines = _physical_lines(stream, head.removeprefix(codecs.BOM_UTF8))
    for number, raw in enumerate(raw_lines, start=1):
        yield _decoded(number, raw)


def _physical_lines(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    r"""Lines with their ends, which may be \n, \r\n or \r, as csv counts them."""
    rest = head
    while chunk := stream.read(_CHUNK_BYTES):
        lines = (rest + chunk).splitlines(keepends=True)
        # The last may go on in the next chunk, or end in \r with its \n there.
        rest = lines.pop()
        yield from lines
    yield from rest.splitlines(keepends=True)


def _decoded(number: int, raw: bytes) -> _Line:
    if b"\0" in raw:
        flaw = _Flaw(
            expected="text",
            found=f"a NUL byte at byte {raw.index(0) + 1} of the line",
            mend="remove it",
        )
        return _Line(number, raw.replace(b"\0", b" ").decode("utf-8", "replace"), flaw)
    try:
        return _Line(number, raw.decode("utf-8"), None)
    except UnicodeDecodeError as error:
        # Separators and quotes are ASCII and survive, so the row can still be told
        # from the next one.
        return _Line(number, raw.decode("utf-8", "replace"), _utf8_flaw(error, "line"))


def _utf8_flaw(error: UnicodeDecodeError, place: str) -> _Flaw:
    return _Flaw(
        expected="UTF-8",
        found=f"byte 0x{error.object[error.start]:02X} "
        f"at byte {error.start + 1} of the {place}",
        mend="save the file as UTF-8",
    )


# One reader a format.


def _read_text(
    stream: BinaryIO, head: bytes, request: _Request
) -> Iterator[_Record | BadRow]:
    for line in _lines_of(stream, head):
        if line.flaw:
            yield line.flaw.at(request.file, line.number)
        else:
            yield line.number, {request.text_field: line.text.rstrip("\r\n")}


def _read_csv(
    stream: BinaryIO, head: bytes, request: _Request, *, delimiter: str
) -> Iterator[_Record | BadRow]:
    records = _csv_records(_lines_of(stream, head), request, delimiter=delimiter)
    first = next(records, None)
    if first is None:
        return
    if isinstance(first, BadRow):
        raise BadFileError(
            first.file,
            line=first.line,
            expected=f"a header of {first.expected}",
            found=first.found,
            mend=first.mend,
        )
    line, header = first
    _refuse_other_text(header, request, delimiter=delimiter, line=line)
    positions = _positions(request, header, line=line)
    for record in records:
        if isinstance(record, BadRow):
            yield record
        elif len(record[1]) != len(header) or record[1] == header:
            yield _fields_flaw(record[1], header, delimiter).at(request.file, record[0])
        else:
            line, fields = record
            yield line, {name: fields[index] for name, index in positions.items()}


def _csv_records(
    lines: Iterator[_Line], request: _Request, *, delimiter: str
) -> Iterator[tuple[int, list[str]] | BadRow]:
    """Parses records, which may span lines, and goes on after a broken one."""
    csv.field_size_limit(MAX_CSV_FIELD_CHARACTERS)
    source = _Rereadable(lines)
    record: list[_Line] = []

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
            yield _quote_flaw(record, delimiter, error).at(
                request.file, record[0].number
            )
            # An open quote swallows lines that may be good rows of their own.
            source.read_again(record[1:])
            reader = new_reader(feed())
            continue
        flaws = [
            line.flaw.at(request.file, line.number) for line in record if line.flaw
        ]
        if flaws:
            yield flaws[0]
        elif fields:
            yield record[0].number, fields
        else:
            request.on_blank_line(record[0].number)


class _Rereadable:
    """An iterator whose last lines can be put back, to be read again."""

    def __init__(self, lines: Iterator[_Line]):
        self._lines = lines
        self._again: deque[_Line] = deque()

    def __iter__(self) -> "_Rereadable":
        return self

    def __next__(self) -> _Line:
        return self._again.popleft() if self._again else next(self._lines)

    def read_again(self, lines: list[_Line]) -> None:
        self._again.extendleft(reversed(lines))


def _quote_flaw(record: list[_Line], delimiter: str, error: csv.Error) -> _Flaw:
    opened = _broken_quote("".join(line.text for line in record), delimiter)
    ends = itertools.accumulate(len(line.text) for line in record)
    number = next(line.number for line, end in zip(record, ends) if opened < end)
    return _Flaw(
        expected="a closed quote, and quotes doubled within a quoted field",
        found=f"a quote opened in line {number}, then: {error}",
        mend="close it, or double the quotes of the text",
    )


def _broken_quote(text: str, delimiter: str) -> int:
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


def _fields_flaw(fields: list[str], header: list[str], delimiter: str) -> _Flaw:
    if fields == header:
        return _Flaw(
            expected="a row", found="the header once more", mend="remove the line"
        )
    return _Flaw(
        expected=f"{len(header)} fields, as in the header",
        found=f"{len(fields)}",
        mend=f"put a text that holds {_SEPARATORS[delimiter]} in quotes",
    )


def _refuse_other_text(
    header: list[str], request: _Request, *, delimiter: str, line: int
) -> None:
    """Recognizes JSON and other separators in what should be the header."""
    if request.text_field in header:
        return
    other = next((sign for sign in _SEPARATORS if sign in header[0]), delimiter)
    if header[0].lstrip().startswith(("{", "[")):
        found, mend = "JSON", "give it the ending .jsonl, an object a line"
    elif len(header) == 1 and other != delimiter:
        found = f"a header separated by {_SEPARATORS[other]}"
        mend = f"separate fields by {_SEPARATORS[delimiter]}"
        own_ending = {"\t": ".tsv", ",": ".csv"}.get(other)
        if own_ending:
            mend += f", or give it the ending {own_ending}"
    else:
        return
    raise BadFileError(
        request.file,
        line=line,
        expected=f"fields separated by {_SEPARATORS[delimiter]}",
        found=found,
        mend=mend,
    )


class _JsonObject(list[tuple[str, object]]):
    """The pairs of a JSON object, doubled keys included."""


def _read_jsonl(
    stream: BinaryIO, head: bytes, request: _Request
) -> Iterator[_Record | BadRow]:
    is_first = True
    for line in _lines_of(stream, head):
        if not line.text.strip("\r\n"):
            request.on_blank_line(line.number)
            continue
        if is_first and not line.text.lstrip().startswith("{"):
            raise _not_json_lines(request.file, line)
        is_first = False
        try:
            yield line.number, _json_values(line, request)
        except _Flaw as flaw:
            yield flaw.at(request.file, line.number)


def _not_json_lines(file: str, line: _Line) -> BadFileError:
    is_array = line.text.lstrip().startswith("[")
    text = line.text.rstrip("\r\n")
    return BadFileError(
        file,
        line=line.number,
        expected="a JSON object a line",
        found="a JSON array" if is_array else shown(text),
        mend=(
            "write each element on a line of its own"
            if is_array
            else "if it is CSV, give it the ending .csv"
        ),
    )


def _json_values(line: _Line, request: _Request) -> Mapping[str, object]:
    if line.flaw:
        raise line.flaw
    try:
        pairs = json.loads(line.text, object_pairs_hook=_JsonObject)
    except (ValueError, RecursionError) as error:
        raise _Flaw(
            expected="a JSON object a line",
            found=f"no valid JSON: {error}",
            mend="mend or remove the line",
        ) from None
    if not isinstance(pairs, _JsonObject):
        raise _Flaw(
            expected="a JSON object a line",
            found=_type_shown(pairs),
            mend="mend or remove the line",
        )
    keys = [key for key, _ in pairs]
    for field in request.fields:
        if keys.count(field) != 1:
            missing = field not in keys
            raise _Flaw(
                expected=f"one key {field!r}",
                found=(
                    f"keys {', '.join(map(shown, keys[:20]))}"
                    + did_you_mean(field, keys)
                    if missing
                    else f"{keys.count(field)} of that name"
                ),
                mend=_flag_mend(request, field) if missing else "remove all but one",
            )
    return dict(pairs)


def _read_parquet(
    stream: BinaryIO, head: bytes, request: _Request
) -> Iterator[_Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    del head
    if not stream.seekable():
        raise BadFileError(
            request.file,
            expected="a Parquet file",
            found="a stream, and Parquet is read from its end",
            mend="give the file's path",
        )
    stream.seek(0)
    line = 0
    try:
        # Otherwise a row group, which may be the whole file, is in memory at once.
        table = pq.ParquetFile(stream, pre_buffer=False, buffer_size=_CHUNK_BYTES)
        _positions(request, table.schema_arrow.names, line=0)
        for batch in table.iter_batches(_PARQUET_BATCH_ROWS, columns=request.fields):
            columns = [_plain(batch.column(name)) for name in request.fields]
            for values in zip(*columns):
                line += 1
                yield line, dict(zip(request.fields, values))
    except (pa.ArrowException, OSError) as error:
        raise BadFileError(
            request.file,
            line=line,
            expected="a whole Parquet file",
            found=f"one that is damaged, cut short or no Parquet: {error}",
            mend="write or copy it again",
        ) from error


def _plain(column: Any) -> list[object]:
    """Python values of an Arrow array."""
    import pyarrow as pa

    values: list[object]
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        # Parquet promises UTF-8 and checks nothing. As bytes, the bad ones among
        # them can be told from the good.
        is_dictionary = pa.types.is_dictionary(column.type)
        strings = column.dictionary_decode() if is_dictionary else column
        values = strings.cast(pa.large_binary()).to_pylist()
    return values


_READERS: Mapping[str, _Reader] = {
    "text": _read_text,
    "csv": functools.partial(_read_csv, delimiter=","),
    "tsv": functools.partial(_read_csv, delimiter="\t"),
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}


# One row's values.


def _checked_text(value: object, *, allow_empty: bool) -> str:
    text = _unicode(value, "a text", "text_field")
    if not allow_empty and not text.strip():
        raise _Flaw(
            expected="a text",
            found=f"white space only: {shown(text)}" if text else "an empty one",
            mend="fill it in or remove the row",
        )
    return text


def _checked_label(value: object) -> str | int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    label = _unicode(value, "a label (a string or a whole number)", "label_field")
    if not label.strip():
        raise _Flaw(
            expected="a label",
            found=f"white space only: {shown(label)}" if label else "an empty one",
            mend="fill it in or remove the row",
        )
    return label


def _unicode(value: object, expected: str, flag: str) -> str:
    """Checks that a value is a string that every later step can take."""
    # pandas writes a missing value as NaN.
    if value is None or isinstance(value, float) and math.isnan(value):
        found, mend = f"none ({value})", "fill it in or remove the row"
        raise _Flaw(expected=expected, found=found, mend=mend)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _utf8_flaw(error, "value") from None
    if not isinstance(value, str):
        mend = f"write it so, or name another column with --{flag}"
        raise _Flaw(expected=expected, found=_type_shown(value), mend=mend)
    if "\0" in value:
        place = f"a NUL character at character {value.index(chr(0)) + 1}"
        raise _Flaw(expected=expected, found=place, mend="remove it")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Flaw(
            expected="valid Unicode",
            found=f"half a surrogate pair, {value[error.start]!r}, "
            f"at character {error.start + 1}",
            mend="write the whole character, or remove it",
        ) from None
    return value


def _type_shown(value: object) -> str:
    names = {_JsonObject: "an object", list: "a list", bool: "a boolean"}
    shown_value = dict(value) if isinstance(value, _JsonObject) else value
    return f"{names.get(type(value), type(value).__name__)} {shown(shown_value)}"

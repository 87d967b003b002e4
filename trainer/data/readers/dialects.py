r"""How a table of separated fields is written: separator, header, blanks, quotes.

    source = Rereadable(read_lines(stream, head=b""))
    dialect = settled(source, request, own_separator=",")
    dialect.separator, dialect.columns  # ";", ("id", "text", "label")

The first lines decide, and only where they can be read in one way: the separator is
the one that gives the columns that are asked for, or as many as --column_names has.
Of quotes:

- Fields of CSV, and of all but tabs, may be quoted.
- In TSV a quote is a character, unless the table is quoted throughout as a program
  would do it: every field that begins with a quote ends with one and has its inner
  quotes doubled; no other field has a quote; and each quoted field either needs it (for
  a tab, a line end or a quote within) or is in a column that is quoted in all rows.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from typing import Iterable, Iterator, Literal, Mapping, Sequence

from trainer.data.readers.lines import Line, Rereadable
from trainer.data.readers.nested import named
from trainer.data.readers.request import Request, column_positions
from trainer.data.readers.rows import BadFileError
from trainer.messages import did_you_mean, shown

# A longer field is taken for a quote that was never closed; without a limit such a
# quote would pull the rest of the file into memory.
MAX_FIELD_CHARACTERS = 2**24
SEPARATORS: Mapping[str, str] = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "bars",
}

# Lines that are looked at to settle how a table is written.
_SAMPLE_LINES = 200
# Rows of them that are compared with the header.
_SAMPLE_ROWS = 20
# Lines that are looked at to settle quotes, from the first one that has some.
_QUOTE_LINES = 1000
# How other texts begin, what they are, and what to do.
_OTHER_TEXTS = (
    (("{", "["), "JSON", "give it the ending .jsonl, an object a line"),
    (("<",), "HTML or XML", "get the file itself, not the page that shows it"),
    (("version https://git-lfs",), "a pointer of Git LFS", "get it with git lfs pull"),
)
_NUMBER = re.compile(r"[-+]?\d+([.,]\d+)?")
# Excel's own way to name it.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n])"?\s*', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a table is written.

    Attributes:
      separator: between fields.
      columns: their names, without white space around them.
      header_line: where the names stand, from 1; 0: there is no header.
      skips_blanks: whether blanks after a separator belong to no field.
    """

    separator: str
    columns: tuple[str, ...]
    header_line: int
    skips_blanks: bool

    def reader(self, lines: Iterable[str], *, is_quoted: bool) -> Iterator[list[str]]:
        """The records of the lines; raises csv.Error."""
        return _reader(
            lines,
            self.separator,
            skips_blanks=self.skips_blanks,
            quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
        )

    def in_words(self, request: Request) -> str:
        """What was settled: "separated by ';', columns id, text; id not used"."""
        separator = "tabs" if self.separator == "\t" else f"'{self.separator}'"
        names = list(filter(None, self.columns))
        shape = f"columns {', '.join(names[:20])}"
        if not self.header_line:
            shape = f"without a header, {shape}"
        used = request.fields_in(names)
        unused = [name for name in names if name not in used]
        words = f"separated by {separator}, {shape}"
        return f"{words}; not used: {', '.join(unused[:20])}" if unused else words


def settled(
    source: Rereadable, request: Request, *, own_separator: str
) -> Dialect | None:
    """Settles how a table is written, and reads its header; None: it has no lines.

    Args:
      source: the lines of the file; its rows come next.
      request: the columns that have to be there, and --column_names.
      own_separator: that of the format, where nothing else tells.

    Raises:
      BadFileError: the table can be read in no way, or in more than one.
    """
    _skip_blank_lines(source, request)
    match = _SEPARATOR_LINE.fullmatch("".join(line.text for line in source.ahead(1)))
    if match:
        next(source)
        _skip_blank_lines(source, request)
    sample = source.ahead(_SAMPLE_LINES)
    if not sample:
        return None
    separators = [match[1]] if match else list({own_separator: 0, **SEPARATORS})
    if request.column_names:
        dialect = _without_header(sample, request, separators)
    else:
        dialect, num_lines = _with_header(sample, request, separators)
        for _ in range(num_lines):
            next(source)
    column_positions(request, list(dialect.columns), line=dialect.header_line)
    _refuse_other_width(source.ahead(_SAMPLE_LINES), dialect, request)
    return dialect


def plain_name(name: str) -> str:
    """A column's name without white space around it, or the mark of a joined file."""
    return name.strip("\ufeff \t\r\n\f\v\u00a0\u3000")


def _skip_blank_lines(source: Rereadable, request: Request) -> None:
    while (ahead := source.ahead(1)) and not ahead[0].text.strip():
        request.on_blank_line(next(source).number)


def _reader(
    lines: Iterable[str],
    separator: str,
    *,
    skips_blanks: bool,
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
) -> Iterator[list[str]]:
    # A limit of the whole process, so set again in case another library changed it.
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    return csv.reader(
        lines,
        delimiter=separator,
        skipinitialspace=skips_blanks,
        quoting=quoting,
        strict=True,
    )


def _rows(
    sample: Sequence[Line], separator: str, *, skips_blanks: bool
) -> tuple[list[list[str]], bool]:
    """The first rows of a sample; and whether it is broken after them."""
    rows: list[list[str]] = []
    lines = (line.text for line in sample)
    try:
        for fields in _reader(lines, separator, skips_blanks=skips_blanks):
            if fields:
                rows.append(fields)
            if len(rows) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return rows, True
    return rows, False


# With a header.


def _with_header(
    sample: list[Line], request: Request, separators: list[str]
) -> tuple[Dialect, int]:
    """The dialect, and how many lines the header has."""
    headers = dict(_headers(sample, separators, request))
    fitting = {
        separator: columns
        for separator, (columns, _) in headers.items()
        if _has_fields(request, columns)
    }
    if len(set(fitting.values())) > 1:
        raise _ambiguous(fitting, request, line=sample[0].number)
    separator = next(iter(fitting), "") or _likeliest(headers, request)
    columns, num_lines = headers[separator]
    if not fitting:
        _refuse_other_text(sample, columns, separators, request, separator=separator)
    for line in sample[:num_lines]:
        if line.bad_value:
            raise BadFileError(
                request.file,
                line=line.number,
                rule=line.bad_value.rule.replace("expected", "expected a header of", 1),
                received=line.bad_value.received,
                mend=line.bad_value.mend,
            )
    rows = sample[num_lines:]
    skips_blanks = f"{separator} " in sample[0].text or _needs_skipping(
        rows, separator, width=len(columns)
    )
    return Dialect(separator, columns, sample[0].number, skips_blanks), num_lines


def _headers(
    sample: list[Line], separators: list[str], request: Request
) -> Iterator[tuple[str, tuple[tuple[str, ...], int]]]:
    """By separator, the names as it parts them, and the number of their lines.

    Raises:
      BadFileError: no separator makes a header.
    """
    error: csv.Error | None = None
    is_any = False
    for separator in separators:
        num_lines = 0

        def feed() -> Iterator[str]:
            nonlocal num_lines
            for line in sample:
                num_lines += 1
                yield line.text

        try:
            names = next(_reader(feed(), separator, skips_blanks=True))
        except csv.Error as broken:
            error = broken
            continue
        is_any = True
        yield separator, (tuple(map(plain_name, names)), num_lines)
    if not is_any:
        raise BadFileError(
            request.file,
            line=sample[0].number,
            rule="expected a header with closed quotes",
            received=f"{shown(sample[0].text.rstrip())}: {error}",
            mend="close the quote, or remove it",
        )


def _ambiguous(
    readings: Mapping[str, Iterable[str]], request: Request, *, line: int
) -> BadFileError:
    ways = " and ".join(
        f"columns {', '.join(columns)} by {SEPARATORS.get(separator, separator)}"
        for separator, columns in readings.items()
    )
    return BadFileError(
        request.file,
        line=line,
        rule="expected a table that can be read with one separator",
        received=ways,
        mend=f"write the right one in a line above, as in sep={next(iter(readings))}",
    )


def _likeliest(
    headers: Mapping[str, tuple[tuple[str, ...], int]], request: Request
) -> str:
    """The separator of a header without the columns that are asked for."""
    asked = {field.strip().casefold() for field in request.fields_in(())}

    def rank(separator: str) -> tuple[int, int]:
        columns, _ = headers[separator]
        return len(asked & set(map(str.casefold, columns))), len(columns)

    # Of equal ones the first, the format's own.
    return max(headers, key=rank)


def _refuse_other_text(
    sample: list[Line],
    columns: tuple[str, ...],
    separators: list[str],
    request: Request,
    *,
    separator: str,
) -> None:
    """Names what stands where the header should be; a wrong column is not its affair.

    Raises:
      BadFileError: it is JSON, a row, or what stands above the header.
    """
    text, line = sample[0].text, sample[0].number
    fields = request.fields_in(columns)
    missing = next(field for field in fields if field not in columns)
    rule = f"expected one column {missing!r}"
    for beginnings, kind, mend in _OTHER_TEXTS:
        if text.lstrip().startswith(beginnings):
            raise BadFileError(
                request.file,
                line=line,
                rule="expected a header of separated names",
                received=kind,
                mend=mend,
            )
    is_whole_quoted = any(
        len(columns) == 1
        and _has_fields(request, map(plain_name, columns[0].split(each)))
        for each in separators
    )
    if is_whole_quoted:
        raise BadFileError(
            request.file,
            line=line,
            rule=rule,
            received=f"a line in quotes as a whole, {shown(columns[0])}",
            mend="remove the quotes around the lines",
        )
    header_line = _line_of_header(sample[1:_SAMPLE_ROWS], separators, request)
    if header_line:
        raise BadFileError(
            request.file,
            line=line,
            rule=rule,
            received=f"{shown(text.rstrip())}, and the names in line {header_line}",
            mend="remove what stands above the names",
        )
    is_alike = any(did_you_mean(field, columns) for field in fields)
    rows, _ = _rows(sample[1:], separator, skips_blanks=True)
    if _looks_like_data(columns, rows) and not is_alike:
        raise BadFileError(
            request.file,
            line=line,
            rule=rule,
            received=f"columns {named(list(columns))}",
            mend=f"has the file no header? Then name its {len(columns)} columns, in "
            f"order, with --column_names={','.join(['NAME'] * min(len(columns), 9))}; "
            f"otherwise {request.mend_of_missing(missing)}",
        )


def _line_of_header(
    lines: list[Line], separators: list[str], request: Request
) -> int | None:
    """The number of the first line that has all the names that are asked for."""
    for line in lines:
        for separator in separators:
            names = [name.strip(' "') for name in line.text.rstrip().split(separator)]
            if _has_fields(request, names):
                return line.number
    return None


def _looks_like_data(names: Sequence[str], rows: Iterable[Sequence[str]]) -> bool:
    """Whether what should be a header is rather a row.

    By numbers, sentences and repeats in it, or because rows have the same values.
    """
    return (
        len(set(filter(None, names))) < len(list(filter(None, names)))
        or any(_NUMBER.fullmatch(name) or len(name.split()) > 3 for name in names)
        or any(
            0 < sum(map(str.__eq__, row, names)) < len(names)
            for row in rows
            if len(row) == len(names)
        )
    )


# Without a header.


def _without_header(
    sample: list[Line], request: Request, separators: list[str]
) -> Dialect:
    names = tuple(map(plain_name, request.column_names))
    line, width = sample[0].number, len(names)
    rows = {each: _rows(sample, each, skips_blanks=True)[0] for each in separators}
    fitting = {
        separator: found
        for separator, found in rows.items()
        if found and sum(len(row) == width for row in found) > len(found) / 2
    }
    if not fitting:
        widest = max(rows.values(), key=lambda found: max(map(len, found), default=0))
        first = widest[0] if widest else [sample[0].text.rstrip()]
        raise BadFileError(
            request.file,
            line=line,
            rule=f"expected {width} columns, as --column_names names",
            received=f"{len(first)} in the first row: {named(first)}",
            mend="name each of them, in order",
        )
    if len({tuple(map(tuple, found)) for found in fitting.values()}) > 1:
        firsts = {separator: map(shown, rows[0]) for separator, rows in fitting.items()}
        raise _ambiguous(firsts, request, line=line)
    separator, found = next(iter(fitting.items()))
    if tuple(map(plain_name, found[0])) == names:
        raise BadFileError(
            request.file,
            line=line,
            rule="expected no header, as --column_names is given",
            received="one of the same names",
            mend="leave --column_names away",
        )
    skips_blanks = _needs_skipping(sample, separator, width=width)
    return Dialect(separator, names, 0, skips_blanks)


# What the rows tell.


def _needs_skipping(sample: Sequence[Line], separator: str, *, width: int) -> bool:
    """Whether more rows have their fields if blanks before quotes are skipped."""

    def num_right(*, skips_blanks: bool) -> int:
        rows, _ = _rows(sample, separator, skips_blanks=skips_blanks)
        return sum(len(row) == width for row in rows)

    return num_right(skips_blanks=True) > num_right(skips_blanks=False)


def _refuse_other_width(sample: list[Line], dialect: Dialect, request: Request) -> None:
    """Raises BadFileError where all rows have the same wrong number of fields."""
    rows, is_broken = _rows(
        sample, dialect.separator, skips_blanks=dialect.skips_blanks
    )
    width = len(dialect.columns)
    widths = {len(row) for row in rows}
    if is_broken or len(rows) < 2 or len(widths) > 1 or width in widths:
        return
    found = widths.pop()
    sign = SEPARATORS.get(dialect.separator, dialect.separator)
    if found == width + 1 and not any(row[-1] for row in rows):
        received = f"{found} in every row, the last one empty: {sign} end the rows"
        mend = f"end the header in {shown(dialect.separator)} too"
    else:
        received = f"{found} in every row, as in {named(rows[0])}"
        mend = (
            f"name every column in the header, or put texts that hold {sign} in quotes"
        )
    raise BadFileError(
        request.file,
        line=sample[0].number,
        rule=f"expected {width} fields, as in the header",
        received=received,
        mend=mend,
    )


# Quotes of TSV.


def begins_quoted(line: str, separator: str) -> bool:
    """Whether a field of a line begins with a quote."""
    return line.startswith('"') or f'{separator}"' in line


def is_quoted_throughout(
    source: Rereadable, dialect: Dialect, *, is_after_rows: bool
) -> bool:
    """Whether the rows that come next are quoted as a program would do it.

    Args:
      source: the lines, from the first one that has a field that begins with a quote.
      dialect: of the table.
      is_after_rows: whether rows without quotes went before.
    """
    lines = source.ahead(_QUOTE_LINES)
    text = "".join(line.text for line in lines)
    rows, rest = _tokenized(text, dialect.separator)
    # What is left over may be a row that the sample has cut.
    is_cut = len(lines) == _QUOTE_LINES and rest.count('"') % 2 == 1
    if rest and not (rows and is_cut):
        return False
    quoted_columns = {
        column
        for column in range(len(dialect.columns))
        if len(rows) > 1 and not is_after_rows
        # As many fields as there are, and more than one: one may be a quotation.
        and all(len(row) > column and row[column].startswith('"') for row in rows)
    }
    for row in rows:
        if _looks_like_rows(row, dialect):
            return False
        for column, field in enumerate(row):
            if not field.startswith('"'):
                if '"' in field:
                    return False
            elif column not in quoted_columns and not _needs_quotes(field, dialect):
                return False
    return True


def _tokenized(text: str, separator: str) -> tuple[list[list[str]], str]:
    """The rows of a text, their fields with their quotes; and the rest from where on
    a quote is not closed, or closed too early."""
    sign = re.escape(separator)
    field = re.compile(
        r'("[^"]*(?:""[^"]*)*"|[^"SIGN\r\n][^SIGN\r\n]*|)'.replace("SIGN", sign)
        + rf"({sign}|\r\n|\r|\n|\Z)"
    )
    rows: list[list[str]] = []
    row: list[str] = []
    start = row_start = 0
    while start < len(text):
        match = field.match(text, start)
        if not match:
            return rows, text[row_start:]
        row.append(match[1])
        start = match.end()
        if match[2] != separator:
            rows.append(row)
            row, row_start = [], start
    return rows, ""


def _needs_quotes(field: str, dialect: Dialect) -> bool:
    inner = field[1:-1]
    return any(sign in inner for sign in (dialect.separator, '"', "\n", "\r"))


def _looks_like_rows(row: Sequence[str], dialect: Dialect) -> bool:
    """Whether a row is of several lines of which each could be one."""
    lines = list(filter(None, dialect.separator.join(row).splitlines()))
    count = len(dialect.columns) - 1
    return len(lines) > 1 and all(
        line.count(dialect.separator) == count for line in lines
    )


def _has_fields(request: Request, columns: Iterable[str]) -> bool:
    """Whether all fields that are asked for are among the columns."""
    names = set(columns)
    return set(request.fields_in(names)) <= names

"""Parses many rows of a table at once, where every program would read them alike.

    clean = CleanBlocks(lines, request, dialect, {"text": 1, "label": 2})
    block = clean.take(is_quoted=True)
    block.columns["text"]           # large_string [n]; None instead of a block: look closer

pyarrow parses lines that `line_blocks.py` has found clean. Where it finds another number
of fields than the header has, or a row may be the header once more, the rows are left to
`delimited.py`, which reads any table row by row and says what is wrong with it.
"""

from __future__ import annotations

from typing import Mapping

import numpy as np
import pyarrow as pa

from trainer.data.readers.dialects import Dialect, plain_name
from trainer.data.readers.line_blocks import LineBlocks, Run
from trainer.data.readers.request import Block, Request

_ROOM_BYTES = 16


def can_be_read(dialect: Dialect) -> bool:
    """Whether pyarrow knows such tables: fields parted by one byte, no blanks skipped."""
    separator = dialect.separator.encode()
    is_plain = len(separator) == 1 and separator not in b'"\r\n'
    return is_plain and not dialect.skips_blanks


class CleanBlocks:
    """Takes runs of clean lines as blocks of rows."""

    def __init__(
        self,
        lines: LineBlocks,
        request: Request,
        dialect: Dialect,
        positions: Mapping[str, int],
    ) -> None:
        """Args as `delimited.py` has them; positions: of each requested field."""
        self._lines, self._request, self._dialect = lines, request, dialect
        self._positions = positions
        self._names = [str(position) for position in range(len(dialect.columns))]

    def take(self, *, is_quoted: bool | None) -> Block | None:
        """The rows that come next, if they are clean."""
        separator = self._dialect.separator.encode()
        while run := self._lines.clean_run(separator, is_quoted=is_quoted):
            columns = self._columns(run, is_quoted=bool(is_quoted))
            if columns is not None:
                self._lines.take(run)
                last = run.first_line + run.num_lines
                return Block(np.arange(run.first_line, last), columns)
            self._lines.leave(run)
        return None

    def _columns(self, run: Run, *, is_quoted: bool) -> Mapping[str, pa.Array] | None:
        """The requested columns of a run; None where a row is no row of this table."""
        table = self._parsed(run, is_quoted=is_quoted)
        if table is None or table.num_rows != run.num_lines:
            return None
        columns = {
            field: table.column(self._names[position]).combine_chunks()
            for field, position in self._positions.items()
        }
        label = self._request.label_field or ""
        columns[label] = columns[label].dictionary_encode()
        # A header that was joined in has the name of the column in it.
        name = self._dialect.columns[self._positions[label]]
        values = columns[label].dictionary.to_pylist()
        return None if name in map(plain_name, values) else columns

    def _parsed(self, run: Run, *, is_quoted: bool) -> pa.Table | None:
        # Imported here, so that who reads no table does not wait for it.
        from pyarrow import csv

        names = [self._names[position] for position in self._positions.values()]
        try:
            return csv.read_csv(
                pa.py_buffer(run.content),
                read_options=csv.ReadOptions(
                    column_names=self._names,
                    block_size=len(run.content) + _ROOM_BYTES,
                    use_threads=False,
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self._dialect.separator,
                    quote_char='"' if is_quoted else False,
                    double_quote=is_quoted,
                    escape_char=False,
                    ignore_empty_lines=False,
                ),
                convert_options=csv.ConvertOptions(
                    include_columns=names,
                    column_types=dict.fromkeys(names, pa.large_string()),
                    strings_can_be_null=False,
                    # Looked at already, all columns together.
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid:
            return None

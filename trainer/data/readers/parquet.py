"""Reads Parquet files, a few hundred rows at a time.

    with open("reviews.parquet", "rb") as stream:
        for number, values in read(stream, head=b"", request=request):
            values["text"], values["label"]

Only the requested columns are read. Values come as Python's; a string column whose
bytes are no UTF-8 comes as bytes. What they have to be is left to `reading.py`.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Iterator

from trainer.data.readers.request import Record, Request, column_positions
from trainer.data.readers.rows import BadFileError

_BATCH_ROWS = 256
_BUFFER_BYTES = 2**20


def read(stream: BinaryIO, /, *, head: bytes, request: Request) -> Iterator[Record]:
    """One record a row; its line is the row's number, from 1. A `Reader`.

    Raises:
      BadFileError: the stream is a pipe; the file is damaged, cut short or no
        Parquet; a column is not there.
    """
    # Imported here, so that who reads CSV does not wait for it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    del head  # The file is read from its end, where Parquet has its table of contents.
    if not stream.seekable():
        raise BadFileError(
            request.file,
            rule="expected a Parquet file",
            received="a stream, and Parquet is read from its end",
            mend="give the file's path",
        )
    stream.seek(0)
    row_number = 0
    try:
        # Otherwise a row group, which may be the whole file, is in memory at once.
        table = pq.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        column_positions(request, table.schema_arrow.names, line=0)
        for batch in table.iter_batches(
            _BATCH_ROWS, columns=request.fields_in(table.schema_arrow.names)
        ):
            columns = [
                _python_values(batch.column(name))
                for name in request.fields_in(table.schema_arrow.names)
            ]
            for values in zip(*columns):
                row_number += 1
                yield row_number, dict(
                    zip(request.fields_in(table.schema_arrow.names), values)
                )
    # Damage shows up as either, depending on which bytes it is in.
    except (pa.ArrowException, OSError) as error:
        raise BadFileError(
            request.file,
            line=row_number,
            rule="expected a whole Parquet file",
            received=f"one that is damaged, cut short or no Parquet: {error}",
            mend="write or copy it again",
        ) from error


def _python_values(column: Any) -> list[object]:
    """Python values of an Arrow array; bytes where a string is no UTF-8."""
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

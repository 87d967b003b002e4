"""Reads Parquet files, a few hundred rows at a time.

    with open("reviews.parquet", "rb") as stream:
        for number, values in read(stream, head=b"", request=request):
            values["text"], values["label"]

Only the requested columns are read; a field may be a path into a column of structs and
lists (`nested.py`). Values come as Python's; a string column whose bytes are no UTF-8
comes as bytes. What they have to be is left to `reading.py`. Where the file itself names
the classes of a column of numbers, as Hugging Face's `datasets` writes it, their names
come instead of the numbers.
"""

from __future__ import annotations

import contextlib
from typing import Any, BinaryIO, Iterator, Mapping

from trainer import json_text
from trainer.data.readers.nested import longest_key, lookup, named
from trainer.data.readers.request import Block, Record, Request, check_column
from trainer.data.readers.rows import BadFileError, BadRow, BadValue
from trainer.messages import did_you_mean

_BATCH_ROWS = 256
# Of rows that come together: about so many bytes, and so many rows at most.
_BLOCK_BYTES = 2**22
_MAX_BLOCK_ROWS = 2**16
_BUFFER_BYTES = 2**20


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow | Block]:
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
        schema = table.schema_arrow
        columns = _columns_of(request, schema)
        names = list(dict.fromkeys(columns.values()))
        classes = _numbered_classes(schema, request.label_field)
        for row_number, batch in _batches(table, names, request):
            block = _block(batch, columns, classes, request, first=row_number + 1)
            if block is not None:
                row_number += batch.num_rows
                yield block
                continue
            for row in zip(*(_python_values(batch.column(name)) for name in names)):
                row_number += 1
                try:
                    values = _values(dict(zip(names, row)), columns, request)
                    _name_class(values, classes, request)
                    yield row_number, values
                except BadValue as bad_value:
                    yield bad_value.at(request.file, line=row_number)
    # Damage shows up as either, depending on which bytes it is in.
    except (pa.ArrowException, OSError) as error:
        raise BadFileError(
            request.file,
            line=row_number,
            rule="expected a whole Parquet file",
            received=f"one that is damaged, cut short or no Parquet: {error}",
            mend="write or copy it again",
        ) from error


def num_rows(path: str) -> int | None:
    """How many rows a file says it has, without reading one; None: it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):
        return None


def _batches(
    table: Any, names: list[str], request: Request
) -> Iterator[tuple[int, Any]]:
    """The wanted rows, some at a time, each time after how many rows are before."""
    groups, num_before = _groups_from(table.metadata, request.first_row)
    num_at_once = _rows_at_once(table, request)
    for batch in table.iter_batches(num_at_once, columns=names, row_groups=groups):
        left_out = min(max(request.first_row - num_before, 0), batch.num_rows)
        yield num_before + left_out, batch.slice(left_out)
        num_before += batch.num_rows


def _groups_from(metadata: Any, first_row: int) -> tuple[list[int], int]:
    """The row groups from the one with this row on, and the rows before them."""
    num_before = 0
    for index in range(metadata.num_row_groups):
        num_rows = metadata.row_group(index).num_rows
        if num_before + num_rows > first_row:
            return list(range(index, metadata.num_row_groups)), num_before
        num_before += num_rows
    return [], num_before


def _rows_at_once(table: Any, request: Request) -> int:
    """How many rows to take at once, that long texts do not fill the memory."""
    facts = table.metadata
    if not request.wants_blocks or not facts.num_rows:
        return _BATCH_ROWS
    groups = (facts.row_group(index) for index in range(facts.num_row_groups))
    num_bytes = sum(group.total_byte_size for group in groups) / facts.num_rows
    num_rows = int(_BLOCK_BYTES / max(num_bytes, 1))
    return min(max(num_rows, _BATCH_ROWS), _MAX_BLOCK_ROWS)


def _block(
    batch: Any,
    columns: Mapping[str, str],
    classes: tuple[str, ...],
    request: Request,
    *,
    first: int,
) -> Block | None:
    """A batch as it is; None where a row of it needs a second look.

    first: the number of its first row.
    """
    if not (request.wants_blocks and request.has_plain_fields):
        return None
    from trainer.data.readers import blocks

    if any(field != column for field, column in columns.items()):
        return None
    arrays = {field: batch.column(column) for field, column in columns.items()}
    return blocks.checked(arrays, request, first_line=first, classes=classes)


def class_names(path: str, label_field: str) -> tuple[str, ...]:
    """The classes that a file itself names for a column, in its order.

    Either for a column of numbers, as Hugging Face's `datasets` writes it; or the
    categories of pandas that occur. () where there are none, or no such file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Reading the rows says what is wrong.
    with contextlib.suppress(pa.ArrowException, OSError):
        table = pq.ParquetFile(path)
        schema = table.schema_arrow
        names = _numbered_classes(schema, label_field)
        if names or label_field not in _pandas_categories(schema):
            return names
        labels = table.read([label_field]).column(0).unify_dictionaries()
        if labels.num_chunks:
            used = labels.unique().drop_null().to_pylist()
            categories = labels.chunk(0).dictionary.to_pylist()
            return tuple(str(each) for each in categories if each in used)
    return ()


def _pandas_categories(schema: Any) -> list[str]:
    """The columns that were categories in pandas.

    Only these: others write a column as a dictionary to save room, in no order.
    """
    import pyarrow as pa

    columns = _json_of(schema, b"pandas").get("columns", [])
    names = [each["name"] for each in columns if each["pandas_type"] == "categorical"]
    is_dictionary = pa.types.is_dictionary
    return [name for name in names if is_dictionary(schema.field(name).type)]


def _numbered_classes(schema: Any, field: str | None) -> tuple[str, ...]:
    """The names that `datasets` keeps for the numbers of a column, or of a path.

    The form is that of datasets.Features.to_dict, in the schema's own metadata:
    {"info": {"features": {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}}}.
    """
    feature = _json_of(schema, b"huggingface").get("info", {}).get("features", {})
    rest = field or ""
    while rest and isinstance(feature, dict):
        step = longest_key(feature, rest)
        if step is None:
            # A list's one feature stands for all positions.
            step = rest.partition(".")[0]
            feature = feature.get("feature") if step.isdigit() else None
        else:
            feature = feature[step]
        rest = rest[len(step) + 1 :]
    is_named = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    return tuple(feature.get("names") or ()) if is_named else ()


def _json_of(schema: Any, key: bytes) -> dict[str, Any]:
    """What the schema's metadata has under a key; {} of what is no JSON object."""
    value: object = None
    with contextlib.suppress(ValueError):
        value = json_text.parse((schema.metadata or {}).get(key, b"{}"))
    return value if isinstance(value, dict) else {}


def _name_class(
    values: dict[str, object], classes: tuple[str, ...], request: Request
) -> None:
    """Puts the name of a class in the place of its number; raises BadValue."""
    field = request.label_field
    if not classes or field is None or not isinstance(number := values[field], int):
        return
    if not 0 <= number < len(classes):
        raise BadValue(
            rule=f"expected a label from 0 to {len(classes) - 1}",
            received=str(number),
            mend="leave the row out with --bad_rows=skip: it has no label",
        )
    values[field] = classes[number]


# Columns, and paths into them.


def _columns_of(request: Request, schema: Any) -> dict[str, str]:
    """Field → the column that it is, or is a path into.

    Raises:
      BadFileError: there is no such column, several, or no such field in its structs.
    """
    names = schema.names
    columns = {}
    for field in request.fields_in(names):
        mend = request.mend_of_missing(field)
        column = longest_key(dict.fromkeys(names), field) or field.partition(".")[0]
        check_column(column, request, names, line=0, mend=mend)
        _check_path(schema.field(column).type, field, column, request, mend=mend)
        columns[field] = column
    return columns


def _check_path(
    arrow_type: Any, field: str, column: str, request: Request, *, mend: str
) -> None:
    """Raises BadFileError for a step that no row can have."""
    import pyarrow as pa

    rest = field[len(column) + 1 :]
    while rest and pa.types.is_nested(arrow_type):
        step = rest.partition(".")[0]
        if pa.types.is_struct(arrow_type):
            fields = {each.name: each.type for each in arrow_type}
            found = longest_key(fields, rest)
            if found is None:
                raise BadFileError(
                    request.file,
                    rule=f"expected one key {step!r} in "
                    f"{field[: -len(rest)].rstrip('.')!r}",
                    received=f"keys {named(list(fields))}{did_you_mean(step, fields)}",
                    mend=mend,
                )
            step, arrow_type = found, fields[found]
        else:
            arrow_type = arrow_type.value_type
        rest = rest[len(step) + 1 :]


def _values(
    row: Mapping[str, object], columns: Mapping[str, str], request: Request
) -> dict[str, object]:
    """Field → its value in a row; raises BadValue where a path ends early."""
    return {
        field: (
            row[column]
            if field == column
            else lookup(row, field, mend=request.mend_of_missing(field))
        )
        for field, column in columns.items()
    }


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

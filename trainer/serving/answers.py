"""How answers are written: as JSON Lines, CSV or Parquet, by the output's ending.

    written = answers.format_of("answers.csv")
    writer = written.writer(layout)
    [*writer.header, *(writer.line(answer) for answer in answers)]

An answer is an object of JSON: what the question began with, the outputs of the
signature, and the error, if rows may have one. All formats are written line by line,
so that a file may be continued after a kill; Parquet is made of its lines at the end,
by `convert`. A new format is an entry of `FORMATS`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import pathlib
from typing import Any, Callable, Iterator, Mapping, Sequence

from trainer.messages import message

ERROR = "error"
# Bytes of lines that are made one row group of Parquet.
_ROW_GROUP_BYTES = 2**24
# Whole numbers beyond lose digits as floating-point numbers.
_MAX_EXACT = 2**53
_MAX_INT64 = 2**63
# Other formats than ours, whose readers would not understand lines of JSON.
_OTHER_ENDINGS = (".tsv", ".xlsx", ".xls", ".gz", ".bz2", ".xz", ".zst", ".zip")

Answer = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Output:
    """What a signature gives a text.

    Attributes:
      dtype: TensorFlow's name of it.
      shape: of one text's value, None where it may be any: () for a number or string;
        None: unknown.
    """

    dtype: str
    shape: tuple[int | None, ...] | None


@dataclasses.dataclass(frozen=True)
class Layout:
    """The fields of every answer, in order.

    Attributes:
      start: names of what a question begins with.
      outputs: of the signature, by name.
      has_error: whether there is an error, which most often is null.
      class_names: in the order of the probabilities; empty if they are not known.
    """

    start: tuple[str, ...]
    outputs: Mapping[str, Output]
    has_error: bool
    class_names: Sequence[str]

    @property
    def names(self) -> list[str]:
        """Names of the fields behind the start."""
        return [*self.outputs, *([ERROR] if self.has_error else [])]


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes the answers of one layout.

    Attributes:
      header: lines before the first answer.
      line: makes the line, without its end, of an answer.
      names: what the fields behind the start are called in this format.
      layout: what an answer holds.
    """

    header: Sequence[str]
    line: Callable[[Answer], str]
    names: list[str]
    layout: Layout


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write answers.

    Attributes:
      writer: for the answers of a layout.
      convert: makes the file of the lines, if they are not it: lines, file.
    """

    writer: Callable[[Layout], Writer]
    convert: Callable[[pathlib.Path, pathlib.Path], None] | None = None


def format_of(output: str) -> Format:
    """The format of an --output.

    Raises:
      ValueError: its ending names a format that is not written here.
    """
    ending = os.path.splitext(output)[1].lower()
    if ending in _OTHER_ENDINGS:
        raise ValueError(
            message(
                "--output must end in .jsonl, .csv or .parquet",
                received=output,
                mend="name one of these, and convert the file afterwards",
            )
        )
    return FORMATS.get(ending, FORMATS[".jsonl"])


def make_writer(written: Format, layout: Layout) -> Writer:
    """The writer of a layout.

    Raises:
      ValueError: the format cannot hold the layout, or two fields have one name.
    """
    writer = written.writer(layout)
    names = [*layout.start, *writer.names]
    clashing = [name for name in dict.fromkeys(layout.start) if names.count(name) > 1]
    if clashing:
        raise ValueError(
            message(
                "--keep_fields must name columns that are called otherwise than the "
                f"parts of an answer ({', '.join(writer.names)})",
                received=", ".join(clashing),
                mend="rename the column in the input, or leave it out",
            )
        )
    return writer


def _json_writer(layout: Layout) -> Writer:
    return Writer([], json.dumps, layout.names, layout)


def _csv_writer(layout: Layout) -> Writer:
    """One column a value; the probabilities are a column a class."""
    columns = {name: _columns(name, layout) for name in layout.outputs}
    names = [column for group in columns.values() for column in group]
    names += [ERROR] if layout.has_error else []

    def line(answer: Answer) -> str:
        cells = [answer[name] for name in layout.start]
        for name, group in columns.items():
            is_one = len(group) == 1 and name != "probabilities"
            cells += [answer[name]] if is_one else answer[name] or [None] * len(group)
        cells += [answer[ERROR]] if layout.has_error else []
        return _csv_line(cells)

    return Writer([_csv_line([*layout.start, *names])], line, names, layout)


def _columns(name: str, layout: Layout) -> list[str]:
    """What an output's columns are called."""
    shape = layout.outputs[name].shape
    # A list of names is one cell, as JSON has it.
    if shape == () or name == "labels":
        return [name]
    if name == "probabilities" and shape is not None and len(shape) == 1:
        num_classes = len(layout.class_names) if shape[0] is None else shape[0]
        has_names = len(layout.class_names) == num_classes
        classes = layout.class_names if has_names else range(num_classes)
        if num_classes:
            return [f"probability_{each}" for each in classes]
    raise ValueError(
        message(
            "--output must end in .jsonl or .parquet where an answer holds a list",
            received=f"{name}, a list a text, for .csv",
            mend="name such a file",
        )
    )


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    # Of this terminator, for what holds a part of it is quoted.
    csv.writer(line, lineterminator="\r\n").writerow(
        ["" if cell is None else as_text(cell) for cell in cells]
    )
    return line.getvalue().removesuffix("\r\n")


def as_text(value: Any) -> str:
    """A string as it is, anything else as JSON has it: `true`, `[1, 2]`."""
    return value if isinstance(value, str) else json.dumps(value)


# Parquet.


def _parquet_writer(layout: Layout) -> Writer:
    """Lines of JSON, the types of the columns before them."""
    types: list[tuple[str, str | None, int]] = [
        *((name, None, 0) for name in layout.start),
        *((name, *_type_of(output)) for name, output in layout.outputs.items()),
        *([(ERROR, "string", 0)] if layout.has_error else []),
    ]
    return Writer([json.dumps(types)], json.dumps, layout.names, layout)


def _type_of(output: Output) -> tuple[str | None, int]:
    """Arrow's name of a type, and in how many lists it is; None: it is not known."""
    if output.shape is None:
        return None, 0
    is_short = output.dtype in ("bfloat16", "float16")
    return "float32" if is_short else output.dtype, len(output.shape)


def write_parquet(lines: pathlib.Path, target: pathlib.Path) -> None:
    """Makes a Parquet file of the lines of a `_parquet_writer`, in their order.

    Outputs have the types of the signature. Fields of the input have the type of all
    their values: boolean, int64, double, or else string, of JSON where it is a list,
    an object or one of several types.
    """
    # Imported here, so that who writes JSON does not wait for it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open(lines, encoding="utf-8") as file:
        header: list[tuple[str, str | None, int]] = json.loads(next(file))
    unknown = [name for name, type_name, _ in header if type_name is None]
    inferred = _inferred_types(lines, unknown)
    columns = []
    for name, type_name, num_lists in header:
        column_type = pa.type_for_alias(type_name or inferred[name])
        for _ in range(num_lists):
            column_type = pa.list_(column_type)
        columns.append((name, column_type))
    schema = pa.schema(columns)
    as_texts = [name for name in unknown if inferred[name] == "string"]
    with pq.ParquetWriter(target, schema) as writer:
        for rows in _row_groups(lines):
            for row in rows:
                for name in as_texts:
                    row[name] = None if row[name] is None else as_text(row[name])
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row_groups(lines: pathlib.Path) -> Iterator[list[dict[str, Any]]]:
    with open(lines, encoding="utf-8") as file:
        next(file)
        while group := file.readlines(_ROW_GROUP_BYTES):
            yield [json.loads(line) for line in group]


def _inferred_types(lines: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
    """Arrow's name of the type that all values of a field have."""
    kinds: dict[str, set[str]] = {name: set() for name in names}
    for rows in _row_groups(lines) if names else ():
        for name in names:
            kinds[name] |= {_kind(row[name]) for row in rows if row[name] is not None}
    return {name: _type_of_kinds(kinds[name]) for name in names}


def _kind(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if -_MAX_EXACT <= value <= _MAX_EXACT:
            return "exact"
        return "int" if -_MAX_INT64 <= value < _MAX_INT64 else "huge"
    return type(value).__name__


def _type_of_kinds(kinds: set[str]) -> str:
    if not kinds:
        return "string"
    types = {"bool": {"bool"}, "int64": {"exact", "int"}, "double": {"exact", "float"}}
    return next((name for name, of in types.items() if kinds <= of), "string")


FORMATS: Mapping[str, Format] = {
    ".jsonl": Format(_json_writer),
    ".csv": Format(_csv_writer),
    ".parquet": Format(_parquet_writer, write_parquet),
}

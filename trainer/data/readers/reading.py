"""Reads labelled texts from CSV, TSV, JSON Lines, Parquet and plain text files.

    for row in read_rows("reviews.csv", text_field="text", label_field="label"):
        if isinstance(row, BadRow):
            print(row)  # reviews.csv:7: expected a text. Received: an empty one; ...
        else:
            print(row.text, row.label)

Rows come one at a time, or many together (`read_blocks`), in the file's order, in constant memory. A row that cannot
be used is handed out as a `BadRow`; a file that is wrong as a whole raises
`BadFileError`. A new format is a module beside this one with a `Reader`, a line in
`READERS`, and its ending in `opening.ENDINGS`.

Whether a bad row stops the run is left to `trainer.data.sources`, which labels exist
and what number each gets to `trainer.data.labels`.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Iterator, Mapping

from trainer.config import Escape
from trainer.data import pairs
from trainer.data.readers import (
    delimited,
    fasttext,
    json_rows,
    parquet,
    text_lines,
    tfrecord,
    whole_text,
)
from trainer.data.readers.encodings import AUTOMATIC
from trainer.data.readers.opening import Opening, PathOrStream, opened
from trainer.data.readers.request import (
    NO_SECOND_TEXT,
    Block,
    OnBlankLine,
    OnSettled,
    Reader,
    Record,
    Request,
    ignore_blank_line,
    ignore_settled,
)
from trainer.data.readers.rows import (
    BadFileError,
    BadRow,
    BadValue,
    EmptyFileError,
    Row,
    Rows,
    check_text,
)

READERS: Mapping[str, Reader] = {
    "text": text_lines.read,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": json_rows.read,
    "parquet": parquet.read,
    "tfrecord": tfrecord.read,
    "fasttext": fasttext.read,
    "whole_text": whole_text.read,
}
_TABLES = ("csv", "tsv")
# What is said of a file whose reader settles nothing.
_TITLES = {
    "text": "text lines",
    "jsonl": "JSON objects",
    "parquet": "Parquet",
    "whole_text": "one text",
}


def read_rows(
    path: PathOrStream,
    *,
    text_field: str,
    label_field: str | None,
    second_text_field: str = "",
    has_several_labels: bool = False,
    file_format: str = "auto",
    allow_empty_text: bool = False,
    where: Mapping[str, str] | None = None,
    keep: tuple[str, ...] = (),
    encoding: str = AUTOMATIC,
    column_names: tuple[str, ...] = (),
    escape: Escape = "auto",
    first_row: int = 0,
    on_blank_line: OnBlankLine = ignore_blank_line,
    on_settled: OnSettled = ignore_settled,
) -> Iterator[Row | BadRow]:
    """Reads the rows of one file, in order.

    Args:
      path: the file, or a binary stream (not closed here).
      text_field: name of the column with the text (not used for text lines).
      label_field, second_text_field, has_several_labels: as of `Request`. None: labels are not read.
      file_format: csv, tsv, jsonl, parquet, text; "auto" goes by the file's ending.
      allow_empty_text: hand out empty and white-space-only texts as rows.
      where: column → value; only rows that have these values are read.
      keep: names of further columns, for `Row.kept`.
      encoding, column_names, escape: as the flags of these names say.
      first_row: how many rows are left out at the beginning. Of Parquet whole row groups
        of them are not read.
      on_blank_line: called with the number of each empty line that is no row.
      on_settled: called once, before the first row, with how the file is read:
        "reviews.csv: cp1252, separated by ';', columns id, text, label".

    Yields:
      A `Row`, or a `BadRow` in the place of one that cannot be used.

    Raises:
      BadFileError: the file is missing, of another format, without the columns, or
        (except for text lines) without any row. Raised when iteration gets there.
    """
    request = Request(
        "",
        text_field=text_field,
        label_field=label_field,
        second_text_field=second_text_field,
        has_several_labels=has_several_labels,
        where=where or {},
        kept_fields=keep,
        column_names=column_names,
        escape=escape,
        first_row=first_row,
        on_blank_line=on_blank_line,
        on_settled=on_settled,
    )
    for each in _read(path, request, file_format, encoding, allow_empty_text):
        # Nobody asked for rows together.
        if not isinstance(each, Rows):
            yield each


def read_blocks(
    path: PathOrStream,
    request: Request,
    *,
    file_format: str = "auto",
    encoding: str = AUTOMATIC,
) -> Iterator[Row | BadRow | Rows]:
    """The same rows in the same order, those that need no second look together.

    Args:
      path, file_format, encoding: as `read_rows` takes them.
      request: what to read; the file's own name is put into it.

    Raises:
      BadFileError: as `read_rows`.
    """
    request = dataclasses.replace(request, wants_blocks=True)
    return _read(path, request, file_format, encoding, allow_empty_text=False)


def _read(
    path: PathOrStream,
    request: Request,
    file_format: str,
    encoding: str,
    allow_empty_text: bool,
) -> Iterator[Row | BadRow | Rows]:
    with opened(path, file_format=file_format, encoding=encoding) as opening:
        tell = _Telling(opening, request.on_settled)
        request = dataclasses.replace(request, file=opening.file, on_settled=tell)
        _refuse_what_has_no_effect(opening, request)
        records = _records(opening, request, tell)
        if opening.file_format != "parquet":
            records = itertools.islice(records, request.first_row, None)
        for record in records:
            if isinstance(record, BadRow):
                yield record
            elif isinstance(record, Block):
                yield from _rows_of(record, request)
            elif request.is_wanted(record[1]):
                yield _row_of(record, request, allow_empty_text=allow_empty_text)


def _rows_of(block: Block, request: Request) -> Iterator[Rows | BadRow]:
    # Imported here, so that who reads row by row does not wait for pyarrow.
    from trainer.data.readers import blocks

    return blocks.rows_of(block, request)


class _Telling:
    """Tells once, in a sentence, how a file is read."""

    def __init__(self, opening: Opening, on_settled: OnSettled) -> None:
        self._opening, self._on_settled = opening, on_settled
        self._is_told = False

    def __call__(self, words: str) -> None:
        """Tells what the format's reader settled, with what the opening did."""
        self._is_told = True
        parts = filter(None, [self._opening.settled, words])
        self._on_settled(f"{self._opening.file}: {', '.join(parts)}")

    def at_last(self) -> None:
        """Tells the format alone, where its reader settled nothing."""
        if not self._is_told:
            file_format = self._opening.file_format
            self(_TITLES.get(file_format, file_format))


def _refuse_what_has_no_effect(opening: Opening, request: Request) -> None:
    """Raises BadFileError where the format lacks what is asked for."""
    if opening.file_format == "text" and request.label_field is not None:
        raise BadFileError(
            opening.file,
            rule="expected texts with labels",
            received="a file of text lines, which has none",
            mend="use .csv, .tsv, .jsonl or .parquet; a folder for each label is named "
            "by folder:FOLDER",
        )
    if opening.file_format not in _TABLES and request.column_names:
        raise BadFileError(
            opening.file,
            rule="expected a CSV or TSV file, whose columns --column_names names",
            received=_TITLES.get(opening.file_format, opening.file_format),
            mend="leave --column_names away",
        )


def _records(
    opening: Opening, request: Request, tell: _Telling
) -> Iterator[Record | BadRow | Block]:
    """What the format's reader gives, which is to be something."""
    # A file of no texts has an answer, no texts; a table of no rows is a mistake.
    is_empty = opening.file_format not in ("text", "whole_text")
    read = READERS[opening.file_format]
    if is_empty and not opening.head:
        raise _empty(opening)
    for record in read(opening.stream, head=opening.head, request=request):
        is_empty = False
        tell.at_last()
        yield record
    tell.at_last()
    if is_empty and not request.first_row:
        raise _empty(opening)


def _empty(opening: Opening) -> EmptyFileError:
    return EmptyFileError(
        opening.file,
        rule="expected at least one row",
        received="none" if opening.head else "an empty file (0 bytes)",
        mend="give a file with rows",
    )


def _row_of(
    record: Record, request: Request, *, allow_empty_text: bool
) -> Row | BadRow:
    line, values = record
    try:
        text = request.text_of(values)
    except BadValue as bad_value:
        return bad_value.at(request.file, line=line)
    return make_row(
        text,
        request.label_of(values),
        second_text=request.second_text_of(values),
        file=request.file,
        line=line,
        has_label=request.label_field is not None,
        allow_empty_text=allow_empty_text,
        kept={name: values[name] for name in request.kept_fields},
    )


def make_row(
    text: object,
    label: object,
    *,
    file: str,
    line: int,
    second_text: object = NO_SECOND_TEXT,
    has_label: bool = True,
    allow_empty_text: bool = False,
    kept: Mapping[str, object] | None = None,
) -> Row | BadRow:
    """Makes a row of a text and a label, or says why they make none.

    Args:
      text: a string, or bytes of UTF-8.
      label: of any type; `trainer.data.labels` judges it.
      second_text: of a pair, like `text`.
      file: where they come from, for the message.
      line: line or row number, from 1, for the message.
      has_label: whether a label is needed; if not, `label` is not looked at.
      allow_empty_text: whether a text may be empty or white space only.
      kept: what `Row.kept` is to be.
    """
    try:
        checked = check_text(text, allow_empty=allow_empty_text)
        if second_text is not NO_SECOND_TEXT:
            second = check_text(
                second_text,
                allow_empty=allow_empty_text,
                rule="expected a second text",
                flag="second_text_field",
            )
            checked = pairs.joined(checked, second)
        return Row(
            checked,
            label if has_label else None,
            line,
            kept or {},
        )
    except BadValue as bad_value:
        bad_row = bad_value.at(file, line=line)
        return dataclasses.replace(bad_row, kept=kept or {})

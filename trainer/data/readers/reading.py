"""Reads labelled texts from CSV, TSV, JSON Lines, Parquet and plain text files.

    for row in read_rows("reviews.csv", text_field="text", label_field="label"):
        if isinstance(row, BadRow):
            print(row)  # reviews.csv:7: expected a text. Received: an empty one; ...
        else:
            print(row.text, row.label)

Rows come one at a time, in the file's order, in constant memory. A row that cannot
be used is handed out as a `BadRow`; a file that is wrong as a whole raises
`BadFileError`. A new format is a module beside this one with a `Reader`, a line in
`READERS`, and its ending in `opening.ENDINGS`.

Whether a bad row stops the run is left to `trainer.data.sources`, which labels exist
and what number each gets to `trainer.data.labels`.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from trainer.data.readers import delimited, json_lines, parquet, text_lines
from trainer.data.readers.opening import (
    HEAD_BYTES,
    PathOrStream,
    format_of,
    opened,
    refuse_other_formats,
)
from trainer.data.readers.request import (
    OnBlankLine,
    Reader,
    Record,
    Request,
    ignore_blank_line,
)
from trainer.data.readers.rows import BadFileError, BadRow, BadValue, Row, check_text

READERS: Mapping[str, Reader] = {
    "text": text_lines.read,
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "jsonl": json_lines.read,
    "parquet": parquet.read,
}


def read_rows(
    path: PathOrStream,
    *,
    text_field: str,
    label_field: str | None,
    file_format: str = "auto",
    allow_empty_text: bool = False,
    where: Mapping[str, str] | None = None,
    keep: tuple[str, ...] = (),
    on_blank_line: OnBlankLine = ignore_blank_line,
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
      keep: names of further columns, for `Row.kept`.
      on_blank_line: called with the number of each empty line that is no row.

    Yields:
      A `Row`, or a `BadRow` in the place of one that cannot be used.

    Raises:
      BadFileError: the file is missing, of another format, without the columns, or
        (except for text lines) without any row. Raised when iteration gets there.
    """
    with opened(path) as (file, stream):
        file_format = format_of(file, file_format)
        request = Request(
            file,
            text_field=text_field,
            label_field=label_field,
            where=where or {},
            kept_fields=keep,
            on_blank_line=on_blank_line,
        )
        head = stream.read(HEAD_BYTES)
        refuse_other_formats(
            file, file_format=file_format, head=head, label_field=label_field
        )
        # A file of no texts has an answer, no texts; a table of no rows is a mistake.
        is_empty = file_format != "text"
        for record in READERS[file_format](stream, head=head, request=request):
            is_empty = False
            if isinstance(record, BadRow):
                yield record
            elif request.is_wanted(record[1]):
                yield _row_of(record, request, allow_empty_text=allow_empty_text)
        if is_empty:
            raise BadFileError(
                file,
                rule="expected at least one row",
                received="none" if head else "an empty file (0 bytes)",
                mend="give a file with rows",
            )


def _row_of(
    record: Record, request: Request, *, allow_empty_text: bool
) -> Row | BadRow:
    line, values = record
    return make_row(
        values[request.text_field],
        None if request.label_field is None else values[request.label_field],
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
    has_label: bool = True,
    allow_empty_text: bool = False,
    kept: Mapping[str, object] | None = None,
) -> Row | BadRow:
    """Makes a row of a text and a label, or says why they make none.

    Args:
      text: a string, or bytes of UTF-8.
      label: of any type; `trainer.data.labels` judges it.
      file: where they come from, for the message.
      line: line or row number, from 1, for the message.
      has_label: whether a label is needed; if not, `label` is not looked at.
      allow_empty_text: whether a text may be empty or white space only.
      kept: what `Row.kept` is to be.
    """
    try:
        return Row(
            check_text(text, allow_empty=allow_empty_text),
            label if has_label else None,
            line,
            kept or {},
        )
    except BadValue as bad_value:
        return bad_value.at(file, line=line)

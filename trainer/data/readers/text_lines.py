"""Reads plain text: every line is a text, empty ones too, and there are no labels.

    request = Request("texts.txt", text_field="text", label_field=None)
    list(read(io.BytesIO(b"Good.\n\n"), head=b"", request=request))
    # [(1, {"text": "Good."}), (2, {"text": ""})]

Whether an empty text is a usable row is left to `reading.py`.
"""

from __future__ import annotations

from typing import BinaryIO, Iterator

from trainer.data.readers.lines import read_lines
from trainer.data.readers.nested import named
from trainer.data.readers.request import Record, Request
from trainer.data.readers.rows import BadFileError, BadRow


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow]:
    """One record a line, without its end. A `Reader`.

    Raises:
      BadFileError: a field besides the text is wanted.
    """
    _refuse_other_fields(request)
    for line in read_lines(stream, head=head):
        if line.bad_value:
            yield line.bad_value.at(request.file, line=line.number)
        else:
            yield line.number, {request.text_field: line.text.rstrip("\r\n")}


def _refuse_other_fields(request: Request) -> None:
    fields = request.fields_in((request.text_field,))
    others = [name for name in fields if name != request.text_field]
    if others:
        raise BadFileError(
            request.file,
            rule=f"expected the columns {named(others)}",
            received="a text a line, without columns",
            mend="give a .csv, .tsv, .jsonl or .parquet file that has them, or name no "
            "column besides the text",
        )

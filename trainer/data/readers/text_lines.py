"""Reads plain text: every line is a text, empty ones too, and there are no labels.

    request = Request("texts.txt", text_field="text", label_field=None)
    list(read(io.BytesIO(b"Good.\n\n"), head=b"", request=request))
    # [(1, {"text": "Good."}), (2, {"text": ""})]

Whether an empty text is a usable row is left to `reading.py`.
"""

from __future__ import annotations

from typing import BinaryIO, Iterator

from trainer.data.readers.lines import read_lines
from trainer.data.readers.request import Record, Request
from trainer.data.readers.rows import BadRow


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow]:
    """One record a line, without its end. A `Reader`."""
    for line in read_lines(stream, head=head):
        if line.bad_value:
            yield line.bad_value.at(request.file, line=line.number)
        else:
            yield line.number, {request.text_field: line.text.rstrip("\r\n")}

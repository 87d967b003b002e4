"""Reads a file that is one text, in a folder that is named after its label.

    request = Request("train/neg/7_2.txt", text_field="text", label_field="label")
    list(read(io.BytesIO(b"Dull.\\n"), head=b"", request=request))
    # [(1, {"text": "Dull.", "label": "neg"})]

Which folders are those of labels is left to `trainer.data.folders`.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Iterator

from trainer.data.readers.request import Record, Request, column_positions
from trainer.data.readers.rows import BadRow, bad_utf8


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow]:
    """One record, of line 1, without the line end at its end. A `Reader`."""
    label = request.label_field
    columns = [request.text_field] if label is None else [request.text_field, label]
    # Raises for any other column: there is none.
    column_positions(request, columns, line=0)
    folder = os.path.basename(os.path.dirname(os.path.abspath(request.file)))
    try:
        text = (head + stream.read()).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        yield bad_utf8(error, unit="file").at(request.file, line=1)
    else:
        yield 1, dict(zip(columns, (text, folder)))

"""Makes rows of blocks of records: looks at all of their texts at once.

    for rows in rows_of(block, request):
        rows.texts, rows.labels         # or a `BadRow`, between rows before and after it

What is done here with Arrow's arrays, `reading.py` does with rows that come one by one.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.readers.request import Block, Request
from trainer.data.readers.rows import BadRow, BadValue, Rows, check_text

_IS_LETTER_OR_DIGIT = np.array(
    [byte < 128 and chr(byte).isalnum() for byte in range(256)]
)


def rows_of(block: Block, request: Request) -> Iterator[Rows | BadRow]:
    """The wanted rows of a block, parted where one is bad."""
    is_wanted = np.ones(len(block.lines), bool)
    for name, value in request.where.items():
        is_wanted &= pc.equal(block.columns[name], value).to_numpy(zero_copy_only=False)
    columns, lines = block.columns, block.lines
    if not is_wanted.all():
        lines = lines[is_wanted]
        columns = {name: each.filter(is_wanted) for name, each in columns.items()}
    texts, labels = columns[request.text_field], columns[request.label_field or ""]
    kept = {name: columns[name] for name in request.kept_fields}
    rows = Rows(texts, labels, lines, kept)
    start = 0
    for row in np.flatnonzero(~_begin_visibly(texts)).tolist():
        try:
            check_text(texts[row].as_py(), allow_empty=False)
        except BadValue as bad_value:
            if row > start:
                yield rows.slice(start, row)
            start = row + 1
            of_row = {name: column[row].as_py() for name, column in kept.items()}
            bad_row = bad_value.at(request.file, line=int(lines[row]))
            yield dataclasses.replace(bad_row, kept=of_row)
    if start < len(rows):
        yield rows.slice(start, len(rows)) if start else rows


def _begin_visibly(texts: pa.Array) -> np.ndarray:
    """Whether the first byte of each text, large_string [n], is an ASCII letter or digit.

    So do nearly all, and such a text is not blank: bool [n].
    """
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :]
    offsets = offsets[: len(texts) + 1]
    result = np.zeros(len(texts), bool)
    has_any = np.diff(offsets) > 0
    if has_any.any():
        signs = np.frombuffer(texts.buffers()[2], np.uint8)
        result[has_any] = _IS_LETTER_OR_DIGIT[signs[offsets[:-1][has_any]]]
    return result

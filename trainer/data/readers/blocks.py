"""Makes rows of blocks of records: looks at all of their texts at once.

    for rows in rows_of(block, request):
        rows.texts, rows.labels         # or a `BadRow`, between rows before and after it

What is done here with Arrow's arrays, `reading.py` does with rows that come one by one.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data import pairs
from trainer.data.readers.request import Block, Request
from trainer.data.readers.rows import BadRow, BadValue, Rows, check_text

_STRINGS = (pa.string(), pa.large_string())
_PAIR_SEPARATOR = pairs.SEPARATOR.encode()
# Of ASCII all but blanks and controls.
_IS_SEEN = np.array([32 < byte < 127 for byte in range(256)])


def checked(
    arrays: Mapping[str, pa.Array],
    request: Request,
    *,
    first_line: int,
    classes: Sequence[str] = (),
) -> Block | None:
    """A block of these columns; None where a value of one needs a second look.

    Args:
      arrays: by field, of any type and of n rows each.
      request: tells which is the text and which the label.
      first_line: the number of the first row, from 1.
      classes: names for labels that are numbers from 0.
    """
    label = request.label_field or ""
    columns = {name: _strings(array) for name, array in arrays.items() if name != label}
    columns[label] = _labels(arrays[label], classes)
    text = columns[request.text_field]
    if any(column is None for column in columns.values()) or _has_sign(text):
        return None
    num_rows = len(arrays[label])
    return Block(np.arange(first_line, first_line + num_rows), columns)


def _strings(array: pa.Array) -> pa.Array | None:
    """The same as large_string; None: a value is missing, none, or no UTF-8."""
    if array.null_count or array.type not in _STRINGS:
        return None
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return array.cast(pa.large_string())


def _labels(array: pa.Array, classes: Sequence[str]) -> pa.DictionaryArray | None:
    """The same as a dictionary of strings, integers or booleans; None: a label is none."""
    if pa.types.is_dictionary(array.type):
        if array.null_count or array.type.value_type not in _STRINGS:
            return None
        array = array.dictionary_decode()
    if array.type in _STRINGS:
        strings = _strings(array)
        return None if strings is None else strings.dictionary_encode()
    is_number = pa.types.is_integer(array.type)
    if array.null_count or not (is_number or pa.types.is_boolean(array.type)):
        return None
    encoded = array.dictionary_encode()
    if not (classes and is_number):
        return encoded
    numbers = encoded.dictionary.to_pylist()
    if not all(0 <= number < len(classes) for number in numbers):
        return None
    names = pa.array([classes[number] for number in numbers], pa.large_string())
    return pa.DictionaryArray.from_arrays(encoded.indices, names)


def _has_sign(texts: pa.Array) -> bool:
    """Whether a text holds a NUL or the separator of pairs."""
    first, last = texts.offset, texts.offset + len(texts)
    offsets = np.frombuffer(texts.buffers()[1], np.int64)
    if offsets[first] == offsets[last]:
        return False
    signs = np.frombuffer(texts.buffers()[2], np.uint8)[offsets[first] : offsets[last]]
    if not signs.all():
        return True
    # Rare as the first byte of a character, so that the whole is seldom looked for.
    if not (signs == _PAIR_SEPARATOR[0]).any():
        return False
    return bool(pc.any(pc.match_substring(texts, pairs.SEPARATOR)).as_py())


def rows_of(block: Block, request: Request) -> Iterator[Rows | BadRow]:
    """The wanted rows of a block, parted where one is bad."""
    is_wanted = np.ones(len(block.lines), bool)
    for name, value in request.where.items():
        is_wanted &= _equal(block.columns[name], value)
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


def _equal(column: pa.Array, value: str) -> np.ndarray:
    """Which rows have this string; a number or a truth value is none: bool [n]."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.type not in _STRINGS:
        return np.zeros(len(column), bool)
    result: np.ndarray = pc.equal(column, value).to_numpy(zero_copy_only=False)
    return result


def _begin_visibly(texts: pa.Array) -> np.ndarray:
    """Whether each text, large_string [n], begins with a character of ASCII that is seen.

    So do nearly all, and such a text is not blank: bool [n].
    """
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :]
    offsets = offsets[: len(texts) + 1]
    result = np.zeros(len(texts), bool)
    has_any = np.diff(offsets) > 0
    if has_any.any():
        signs = np.frombuffer(texts.buffers()[2], np.uint8)
        result[has_any] = _IS_SEEN[signs[offsets[:-1][has_any]]]
    return result

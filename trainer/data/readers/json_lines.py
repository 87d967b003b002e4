"""Reads JSON Lines: an object a line, with the columns as its keys.

    {"text": "A fine film.", "label": "positive"}

Other keys may be there. A requested key that is doubled makes a bad row: JSON allows
it, and Python would silently take the last. Values keep their JSON types; which of
them are texts and labels is left to `reading.py`.
"""

from __future__ import annotations

import json
from typing import BinaryIO, Iterator, Mapping

from trainer.data.readers.lines import Line, read_lines
from trainer.data.readers.request import Record, Request, named
from trainer.data.readers.rows import BadFileError, BadRow, BadValue, type_shown
from trainer.messages import did_you_mean, shown


class _JsonObject(list[tuple[str, object]]):
    """The pairs of a JSON object, doubled keys included."""


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow]:
    """One record a line that is not empty. A `Reader`.

    Raises:
      BadFileError: the first line is no object, so the file is of another format.
    """
    is_first = True
    for line in read_lines(stream, head=head):
        if not line.text.strip("\r\n"):
            request.on_blank_line(line.number)
            continue
        if is_first and not line.text.lstrip().startswith("{"):
            raise _no_json_lines(request.file, line)
        is_first = False
        try:
            yield line.number, _values(line, request)
        except BadValue as bad_value:
            yield bad_value.at(request.file, line=line.number)


def _no_json_lines(file: str, line: Line) -> BadFileError:
    is_array = line.text.lstrip().startswith("[")
    text = line.text.rstrip("\r\n")
    return BadFileError(
        file,
        line=line.number,
        rule="expected a JSON object a line",
        received="a JSON array" if is_array else shown(text),
        mend=(
            "write each element on a line of its own"
            if is_array
            else "if it is CSV, give it the ending .csv"
        ),
    )


def _values(line: Line, request: Request) -> Mapping[str, object]:
    """The values of a line's object by key; raises BadValue."""
    pairs = _parsed(line)
    keys = [key for key, _ in pairs]
    for field in request.fields:
        if keys.count(field) != 1:
            raise _wrong_key(field, keys, request)
    return {
        key: dict(value) if isinstance(value, _JsonObject) else value
        for key, value in pairs
    }


def _parsed(line: Line) -> _JsonObject:
    if line.bad_value:
        raise line.bad_value
    try:
        pairs = json.loads(line.text, object_pairs_hook=_JsonObject)
    # Python's parser recurses, so a line of many brackets ends in a RecursionError.
    except (ValueError, RecursionError) as error:
        raise BadValue(
            rule="expected a JSON object a line",
            received=f"no valid JSON: {error}",
            mend="mend or remove the line",
        ) from None
    if not isinstance(pairs, _JsonObject):
        raise BadValue(
            rule="expected a JSON object a line",
            received=type_shown(pairs),
            mend="mend or remove the line",
        )
    return pairs


def _wrong_key(field: str, keys: list[str], request: Request) -> BadValue:
    if field in keys:
        received, mend = f"{keys.count(field)} of that name", "remove all but one"
    else:
        received = f"keys {named(keys)}{did_you_mean(field, keys)}"
        mend = request.mend_of_missing(field)
    return BadValue(rule=f"expected one key {field!r}", received=received, mend=mend)

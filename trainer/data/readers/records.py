"""Takes the requested fields from records, each of which has keys of its own.

    records = iter([(1, {"title": "Fine", "text": "A film.", "label": 1})])
    list(requested(records, request))  # [(1, {"text": "A film.", "label": 1})]

A field may be a path (`nested.py`). Each record says which keys it has, so a field that
is missing makes a bad row, not a bad file; one of several texts may be missing. Where
records come from is left to the formats.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from trainer.data.readers.nested import AbsentValue, lookup, named
from trainer.data.readers.request import Block, Record, Request
from trainer.data.readers.rows import BadFileError, BadRow, BadValue, type_shown

# Where a record starts, and the record.
Records = Iterator[tuple[int, object] | BadRow | Block]


def requested(records: Records, request: Request) -> Iterator[Record | BadRow | Block]:
    """The requested fields of each record, or why it has them not; blocks have them.

    Raises:
      BadFileError: one of several text fields is in no record.
    """
    seen: set[str] = set()
    absent: dict[str, BadRow] = {}
    for record in records:
        if isinstance(record, (BadRow, Block)):
            yield record
            continue
        line, value = record
        try:
            values, missing = _values(value, request)
        except BadValue as bad_value:
            yield bad_value.at(request.file, line=line)
            continue
        seen.update(values)
        for field, why in missing.items():
            absent.setdefault(field, why.at(request.file, line=line))
        yield line, values
    # A name that is wrong would otherwise cost every text its part, silently.
    for field, bad in absent.items():
        if field not in seen:
            raise BadFileError(
                request.file,
                line=bad.line,
                rule=f"{bad.rule}, at least in one row",
                received=bad.received,
                mend=bad.mend,
            )


def _values(
    value: object, request: Request
) -> tuple[Mapping[str, object], Mapping[str, AbsentValue]]:
    """The values of a record, and which of several texts it has not; raises BadValue."""
    if not isinstance(value, dict):
        raise BadValue(
            rule="expected an object with keys",
            received=type_shown(value),
            mend="mend or remove it",
        )
    texts = request.text_fields_in(value)
    values = {}
    missing: dict[str, AbsentValue] = {}
    for field in request.fields_in(value):
        try:
            values[field] = lookup(value, field, mend=request.mend_of_missing(field))
        except AbsentValue as absent:
            if len(texts) == 1 or field not in texts:
                raise
            missing[field] = absent
    if len(missing) == len(texts):
        raise BadValue(
            rule=f"expected one of the keys {named(list(texts))}",
            received=f"keys {named(list(value))}",
            mend=request.mend_of_missing(texts[0]),
        )
    return values, missing

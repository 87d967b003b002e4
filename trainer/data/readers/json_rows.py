"""Reads JSON: objects with the columns as their keys, in any of the usual shapes.

    {"text": "A fine film.", "label": "positive"}      an object a line, or over lines
    [{"text": ...}, {"text": ...}]                      an array of objects
    {"data": [{"text": ...}, {"text": ...}]}            rows under a key, or by their id
    {"text": ["A fine film."], "label": ["positive"]}   columns, as pandas writes them

The content tells the shape. Objects and arrays are read piece by piece; rows under a
key and columns are one value, of at most `MAX_VALUE_CHARACTERS`. A record's line is
the one where its object starts; in columns it is the number of the row. Where one of
several objects is broken, reading continues at the next line that begins with one.

Other keys may be there. A requested key that is doubled makes a bad row: JSON allows
it, and Python would silently take the last. Values keep their JSON types; which of
them are texts and labels is left to `reading.py`.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, BinaryIO, Iterator

from trainer.data.readers.json_scanner import (
    BadBytes,
    BrokenJson,
    JsonScanner,
    json_object,
)
from trainer.data.readers.nested import AbsentValue, lookup, named
from trainer.data.readers.records import Records, requested
from trainer.data.readers.request import Block, Record, Request
from trainer.data.readers.rows import BadFileError, BadRow, BadValue, type_shown
from trainer.messages import shown

if TYPE_CHECKING:
    from trainer.data.readers.json_blocks import JsonBlocks


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow | Block]:
    """One record an object. A `Reader`.

    Raises:
      BadFileError: the file is of another format; an array is broken; it is not clear
        where the rows are; one of several text fields is in no row.
    """
    scanner = JsonScanner(stream, head=head)
    try:
        yield from requested(_items(scanner, request), request)
    except BrokenJson as error:
        raise _bad_file(request, error, line=error.line) from None
    except BadValue as error:
        raise _bad_file(request, error, line=scanner.line) from None


def _bad_file(request: Request, bad: BadValue, *, line: int) -> BadFileError:
    return BadFileError(
        request.file, line=line, rule=bad.rule, received=bad.received, mend=bad.mend
    )


# The shapes.


def _items(scanner: JsonScanner, request: Request) -> Records:
    """The values that stand for rows, whatever the shape of the file."""
    sign = scanner.peek()
    if sign == "[":
        request.on_settled("a JSON array of objects")
        return _array(scanner, request)
    if sign not in ("{", ""):
        raise BadFileError(
            request.file,
            line=scanner.line,
            rule="expected JSON objects",
            received=shown(scanner.rest_of_line().rstrip("\n")),
            mend="if it is CSV, give it the ending .csv",
        )
    value = scanner.only_value() if sign else None
    contained = None
    if isinstance(value, dict):
        contained = _contained(value, scanner, request)
    if contained is None:
        request.on_settled("JSON objects")
        return _sequence(scanner, request)
    words, items = contained
    request.on_settled(words)
    return items


def _lines(scanner: JsonScanner, request: Request) -> JsonBlocks | None:
    """What takes objects of a line each together; None: nobody wants that."""
    if not (request.wants_blocks and request.has_plain_fields):
        return None
    # Imported here, so that who reads row by row does not wait for pyarrow.
    from trainer.data.readers.json_blocks import JsonBlocks

    return JsonBlocks(scanner, request)


def _sequence(scanner: JsonScanner, request: Request) -> Records:
    """Objects one after the other: one a line, or over several lines."""
    last = 0
    lines = _lines(scanner, request)
    while scanner.peek():
        line = scanner.line
        _tell_blank_lines(request, last, line)
        block = lines.take() if lines else None
        if block is not None:
            yield block
            last = line + len(block.lines) - 1
            continue
        try:
            value = scanner.value()
            if not scanner.is_line_done():
                raise _extra_data(scanner)
        except BrokenJson as error:
            yield error.at(request.file, line=line)
            _skip_broken(scanner, error)
            last = scanner.line - 1
            continue
        except BadBytes as error:
            yield error.at(request.file, line=line)
        else:
            yield line, value
        last = scanner.line
    _tell_blank_lines(request, last, scanner.line)


def _tell_blank_lines(request: Request, before: int, after: int) -> None:
    for line in range(before + 1, after):
        request.on_blank_line(line)


def _extra_data(scanner: JsonScanner) -> BrokenJson:
    sign = scanner.peek()
    error = scanner.broken(f"{sign!r} after the object")
    if sign == ",":
        error.mend = "remove the comma, or put all objects in one [ and ]"
    return error


def _skip_broken(scanner: JsonScanner, error: BrokenJson) -> None:
    """Takes the line; if an object over lines went wrong below, all that is of it."""
    is_over_lines = error.line > scanner.line
    rest = scanner.rest_of_line()
    while rest and is_over_lines and not scanner.is_at_object():
        rest = scanner.rest_of_line()


def _array(scanner: JsonScanner, request: Request) -> Records:
    line = scanner.line
    yield from _elements(scanner, request)
    if scanner.peek():
        raise BadFileError(
            request.file,
            line=scanner.line,
            rule=f"expected the end of the file after the array of line {line}",
            received=shown(scanner.rest_of_line().rstrip("\n")),
            mend="put all objects into one array, or each on a line without arrays",
        )


def _elements(scanner: JsonScanner, request: Request) -> Records:
    """The elements of the array ahead, each as it is reached."""
    scanner.take("[")
    is_first = True
    if scanner.peek() != "]":
        while is_first or scanner.peek() == ",":
            if not is_first:
                scanner.take(",")
            scanner.peek()
            line = scanner.line
            try:
                value = scanner.value()
            except BadBytes as error:
                yield error.at(request.file, line=line)
                is_first = False
                continue
            if is_first and not isinstance(value, dict):
                raise _no_objects(value, request, line=line)
            is_first = False
            yield line, value
    scanner.take("]")


def _no_objects(value: object, request: Request, *, line: int) -> BadFileError:
    return BadFileError(
        request.file,
        line=line,
        rule="expected an array of objects",
        received=f"one whose first element is {type_shown(value)}",
        mend=f'write each row as an object: {{"{request.text_field}": ...}}',
    )


# Shapes that are one single object.


def _contained(
    value: dict[str, object], scanner: JsonScanner, request: Request
) -> tuple[str, Records] | None:
    """The rows in a file's only object, named; None if the object itself is the row.

    Raises:
      BadFileError: several keys may be those of the rows.
    """
    texts = _texts_of(value, request)
    if texts:
        are_columns = all(isinstance(text, (list, dict)) for text in texts)
        columns = _columns(value, request)
        return ("columns of a JSON object", columns) if are_columns else None
    names, rows = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(rows, list):
        return "JSON, column names and lists of values", _named_lists(names, rows)
    if value and all(_texts_of(row, request) for row in value.values()):
        return "JSON objects by their ids", _rows_by_id(scanner)
    path = _path_of_rows(value, scanner, request)
    if path:
        rows_under = _rows_under(path, scanner, request)
        return f"JSON objects under the key {'.'.join(path)!r}", rows_under
    if [] in value.values():
        return "no JSON objects", iter(())
    return None


def _path_of_rows(
    value: dict[str, object], scanner: JsonScanner, request: Request
) -> list[str]:
    """The keys that lead to a list of objects; of several, to the one that has texts.

    [] if there is none.
    """
    lists = _lists_of_objects(value)
    if len(lists) > 1:
        lists = [each for each in lists if _texts_of(each[1], request)] or lists
    if len(lists) > 1:
        paths = [".".join(path) for path, _ in lists]
        keys = "".join(f"[{json.dumps(key)}]" for key in lists[0][0])
        raise BadFileError(
            request.file,
            line=scanner.line,
            rule="expected one key with a list of objects",
            received=f"{len(lists)} of them: {named(paths)}",
            mend=f"write one to a file of its own: jq -c '.{keys}[]' FILE > NEW.jsonl",
        )
    for path, _ in lists:
        # Raises if one is there twice.
        lookup(value, ".".join(path), mend="")
    return lists[0][0] if lists else []


def _lists_of_objects(value: dict[str, object]) -> list[tuple[list[str], object]]:
    """Path and first object of each list of objects, of those that are least deep."""
    level = [([key], each) for key, each in value.items()]
    while level:
        found: list[tuple[list[str], object]] = [
            (path, each[0])
            for path, each in level
            if isinstance(each, list) and each and isinstance(each[0], dict)
        ]
        if found:
            return found
        level = [
            ([*path, key], below)
            for path, each in level
            if isinstance(each, dict)
            for key, below in each.items()
        ]
    return []


def _texts_of(value: object, request: Request) -> list[object]:
    """The values of the text fields, of those that are there."""
    found = []
    for field in request.text_fields_in(value) if isinstance(value, dict) else ():
        with contextlib.suppress(AbsentValue):
            found.append(lookup(value, field, mend=""))
    return found


def _rows_under(path: list[str], scanner: JsonScanner, request: Request) -> Records:
    """The objects in the list at a path; read again, for their lines."""
    for key in path:
        scanner.take("{")
        while scanner.value() != key:
            scanner.take(":")
            scanner.value()
            scanner.take(",")
        scanner.take(":")
    yield from _elements(scanner, request)


def _rows_by_id(scanner: JsonScanner) -> Records:
    """The objects that are the values of an object, as {"id 7": {"text": ...}}."""
    sign = "{"
    while sign != "}":
        scanner.take(sign)
        scanner.value()
        scanner.take(":")
        scanner.peek()
        line = scanner.line
        yield line, scanner.value()
        sign = scanner.peek()


def _named_lists(names: list[object], rows: list[object]) -> Records:
    """Lists of values with their names apart, as pandas' orient="split" writes them."""
    for number, row in enumerate(rows, start=1):
        if isinstance(row, list) and len(row) == len(names):
            yield number, json_object(list(zip(map(str, names), row)))
        else:
            yield number, row


def _columns(value: dict[str, object], request: Request) -> Records:
    """Rows of columns: lists, or objects whose keys number the rows."""
    columns: dict[str, dict[object, object]] = {}
    for field in request.fields_in(value):
        try:
            column = lookup(value, field, mend=request.mend_of_missing(field))
        except BadValue as error:
            raise _bad_file(request, error, line=0) from None
        if isinstance(column, dict):
            columns[field] = dict(column)
        else:
            columns[field] = dict(enumerate(column if isinstance(column, list) else []))
    first, *others = columns.values()
    if any(other.keys() != first.keys() for other in others):
        lengths = (f"{name!r} of {len(each)}" for name, each in columns.items())
        raise BadFileError(
            request.file,
            rule="expected columns that number the same rows",
            received=", ".join(lengths),
            mend="write an object a row",
        )
    for number, key in enumerate(first, start=1):
        yield number, {field: column[key] for field, column in columns.items()}

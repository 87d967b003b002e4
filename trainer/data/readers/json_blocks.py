"""Parses many JSON objects of a line each at once, where all parsers read them alike.

    block = JsonBlocks(scanner, request).take()     # None: look closer

pyarrow parses lines that begin with { and end with }, which no object within another can
part. What Python's parser may read otherwise (labels of several types, numbers with a
point, a key that is doubled or missing, half a surrogate pair, a NUL, brackets in
brackets) is left to `json_rows.py`, which reads any JSON object by object.
"""

from __future__ import annotations

import re
from typing import Iterator

import numpy as np
import pyarrow as pa

from trainer.data.readers import blocks
from trainer.data.readers.json_scanner import JsonScanner
from trainer.data.readers.request import Block, Request

# Fewer objects are parsed one by one.
MIN_LINES = 32
_CHARACTERS = 2**20
_ROOM_BYTES = 16
# Lines that are looked at when those before could not be parsed together.
_MAX_MISSES = 6
_MAX_LEAVES = 2**14
# \u0000, and halves of surrogate pairs: whole ones, too, are read one by one.
_DOUBTFUL_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
# What pyarrow takes for a number, and Python does not.
_DOUBTFUL_NUMBERS = {
    "Inf": re.compile(r"Inf(?!inity\b)"),
    "NaN": re.compile(r"-[ \t]*NaN"),
}
# A line that does not begin as an object, or does not end as one.
_NO_FRAME = re.compile(r"(?<!\})\n|\n(?!\{|\Z)")
# Deeper than any parser goes without saying so.
_MAX_BRACKETS = 200
# Types of labels, the likeliest first.
_LABEL_TYPES = (pa.string(), pa.int64(), pa.bool_())


class JsonBlocks:
    """Takes lines of objects as blocks of rows."""

    def __init__(self, scanner: JsonScanner, request: Request) -> None:
        self._scanner, self._request = scanner, request
        self._label_type = _LABEL_TYPES[0]
        # Objects that are to be read one by one before the next try.
        self._num_to_leave = 0
        self._num_leaves = MIN_LINES

    def take(self) -> Block | None:
        """The objects that come next, if they are clean."""
        if self._num_to_leave:
            self._num_to_leave -= 1
            return None
        lines = _clean(self._scanner.lines_ahead(_CHARACTERS))
        num_lines = lines.count("\n")
        # The one that is not clean comes after them.
        self._num_to_leave = num_lines
        for _ in range(_MAX_MISSES):
            if num_lines < MIN_LINES:
                return None
            block = self._block(lines, num_lines)
            if block is not None:
                self._scanner.take_lines(lines)
                self._num_to_leave, self._num_leaves = 0, MIN_LINES
                return block
            lines = lines[: lines.index("\n", len(lines) // 2) + 1]
            num_lines = lines.count("\n")
        # The worse they are, the less often it is tried.
        self._num_to_leave = self._num_leaves
        self._num_leaves = min(2 * self._num_leaves, _MAX_LEAVES)
        return None

    def _block(self, lines: str, num_lines: int) -> Block | None:
        content = lines.encode()
        if _is_deep(content, num_lines):
            return None
        for table in self._tables(content):
            if table.num_rows == num_lines:
                arrays = {
                    name: table.column(name).combine_chunks()
                    for name in self._request.fields_in(())
                }
                line = self._scanner.line
                return blocks.checked(arrays, self._request, first_line=line)
        return None

    def _tables(self, content: bytes) -> Iterator[pa.Table]:
        """The objects as a table, whatever the labels are; none where it cannot be."""
        types = [self._label_type]
        types += [each for each in _LABEL_TYPES if each != self._label_type]
        for label_type in types:
            table = self._parsed(content, label_type)
            if table is not None:
                self._label_type = label_type
                yield table

    def _parsed(self, content: bytes, label_type: pa.DataType) -> pa.Table | None:
        from pyarrow import json

        label = self._request.label_field
        types = [
            (name, label_type if name == label else pa.string())
            for name in self._request.fields_in(())
        ]
        try:
            return json.read_json(
                pa.py_buffer(content),
                read_options=json.ReadOptions(
                    block_size=len(content) + _ROOM_BYTES, use_threads=False
                ),
                parse_options=json.ParseOptions(
                    explicit_schema=pa.schema(types),
                    unexpected_field_behavior="ignore",
                ),
            )
        except pa.ArrowInvalid:
            return None


def _clean(lines: str) -> str:
    """The lines before the first that is not clean."""
    end = _start_of_doubtful(lines)
    if end < len(lines):
        lines = lines[: lines.rfind("\n", 0, end) + 1]
    if lines.count("}\n{") + 1 == lines.count("\n") and lines[0] == "{":
        return lines if lines.endswith("}\n") else lines[: lines.rfind("\n", 0, -1) + 1]
    broken = _NO_FRAME.search(lines)
    return lines[: lines.rfind("\n", 0, broken.start()) + 1] if broken else ""


def _start_of_doubtful(lines: str) -> int:
    """Where something is that pyarrow and Python may read otherwise; the end if nowhere."""
    found = [len(lines)]
    try:
        lines.encode()
    except UnicodeEncodeError as error:
        # A byte that is no UTF-8.
        found.append(error.start)
    # Looked for first, which is quicker than a pattern.
    if "\\u" in lines and (escape := _DOUBTFUL_ESCAPE.search(lines)):
        found.append(escape.start())
    for word, pattern in _DOUBTFUL_NUMBERS.items():
        if word in lines:
            found.extend(_first_number(pattern, lines))
    return min(found)


def _first_number(pattern: re.Pattern[str], lines: str) -> Iterator[int]:
    """Where the first match is that stands for a value; nothing: none does."""
    for number in pattern.finditer(lines):
        before = number.start() - 1
        while before > 0 and lines[before] in " \t-":
            before -= 1
        # Else it is within a string, with few exceptions.
        if lines[before] in ":,[":
            yield number.start()
            return


def _is_deep(content: bytes, num_lines: int) -> bool:
    """Whether a line has so many brackets that a parser may give up."""
    num_brackets = content.count(b"[") + content.count(b"{")
    if num_brackets <= num_lines + _MAX_BRACKETS:
        return False
    signs = np.frombuffer(content, np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(signs == b"\n"[0])[:-1]])
    is_bracket = (signs == b"["[0]) | (signs == b"{"[0])
    most = np.add.reduceat(is_bracket, starts, dtype=np.int64).max()
    return bool(most > _MAX_BRACKETS)

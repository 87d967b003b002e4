"""Reads fastText's own format: a text a line, its label before it.

    __label__positive A fine film.

A file whose first line begins so is one, whatever its ending. The prefix is no part
of the label. As to fastText, each word with the prefix is a label, wherever it stands.
Where a text may have several labels, all of them stand before it.
"""

from __future__ import annotations

import codecs
from typing import BinaryIO, Iterator

from trainer.data.readers.lines import read_lines
from trainer.data.readers.request import Record, Request, column_positions
from trainer.data.readers.rows import BadRow, BadValue

PREFIX = "__label__"


def begins(head: bytes) -> bool:
    """Whether a file with these first bytes is one of fastText's."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    return start.startswith(PREFIX.encode())


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow]:
    """One record a line that is not blank. A `Reader`."""
    request.on_settled("fastText's labels and texts")
    label = request.label_field
    columns = [request.text_field] if label is None else [request.text_field, label]
    # Raises for any other column: there is none.
    column_positions(request, columns, line=0)
    for line in read_lines(stream, head=head):
        if not line.text.strip():
            request.on_blank_line(line.number)
            continue
        try:
            if line.bad_value:
                raise line.bad_value
            several = request.has_several_labels
            fields = (_text_and_labels if several else _text_and_label)(line.text)
        except BadValue as bad_value:
            yield bad_value.at(request.file, line=line.number)
        else:
            yield line.number, dict(zip(columns, fields))


def _text_and_label(line: str) -> tuple[str, str]:
    """The text and the label of a line."""
    words = line.split()
    labels = [word for word in words if word.startswith(PREFIX)]
    if len(labels) != 1 or words[0] != labels[0] or labels[0] == PREFIX:
        raise BadValue(
            rule=f"expected one label, {PREFIX}NAME, before the text; several labels a "
            "text need --task=multi_label",
            received=" ".join(labels[:5]) or "none",
            mend="write one label a line, or remove the line",
        )
    return line.strip().removeprefix(labels[0]).strip(), labels[0].removeprefix(PREFIX)


def _text_and_labels(line: str) -> tuple[str, list[str]]:
    """The text and the labels of a line, of which there may be none."""
    rest, labels = line.strip(), []
    while rest.startswith(PREFIX):
        word, _, rest = rest.partition(" ")
        labels.append(word.removeprefix(PREFIX))
    if "" in labels or any(word.startswith(PREFIX) for word in rest.split()):
        raise BadValue(
            rule=f"expected labels, {PREFIX}NAME each, before the text",
            received=line.strip()[:60],
            mend="write them before the text, or remove the line",
        )
    return rest, labels

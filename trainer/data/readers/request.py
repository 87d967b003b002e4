"""What to read from a file, and what a reader of one format is.

    request = Request("reviews.csv", text_field="title,text", label_field="label")
    request.fields_in(["title", "text", "label"])  # ["title", "text", "label"]
    request.text_of({"title": "Fine", "text": "A film."})  # "Fine A film."
    column_positions(request, ["id", "text", "label"], line=1)
    # {"text": 1, "label": 2}

A reader is a function: it gets the open stream, the bytes that were already taken
from its beginning, and the request, and gives the requested fields of each row. What
these values have to be is left to `reading.py`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import (
    TYPE_CHECKING,
    BinaryIO,
    Callable,
    Container,
    Iterator,
    Mapping,
    Protocol,
)

from trainer.config import Escape
from trainer.data.readers.nested import named
from trainer.data.readers.rows import BadFileError, BadRow, check_unicode
from trainer.messages import did_you_mean

if TYPE_CHECKING:
    # For types alone: who reads a small table does not wait for them.
    import numpy as np
    import pyarrow as pa

OnBlankLine = Callable[[int], None]
OnSettled = Callable[[str], None]

# Between the texts of several columns. To BERT's tokenizers all white space is alike;
# a blank is what whoever asks the exported model can write in any format.
TEXT_SEPARATOR = " "
# Not None, which is a second text that is missing.
NO_SECOND_TEXT = object()


def ignore_blank_line(line: int) -> None:
    """An `OnBlankLine` for who does not count them."""
    del line


def ignore_settled(words: str) -> None:
    """An `OnSettled` for who does not tell it."""
    del words


@dataclasses.dataclass(frozen=True)
class Request:
    """What to read from which file.

    Attributes:
      file: its name, for messages.
      text_field: name of the column with the text; or several, separated by commas.
      second_text_field: name of the column with the second text of a pair; empty: a row
        has one text.
      label_field: name of the column with the label. None: labels are not read.
      has_several_labels: whether a text may have several labels: then label_field may be
        several names, separated by commas, of a column a label.
      where: column → value; rows with other values are not wanted.
      kept_fields: names of further columns, whose values a row keeps as they are.
      column_names: of a table without a header, in order; empty: it has one.
      escape: how a table writes a quote within quotes, as --escape says.
      first_row: how many records are not wanted at the beginning; only of who reads row by
        row, and wants all that follow.
      wants_blocks: whether a reader may hand out many rows at once, as a `Block`.
      on_blank_line: called with the number, from 1, of each empty line that is no row.
      on_settled: called by a reader, at most once, with what it settled of the file:
        "separated by ';', columns id, text, label".
    """

    file: str
    _: dataclasses.KW_ONLY
    text_field: str
    label_field: str | None
    second_text_field: str = ""
    has_several_labels: bool = False
    where: Mapping[str, str] = dataclasses.field(default_factory=dict)
    kept_fields: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()
    escape: Escape = "auto"
    first_row: int = 0
    wants_blocks: bool = False
    on_blank_line: OnBlankLine = ignore_blank_line
    on_settled: OnSettled = ignore_settled

    def text_fields_in(self, columns: Container[str]) -> tuple[str, ...]:
        """The names of the columns of the text: a column of the whole name wins."""
        if self.text_field in columns:
            return (self.text_field,)
        return tuple(name.strip() for name in self.text_field.split(","))

    def label_fields_in(self, columns: Container[str]) -> tuple[str, ...]:
        """The names of the columns of the labels: a column of the whole name wins."""
        if self.label_field is None:
            return ()
        if not self.has_several_labels or self.label_field in columns:
            return (self.label_field,)
        return tuple(name.strip() for name in self.label_field.split(","))

    def fields_in(self, columns: Container[str]) -> list[str]:
        """Every field to read of a table or record that has these columns, once."""
        texts, labels = self.text_fields_in(columns), self.label_fields_in(columns)
        second = [self.second_text_field] if self.second_text_field else []
        names = [*texts, *second, *labels, *self.where, *self.kept_fields]
        return list(dict.fromkeys(names))

    @property
    def has_plain_fields(self) -> bool:
        """Whether a row has one text and one label, each a field of its own.

        A comma or a dot in a name leaves it to each row what is meant.
        """
        names = (self.text_field, self.label_field or "", *self.where)
        names += self.kept_fields
        return bool(self.label_field) and not (
            self.second_text_field
            or any("." in name for name in names)
            # Of the text alone: a label of this name is one column in any case.
            or "," in self.text_field
            or (self.has_several_labels and "," in (self.label_field or ""))
        )

    def label_of(self, values: Mapping[str, object]) -> object:
        """The label of a row as it was read; of several columns, the value of each."""
        names = self.label_fields_in(values)
        if len(names) == 1:
            return values[names[0]]
        return {name: values[name] for name in names} if names else None

    def text_of(self, values: Mapping[str, object]) -> object:
        """The text of a row: of several, those that are there and not blank, joined.

        Raises:
          BadValue: one of several is no text.
        """
        names = self.text_fields_in(values)
        if len(names) == 1:
            return values[names[0]]
        texts = [
            check_unicode(
                values[name], rule=f"expected a text in {name!r}", flag="text_field"
            )
            for name in names
            if not _is_missing(values.get(name))
        ]
        if not texts:
            return None
        return TEXT_SEPARATOR.join(text for text in texts if text.strip())

    def second_text_of(self, values: Mapping[str, object]) -> object:
        """The second text of a row; `NO_SECOND_TEXT` where a row has one text."""
        if not self.second_text_field:
            return NO_SECOND_TEXT
        return values[self.second_text_field]

    def is_wanted(self, values: Mapping[str, object]) -> bool:
        """Whether a row has the values of `where`, as strings or as bytes."""
        return all(
            values[name] in (value, value.encode())
            for name, value in self.where.items()
        )

    def mend_of_missing(self, field: str) -> str:
        """What to do where a field is not there: the flag that names it, if any."""
        if field in self.text_fields_in((field,)):
            return "name the column with --text_field"
        if field == self.second_text_field:
            return "name the column with --second_text_field"
        if field in self.label_fields_in((field,)):
            return "name the column with --label_field"
        if field in self.kept_fields:
            return (
                "name a column that is there with --group_field or --slice_fields (every "
                "data set needs it; an empty value is no group), or in trainer.predict "
                "--keep_fields"
            )
        return "add it"


def _is_missing(value: object) -> bool:
    """Whether there is none: pandas writes a missing value as NaN."""
    return value is None or isinstance(value, float) and math.isnan(value)


# Line → the requested fields of the row that starts there, not checked yet.
Record = tuple[int, Mapping[str, object]]


@dataclasses.dataclass(frozen=True)
class Block:
    """Many records that need no second look, but for what is in their texts and labels.

    Attributes:
      lines: int64 [n], where each starts.
      columns: field → Arrow array [n] of the requested fields, nothing missing. The text
        is a large_string, UTF-8 without NUL and without the separator of pairs; the label
        a dictionary of what Python would have read: strings, integers or booleans; the
        others are strings.
    """

    lines: np.ndarray
    columns: Mapping[str, pa.Array]


class Reader(Protocol):
    """Reads one format."""

    def __call__(
        self, stream: BinaryIO, /, *, head: bytes, request: Request
    ) -> Iterator[Record | BadRow | Block]:
        """The records of a file, in order.

        Args:
          stream: the file, `head` already read from it.
          head: its first bytes. They cannot be put back: the stream may be a pipe.
          request: what to read.
        """


def column_positions(
    request: Request, columns: list[str], *, line: int
) -> dict[str, int]:
    """Field → position among the columns of a table that has one header.

    Args:
      request: which fields are wanted.
      columns: the header. A column that nobody asks for may be there twice.
      line: where the header stands, from 1, for the message; 0 where it has no line.

    Raises:
      BadFileError: a field is not there, or more than once.
    """
    fields = request.fields_in(columns)
    for field in fields:
        mend = request.mend_of_missing(field)
        check_column(field, request, columns, line=line, mend=mend)
    return {field: columns.index(field) for field in fields}


def check_column(
    name: str, request: Request, columns: list[str], *, line: int, mend: str
) -> None:
    """Raises BadFileError for a column that is not there exactly once.

    Args:
      name: that of the column.
      request: names the file.
      columns, line: as in `column_positions`.
      mend: what to do where it is not there.
    """
    count = columns.count(name)
    if count == 1:
        return
    received = f"columns {named(columns)}{did_you_mean(name, columns)}"
    if count:
        received, mend = f"{count} of that name", "rename all but one"
    raise BadFileError(
        request.file,
        line=line,
        rule=f"expected one column {name!r}",
        received=received,
        mend=mend,
    )

"""A row of a data set, the errors that say why there is none, and what a text is.

    try:
        text = check_text("", allow_empty=False)
    except BadValue as bad_value:
        print(bad_value.at("reviews.csv", line=3))
    # reviews.csv:3: expected a text. Received: an empty one; fill it in or ...

A row that cannot be used is a value, `BadRow`, because reading continues after it. A
file that is wrong as a whole ends its reading, so `BadFileError` is raised. What a
label is, is left to `trainer.data.labels`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Iterator, Mapping

from trainer.data.characters import is_blank
from trainer.messages import message, shown

if TYPE_CHECKING:
    # For types alone: who reads a small table does not wait for them.
    import numpy as np
    import pyarrow as pa


@dataclasses.dataclass(frozen=True)
class Row:
    """One usable row.

    Attributes:
      text: valid Unicode without NUL; not blank, unless that was allowed.
      label: as the file has it, of any type and not checked yet: always a string in
        CSV and TSV. None when no label field was asked for.
      line: the physical line where the row starts, or the row number in Parquet;
        both from 1.
      kept: the values of the fields that were to be kept, as the file has them.
    """

    text: str
    label: object
    line: int
    kept: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Many usable rows at once.

    Attributes:
      texts: large_string [n], each as `Row.text` has to be.
      labels: dictionary [n] of strings, integers or booleans, none missing.
      lines: int64 [n], as `Row.line`.
      kept: string [n] by field, as `Row.kept`.
    """

    texts: pa.Array
    labels: pa.DictionaryArray
    lines: np.ndarray
    kept: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.lines)

    def slice(self, start: int, stop: int) -> Rows:
        """The rows from `start` to before `stop`."""
        length = stop - start
        return Rows(
            self.texts.slice(start, length),
            self.labels.slice(start, length),
            self.lines[start:stop],
            {name: column.slice(start, length) for name, column in self.kept.items()},
        )

    def one_by_one(self) -> Iterator[Row]:
        """Each of them."""
        kept = {name: column.to_pylist() for name, column in self.kept.items()}
        columns = self.texts.to_pylist(), self.labels.to_pylist(), self.lines.tolist()
        for place, (text, label, line) in enumerate(zip(*columns)):
            yield Row(
                text, label, line, {name: each[place] for name, each in kept.items()}
            )


@dataclasses.dataclass(frozen=True)
class BadRow:
    """One row that cannot be used, and why; `str()` makes the message of it.

    Attributes:
      file: the file's path, or the name of what stands for a file.
      line: where to look, from 1, as in `Row`.
      rule: what was expected, as "expected a text".
      received: what there was instead.
      mend: what to do about it.
      kept: as in `Row`; empty where the fields could not be told apart.
    """

    file: str
    line: int
    rule: str
    received: str
    mend: str
    kept: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return message(
            self.rule,
            received=self.received,
            mend=self.mend,
            place=f"{self.file}:{self.line}",
        )


class BadFileError(ValueError):
    """A file that cannot be used at all. A `line` of 0 means the whole file."""

    def __init__(
        self, file: str, *, rule: str, received: str, mend: str, line: int = 0
    ):
        place = f"{file}:{line}" if line else file
        super().__init__(message(rule, received=received, mend=mend, place=place))


class EmptyFileError(BadFileError):
    """A file without any row. Of several files, the others may be used."""


class BadValue(Exception):
    """What is wrong with one value or line, where the code does not know its place.

    It never reaches a user: whoever knows file and line makes a `BadRow` of it. What is
    wrong with a label is a value as well, the same for all rows that have it.
    """

    def __init__(self, *, rule: str, received: str, mend: str):
        super().__init__(rule, received, mend)
        self.rule, self.received, self.mend = rule, received, mend

    def at(self, file: str, *, line: int) -> BadRow:
        """The same, said of a line of a file."""
        return BadRow(file, line, self.rule, self.received, self.mend)


def check_text(
    value: object,
    *,
    allow_empty: bool,
    rule: str = "expected a text",
    flag: str = "text_field",
) -> str:
    """Checks that a raw value is a text, and returns it as a string.

    Args:
      value: a string, or bytes of UTF-8.
      allow_empty: whether a text may be empty, or of characters that nobody sees.
      rule: what the message says was expected.
      flag: the flag that names the column, for the message.

    Raises:
      BadValue: it is no text.
    """
    text = check_unicode(value, rule=rule, flag=flag)
    if not allow_empty:
        check_not_blank(text, rule=rule)
    return text


def check_not_blank(value: str, *, rule: str) -> None:
    """Raises BadValue, with this rule, for a string of which nothing can be seen."""
    if is_blank(value):
        blank = "invisible characters" if value.strip() else "white space"
        raise BadValue(
            rule=rule,
            received=f"{blank} only: {shown(value)}" if value else "an empty one",
            mend="fill it in or remove the row",
        )


def check_unicode(value: object, *, rule: str, flag: str) -> str:
    """Checks that a raw value is a string that every later step can take.

    Args:
      value: a string, or bytes of UTF-8.
      rule: what the message says was expected.
      flag: the flag that names the column, for the message.

    Raises:
      BadValue: it is missing, of another type, no valid Unicode, or holds a NUL.
    """
    # pandas writes a missing value as NaN.
    if value is None or isinstance(value, float) and math.isnan(value):
        received, mend = f"none ({value})", "fill it in or remove the row"
        raise BadValue(rule=rule, received=received, mend=mend)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise bad_utf8(error, unit="value") from None
    if not isinstance(value, str):
        mend = f"write it so, or name another column with --{flag}"
        raise BadValue(rule=rule, received=type_shown(value), mend=mend)
    if "\0" in value:
        received = f"a NUL character at character {value.index(chr(0)) + 1}"
        raise BadValue(rule=rule, received=received, mend="remove it")
    try:
        # JSON's \ud800 makes a string that Python holds and nothing can encode.
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadValue(
            rule="expected valid Unicode",
            received=f"half a surrogate pair, {value[error.start]!r}, "
            f"at character {error.start + 1}",
            mend="write the whole character, or remove it",
        ) from None
    return value


def bad_utf8(error: UnicodeDecodeError, *, unit: str) -> BadValue:
    """Says which byte of a `unit` ("line", "value") is no UTF-8, counted from 1."""
    return BadValue(
        rule="expected UTF-8",
        received=f"byte 0x{error.object[error.start]:02X} "
        f"at byte {error.start + 1} of the {unit}",
        mend=f"write the characters of this {unit} anew, in UTF-8",
    )


def type_shown(value: object) -> str:
    """A value of a wrong type as a message shows it, the type in words of JSON."""
    names = {dict: "an object", list: "a list", bool: "a boolean"}
    return f"{names.get(type(value), type(value).__name__)} {shown(value)}"

"""The rows of an input: what a model is asked, and what each answer begins with.

    for question in questions.read(config):
        question.text, question.start   # "So-so.", {"id": "q17"}

Every row has its question, in its place; with `--bad_rows=null` a row that cannot be
used has one without a text. Files are read by `trainer.data.readers`; what becomes of
an answer is left to `answers.py`.
"""

from __future__ import annotations

import dataclasses
import glob
import itertools
import json
import logging
import math
import os
import sys
from typing import Iterator, Mapping, Sequence

from trainer.config import PredictConfig
from trainer.data.readers import parquet
from trainer.data.readers.opening import format_of, matches
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import (
    BadRow,
    BadValue,
    EmptyFileError,
    Row,
    check_unicode,
)

_logger = logging.getLogger(__name__)

STANDARD_STREAM = "-"
PLACE = ("file", "line")


@dataclasses.dataclass(frozen=True)
class Question:
    """One row of the input.

    Attributes:
      text: what the model is asked; None: the row cannot be used.
      start: what the answer begins with, as JSON has it: the row's place, if there are
        several files, and the kept fields.
      error: why the row cannot be used; None where it can be.
    """

    text: str | None
    start: Mapping[str, object]
    error: str | None = None

    @property
    def key(self) -> str:
        """All that decides the answer, besides the model."""
        return json.dumps([self.text, self.start, self.error])


def fields(config: PredictConfig) -> tuple[str, ...]:
    """The names in `Question.start`."""
    return (*(PLACE if names_several(config.input) else ()), *config.keep_fields)


def names_several(name: str) -> bool:
    """Whether --input is a glob or a list, whatever number of files it stands for."""
    is_file = name == STANDARD_STREAM or os.path.exists(os.path.expanduser(name))
    return not is_file and ("," in name or glob.has_magic(name))


def files(name: str) -> list[str]:
    """The files of --input: a glob's sorted, a list's in its order, each once.

    Raises:
      ValueError: one is not there.
    """
    return list(dict.fromkeys(matches(name)))


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Rows of one file that follow each other: from `start` to before `stop`, from 0."""

    file: str
    start: int
    stop: int


def read(
    config: PredictConfig, *, stretches: Sequence[Stretch] | None = None
) -> Iterator[Question]:
    """A question a row, read as they are needed.

    Args:
      stretches: the rows to ask of, none of a file without rows; None: all.

    Raises:
      ValueError: a file cannot be used; or a row, unless it is to be answered by null.
    """
    if stretches is not None:
        for each in stretches:
            yield from _questions(each.file, config, each.start, each.stop)
        return
    is_standard = config.input == STANDARD_STREAM
    paths = ["<stdin>"] if is_standard else files(config.input)
    errors: list[EmptyFileError] = []
    for file in paths:
        try:
            yield from _questions(file, config)
        # Of several shards one may be without rows.
        except EmptyFileError as error:
            errors.append(error)
            _refuse_if_all_empty(errors, paths, file)


def counted(config: PredictConfig) -> dict[str, int]:
    """How many rows each file of --input has, in the order in which they are read.

    All are read for it, but for Parquet, which says it. Nothing is looked at that would
    make a row one that cannot be used.

    Raises:
      ValueError: a file cannot be used, or none has rows.
    """
    paths = files(config.input)
    counts: dict[str, int] = {}
    errors: list[EmptyFileError] = []
    for file in paths:
        try:
            counts[file] = _num_rows(file, config)
        except EmptyFileError as error:
            counts[file] = 0
            errors.append(error)
            _refuse_if_all_empty(errors, paths, file)
    return counts


def _num_rows(file: str, config: PredictConfig) -> int:
    """How many rows a file has; raises ValueError as reading them does."""
    if format_of(file, config.input_format) == "parquet":
        # Of one that is damaged or empty, reading says what is wrong.
        if number := parquet.num_rows(file):
            return number
    return sum(1 for _ in _rows(file, config, is_standard=False))


def _refuse_if_all_empty(
    errors: Sequence[EmptyFileError], paths: Sequence[str], file: str
) -> None:
    """Raises the first of these errors where there is one a file; else says `file`'s."""
    if len(errors) == len(paths):
        raise errors[0] from None
    _logger.info("%s: left out, it has no rows", file)


def _questions(
    file: str, config: PredictConfig, start: int = 0, stop: int | None = None
) -> Iterator[Question]:
    """Those of one file, from row `start` to before `stop`, from 0."""
    has_place = names_several(config.input)
    is_standard = config.input == STANDARD_STREAM
    # Rows before are not looked at, and an error in them is not ours to say.
    rows = _rows(file, config, is_standard=is_standard, first_row=start)
    for row in itertools.islice(rows, None if stop is None else stop - start):
        place = {"file": file, "line": row.line} if has_place else {}
        question = _question(row, file, place, config.keep_fields)
        # To leave a row out would shift every line after it.
        if question.error is not None and config.bad_rows == "error":
            raise ValueError(
                f"{question.error} (--bad_rows=null answers such rows by null)"
            )
        yield question


def _rows(
    file: str, config: PredictConfig, *, is_standard: bool, first_row: int = 0
) -> Iterator[Row | BadRow]:
    is_automatic = config.input_format == "auto"
    return read_rows(
        sys.stdin.buffer if is_standard else file,
        text_field=config.text_field,
        label_field=None,
        second_text_field=config.second_text_field,
        file_format="text" if is_standard and is_automatic else config.input_format,
        allow_empty_text=True,
        keep=config.keep_fields,
        encoding=config.encoding,
        column_names=config.column_names,
        escape=config.escape,
        first_row=first_row,
    )


def _question(
    row: Row | BadRow,
    file: str,
    place: Mapping[str, object],
    keep_fields: Sequence[str],
) -> Question:
    # Of a row whose fields could not be told apart there is nothing to keep.
    kept: dict[str, object] = dict.fromkeys(keep_fields)
    try:
        for name in keep_fields:
            kept[name] = _plain(row.kept.get(name))
    except BadValue as bad_value:
        row = BadRow(
            file,
            row.line,
            f"{bad_value.rule} in the kept field {name!r}",
            bad_value.received,
            bad_value.mend,
        )
    start = {**place, **kept}
    if isinstance(row, BadRow):
        return Question(None, start, str(row))
    return Question(row.text, start)


def _plain(value: object) -> object:
    """A kept value as JSON has it; numbers that are none become null.

    Dates are written as ISO 8601 has them, decimal numbers by their digits.

    Raises:
      BadValue: it holds what is no text.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        # pandas writes a missing value as NaN, and JSON has no word for it.
        return value if math.isfinite(value) else None
    if isinstance(value, (str, bytes)):
        return check_unicode(value, rule="expected Unicode", flag="keep_fields")
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)

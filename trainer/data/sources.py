"""Reads the labelled texts that the config names, wherever they come from.

    sources = load(DataConfig(dataset="files:reviews/*.csv"))
    sources.splits["train"].texts[0], sources.splits["train"].labels[0]
    sources.label_names  # ("negative", "positive")

`--dataset=SCHEME:NAME` names a data set; `_SCHEMES` has the function that opens one
of each scheme. Rows come one at a time and are kept as Arrow strings and int32
labels, so millions of them fit. What was left out is counted in `Sources.facts`,
never dropped without a word. Splitting "train" further is left to `splits.py`, the
files' formats to `readers/`, what a label is to `labels.py`.
"""

from __future__ import annotations

import array
import dataclasses
import logging
import pathlib
from typing import Any, Callable, Iterable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from trainer import console
from trainer.config import DataConfig
from trainer.data import files, folders, packages, tfds
from trainer.data.groups import group_name
from trainer.data.labels import DiscoveredLabels, LabelNumbering, NamedLabels
from trainer.data.places import Places
from trainer.data.readers.rows import BadRow, Row
from trainer.data.unread import (
    ALL_ROWS,
    SplitBy,
    UnreadDataset,
    UnreadFile,
    UnreadSplit,
)
from trainer.messages import message

_logger = logging.getLogger(__name__)

_ROWS_PER_CHUNK = 4096
_BAD_ROWS_IN_ERROR = 5
_BAD_ROWS_IN_FACTS = 20


@dataclasses.dataclass(frozen=True)
class TextDataset:
    """Labelled texts.

    Attributes:
      texts: large_string [n].
      labels: int32 [n], positions in `label_names`.
      label_names: the classes in order.
      places: where each row comes from.
      groups: large_string [n], the values of --group_field, empty where it is
        missing; None without one.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    label_names: tuple[str, ...]
    places: Places
    groups: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def filter(self, is_wanted: np.ndarray) -> TextDataset:
        """Some rows, in their order, copied chunk by chunk. is_wanted: bool [n]."""
        return dataclasses.replace(
            self,
            texts=self.texts.filter(pa.array(is_wanted)),
            labels=self.labels[is_wanted],
            places=self.places.filter(is_wanted),
            groups=self.groups and self.groups.filter(pa.array(is_wanted)),
        )


@dataclasses.dataclass(frozen=True)
class Sources:
    """What was read.

    Attributes:
      splits: "train" always, the pool that is split later; "validation" and "test"
        only where the data set or the config brings its own.
      label_names: the classes in order.
      facts: JSON-able. "splits": by split, the source, its files with how each was
        read, the rows used and skipped, the first skipped ones and the blank lines;
        "notes"; "warnings".
      split_by: what of a training row decides where it is held out.
      are_labels_found: whether the classes are those of the rows, and nobody named
        them.
    """

    splits: Mapping[str, TextDataset]
    label_names: tuple[str, ...]
    facts: Mapping[str, Any]
    split_by: SplitBy = "normalized_text"
    are_labels_found: bool = True


@dataclasses.dataclass(frozen=True)
class _ReadSplit:
    """The usable rows of one split, and what became of the others.

    Attributes:
      texts: large_string [n].
      codes: int32 [n], the numbers of the labels.
      places: where each row comes from.
      groups: large_string [n], the values of --group_field; None without one.
      bad_rows: all of them, in order.
      facts: what `Sources.facts` has of the split.
    """

    texts: pa.ChunkedArray
    codes: np.ndarray
    places: Places
    groups: pa.ChunkedArray | None
    bad_rows: tuple[BadRow, ...]
    facts: Mapping[str, Any]


Load = Callable[[DataConfig], Sources]


def load(config: DataConfig) -> Sources:
    """Reads everything the config names.

    Raises:
      ValueError: the data set or its columns are not there; rows are bad (unless
        they are to be skipped); labels make no sense; a split has no rows.
    """
    unread, notes = _opened_splits(config)
    # First, because the labels of the others are judged by its classes.
    train, labels = _read_train(unread["train"], config)
    read = {"train": train} | {
        name: _read(split, labels, config)
        for name, split in unread.items()
        if name != "train"
    }
    # Of all splits together, so that a user sees them at once.
    _refuse_bad_rows(read, config)
    return Sources(
        splits={
            name: TextDataset(
                split.texts, split.codes, labels.names, split.places, split.groups
            )
            for name, split in read.items()
        },
        label_names=labels.names,
        facts={
            "splits": {name: split.facts for name, split in read.items()},
            "notes": notes,
            "warnings": list(_warnings(read, labels.names)),
        },
        split_by=unread["train"].split_by,
        are_labels_found=not (config.label_names or unread["train"].label_names),
    )


def loaded_early(config: DataConfig) -> Load:
    """A `load` for this config that has its rows already, where it can.

    A mistake in a table is named at once if it is read before TensorFlow is imported,
    which takes many times as long as reading a table. What TensorFlow itself reads
    waits for it.

    Raises:
      ValueError: as `load`.
    """
    specs = (config.dataset, config.validation_dataset, config.test_dataset)
    if any(spec.partition(":")[0] in _NEEDS_TENSORFLOW for spec in specs):
        return load
    read = {config: load(config)}

    def load_once(asked: DataConfig) -> Sources:
        # Handed over and not kept: the splits hold copies of all that they need.
        return read.pop(asked, None) or load(asked)

    return load_once


# Opening what the config names.


_SCHEMES: Mapping[str, Callable[[str, DataConfig], UnreadDataset]] = {
    "tfds": tfds.open_dataset,
    "files": files.open_dataset,
    "folder": folders.open_dataset,
    "tfrecord": files.open_tfrecords,
    "package": packages.open_dataset,
}
_NEEDS_TENSORFLOW = ("tfds", "tfrecord")


def _opened_splits(config: DataConfig) -> tuple[dict[str, UnreadSplit], list[str]]:
    """Opens what the config names, without reading it: split by name, and notes."""
    dataset = _open(config.dataset, "train", config)
    chosen = {"train": _choose(dataset, "train", config.dataset)}
    notes = list(dataset.notes)
    for name in ("validation", "test"):
        spec = getattr(config, f"{name}_dataset")
        if spec:
            chosen[name] = _choose(_open(spec, name, config), name, spec)
        elif name in dataset.splits:
            chosen[name] = dataset.splits[name]
    unused = [
        name
        for name, split in dataset.splits.items()
        if name != ALL_ROWS and split not in chosen.values()
    ]
    if unused:
        notes.append(f"splits of {config.dataset} not used: {', '.join(unused)}")
    return chosen, notes


def _open(spec: str, split: str, config: DataConfig) -> UnreadDataset:
    scheme, _, name = spec.partition(":")
    if scheme not in _SCHEMES or not name:
        flag = _flag_of(split)
        path = pathlib.Path(spec).expanduser()
        right = f"{'folder' if path.is_dir() else 'files'}:{spec}"
        hint = f" (did you mean {right}?)" if spec and path.exists() else ""
        raise ValueError(
            message(
                f"--{flag} must be files:PATHS_OR_GLOBS, folder:FOLDER, "
                "tfrecord:PATHS_OR_GLOBS, tfds:NAME[/CONFIG] or package:NAME",
                received=f"{flag}={spec!r}{hint}",
            )
        )
    return _SCHEMES[scheme](name, config)


def _choose(dataset: UnreadDataset, split: str, spec: str) -> UnreadSplit:
    """The rows of a data set that serve as a split of the run."""
    chosen = dataset.splits.get(ALL_ROWS) or dataset.splits.get(split)
    if chosen is None:
        raise ValueError(
            message(
                f"{spec} must have a labelled {split!r} split",
                received=f"splits {', '.join(dataset.splits) or 'none'}",
                mend=f"name a data set that has one with --{_flag_of(split)}",
            )
        )
    return chosen


def _flag_of(split: str) -> str:
    return "dataset" if split == "train" else f"{split}_dataset"


# Reading a split.


def _read_train(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, NamedLabels]:
    """Reads the training pool, and discovers the classes if nobody names them."""
    names = config.label_names or unread.label_names
    if names:
        labels = NamedLabels(names, allow_positions=True)
        train = _read(unread, labels, config)
    else:
        train, labels = _read_discovering(unread, config)
    classes = np.unique(train.codes)
    if len(classes) == 1 and not _stops(train, config):
        raise ValueError(
            message(
                "the training rows must have at least two different labels",
                received=f"{labels.names[classes[0]]!r} in all {len(train.codes)} "
                f"rows of {unread.description}",
                mend="add rows of other classes, or name the right column with "
                "--label_field",
            )
        )
    return train, labels


def _read_discovering(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, NamedLabels]:
    discovered = DiscoveredLabels()
    train = _read(unread, discovered, config)
    # Bad rows that stop the run are told first: they may be what makes the labels look
    # doubtful.
    if len(train.codes) and not _stops(train, config):
        discovered.check(len(train.codes), label_field=config.label_field)
    names, new_codes = discovered.in_order()
    # A position means nothing to who has not named the classes: "1" in a later split
    # is another label, not the second class.
    labels = NamedLabels(names, allow_positions=False)
    codes = np.array(new_codes, np.int32)[train.codes]
    return dataclasses.replace(train, codes=codes), labels


def _read(
    unread: UnreadSplit, labels: LabelNumbering, config: DataConfig
) -> _ReadSplit:
    texts, groups = _Strings(), _Strings()
    # C integers, whatever the number of rows.
    codes, lines, row_counts = array.array("i"), array.array("q"), array.array("q")
    bad_rows: list[BadRow] = []
    num_blank_lines = 0
    # As the report lists them: many files of one folder as one.
    listed: list[dict[str, Any]] = []
    settled: list[str] = []

    def count_blank_line(line: int) -> None:
        nonlocal num_blank_lines
        num_blank_lines += 1

    def tell(sentence: str) -> None:
        settled.append(sentence)
        _logger.info("%s", sentence)

    for file in unread.files:
        settled.clear()
        num_good_before, num_bad_before = len(codes), len(bad_rows)
        for row in _with_progress(file.read(count_blank_line, tell), file.name):
            code = labels.encode(row, file=file.name) if isinstance(row, Row) else row
            if isinstance(row, Row) and isinstance(code, int):
                texts.append(row.text)
                codes.append(code)
                lines.append(row.line)
                if config.group_field:
                    groups.append(group_name(row.kept[config.group_field]))
            elif isinstance(code, BadRow):
                bad_rows.append(code)
        row_counts.append(len(codes) - num_good_before)
        num_rows = row_counts[-1] + len(bad_rows) - num_bad_before
        _list(file, listed, num_rows=num_rows, settled=settled)
    return _ReadSplit(
        texts=texts.joined(),
        codes=np.array(codes, np.int32),
        places=Places(
            tuple(file.name for file in unread.files),
            np.repeat(np.arange(len(row_counts), dtype=np.int32), row_counts),
            np.array(lines, np.int64),
        ),
        groups=groups.joined() if config.group_field else None,
        bad_rows=tuple(bad_rows),
        facts={
            "source": unread.description,
            "files": listed,
            "num_rows": len(codes),
            "num_skipped_rows": len(bad_rows),
            "skipped_rows": [str(bad) for bad in bad_rows[:_BAD_ROWS_IN_FACTS]],
            "num_blank_lines": num_blank_lines,
        },
    )


def _list(
    file: UnreadFile, listed: list[dict[str, Any]], *, num_rows: int, settled: list[str]
) -> None:
    """Adds a file to those that the report lists, or its rows to those of its folder."""
    name = file.listed_as or file.name
    if file.listed_as and listed and listed[-1]["name"] == name:
        listed[-1]["num_rows"] += num_rows
    else:
        words = " ".join(settled)
        listed.append({"name": name, "num_rows": num_rows, "settled": words})


class _Strings:
    """Collects strings as Arrow's: Python's own are those of one chunk only."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._strings: list[str] = []

    def append(self, string: str) -> None:
        self._strings.append(string)
        if len(self._strings) == _ROWS_PER_CHUNK:
            self._end_chunk()

    def joined(self) -> pa.ChunkedArray:
        """All of them: large_string [n]."""
        self._end_chunk()
        return pa.chunked_array(self._chunks)

    def _end_chunk(self) -> None:
        self._chunks.append(pa.array(self._strings, pa.large_string()))
        self._strings.clear()


def _with_progress(rows: Iterator[Row | BadRow], name: str) -> Iterable[Row | BadRow]:
    return console.progress(rows, f"reading {pathlib.Path(name).name}", unit="rows")


# What is wrong, or doubtful, with what was read.


def _stops(split: _ReadSplit, config: DataConfig) -> bool:
    return bool(split.bad_rows) and config.bad_rows == "error"


def _refuse_bad_rows(splits: Mapping[str, _ReadSplit], config: DataConfig) -> None:
    bad_rows = [bad for split in splits.values() for bad in split.bad_rows]
    listed = "".join(f"\n  {bad}" for bad in bad_rows[:_BAD_ROWS_IN_ERROR])
    if len(bad_rows) > _BAD_ROWS_IN_ERROR:
        listed += "\n  ..."
    # A heading of a list of messages, so not of their form itself.
    if bad_rows and config.bad_rows == "error":
        raise ValueError(
            f"{_counted(len(bad_rows))}; mend what is named, or leave it out with "
            f"--bad_rows=skip:{listed}"
        )
    for name, split in splits.items():
        if not len(split.codes):
            mend = f"mend what is named:{listed}" if listed else "give it some"
            raise ValueError(
                message(
                    f"the {name} set must have rows that can be used",
                    received=f"none from {split.facts['source']}",
                    mend=mend,
                )
            )


def _warnings(
    splits: Mapping[str, _ReadSplit], names: tuple[str, ...]
) -> Iterator[str]:
    for name, split in splits.items():
        if split.bad_rows:
            yield (
                f"{_counted(len(split.bad_rows))} of the {name} set skipped, "
                f"{len(split.codes)} are left. The first: {split.bad_rows[0]}"
            )
    absent = [names[i] for i in set(range(len(names))) - set(splits["train"].codes)]
    if absent:
        yield f"no training row has the label {', '.join(absent)}"


def _counted(num_bad_rows: int) -> str:
    return "1 bad row" if num_bad_rows == 1 else f"{num_bad_rows} bad rows"

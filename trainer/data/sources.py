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
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer import console
from trainer.config import DataConfig
from trainer.data import (
    label_numbers,
    corrections,
    files,
    folders,
    label_order,
    label_sets,
    packages,
    pairs,
    tfds,
)
from trainer.data.bad_rows import BadRows, counted, listed
from trainer.data.groups import group_name
from trainer.data.label_numbers import LabelNumbers
from trainer.data.label_sets import LabelSets
from trainer.data.labels import (
    DiscoveredLabels,
    LabelNumbering,
    NamedLabels,
    named_labels,
)
from trainer.data.placeholders import Placeholders
from trainer.data.places import Places
from trainer.data.readers.encodings import AUTOMATIC
from trainer.data.readers.rows import BadRow, Row
from trainer.data.strings import Strings
from trainer.data.text_dataset import TextDataset as TextDataset
from trainer.data.unread import (
    ALL_ROWS,
    SplitBy,
    UnreadDataset,
    UnreadFile,
    UnreadSplit,
)
from trainer.messages import message

_logger = logging.getLogger(__name__)

# How often it is asked whether reading on has a point.
_ROWS_BETWEEN_LOOKS = 1024


@dataclasses.dataclass(frozen=True)
class Sources:
    """What was read.

    Attributes:
      splits: "train" always, the pool that is split later; "validation" and "test"
        only where the data set or the config brings its own; "replay" only with
        --replay_dataset, always the last.
      label_names: the classes in order.
      facts: JSON-able. "splits": by split, the source, its files with how each was
        read, the rows used and skipped, the first skipped ones and the blank lines;
        "notes"; "warnings"; "corrections", what --corrections changed, or None.
      split_by: what of a training row decides where it is held out.
      are_labels_found: whether the classes are those of the rows, and nobody named
        them.
      reviewed: SHA-256 of each text whose label a person has reviewed.
    """

    splits: Mapping[str, TextDataset]
    label_names: tuple[str, ...]
    facts: Mapping[str, Any]
    split_by: SplitBy = "normalized_text"
    are_labels_found: bool = True
    reviewed: frozenset[bytes] = frozenset()


@dataclasses.dataclass(frozen=True)
class _ReadSplit:
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


Load = Callable[[DataConfig], Sources]


def load(config: DataConfig) -> Sources:
    """Reads everything the config names.

    Raises:
      ValueError: the data set or its columns are not there; rows are bad (unless
        they are to be skipped); labels make no sense; a split has no rows.
    """
    unread, notes = _opened_splits(config)
    # First, because the labels of the others are judged by its classes.
    train, labels, more_notes = _read_train(unread["train"], config)
    read = {"train": train} | {
        name: _read_others(split, _numbering_of(split, labels, config), config)
        for name, split in unread.items()
        if name != "train"
    }
    # Of all splits together, so that a user sees them at once.
    _refuse_bad_rows(read, config)
    return _corrected(
        _sources(read, labels, [*notes, *more_notes], unread["train"], config), config
    )


def _sources(
    read: Mapping[str, _ReadSplit],
    labels: NamedLabels | LabelSets | LabelNumbers,
    notes: Sequence[str],
    unread_train: UnreadSplit,
    config: DataConfig,
) -> Sources:
    """What was read, as it was read."""
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
            "notes": list(notes),
            "warnings": list(_warnings(read, labels.names)),
            "corrections": None,
        },
        split_by=unread_train.split_by,
        are_labels_found=not (config.label_names or unread_train.label_names),
    )


def _corrected(read: Sources, config: DataConfig) -> Sources:
    """The same with --corrections applied.

    Raises:
      ValueError: a correction is none, or does not fit the data.
    """
    if not config.corrections:
        return read
    reviewed = corrections.read(config.corrections, label_names=read.label_names)
    splits = reviewed.applied(read.splits)
    for name, data in splits.items():
        if not len(data):
            raise ValueError(
                message(
                    f"the {name} set must have rows that can be used",
                    received=f"all of them dropped by {config.corrections}",
                    mend="keep some",
                )
            )
    facts = {
        **read.facts,
        "splits": {
            name: {**read.facts["splits"][name], "num_rows": len(data)}
            for name, data in splits.items()
        },
        "corrections": reviewed.facts(),
    }
    return dataclasses.replace(
        read, splits=splits, facts=facts, reviewed=reviewed.digests
    )


def loaded_early(config: DataConfig) -> Load:
    """A `load` for this config that has its rows already, where it can.

    A mistake in a table is named at once if it is read before TensorFlow is imported,
    which takes many times as long as reading a table. What TensorFlow itself reads
    waits for it.

    Raises:
      ValueError: as `load`.
    """
    specs = _specs(config)
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


def _specs(config: DataConfig) -> tuple[str, ...]:
    """All that the config names."""
    return (
        config.dataset,
        config.validation_dataset,
        config.test_dataset,
        config.replay_dataset,
    )


def _refuse_unused(config: DataConfig) -> None:
    """Raises ValueError for settings of text files where none is read."""
    specs = _specs(config)
    given = [
        f"--{name}"
        for name, is_given in (
            ("encoding", config.encoding != AUTOMATIC),
            ("column_names", bool(config.column_names)),
            ("escape", config.escape != "auto"),
        )
        if is_given
    ]
    if given and all(spec.startswith("tfds:") for spec in specs if spec):
        raise ValueError(
            message(
                f"{', '.join(given)} must be for a file that is read",
                received=f"dataset={config.dataset!r} alone",
                mend="leave it away",
            )
        )


def _opened_splits(config: DataConfig) -> tuple[dict[str, UnreadSplit], list[str]]:
    """Opens what the config names, without reading it: split by name, and notes."""
    _refuse_unused(config)
    dataset = _open(config.dataset, "train", config)
    chosen = {"train": _choose(dataset, "train", config.dataset)}
    notes = list(dataset.notes)
    for name in ("validation", "test"):
        spec = getattr(config, f"{name}_dataset")
        if spec:
            chosen[name] = _choose(_open(spec, name, config), name, spec)
        elif name in dataset.splits:
            chosen[name] = dataset.splits[name]
    if config.replay_dataset:
        old = _open(config.replay_dataset, "replay", config)
        chosen["replay"] = _choose(old, "train", config.replay_dataset, flag="replay")
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


def _choose(
    dataset: UnreadDataset, split: str, spec: str, *, flag: str = ""
) -> UnreadSplit:
    """The rows of a data set that serve as a split of the run.

    flag: the split that they are named for; empty: that of the data set itself.
    """
    chosen = dataset.splits.get(ALL_ROWS) or dataset.splits.get(split)
    if chosen is None:
        raise ValueError(
            message(
                f"{spec} must have a labelled {split!r} split",
                received=f"splits {', '.join(dataset.splits) or 'none'}",
                mend=f"name a data set that has one with --{_flag_of(flag or split)}",
            )
        )
    return chosen


def _flag_of(split: str) -> str:
    return "dataset" if split == "train" else f"{split}_dataset"


# Reading a split.


def _read_train(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, NamedLabels | LabelSets | LabelNumbers, list[str]]:
    """Reads the training pool, and discovers the classes if nobody names them.

    Returns:
      The rows, the classes, and notes on how labels were understood.

    Raises:
      ValueError: the labels make no sense as a whole.
    """
    notes: list[str] = []
    labels: NamedLabels | LabelSets | LabelNumbers
    if config.task == "regression":
        train, labels, notes, faults = _read_numbers(unread, config)
    elif config.task == "multi_label":
        train, labels, notes, faults = _read_sets(unread, config)
    elif config.label_names or unread.label_names:
        labels = _named(unread, config)
        train = _read(unread, labels, config)
        faults = labels.faults(train.codes, label_field=config.label_field)
        if config.task == "ordinal":
            faults += label_order.faults(labels.names, are_named=True)
    else:
        train, labels, notes, faults = _read_discovering(unread, config)
    # Of few rows that are left, this is no wonder.
    is_one = label_sets.num_kinds(train.codes) == 1
    if is_one and not faults and not _stops([train], config):
        only = label_sets.name_of(train.codes[0], labels.names)
        is_number = config.task == "regression"
        faults = [
            message(
                "the training rows must have at least two different "
                + ("numbers" if is_number else "labels"),
                received=f"{only!r} in all {len(train.codes)} "
                f"rows of {unread.description}",
                mend=f"add rows of other {'numbers' if is_number else 'classes'}, or "
                "name the right column with --label_field",
            )
        ]
    if faults:
        # Without the other splits: they are judged by these labels.
        raise ValueError(_all_wrong([train], faults, config))
    return train, labels, notes


def _read_discovering(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, NamedLabels, list[str], list[str]]:
    """Rows, classes, notes, and what is doubtful in the labels as a whole."""
    discovered = DiscoveredLabels()
    train = _read(unread, discovered, config)
    faults = discovered.faults(train.codes, label_field=config.label_field)
    names, new_codes = discovered.in_order()
    if config.task == "ordinal":
        faults += label_order.faults(names, are_named=False)
    codes = np.array(new_codes, np.int32)[train.codes]
    train = dataclasses.replace(train, codes=codes)
    return train, discovered.named(), discovered.notes(), faults


def _read_sets(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, LabelSets, list[str], list[str]]:
    """The same of rows with any number of labels."""
    is_named = config.label_names or unread.label_names
    single = _named(unread, config) if is_named else DiscoveredLabels()
    sets = LabelSets(single, separator=config.label_separator)
    train = _read(unread, sets, config)
    faults = sets.faults(train.codes, label_field=config.label_field)
    notes = sets.notes(train.codes)
    train = dataclasses.replace(train, codes=sets.matrix(train.codes))
    return train, sets.named(), notes, faults


def _read_numbers(
    unread: UnreadSplit, config: DataConfig
) -> tuple[_ReadSplit, LabelNumbers, list[str], list[str]]:
    """The same of rows with a number."""
    found = LabelNumbers()
    train = _read(unread, found, config)
    values = found.values(train.codes)
    train = dataclasses.replace(train, codes=values)
    return train, found, label_numbers.notes(values), []


def _named(unread: UnreadSplit, config: DataConfig) -> NamedLabels:
    """The classes that the config or the data set names."""
    return named_labels(
        config.label_names, own_names=unread.label_names, source=unread.description
    )


def _numbering_of(
    unread: UnreadSplit,
    labels: NamedLabels | LabelSets | LabelNumbers,
    config: DataConfig,
) -> NamedLabels | LabelSets | LabelNumbers:
    """How the labels of a further split are numbered, `labels` being the classes."""
    if isinstance(labels, (LabelSets, LabelNumbers)):
        return labels.named()
    # A data set that names its own classes may be another one than that of training.
    return _named(unread, config) if config.label_names else labels


def _read_others(
    unread: UnreadSplit,
    labels: NamedLabels | LabelSets | LabelNumbers,
    config: DataConfig,
) -> _ReadSplit:
    """A split that is not the training pool."""
    read = _read(unread, labels, config)
    if isinstance(labels, LabelSets):
        read = dataclasses.replace(read, codes=labels.matrix(read.codes))
    if isinstance(labels, LabelNumbers):
        read = dataclasses.replace(read, codes=labels.values(read.codes))
    return read


def _read(
    unread: UnreadSplit, labels: LabelNumbering, config: DataConfig
) -> _ReadSplit:
    rows, bad_rows = _Rows(config.group_field), BadRows()
    num_blank_lines = 0
    # As the report lists them: many files of one folder as one.
    file_facts: list[dict[str, Any]] = []
    settled: list[str] = []
    is_whole = True

    def count_blank_line(line: int) -> None:
        nonlocal num_blank_lines
        num_blank_lines += 1

    def tell(sentence: str) -> None:
        settled.append(sentence)
        _logger.info("%s", sentence)

    for file in unread.files:
        settled.clear()
        num_good_before, num_bad_before = len(rows), bad_rows.count
        progress = _with_progress(file.read(count_blank_line, tell), file.name)
        for number, row in enumerate(progress, start=1):
            code = labels.encode(row, file=file.name) if isinstance(row, Row) else row
            if isinstance(row, Row) and isinstance(code, int):
                rows.add(row, code, file=file.name)
            elif not isinstance(code, int):
                bad_rows.add(code, file=file.name, line=row.line)
            if number % _ROWS_BETWEEN_LOOKS == 0 and _is_hopeless(
                labels, bad_rows, len(rows), config
            ):
                is_whole = False
                break
        num_good = len(rows) - num_good_before
        num_rows = num_good + bad_rows.count - num_bad_before
        _add_facts(file, file_facts, num_rows=num_rows, settled=settled)
        rows.end_file(file.name, num_good)
        if not is_whole:
            break
    return rows.read_split(
        bad_rows=bad_rows,
        is_whole=is_whole,
        facts={
            "source": unread.description,
            "files": file_facts,
            "num_rows": len(rows),
            "num_skipped_rows": bad_rows.count,
            "skipped_rows": [str(bad) for bad in bad_rows.first],
            "num_blank_lines": num_blank_lines,
            **rows.placeholders.facts(),
        },
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


def _is_hopeless(
    labels: LabelNumbering, bad_rows: BadRows, num_good: int, config: DataConfig
) -> bool:
    """Whether reading ends in a refusal, and further rows would not change it."""
    if labels.is_hopeless:
        return True
    return config.bad_rows == "error" and bad_rows.are_hopeless(num_good)


class _Rows:
    """Collects the usable rows of a split."""

    def __init__(self, group_field: str) -> None:
        """group_field: whose values are collected as well; empty for none."""
        self.placeholders = Placeholders()
        self._group_field = group_field
        self._texts, self._groups = Strings(), Strings()
        # C integers, whatever the number of rows.
        self._codes, self._lines = array.array("i"), array.array("q")
        self._files: list[str] = []
        self._row_counts: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, row: Row, code: int, *, file: str) -> None:
        """Adds a row whose label has this number."""
        self._texts.append(row.text)
        self._codes.append(code)
        self._lines.append(row.line)
        for text in filter(None, pairs.split(row.text)):
            self.placeholders.look_at(text, file=file, line=row.line)
        if self._group_field:
            self._groups.append(group_name(row.kept[self._group_field]))

    def end_file(self, name: str, num_rows: int) -> None:
        """Says that the last `num_rows` rows were those of a file."""
        self._files.append(name)
        self._row_counts.append(num_rows)

    def read_split(
        self, *, bad_rows: BadRows, is_whole: bool, facts: Mapping[str, Any]
    ) -> _ReadSplit:
        """All of them, with what became of the others."""
        file_numbers = np.arange(len(self._files), dtype=np.int32)
        return _ReadSplit(
            texts=self._texts.joined(),
            codes=np.array(self._codes, np.int32),
            places=Places(
                tuple(self._files),
                np.repeat(file_numbers, self._row_counts),
                np.array(self._lines, np.int64),
            ),
            groups=self._groups.joined() if self._group_field else None,
            bad_rows=bad_rows,
            is_whole=is_whole,
            facts=facts,
        )


def _with_progress(rows: Iterator[Row | BadRow], name: str) -> Iterable[Row | BadRow]:
    return console.progress(rows, f"reading {pathlib.Path(name).name}", unit="rows")


# What is wrong, or doubtful, with what was read.


def _stops(splits: Iterable[_ReadSplit], config: DataConfig) -> bool:
    return config.bad_rows == "error" and any(split.bad_rows.count for split in splits)


def _refuse_bad_rows(splits: Mapping[str, _ReadSplit], config: DataConfig) -> None:
    if _stops(splits.values(), config):
        raise ValueError(_all_wrong(list(splits.values()), [], config))
    for name, split in splits.items():
        if not len(split.codes):
            rows = listed([split.bad_rows])
            raise ValueError(
                message(
                    f"the {name} set must have rows that can be used",
                    received=f"none from {split.facts['source']}",
                    mend=f"mend what is named:{rows}" if rows else "give it some",
                )
            )


def _all_wrong(
    splits: Sequence[_ReadSplit], faults: Sequence[str], config: DataConfig
) -> str:
    """Bad rows that stop the run, and what is wrong with the labels as a whole."""
    if not _stops(splits, config):
        return "\n  ".join(faults)
    tallies = [split.bad_rows for split in splits]
    count = sum(tally.count for tally in tallies)
    is_whole = all(split.is_whole for split in splits)
    # Offered only where the run goes on without these rows.
    can_skip = is_whole and all(len(split.codes) for split in splits) and not faults
    can_skip &= label_sets.num_kinds(splits[0].codes) > 1
    # A heading of a list of messages, so not of their form itself.
    heading = (
        f"{'' if is_whole else 'at least '}{counted(count)}"
        f"{' and doubtful labels' if faults else ''}; mend what is named"
        f"{', or leave it out with --bad_rows=skip' if can_skip else ''}:"
    )
    return heading + "".join(f"\n  {fault}" for fault in faults) + listed(tallies)


def _warnings(
    splits: Mapping[str, _ReadSplit], names: tuple[str, ...]
) -> Iterator[str]:
    for name, split in splits.items():
        if split.bad_rows.count:
            yield (
                f"{counted(split.bad_rows.count)} of the {name} set skipped, "
                f"{len(split.codes)} are left. The first: {split.bad_rows.first[0]}"
            )
    counts = label_sets.counts(splits["train"].codes, len(names))
    absent = [name for name, count in zip(names, counts) if not count]
    if absent:
        yield f"no training row has the label {', '.join(absent)}"

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

import dataclasses
import pathlib
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from trainer.config import DataConfig
from trainer.data import (
    corrections,
    files,
    folders,
    kept_sources,
    label_numbers,
    label_order,
    label_sets,
    packages,
    source_files,
    tfds,
)
from trainer.data.bad_rows import counted, listed
from trainer.data.label_numbers import LabelNumbers
from trainer.data.label_sets import LabelSets
from trainer.data.labels import (
    DiscoveredLabels,
    NamedLabels,
    named_labels,
)
from trainer.data.readers.encodings import AUTOMATIC
from trainer.data.readers.opening import matches
from trainer.data.kept_sources import Kept, NewTexts
from trainer.data.source_files import FileState
from trainer.data.strings import Strings
from trainer.data.split_reading import ReadSplit, read_split
from trainer.data.text_dataset import TextDataset as TextDataset
from trainer.data.unread import (
    ALL_ROWS,
    SplitBy,
    UnreadDataset,
    UnreadSplit,
)
from trainer.messages import message

# What of `Sources` is kept beside the splits; corrections come after.
_ABOUT_SOURCES = ("label_names", "facts", "split_by", "are_labels_found")


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


Load = Callable[[DataConfig], Sources]


def load(config: DataConfig) -> Sources:
    """Reads everything the config names.

    Raises:
      ValueError: the data set or its columns are not there; rows are bad (unless
        they are to be skipped); labels make no sense; a split has no rows.
    """
    listed = _listed(config)
    unread, notes = _opened_splits(config)
    files = [file for split in unread.values() for file in split.files]
    names = [path for file in files for path in file.paths or (file.name,)]
    states = source_files.states(names)
    read = None
    if states is not None and kept_sources.are_large(states):
        with kept_sources.telling_of_no_room():
            read = _from_disk(unread, notes, config, states)
    if read is None:
        read = _read_all(unread, notes, config, lambda _: Strings())
    source_files.refuse_changed(states or ())
    source_files.refuse_new(listed, _listed(config))
    return _corrected(read, config)


def _from_disk(
    unread: Mapping[str, UnreadSplit],
    notes: Sequence[str],
    config: DataConfig,
    states: Sequence[FileState],
) -> Sources:
    """What is kept of the files; read and kept first where nothing is.

    Raises:
      OSError: nothing can be kept.
    """

    def make(new_texts: NewTexts) -> Kept:
        read = _read_all(unread, notes, config, new_texts)
        # What is read of a file that changes would be found again under its name.
        source_files.refuse_changed(states)
        about = {name: getattr(read, name) for name in _ABOUT_SOURCES}
        return Kept(read.splits, about)

    kept = kept_sources.entry(states, config, make=make)
    about = {name: kept.about[name] for name in _ABOUT_SOURCES}
    label_names = tuple(about.pop("label_names"))
    return Sources(splits=kept.splits, label_names=label_names, **about)


def _read_all(
    unread: Mapping[str, UnreadSplit],
    notes: Sequence[str],
    config: DataConfig,
    new_texts: NewTexts,
) -> Sources:
    """Reads all files; raises ValueError as `load`."""
    # First, because the labels of the others are judged by its classes.
    train, labels, more_notes = _read_train(unread["train"], config, new_texts("train"))
    read = {"train": train}
    for name, split in unread.items():
        if name != "train":
            numbering = _numbering_of(split, labels, config)
            read[name] = _read_others(split, numbering, config, new_texts(name))
    # Of all splits together, so that a user sees them at once.
    _refuse_bad_rows(read, config)
    return _sources(read, labels, [*notes, *more_notes], unread["train"], config)


def _sources(
    read: Mapping[str, ReadSplit],
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


def _listed(config: DataConfig) -> list[str]:
    """The files that the config's paths, globs and folders stand for at the moment."""
    found: list[str] = []
    for scheme, _, name in (spec.partition(":") for spec in _specs(config)):
        if name and scheme in ("files", "tfrecord"):
            found += matches(name)
        elif name and scheme == "folder":
            splits = folders.open_dataset(name, config).splits.values()
            found += [file.name for split in splits for file in split.files]
    return found


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
    unread: UnreadSplit, config: DataConfig, texts: Strings
) -> tuple[ReadSplit, NamedLabels | LabelSets | LabelNumbers, list[str]]:
    """Reads the training pool, and discovers the classes if nobody names them.

    Returns:
      The rows, the classes, and notes on how labels were understood.

    Raises:
      ValueError: the labels make no sense as a whole.
    """
    notes: list[str] = []
    labels: NamedLabels | LabelSets | LabelNumbers
    if config.task == "regression":
        train, labels, notes, faults = _read_numbers(unread, config, texts)
    elif config.task == "multi_label":
        train, labels, notes, faults = _read_sets(unread, config, texts)
    elif config.label_names or unread.label_names:
        labels = _named(unread, config)
        train = read_split(unread, labels, config, texts=texts)
        faults = labels.faults(train.codes, label_field=config.label_field)
        if config.task == "ordinal":
            faults += label_order.faults(labels.names, are_named=True)
    else:
        train, labels, notes, faults = _read_discovering(unread, config, texts)
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
    unread: UnreadSplit, config: DataConfig, texts: Strings
) -> tuple[ReadSplit, NamedLabels, list[str], list[str]]:
    """Rows, classes, notes, and what is doubtful in the labels as a whole."""
    discovered = DiscoveredLabels()
    train = read_split(unread, discovered, config, texts=texts)
    faults = discovered.faults(train.codes, label_field=config.label_field)
    names, new_codes = discovered.in_order()
    if config.task == "ordinal":
        faults += label_order.faults(names, are_named=False)
    codes = np.array(new_codes, np.int32)[train.codes]
    train = dataclasses.replace(train, codes=codes)
    return train, discovered.named(), discovered.notes(), faults


def _read_sets(
    unread: UnreadSplit, config: DataConfig, texts: Strings
) -> tuple[ReadSplit, LabelSets, list[str], list[str]]:
    """The same of rows with any number of labels."""
    is_named = config.label_names or unread.label_names
    single = _named(unread, config) if is_named else DiscoveredLabels()
    sets = LabelSets(single, separator=config.label_separator)
    train = read_split(unread, sets, config, texts=texts)
    faults = sets.faults(train.codes, label_field=config.label_field)
    notes = sets.notes(train.codes)
    train = dataclasses.replace(train, codes=sets.matrix(train.codes))
    return train, sets.named(), notes, faults


def _read_numbers(
    unread: UnreadSplit, config: DataConfig, texts: Strings
) -> tuple[ReadSplit, LabelNumbers, list[str], list[str]]:
    """The same of rows with a number."""
    found = LabelNumbers()
    train = read_split(unread, found, config, texts=texts)
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
    texts: Strings,
) -> ReadSplit:
    """A split that is not the training pool."""
    read = read_split(unread, labels, config, texts=texts)
    if isinstance(labels, LabelSets):
        read = dataclasses.replace(read, codes=labels.matrix(read.codes))
    if isinstance(labels, LabelNumbers):
        read = dataclasses.replace(read, codes=labels.values(read.codes))
    return read


# What is wrong, or doubtful, with what was read.


def _stops(splits: Iterable[ReadSplit], config: DataConfig) -> bool:
    return config.bad_rows == "error" and any(split.bad_rows.count for split in splits)


def _refuse_bad_rows(splits: Mapping[str, ReadSplit], config: DataConfig) -> None:
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
    splits: Sequence[ReadSplit], faults: Sequence[str], config: DataConfig
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


def _warnings(splits: Mapping[str, ReadSplit], names: tuple[str, ...]) -> Iterator[str]:
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

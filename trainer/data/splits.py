"""Train, validation and test by content hash: the same text, the same split.

    pool, splits = make_splits(sources, config=config.data, seed=config.training.seed)
    pool.texts.take(splits["test"].rows), pool.labels[splits["test"].rows]

A text's split depends on its normal form alone (`duplicates.py`), so a copy cannot leak
from one split into another, and a row added to a file moves no other row. With
--group_field it depends on the row's group instead (`groups.py`), and with
--split_near_duplicates=together on the cluster of near-duplicates (`clusters.py`). What
rare labels change in this, and the rules themselves, are in `held_out.py`.

Splits that the data set brings along are kept as they are; what they share with others
is counted. With --num_folds the test split is one of the folds of the training source
(`folds.py`), and none that the data set brings along. A split is a list of row numbers
into one pool: another division of the same texts, as for a fold, copies nothing and
tokenizes nothing again. Rows of --replay_dataset join the training split (`replay.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer.config import DataConfig
from trainer.data import (
    clusters,
    draws,
    folds,
    groups,
    held_out,
    kept_sources,
    label_sets,
    near_duplicates,
    places,
    replay,
)
from trainer.data.augmented import Augmented
from trainer.data.duplicates import content_digests as content_digests
from trainer.data.duplicates import normalized_digests, numbered
from trainer.data.held_out import MIN_TRAIN_TEXTS
from trainer.data.places import Places
from trainer.data.replay import MayReplay, Replayed
from trainer.data.sources import Sources, TextDataset
from trainer.data.text_dataset import Digests
from trainer.messages import message

SPLITS = ("train", "validation", "test")
# The source whose rows join the training split.
REPLAY = "replay"
_ROWS_AT_ONCE = 65_536
# The rule of the shares, for who wants to find a test split again.
share = held_out.share


@dataclasses.dataclass(frozen=True)
class Pool:
    """Every text that a run uses, once for each row it was read from.

    Attributes:
      texts: large_string [n].
      labels: int32 [n], positions among the label names; where a text may have several,
        float32 [n, labels] of 0 and 1.
      digests: uint8 [n, 32], SHA-256 of each text in UTF-8.
      text_numbers: int64 [n], equal for texts of one normal form.
      group_numbers: int64 [n], equal for rows of one group, -1 for rows of none; None
        without --group_field.
      places: where each row was read.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    digests: np.ndarray
    text_numbers: np.ndarray
    group_numbers: np.ndarray | None
    places: Places

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Split:
    """Some rows of a pool.

    Attributes:
      rows: int64 [m], ascending.
      num_available: how many there were before some were drawn.
      num_left_out: rows besides, of which a copy is in a split held out before this.
      replayed: what of the rows is from --replay_dataset; None: nothing.
      augmented: what of the rows are copies with swapped words; None: nothing.
    """

    rows: np.ndarray
    num_available: int
    num_left_out: int = 0
    replayed: Replayed | None = None
    augmented: Augmented | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_new(self) -> int:
        """How many of the rows are not from --replay_dataset."""
        return len(self.rows) - (self.replayed.num_drawn if self.replayed else 0)


def unlabelled(texts: Sequence[str]) -> Pool:
    """A pool of texts to predict, all labels 0."""
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    return Pool(
        texts=array,
        labels=np.zeros(len(texts), np.int32),
        digests=content_digests(array),
        text_numbers=numbered(normalized_digests(array)),
        group_numbers=None,
        places=places.unknown(len(texts)),
    )


@dataclasses.dataclass(frozen=True)
class _Hashed:
    """The digests of one source's rows, each uint8 [n, 32].

    Attributes:
      contents: of the texts as they are.
      texts: of their normal forms.
      groups: of the groups, zeros for a row of none; None without --group_field.
    """

    contents: np.ndarray
    texts: np.ndarray
    groups: np.ndarray | None


def make_splits(
    sources: Sources,
    *,
    config: DataConfig,
    seed: int,
    may_be_empty: bool = False,
    may_replay: MayReplay | None = None,
) -> tuple[Pool, dict[str, Split]]:
    """The texts of a run and its splits.

    Args:
      seed: draws the rows where not all are wanted.
      may_be_empty: whether held-out splits may be without a text.
      may_replay: as of `replay.candidates`.

    Returns:
      The pool of all texts that a split holds, and the splits: "train" always, and
      "validation" and "test" where there are any; "test" only if it is to be answered.

    Raises:
      ValueError: no text is left to train on, or a split that was asked for is empty
        and may not be; or a label has a single text where some are to be held out.
    """
    if config.num_folds:
        sources = without_test(sources)
    hashed = {name: _hashed(data) for name, data in sources.splits.items()}
    shares, num_left_out = _shares(sources, hashed, config)
    for name, is_chosen in shares.items():
        if not is_chosen.any() and not (may_be_empty and name != "train"):
            raise ValueError(_empty_split(name, len(sources.splits["train"]), config))
    replayed = None
    if REPLAY in shares:
        # While the test split is among the shares: what it holds out is not replayed.
        shares[REPLAY], replayed = _candidates(
            sources, hashed, shares, may_replay, config
        )
    if not config.evaluate_test:
        # Split off, so that nothing trains on it, and then not used.
        shares.pop("test", None)
    drawn = {
        name: _drawn(sources, hashed, name, is_chosen, config=config, seed=seed)
        for name, is_chosen in shares.items()
        if name != REPLAY
    }
    if replayed is not None:
        drawn[REPLAY], replayed = _drawn_again(
            sources, hashed, shares[REPLAY], len(drawn["train"]), replayed, config, seed
        )
    pool, rows = _pooled(sources, hashed, drawn, config)
    parts = {
        name: Split(rows[name], int(shares[name].sum()), num_left_out.get(name, 0))
        for name in rows
    }
    return pool, _joined(parts, replayed)


def _joined(parts: dict[str, Split], replayed: Replayed | None) -> dict[str, Split]:
    """The splits in order, what is replayed in the training split."""
    if replayed is not None:
        new, old = parts["train"], parts[REPLAY]
        parts["train"] = dataclasses.replace(
            new,
            rows=np.sort(np.concatenate([new.rows, old.rows])),
            num_available=new.num_available + old.num_available,
            replayed=replayed,
        )
    return {name: parts[name] for name in SPLITS if name in parts}


def _candidates(
    sources: Sources,
    hashed: Mapping[str, _Hashed],
    shares: Mapping[str, np.ndarray],
    may_replay: MayReplay | None,
    config: DataConfig,
) -> tuple[np.ndarray, Replayed]:
    """Which rows of --replay_dataset may be trained on: bool [n]; and the counts.

    Raises:
      ValueError: none may.
    """

    def of(names: Sequence[str], kind: str) -> np.ndarray:
        parts = [
            getattr(hashed[name if name in hashed else "train"], kind)[shares[name]]
            for name in names
        ]
        return np.concatenate([np.empty([0, 32], np.uint8), *parts])

    held_out_names = [name for name in SPLITS[1:] if name in shares]
    of_replay = hashed[REPLAY]
    has_group = np.zeros(len(shares[REPLAY]), bool)
    if of_replay.groups is not None:
        both = [of_replay.groups, of(held_out_names, "groups")]
        numbers = numbered(np.concatenate(both))
        own = numbers[: len(has_group)]
        # Rows of no group have zeros, and share nothing.
        has_group = np.isin(own, numbers[len(own) :]) & both[0].any(axis=1)
    return replay.candidates(
        of_replay.texts,
        held_out_here=of(held_out_names, "texts"),
        has_held_out_group=has_group,
        new=of(["train"], "texts"),
        may_replay=may_replay,
        test_one_in=config.test_one_in,
    )


def _drawn_again(
    sources: Sources,
    hashed: Mapping[str, _Hashed],
    is_left: np.ndarray,
    num_new: int,
    counts: Replayed,
    config: DataConfig,
    seed: int,
) -> tuple[np.ndarray, Replayed]:
    """The rows of --replay_dataset that are trained on, and the whole counts.

    Drawn by seed and texts in the proportions of labels and copies: the same at each
    start and on each worker, whatever the order of the rows.
    """
    rows = np.flatnonzero(is_left)
    fraction = config.replayed_share
    drawn = draws.draw(
        sources.splits[REPLAY].labels[rows],
        hashed[REPLAY].texts[rows],
        hashed[REPLAY].contents[rows],
        label_names=sources.label_names,
        limit=replay.num_wanted(num_new, fraction=fraction),
        seed=seed,
    )
    whole = dataclasses.replace(
        counts,
        num_drawn=len(drawn),
        wanted_fraction=fraction,
        fraction=len(drawn) / (num_new + len(drawn)),
    )
    return rows[drawn], whole


def held_out_digests(sources: Sources, *, config: DataConfig) -> np.ndarray:
    """Of the normal form of every text that is not for training: uint8 [n, 32].

    Also of those that are not drawn, and of a test set that is not answered.
    """
    hashed = {name: _hashed(data) for name, data in sources.splits.items()}
    used = without_test(sources) if config.num_folds else sources
    shares, _ = _shares(used, hashed, config)
    brought = [hashed[name].texts for name in sources.splits if name != "train"]
    shared = [
        hashed["train"].texts[is_chosen]
        for name, is_chosen in shares.items()
        if name not in used.splits
    ]
    return np.concatenate([np.empty([0, 32], np.uint8), *brought, *shared])


def without_test(sources: Sources) -> Sources:
    """The sources but for a test split that they bring along."""
    splits = {name: data for name, data in sources.splits.items() if name != "test"}
    return dataclasses.replace(sources, splits=splits)


def folds_of(sources: Sources, config: DataConfig) -> np.ndarray:
    """The fold of each row of the training source: int64 [n].

    Raises:
      ValueError: there are too few texts of a label, or groups, or a fold leaves no
        text for validation.
    """
    sources = without_test(sources)
    train = sources.splits["train"]
    hashed = _hashed(train)
    for fold in range(config.num_folds):
        of_fold = dataclasses.replace(config, fold=fold)
        for name, is_chosen in _shares_of_fold(sources, hashed, of_fold).items():
            if not is_chosen.any():
                raise ValueError(_empty_split(name, len(train), of_fold))
    return _folds(train, hashed, config)


def _folds(train: TextDataset, hashed: _Hashed, config: DataConfig) -> np.ndarray:
    return folds.fold_numbers(
        _units(train, hashed, config),
        train,
        num_folds=config.num_folds,
        group_field=config.group_field,
    )


def _units(train: TextDataset, hashed: _Hashed, config: DataConfig) -> np.ndarray:
    """Digests of what stays together, by the settings: uint8 [n, 32]."""
    units = hashed.texts
    if config.split_near_duplicates == "together":
        clusters_of_texts = clusters.of_texts(train.texts, hashed.contents, config)
        units = near_duplicates.least_digests(clusters_of_texts, units)
    if hashed.groups is not None:
        units = groups.united(units, hashed.groups)
    return units


def _hashed(data: TextDataset) -> _Hashed:
    made = data.digests or Digests(
        content_digests(data.texts), normalized_digests(data.texts)
    )
    return _Hashed(
        made.contents,
        made.normal_forms,
        None if data.groups is None else groups.group_digests(data.groups),
    )


def _shares(
    sources: Sources, hashed: Mapping[str, _Hashed], config: DataConfig
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Which rows of its source each split has, before any are drawn.

    Splits without a source of their own share out the training source.

    Returns:
      By split, bool [rows of its source]; by split, the number of copies left out.
    """
    brought = {name: np.ones(len(data), bool) for name, data in sources.splits.items()}
    if config.num_folds:
        return brought | _shares_of_fold(sources, hashed["train"], config), {}
    one_in = {
        name: number
        for name, number in (
            ("test", config.test_one_in),
            ("validation", config.validation_one_in),
        )
        if number and name not in brought
    }
    if not one_in:
        return brought, {}
    train, of_train = sources.splits["train"], hashed["train"]
    held_out.refuse_lone_texts(
        train, of_train.texts, are_labels_found=sources.are_labels_found
    )
    goes_by_text = of_train.groups is None and config.split_near_duplicates == "alone"
    if goes_by_text and sources.split_by == "exact_text":
        shared, num_left_out = held_out.by_exact_text(
            of_train.contents, of_train.texts, one_in
        )
        return brought | shared, num_left_out
    units = _units(train, of_train, config)
    shared = held_out.by_unit(units, of_train.texts, train.labels, one_in)
    return brought | shared, {}


def _shares_of_fold(
    sources: Sources, hashed: _Hashed, config: DataConfig
) -> dict[str, np.ndarray]:
    """Test is the fold; validation, if none is brought, a share of all others."""
    train = sources.splits["train"]
    units = _units(train, hashed, config)
    is_test = _folds(train, hashed, config) == config.fold
    shares = {"test": is_test, "train": ~is_test}
    if config.validation_one_in and "validation" not in sources.splits:
        rest = np.flatnonzero(~is_test)
        parts = held_out.by_unit(
            units[rest],
            hashed.texts[rest],
            train.labels[rest],
            {"validation": config.validation_one_in},
        )
        for name, is_chosen in parts.items():
            shares[name] = np.zeros(len(train), bool)
            shares[name][rest[is_chosen]] = True
    return shares


def _empty_split(name: str, num_texts: int, config: DataConfig) -> str:
    unit = "groups" if config.group_field else "texts"
    return message(
        f"the {name} split must have at least one text",
        received=f"none of the {num_texts} in the data set, shared out with "
        + (
            f"--num_folds={config.num_folds} --fold={config.fold} and "
            if config.num_folds
            else f"--test_one_in={config.test_one_in} and "
        )
        + f"--validation_one_in={config.validation_one_in}, the first "
        f"{MIN_TRAIN_TEXTS} texts of each label being for training",
        mend=f"add {unit}, change the shares, or set the share to 0 to go without that "
        "split",
    )


def _drawn(
    sources: Sources,
    hashed: Mapping[str, _Hashed],
    name: str,
    is_chosen: np.ndarray,
    *,
    config: DataConfig,
    seed: int,
) -> np.ndarray:
    """The chosen rows of a split's source, or as many of them as it may have."""
    source = name if name in hashed else "train"
    is_train = name == "train"
    limit = config.num_train_examples if is_train else config.num_eval_examples
    rows = np.flatnonzero(is_chosen)
    if not 0 < limit < len(rows):
        return rows
    drawn = draws.draw(
        sources.splits[source].labels[rows],
        hashed[source].texts[rows],
        hashed[source].contents[rows],
        label_names=sources.label_names,
        limit=limit,
        seed=seed,
        # A label that is not trained on is never answered.
        every_label=is_train,
    )
    result: np.ndarray = rows[drawn]
    return result


def _pooled(
    sources: Sources,
    hashed: Mapping[str, _Hashed],
    drawn: Mapping[str, np.ndarray],
    config: DataConfig,
) -> tuple[Pool, dict[str, np.ndarray]]:
    """One pool of the rows that were drawn, and where each split's rows are in it."""
    used: list[TextDataset] = []
    used_hashed: list[_Hashed] = []
    rows: dict[str, np.ndarray] = {}
    start = 0
    for source, data in sources.splits.items():
        # A split without a source of its own is a share of the training source.
        names = [
            name for name in drawn if source == (name if name in hashed else "train")
        ]
        is_used = np.zeros(len(data), bool)
        for name in names:
            is_used[drawn[name]] = True
        is_whole = bool(is_used.all())
        # Of the whole source rows are where they were: nothing is counted.
        position = None if is_whole else np.cumsum(is_used) - 1
        for name in names:
            at = drawn[name] if position is None else position[drawn[name]]
            rows[name] = at + start if start else at
        start += int(is_used.sum())
        of_source = hashed[source]
        if not is_whole:
            data = kept_sources.some_of(data, is_used, config)
            of_source = _only(of_source, is_used, data.digests)
        used.append(data)
        used_hashed.append(of_source)
    return _pool_of(used, used_hashed), rows


def _only(hashed: _Hashed, is_used: np.ndarray, digests: Digests | None) -> _Hashed:
    """The digests of some rows; digests: of these, where they were taken already."""
    return _Hashed(
        hashed.contents[is_used] if digests is None else digests.contents,
        hashed.texts[is_used] if digests is None else digests.normal_forms,
        None if hashed.groups is None else hashed.groups[is_used],
    )


def _pool_of(used: Sequence[TextDataset], hashed: Sequence[_Hashed]) -> Pool:
    of_groups = [each.groups for each in hashed if each.groups is not None]
    return Pool(
        texts=pa.chunked_array(
            [chunk for data in used for chunk in data.texts.chunks], pa.large_string()
        ),
        labels=_joined_arrays([data.labels for data in used]),
        digests=_joined_arrays([each.contents for each in hashed]),
        text_numbers=numbered(_joined_arrays([each.texts for each in hashed])),
        group_numbers=(
            groups.group_numbers(np.concatenate(of_groups)) if of_groups else None
        ),
        places=places.joined([data.places for data in used]),
    )


def _joined_arrays(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One after the other; a single one is not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def facts(
    pool: Pool, splits: Mapping[str, Split], label_names: tuple[str, ...]
) -> dict[str, Any]:
    """What a reader of the report should know of the splits, JSON-able."""
    used = np.concatenate([split.rows for split in splits.values()])
    return {
        "label_names": list(label_names),
        "splits": {
            name: _split_facts(pool, split, label_names)
            for name, split in splits.items()
        },
        "num_contradicting_texts": _num_contradicting(
            pool.text_numbers[used],
            label_sets.kinds(pool.labels[used]),
        ),
        "num_copies_left_out": sum(split.num_left_out for split in splits.values()),
        **{
            "replayed": dataclasses.asdict(split.replayed)
            for split in splits.values()
            if split.replayed
        },
        **{
            "augmented": dataclasses.asdict(split.augmented)
            for split in splits.values()
            if split.augmented
        },
        **dict(_overlaps(pool, splits)),
    }


def notes(splits: Mapping[str, Split]) -> list[str]:
    """What was left out of the splits, in sentences for the report."""
    return [
        f"{split.num_left_out} texts left out of the {name} split: they differ from "
        "held-out ones by case or white space alone"
        for name, split in splits.items()
        if split.num_left_out
    ] + [
        each.note
        for split in splits.values()
        for each in (split.replayed, split.augmented)
        if each
    ]


def _overlaps(pool: Pool, splits: Mapping[str, Split]) -> Iterator[tuple[str, int]]:
    """For each pair of splits, the rows of the one whose text is in the other too."""
    for name, other in (
        ("validation", "train"),
        ("test", "train"),
        ("test", "validation"),
    ):
        if name in splits and other in splits:
            rows, others = splits[name].rows, splits[other].rows
            texts = pool.text_numbers
            is_shared = np.isin(texts[rows], texts[others])
            yield f"num_{name}_texts_in_{other}", int(is_shared.sum())
            if pool.group_numbers is not None:
                shared = np.intersect1d(
                    _named(pool.group_numbers[rows]), pool.group_numbers[others]
                )
                yield f"num_{name}_groups_in_{other}", len(shared)


def _named(group_numbers: np.ndarray) -> np.ndarray:
    """The numbers of the groups among these rows: int64 [groups]."""
    return np.unique(group_numbers[group_numbers >= 0])


def _split_facts(
    pool: Pool, split: Split, label_names: tuple[str, ...]
) -> dict[str, Any]:
    counts = label_sets.counts(pool.labels[split.rows], len(label_names)).tolist()
    is_there = np.zeros(int(pool.text_numbers.max(initial=-1)) + 1, bool)
    is_there[pool.text_numbers[split.rows]] = True
    num_texts = int(is_there.sum())
    result = {
        "num_examples": len(split),
        "num_available": split.num_available,
        "class_counts": dict(zip(label_names, counts)),
        "num_duplicates": len(split) - num_texts,
    }
    if pool.group_numbers is not None:
        result["num_groups"] = len(_named(pool.group_numbers[split.rows]))
    return result


def fingerprint(pool: Pool, splits: Mapping[str, Split]) -> dict[str, str]:
    """A hash of texts and labels for each split, to tell whether data changed."""
    result = {}
    for name, split in splits.items():
        digest = hashlib.sha256()
        for values in (pool.digests, _as_hashed(pool.labels)):
            # Some at a time, of millions of rows.
            for start in range(0, len(split.rows), _ROWS_AT_ONCE):
                some = values[split.rows[start : start + _ROWS_AT_ONCE]]
                digest.update(some.tobytes())
        result[name] = digest.hexdigest()[:32]
    return result


def _as_hashed(labels: np.ndarray) -> np.ndarray:
    """Of numbers all digits count, of other labels the whole ones."""
    is_number = label_sets.are_numbers(labels)
    return labels.astype("<f8" if is_number else "<i4", copy=False)


def _num_contradicting(texts: np.ndarray, labels: np.ndarray) -> int:
    """How many distinct texts stand in the data with more than one label."""
    num_labels = int(labels.max(initial=0)) + 1
    # One number a pair is sorted in a fraction of the memory that two take.
    of_pairs = np.unique(texts * num_labels + labels) // num_labels
    return len(np.unique(of_pairs[1:][of_pairs[1:] == of_pairs[:-1]]))

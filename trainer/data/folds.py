"""Folds for cross-validation: each text is held out once, and never on both sides.

    numbers = fold_numbers(units, data, num_folds=5, group_field="")
    numbers == 3            # bool [n]: the test split of fold 3

What stays together (copies of a text, rows of a group) is a unit. The units of a label
are put in the order of a hash and dealt out in turn, so that each fold has its share of
each label to about one unit. The fold of a row depends on which texts, groups and labels
there are, and not on the order of the rows, nor on a seed.

Held-out folds are the whole of the training source: a test set that the data set brings
along is no part of them.
"""

from __future__ import annotations

import numpy as np

from trainer.data import label_sets
from trainer.data.duplicates import first_32_bits, numbered
from trainer.data.sources import TextDataset
from trainer.messages import message

_SALT = b"fold:"
_LABELS_IN_ERROR = 5


def fold_numbers(
    units: np.ndarray, data: TextDataset, *, num_folds: int, group_field: str
) -> np.ndarray:
    """The fold of each row: int64 [n], from 0.

    Args:
      units: uint8 [n, 32], equal for rows that stay together.
      group_field: what units are made by; empty: they are texts.

    Raises:
      ValueError: there are fewer units than folds, or of a label fewer than it takes.
    """
    # The numbers are ranks of the digests, so they do not depend on the rows' order.
    numbers = numbered(units)
    _, first = np.unique(numbers, return_index=True)
    classes, _ = label_sets.classes_of(data.labels, data.label_names)
    labels = _commonest_labels(numbers, classes)
    if group_field:
        _refuse_few_groups(numbers, data, num_folds, group_field)
    else:
        has_own = np.flatnonzero(classes == labels[numbers])
        of_units = has_own[np.unique(numbers[has_own], return_index=True)[1]]
        _refuse_few_texts(of_units, data, num_folds)
    hashes = first_32_bits(units[first], _SALT)
    order = np.lexsort((np.arange(len(first)), hashes, labels))
    folds = np.empty(len(first), np.int64)
    # Where one label ends, the next goes on, so that the folds differ by one at most.
    folds[order] = np.arange(len(first)) % num_folds
    result: np.ndarray = folds[numbers]
    return result


def _commonest_labels(units: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each unit's rows; of several the first: int64 [units]."""
    pairs, counts = np.unique(
        np.stack([units, labels.astype(np.int64)]), axis=1, return_counts=True
    )
    order = np.lexsort((pairs[1], -counts, pairs[0]))
    _, first = np.unique(pairs[0][order], return_index=True)
    found: np.ndarray = pairs[1][order][first]
    return found


def _refuse_few_texts(rows: np.ndarray, data: TextDataset, num_folds: int) -> None:
    """Where a label has fewer texts than there are folds, some would not hold it.

    rows: int64, one of each text, with the label that most rows of the text have.
    """
    counts = label_sets.counts(data.labels[rows], len(data.label_names))
    # A label that is named and has no text is no reason.
    used = np.unique(label_sets.pairs(data.labels)[1])
    few = [int(label) for label in used if counts[label] < num_folds]
    if not few:
        return
    least = int(counts[few].min())
    mend = "add texts of these labels, or merge them with others by --label_names"
    if least >= 2:
        mend = f"give --num_folds={least} or less, or {mend}"
    raise ValueError(
        message(
            f"each label must have at least --num_folds={num_folds} different texts, one "
            "for each fold",
            received=_listed(data, few, counts),
            mend=mend,
        )
    )


def _refuse_few_groups(
    numbers: np.ndarray, data: TextDataset, num_folds: int, group_field: str
) -> None:
    """Where a label is in one group alone, no text of it is left to train on."""
    num_groups = int(numbers.max()) + 1
    if num_groups < num_folds:
        raise ValueError(
            message(
                f"--num_folds={num_folds} must be at most the number of groups of "
                f"--group_field={group_field}; groups that share a text count as one",
                received=f"{num_groups} group{'s' if num_groups != 1 else ''}",
                mend=(
                    f"give --num_folds={num_groups} or less"
                    if num_groups >= 2
                    else "name another column, or leave --group_field out"
                ),
            )
        )
    rows, codes = label_sets.pairs(data.labels)
    pairs = np.unique(np.stack([numbers[rows], codes]), axis=1)
    counts = np.bincount(pairs[1], minlength=len(data.label_names))
    few = np.flatnonzero(counts == 1).tolist()
    if few:
        raise ValueError(
            message(
                f"each label must be in at least two groups of --group_field={group_field}"
                ", for those of one fold are not trained on",
                received=_listed(data, few, counts),
                mend="add groups with these labels, or merge the labels with others by "
                "--label_names",
            )
        )


def _listed(data: TextDataset, labels: list[int], counts: np.ndarray) -> str:
    listed = [
        f"{counts[label]} of {data.label_names[label]!r}"
        for label in labels[:_LABELS_IN_ERROR]
    ]
    return ", ".join(listed) + (", ..." if len(labels) > len(listed) else "")

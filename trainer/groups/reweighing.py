"""Training texts reweighed, so that the label does not go with the group.

    table = reweigh(grouping, labels, label_names=("bad", "good"), min_texts=30)
    table.weights                       # float32 [n], of mean 1
    table.cells[0]                      # Cell(group="female", label="bad", ...)

Kamiran and Calders 2012, "Data preprocessing techniques for classification without
discrimination", 4.3: a text of group g and label y weighs P(g) P(y) / P(g, y). Under these
weights groups and labels are independent, and both as frequent as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import Sequence

import numpy as np

from trainer.evaluation.schema import ReweighedCell
from trainer.groups.rates import Grouping
from trainer.messages import message

# What stands for the texts of no group, and of groups that are too small.
_NONE, _SMALL = "(none)", "(small groups)"


@dataclasses.dataclass(frozen=True)
class Reweighed:
    """Weights and where they come from.

    Attributes:
      weights: float32 [n], of mean 1.
      cells: a group and label each, of those that occur.
    """

    weights: np.ndarray
    cells: tuple[ReweighedCell, ...]

    def fingerprint(self) -> str:
        """A hash of the weights, to tell whether they changed."""
        return hashlib.sha256(self.weights.astype("<f4").tobytes()).hexdigest()[:32]


def reweigh(
    grouping: Grouping,
    labels: np.ndarray,
    *,
    label_names: Sequence[str],
    min_texts: int,
) -> Reweighed:
    """The weight of each text.

    A text that mentions several groups is in a group of its own, as "female and male".
    Where a group has a label in no text, no weight can make up for it.

    Args:
      grouping: of n texts.
      labels: int [n], positions in `label_names`.
      min_texts: groups of fewer texts are weighed as one.

    Raises:
      ValueError: fewer than two groups have texts enough.
    """
    names, group_of = _groups(grouping, min_texts)
    counts = np.zeros((len(names), len(label_names)))
    np.add.at(counts, (group_of, labels), 1.0)
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    weights = np.divide(expected, counts, out=np.zeros_like(counts), where=counts > 0)
    # The mean is 1 but where a group lacks a label.
    weights *= total / (weights * counts).sum()
    cells = tuple(
        ReweighedCell(
            group=names[group],
            label=label_names[label],
            num_texts=int(counts[group, label]),
            weight=float(weights[group, label]),
        )
        for group, label in np.argwhere(counts > 0).tolist()
    )
    return Reweighed(weights[group_of, labels].astype(np.float32), cells)


def _groups(grouping: Grouping, min_texts: int) -> tuple[list[str], np.ndarray]:
    """The names of groups that exclude each other, and int64 [n], each text's.

    Raises:
      ValueError: fewer than two have texts enough.
    """
    # Rows as bytes: a column of thousands of values is sorted in a second.
    packed = np.packbits(grouping.members, axis=1)
    if not packed.shape[1]:  # A column without a value.
        packed = np.zeros((len(packed), 1), np.uint8)
    keys = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}").ravel()
    _, first, numbers = np.unique(keys, return_index=True, return_inverse=True)
    members, numbers = grouping.members[first], numbers.ravel()
    is_small = np.bincount(numbers, minlength=len(members)) < min_texts
    if (~is_small).sum() < 2:
        raise ValueError(
            message(
                f"--reweigh_by={grouping.source}:{grouping.name} needs two groups of at "
                f"least {min_texts} training texts, those of no group being one",
                received=f"{(~is_small).sum()} of {len(members)}",
                mend="leave it out, or train on more texts",
            )
        )
    large = np.cumsum(~is_small) - 1
    names = [
        " and ".join(itertools.compress(grouping.groups, row)) or _NONE
        for row in members[~is_small]
    ] + [_SMALL] * bool(is_small.any())
    number_of = np.where(is_small, len(names) - 1, large)
    return names, number_of[numbers]

"""Labels that may be wrong, by confident learning on out-of-fold probabilities.

    doubted = doubted_labels(labels, probabilities)
    doubted.rows, doubted.suggested         # the least likely label first
    doubted.estimated_share

Northcutt, Jiang, Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels", as cleanlab has it. A label is doubted where a model that never saw it is
surer of another class than it usually is of that class. Nothing is changed here: a
person decides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.data import extras


class Doubted(NamedTuple):
    """The labels that are doubted.

    Attributes:
      rows: int64 [m], the least probable label first.
      suggested: int64 [m], the likeliest other class.
      estimated_share: of wrong labels among all.
    """

    rows: np.ndarray
    suggested: np.ndarray
    estimated_share: float


def doubted_labels(labels: np.ndarray, probabilities: np.ndarray) -> Doubted:
    """The labels that are doubted.

    Args:
      labels: int [n].
      probabilities: float [n, classes], of a model that did not see these labels.

    Raises:
      ValueError: the extra `audit` is not installed.
    """
    extras.require("cleanlab", asked_for="looking for wrong labels")
    from cleanlab import count, filter as label_filter

    # cleanlab wants every class to have a label.
    present, numbers = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        return Doubted(np.empty(0, np.int64), np.empty(0, np.int64), 0.0)
    shares = probabilities[:, present].astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    joint = count.compute_confident_joint(numbers, shares)
    is_doubted = label_filter.find_label_issues(
        numbers,
        shares,
        confident_joint=joint,
        # Processes of its own would be forks of one that may hold TensorFlow.
        n_jobs=1,
    )
    rows = np.flatnonzero(is_doubted)
    given = probabilities[rows, labels[rows]]
    rows = rows[np.argsort(given, kind="stable")]
    others = probabilities[rows].copy()
    others[np.arange(len(rows)), labels[rows]] = -np.inf
    likeliest = np.argsort(-others, axis=1, kind="stable")[:, 0]
    estimated = count.estimate_joint(numbers, shares, confident_joint=joint)
    return Doubted(rows, likeliest, float(1 - np.trace(estimated)))

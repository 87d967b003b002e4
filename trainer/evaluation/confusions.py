"""Which labels are taken for which: the pairs, and an order in which a picture reads.

most_frequent(matrix, names)[0]     # {"label": "ship", "predicted": "crude", ...}
arranged(matrix, limit=40)          # positions of labels: the confused side by side
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

_MAX_PAIRS = 10


def most_frequent(
    matrix: Sequence[Sequence[int]], names: Sequence[str]
) -> list[dict[str, Any]]:
    """The most frequent pairs of a label and another that was given instead."""
    pairs: list[dict[str, Any]] = [
        {
            "label": names[true],
            "predicted": names[predicted],
            "count": count,
            "fraction": count / sum(row),
        }
        for true, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    # Stable: at a tie the order of the labels.
    return sorted(pairs, key=lambda pair: -pair["count"])[:_MAX_PAIRS]


def arranged(matrix: npt.NDArray[np.int64], *, limit: int) -> list[int]:
    """Positions of the labels with the most errors, those confused side by side.

    The order is that of a tree of average distances (one less the mean share that is
    taken for the other), its leaves turned so that neighbours are close (Bar-Joseph et
    al. 2001, "Fast optimal leaf ordering for hierarchical clustering").

    Args:
      matrix: int64 [labels, labels], rows true, columns predicted.
      limit: how many labels at most, at least 2.
    """
    # Imported here: only a report with many labels needs it.
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    errors = matrix - np.diag(np.diag(matrix))
    num_errors = errors.sum(axis=0) + errors.sum(axis=1)
    # Stable: at a tie the order of the labels.
    shown = np.sort(np.argsort(-num_errors, kind="stable")[:limit])
    shares = errors / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    among = shares[np.ix_(shown, shown)]
    if not among.any():
        return [int(each) for each in shown]
    distances = squareform(1.0 - (among + among.T) / 2, checks=False)
    tree = hierarchy.linkage(distances, "average", optimal_ordering=True)
    return [int(shown[each]) for each in hierarchy.leaves_list(tree)]

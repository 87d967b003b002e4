"""How alike two representations of the same texts are, whatever way they are turned.

    alikeness(before, after)        # 1: the same up to a rotation and a scale
    neighbour_overlap(before, after, num_neighbours=10)

Both compare texts with texts, never a number with a number: a representation that is
only rotated has forgotten nothing, and has 1 in both.
"""

from __future__ import annotations

import numpy as np

# The estimator of the alikeness divides by n (n - 3).
MIN_TEXTS = 4


def alikeness(first: np.ndarray, second: np.ndarray) -> float:
    """Linear centred kernel alignment (CKA) of two representations, without bias.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited",
    with the estimator of Song et al. 2012, "Feature Selection via Dependence
    Maximization" (equation 5), in its three places: what is usually computed says 0.5
    and more of two random representations that are as wide as there are texts, and
    this says 0.

    Args:
      first: float [n, m], a text a row, n at least `MIN_TEXTS`.
      second: float [n, k], of the same texts.

    Returns:
      1 for the same up to rotation and scale, about 0 for unrelated ones (it may be a
      little below); NaN where all texts have the same vector.
    """
    left, right = _gram(first), _gram(second)
    norm = np.sqrt(_dependence(left, left) * _dependence(right, right))
    # Of vectors that are all the same, rounding is all that is left.
    if not norm > 0:
        return float("nan")
    return float(_dependence(left, right) / norm)


def neighbour_overlap(
    first: np.ndarray, second: np.ndarray, *, num_neighbours: int = 10
) -> float:
    """The share of a text's nearest texts, by cosine, that are so in both: its mean.

    Args:
      first: float [n, m], a text a row.
      second: float [n, k], of the same texts.
      num_neighbours: fewer than n.

    Returns:
      In [0, 1]; unrelated representations have `num_neighbours` / (n - 1).
    """
    nearest = [_nearest(vectors, num_neighbours) for vectors in (first, second)]
    return float((nearest[0] & nearest[1]).sum() / nearest[0].sum())


def _gram(vectors: np.ndarray) -> np.ndarray:
    """float64 [n, n], products of the centred rows; 0 on the diagonal."""
    wide = np.asarray(vectors, np.float64)
    # The estimator centres by itself; this keeps its sums from cancelling.
    wide = wide - wide.mean(axis=0)
    gram: np.ndarray = wide @ wide.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _dependence(left: np.ndarray, right: np.ndarray) -> float:
    """Song et al.'s unbiased estimate of HSIC, of Gram matrices with a diagonal of 0."""
    count = len(left)
    by_row = (left @ right.sum(axis=1)).sum()
    total = (
        (left * right).sum()
        + left.sum() * right.sum() / ((count - 1) * (count - 2))
        - 2 * by_row / (count - 2)
    )
    return float(total / (count * (count - 3)))


def _nearest(vectors: np.ndarray, num_neighbours: int) -> np.ndarray:
    """bool [n, n], whether a column's text is among the nearest of a row's."""
    wide = np.asarray(vectors, np.float64)
    wide = wide - wide.mean(axis=0)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = wide / np.where(norms > 0, norms, 1.0)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    # Ties go to the text that comes first, in both.
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :num_neighbours]
    is_near = np.zeros(cosine.shape, bool)
    np.put_along_axis(is_near, order, True, axis=1)
    return is_near

"""How far apart two samples of texts are, and whether chance explains it.

    compared = compare_counts(reference_counts, new_counts, seed=0)
    compared.size, compared.chance_size, compared.p_value
    compare_vectors(reference_vectors, new_vectors, seed=0).size    # 0.5: not told apart
    estimated = label_shares(confusion, answered_counts, seed=0)

Every test is one by permutation: where both samples are drawn independently from one
distribution, its p is at most x with probability x at most, whatever the numbers of
texts. NumPy and SciPy alone.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import numpy as np

# Below, a measure says nothing: with fewer even a large shift is rarely shown.
MIN_TEXTS = 20
# The classifier of domains is fitted on four fifths of the texts.
MIN_VECTORS = 50
# Texts of a label, to know what the model makes of it.
MIN_TEXTS_OF_LABEL = 5

NUM_PERMUTATIONS = 1999
_NUM_RESAMPLES = 1000
_NUM_FOLDS = 5
# Of a text's mean squared length. On MiniLM's vectors of a year of tweets, the first
# third against the last, 0.1 to 0.00001 gave areas of 0.795 to 0.836 with 1,000 texts
# each, and 0.01 the largest one, 0.797, with 200 each.
_RIDGE = 0.01
_PERMUTATIONS_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class Compared:
    """Two samples beside each other.

    Attributes:
      size: of the difference.
      chance_size: its mean where chance alone decides which text is in which sample.
      chance_high: the 95th percentile of the same.
      p_value: of the permutation test.
    """

    size: float
    chance_size: float
    chance_high: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class Domains(Compared):
    """A classifier between two samples; `size` is the area under its ROC curve.

    Attributes:
      scores: float64 [new texts], how sure it is that each is new, by a model that has
        not seen the text.
    """

    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Shares:
    """Estimated shares of labels.

    Attributes:
      shares: float64 [labels], which sum to 1.
      intervals: float64 [labels, 2], 95%.
    """

    shares: np.ndarray
    intervals: np.ndarray


def compare_counts(
    reference: np.ndarray,
    new: np.ndarray,
    *,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
) -> Compared:
    """Two histograms of the same bins, which may not depend on either.

    The test's statistic is Pearson's chi-square of homogeneity; its distribution is
    that of permutations, for bins of few texts do not follow the asymptotic one. The
    size is the total variation distance, half the sum of the absolute differences of
    shares.

    Args:
      reference: int [bins], with a text at least.
      new: int [bins], likewise.
      seed: of the permutations.
    """
    pooled = np.asarray(reference, np.int64) + np.asarray(new, np.int64)
    is_used = pooled > 0
    pooled, seen = pooled[is_used], np.asarray(new, np.int64)[is_used]
    generator = np.random.default_rng(seed)
    drawn = generator.multivariate_hypergeometric(
        pooled, int(seen.sum()), size=num_permutations, method="marginals"
    )
    distances = _total_variation(drawn, pooled)
    return Compared(
        size=float(_total_variation(seen[np.newaxis], pooled)[0]),
        chance_size=float(distances.mean()),
        chance_high=float(np.quantile(distances, 0.95)),
        p_value=_p_value(
            _chi_square(seen[np.newaxis], pooled)[0], _chi_square(drawn, pooled)
        ),
    )


def compare_vectors(
    reference: np.ndarray,
    new: np.ndarray,
    *,
    seed: int,
    num_permutations: int = NUM_PERMUTATIONS,
) -> Domains:
    """A linear classifier between two samples of vectors, asked about unseen folds.

    Ridge regression on which sample a text is from, whose predictions are linear in
    that: so one factorization a fold serves all permutations, each of which is fitted
    anew (a classifier two-sample test, Lopez-Paz and Oquab 2017). Folds and scaling
    know nothing of the samples. Areas are computed within folds, and averaged by their
    pairs: across folds each model has a constant of its own.

    Args:
      reference: float [n, m], of different texts.
      new: float [k, m], likewise.
      seed: of folds and permutations.
    """
    generator = np.random.default_rng(seed)
    count = len(reference) + len(new)
    is_new = np.arange(count) >= len(reference)
    folds = generator.permutation(np.arange(count) % _NUM_FOLDS)
    maps = _fold_maps(np.concatenate([reference, new]), folds)
    scores = _predictions(maps, folds, is_new[:, np.newaxis])
    size = float(_areas(scores, folds, is_new[:, np.newaxis])[0])
    permuted = []
    for first in range(0, num_permutations, _PERMUTATIONS_AT_ONCE):
        number = min(_PERMUTATIONS_AT_ONCE, num_permutations - first)
        columns = np.stack([generator.permutation(is_new) for _ in range(number)], 1)
        permuted.append(_areas(_predictions(maps, folds, columns), folds, columns))
    areas = np.concatenate(permuted)
    return Domains(
        size=size,
        chance_size=float(areas.mean()),
        chance_high=float(np.quantile(areas, 0.95)),
        p_value=_p_value(size, areas),
        scores=scores[is_new, 0],
    )


def label_shares(confusion: np.ndarray, answered: np.ndarray, *, seed: int) -> Shares:
    """What share each label has of new texts, of the answers to them alone.

    Black-box shift estimation (Lipton, Wang and Smola 2018, "Detecting and Correcting
    for Label Shift with Black Box Predictors"): if texts of a label are what they were,
    and only the labels' shares have changed, the answers' shares are the confusion
    matrix times the labels' shares. Shares below 0 are put at 0, and all scaled to
    sum to 1. The intervals are of the bootstrap, over the held-out texts of each label
    and over the new ones.

    Args:
      confusion: int [labels, labels], held-out texts by label and answer; no row is of
        zeros.
      answered: int [labels], new texts by answer; one at least.

    Raises:
      numpy.linalg.LinAlgError: the answers do not tell the labels apart.
    """
    rates = confusion / confusion.sum(axis=1, keepdims=True)
    if np.linalg.cond(rates) > 1e3:
        raise np.linalg.LinAlgError("the answers do not tell the labels apart")
    num_new = int(answered.sum())
    generator = np.random.default_rng(seed)
    drawn = np.stack(
        [
            generator.multinomial(row.sum(), row / row.sum(), size=_NUM_RESAMPLES)
            for row in confusion
        ],
        axis=1,
    )
    drawn_new = generator.multinomial(num_new, answered / num_new, size=_NUM_RESAMPLES)
    resampled = _solved(drawn / drawn.sum(axis=2, keepdims=True), drawn_new / num_new)
    ends = np.quantile(resampled, (0.025, 0.975), axis=0)
    shares = _solved(rates[np.newaxis], answered[np.newaxis] / num_new)[0]
    return Shares(shares, ends.T)


def _solved(rates: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Shares of labels that give these shares of answers: float64 [n, labels].

    By pseudo-inverses, for a resample may be singular where the original is not.

    Args:
      rates: float64 [n, labels, labels], shares of answers by label.
      answered: float64 [n, labels].
    """
    inverses = np.linalg.pinv(np.swapaxes(rates, 1, 2), rcond=1e-6)
    kept = np.maximum(np.einsum("nij,nj->ni", inverses, answered), 0.0)
    shares: np.ndarray = kept / kept.sum(axis=1, keepdims=True)
    return shares


def _total_variation(new: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """float64 [n], of new counts int [n, bins] and the rest of the pooled ones."""
    num_new = new[0].sum()
    new_shares = new / num_new
    reference = (pooled - new) / (pooled.sum() - num_new)
    distances: np.ndarray = np.abs(new_shares - reference).sum(axis=1) / 2
    return distances


def _chi_square(new: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Up to a factor, which is the same for all permutations."""
    expected = pooled * (new[0].sum() / pooled.sum())
    statistic: np.ndarray = ((new - expected) ** 2 / pooled).sum(axis=1)
    return statistic


def _p_value(seen: float, permuted: np.ndarray) -> float:
    """What was seen counts as a permutation, or the test would err too often.

    Phipson and Smyth 2010, "Permutation p-values should never be zero".
    """
    # Rounding must not make an equal one smaller.
    at_least = permuted >= seen - 1e-9 * abs(seen)
    return float((1 + at_least.sum()) / (1 + len(permuted)))


def _fold_maps(vectors: np.ndarray, folds: np.ndarray) -> list[np.ndarray]:
    """By fold, what makes its predictions of the others' targets: [fold, others]."""
    wide = np.asarray(vectors, np.float64)
    wide = wide - wide.mean(axis=0)
    # A direction counts by what it varies, so that no unit matters but the whole's.
    wide = wide / (math.sqrt((wide**2).sum(axis=1).mean()) or 1.0)
    gram = wide @ wide.T
    maps = []
    for fold in range(_NUM_FOLDS):
        is_left, is_fitted = folds == fold, folds != fold
        penalty = _RIDGE * is_fitted.sum()
        within = gram[np.ix_(is_fitted, is_fitted)] + penalty * np.eye(is_fitted.sum())
        # Symmetric: the transpose of what solves for the others' targets.
        maps.append(np.linalg.solve(within, gram[np.ix_(is_fitted, is_left)]).T)
    return maps


def _predictions(
    maps: Sequence[np.ndarray], folds: np.ndarray, is_new: np.ndarray
) -> np.ndarray:
    """float64 [texts, n], for n ways bool [texts, n] in which texts are new or not."""
    targets = is_new - is_new.mean(axis=0)
    result = np.empty(targets.shape)
    for fold, fold_map in enumerate(maps):
        result[folds == fold] = fold_map @ targets[folds != fold]
    return result


def _areas(scores: np.ndarray, folds: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """float64 [n], areas under ROC curves within the folds, averaged by their pairs."""
    # Only now: it takes half a second, which the start would wait for.
    from scipy.stats import rankdata

    won, pairs = np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    for fold in range(_NUM_FOLDS):
        is_in = folds == fold
        # Equal but for rounding is equal: copies must not be told apart.
        ranks = rankdata(scores[is_in].round(12), axis=0)
        num_new = is_new[is_in].sum(axis=0)
        num_old = is_in.sum() - num_new
        won += (ranks * is_new[is_in]).sum(axis=0) - num_new * (num_new + 1) / 2
        pairs += num_new * num_old
    areas: np.ndarray = won / pairs
    return areas

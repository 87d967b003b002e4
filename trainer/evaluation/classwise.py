"""One label of many: whether it is among the likeliest, and each label by itself.

    top_k(labels, log_probabilities)[0]         # TopK(k=3, accuracy=0.96, ...)
    class_scores(labels, predicted, probabilities, label_names=names)["earn"].recall

Of two labels there is nothing to add to accuracy; of fifty the right one may be second,
and the rare ones may be all wrong while accuracy is 93%.
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special

from trainer.evaluation import large_sets, schema
from trainer.evaluation.comparisons import holm
from trainer.evaluation.intervals import wilson_interval

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Guo et al. 2017, "On Calibration of Modern Neural Networks", use 15 bins.
NUM_CALIBRATION_BINS = 15
_TOP = (3, 5, 10)
# Where fewer are expected, the normal approximation of a count is too rough.
_FEW_EXPECTED = 10.0
_COLUMNS_AT_A_TIME = 64
_MAX_NUMBERS = 4 * 1024 * 1024


def top_k(labels: IntArray, log_probabilities: FloatArray) -> list[schema.TopK]:
    """How often the label is among the 3, 5 and 10 most probable ones.

    Args:
      labels: int [n], at least one.
      log_probabilities: float64 [n, classes].

    Returns:
      Of each k that is at most half of the number of classes. At a tie of
      probabilities the earlier class comes first, as where one is given.
    """
    ranks = _ranks(labels, log_probabilities)
    num_classes = log_probabilities.shape[1]
    found = []
    for k in (k for k in _TOP if 2 * k <= num_classes):
        num_within = int((ranks < k).sum())
        found.append(
            schema.TopK(
                k=k,
                accuracy=num_within / len(labels),
                confidence_interval_95=wilson_interval(num_within, len(labels)),
            )
        )
    return found


def _ranks(labels: IntArray, log_probabilities: FloatArray) -> IntArray:
    """How many classes come before each example's own, int64 [n]."""
    ranks = np.empty(len(labels), np.int64)
    places = np.arange(log_probabilities.shape[1])
    for rows in large_sets.blocks(*log_probabilities.shape):
        some, true = log_probabilities[rows], labels[rows, np.newaxis]
        own = np.take_along_axis(some, true, axis=1)
        is_before = (some > own) | ((some == own) & (places < true))
        ranks[rows] = is_before.sum(axis=1)
    return ranks


def class_scores(
    labels: IntArray,
    predicted: IntArray,
    probabilities: FloatArray,
    *,
    label_names: Sequence[str],
) -> dict[str, schema.ClassScores]:
    """Each class by itself: precision, recall, F1, and its calibration.

    Args:
      labels, predicted: int [n], each in [0, classes).
      probabilities: float64 [n, classes].
      label_names: the classes' names, in the order of the probabilities.
    """
    num_classes = len(label_names)
    support, given, correct = (
        np.bincount(values, minlength=num_classes)
        for values in (labels, predicted, labels[labels == predicted])
    )
    expected = probabilities.sum(axis=0)
    errors = _calibration_errors(labels, probabilities)
    adjusted = holm(count_p_values(support, probabilities).tolist())
    scores = {}
    for index, name in enumerate(label_names):
        numbers = int(correct[index]), int(given[index]), int(support[index])
        scores[name] = schema.ClassScores(
            **_told(*numbers),
            support=numbers[2],
            expected=float(expected[index]),
            expected_p_holm=adjusted[index],
            calibration_error=errors[index],
        )
    return scores


def _told(num_right: int, num_given: int, num_true: int) -> dict[str, Any]:
    """Precision, recall and F1 of a class with the intervals that they have."""

    def share(count: int) -> tuple[float | None, schema.Interval | None]:
        if not count:
            return None, None
        return num_right / count, wilson_interval(num_right, count)

    precision, precision_ends = share(num_given)
    recall, recall_ends = share(num_true)
    either = num_given + num_true
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * num_right / either if either else None,
        "precision_interval_95": precision_ends,
        "recall_interval_95": recall_ends,
    }


def count_p_values(counts: IntArray, probabilities: FloatArray) -> FloatArray:
    """How likely counts as far off are, if the probabilities are right.

    The count of a class is then a sum of independent draws (Poisson binomial). Its
    distribution is approximated with its skewness (Volkova 1996; Hong 2013, "On
    computing the distribution function for the Poisson binomial distribution", 2.4);
    where fewer than 10 are expected, by Poisson's, whose tails are heavier (Hoeffding
    1956, "On the distribution of the number of successes in independent trials").

    Args:
      counts: int [classes], how many examples have the class.
      probabilities: float64 [n, classes].

    Returns:
      float64 [classes], two-sided.
    """
    mean = probabilities.sum(axis=0)
    variance, third = _spreads(probabilities)
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = third / variance**1.5
        at_most, below = (
            _refined_normal((counts + shift - mean) / np.sqrt(variance), skewness)
            for shift in (0.5, -0.5)
        )
    is_rare = (mean < _FEW_EXPECTED) | (variance == 0.0)
    at_most = np.where(is_rare, scipy.special.pdtr(counts, mean), at_most)
    at_least = np.where(
        is_rare,
        np.where(counts > 0, scipy.special.pdtrc(counts - 1.0, mean), 1.0),
        1 - below,
    )
    return np.asarray(np.clip(2 * np.minimum(at_most, at_least), 0.0, 1.0))


def _spreads(probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variance and third moment of each class's count, float64 [classes]."""
    num_classes = probabilities.shape[1]
    variance, third = np.zeros(num_classes), np.zeros(num_classes)
    for rows in large_sets.blocks(*probabilities.shape):
        some = probabilities[rows]
        variances = some * (1 - some)
        variance += variances.sum(axis=0)
        third += (variances * (1 - 2 * some)).sum(axis=0)
    return variance, third


def _refined_normal(deviates: FloatArray, skewness: FloatArray) -> FloatArray:
    density = np.exp(-(deviates**2) / 2) / np.sqrt(2 * np.pi)
    refined = scipy.special.ndtr(deviates) + skewness * (1 - deviates**2) * density / 6
    return np.asarray(np.clip(refined, 0.0, 1.0))


def _calibration_errors(labels: IntArray, probabilities: FloatArray) -> list[float]:
    """That of each class, a block of columns at a time: they lie apart in memory."""
    errors: list[float] = []
    num_examples, num_classes = probabilities.shape
    at_once = min(_COLUMNS_AT_A_TIME, max(1, _MAX_NUMBERS // num_examples))
    for start in range(0, num_classes, at_once):
        columns = probabilities[:, start : start + at_once]
        for index, chance in enumerate(np.ascontiguousarray(columns.T), start=start):
            errors.append(_calibration_error(labels == index, chance))
    return errors


def _calibration_error(has_class: npt.NDArray[np.bool_], chance: FloatArray) -> float:
    """Mean distance of a class's share and its mean probability, over equal bins.

    Kull et al. 2019, "Beyond temperature scaling", the part of one class in
    classwise-ECE. It grows with noise, as every mean of absolute values.
    """
    edges = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)[1:-1]
    bins = np.digitize(chance, edges, right=True)
    gaps = np.bincount(bins, has_class - chance, minlength=NUM_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(chance))

"""95% confidence intervals that need no resamples, and the area under ROC curves.

    wilson_interval(22, 22)                     # (0.851, 1.0)
    area = macro_area(labels, predictions.log_odds, classes=range(3))
    area.value, area_interval(area)             # 0.93, (0.90, 0.95)

NumPy and SciPy alone. The bootstrap for the other metrics is in `metrics.py`.
"""

from __future__ import annotations

import fractions
import math
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special

FloatArray = npt.NDArray[np.float64]


def wilson_interval(num_correct: int, count: int) -> tuple[float, float]:
    """95% interval (low, high) of a proportion (Wilson 1927). count: at least 1.

    Beside 0 and 1 are narrow places where it holds less often than it says, down to 84%
    (Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion").
    """
    quantile = float(scipy.special.ndtri(0.975))
    return _wilson(num_correct / count, count, quantile=quantile)


def _wilson(value: float, count: float, *, quantile: float) -> tuple[float, float]:
    square = quantile**2 / count
    middle = (value + square / 2) / (1 + square)
    reach = math.sqrt(square * (value * (1 - value) + square / 4)) / (1 + square)
    # Of none or all, rounding would put the end beside the value.
    return max(0.0, min(middle - reach, value)), min(1.0, max(middle + reach, value))


def mean_interval(
    values: Sequence[float] | npt.NDArray[Any],
) -> tuple[float | None, tuple[float, float] | None]:
    """The mean and its 95% interval (Student 1908); None of none, and of fewer than two."""
    count = len(values)
    if not count:
        return None, None
    mean = float(np.mean(values))
    if count < 2:
        return mean, None
    quantile = float(scipy.special.stdtrit(count - 1, 0.975))
    reach = quantile * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean, (mean - reach, mean + reach)


class Area(NamedTuple):
    """A mean of areas under ROC curves, each of one class against the rest.

    Attributes:
      value: the mean; of one class, the chance that an example of it scores above one
        of the rest, ties counting half (Mann and Whitney 1947).
      variance: of the value, over samples.
      most_examples: no more does the value say than so many independent right or wrong
        answers would.
      degrees_of_freedom: examples less classes.
    """

    value: float
    variance: float
    most_examples: float
    degrees_of_freedom: int


def macro_area(
    labels: npt.NDArray[Any],
    scores: Callable[[int], FloatArray],
    *,
    classes: Sequence[int],
) -> Area:
    """The mean area, and how sure it is.

    The variance is DeLong's (1988, "Comparing the areas under two or more correlated
    receiver operating characteristic curves"), extended to the mean over classes by
    adding up what each example contributes to each curve; or that of Hanley and McNeil
    1982 ("The meaning and use of the area under a ROC curve"), if it is larger, as with
    few examples: DeLong's is 0 where the classes are told apart without an error.

    Args:
      labels: int [n].
      scores: class → float64 [n].
      classes: which have a curve; each has examples, and so has its rest.
    """
    parts = [(labels == index, scores(index)) for index in classes]
    return mean_area(parts, degrees_of_freedom=len(labels) - max(len(classes), 2))


def mean_area(
    parts: Sequence[tuple[npt.NDArray[np.bool_], FloatArray]],
    *,
    degrees_of_freedom: int,
) -> Area:
    """The mean area of several rankings of the same examples; as `macro_area`.

    Args:
      parts: of each ranking which examples are positive, some and not all, bool [n]; and
        their scores, float64 [n].
      degrees_of_freedom: of the mean.
    """
    count = len(parts[0][0])
    values, variances, most = [], [], []
    influence = np.zeros(count)
    for is_positive, values_of_class in parts:
        positive, negative = values_of_class[is_positive], values_of_class[~is_positive]
        num_positive, num_negative = len(positive), len(negative)
        above = _share_below(negative, positive)
        below = 1 - _share_below(positive, negative)
        value = float(above.mean())
        influence[is_positive] += (above - value) / num_positive
        influence[~is_positive] += (below - value) / num_negative
        values.append(value)
        variances.append(_hanley_mcneil(value, num_positive, num_negative))
        most.append(4 * num_positive * num_negative / count)
    de_long = (influence**2).sum() / len(parts) ** 2 * count / max(count - 1, 1)
    return Area(
        value=float(np.mean(values)),
        variance=max(float(de_long), float(np.mean(variances)) / len(parts)),
        most_examples=float(np.sum(most)),
        degrees_of_freedom=degrees_of_freedom,
    )


def area_interval(area: Area) -> tuple[float, float]:
    """95% interval (low, high): Wilson's, of as many examples as the variance says.

    A value of variance V says as much as value (1 - value) / V independent answers
    (Korn and Graubard 1998, "Confidence intervals for proportions with small expected
    number of positive counts estimated from survey data", do so for proportions), so
    that the interval neither leaves [0, 1] nor has no width at 1.
    """
    spread = area.value * (1 - area.value)
    most = area.most_examples
    count = most if area.variance * most <= spread else spread / area.variance
    student = float(scipy.special.stdtrit(area.degrees_of_freedom, 0.975))
    return _wilson(area.value, count, quantile=student)


def _share_below(values: FloatArray, limits: FloatArray) -> FloatArray:
    """Which share of the values is below each limit, ties counting half."""
    ranked = np.sort(values)
    # In order, for a search that jumps about a million numbers waits for memory.
    order = np.argsort(limits)
    ordered = limits[order]
    first, last = (
        np.searchsorted(ranked, ordered, side=side) for side in ("left", "right")
    )
    shares = np.empty(len(limits))
    shares[order] = (first + last) / (2 * len(values))
    return shares


def _hanley_mcneil(value: float, num_positive: int, num_negative: int) -> float:
    """The variance of an area, in the form of Newcombe 2006, his method 5."""
    mean_less_one = (num_positive + num_negative) / 2 - 1
    factor = (1 - value) / (2 - value) + value / (1 + value)
    return (
        value
        * (1 - value)
        * (1 + mean_less_one * factor)
        / (num_positive * num_negative)
    )


def conformal_rank(count: int, *, coverage: float) -> int:
    """Which of `count` ascending distances is a split conformal half-width, from 1.

    ceil((count + 1) * coverage); above `count`: there is none (Lei et al. 2018,
    "Distribution-Free Predictive Inference for Regression", algorithm 2).
    """
    return math.ceil((count + 1) * exact(coverage))


def exact(share: float) -> fractions.Fraction:
    """0.9 as nine tenths, not as the float beside it: ranks are whole numbers."""
    return fractions.Fraction(repr(share))

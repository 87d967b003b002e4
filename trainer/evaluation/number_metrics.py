"""How far values are from numbers, and how sure that is.

    found = number_metrics(labels, values, num_resamples=1000, seed=0)
    found.values["mae"], found.intervals["r2"]          # 0.42, (0.61, 0.78)
    beside = mae_difference(labels, values, others, num_resamples=1000, seed=0)
    beside.value, beside.interval                       # -0.12, (-0.19, -0.05)

What is undefined is None, never 0: correlations and R² of fewer than 3 texts, of numbers
that are all the same, and correlations of values that are.

Intervals are those of the percentile bootstrap over texts (Efron and Tibshirani 1993, "An
Introduction to the Bootstrap", 13): a resample counts each text as often as it is drawn.
Of fewer than 10 texts there are none, nor where more than one resample in 20 leaves the
metric undefined. Of more than 65,536 texts, groups of them are drawn (`large_sets.py`): of
sums over texts, as all metrics are but two. The median of a resample is drawn as the
order statistic it is; Spearman's correlation is one of means of influences, to first
order (von Mises 1947, "On the asymptotic distribution of differentiable statistical
functions").
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Literal, Mapping, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from trainer.data.places import Places
from trainer.evaluation import large_sets
from trainer.evaluation.slices import length_groups, shorten_middle

FloatArray = npt.NDArray[np.float64]

NAMES = ("mae", "rmse", "r2", "spearman", "pearson", "median_absolute_error")
MIN_FOR_INTERVAL = 10
_MIN_FOR_CORRELATION = 3
_MOST_UNDEFINED = 0.05
# Numbers of a block of resamples: some 32 MB an array.
_MAX_NUMBERS = 4_000_000
_MAX_FARTHEST = 10
_MAX_POINTS = 2000


class Found(NamedTuple):
    """Values, None where undefined, and 95% intervals of those that have one, by name."""

    values: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]


class Difference(NamedTuple):
    """Of two models' mean absolute errors; below 0 the first one is nearer.

    Attributes:
      value: first less second.
      interval: 95%, paired by text; None of fewer than 10 texts.
      verdict: of the first: "better" or "worse" where the interval is on one side of 0.
    """

    value: float
    interval: tuple[float, float] | None
    verdict: Literal["better", "not_shown", "worse"]


def number_metrics(
    labels: npt.ArrayLike, values: npt.ArrayLike, *, num_resamples: int, seed: int
) -> Found:
    """All metrics of one split, in the unit of the numbers where they have one.

    - mae: mean absolute error; median_absolute_error: the median of the same.
    - rmse: root of the mean squared error.
    - r2: coefficient of determination, 1 less the squared errors by those of the mean of
      these labels; 0 or less: no better than their mean.
    - pearson: correlation (not the slope: values may be off by a factor).
    - spearman: the same of ranks, ties sharing theirs.

    Args:
      labels: float [n], the numbers, n at least 1.
      values: float [n], the model's.
      num_resamples: bootstrap resamples; 0: no intervals.
      seed: of the resamples.
    """
    measured = _Measured(labels, values)
    ones = np.ones((1, measured.count))
    plain = {name: float(of[0]) for name, of in measured.of(ones).items()}
    found = {name: None if np.isnan(each) else each for name, each in plain.items()}
    if not num_resamples or measured.count < MIN_FOR_INTERVAL:
        return Found(found, {})
    if large_sets.is_large(measured.count):
        drawn = _Grouped(measured, seed=seed).resampled(num_resamples)
    else:
        drawn = _each_drawn(measured, num_resamples, seed)
    intervals = {
        name: _percentiles(resampled)
        for name, resampled in drawn.items()
        if found[name] is not None
    }
    return Found(found, {name: ends for name, ends in intervals.items() if ends})


def mae_difference(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    num_resamples: int,
    seed: int,
) -> Difference:
    """How much nearer one model's values are, on the same texts.

    Args:
      labels: float [n], n at least 1.
      first, second: float [n], two models' values.
      num_resamples: bootstrap resamples of texts; 0: no interval.
      seed: of the resamples.
    """
    numbers = np.asarray(labels, np.float64)
    one, other = (
        np.abs(np.asarray(values, np.float64) - numbers) for values in (first, second)
    )
    return mean_difference(one - other, num_resamples=num_resamples, seed=seed)


def mean_difference(
    differences: npt.ArrayLike, *, num_resamples: int, seed: int
) -> Difference:
    """The mean of what one model is farther off than another, text by text.

    Args:
      differences: float [n], of errors, first less second, n at least 1.
      num_resamples: bootstrap resamples of texts; 0: no interval.
      seed: of the resamples; the same one draws the same texts.
    """
    differences = np.asarray(differences, np.float64)
    count, value = len(differences), float(differences.mean())
    if not num_resamples or count < MIN_FOR_INTERVAL:
        return Difference(value, None, "not_shown")
    sizes = np.ones(count)
    if large_sets.is_large(count):
        groups = large_sets.deal(count, seed=seed)
        differences, sizes = groups.sums(differences), groups.sizes
    means = [
        counts @ differences / (counts @ sizes)
        for counts in _resamples(len(sizes), num_resamples, seed)
    ]
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975)).tolist()
    if high < 0:
        return Difference(value, (low, high), "better")
    return Difference(value, (low, high), "worse" if low > 0 else "not_shown")


class _Measured:
    """One split's numbers and values, of which resamples are measured.

    Attributes:
      count: how many texts.
    """

    def __init__(self, labels: npt.ArrayLike, values: npt.ArrayLike) -> None:
        numbers = np.asarray(labels, np.float64)
        given = np.asarray(values, np.float64)
        self.count = len(numbers)
        self._errors = np.abs(given - numbers)
        # Correlations do not change, and squares of numbers far from 0 lose no digits.
        self._labels = _about_zero(numbers)
        self._values = _about_zero(given)
        self._squares = (given - numbers) ** 2
        self._label_squares = (numbers - numbers.mean()) ** 2
        self._centred = numbers - numbers.mean()
        self._by_error = np.argsort(self._errors, kind="stable")
        self._rank_of_labels = _ranker(numbers)
        self._rank_of_values = _ranker(given)

    def of(self, counts: FloatArray) -> dict[str, FloatArray]:
        """Each metric of each resample: float64 [resamples], NaN where undefined.

        Args:
          counts: float64 [resamples, n], how often each text is drawn.
        """
        labels, values = self._rank_of_labels(counts), self._rank_of_values(counts)
        squares = counts @ self._squares
        return {
            "mae": counts @ self._errors / self.count,
            "rmse": np.sqrt(squares / self.count),
            "r2": self._defined(1 - _divided(squares, self._about_their_mean(counts))),
            "spearman": self._defined(_correlation(counts, labels, values)),
            "pearson": self._defined(_correlation(counts, self._labels, self._values)),
            "median_absolute_error": self._median(counts),
        }

    def columns_of_sums(self) -> dict[str, FloatArray]:
        """What each text adds to the sums that all metrics but the median follow from:
        float64 [n], by name."""
        columns = {
            "errors": self._errors,
            "squares": self._squares,
            "centred": self._centred,
            "label_squares": self._label_squares,
            "labels": self._labels,
            "values": self._values,
            "labels_squared": self._labels**2,
            "values_squared": self._values**2,
            "products": self._labels * self._values,
        }
        return columns | _rank_influences(self._labels, self._values)

    def drawn_medians(self, num_resamples: int, seed: int) -> FloatArray:
        """Medians of the errors of resamples: float64 [resamples].

        The k-th smallest of n draws is, in the order of the texts, at n times the k-th
        smallest of n uniform numbers: a beta variate (David and Nagaraja 2003, "Order
        Statistics", 2.3); the next is one of those that are left.
        """
        generator = np.random.default_rng(seed)
        rank = (self.count - 1) // 2 + 1
        places = [generator.beta(rank, self.count - rank + 1, num_resamples)]
        if self.count % 2 == 0:
            step = generator.beta(1, self.count - rank, num_resamples)
            places.append(places[0] + (1 - places[0]) * step)
        ranked = self._errors[self._by_error]
        last = self.count - 1
        drawn = [
            ranked[np.minimum((place * self.count).astype(np.int64), last)]
            for place in places
        ]
        return np.asarray(np.mean(drawn, axis=0))

    def _defined(self, values: FloatArray) -> FloatArray:
        is_enough = self.count >= _MIN_FOR_CORRELATION
        return values if is_enough else np.full_like(values, np.nan)

    def _about_their_mean(self, counts: FloatArray) -> FloatArray:
        """The sum of squares of the labels about the mean of the resample's own."""
        sums = counts @ self._centred
        about = counts @ self._label_squares - sums**2 / self.count
        # What rounding leaves of labels that are all the same.
        limit = 1e-12 * (counts @ self._label_squares)
        return np.where(about <= limit, 0.0, about)

    def _median(self, counts: FloatArray) -> FloatArray:
        reached = counts[:, self._by_error].cumsum(axis=1)
        ranked = self._errors[self._by_error]
        middles = [(self.count - 1) // 2, self.count // 2]
        places = [(reached <= middle).sum(axis=1) for middle in middles]
        return np.asarray(sum(ranked[place] for place in places) / 2)


def _each_drawn(
    measured: _Measured, num_resamples: int, seed: int
) -> dict[str, FloatArray]:
    """Each metric of resamples of single texts, float64 [resamples]."""
    drawn: dict[str, list[FloatArray]] = {name: [] for name in NAMES}
    for counts in _resamples(measured.count, num_resamples, seed):
        for name, resampled in measured.of(counts).items():
            drawn[name].append(resampled)
    return {name: np.concatenate(blocks) for name, blocks in drawn.items()}


class _Grouped:
    """Many texts, of which groups are resampled: see the module.

    Args:
      measured: more texts than are drawn one by one.
      seed: of the groups and of the resamples.
    """

    def __init__(self, measured: _Measured, *, seed: int) -> None:
        self._seed, self._measured = seed, measured
        groups = large_sets.deal(measured.count, seed=seed)
        self._sizes = groups.sizes
        self._sums = {
            name: groups.sums(column)
            for name, column in measured.columns_of_sums().items()
        }

    def resampled(self, num_resamples: int) -> dict[str, FloatArray]:
        """Each metric of each resample, float64 [resamples]."""
        parts = [
            self._of(counts)
            for counts in _resamples(len(self._sizes), num_resamples, self._seed)
        ]
        median = self._measured.drawn_medians(num_resamples, self._seed)
        return {
            name: np.concatenate([part[name] for part in parts]) for name in parts[0]
        } | {"median_absolute_error": median}

    def _of(self, counts: FloatArray) -> dict[str, FloatArray]:
        total = counts @ self._sizes
        mean = {name: counts @ sums / total for name, sums in self._sums.items()}
        about = mean["label_squares"] - mean["centred"] ** 2
        shared = mean["products"] - mean["labels"] * mean["values"]
        spreads = [
            mean[f"{name}_squared"] - mean[name] ** 2 for name in ("labels", "values")
        ]
        return {
            "mae": mean["errors"],
            "rmse": np.sqrt(mean["squares"]),
            "r2": 1 - _divided(mean["squares"], np.maximum(about, 0.0)),
            "spearman": _correlation_of(
                mean["rank_products"], mean["rank_labels"], mean["rank_values"]
            ),
            "pearson": _correlation_of(shared, *spreads),
        }


def _correlation_of(
    shared: FloatArray, first: FloatArray, second: FloatArray
) -> FloatArray:
    """Of a covariance and two variances; NaN where one is 0."""
    bottom = np.sqrt(np.maximum(first, 0.0) * np.maximum(second, 0.0))
    return np.clip(_divided(shared, bottom), -1.0, 1.0)


def _about_zero(values: FloatArray) -> FloatArray:
    """About 0 and of spread 1; of equal numbers 0."""
    if values.min() == values.max():
        return np.zeros_like(values)
    return np.asarray((values - values.mean()) / values.std())


def _ranker(values: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Gives the ranks of `values` within resamples, ties sharing theirs."""
    _, groups = np.unique(values, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))

    def ranks(counts: FloatArray) -> FloatArray:
        sizes = np.add.reduceat(counts[:, order], starts, axis=1)
        before = sizes.cumsum(axis=1) - sizes
        # About 0, for the same reason as above.
        middle = before + sizes / 2 - counts.sum(axis=1, keepdims=True) / 2
        return np.asarray(middle[:, groups] / counts.shape[1])

    return ranks


def _rank_influences(labels: FloatArray, values: FloatArray) -> dict[str, FloatArray]:
    """What each text does to covariance and variances of the ranks, to first order.

    Ranks are shares of the texts below, ties counting half. Their mean is a half in every
    resample, and the mean product of two texts' ranks is a mean over three texts, of
    which each may be the one: its own product, and what it adds to others' ranks.

    Returns:
      float64 [n], whose means are covariance and variances, by name.
    """
    of_labels, of_values = _Ranked(labels), _Ranked(values)
    one, other = of_labels.shares, of_values.shares
    mean_product = float(np.mean(one * other))
    found = {
        "rank_products": one * other
        + of_labels.above(other)
        + of_values.above(one)
        - 2 * mean_product
    }
    for name, ranked in (("rank_labels", of_labels), ("rank_values", of_values)):
        squares = ranked.shares**2
        found[name] = squares + 2 * ranked.above(ranked.shares) - 2 * squares.mean()
    return {name: column - 0.25 for name, column in found.items()}


class _Ranked:
    """Numbers in their order.

    Attributes:
      shares: of the numbers below each, ties counting half: float64 [n].
    """

    def __init__(self, values: FloatArray) -> None:
        distinct, self._groups = np.unique(values, return_inverse=True)
        self._num_distinct = len(distinct)
        self.shares = 1 - self.above(np.ones(len(values)))

    def above(self, weights: FloatArray) -> FloatArray:
        """The weights of the numbers above each, ties counting half, by n: float64 [n]."""
        totals = np.bincount(self._groups, weights, minlength=self._num_distinct)
        up_to = totals.cumsum()
        return np.asarray(
            (up_to[-1] - up_to + totals / 2)[self._groups] / len(self._groups)
        )


def _correlation(
    counts: FloatArray, first: FloatArray, second: FloatArray
) -> FloatArray:
    """Of each resample, float64 [resamples]; first, second: [n] or [resamples, n]."""
    total = counts.sum(axis=1)

    def mean(values: FloatArray) -> FloatArray:
        return np.asarray((counts * values).sum(axis=1) / total)

    ones, others = mean(first), mean(second)
    spreads = [
        np.maximum(mean(each**2) - middle**2, 0.0)
        for each, middle in ((first, ones), (second, others))
    ]
    is_constant = (spreads[0] < 1e-14) | (spreads[1] < 1e-14)
    shared = mean(first * second) - ones * others
    bottom = np.where(is_constant, 0.0, np.sqrt(spreads[0] * spreads[1]))
    return np.clip(_divided(shared, bottom), -1.0, 1.0)


def _divided(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """NaN where the divisor is 0."""
    result = np.full_like(top, np.nan)
    return np.divide(top, bottom, out=result, where=bottom != 0)


def _resamples(count: int, num_resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each text is drawn, block by block: float64 [block, n]."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _MAX_NUMBERS // count)
    for start in range(0, num_resamples, at_once):
        size = min(at_once, num_resamples - start)
        drawn = generator.integers(0, count, (size, count))
        drawn += count * np.arange(size)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=size * count)
        yield counts.reshape(size, count).astype(np.float64)


def _percentiles(resampled: FloatArray) -> tuple[float, float] | None:
    is_defined = np.isfinite(resampled)
    if is_defined.mean() < 1 - _MOST_UNDEFINED:
        return None
    low, high = np.quantile(resampled[is_defined], (0.025, 0.975)).tolist()
    return low, high


# What the report shows of single texts.


def by_length(
    labels: npt.ArrayLike,
    values: npt.ArrayLike,
    lengths: np.ndarray,
    *,
    longest_text: int,
) -> list[dict[str, Any]]:
    """The mean absolute error of texts of each range of lengths; shortest first.

    Args:
      lengths: int [n], tokens of each text before truncation.
      longest_text: how many tokens of a text are read.
    """
    errors = np.abs(np.asarray(values, np.float64) - np.asarray(labels, np.float64))
    return [
        {
            "name": name,
            "is_truncated": is_truncated,
            "count": int(is_own.sum()),
            "mae": float(errors[is_own].mean()),
        }
        for name, is_truncated, is_own in length_groups(
            lengths, longest_text=longest_text
        )
    ]


def farthest(
    texts: Sequence[Any],
    labels: npt.ArrayLike,
    values: npt.ArrayLike,
    lengths: np.ndarray,
    places: Places,
) -> list[dict[str, Any]]:
    """The texts whose values are farthest from their numbers, at most ten."""
    numbers, given = np.asarray(labels, np.float64), np.asarray(values, np.float64)
    order = np.argsort(-np.abs(given - numbers), kind="stable")[:_MAX_FARTHEST]
    found = []
    for row in order.tolist():
        file, line = places.of(row)
        found.append(
            {
                "text": shorten_middle(str(texts[row])),
                "label": float(numbers[row]),
                "value": float(given[row]),
                "length": int(lengths[row]),
                "file": file,
                "line": line,
            }
        )
    return found


def points(labels: npt.ArrayLike, values: npt.ArrayLike) -> list[tuple[float, float]]:
    """True number and value of texts all over the split, at most 2,000, for a picture."""
    numbers, given = np.asarray(labels, np.float64), np.asarray(values, np.float64)
    count = min(len(numbers), _MAX_POINTS)
    rows = np.linspace(0, len(numbers) - 1, count).round().astype(np.int64)
    return list(zip(numbers[rows].tolist(), given[rows].tolist()))

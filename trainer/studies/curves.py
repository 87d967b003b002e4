"""A model's scores at several sizes as a curve: points, fit, forecasts.

    curve = make_curve("fine-tuning", measured, errors_resampled=resampled(answers, ...))
    curve.points[-1].mean, curve.fit.forecasts[0].gain

The scores are accuracies, or with `metric=scores.MAE` mean absolute errors of numbers.

Left out of a fit are sizes at which the model is not shown to be better than always
answering the commonest label (of numbers: than any constant), and all below them:
there a curve has not begun to fall (Hestness et al. 2017, the "small data region").

The intervals of forecasts come from resampled test texts (Efron 1979), the same texts
for all sizes, as all sizes are measured on them; and are widened by as much as the
points are farther from the curve than that explains (`power_law.py`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import scipy.special

from trainer import storage
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import Interval
from trainer.studies import power_law
from trainer.studies.power_law import FloatArray, PowerLaw
from trainer.studies.schema import Curve, Fit, Forecast, Point
from trainer.studies.scores import ACCURACY, Metric

# What the next labels would buy, is said of so many.
NEXT_TEXTS = 1000
# By test text (file, line) its error: 1 if it was answered wrong, else 0; of a number
# how far off its value is.
Errors = Mapping[tuple[str, int], float]
# Numbers whose errors do not vary weigh as those of so small a share of the largest.
_LEAST_VARIANCE = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """The score of one run's model.

    Attributes:
      size: training texts.
      value: of the metric.
      interval_95: of the value; None: the report has none.
      num_examples: held-out texts, of numbers at least two.
      guessing: the value of always answering the commonest label; of numbers that of the
        best constant, the median of the held-out numbers.
      variance: of the value, for the held-out texts; None: it is that of a share.
    """

    size: int
    value: float
    interval_95: Interval | None
    num_examples: int
    guessing: float
    variance: float | None = None


def make_curve(
    title: str,
    measured: Sequence[Measured],
    *,
    errors_resampled: FloatArray,
    metric: Metric = ACCURACY,
) -> Curve:
    """The curve of a model.

    Args:
      title: of the model, within a sentence.
      measured: one a run.
      errors_resampled: float64 [resamples, runs], of `measured`; may have no resample.
      metric: what the values are of: accuracy, or the mean absolute error.
    """
    sizes = sorted({each.size for each in measured})
    points = tuple(
        _point([each for each in measured if each.size == size], metric)
        for size in sizes
    )
    guessed = [
        each.size
        for each in measured
        if not _beats(_of_size(points, each.size), each.guessing, metric)
    ]
    smallest = min(
        (size for size in sizes if size > max(guessed, default=0)), default=0
    )
    used = np.array([smallest and each.size >= smallest for each in measured], bool)
    law = _fit([each for each, is_used in zip(measured, used) if is_used], metric)
    if law is None:
        num_left = len([size for size in sizes if smallest and size >= smallest])
        no_fit = _why_no_fit(sizes, num_left, metric)
        return Curve(title=title, points=points, fit=None, no_fit=no_fit)
    fit = _with_forecasts(
        law,
        sizes=np.array([each.size for each in measured], float)[used],
        variances=_variances([each for each in measured if each.size >= smallest]),
        errors_resampled=errors_resampled[:, used],
        metric=metric,
    )
    return Curve(title=title, points=points, fit=fit, no_fit=None)


def _beats(point: Point, guessing: float, metric: Metric) -> bool:
    """Whether a model is shown to be better than one that learned nothing."""
    low, high = point.interval_95
    worst = low if metric.is_higher_better else high
    return metric.sign * worst > metric.sign * guessing


def resampled(answers: Sequence[Errors], *, num_resamples: int) -> FloatArray:
    """The runs' errors on test texts drawn anew: float64 [num_resamples, runs].

    A draw is of all texts that any run was measured on, and the same for all runs. (Where
    --num_eval_examples draws them by the seed, runs of other seeds have others.)
    """
    texts = sorted({text for run in answers for text in run})
    number = {text: row for row, text in enumerate(texts)}
    is_measured = np.zeros((len(texts), len(answers)))
    of_texts = np.zeros_like(is_measured)
    for column, run in enumerate(answers):
        rows = [number[text] for text in run]
        is_measured[rows, column] = 1
        of_texts[rows, column] = list(run.values())
    generator = np.random.default_rng(0)
    errors = np.empty((num_resamples, len(answers)))
    for row in range(num_resamples):
        drawn = generator.integers(0, len(texts), len(texts))
        counts = np.bincount(drawn, minlength=len(texts))
        errors[row] = (counts @ of_texts) / np.maximum(counts @ is_measured, 1)
    return errors


def simulated(measured: Sequence[Measured], *, num_resamples: int) -> FloatArray:
    """The same where no single answers are known: binomial, and each run by itself."""
    generator = np.random.default_rng(0)
    counts = np.array([each.num_examples for each in measured])
    errors = np.array([1 - each.value for each in measured])
    shape = (num_resamples, len(measured))
    drawn: FloatArray = generator.binomial(counts, errors, shape) / counts
    return drawn


def read_errors(place: storage.Path) -> Errors:
    """Of the labels that a run answered, `predictions/test.jsonl`."""
    # Not `splitlines`: a label may hold what Unicode takes for the end of a line.
    return dict(_read(place.read_text(encoding="utf-8").split("\n")))


def _read(lines: Sequence[str]) -> Iterator[tuple[tuple[str, int], float]]:
    for line in filter(None, lines):
        row: dict[str, Any] = json.loads(line)
        yield (row["file"], row["line"]), float(row["label"] != row["answer"])


def _of_size(points: Sequence[Point], size: int) -> Point:
    return next(point for point in points if point.num_train_examples == size)


def _point(runs: Sequence[Measured], metric: Metric) -> Point:
    """The mean over the seeds of a size."""
    values = [run.value for run in runs]
    mean = statistics.fmean(values)
    count = min(run.num_examples for run in runs)
    own = runs[0].interval_95 if len(runs) == 1 else None
    return Point(
        num_train_examples=runs[0].size,
        num_runs=len(runs),
        mean=mean,
        std=statistics.stdev(values) if len(values) > 1 else None,
        interval_95=own
        or (
            wilson_interval(round(mean * count), count)
            if metric.is_share
            else metric.within(*_students(runs, mean, count))
        ),
    )


def _students(runs: Sequence[Measured], mean: float, count: int) -> Interval:
    """Of a mean distance. Seeds answer the same texts, so several count as one."""
    variance = statistics.fmean(run.variance or 0.0 for run in runs)
    reach = float(scipy.special.stdtrit(count - 1, 0.975)) * math.sqrt(variance)
    return mean - reach, mean + reach


def _variances(measured: Sequence[Measured]) -> FloatArray:
    """Of the errors, above 0.

    Of shares one error and one right answer more: none is 0 (Laplace's rule).
    """
    counts = np.array([each.num_examples for each in measured], float)
    errors = 1 - np.array([each.value for each in measured])
    smoothed = (errors * counts + 1) / (counts + 2)
    variances = np.array(
        [
            share if each.variance is None else each.variance
            for each, share in zip(measured, smoothed * (1 - smoothed) / counts)
        ]
    )
    least = _LEAST_VARIANCE * variances.max()
    return np.maximum(variances, least) if least > 0 else np.ones_like(variances)


def _fit(measured: Sequence[Measured], metric: Metric) -> PowerLaw | None:
    if not measured:
        return None
    return power_law.fit(
        np.array([each.size for each in measured], float),
        np.array([metric.error(each.value) for each in measured]),
        _variances(measured),
        most=metric.most_error,
    )


def _why_no_fit(sizes: Sequence[int], num_left: int, metric: Metric) -> str:
    least = power_law.MIN_SIZES
    if len(sizes) < least:
        return f"{len(sizes)} sizes make no curve: it takes {least}"
    rival = (
        "always answering the commonest label" if metric.is_share else "any constant"
    )
    return (
        "a curve takes "
        f"{least} sizes, the largest ones, at which it is shown to be better than "
        f"{rival}, and there are {num_left}"
    )


def _with_forecasts(
    law: PowerLaw,
    *,
    sizes: FloatArray,
    variances: FloatArray,
    errors_resampled: FloatArray,
    metric: Metric,
) -> Fit:
    laws = power_law.fit_all(sizes, errors_resampled, variances)
    largest = int(sizes.max())
    most = (power_law.MOST_EXTRAPOLATION - 1) * largest
    asymptote, scale, exponent = law.parameters.tolist()
    at_largest = float(
        power_law.forecast(law.parameters, largest, most=metric.most_error)
    )
    value = metric.of_error(at_largest)
    steps = sorted({min(NEXT_TEXTS, most), largest}, key=lambda n: n == largest)
    return Fit(
        asymptote=asymptote,
        scale=scale,
        exponent=exponent,
        dispersion=law.dispersion,
        smallest_size=int(sizes.min()),
        accuracy_at_largest=value if metric.is_share else None,
        value_at_largest=value,
        forecasts=tuple(
            _forecast(law, laws, largest, step, metric=metric) for step in steps
        ),
    )


def _forecast(
    law: PowerLaw, laws: FloatArray, largest: int, num_more: int, *, metric: Metric
) -> Forecast:
    size, most = largest + num_more, metric.most_error
    error = float(power_law.forecast(law.parameters, size, most=most))
    gain = float(power_law.forecast(law.parameters, largest, most=most)) - error
    value = metric.of_error(error)
    ends: tuple[Interval | None, Interval | None] = (None, None)
    if len(laws):
        errors = power_law.forecast(laws, size, most=most)
        gains = power_law.forecast(laws, largest, most=most) - errors
        low, high = power_law.interval(error, errors, dispersion=law.dispersion)
        turned = sorted(map(metric.of_error, (low, high)))
        ends = (
            metric.within(*turned),
            power_law.interval(gain, gains, dispersion=law.dispersion),
        )
    return Forecast(
        num_train_examples=size,
        num_more=num_more,
        accuracy=value if metric.is_share else None,
        value=value,
        interval_95=ends[0],
        gain=gain,
        # More texts along a curve that falls: no interval of a gain begins below 0.
        gain_interval_95=ends[1] and (max(0.0, ends[1][0]), ends[1][1]),
    )

"""The metrics that studies join and choose by: which way is better, and how each is shown.

    scores.headline("regression").name              # "mae"
    scores.METRICS["mae"].shown(0.41234)            # "0.412"
    scores.METRICS["accuracy"].with_interval(0.879, (0.868, 0.889))
    scores.chosen_by(config).sign                   # -1: less is better

A study of labels joins accuracies, a study of numbers mean absolute errors, in the unit
of the user's numbers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping

from trainer.config import TaskName
from trainer.evaluation.number_worth import number
from trainer.evaluation.schema import Interval, NumbersReport, Report
from trainer.study_config import StudyConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a report, and what it is like.

    Attributes:
      name: its key in the report.
      title: within a sentence.
      short: the title where there is little room.
      ends: between which it lies; an interval of few runs may leave them.
      is_higher_better: else less is better.
      is_share: whether it is told in percent.
      has_unit: whether it is in the unit of the user's numbers, of any size.
    """

    name: str
    title: str
    short: str
    ends: tuple[float, float]
    is_higher_better: bool = True
    is_share: bool = False
    has_unit: bool = False

    @property
    def sign(self) -> float:
        """What turns a value so that higher is better."""
        return 1.0 if self.is_higher_better else -1.0

    @property
    def better(self) -> str:
        """What good luck makes of a value: "more" or "less"."""
        return "more" if self.is_higher_better else "less"

    @property
    def on_axis(self) -> str:
        """The label of a picture's axis; values are drawn times `factor`."""
        return f"{self.title}, %" if self.is_share else self.title

    @property
    def factor(self) -> float:
        """Of what is drawn, and of points: 100 of shares."""
        return 100.0 if self.is_share else 1.0

    def error(self, value: float) -> float:
        """What falls with more training texts: 1 minus a share, else the value."""
        return 1.0 - value if self.is_share else value

    def of_error(self, error: float) -> float:
        """The value whose `error` this is."""
        return 1.0 - error if self.is_share else error

    @property
    def most_error(self) -> float:
        """The largest `error` that there can be."""
        return 1.0 if self.is_share else self.ends[1]

    def within(self, low: float, high: float) -> Interval:
        """The ends of an interval, where the metric has values."""
        return max(low, self.ends[0]), min(high, self.ends[1])

    def shown(self, value: float | None) -> str:
        """ "87.9%", "0.345", or of the user's unit "1,230"; "–" of None."""
        if value is None:
            return "–"
        if self.is_share:
            return f"{value:.1%}"
        return number(value) if self.has_unit else f"{value:.3f}"

    def with_interval(self, value: float, interval: Interval | None) -> str:
        """ "87.9% (86.8 to 88.9)", "0.345 (0.3 to 0.4)"."""
        return self.shown(value) + self._ends(interval)

    def difference(self, value: float, interval: Interval | None) -> str:
        """How far apart two values are: "1.4 points (0.9 to 2.0)", "0.014 (...)"."""
        return f"{self.spread(value)}{' points' * self.is_share}{self._ends(interval)}"

    def spread(self, value: float) -> str:
        """The same without an interval or a unit; a standard deviation, too."""
        if self.has_unit:
            return number(value)
        digits = 1 if self.is_share else 3
        return f"{self.factor * value:.{digits}f}"

    def _ends(self, interval: Interval | None) -> str:
        if interval is None:
            return ""
        low, high = map(self.spread, interval)
        return f" ({low} to {high})".replace("-", "−")


_SHARE = (0.0, 1.0)
_CORRELATION = (-1.0, 1.0)
_DISTANCE = (0.0, math.inf)
_ALL: tuple[Metric, ...] = (
    Metric(
        name="accuracy", title="accuracy", short="accuracy", ends=_SHARE, is_share=True
    ),
    Metric(
        name="f1_macro", title="macro F1", short="macro F1", ends=_SHARE, is_share=True
    ),
    Metric(name="mcc", title="MCC", short="MCC", ends=_CORRELATION),
    Metric(
        name="loss", title="loss", short="loss", ends=_DISTANCE, is_higher_better=False
    ),
    Metric(
        name="mae",
        title="mean absolute error",
        short="MAE",
        ends=_DISTANCE,
        is_higher_better=False,
        has_unit=True,
    ),
    Metric(
        name="rmse",
        title="root mean squared error",
        short="RMSE",
        ends=_DISTANCE,
        is_higher_better=False,
        has_unit=True,
    ),
    Metric(name="r2", title="R²", short="R²", ends=(-math.inf, 1.0)),
    Metric(
        name="spearman",
        title="Spearman's rank correlation",
        short="Spearman",
        ends=_CORRELATION,
    ),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}
ACCURACY, MAE = METRICS["accuracy"], METRICS["mae"]
_OF_LABELS = ("accuracy", "f1_macro", "mcc", "loss")
_OF_NUMBERS = ("mae", "rmse", "r2", "spearman")


def headline(task: TaskName) -> Metric:
    """What a study quotes of its runs."""
    return MAE if task == "regression" else ACCURACY


def shown_of(task: TaskName) -> tuple[Metric, ...]:
    """What a study tells of each model, the headline first."""
    names = _OF_NUMBERS if task == "regression" else _OF_LABELS
    return tuple(METRICS[name] for name in names)


def chosen_by(config: StudyConfig) -> Metric:
    """By which metric a study chooses one of several models: --best_metric.

    Of numbers `loss` is the squared distance, here its root: the same ranks, in the
    user's unit; everything else is the mean absolute error.
    """
    name = config.training.best_metric
    if config.data.task == "regression":
        return METRICS["rmse"] if name == "loss" else MAE
    return METRICS[name]


def value_of(report: Report | NumbersReport, metric: Metric, split: str) -> float:
    """A metric of a run, on a held-out split.

    Raises:
      TypeError: it has none, as a correlation of two texts.
    """
    value = getattr(report.after[split], metric.name)
    return float(value)

"""What studies of numbers say, in sentences: how far off values are, and what helps.

    number_answers.sentences(study.curves, study.runs)      # of a learning curve
    number_answers.of_seeds(study), number_answers.of_folds(study)

As `answers.py` and the sentences of `seeds.py` and `folds.py` for labels. All is about
mean absolute errors, in the unit of the numbers; less is better.
"""

from __future__ import annotations

import statistics
from typing import Iterator, Mapping, Sequence

from trainer.evaluation.number_worth import number, signed
from trainer.evaluation.schema import Interval, NumberComparison
from trainer.studies import repeated
from trainer.studies.answers import NO_RIVALS, next_texts, standing
from trainer.studies.schema import (
    Curve,
    Fit,
    OutOfFold,
    PairedNumbers,
    Point,
    RepeatedStudy,
    RunFacts,
)
from trainer.studies.scores import MAE


def sentences(curves: Mapping[str, Curve], runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """The answers of a learning curve, the most important one first.

    Args:
      curves: by model; "fine_tuned" is among them.
      runs: of the study, with their comparisons.
    """
    of_next = next_texts(curves, what="texts", so_far=_so_far, forecast=_forecast)
    return (*of_next, *_rivals(curves, runs))


def _so_far(largest: Point) -> str:
    error = MAE.with_interval(largest.mean, largest.interval_95)
    return (
        f"Trained on {largest.num_train_examples:,} texts, fine-tuning is off by "
        f"{error} on the mean."
    )


def _forecast(fit: Fit, title: str, is_first: bool) -> str:
    forecast = fit.forecasts[0]
    value = MAE.with_interval(forecast.value, forecast.interval_95)
    gain = MAE.with_interval(forecast.gain, forecast.gain_interval_95)
    if not is_first:
        return f"{title[:1].upper()}{title[1:]} would come to {value}: {gain} less."
    return (
        f"With {forecast.num_more:,} more texts ({forecast.num_train_examples:,} in all), "
        f"{title} would be off by {value} on the mean: {gain} less."
    )


def _rivals(curves: Mapping[str, Curve], runs: Sequence[RunFacts]) -> Iterator[str]:
    for name, curve in curves.items():
        if name not in NO_RIVALS:
            is_ahead = standing(curves["fine_tuned"], curve, sign=MAE.sign)
            yield f"{is_ahead}{_at_largest(name, runs)}."


def _at_largest(name: str, runs: Sequence[RunFacts]) -> str:
    """By how much, with the most texts; over seeds the mean and the range."""
    size = max(run.num_train_examples for run in runs)
    known = [
        run.comparisons[name]
        for run in runs
        if run.num_train_examples == size and name in run.comparisons
    ]
    found = [each for each in known if isinstance(each, NumberComparison)]
    if not found:
        return ""
    differences = [each.mae_difference for each in found]
    ends = found[0].interval_95
    if len(found) > 1:
        ends = (min(differences), max(differences))
    seeds = f", over {len(found)} seeds" if len(found) > 1 else ""
    mean = statistics.fmean(differences)
    return f"; with {size:,} its mean absolute error is {_apart(mean, ends)}{seeds}"


def _apart(difference: float, interval: Interval | None) -> str:
    """A difference of errors: "0.12 (0.05 to 0.19) less", "0.1 (-0.1 to 0.3) more"."""
    if difference > 0:
        return f"{MAE.with_interval(difference, interval)} more"
    turned = interval and (-interval[1], -interval[0])
    return f"{MAE.with_interval(-difference, turned)} less"


def of_seeds(study: RepeatedStudy) -> Iterator[str]:
    """How far off over the seeds, and beside the simple models."""
    estimate = study.models[repeated.FINE_TUNED].metrics[study.metric]
    yield (
        f"Over {len(estimate.values)} seeds fine-tuning is off by "
        f"{MAE.with_interval(estimate.mean, estimate.interval_95)} on the mean, on "
        f"{study.num_examples:,} {study.split} texts: from "
        f"{number(min(estimate.values))} to {number(max(estimate.values))}."
    )
    for name, model in study.models.items():
        if name == repeated.FINE_TUNED or name in NO_RIVALS:
            continue
        mean, least, most = repeated.mean_difference(study, name)
        yield (
            f"Its mean absolute error is {_apart(mean, (least, most))} than that of "
            f"{model.title}, in brackets the least and the most of a seed."
        )


def of_folds(study: RepeatedStudy, pooled: OutOfFold) -> Iterator[str]:
    """How far off over the folds, and beside the simple models on all texts."""
    estimate = study.models[repeated.FINE_TUNED].metrics[study.metric]
    yield (
        f"Each of {pooled.num_examples:,} texts was held out once: over "
        f"{len(estimate.values)} folds fine-tuning is off by "
        f"{MAE.with_interval(estimate.mean, estimate.interval_95)} on the mean, by "
        f"{number(max(estimate.values))} in the worst fold and "
        f"{number(min(estimate.values))} in the best."
    )
    for name, paired in pooled.comparisons.items():
        if name not in NO_RIVALS and isinstance(paired, PairedNumbers):
            yield _beside(study.models[name].title, paired)


def _beside(title: str, paired: PairedNumbers) -> str:
    if paired.verdict == "not_shown":
        ends = paired.interval_95
        shown = f", {signed(ends[0])} to {signed(ends[1])}" if ends else ""
        return (
            f"On all texts together it is not shown to be nearer than {title}, nor "
            f"farther off ({signed(paired.mae_difference)}{shown} mean absolute error)."
        )
    difference = _apart(paired.mae_difference, paired.interval_95)
    return (
        f"Its mean absolute error on all of them is {difference} than that of {title}."
    )

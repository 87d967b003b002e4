"""What a learning curve says, in sentences.

    for sentence in sentences(study.curves, study.runs):
        print(sentence)

First what the next labels would buy, then what fine-tuning gives over each baseline.
"""

from __future__ import annotations

import statistics
from typing import Callable, Iterator, Mapping, Sequence

from trainer.evaluation.schema import Comparison, Interval
from trainer.studies.schema import Curve, Fit, Point, RunFacts

# Always answering the commonest label learns nothing from more texts; of numbers the
# mean and the median, which are "commonest" and "median".
NO_RIVALS = ("fine_tuned", "commonest", "median")


def sentences(curves: Mapping[str, Curve], runs: Sequence[RunFacts]) -> tuple[str, ...]:
    """The answers, the most important one first.

    Args:
      curves: by model; "fine_tuned" is among them.
      runs: of the study, with their comparisons.
    """
    of_next = next_texts(curves, what="labels", so_far=_so_far, forecast=_forecast)
    return (*of_next, *_rivals(curves, runs))


def percent(value: float) -> str:
    """A fraction as "87.9%"."""
    return f"{value:.1%}"


def with_interval(value: float, interval: Interval | None) -> str:
    """ "87.9% (86.8 to 88.9)"."""
    return percent(value) + _ends(interval)


def points(value: float, interval: Interval | None) -> str:
    """ "1.4 points (0.9 to 2.0)"."""
    return f"{100 * value:.1f} points{_ends(interval)}"


def _ends(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = (f"{100 * end:.1f}".replace("-", "−") for end in interval)
    return f" ({low} to {high})"


def next_texts(
    curves: Mapping[str, Curve],
    *,
    what: str,
    so_far: Callable[[Point], str],
    forecast: Callable[[Fit, str, bool], str],
) -> Iterator[str]:
    """What more texts would buy: of fine-tuning first, then of each baseline.

    Args:
      what: is bought, in the plural.
      so_far: what is said of the largest size, where no curve can be drawn.
      forecast: what is said of a fit: (fit, title, whether it is the first).
    """
    fine_tuned = curves["fine_tuned"]
    if fine_tuned.fit is None:
        yield so_far(fine_tuned.points[-1])
        yield f"What more {what} would buy is not known: {fine_tuned.no_fit}."
        return
    yield forecast(fine_tuned.fit, "fine-tuning", True)
    for name, curve in curves.items():
        if name not in NO_RIVALS and curve.fit:
            yield forecast(curve.fit, curve.title, False)


def _so_far(largest: Point) -> str:
    accuracy = with_interval(largest.mean, largest.interval_95)
    return (
        f"Trained on {largest.num_train_examples:,} texts, fine-tuning answers "
        f"{accuracy} right."
    )


def _forecast(fit: Fit, title: str, is_first: bool) -> str:
    forecast = fit.forecasts[0]
    accuracy = with_interval(forecast.value, forecast.interval_95)
    gain = points(forecast.gain, forecast.gain_interval_95)
    if not is_first:
        return f"{title[:1].upper()}{title[1:]} would come to {accuracy}: {gain} more."
    return (
        f"With {forecast.num_more:,} more labelled texts "
        f"({forecast.num_train_examples:,} in all), {title} would answer {accuracy} right: "
        f"{gain} more."
    )


def _rivals(curves: Mapping[str, Curve], runs: Sequence[RunFacts]) -> Iterator[str]:
    for name, curve in curves.items():
        if name not in NO_RIVALS:
            is_ahead = standing(curves["fine_tuned"], curve)
            yield f"{is_ahead}{_at_largest(name, runs)}."


def standing(fine_tuned: Curve, rival: Curve, *, sign: float = 1.0) -> str:
    """From where on fine-tuning is better than a baseline, without a full stop.

    Args:
      sign: -1 where less is better.
    """
    sizes = [point.num_train_examples for point in fine_tuned.points]
    is_ahead = [
        sign * ours.mean > sign * theirs.mean
        for ours, theirs in zip(fine_tuned.points, rival.points, strict=True)
    ]
    title = rival.title
    if len(sizes) == 1:
        return f"Fine-tuning is {'ahead of' if is_ahead[0] else 'not ahead of'} {title}"
    if all(is_ahead):
        return f"Fine-tuning is ahead of {title} at every size"
    if not any(is_ahead):
        return f"Fine-tuning is ahead of {title} at no size"
    if not is_ahead[-1]:
        ahead = ", ".join(f"{size:,}" for size, is_it in zip(sizes, is_ahead) if is_it)
        return (
            f"Fine-tuning is ahead of {title} with {ahead} texts, but not with the most"
        )
    last = max(index for index, is_it in enumerate(is_ahead) if not is_it)
    return (
        f"Fine-tuning overtakes {title} between {sizes[last]:,} and "
        f"{sizes[last + 1]:,} texts"
    )


def _at_largest(name: str, runs: Sequence[RunFacts]) -> str:
    """By how much, with the most texts; over seeds the mean and the range."""
    size = max(run.num_train_examples for run in runs)
    known = [
        run.comparisons[name]
        for run in runs
        if run.num_train_examples == size and name in run.comparisons
    ]
    found = [each for each in known if isinstance(each, Comparison)]
    if not found:
        return ""
    differences = [comparison.difference for comparison in found]
    ends = (
        found[0].interval_95
        if len(found) == 1
        else (min(differences), max(differences))
    )
    mean = statistics.fmean(differences)
    more = "more" if mean >= 0 else "fewer"
    if mean < 0:
        ends = (-ends[1], -ends[0])
    seeds = f", over {len(found)} seeds" if len(found) > 1 else ""
    return (
        f"; with {size:,} it answers {points(abs(mean), ends)} {more} of the texts "
        f"right{seeds}"
    )

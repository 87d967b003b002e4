"""Whether fine-tuning for numbers was worth it, in one sentence.

    sentence(comparisons, baselines)
    # "Fine-tuning beats TF-IDF with ridge regression by 0.12 (0.05 to 0.19) mean absolute
    # error, for 31 times its time."

The rival is the simple model of the least mean absolute error on validation, so that it
is not chosen on the texts that the two are compared on.
"""

from __future__ import annotations

from typing import Iterator, Mapping

from trainer.evaluation.schema import NumberBaseline, NumberComparison

# In this order, where validation tells nothing.
_PREFERRED = ("tfidf", "frozen", "median", "commonest")
CONSTANT = ("commonest", "median")
# From this many times a simple model's time on, it is said.
_LARGE_COST = 2.0


def sentence(
    comparisons: Mapping[str, NumberComparison],
    baselines: Mapping[str, NumberBaseline],
) -> str | None:
    """The sentence, a full stop at its end; None if nothing was compared.

    Args:
      comparisons: by the name of the baseline; all on one split.
      baselines: by name, those that are compared among them.
    """
    names = [name for name in _PREFERRED if name in comparisons]
    if not names:
        return None
    rival = _rival(names, comparisons, baselines)
    beginning = "Fine-tuning "
    if comparisons[rival].split == "validation":
        beginning = "On the validation texts, for there are no test texts, fine-tuning "
    clauses = [_clause(comparisons[rival], baselines[rival].title)]
    clauses += _others(names, rival, comparisons, baselines)
    return f"{beginning}{', '.join(clauses)}."


def _rival(
    names: list[str],
    comparisons: Mapping[str, NumberComparison],
    baselines: Mapping[str, NumberBaseline],
) -> str:
    scores = {name: baselines[name].validation for name in names}
    known = {name: each.mae for name, each in scores.items() if each is not None}
    if comparisons[names[0]].split == "validation" or len(known) < len(names):
        return names[0]
    return min(names, key=known.__getitem__)


def _others(
    names: list[str],
    rival: str,
    comparisons: Mapping[str, NumberComparison],
    baselines: Mapping[str, NumberBaseline],
) -> Iterator[str]:
    """Of the simple models that fared otherwise than the rival."""
    verdict = comparisons[rival].verdict
    for name in names:
        comparison = comparisons[name]
        # That a model beats a constant as well need not be said.
        is_told = name not in CONSTANT or comparison.verdict != "better"
        if name != rival and is_told and comparison.verdict != verdict:
            join = "though it" if comparison.verdict == "better" else "but"
            yield f"{join} {_clause(comparison, baselines[name].title)}"


def _clause(comparison: NumberComparison, title: str) -> str:
    """The verdict on one rival, with its numbers and what it costs."""
    value, ends = comparison.mae_difference, comparison.interval_95
    ratio = comparison.cost_ratio or 0.0
    cost = f", for {ratio:,.2g} times its time" if _LARGE_COST <= ratio < 100 else ""
    cost = f", for {ratio:,.0f} times its time" if ratio >= 100 else cost
    if comparison.verdict == "not_shown" or ends is None:
        shown = (
            f"{signed(value)}, {signed(ends[0])} to {signed(ends[1])}" if ends else ""
        )
        numbers = shown or f"{signed(value)}, of too few texts for an interval"
        return f"is not shown to be better than {title} ({numbers} mean absolute error)"
    if comparison.verdict == "better":
        numbers = f"{number(-value)} ({number(-ends[1])} to {number(-ends[0])})"
        return f"beats {title} by {numbers} mean absolute error{cost}"
    numbers = f"{number(value)} ({number(ends[0])} to {number(ends[1])})"
    return f"is worse than {title} by {numbers} mean absolute error"


def number(value: float | None) -> str:
    """A number of any size in three digits: "0.0123", "1,230,000"; "–" of None."""
    if value is None:
        return "–"
    rounded = float(f"{value:.3g}")
    shown = f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:.3g}"
    return shown.replace("-", "−")


def signed(value: float) -> str:
    """The same with its sign."""
    return number(value) if value < 0 else f"+{number(value)}"

"""Simple models of numbers, scored and compared with the fine-tuned one.

    of_numbers = number_baselines.compared(run, material, built, simple, after, secs=secs)
    of_numbers.comparisons["tfidf"].mae_difference

Their answers are made in `baselines.py`, as those of labels are.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Mapping, NamedTuple

import numpy as np

from trainer.evaluation import number_metrics, number_worth
from trainer.evaluation.schema import (
    NumberBaseline,
    NumberComparison,
    NumberScores,
    from_mapping,
)
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material

if TYPE_CHECKING:  # It imports this module.
    from trainer.stages.baselines import Baseline


class OfNumbers(NamedTuple):
    """The report's `baselines`, `comparisons` and `worth`."""

    baselines: Mapping[str, NumberBaseline]
    comparisons: Mapping[str, NumberComparison]
    worth: str | None


def compared(
    run: Run,
    material: Material,
    built: Built,
    simple: Mapping[str, Baseline],
    after: After,
    *,
    secs: float,
) -> OfNumbers:
    """Scores the baselines, and compares the fine-tuned model with each.

    Args:
      secs: of fine-tuning.
    """
    facts = {
        name: _facts(run, material, built, baseline)
        for name, baseline in simple.items()
    }
    split = material.held_out
    beside = {
        name: _comparison(run, material, baseline, after, split, secs)
        for name, baseline in simple.items()
        if split is not None
    }
    return OfNumbers(facts, beside, number_worth.sentence(beside, facts))


def mean_error(
    run: Run, material: Material, baseline: Baseline, split: str
) -> tuple[float, int]:
    """Its mean absolute error on a split, and of how many texts."""
    labels = material.labels(split)
    values = _values(run, material, baseline, split)
    return float(np.abs(values - labels).mean()), len(labels)


def _values(run: Run, material: Material, baseline: Baseline, split: str) -> np.ndarray:
    decision = run.task.plain_decision(len(material.label_names))
    return decision.labels(baseline.answers.logits[split])


def _facts(
    run: Run, material: Material, built: Built, baseline: Baseline
) -> NumberBaseline:
    scores = {
        name: _scores(run, material, built, name, logits)
        for name, logits in baseline.answers.logits.items()
    }
    return NumberBaseline(
        title=baseline.answers.title,
        validation=scores.get("validation"),
        test=scores.get("test"),
        secs=baseline.secs,
        peak_memory_bytes=baseline.peak_memory_bytes,
        num_features=baseline.answers.num_features,
        settings=baseline.answers.settings,
    )


def _scores(
    run: Run, material: Material, built: Built, split: str, logits: np.ndarray
) -> NumberScores:
    """The same metrics as the model's."""
    evaluation = built.evaluators[split].report(
        logits,
        decision=run.task.plain_decision(len(material.label_names)),
        num_resamples=run.config.num_bootstrap_resamples,
        seed=run.config.training.seed,
        longest_text=material.encoder.longest_text,
    )
    names = [field.name for field in dataclasses.fields(NumberScores)]
    values = {name: getattr(evaluation, name) for name in names}
    scores: NumberScores = from_mapping(NumberScores, values)
    return scores


def _comparison(
    run: Run,
    material: Material,
    baseline: Baseline,
    after: After,
    split: str,
    secs: float,
) -> NumberComparison:
    labels = after.labels[split]
    given = after.decision.labels(after.logits[split])
    others = _values(run, material, baseline, split)
    found = number_metrics.mae_difference(
        labels,
        given,
        others,
        num_resamples=run.config.num_bootstrap_resamples,
        seed=run.config.training.seed,
    )
    is_nearer = np.abs(given - labels) < np.abs(others - labels)
    return NumberComparison(
        split=split,
        num_examples=len(labels),
        mae_difference=found.value,
        interval_95=found.interval,
        verdict=found.verdict,
        num_nearer=int(is_nearer.sum()),
        cost_ratio=secs / baseline.secs if baseline.secs else None,
    )

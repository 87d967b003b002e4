"""What should be known before a model of numbers is trusted: sentences.

for doubt in of_result(evaluations):
    doubt.kind, doubt.message
"""

from __future__ import annotations

from typing import Iterator, Mapping

from trainer.evaluation.schema import Doubt, NumberEvaluation, NumberDecision


def of_result(evaluations: Mapping[str, NumberEvaluation]) -> Iterator[Doubt]:
    """Of what was measured. evaluations: by split, of the trained model."""
    name = next((name for name in ("test", "validation") if name in evaluations), None)
    if name is None:
        return
    evaluation = evaluations[name]
    ends = evaluation.confidence_intervals_95.get("r2")
    is_shown = ends[0] > 0 if ends else (evaluation.r2 or 0.0) > 0
    if not is_shown:
        r2 = "undefined" if evaluation.r2 is None else f"{evaluation.r2:.3f}"
        interval = f", {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        yield Doubt(
            kind="no_better_than_mean",
            message=f"on the {evaluation.num_examples:,} {name} texts it is not shown to "
            f"be better than their mean (R² {r2}{interval}): the texts may not tell "
            "their numbers, or the training is too short",
        )


def of_intervals(decision: NumberDecision) -> Iterator[Doubt]:
    """Where the intervals do not hold as many numbers as they are to."""
    quality = decision.quality.get("test")
    if quality is None or quality.coverage_interval_95 is None:
        return
    if quality.coverage_interval_95[1] < decision.coverage:
        low, high = quality.coverage_interval_95
        yield Doubt(
            kind="narrow_intervals",
            message=f"the intervals are to hold {decision.coverage:.0%} of the numbers "
            f"and hold {quality.coverage:.1%} of those of the test texts ({low:.1%} to "
            f"{high:.1%}): the test texts are unlike the validation texts; hold out "
            "validation texts like those that the model will see",
        )

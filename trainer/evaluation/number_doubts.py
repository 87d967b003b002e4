"""What should be known before a model of numbers is trusted: sentences.

for doubt in of_result(evaluations):
    doubt.kind, doubt.message
"""

from __future__ import annotations

from typing import Iterator, Mapping

from trainer.evaluation.intervals import conformal_rank
from trainer.evaluation.schema import Doubt, NumberDecision, NumberEvaluation

# As a 95% interval has it on one side.
_UNLIKELY = 0.025


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
    """Where the intervals hold fewer numbers than chance explains."""
    quality = decision.quality.get("test")
    if quality is None or quality.num_held is None or quality.coverage is None:
        return
    if not decision.num_texts:
        # Of an interval that was given, nobody knows here how well it was fitted.
        return
    chance = chance_of_so_few(
        quality.num_held,
        quality.num_examples,
        num_fitted=decision.num_texts,
        coverage=decision.coverage,
    )
    if chance < _UNLIKELY:
        yield Doubt(
            kind="narrow_intervals",
            message=f"the intervals are to hold {decision.coverage:.0%} of the numbers "
            f"and hold {quality.coverage:.1%} of those of the {quality.num_examples:,} "
            f"test texts, fewer than chance explains (p {chance:.2g}): the test texts are "
            "unlike the validation texts; hold out validation texts like those that the "
            "model will see",
        )


def chance_of_so_few(
    num_held: int, num_examples: int, *, num_fitted: int, coverage: float
) -> float:
    """How likely a fitted interval holds no more numbers of as many new texts.

    With texts drawn alike, the share of new numbers that it holds in the long run is a
    draw itself, of a beta distribution, for it was fitted on few (Vovk 2012,
    "Conditional validity of inductive conformal predictors", proposition 2a): so the
    count of new texts is beta-binomial.

    Args:
      num_fitted: texts that the interval was fitted on, enough for its coverage.
      coverage: in (0, 1).
    """
    # Only a report asks, and it takes a while to import.
    import scipy.stats

    rank = conformal_rank(num_fitted, coverage=coverage)
    law = scipy.stats.betabinom(num_examples, rank, num_fitted + 1 - rank)
    return float(law.cdf(num_held))

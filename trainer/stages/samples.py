"""The texts that a report shows, with the answers before and after fine-tuning.

    samples.shown(run, material, before, after)     # the report's `samples`

They are those of --sample_texts. Where none are given, three are drawn from the
held-out texts, for they say more of the model than any sentence of ours: the surest
right one, the surest wrong one, and the one nearest to the border between two labels,
of those that were evaluated before training, too.
"""

from __future__ import annotations

from typing import Callable, get_args

import numpy as np

from trainer.data import label_sets
from trainer.evaluation import schema
from trainer.evaluation.large_sets import by_row
from trainer.evaluation.schema import Prediction, Sample, SampleChoice
from trainer.evaluation.slices import shorten_middle
from trainer.stages.context import Run
from trainer.stages.measure import After, Before
from trainer.stages.prepare import Material
from trainer.tasks.task import Decision


def shown(
    run: Run, material: Material, before: Before, after: After
) -> tuple[Sample, ...]:
    """The texts given; else texts drawn from those that results are quoted on."""
    if run.resolved.sample_texts:
        answers = zip(
            run.resolved.sample_texts, before.answers, after.answers, strict=True
        )
        return tuple(
            Sample(text=text, before=first, after=last, label=None, why="given")
            for text, first, last in answers
        )
    split = material.held_out
    if split is None:
        return ()
    plain = run.task.plain_decision(len(material.label_names))
    rows = material.splits[split].rows
    known = _answered_before(before, len(rows))
    drawn = {
        int(known[index]): why
        for index, why in draw(
            after.labels[split][known], after.logits[split][known], after.decision
        ).items()
    }
    return tuple(
        Sample(
            text=shorten_middle(material.texts.pool.texts[int(rows[index])].as_py()),
            before=(
                None
                if before.logits is None
                else _prediction(plain, before.logits, index, material)
            ),
            after=_prediction(after.decision, after.logits[split], index, material),
            label=label_sets.name_of(after.labels[split][index], material.label_names),
            why=why,
        )
        for index, why in drawn.items()
    )


def _answered_before(before: Before, num_texts: int) -> np.ndarray:
    """int64: the texts of the split that have an answer before; else all of them."""
    if before.logits is None:
        return np.arange(num_texts)
    return np.flatnonzero(np.isfinite(before.logits).all(axis=1))


def draw(
    labels: np.ndarray, logits: np.ndarray, decision: Decision
) -> dict[int, SampleChoice]:
    """Rows to show, each for another reason; at a tie the first one.

    Args:
      labels: of n texts, see `label_sets.pairs`.
      logits: float [n, classes].

    Returns:
      Row → why. A reason that no row is left for is not among them.
    """

    def each(of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return by_row(lambda values: of(decision.probabilities(values)), logits)

    chosen, doubts = each(decision.choose), 1 - each(decision.scores)
    is_right = label_sets.is_right(labels, chosen)
    _, *reasons = get_args(SampleChoice)
    rankings = (
        (doubts, is_right),
        (doubts, ~is_right),
        (each(decision.margins), np.full(len(chosen), True)),
    )
    drawn: dict[int, SampleChoice] = {}
    for why, (values, is_meant) in zip(reasons, rankings, strict=True):
        ranked = np.argsort(values, kind="stable")
        rows = (int(row) for row in ranked if is_meant[row] and int(row) not in drawn)
        if (row := next(rows, None)) is not None:
            drawn[row] = why
    return drawn


def _prediction(
    decision: Decision, logits: np.ndarray, index: int, material: Material
) -> Prediction:
    (answer,) = decision.answers(logits[[index]], label_names=material.label_names)
    return schema.from_mapping(Prediction, answer)

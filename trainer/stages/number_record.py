"""The report of a run with --task=regression, of what its stages found.

report = number_record.report(run, title=..., before=before, after=after, ...)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import numpy as np

from trainer.evaluation import number_doubts, schema
from trainer.evaluation.schema import (
    NumberHistory,
    NumberPrediction,
    NumberSample,
    NumbersReport,
)
from trainer.evaluation.slices import shorten_middle
from trainer.stages.context import Run
from trainer.stages.measure import After, Before
from trainer.stages.prepare import Material
from trainer.tasks.task import Decision

# Where in the order of the held-out texts' numbers a sample is taken.
_PLACES = {"lowest": 0.0, "in the middle": 0.5, "highest": 1.0}


def report(
    run: Run,
    material: Material,
    before: Before,
    after: After,
    *,
    history: Mapping[str, Any],
    doubts: tuple[schema.Doubt, ...],
    **facts: Any,
) -> NumbersReport:
    """All but the export.

    Args:
      history: of the run's folder.
      doubts: those so far.
      facts: what stands in every report, by its name there.
    """
    decision = after.number_decision()
    all_doubts = (*doubts, *number_doubts.of_intervals(decision))
    training = dataclasses.replace(facts.pop("training"), best_metric="rmse")
    return NumbersReport(
        before=before.facts(),
        after=after.facts(),
        samples=_samples(run, material, before, after),
        decision=decision,
        training=training,
        warnings=tuple(doubt.message for doubt in all_doubts),
        doubts=all_doubts,
        history=schema.from_mapping(NumberHistory, history),
        **facts,
    )


def _samples(
    run: Run, material: Material, before: Before, after: After
) -> tuple[NumberSample, ...]:
    """The texts given; else held-out texts of a low, a middling and a high number."""
    if run.resolved.sample_texts:
        return tuple(
            NumberSample(text=text, before=first, after=last, label=None, why="given")
            for text, first, last in zip(
                run.resolved.sample_texts, before.answers, after.answers, strict=True
            )
        )
    split = material.held_out
    if split is None:
        return ()
    labels, rows = after.labels[split], material.splits[split].rows
    plain = run.task.plain_decision(1)
    known = np.arange(len(rows))
    if before.logits is not None:
        known = np.flatnonzero(np.isfinite(before.logits).all(axis=1))
    ranked = known[np.argsort(labels[known], kind="stable")]
    drawn: dict[int, Any] = {}
    for why, place in _PLACES.items():
        drawn.setdefault(int(ranked[round(place * (len(ranked) - 1))]), why)
    return tuple(
        NumberSample(
            text=shorten_middle(material.texts.pool.texts[int(rows[index])].as_py()),
            before=(
                None
                if before.logits is None
                else _prediction(plain, before.logits, index)
            ),
            after=_prediction(after.decision, after.logits[split], index),
            label=float(labels[index]),
            why=why,
        )
        for index, why in drawn.items()
    )


def _prediction(decision: Decision, logits: np.ndarray, index: int) -> NumberPrediction:
    (answer,) = decision.answers(logits[[index]], label_names=())
    return NumberPrediction(**answer)

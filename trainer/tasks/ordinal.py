"""One label a text, of labels that have an order: stars, grades, low to high.

    task = Ordinal()
    task.fit_decision(labels, logits, split="validation", ...).labels(logits)
    task.scoring.metrics(labels, logits, label_names=("1", "2", "3"))["quadratic_kappa"]

Trained is what `SingleLabel` trains: cross-entropy is a proper score (Gneiting and
Raftery 2007, "Strictly Proper Scoring Rules, Prediction, and Estimation"), so that the
probabilities serve any cost. The order is in what follows from them: the answer, which is
their median (`ordinal_decision.py`), and how far answers are off
(`evaluation/ordinal_metrics.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np

from trainer.config import DecisionMetric, TaskName
from trainer.data.places import Places
from trainer.evaluation import metrics, ordinal_metrics, schema
from trainer.evaluation.schema import SplitEvaluation
from trainer.tasks import ordinal_decision, task
from trainer.tasks.ordinal_decision import OrdinalDecision
from trainer.tasks.predictions import Predictions
from trainer.tasks.single_label import ClassScoring, SingleLabel
from trainer.tasks.task import Scoring


class Ordinal(SingleLabel):
    """The task of giving each text one of several labels in order."""

    name: TaskName = "ordinal"
    scoring: Scoring

    def __init__(self) -> None:
        self.scoring = OrdinalScoring()

    def plain_decision(self, num_classes: int) -> OrdinalDecision:
        """The median class, never abstaining."""
        return ordinal_decision.plain(num_classes)

    def given_decision(
        self, numbers: Sequence[float], *, num_classes: int
    ) -> OrdinalDecision:
        """See `ordinal_decision.given`."""
        return ordinal_decision.given(numbers, num_classes=num_classes)

    def fit_decision(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        *,
        calibrate: bool,
        metric: DecisionMetric,
        target_accuracy: float,
        split: str,
        label_names: Sequence[str],
    ) -> OrdinalDecision:
        """See `ordinal_decision.fit`; the config refuses another metric than none."""
        del metric, label_names
        return ordinal_decision.fit(
            labels,
            logits,
            calibrate=calibrate,
            target_accuracy=target_accuracy,
            split=split,
        )


class OrdinalScoring(ClassScoring):
    """Metrics of classes, and of the steps between them."""

    progress_metrics: tuple[str, ...] = ("loss", "accuracy", "f1_macro", "mcc")

    def metrics(
        self, labels: np.ndarray, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Metrics by name, of the answers that a user gets; no intervals."""
        decision = ordinal_decision.plain(len(label_names))
        return metrics.classification_metrics(
            labels,
            Predictions(logits, predicted=decision.labels(logits)),
            label_names=label_names,
            num_resamples=0,
            seed=0,
        )

    def report(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        *,
        decision: task.Decision,
        label_names: Sequence[str],
        texts: Sequence[Any],
        lengths: np.ndarray,
        places: Places,
        longest_text: int,
        num_resamples: int,
        seed: int,
    ) -> SplitEvaluation:
        """As of classes without an order; and how far the answers are off."""
        evaluation = super().report(
            labels,
            logits,
            decision=decision,
            label_names=label_names,
            texts=texts,
            lengths=lengths,
            places=places,
            longest_text=longest_text,
            num_resamples=num_resamples,
            seed=seed,
        )
        found = ordinal_metrics.ordinal_metrics(
            np.asarray(labels, np.int64),
            decision.labels(logits),
            decision.probabilities(logits),
            num_resamples=num_resamples,
            seed=seed,
        )
        return dataclasses.replace(
            evaluation,
            ordinal=schema.from_mapping(schema.OrdinalScores, found.values),
            confidence_intervals_95={
                **evaluation.confidence_intervals_95,
                **found.intervals,
            },
        )

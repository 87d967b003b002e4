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

from typing import Any, Sequence

import numpy as np

from trainer.config import INTERVAL_COVERAGE, DecisionMetric, TaskName
from trainer.evaluation import ordinal_metrics
from trainer.tasks import ordinal_decision
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
        self,
        numbers: Sequence[float],
        *,
        num_classes: int,
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> OrdinalDecision:
        """See `ordinal_decision.given`."""
        del interval_coverage
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
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> OrdinalDecision:
        """See `ordinal_decision.fit`; the config refuses another metric than none."""
        del metric, label_names, interval_coverage
        return ordinal_decision.fit(
            labels,
            logits,
            calibrate=calibrate,
            target_accuracy=target_accuracy,
            split=split,
        )


class OrdinalScoring(ClassScoring):
    """Metrics of classes, of the answers that a user gets, and of the steps between."""

    def _predictions(self, logits: np.ndarray) -> Predictions:
        decision = ordinal_decision.plain(logits.shape[1])
        return Predictions(logits, predicted=decision.labels(logits))

    def _more(
        self,
        labels: np.ndarray,
        predictions: Predictions,
        *,
        num_resamples: int,
        seed: int,
    ) -> dict[str, Any]:
        found = ordinal_metrics.ordinal_metrics(
            np.asarray(labels, np.int64),
            predictions.predicted,
            predictions.probabilities,
            num_resamples=num_resamples,
            seed=seed,
        )
        return {"ordinal": dict(found.values), "intervals": found.intervals}

"""One label a text: softmax, cross-entropy, accuracy and its like.

    task = SingleLabel()
    task.objective(classifier, forward).losses(batch, dropout_seed=seed)
    task.scoring.metrics(labels, logits, label_names=("bad", "good"))["f1_macro"]
    task.fit_decision(labels, logits, split="validation", ...).choose(probabilities)

How a label is chosen and when none is, is in `single_label_decision.py`; the metrics'
arithmetic in `evaluation/metrics.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import INTERVAL_COVERAGE, DecisionMetric, TaskName
from trainer.data.batches import Batch
from trainer.data.places import Places
from trainer.evaluation import curves, error_words, metrics, schema, slices
from trainer.evaluation.schema import Prediction, SplitEvaluation
from trainer.tasks import single_label_decision, task
from trainer.tasks.focal import focal_loss
from trainer.tasks.predictions import Predictions
from trainer.tasks.single_label_decision import Decision
from trainer.tasks.task import Scale, Scoring


class SingleLabel:
    """The task of giving each text one of several labels."""

    name: TaskName = "single_label"
    has_one_label = True
    evaluation_type: type[Any] = SplitEvaluation
    prediction_type: type[Any] = Prediction
    scale: Scale | None = None
    scoring: Scoring

    def __init__(self) -> None:
        self.scoring = ClassScoring()

    def of_texts(self, labels: np.ndarray) -> SingleLabel:
        """The task itself: a class needs no unit."""
        del labels
        return self

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """The labels as they are."""
        return labels

    def loss(self) -> keras.losses.Loss:
        """Cross-entropy of each example, in nats, from logits and class positions."""
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="none"
        )

    def objective(
        self,
        classifier: keras.Model,
        forward: Callable[..., tf.Tensor],
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> CrossEntropy:
        """The loss that the classifier is compiled with, or its smoothed form."""
        return CrossEntropy(
            classifier,
            forward,
            label_smoothing=label_smoothing,
            focal_gamma=focal_gamma,
        )

    def plain_decision(self, num_classes: int) -> Decision:
        """The most probable class, never abstaining."""
        return single_label_decision.plain(num_classes)

    def given_decision(
        self,
        numbers: Sequence[float],
        *,
        num_classes: int,
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> Decision:
        """See `single_label_decision.given`."""
        del interval_coverage
        return single_label_decision.given(numbers, num_classes=num_classes)

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
    ) -> Decision:
        """See `single_label_decision.fit`; no message of it names a label."""
        del label_names, interval_coverage
        return single_label_decision.fit(
            labels,
            logits,
            calibrate=calibrate,
            metric=metric,
            target_accuracy=target_accuracy,
            split=split,
        )


class CrossEntropy:
    """Cross-entropy of a classifier's logits.

    Args:
      classifier: compiled with `SingleLabel.loss`.
      forward: (token_ids, num_tokens, *, dropout_seed) → logits.
      label_smoothing: each target is 1 - this at its label, plus this evenly over all
        (Szegedy et al. 2016, "Rethinking the Inception Architecture", 7).
      focal_gamma: of `focal.focal_loss`; 0: without. Not beside smoothing.
    """

    def __init__(
        self,
        classifier: keras.Model,
        forward: Callable[..., tf.Tensor],
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> None:
        self._classifier = classifier
        self._forward = forward
        self._label_smoothing = label_smoothing
        self._focal_gamma = focal_gamma

    def losses(
        self, batch: Batch, *, dropout_seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Float32 [batch]; the batch's targets are int32 [batch], class positions."""
        del step  # Nothing else of it is drawn.
        logits = self._forward(*batch.inputs, dropout_seed=dropout_seed)
        if not self._label_smoothing:
            losses = self._classifier.loss(batch.targets, logits)
            gamma = self._focal_gamma
            return focal_loss(losses, gamma=gamma) if gamma else losses
        return keras.losses.categorical_crossentropy(
            tf.one_hot(batch.targets, logits.shape[-1]),
            logits,
            from_logits=True,
            label_smoothing=self._label_smoothing,
        )


class ClassScoring:
    """Metrics of one label a text, each with its interval."""

    progress_metrics: tuple[str, ...] = ("loss", "accuracy", "f1_macro", "mcc")

    def metrics(
        self, labels: np.ndarray, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Metrics by name, see `classification_metrics`; no intervals."""
        return metrics.classification_metrics(
            labels,
            self._predictions(logits),
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
        """Metrics with intervals, accuracy by length, the surest errors, curves.

        All of them are of the labels that the decision gives, as the export does.
        """
        predictions = Predictions(
            decision.calibrated(logits), predicted=decision.labels(logits)
        )
        evaluation = {
            **metrics.classification_metrics(
                labels,
                predictions,
                label_names=label_names,
                num_resamples=num_resamples,
                seed=seed,
            ),
            "accuracy_by_length": slices.accuracy_by_length(
                labels, predictions.predicted, lengths, longest_text=longest_text
            ),
            "most_confident_errors": slices.most_confident_errors(
                texts, labels, predictions, lengths, places, label_names=label_names
            ),
            "words_of_errors": error_words.words_of_errors(
                texts, np.asarray(labels), predictions.predicted != labels
            ),
            **curves.of(labels, predictions, label_names=label_names),
        }
        more = self._more(labels, predictions, num_resamples=num_resamples, seed=seed)
        evaluation["confidence_intervals_95"] |= more.pop("intervals", {})
        return schema.from_mapping(SplitEvaluation, evaluation | more)

    def _predictions(self, logits: np.ndarray) -> Predictions:
        """What logits say before a decision is fitted."""
        return Predictions(logits)

    def _more(
        self,
        labels: np.ndarray,
        predictions: Predictions,
        *,
        num_resamples: int,
        seed: int,
    ) -> dict[str, Any]:
        """What another task measures besides: fields of the evaluation, and
        `intervals`, by the name of the metric."""
        return {}

    def score(self, values: Mapping[str, Any], name: str) -> float:
        """The metric of that name; the loss with its sign turned."""
        return metrics.score(values, name)

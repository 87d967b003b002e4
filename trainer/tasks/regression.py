"""A number a text: one output, squared distance, how far values are off.

    task = Regression().of_texts(train_labels)      # knows their mean and spread
    task.objective(classifier, forward).losses(batch, dropout_seed=seed, step=step)
    task.scoring.metrics(labels, logits, label_names=("value",))["rmse"]
    task.fit_decision(labels, logits, split="validation", ...).half_width

Trained is on numbers in spreads from their mean, both of the training texts: a head that
begins near 0 then answers the mean, and neither learning rate nor clipping depends on the
user's unit. Values and intervals are in `regression_decision.py`, the metrics' arithmetic
is in `evaluation/number_metrics.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import INTERVAL_COVERAGE, DecisionMetric, TaskName
from trainer.data.batches import Batch
from trainer.data.places import Places
from trainer.evaluation import number_metrics, schema
from trainer.evaluation.schema import NumberEvaluation, NumberPrediction
from trainer.tasks import regression_decision, task
from trainer.tasks.regression_decision import RegressionDecision
from trainer.tasks.single_label_decision import GIVEN
from trainer.tasks.task import Scale, Scoring


class Regression:
    """The task of giving each text a number.

    Args:
      scale: of the training texts' numbers.
    """

    name: TaskName = "regression"
    has_one_label = False
    evaluation_type: type[Any] = NumberEvaluation
    prediction_type: type[Any] = NumberPrediction
    scale: Scale | None
    scoring: Scoring

    def __init__(self, scale: Scale = Scale()) -> None:
        self.scale = self._scale = scale
        self.scoring = NumberScoring(scale)

    def of_texts(self, labels: np.ndarray) -> Regression:
        """The same task in the unit of these training texts.

        Raises:
          ValueError: all of them have the same number.
        """
        return Regression(regression_decision.scale_of(labels))

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Float32 [n], in spreads from the mean."""
        return self._scale.standardised(labels).astype(np.float32)

    def loss(self) -> keras.losses.Loss:
        """The squared distance of each example, in squared spreads."""
        return keras.losses.MeanSquaredError(reduction="none")

    def objective(
        self,
        classifier: keras.Model,
        forward: Callable[..., tf.Tensor],
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> SquaredDistance:
        """The loss that the classifier is compiled with; the config refuses others."""
        del label_smoothing, focal_gamma
        return SquaredDistance(classifier, forward)

    def plain_decision(self, num_classes: int) -> RegressionDecision:
        """Values without an interval."""
        del num_classes
        return RegressionDecision(scale=self._scale)

    def given_decision(
        self,
        numbers: Sequence[float],
        *,
        num_classes: int,
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> RegressionDecision:
        """An interval that was fitted elsewhere: half its width, in the user's unit."""
        del num_classes
        (half_width,) = numbers
        return RegressionDecision(
            scale=self._scale,
            half_width=half_width,
            coverage=interval_coverage,
            split=GIVEN,
        )

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
    ) -> RegressionDecision:
        """See `regression_decision.fit`; the config refuses what is of labels."""
        del calibrate, metric, target_accuracy, label_names
        return regression_decision.fit(
            labels, logits, scale=self._scale, coverage=interval_coverage, split=split
        )


class SquaredDistance:
    """The squared distance of a classifier's only output to the target.

    Args:
      classifier: compiled with `Regression.loss`.
      forward: (token_ids, num_tokens, *, dropout_seed) → logits.
    """

    def __init__(
        self, classifier: keras.Model, forward: Callable[..., tf.Tensor]
    ) -> None:
        self._classifier = classifier
        self._forward = forward

    def losses(
        self, batch: Batch, *, dropout_seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """Float32 [batch]; the batch's targets are float32 [batch], standardised."""
        del step  # Nothing else of it is drawn.
        logits = self._forward(*batch.inputs, dropout_seed=dropout_seed)
        # Beside [batch, 1], [batch] would be broadcast to every pair of examples.
        return self._classifier.loss(tf.expand_dims(batch.targets, 1), logits)


class NumberScoring:
    """How far values are from the numbers, in the user's unit.

    Args:
      scale: that turns logits into values.
    """

    progress_metrics: tuple[str, ...] = ("loss", "mae", "rmse")

    def __init__(self, scale: Scale) -> None:
        self._scale = scale

    def metrics(
        self, labels: np.ndarray, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Metrics by name, see `number_metrics`; no intervals."""
        del label_names
        values = self._scale.values(logits)[:, 0]
        found = number_metrics.number_metrics(labels, values, num_resamples=0, seed=0)
        return {"loss": self._loss(labels, logits), **found.values}

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
    ) -> NumberEvaluation:
        """Metrics with intervals, by length, the farthest values, the picture's points."""
        del label_names
        values = decision.labels(logits)
        found = number_metrics.number_metrics(
            labels, values, num_resamples=num_resamples, seed=seed
        )
        content = {
            "num_examples": len(labels),
            "loss": self._loss(labels, logits),
            **found.values,
            "confidence_intervals_95": found.intervals,
            "mean": float(np.mean(labels)),
            "spread": float(np.std(labels)),
            "by_length": number_metrics.by_length(
                labels, values, lengths, longest_text=longest_text
            ),
            "farthest": number_metrics.farthest(texts, labels, values, lengths, places),
            "points": number_metrics.points(labels, values),
        }
        evaluation: NumberEvaluation = schema.from_mapping(NumberEvaluation, content)
        return evaluation

    def score(self, values: Mapping[str, Any], name: str) -> float:
        """The root mean squared error with its sign turned, whatever the name."""
        del name
        return -float(values["rmse"])

    def _loss(self, labels: np.ndarray, logits: np.ndarray) -> float:
        """As it is trained: the mean squared distance, in squared spreads."""
        distances = self._scale.standardised(labels) - np.asarray(logits)[:, 0]
        return float(np.mean(distances**2))

"""Any number of labels a text: a sigmoid a label, binary cross-entropy, F1 and its like.

    task = MultiLabel()
    task.objective(classifier, forward).losses(batch, dropout_seed=seed)
    task.scoring.metrics(labels, logits, label_names=("fear", "joy"))["f1_macro"]
    task.fit_decision(labels, logits, split="validation", ...).choose(probabilities)

Labels are float32 [n, labels], 1 where a text has the label. Which labels a text gets is
in `multi_label_decision.py`, the metrics' arithmetic in
`evaluation/label_set_metrics.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import INTERVAL_COVERAGE, DecisionMetric, TaskName
from trainer.data import label_sets
from trainer.data.batches import Batch
from trainer.data.places import Places
from trainer.evaluation import curves, metrics, schema, slices
from trainer.evaluation.label_set_metrics import label_set_metrics
from trainer.evaluation.large_sets import by_row
from trainer.evaluation.schema import Prediction, SplitEvaluation
from trainer.messages import message
from trainer.tasks import multi_label_decision, task
from trainer.tasks.focal import focal_loss
from trainer.tasks.multi_label_decision import Decision
from trainer.tasks.task import Scale, Scoring


class MultiLabel:
    """The task of giving each text those of several labels that it has."""

    name: TaskName = "multi_label"
    has_one_label = False
    evaluation_type: type[Any] = SplitEvaluation
    prediction_type: type[Any] = Prediction
    scale: Scale | None = None
    scoring: Scoring

    def __init__(self) -> None:
        self.scoring = LabelSetScoring()

    def of_texts(self, labels: np.ndarray) -> MultiLabel:
        """The task itself: a class needs no unit."""
        del labels
        return self

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """The labels as they are."""
        return labels

    def loss(self) -> keras.losses.Loss:
        """Binary cross-entropy of each example, in nats: the mean over its labels."""
        return keras.losses.BinaryCrossentropy(from_logits=True, reduction="none")

    def objective(
        self,
        classifier: keras.Model,
        forward: Callable[..., tf.Tensor],
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> BinaryCrossEntropy:
        """The loss that the classifier is compiled with, or its smoothed form."""
        return BinaryCrossEntropy(
            classifier,
            forward,
            label_smoothing=label_smoothing,
            focal_gamma=focal_gamma,
        )

    def plain_decision(self, num_classes: int) -> Decision:
        """Each label that is rather so than not."""
        return multi_label_decision.plain(num_classes)

    def given_decision(
        self,
        numbers: Sequence[float],
        *,
        num_classes: int,
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> Decision:
        """None: such numbers are of labels that exclude each other.

        Raises:
          ValueError: always; the config says it first.
        """
        del interval_coverage
        raise ValueError(
            message(
                "--given_decision is for one label a text",
                received=f"{len(numbers)} numbers for {num_classes} labels",
                mend="leave it out, and fit the thresholds with --decision_metric",
            )
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
    ) -> Decision:
        """See `multi_label_decision.fit`; the config refuses to abstain."""
        del target_accuracy, interval_coverage
        return multi_label_decision.fit(
            labels,
            logits,
            calibrate=calibrate,
            metric=metric,
            split=split,
            label_names=label_names,
        )


class BinaryCrossEntropy:
    """Binary cross-entropy of a classifier's logits, the mean over the labels.

    Args:
      classifier: compiled with `MultiLabel.loss`.
      forward: (token_ids, num_tokens, *, dropout_seed) → logits.
      label_smoothing: share of each target, 0 or 1, that becomes 1/2: of one label the
        two targets are smoothed as two classes' are (Szegedy et al. 2016, "Rethinking the
        Inception Architecture", 7).
      focal_gamma: of `focal.focal_loss`, for each label; 0: without. Not beside
        smoothing.
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
        """Float32 [batch]; the batch's targets are float32 [batch, labels]."""
        del step  # Nothing else of it is drawn.
        logits = self._forward(*batch.inputs, dropout_seed=dropout_seed)
        if self._focal_gamma:
            each = tf.nn.sigmoid_cross_entropy_with_logits(batch.targets, logits)
            return tf.reduce_mean(focal_loss(each, gamma=self._focal_gamma), axis=-1)
        if not self._label_smoothing:
            return self._classifier.loss(batch.targets, logits)
        return keras.losses.binary_crossentropy(
            batch.targets,
            logits,
            from_logits=True,
            label_smoothing=self._label_smoothing,
        )


class LabelSetScoring:
    """Metrics of any number of labels a text, each with its interval."""

    progress_metrics: tuple[str, ...] = ("loss", "accuracy", "f1_macro", "mcc")

    def metrics(
        self, labels: np.ndarray, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Metrics by name, see `label_set_metrics`; no intervals."""
        decision = multi_label_decision.plain(len(label_names))
        return _measured(
            labels,
            logits,
            decision,
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

        All of them are of the labels that the decision gives, as the export does. A text
        counts as right if all of its labels are.
        """
        given, calibrated = decision.labels(logits), decision.calibrated(logits)
        scores = by_row(
            lambda values: decision.scores(decision.probabilities(values)), logits
        )
        is_right = label_sets.is_right(labels > 0, given)
        return schema.from_mapping(
            SplitEvaluation,
            {
                **_measured(
                    labels,
                    logits,
                    decision,
                    label_names=label_names,
                    num_resamples=num_resamples,
                    seed=seed,
                ),
                "accuracy_by_length": slices.accuracy_by_length(
                    np.ones(len(labels)), is_right, lengths, longest_text=longest_text
                ),
                "most_confident_errors": slices.surest_errors(
                    texts,
                    ~is_right,
                    scores,
                    lengths,
                    places,
                    labels=lambda row: label_sets.name_of(labels[row], label_names),
                    answers=lambda row: label_sets.name_of(given[row], label_names),
                ),
                **curves.of_label_sets(
                    labels > 0, calibrated, ~is_right, scores, label_names=label_names
                ),
            },
        )

    def score(self, values: Mapping[str, Any], name: str) -> float:
        """The metric of that name; the loss with its sign turned."""
        return metrics.score(values, name)


def _measured(
    labels: np.ndarray,
    logits: np.ndarray,
    decision: task.Decision,
    *,
    label_names: Sequence[str],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    given, calibrated = decision.labels(logits), decision.calibrated(logits)
    return label_set_metrics(
        labels,
        given,
        lambda rows: multi_label_decision.flat(calibrated[rows], given[rows]),
        calibrated,
        label_names=label_names,
        thresholds=decision.facts()["thresholds"],
        num_resamples=num_resamples,
        seed=seed,
    )

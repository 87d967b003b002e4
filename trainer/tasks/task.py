"""What a task is: which loss is trained, what is measured, how an answer is chosen.

    task = SingleLabel()                                # tasks/single_label.py
    objective = task.objective(classifier, forward)     # for the training step
    task.scoring.metrics(labels, logits, label_names=names)["accuracy"]
    decision = task.fit_decision(labels, logits, ...)   # on validation
    decision.answers(logits, label_names=names)         # what a user gets

Labels of texts are int [n], or, of a task with several labels a text, float or bool
[n, labels], or, of one with a number a text, float64 [n]; `data/label_sets.py` counts and
compares all of them.

Steps, loop, evaluator and signatures know these protocols and nothing else of a task:
none of them computes a softmax. Here are the protocols alone, so that they may be
imported from below the tasks themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Protocol, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import INTERVAL_COVERAGE, DecisionMetric, TaskName
from trainer.data.batches import Batch
from trainer.data.places import Places

Constants = Mapping[str, float | Sequence[float]]
Outputs = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the training texts' numbers are measured by.

    Attributes:
      mean: of them.
      spread: their standard deviation (of n, not of n - 1), above 0.
    """

    mean: float = 0.0
    spread: float = 1.0

    def standardised(self, values: Any) -> np.ndarray:
        """How many spreads from the mean: float64, of the same shape."""
        return np.asarray((np.asarray(values, np.float64) - self.mean) / self.spread)

    def values(self, standardised: Any) -> np.ndarray:
        """The inverse."""
        return np.asarray(standardised, np.float64) * self.spread + self.mean


class Objective(Protocol):
    """What training makes small."""

    def losses(
        self, batch: Batch, *, dropout_seed: tf.Tensor, step: tf.Tensor
    ) -> tf.Tensor:
        """The loss of each example, before weights.

        Args:
          dropout_seed: int32 [2], another for each step, part and replica.
          step: int32 scalar, updates done, for what must not differ by replica.

        Returns:
          float32 [batch].
        """


class Scoring(Protocol):
    """How good a model's logits are."""

    # The metrics that are written of each evaluation during training.
    progress_metrics: tuple[str, ...]

    def metrics(
        self, labels: np.ndarray, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> dict[str, Any]:
        """Metrics by name, without intervals: for evaluations during training.

        Args:
          labels: of n texts.
          logits: float [n, classes].
        """

    def report(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        *,
        decision: Decision,
        label_names: Sequence[str],
        texts: Sequence[Any],
        lengths: np.ndarray,
        places: Places,
        longest_text: int,
        num_resamples: int,
        seed: int,
    ) -> Any:
        """All that the report says of a split: a dataclass of `evaluation/schema/`.

        Args:
          logits: float [n, classes], as the classifier gave them.
          decision: what labels and probabilities follow from them.
          texts: n texts.
          lengths: int [n], tokens of each text before truncation.
          places: where the n texts were read.
          longest_text: how many tokens of a text are read.
          num_resamples: bootstrap resamples behind each interval; 0: no intervals.
          seed: of the resamples.
        """

    def score(self, metrics: Mapping[str, Any], name: str) -> float:
        """One number to compare checkpoints by; higher is better."""


class Decision(Protocol):
    """From logits to what a user gets: the same rule in NumPy and in the graph."""

    # Whether answers are numbers with an interval, not labels with probabilities.
    gives_numbers: bool

    @property
    def temperature(self) -> float:
        """What logits are divided by before they become probabilities."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what was asked for and cannot be given."""

    def answers(
        self, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """An answer a row, ready for JSON: `label` (or labels, in words), `score`,
        `probabilities`."""

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """float64 [n, classes], of logits [n, classes]."""

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """The logits that `probabilities` takes as they are, of the logits' dtype."""

    def labels(self, logits: np.ndarray) -> np.ndarray:
        """The labels of each row of logits: int64 [n]; or bool [n, labels]."""

    def choose(self, probabilities: np.ndarray) -> np.ndarray:
        """The labels that are chosen: int64 [n]; or bool [n, labels]."""

    def scores(self, probabilities: np.ndarray) -> np.ndarray:
        """float64 [n], the probability that what is chosen is right."""

    def margins(self, probabilities: np.ndarray) -> np.ndarray:
        """float64 [n], how far ahead of the next the label is; 0 at the border."""

    def labels_told(
        self, outputs: Mapping[str, Any], *, label_names: Sequence[str]
    ) -> np.ndarray:
        """The labels that a signature's outputs tell, as `choose` gives them."""

    def is_tie(self, probabilities: np.ndarray, *, rounding: float) -> np.ndarray:
        """bool [n], whether probabilities off by `rounding` may give another label."""

    def ensemble_logits(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """One model's logits of several models': float [n, classes], of k of these."""

    def quality(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
        """What the decision gives on a split, ready for JSON."""

    def facts(self) -> dict[str, Any]:
        """The decision itself, ready for JSON."""

    def constants(self) -> Constants:
        """What the graph holds as variables, by name."""

    def graph_probabilities(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """`probabilities` in the graph: float32 [batch, classes].

        Args:
          constants: what `constants` gives, as variables or as plain numbers.
        """

    def graph_ensemble_logits(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """`ensemble_logits` in the graph: float32 [batch, classes], of k of these."""

    def graph_chosen(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """The label that is explained, in the graph: int64 [batch].

        The one that is given, or of several the most probable; arguments as of
        `graph_probabilities`.
        """

    def graph_contrast(
        self, logits: tf.Tensor, constants: Mapping[str, Any], *, chosen: tf.Tensor
    ) -> tf.Tensor:
        """How much logits speak for a label, in a number that words can add up to.

        Args:
          chosen: int64 [batch], positions of the labels.

        Returns:
          float32 [batch], a linear function of the logits.
        """

    def graph_outputs(
        self,
        logits: tf.Tensor,
        constants: Mapping[str, Any],
        *,
        label_names: tf.Tensor,
    ) -> Outputs:
        """A signature's outputs, in the graph.

        Args:
          logits: float32 [batch, classes].
          label_names: string [classes].
        """


class Task(Protocol):
    """A task, whole."""

    name: TaskName
    # Whether a text has exactly one label: what counts labels beside answers, as a drift
    # reference does, needs that.
    has_one_label: bool
    # What `Scoring.report` gives, and an answer: dataclasses of `evaluation/schema/`.
    evaluation_type: type[Any]
    prediction_type: type[Any]
    # Of the numbers that are trained on; None where texts have labels.
    scale: Scale | None
    scoring: Scoring

    def of_texts(self, labels: np.ndarray) -> Task:
        """The same task, knowing the labels of the training texts.

        Raises:
          ValueError: nothing can be learned from them.
        """

    def targets(self, labels: np.ndarray) -> np.ndarray:
        """What a model is trained on: labels as they are, or numbers in other units."""

    def loss(self) -> keras.losses.Loss:
        """A loss for each example, with which the classifier is compiled."""

    def objective(
        self,
        classifier: keras.Model,
        forward: Any,
        *,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
    ) -> Objective:
        """What training a classifier makes small.

        Args:
          classifier: compiled with `loss`.
          forward: calls it: (token_ids, num_tokens, *, dropout_seed) → logits.
          label_smoothing: share of each target that is spread evenly over all labels.
          focal_gamma: of `focal.focal_loss`; 0: without. Not beside smoothing.
        """

    def plain_decision(self, num_classes: int) -> Decision:
        """The decision that needs no fit."""

    def given_decision(
        self,
        numbers: Sequence[float],
        *,
        num_classes: int,
        interval_coverage: float = INTERVAL_COVERAGE,
    ) -> Decision:
        """The decision that the numbers of --given_decision are.

        Args:
          interval_coverage: of numbers: what the interval was fitted to hold.

        Raises:
          ValueError: they are for another number of classes.
        """

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
        """The decision that fits a held-out split best; arguments as in the config."""

"""The label of a text: temperature, thresholds, when to abstain.

    decision = fit(labels, logits, target_accuracy=0.95, metric="f1_macro")
    decision.temperature            # 1.7: the model was too sure of itself
    decision.abstain_below          # 0.81: of texts scored higher, 95% were right
    decision.quality(labels, logits)    # what it gives, on any split

All of it is fitted on validation, where labels and logits are those of texts the
model was not trained on. `Decision` has the rule twice, in NumPy for reports and in
TensorFlow for the exported graph; the export compares the two on held-out texts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.optimize
import tensorflow as tf

from trainer.config import DecisionMetric
from trainer.evaluation import metrics
from trainer.tasks.predictions import Predictions, softmax
from trainer.tasks.task import Constants, Outputs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# No model that is of use needs more; where all texts are classified right, the fit
# would end at 0.
TEMPERATURES = (0.05, 20.0)
_NUM_PASSES = 2
_MAX_THRESHOLDS = 200


@dataclasses.dataclass(frozen=True)
class Decision:
    """How probabilities and a label follow from logits.

    Attributes:
      temperature: what logits are divided by.
      thresholds: one a class, which sum to 1: the label is the class whose probability
        is the largest multiple of its threshold. Of two classes, the second is chosen
        from a probability of its threshold on.
      abstain_below: the model abstains where the label's probability is below.
      split: where it was fitted; None: nowhere, it is what needs no fit.
    """

    temperature: float
    thresholds: tuple[float, ...]
    abstain_below: float
    split: str | None

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Float64 [n, classes], of logits [n, classes]."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def calibrated(self, logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The logits divided by the temperature, of the same dtype."""
        return logits / self.temperature

    def labels(self, logits: npt.ArrayLike) -> IntArray:
        """Int64 [n], the classes chosen."""
        return self.choose(self.probabilities(logits))

    def choose(self, probabilities: npt.ArrayLike) -> IntArray:
        """Int64 [n], the classes chosen by probabilities [n, classes]."""
        ratios = np.asarray(probabilities, np.float64) / self.thresholds
        chosen: IntArray = np.argmax(ratios, axis=-1)
        return chosen

    def margins(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Float64 [n], by how much the label's ratio to its threshold is the largest."""
        ranked = np.sort(np.asarray(probabilities, np.float64) / self.thresholds)
        return np.asarray(ranked[..., -1] - ranked[..., -2])

    def is_tie(
        self, probabilities: npt.ArrayLike, *, rounding: float
    ) -> npt.NDArray[np.bool_]:
        """Bool [n], whether probabilities off by `rounding` may give another label."""
        # Two ratios may each be off by this much, towards each other.
        reach = 2 * rounding / min(self.thresholds)
        return np.asarray(self.margins(probabilities) <= reach)

    def answers(
        self, logits: npt.ArrayLike, *, label_names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """An answer a row: `label`, `score` (its probability), `probabilities`."""
        probabilities = self.probabilities(logits)
        return [
            {
                "label": label_names[chosen],
                "score": float(row[chosen]),
                "probabilities": row.tolist(),
            }
            for row, chosen in zip(probabilities, self.choose(probabilities))
        ]

    def facts(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    def quality(self, labels: npt.ArrayLike, logits: npt.ArrayLike) -> dict[str, Any]:
        """What the decision gives on a split, JSON-able.

        Returns:
          `num_examples`; under `before` and `after` the calibration error, loss and
          Brier score of the logits as they are and with the temperature; `accuracy`
          with the thresholds; `coverage`, the share not abstained from, and
          `accuracy_of_covered`, None where the model abstains from all;
          `accuracy_of_abstained` likewise.
        """
        true, values = np.asarray(labels), np.asarray(logits, np.float64)
        is_right = self.labels(values) == true
        is_covered = _scores(self, values) >= self.abstain_below
        return {
            "num_examples": len(true),
            "before": _calibration_of(true, values),
            "after": _calibration_of(true, values / self.temperature),
            "accuracy": float(is_right.mean()),
            "coverage": float(is_covered.mean()),
            "accuracy_of_covered": _mean(is_right[is_covered]),
            "accuracy_of_abstained": _mean(is_right[~is_covered]),
        }

    def constants(self) -> Constants:
        """What the graph holds as variables, by name."""
        return {
            "temperature": self.temperature,
            "decision_thresholds": self.thresholds,
            "abstain_below": self.abstain_below,
        }

    def graph_probabilities(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """Float32 [batch, classes], of logits float32 [batch, classes]."""
        return tf.nn.softmax(logits / constants["temperature"])

    def graph_outputs(
        self,
        logits: tf.Tensor,
        constants: Mapping[str, Any],
        *,
        label_names: tf.Tensor,
    ) -> Outputs:
        """`label` string, `score` float32, `abstain` bool, all [batch]; and
        `probabilities` float32 [batch, classes]."""
        probabilities = self.graph_probabilities(logits, constants)
        chosen = tf.argmax(probabilities / constants["decision_thresholds"], axis=-1)
        score = tf.gather(probabilities, chosen, axis=1, batch_dims=1)
        return {
            "label": tf.gather(label_names, chosen),
            "score": score,
            "probabilities": probabilities,
            "abstain": score < constants["abstain_below"],
        }


def plain(num_classes: int) -> Decision:
    """No temperature, the most probable class, never abstaining."""
    return Decision(1.0, (1.0 / num_classes,) * num_classes, 0.0, None)


def fit(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    calibrate: bool = True,
    metric: DecisionMetric = "none",
    target_accuracy: float = 0.0,
    split: str = "validation",
) -> Decision:
    """Fits what is asked for, one after the other.

    Args:
      labels: int [n].
      logits: float [n, classes].
      calibrate: whether to fit the temperature; else it is 1.
      metric: what the thresholds shall make best; "none": they are equal.
      target_accuracy: what share of the texts not abstained from is to be right. 0:
        never abstain.
    """
    true, values = np.asarray(labels), np.asarray(logits, np.float64)
    temperature = fit_temperature(true, values) if calibrate else 1.0
    decision = dataclasses.replace(
        plain(values.shape[1]), temperature=temperature, split=split
    )
    if metric != "none":
        chosen = _fit_thresholds(true, decision.probabilities(values), metric)
        decision = dataclasses.replace(decision, thresholds=chosen)
    if target_accuracy > 0:
        predicted = decision.labels(values)
        scores = _scores(decision, values)
        least = _least_score(scores, predicted == true, target_accuracy)
        decision = dataclasses.replace(decision, abstain_below=least)
    return decision


def fit_temperature(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """The temperature of the least loss (Guo et al. 2017), within TEMPERATURES.

    The loss is convex in 1 / temperature, so the search cannot end in a wrong place.
    """
    true, values = np.asarray(labels), np.asarray(logits, np.float64)

    def loss(log_temperature: float) -> float:
        scaled = values / math.exp(log_temperature)
        largest = scaled.max(axis=1)
        log_sum = np.log(np.exp(scaled - largest[:, np.newaxis]).sum(axis=1)) + largest
        return float((log_sum - scaled[np.arange(len(true)), true]).mean())

    low, high = map(math.log, TEMPERATURES)
    least = scipy.optimize.minimize_scalar(
        loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    return float(math.exp(least.x))


def _calibration_of(labels: Any, logits: FloatArray) -> dict[str, Any]:
    values = metrics.point_values(labels, Predictions(logits))
    names = ("expected_calibration_error", "loss", "brier_score")
    return {name: values[name] for name in names}


def _scores(decision: Decision, logits: FloatArray) -> FloatArray:
    """The probability of the label chosen: float64 [n]."""
    rows = np.arange(len(logits))
    result: FloatArray = decision.probabilities(logits)[rows, decision.labels(logits)]
    return result


def _fit_thresholds(
    labels: npt.NDArray[Any], probabilities: FloatArray, metric: DecisionMetric
) -> tuple[float, ...]:
    """Thresholds of the best metric: of two classes the best there is.

    Of more, one class after the other is tried against the rest, twice around.
    """
    num_classes = probabilities.shape[1]
    thresholds = np.full(num_classes, 1.0 / num_classes)

    def score(candidate: FloatArray) -> float:
        predicted = np.argmax(probabilities / candidate, axis=1)
        confusion = np.zeros([1, num_classes, num_classes])
        np.add.at(confusion[0], (labels, predicted), 1.0)
        return float(metrics.metrics_of_confusion(confusion)[metric][0])

    best = score(thresholds)
    # Of two classes the second one's threshold says all.
    for index in [1] if num_classes == 2 else [*range(num_classes)] * _NUM_PASSES:
        for value in _between(probabilities[:, index]):
            candidate = thresholds.copy()
            others = np.arange(num_classes) != index
            candidate[others] *= (1 - value) / candidate[others].sum()
            candidate[index] = value
            candidate_score = score(candidate)
            # Only what is better by more than rounding: the first stays, which is the
            # equal thresholds if nothing gains.
            if candidate_score > best + 1e-9:
                best, thresholds = candidate_score, candidate
    return tuple(thresholds.tolist())


def _between(values: FloatArray) -> Sequence[float]:
    """Values half-way between neighbours, at most so many, all within (0, 1)."""
    ends = np.unique(values)
    middles = (ends[1:] + ends[:-1]) / 2
    if len(middles) > _MAX_THRESHOLDS:
        shares = np.linspace(0, len(middles) - 1, _MAX_THRESHOLDS)
        middles = middles[shares.round().astype(int)]
    kept: list[float] = middles[(middles > 1e-6) & (middles < 1 - 1e-6)].tolist()
    return kept


def _least_score(
    scores: FloatArray, is_right: npt.NDArray[np.bool_], target: float
) -> float:
    """The least score from which on the share that is right is the target or more.

    0.0 where no text needs to be left out; 1.0 where no score is high enough.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    share = np.cumsum(is_right[order]) / np.arange(1, len(order) + 1)
    # A score can only end where the next one is lower.
    is_end = np.append(ranked[:-1] > ranked[1:], True)
    fitting = np.flatnonzero(is_end & (share >= target))
    if not len(fitting):
        return 1.0
    last = fitting[-1]
    if last == len(ranked) - 1:
        return 0.0
    return float((ranked[last] + ranked[last + 1]) / 2)


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None

"""Which labels a text gets, of any number: temperature, a threshold a label.

    decision = fit(labels, logits, metric="f1_macro")
    decision.thresholds                 # (0.5, 0.31): the second label is rare
    decision.labels(logits)             # bool [n, labels]
    decision.quality(labels, logits)    # what it gives, on any split

A label is given from its threshold on, whatever the others are. All of it is fitted on
validation. As in `single_label_decision.py` the rule stands twice, in NumPy for reports
and in TensorFlow for the exported graph, and the export compares the two.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special
import tensorflow as tf

from trainer.config import DecisionMetric
from trainer.data import label_sets
from trainer.evaluation import metrics
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.large_sets import blocks, by_row, is_large
from trainer.messages import message
from trainer.tasks import temperature as temperatures
from trainer.tasks.predictions import Predictions
from trainer.tasks.task import Constants, Outputs

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PLAIN_THRESHOLD = 0.5
# A threshold of a label is fitted where so many texts have it, and so many lack it.
MIN_EXAMPLES = 10
_NUM_FOLDS = 10
# A gain counts from so many times its standard error on.
_LEAST_GAIN_IN_ERRORS = 1.645
_NUM_RESAMPLES = 500
_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Decision:
    """How probabilities and labels follow from logits.

    Attributes:
      temperature: what logits are divided by.
      thresholds: one a label, in (0, 1): from this probability on a text gets it.
      split: where it was fitted; None: nowhere, it is what needs no fit.
      warnings: sentences on what was asked for and cannot be given.
      abstain_below: 0; a model that gives any number of labels never abstains.
    """

    temperature: float
    thresholds: tuple[float, ...]
    split: str | None
    warnings: tuple[str, ...] = ()
    abstain_below: float = 0.0

    gives_numbers = False

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Float64 [n, labels], each label's own, of logits [n, labels]."""
        values = np.asarray(logits, np.float64) / self.temperature
        return np.asarray(scipy.special.expit(values))

    def calibrated(self, logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The logits divided by the temperature, of the same dtype."""
        return logits / self.temperature

    def labels(self, logits: npt.ArrayLike) -> BoolArray:
        """Bool [n, labels], those that each text gets."""
        return by_row(
            lambda values: self.choose(self.probabilities(values)), np.asarray(logits)
        )

    def choose(self, probabilities: npt.ArrayLike) -> BoolArray:
        """Bool [n, labels], those that each text gets by probabilities [n, labels]."""
        return np.asarray(np.asarray(probabilities, np.float64) >= self.thresholds)

    def scores(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Float64 [n], the probability that all labels of a text are right.

        The product over the labels, which holds if they are independent given the text.
        """
        values = np.asarray(probabilities, np.float64)
        return np.asarray(
            np.where(self.choose(values), values, 1 - values).prod(axis=1)
        )

    def margins(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Float64 [n], how far the label nearest to its threshold is from it."""
        values = np.asarray(probabilities, np.float64)
        return np.asarray(np.abs(values - self.thresholds).min(axis=1))

    def is_tie(self, probabilities: npt.ArrayLike, *, rounding: float) -> BoolArray:
        """Bool [n], whether probabilities off by `rounding` may give other labels."""
        return np.asarray(self.margins(probabilities) <= rounding)

    def answers(
        self, logits: npt.ArrayLike, *, label_names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """An answer a row: `label`, all of them in words; `score`; `probabilities`."""
        probabilities = self.probabilities(logits)
        return [
            {
                "label": label_sets.name_of(chosen, label_names),
                "score": float(score),
                "probabilities": row.tolist(),
            }
            for row, chosen, score in zip(
                probabilities, self.choose(probabilities), self.scores(probabilities)
            )
        ]

    def labels_told(
        self, outputs: Mapping[str, Any], *, label_names: Sequence[str]
    ) -> BoolArray:
        """Bool [n, labels], `chosen` as `graph_outputs` gives it."""
        del label_names  # Its columns are in their order.
        return np.asarray(outputs["chosen"])

    def with_warning(self, sentence: str) -> Decision:
        """The same decision, with one warning more."""
        return dataclasses.replace(self, warnings=(*self.warnings, sentence))

    def facts(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    def ensemble_logits(self, logits: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The logits of an ensemble: of its models' mean probabilities, a label each.

        As of one label a text (`single_label_decision.py`), the probabilities are
        averaged, not the logits: log(mean p) - log(mean (1 - p)).

        Args:
          logits: of each model, float [n, labels]. Those of a single one are returned as
            they are.
        """
        if len(logits) == 1:
            return logits[0]
        each = np.asarray(logits, np.float64)
        result: FloatArray = scipy.special.logsumexp(
            scipy.special.log_expit(each), axis=0
        ) - scipy.special.logsumexp(scipy.special.log_expit(-each), axis=0)
        return result

    def quality(self, labels: npt.ArrayLike, logits: npt.ArrayLike) -> dict[str, Any]:
        """What the decision gives on a split, JSON-able.

        Returns:
          The keys of `schema.DecisionQuality`; accuracy is of whole texts.
        """
        true, values = np.asarray(labels) > 0, np.asarray(logits)
        given = self.labels(values)
        plain_given = by_row(
            lambda some: self.probabilities(some) >= PLAIN_THRESHOLD, values
        )
        num_right = int(label_sets.is_right(true, given).sum())
        accuracy = num_right / len(true)
        return {
            "num_examples": len(true),
            "before": _calibration_of(true, values, temperature=1.0),
            "after": _calibration_of(true, values, temperature=self.temperature),
            "equal_thresholds": _label_quality(true, plain_given),
            "thresholds": _label_quality(true, given),
            "accuracy": accuracy,
            "coverage": 1.0,
            "accuracy_of_covered": accuracy,
            "accuracy_of_covered_interval_95": wilson_interval(num_right, len(true)),
            "accuracy_of_abstained": None,
        }

    def constants(self) -> Constants:
        """What the graph holds as variables, by name."""
        return {"temperature": self.temperature, "decision_thresholds": self.thresholds}

    def graph_probabilities(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """Float32 [batch, labels], of logits float32 [batch, labels]."""
        return tf.sigmoid(logits / constants["temperature"])

    def graph_ensemble_logits(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """`ensemble_logits` in the graph: float32 [batch, labels], of k of these."""
        if len(logits) == 1:
            return logits[0]
        stacked = tf.stack(logits)
        # As there, by logarithms: a mean of probabilities may be rounded to 0 or 1.
        return _log_sum(-tf.nn.softplus(-stacked)) - _log_sum(-tf.nn.softplus(stacked))

    def graph_chosen(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """The label that is explained: the most probable, int64 [batch]."""
        return tf.argmax(self.graph_probabilities(logits, constants), axis=-1)

    def graph_contrast(
        self, logits: tf.Tensor, constants: Mapping[str, Any], *, chosen: tf.Tensor
    ) -> tf.Tensor:
        """That label's logit over the temperature: the log-odds of its probability."""
        calibrated = logits / constants["temperature"]
        return tf.gather(calibrated, chosen, axis=1, batch_dims=1)

    def graph_outputs(
        self,
        logits: tf.Tensor,
        constants: Mapping[str, Any],
        *,
        label_names: tf.Tensor,
    ) -> Outputs:
        """`probabilities` float32 and `chosen` bool, both [batch, labels]."""
        del label_names  # The manifest names the columns.
        probabilities = self.graph_probabilities(logits, constants)
        return {
            "probabilities": probabilities,
            "chosen": probabilities >= constants["decision_thresholds"],
        }


def _log_sum(values: tf.Tensor) -> tf.Tensor:
    """log(sum(exp)) over the first axis, of LiteRT's own operations."""
    largest = tf.reduce_max(values, axis=0)
    return largest + tf.math.log(tf.reduce_sum(tf.exp(values - largest), axis=0))


def plain(num_labels: int) -> Decision:
    """No temperature; a text gets the labels that are rather so than not."""
    return Decision(1.0, (PLAIN_THRESHOLD,) * num_labels, None)


def fit(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    calibrate: bool = True,
    metric: DecisionMetric = "none",
    split: str = "validation",
    label_names: Sequence[str],
) -> Decision:
    """Fits the temperature, then each threshold where its gain is beyond its error.

    Args:
      labels: number [n, labels], 1 where a text has the label.
      logits: float [n, labels].
      calibrate: whether to fit the temperature; else it is 1.
      metric: what a label's threshold shall make best, of that label; "none": all are
        `PLAIN_THRESHOLD`.
      label_names: for the warnings.
    """
    true, values = np.asarray(labels) > 0, np.asarray(logits, np.float64)
    divisor = fit_temperature(true, values) if calibrate else 1.0
    decision = dataclasses.replace(
        plain(values.shape[1]), temperature=divisor, split=split
    )
    return (
        decision
        if metric == "none"
        else _with_thresholds(decision, true, values, metric, label_names)
    )


def fit_temperature(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """One temperature for all labels, see `temperature.fit`.

    A text counts once, with the mean loss of its labels: they are not so many texts, for
    a model that is too sure of one is so of the others.
    """
    has = np.asarray(labels) > 0
    values = np.where(has, logits, np.negative(logits))

    def loss(log_temperature: float) -> float:
        divisor = math.exp(log_temperature)

        def of_texts(some: npt.NDArray[Any]) -> FloatArray:
            scaled = np.asarray(some, np.float64) / divisor
            return np.asarray(scipy.special.log_expit(scaled).mean(axis=1))

        return float(-by_row(of_texts, values).sum())

    return temperatures.fit(loss)


def flat(logits: npt.ArrayLike, chosen: BoolArray | None = None) -> Predictions:
    """Each text with each label as an example of two classes: 1, it has the label.

    Args:
      logits: float [n, labels].
      chosen: bool [n, labels], the labels that are given; None: those above 0.
    """
    values = np.asarray(logits, np.float64).reshape(-1)
    predicted = (values > 0) if chosen is None else chosen.reshape(-1)
    pairs = np.stack([np.zeros_like(values), values], axis=1)
    return Predictions(pairs, predicted=predicted.astype(np.int64))


def _calibration_of(
    labels: BoolArray, logits: npt.NDArray[Any], *, temperature: float
) -> dict[str, Any]:
    values = metrics.calibration_values(
        (
            labels[rows].reshape(-1).astype(np.int64),
            flat(np.asarray(logits[rows], np.float64) / temperature),
        )
        for rows in blocks(*labels.shape)
    )
    names = ("expected_calibration_error", "loss", "brier_score")
    return {name: values[name] for name in names}


def _label_quality(labels: BoolArray, given: BoolArray) -> dict[str, float]:
    counts = [
        each.sum(axis=0, keepdims=True).astype(np.float64)
        for each in (labels & given, labels, given)
    ]
    num_right, num_true, num_given = (each.sum() for each in counts)
    # Lacking a label, and having it, are the two classes.
    num_both_lack = labels.size - num_true - num_given + num_right
    binary = metrics.metrics_of_counts(
        np.array([[num_both_lack, num_right]]),
        np.array([[labels.size - num_true, num_true]]),
        np.array([[labels.size - num_given, num_given]]),
    )
    return {
        "accuracy": float(label_sets.is_right(labels, given).mean()),
        "f1_macro": float(metrics.macro_averages(*counts)["f1_macro"][0]),
        "mcc": float(binary["mcc"][0]),
    }


# Thresholds.


def _with_thresholds(
    decision: Decision,
    labels: BoolArray,
    logits: FloatArray,
    metric: DecisionMetric,
    label_names: Sequence[str],
) -> Decision:
    """With a threshold of its own for each label that the texts tell enough of.

    The threshold of the best F1 is half of that F1 (Lipton, Elkan and Naryanaswamy 2014,
    "Optimal thresholding of classifiers to maximize F1 measure"), which is below 0.5 for
    most labels; but fitted on a few texts it is overfitted (Fan and Lin 2007, "A study on
    threshold selection for multi-label classification"). So a label that fewer than
    `MIN_EXAMPLES` texts have, or lack, keeps 0.5; and so does one whose gain, on texts
    that the threshold was not fitted on, is not beyond its error.

    Of 60 samples each, with probabilities that are right: how often the threshold moved,
    and the mean gain of the label's F1 on 200,000 texts, by the share of texts that have
    the label; F1 fell for at most 2% of the samples, by 0.03 at most:

        n        100         300         1,000       3,000
        1.4%      0%  .00     2%  .00    52%  .09    87%  .16   (from .11)
        8.9%     13%  .01    45%  .05    78%  .09   100%  .11   (from .38)
        41%       8%  .00    18%  .00    33%  .01    73%  .01   (from .73)
    """
    probabilities = decision.probabilities(logits)
    thresholds, few, unsure = list(decision.thresholds), [], []
    for index in range(labels.shape[1]):
        true, scores = labels[:, index], probabilities[:, index]
        if min(true.sum(), (~true).sum()) < MIN_EXAMPLES:
            few.append(index)
            continue
        found = _threshold(true, scores, metric)
        if found is None:
            unsure.append(index)
        else:
            thresholds[index] = found
    decision = dataclasses.replace(decision, thresholds=tuple(thresholds))
    return _warned(decision, few, unsure, metric, label_names)


def _warned(
    decision: Decision,
    few: Sequence[int],
    unsure: Sequence[int],
    metric: DecisionMetric,
    label_names: Sequence[str],
) -> Decision:
    """With a sentence on the labels, by position, whose thresholds were not moved."""
    for places, rule, received in (
        (
            few,
            f"fits the threshold of a label that {MIN_EXAMPLES} of the "
            f"{decision.split} texts have, and {MIN_EXAMPLES} lack",
            "too few texts",
        ),
        (
            unsure,
            f"moves a label's threshold where the gain on the {decision.split} texts is "
            "beyond its error",
            "no such gain",
        ),
    ):
        if places:
            decision = decision.with_warning(
                message(
                    f"--decision_metric={metric} {rule}",
                    received=f"{received} for {_named(places, label_names)}, of "
                    f"{len(label_names)} labels: the threshold stays {PLAIN_THRESHOLD}",
                    mend="hold out more texts for it, or leave the flag out",
                )
            )
    return decision


def _named(places: Sequence[int], label_names: Sequence[str]) -> str:
    """ "fear, joy and 7 more"."""
    named = ", ".join(label_names[place] for place in places[:_MAX_NAMED])
    rest = len(places) - _MAX_NAMED
    return named + (f" and {rest} more" if rest > 0 else "")


def _threshold(
    labels: BoolArray, scores: FloatArray, metric: DecisionMetric
) -> float | None:
    """A label's threshold; None where no other than 0.5 is shown to be better."""
    # A tenth of the texts after the other, those that have the label dealt out evenly.
    order = np.argsort(labels, kind="stable")
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % _NUM_FOLDS
    given, found = np.zeros_like(labels), []
    for fold in range(_NUM_FOLDS):
        is_out = folds == fold
        found.append(best_threshold(labels[~is_out], scores[~is_out], metric=metric))
        given[is_out] = scores[is_out] >= found[-1]
    plain_given = scores >= PLAIN_THRESHOLD
    ones = np.ones((1, len(labels)))
    gain = _value(metric, ones, labels, given) - _value(
        metric, ones, labels, plain_given
    )
    error = float(np.std(_resampled_gains(metric, labels, given, plain_given)))
    if gain[0] <= _LEAST_GAIN_IN_ERRORS * error:
        return None
    # What the parts found, averaged, changes less from split to split.
    return float(scipy.special.expit(np.mean(scipy.special.logit(found))))


def _resampled_gains(
    metric: DecisionMetric, labels: BoolArray, given: BoolArray, plain_given: BoolArray
) -> FloatArray:
    """What a threshold gains over another in resamples of the texts: float64 [resamples].

    Of many texts the eight kinds of them are weighed: exponential weights of the texts of
    one kind add up to a gamma variate.
    """
    generator = np.random.default_rng(0)
    if is_large(len(labels)):
        counts = np.bincount(labels + 2 * given + 4 * plain_given, minlength=8)
        weights = generator.gamma(counts, size=(_NUM_RESAMPLES, 8))
        kinds = np.arange(8)
        labels, given, plain_given = (kinds & bit > 0 for bit in (1, 2, 4))
    else:
        weights = generator.exponential(size=(_NUM_RESAMPLES, len(labels)))
    return np.asarray(
        _value(metric, weights, labels, given)
        - _value(metric, weights, labels, plain_given)
    )


def best_threshold(
    labels: npt.NDArray[np.bool_], scores: FloatArray, *, metric: DecisionMetric
) -> float:
    """The threshold of the best metric of one label on these texts, in (0, 1).

    Of several equally good ones that nearest to 0.5; between two scores, half-way.

    Args:
      labels: bool [n], whether a text has the label.
      scores: float [n], its probability.
    """
    values = np.unique(np.clip(scores, 1e-6, 1 - 1e-6))
    candidates = np.append((values[1:] + values[:-1]) / 2, PLAIN_THRESHOLD)
    order = np.argsort(scores)
    # From each candidate on, how many texts are given the label, and how many rightly.
    below = np.searchsorted(scores[order], candidates, side="left")
    has_above = labels.sum() - np.append(0, np.cumsum(labels[order]))[below]
    num_given = len(scores) - below
    results = _of_counts(
        metric,
        right=has_above.astype(np.float64),
        given=num_given.astype(np.float64),
        true=float(labels.sum()),
        total=float(len(labels)),
    )
    best = np.flatnonzero(results >= results.max() - 1e-12)
    nearest = np.argmin(np.abs(candidates[best] - PLAIN_THRESHOLD))
    return float(candidates[best][nearest])


def _value(
    metric: DecisionMetric, weights: FloatArray, labels: BoolArray, given: BoolArray
) -> FloatArray:
    """The metric of one label, float64 [resamples]."""
    return _of_counts(
        metric,
        right=weights @ (labels & given),
        given=weights @ given,
        true=weights @ labels,
        total=weights.sum(axis=1),
    )


def _of_counts(
    metric: DecisionMetric, *, right: Any, given: Any, true: Any, total: Any
) -> FloatArray:
    """A label's own F1, accuracy or Matthews correlation; each number or [...]."""
    wrong = given + true - 2 * right
    if metric == "f1_macro":
        return metrics.ratio(2 * right, np.asarray(given + true, np.float64))
    if metric == "accuracy":
        return np.asarray(1 - wrong / total)
    spread = given * (total - given) * true * (total - true)
    return metrics.ratio(total * right - given * true, np.sqrt(np.maximum(spread, 0.0)))

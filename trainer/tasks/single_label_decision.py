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
from typing import Any, Mapping, Sequence, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.special
import tensorflow as tf

from trainer.config import DecisionMetric
from trainer.evaluation import metrics
from trainer.evaluation.comparisons import evenly
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.large_sets import blocks, by_row, is_large
from trainer.messages import message
from trainer.tasks import temperature as temperatures
from trainer.tasks.predictions import Predictions, softmax
from trainer.tasks.task import Constants, Outputs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# The split of a decision that was fitted elsewhere.
GIVEN = "given"
_NUM_PASSES = 2
_MAX_THRESHOLDS = 200
_NUM_FOLDS = 10
# Probabilities that thresholds are fitted on: of 20 classes, those of 200,000 texts.
_MAX_FITTED = 4_000_000
# A gain counts from so many times its standard error on.
_LEAST_GAIN_IN_ERRORS = 1.645
_NUM_RESAMPLES = 500
# How sure the promise of --abstain_accuracy is, each time a score is tried.
_PROMISE_CONFIDENCE = 0.9
_NUM_ABSTAIN_SCORES = 20

_Decision = TypeVar("_Decision", bound="Decision")


@dataclasses.dataclass(frozen=True)
class Decision:
    """How probabilities and a label follow from logits.

    Attributes:
      temperature: what logits are divided by.
      thresholds: one a class, which sum to 1: the label is the class whose probability
        is the largest multiple of its threshold. Of two classes, the second is chosen
        from a probability of its threshold on.
      abstain_below: the model abstains where the label's probability is below.
      split: where it was fitted; `GIVEN`: by --given_decision; None: nowhere, it is
        what needs no fit.
      warnings: sentences on what was asked for and cannot be given.
    """

    temperature: float
    thresholds: tuple[float, ...]
    abstain_below: float
    split: str | None
    warnings: tuple[str, ...] = ()

    gives_numbers = False

    def probabilities(self, logits: npt.ArrayLike) -> FloatArray:
        """Float64 [n, classes], of logits [n, classes]."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def calibrated(self, logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The logits divided by the temperature, of the same dtype."""
        return logits / self.temperature

    def labels(self, logits: npt.ArrayLike) -> IntArray:
        """Int64 [n], the classes chosen."""
        return by_row(
            lambda values: self.choose(self.probabilities(values)), np.asarray(logits)
        )

    def choose(self, probabilities: npt.ArrayLike) -> IntArray:
        """Int64 [n], the classes chosen by probabilities [n, classes]."""
        ratios = np.asarray(probabilities, np.float64) / self.thresholds
        chosen: IntArray = np.argmax(ratios, axis=-1)
        return chosen

    def scores(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Float64 [n], the probability of the class chosen."""
        values = np.asarray(probabilities, np.float64)
        return np.asarray(values[np.arange(len(values)), self.choose(values)])

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

    def labels_told(
        self, outputs: Mapping[str, Any], *, label_names: Sequence[str]
    ) -> IntArray:
        """Int64 [n], of `label`, string [n], as `graph_outputs` gives it."""
        position_of = {name.encode(): i for i, name in enumerate(label_names)}
        told = np.asarray(outputs["label"])
        return np.array([position_of[label] for label in told], np.int64)

    @property
    def numbers(self) -> tuple[float, ...]:
        """What `given` makes the same decision of."""
        return (self.temperature, self.abstain_below, *self.thresholds)

    def with_warning(self: _Decision, sentence: str) -> _Decision:
        """The same decision, with one warning more."""
        return dataclasses.replace(self, warnings=(*self.warnings, sentence))

    def facts(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)

    def ensemble_logits(self, logits: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The logits of an ensemble: the logarithm of its models' mean probability.

        The probabilities are averaged, not the logits (Lakshminarayanan et al. 2017,
        "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        section 2.4). Those of each model are plain: the temperature divides what is
        returned, as it divides the logits of a single model.

        Args:
          logits: of each model, float [n, classes]. Those of a single one are returned
            as they are.
        """
        if len(logits) == 1:
            return logits[0]
        each = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
        result: FloatArray = scipy.special.logsumexp(each, axis=0) - math.log(len(each))
        return result

    def quality(self, labels: npt.ArrayLike, logits: npt.ArrayLike) -> dict[str, Any]:
        """What the decision gives on a split, JSON-able.

        Returns:
          The keys of `schema.DecisionQuality`.
        """
        true, values = np.asarray(labels), np.asarray(logits)
        predicted = self.labels(values)
        is_right = predicted == true
        is_covered = _scores(self, values) >= self.abstain_below
        return {
            "num_examples": len(true),
            "before": _calibration_of(true, values, temperature=1.0),
            "after": _calibration_of(true, values, temperature=self.temperature),
            "equal_thresholds": _label_quality(true, values.argmax(axis=1)),
            "thresholds": _label_quality(true, predicted),
            "accuracy": float(is_right.mean()),
            "coverage": float(is_covered.mean()),
            "accuracy_of_covered": _mean(is_right[is_covered]),
            "accuracy_of_covered_interval_95": (
                wilson_interval(int(is_right[is_covered].sum()), int(is_covered.sum()))
                if is_covered.any()
                else None
            ),
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

    def graph_ensemble_logits(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """`ensemble_logits` in the graph: float32 [batch, classes], of k of these."""
        if len(logits) == 1:
            return logits[0]
        each = tf.nn.log_softmax(tf.stack(logits))
        # tf.reduce_logsumexp asks whether numbers are finite, for which LiteRT has no
        # operation of its own. These are: a probability is not 0 before exp.
        largest = tf.reduce_max(each, axis=0)
        return largest + tf.math.log(tf.reduce_mean(tf.exp(each - largest), axis=0))

    def graph_chosen(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """`labels` in the graph: int64 [batch]."""
        probabilities = self.graph_probabilities(logits, constants)
        return tf.argmax(probabilities / constants["decision_thresholds"], axis=-1)

    def graph_contrast(
        self, logits: tf.Tensor, constants: Mapping[str, Any], *, chosen: tf.Tensor
    ) -> tf.Tensor:
        """The chosen class's logit less the mean of the others', over the temperature.

        Of two classes these are the log-odds of the chosen one's probability.
        """
        calibrated = logits / constants["temperature"]
        own = tf.gather(calibrated, chosen, axis=1, batch_dims=1)
        num_others = logits.shape[-1] - 1
        return own - (tf.reduce_sum(calibrated, axis=-1) - own) / num_others

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
        chosen = self.graph_chosen(logits, constants)
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


def given(numbers: Sequence[float], *, num_classes: int) -> Decision:
    """The decision of these numbers, as `Decision.numbers` gives them.

    Raises:
      ValueError: they are for another number of classes.
    """
    divisor, abstain_below, *thresholds = numbers
    if len(thresholds) != num_classes:
        raise ValueError(
            message(
                f"--given_decision must have a threshold for each of {num_classes} classes",
                received=f"{len(thresholds)} thresholds",
            )
        )
    return Decision(divisor, tuple(thresholds), abstain_below, GIVEN)


def fit(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    calibrate: bool = True,
    metric: DecisionMetric = "none",
    target_accuracy: float = 0.0,
    split: str = "validation",
) -> Decision:
    """Fits what is asked for, one after the other, each with its error in mind.

    Args:
      labels: int [n].
      logits: float [n, classes].
      calibrate: whether to fit the temperature; else it is 1.
      metric: what the thresholds shall make best; "none": they are equal.
      target_accuracy: what share of the texts not abstained from is to be right. 0:
        never abstain.
    """
    true, values = np.asarray(labels), np.asarray(logits)
    fitted = fit_temperature(true, values) if calibrate else 1.0
    decision = dataclasses.replace(
        plain(values.shape[1]), temperature=fitted, split=split
    )
    if metric != "none":
        decision = _with_thresholds(decision, true, values, metric)
    if target_accuracy > 0:
        decision = with_abstaining(decision, true, values, target_accuracy)
    return decision


def fit_temperature(labels: npt.ArrayLike, logits: npt.ArrayLike) -> float:
    """The temperature that the texts speak for, else 1; see `temperature.fit`.

    What share of the loss that the best temperature saves is saved, on average of 150
    samples, where logits are too large or too small by a factor of 2 (2 and 4 classes);
    and what is lost where they are right, of 1 / (2 n), which the likeliest one loses:

        n      20  50  100  200  500  1000  2000
        saved  0%  12% 40%  74%  94%  98%   99%
        lost   .01 .05 .02  .02  .01  .01   .02
    """
    true, values = np.asarray(labels), np.asarray(logits)

    def loss(log_temperature: float) -> float:
        divisor, own = math.exp(log_temperature), np.empty(len(true))
        for rows in blocks(*values.shape):
            some = np.asarray(values[rows], np.float64) / divisor
            log_probabilities = scipy.special.log_softmax(some, axis=1)
            own[rows] = log_probabilities[np.arange(len(some)), true[rows]]
        return float(-own.sum())

    return temperatures.fit(loss)


def _calibration_of(
    labels: Any, logits: npt.NDArray[Any], *, temperature: float
) -> dict[str, Any]:
    values = metrics.calibration_values(
        (
            labels[rows],
            Predictions(np.asarray(logits[rows], np.float64) / temperature),
        )
        for rows in blocks(*logits.shape)
    )
    names = ("expected_calibration_error", "loss", "brier_score")
    return {name: values[name] for name in names}


def _label_quality(labels: IntArray, predicted: IntArray) -> dict[str, float]:
    num_classes = int(max(labels.max(), predicted.max())) + 1
    right, true, given = (
        np.bincount(each, minlength=num_classes).astype(np.float64)
        for each in (labels[labels == predicted], labels, predicted)
    )
    values = metrics.metrics_of_counts(right, true, given)
    return {name: float(values[name]) for name in ("accuracy", "f1_macro", "mcc")}


def _scores(decision: Decision, logits: FloatArray) -> FloatArray:
    """The probability of the label chosen: float64 [n]."""
    return by_row(
        lambda values: decision.scores(decision.probabilities(values)), logits
    )


def _with_thresholds(
    decision: Decision,
    labels: npt.NDArray[Any],
    logits: FloatArray,
    metric: DecisionMetric,
) -> Decision:
    """With other thresholds, where their gain is beyond its error; or a warning.

    The gain is measured on texts that the thresholds were not fitted on: a tenth of
    the texts after the other gets labels by what fits the rest. What the parts found is
    averaged, which changes less from split to split than what fits all texts best. Of
    60 samples of 50 to 1,000 texts, F1 on all texts fell for at most 8%; where one class
    was favoured by a wrong bias, it rose for 25% of those of 50 texts, 58% of 200 and
    all of 1,000, and fell for none.
    """
    probabilities = decision.probabilities(logits)
    folds = _folds(labels)
    predicted = np.zeros_like(labels)
    found = []
    for fold in range(_NUM_FOLDS):
        is_out = folds == fold
        found.append(
            best_thresholds(labels[~is_out], probabilities[~is_out], metric=metric)
        )
        predicted[is_out] = (probabilities[is_out] / found[-1]).argmax(axis=1)
    gain, error = _gain(labels, probabilities.argmax(axis=1), predicted, metric)
    if gain <= _LEAST_GAIN_IN_ERRORS * error:
        return decision.with_warning(
            message(
                f"--decision_metric={metric} moves the thresholds where the gain on the"
                f" {decision.split} texts is beyond its error",
                received=f"a gain of {gain:.3f} with an error of {error:.3f}, on"
                f" {len(labels)} texts: the thresholds stay equal",
                mend="hold out more texts for it, or leave the flag out",
            )
        )
    average = np.exp(np.log(found).mean(axis=0))
    return dataclasses.replace(
        decision, thresholds=tuple((average / average.sum()).tolist())
    )


def _folds(labels: npt.NDArray[Any]) -> IntArray:
    """The part of each text, int64 [n]: a class's texts are dealt out in turn."""
    order = np.argsort(labels, kind="stable")
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % _NUM_FOLDS
    return folds


def _gain(
    labels: npt.NDArray[Any],
    plain_labels: npt.NDArray[Any],
    other_labels: npt.NDArray[Any],
    metric: DecisionMetric,
) -> tuple[float, float]:
    """What other labels gain in the metric, and its standard error by bootstrap."""
    num_classes = 1 + int(max(map(np.max, (labels, plain_labels, other_labels))))

    def gains(weights: FloatArray) -> FloatArray:
        plain_values, values = (
            metrics.label_metrics(weights, labels, predicted, num_classes=num_classes)
            for predicted in (plain_labels, other_labels)
        )
        return values[metric] - plain_values[metric]

    gain = float(gains(np.ones((1, len(labels))))[0])
    generator, is_many = np.random.default_rng(0), is_large(len(labels))
    if is_many:
        # Texts alike in all three weigh together, what their weights add up to.
        kinds, counts = np.unique(
            (labels * num_classes + plain_labels) * num_classes + other_labels,
            return_counts=True,
        )
        kinds, other_labels = np.divmod(kinds, num_classes)
        labels, plain_labels = np.divmod(kinds, num_classes)
    # Few at once, for the sake of memory.
    size = _NUM_RESAMPLES // 20
    resampled = [
        gains(
            generator.gamma(counts, size=(size, len(counts)))
            if is_many
            else generator.exponential(size=(size, len(labels)))
        )
        for _ in range(20)
    ]
    return gain, float(np.std(resampled))


def best_thresholds(
    labels: npt.NDArray[Any], probabilities: FloatArray, *, metric: DecisionMetric
) -> FloatArray:
    """Thresholds of the best metric on these texts: of two classes the best there is.

    Of more, one class after the other is tried against the rest, twice around. Of more
    than 4 million probabilities in all, texts are thinned evenly.

    Args:
      labels: int [n].
      probabilities: [n, classes].

    Returns:
      float64 [classes], which sum to 1.
    """
    num_classes = probabilities.shape[1]
    rows = evenly(np.arange(len(labels)), _MAX_FITTED // num_classes)
    labels, probabilities = labels[rows], probabilities[rows]
    thresholds = np.full(num_classes, 1.0 / num_classes)
    best = -np.inf
    # Of two classes the second one's threshold says all.
    for index in [1] if num_classes == 2 else [*range(num_classes)] * _NUM_PASSES:
        candidates, scores = _swept(labels, probabilities, thresholds, index, metric)
        # The present threshold comes first, and stays unless another gains more than
        # rounding.
        best = max(best, scores[0])
        if scores.max() > best + 1e-9:
            best = scores.max()
            thresholds[index] = candidates[scores.argmax()]
            thresholds /= thresholds.sum()
    return thresholds


def _swept(
    labels: npt.NDArray[Any],
    probabilities: FloatArray,
    thresholds: FloatArray,
    index: int,
    metric: DecisionMetric,
) -> tuple[FloatArray, FloatArray]:
    """Thresholds of one class, the others' as they are, and what each scores.

    A text gets the class up to a threshold of its own, and beyond it its best other
    class. So the counts of all thresholds are sums over the texts in the order of
    these, without a matrix for each.

    Returns:
      Both float64 [candidates], the present threshold first.
    """
    num_classes = probabilities.shape[1]
    ratios = probabilities / thresholds
    own = ratios[:, index].copy()
    ratios[:, index] = -1.0
    other = ratios.argmax(axis=1)
    with np.errstate(divide="ignore"):
        last = thresholds[index] * own / ratios.max(axis=1)
    candidates = np.append(thresholds[index], _between(last))
    rank = candidates.argsort(kind="stable")
    # The text has another label from the candidate of this position on.
    position = np.searchsorted(candidates[rank], last)
    shape = (len(candidates) + 1, num_classes)
    predicted, correct = np.zeros(shape), np.zeros(shape)
    predicted += _counted(position * num_classes + other, shape)
    is_right = labels == other
    correct += _counted((position * num_classes + other)[is_right], shape)
    is_own = labels == index
    correct[:, index] -= np.bincount(position[is_own], minlength=shape[0])
    predicted, correct = predicted.cumsum(axis=0)[:-1], correct.cumsum(axis=0)[:-1]
    predicted[:, index] = len(labels) - predicted.sum(axis=1)
    correct[:, index] += is_own.sum()
    true = np.broadcast_to(np.bincount(labels, minlength=num_classes), correct.shape)
    scores = np.empty(len(candidates))
    scores[rank] = metrics.metrics_of_counts(correct, true, predicted)[metric]
    return candidates, scores


def _counted(cells: npt.NDArray[Any], shape: tuple[int, int]) -> IntArray:
    """How often each cell of a table occurs."""
    counts = np.bincount(cells, minlength=shape[0] * shape[1])
    return np.asarray(counts.reshape(shape))


def _between(values: FloatArray) -> FloatArray:
    """Values half-way between neighbours by their logarithms, at most so many."""
    ends = np.unique(values[(values > 1e-6) & (values < 1e6)])
    middles = np.sqrt(ends[1:] * ends[:-1])
    if len(middles) > _MAX_THRESHOLDS:
        shares = np.linspace(0, len(middles) - 1, _MAX_THRESHOLDS)
        middles = middles[shares.round().astype(int)]
    return np.asarray(middles)


def with_abstaining(
    decision: _Decision, labels: npt.NDArray[Any], logits: FloatArray, target: float
) -> _Decision:
    """With the score below which it abstains; a warning where it always does.

    Args:
      labels: int [n].
      logits: float64 [n, classes].
      target: what share of the texts not abstained from is to be right.
    """
    is_right = decision.labels(logits) == labels
    least = _least_score(_scores(decision, logits), is_right, target)
    decision = dataclasses.replace(decision, abstain_below=least)
    if least < 1.0:
        return decision
    needed = _num_texts_to_promise(target)
    return decision.with_warning(
        message(
            f"--abstain_accuracy={target:g} is promised where a lower confidence bound"
            f" on the {decision.split} texts reaches it",
            received=f"{len(labels)} texts, of which no share of the surest ones does:"
            " the model abstains from every text",
            mend=(
                f"hold out more texts for it (of {needed} at least, all right), or ask"
                " for less"
                if needed
                else "ask for less, such as 0.99: no number promises this"
            ),
        )
    )


def _num_texts_to_promise(target: float) -> int:
    """How many texts are needed if all are right; 0: no number is enough."""
    if target >= 1:
        return 0
    return math.ceil(math.log(1 - _PROMISE_CONFIDENCE) / math.log(target))


def _least_score(
    scores: FloatArray, is_right: npt.NDArray[np.bool_], target: float
) -> float:
    """The least score from which on the target is reached, by a lower bound.

    The bound is Clopper and Pearson's, one-sided (Geifman and El-Yaniv 2017,
    "Selective classification for deep neural networks", bound the risk so). It is
    tried at some scores alone, for of many one passes by luck. So of 60 samples of 50
    to 2,000 texts, 93% to 100% kept targets of 0.8 to 0.95 on all texts.

    Returns:
      0.0 where no text needs to be left out; 1.0 where no score is high enough.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    counts = np.arange(1, len(order) + 1)
    num_right = np.cumsum(is_right[order])
    # A score can only end where the next one is lower.
    is_end = np.append(ranked[:-1] > ranked[1:], True)
    tried = np.linspace(0, len(order), _NUM_ABSTAIN_SCORES + 1)[1:].astype(int) - 1
    # The end of the equal scores that each of these texts is among.
    ends = np.flatnonzero(is_end)
    lasts = ends[np.searchsorted(ends, np.maximum(tried, 0))]
    bounds = scipy.special.betaincinv(
        num_right[lasts], counts[lasts] - num_right[lasts] + 1, 1 - _PROMISE_CONFIDENCE
    )
    fitting = lasts[bounds >= target]
    if not len(fitting):
        return 1.0
    last = fitting[-1]
    if last == len(ranked) - 1:
        return 0.0
    return float((ranked[last] + ranked[last + 1]) / 2)


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None

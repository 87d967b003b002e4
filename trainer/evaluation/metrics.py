"""How good a classifier is: point values, calibration, 95% confidence intervals.

    metrics = classification_metrics(
        labels, predictions, label_names=("negative", "positive"), num_resamples=1000,
        seed=0,
    )
    metrics["accuracy"]                          # 0.823
    metrics["confidence_intervals_95"]["accuracy"]  # [0.798, 0.846]
    score(metrics, "loss")                       # higher is better: -metrics["loss"]

How logits become probabilities and a label is the task's (`tasks/single_label.py`).

Every value is a plain Python number, list or dict, ready for JSON; what is
undefined is None, never NaN. Point values come from scikit-learn where it has
them. `weighted_metrics` states the same metrics over weighted examples, many
weightings at once, which is what makes the bootstrap quick.

Cuts through the examples (by length, the worst errors) are in `slices.py`,
pictures in `figures.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Collection, Iterable, Mapping, NamedTuple, Protocol, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special

from trainer.evaluation import classwise, intervals, large_sets
from trainer.evaluation.classwise import NUM_CALIBRATION_BINS
from trainer.messages import message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# Metrics a checkpoint may be chosen by, and the sign that makes higher better.
SCORE_SIGNS: Mapping[str, float] = {
    "accuracy": 1.0,
    "f1_macro": 1.0,
    "mcc": 1.0,
    "loss": -1.0,
}
# The metrics that are means over examples, as `example_columns` has them.
MEANS = ("loss", "brier_score")
_MACRO_AVERAGES = ("precision_macro", "recall_macro", "f1_macro")
# The ends of a 95% interval.
_ENDS = (0.025, 0.975)
# Of fewer examples no interval but that of a proportion was seen to hold.
_MIN_EXAMPLES = 10
# A mean over classes has no interval where more than this share of the classes have
# fewer examples than this: what the rare ones are worth is unknown.
_MIN_CLASS_EXAMPLES = 5
_MAX_RARE_CLASSES = 0.05
# Numbers held at once by the bootstrap, per array: 4 Mi float64 are 32 MiB.
_MAX_RESAMPLED_NUMBERS = 4 * 1024 * 1024


class ClassPredictions(Protocol):
    """What a model says of n examples, each of one class."""

    @property
    def probabilities(self) -> FloatArray:
        """float64 [n, classes]."""

    @property
    def log_probabilities(self) -> FloatArray:
        """float64 [n, classes], finite also where a probability is rounded to 0."""

    @property
    def predicted(self) -> IntArray:
        """int64 [n], the labels that are given."""

    @property
    def runner_up(self) -> IntArray:
        """int64 [n], the most probable ones besides these."""

    def log_odds(self, index: int) -> FloatArray:
        """log(p / (1 - p)) of class `index`, float64 [n].

        It ranks as the probability does, but without the ties of probabilities that
        have been rounded to 0 or 1.
        """


def score(metrics: Mapping[str, Any], name: str) -> float:
    """The value of metric `name`, turned so that higher is better.

    Raises:
      ValueError: if no checkpoint can be chosen by this metric.
    """
    if name not in SCORE_SIGNS:
        raise ValueError(
            message(
                f"a checkpoint is chosen by one of {', '.join(SCORE_SIGNS)}",
                received=repr(name),
            )
        )
    return SCORE_SIGNS[name] * float(metrics[name])


def classification_metrics(
    labels: npt.ArrayLike,
    predictions: ClassPredictions,
    *,
    label_names: Sequence[str],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """All metrics of one split.

    Macro averages run over the classes that occur, as a label or a prediction;
    there the precision of a class never predicted, and the recall of one that
    only predictions hold, count as 0 (scikit-learn's default). MCC is 0 where
    labels or predictions are all of one class.

    Args:
      labels: int [n], each in [0, classes).
      predictions: of the same n examples.
      label_names: the classes' names, in the order of the probabilities.
      num_resamples: bootstrap resamples behind each interval; 0: no intervals.
      seed: of the resamples.

    Returns:
      A dict ready for JSON:
      - num_examples; majority_class_accuracy: always answering the commonest class.
      - loss: mean negative log-likelihood, in nats.
      - accuracy, precision_macro, recall_macro, f1_macro, mcc.
      - roc_auc: of class 1 for two classes, else the mean over the classes, each
        against the rest; None if a class has no example.
      - brier_score: mean over examples of the squared distance between the
        probabilities and the one-hot label, summed over the classes (Brier 1950,
        "Verification of forecasts expressed in terms of probability"): 0
        is perfect, 2 the worst; twice the form often used for two classes.
      - expected_calibration_error: mean distance of accuracy and confidence over
        15 equal-width bins of confidence (Guo et al. 2017, eq. 3).
      - reliability: those bins, lower < confidence <= upper: lower, upper, count,
        mean_confidence, accuracy (both None in an empty bin).
      - per_class: name → what `classwise.class_scores` says of it.
      - top_k: how often the label is among the likeliest, see `classwise.top_k`.
      - confusion_matrix: counts [classes][classes], rows true, columns predicted.
      - confidence_intervals_95: metric → [low, high]; see `bootstrap_intervals`.

    Raises:
      ValueError: for no examples, or arrays that do not fit together.
    """
    label_array = _checked(labels, predictions, label_names)
    num_examples = len(label_array)
    area = _area(label_array, predictions)
    return {
        "num_examples": num_examples,
        **_point_values(label_array, predictions, area),
        "majority_class_accuracy": float(np.bincount(label_array).max() / num_examples),
        "per_class": _per_class(label_array, predictions, label_names),
        "top_k": _top_k(label_array, predictions),
        "confusion_matrix": _confusion_matrix(label_array, predictions).tolist(),
        "reliability": reliability_bins(label_array, predictions),
        "confidence_intervals_95": _intervals(
            label_array, predictions, area, num_resamples=num_resamples, seed=seed
        ),
    }


def point_values(
    labels: IntArray, predictions: ClassPredictions
) -> dict[str, float | None]:
    """The metrics that have an interval, for examples that all weigh the same.

    Args:
      labels: int [n].
      predictions: of the same n examples.
    """
    return _point_values(labels, predictions, _area(labels, predictions))


def _point_values(
    labels: IntArray, predictions: ClassPredictions, area: intervals.Area | None
) -> dict[str, float | None]:
    predicted = predictions.predicted
    precision, recall, f1, _ = _scikit_learn().precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    calibration = calibration_values([(labels, predictions)])
    return {
        "loss": calibration["loss"],
        "accuracy": float(_scikit_learn().accuracy_score(labels, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "mcc": _mcc(labels, predicted),
        "roc_auc": area.value if area else None,
        "brier_score": calibration["brier_score"],
        "expected_calibration_error": calibration["expected_calibration_error"],
    }


def calibration_values(
    parts: Iterable[tuple[IntArray, ClassPredictions]],
) -> dict[str, Any]:
    """What probabilities alone decide; values as of `classification_metrics`.

    Args:
      parts: labels int [n] and predictions of the same n examples; of some examples
        after the other, so that few are held at a time. At least one in all.

    Returns:
      loss, brier_score, expected_calibration_error; and reliability, the bins.
    """
    num_examples, loss, squares = 0, 0.0, 0.0
    bins = np.zeros((3, NUM_CALIBRATION_BINS))
    for labels, predictions in parts:
        num_examples += len(labels)
        loss += float(_losses(labels, predictions).sum())
        squares += float(_squared_errors(labels, predictions).sum())
        bins += _sums_of_bins(labels, predictions)
    reliability = _reliability(bins)
    return {
        "loss": loss / num_examples,
        "brier_score": squares / num_examples,
        "expected_calibration_error": _expected_calibration_error(reliability),
        "reliability": reliability,
    }


def weighted_metrics(
    weights: npt.NDArray[Any], labels: IntArray, predictions: ClassPredictions
) -> dict[str, FloatArray]:
    """The metrics of `point_values` but ROC AUC, for many weightings at once.

    Args:
      weights: number [resamples, n], not negative: how often each example counts.
      labels: int [n].
      predictions: of the same n examples.

    Returns:
      Metric name → float64 [resamples].
    """
    return _values_of_sums(_Examples(labels, predictions).weighted(weights))


class _Sums(NamedTuple):
    """Weighted sums over examples, from which metrics follow, [resamples, ...].

    Attributes:
      columns: of `example_columns`.
      drawn_total: weights of all examples, where the columns are drawn by others than
        the classes, [resamples].
      correct, true, given: weights of the examples that are right, have, and are given
        each class, [resamples, classes].
    """

    columns: FloatArray
    drawn_total: FloatArray | None
    correct: FloatArray
    true: FloatArray
    given: FloatArray

    @property
    def total(self) -> FloatArray:
        """Weights of all examples, of which the columns are, [resamples]."""
        if self.drawn_total is None:
            return np.asarray(self.true.sum(axis=1))
        return self.drawn_total


class _Examples:
    """What is resampled: each example. Weights are drawn as of `draw`."""

    def __init__(self, labels: IntArray, predictions: ClassPredictions) -> None:
        self.num_drawn = len(labels)
        self._columns = example_columns(labels, predictions)
        self._of_classes = _class_columns(
            labels,
            predictions.predicted,
            num_classes=predictions.probabilities.shape[1],
        )

    def draw(self, size: int, generator: np.random.Generator) -> _Sums:
        """Sums of resamples, in Rubin's way."""
        weights = generator.gamma(
            weight_shape(self.num_drawn), size=(size, self.num_drawn)
        )
        return self.weighted(weights)

    def weighted(self, weights: npt.NDArray[Any]) -> _Sums:
        """Sums of weightings, number [resamples, n]."""
        of_classes = [weights @ columns for columns in self._of_classes]
        return _Sums(weights @ self._columns, None, *of_classes)

    def observed(self) -> _Sums:
        """Sums of the examples as they are, of one resample."""
        return self.weighted(np.ones((1, self.num_drawn)))


class _ManyExamples:
    """The same of more examples than are drawn one by one.

    The weights of examples of one label and answer add up to a weight that has a gamma
    distribution as well, so that the table of labels and answers is drawn as it would
    be from single examples. What is a mean over examples is drawn by groups of them
    (`large_sets.py`).
    """

    def __init__(
        self, labels: IntArray, predictions: ClassPredictions, *, seed: int
    ) -> None:
        num_classes = predictions.probabilities.shape[1]
        cells, self._counts = np.unique(
            labels * num_classes + predictions.predicted, return_counts=True
        )
        self._of_classes = _class_columns(
            cells // num_classes, cells % num_classes, num_classes=num_classes
        )
        self._num_examples = len(labels)
        self._groups = large_sets.deal(len(labels), seed=seed)
        self._columns = self._of_groups(labels, predictions)
        self.num_drawn = max(large_sets.NUM_GROUPS, len(cells))

    def _of_groups(self, labels: IntArray, predictions: ClassPredictions) -> FloatArray:
        """What the examples of each group add to the columns, [groups, means + bins]."""
        confidence, is_correct, bin_of_example = _binned(labels, predictions)
        cells = self._groups.numbers * NUM_CALIBRATION_BINS + bin_of_example
        gaps = np.bincount(
            cells,
            is_correct - confidence,
            minlength=large_sets.NUM_GROUPS * NUM_CALIBRATION_BINS,
        )
        means = [
            self._groups.sums(values(labels, predictions))
            for values in (_losses, _squared_errors)
        ]
        return np.column_stack([*means, gaps.reshape(large_sets.NUM_GROUPS, -1)])

    def draw(self, size: int, generator: np.random.Generator) -> _Sums:
        """Sums of resamples, in Rubin's way."""
        shape = weight_shape(self._num_examples)
        # Row by row, for parts of any size to get the same.
        drawn = [
            (
                generator.gamma(shape, size=large_sets.NUM_GROUPS),
                generator.gamma(shape * self._counts),
            )
            for _ in range(size)
        ]
        weights, of_cells = (np.stack(each) for each in zip(*drawn))
        return self._sums(weights, of_cells)

    def observed(self) -> _Sums:
        """Sums of the examples as they are, of one resample."""
        return self._sums(np.ones((1, large_sets.NUM_GROUPS)), self._counts[np.newaxis])

    def _sums(self, weights: FloatArray, of_cells: npt.NDArray[Any]) -> _Sums:
        return _Sums(
            weights @ self._columns,
            weights @ self._groups.sizes,
            *(of_cells @ columns for columns in self._of_classes),
        )


def _values_of_sums(sums: _Sums) -> dict[str, FloatArray]:
    num_means, total = len(MEANS), sums.total
    means = sums.columns[:, :num_means] / total[:, np.newaxis]
    gaps = np.abs(sums.columns[:, num_means:])
    return {
        **dict(zip(MEANS, means.T)),
        "expected_calibration_error": gaps.sum(axis=1) / total,
        **metrics_of_counts(sums.correct, sums.true, sums.given),
    }


def example_columns(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """What each example adds to the sums of the means and of each bin's gap.

    Returns:
      float64 [n, means + bins].
    """
    return np.column_stack(
        [
            _losses(labels, predictions),
            _squared_errors(labels, predictions),
            _gaps_by_bin(labels, predictions),
        ]
    )


def _mean_columns(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """The means of `example_columns`, float64 [means + bins]."""
    if not large_sets.is_large(len(labels)):
        return np.asarray(example_columns(labels, predictions).mean(axis=0))
    confidence, is_correct, bin_of_example = _binned(labels, predictions)
    gaps = np.bincount(
        bin_of_example, is_correct - confidence, minlength=NUM_CALIBRATION_BINS
    )
    means = [
        values(labels, predictions).mean() for values in (_losses, _squared_errors)
    ]
    return np.append(means, gaps / len(labels))


def label_metrics(
    weights: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    predicted: npt.NDArray[Any],
    *,
    num_classes: int,
) -> dict[str, FloatArray]:
    """The metrics that labels alone decide, for many weightings of the examples.

    Args:
      weights: number [resamples, n], not negative.
      labels, predicted: int [n].

    Returns:
      Metric name → float64 [resamples].
    """
    return metrics_of_counts(
        *(
            weights @ one_hot
            for one_hot in _class_columns(labels, predicted, num_classes=num_classes)
        )
    )


def _class_columns(
    labels: npt.NDArray[Any], predicted: npt.NDArray[Any], *, num_classes: int
) -> tuple[Any, Any, Any]:
    """Which examples are predicted right, have, and are given each class.

    Returns:
      Three sparse matrices [n, classes] of 0 and 1: of a thousand classes a product with
      them costs no more than of two.
    """
    import scipy.sparse

    rows = np.arange(len(labels))
    is_right = (labels == predicted).astype(np.float64)
    ones = np.ones(len(labels))
    correct, true, given = (
        scipy.sparse.csr_array((values, (rows, columns)), (len(labels), num_classes))
        for values, columns in ((is_right, labels), (ones, labels), (ones, predicted))
    )
    return correct, true, given


def bootstrap_intervals(
    labels: IntArray, predictions: ClassPredictions, *, num_resamples: int, seed: int
) -> dict[str, list[float]]:
    """95% intervals, most of them by the Bayesian bootstrap (Rubin 1981).

    - accuracy: Wilson's, as wherever a proportion is shown.
    - roc_auc: `intervals.area_interval`.
    - others: examples get random weights, and percentiles of the metrics are taken,
      twice: of the examples as they are, and with some more, half of them right, half
      wrong. The interval reaches from the lower of the two low ends to the higher of the
      high ones. So it never closes where no error was seen; for a proportion and one
      more of each kind it is Clopper and Pearson's. Weights are as wide
      as Student's t is wider than the normal distribution.
    - macro averages: the high end is freed of the resamples' bias, which is downwards:
      of a rare class they hold even fewer examples.
    - expected_calibration_error: of its high end, the resamples' bias is taken off
      (Roelofs et al. 2022, "Mitigating bias in calibration error estimation"). Its low
      end is the value less what noise alone would give, for a mean of absolute values
      grows with noise.

    Of more than 65,536 examples neither weights nor time grow any further: see
    `_ManyExamples`.

    Absent, because the examples say too little: all but accuracy, for fewer than 10
    examples; the macro averages and roc_auc, if fewer than 5 examples have the class
    for more than a 20th of the classes.

    How often they hold, in percent: the least over 2, 4 and 10 classes, even and uneven,
    accuracies from chance to 0.99, temperatures of 0.4 to 4, each of 300 samples (so
    that 95 may be seen as 92). Absent ones are not counted. The tests simulate it too.

        n    precision recall F1 MCC AUC loss Brier calibration accuracy (Wilson)
        20       95      94   94  94  96   93    95      96        90
        50       93      94   94  93  93   94    93      97        91
        100      94      93   94  94  93   92    93      96        91
        500      94      92   93  94  94   93    93      97        95

    Args:
      labels: int [n].
      predictions: of the same n examples.
      num_resamples: how many; 0: no intervals.
      seed: of NumPy's default generator.

    Returns:
      Metric name → [low, high]. Empty for 0 resamples.
    """
    return _intervals(
        labels,
        predictions,
        _area(labels, predictions) if num_resamples else None,
        num_resamples=num_resamples,
        seed=seed,
    )


def _intervals(
    labels: IntArray,
    predictions: ClassPredictions,
    area: intervals.Area | None,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, list[float]]:
    if not num_resamples:
        return {}
    num_correct = int((predictions.predicted == labels).sum())
    found = {"accuracy": intervals.wilson_interval(num_correct, len(labels))}
    unknown = _unknown(labels, num_classes=predictions.probabilities.shape[1])
    if "loss" not in unknown:
        found |= _resampled_intervals(labels, predictions, num_resamples, seed)
    if area and "roc_auc" not in unknown:
        found["roc_auc"] = intervals.area_interval(area)
    return {name: list(ends) for name, ends in found.items() if name not in unknown}


def _unknown(labels: IntArray, *, num_classes: int) -> Collection[str]:
    """The metrics of which examples of these labels say too little."""
    averages = (*_MACRO_AVERAGES, "roc_auc")
    if len(labels) < _MIN_EXAMPLES:
        return (*averages, *MEANS, "mcc", "expected_calibration_error")
    counts = np.bincount(labels, minlength=num_classes)
    is_rare = counts < _MIN_CLASS_EXAMPLES
    return averages if is_rare.mean() > _MAX_RARE_CLASSES else ()


def _resampled_intervals(
    labels: IntArray, predictions: ClassPredictions, num_resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    """Intervals of all metrics of `_values_of_sums` but accuracy."""
    generators = np.random.default_rng(seed).spawn(3)
    examples = _examples(labels, predictions, seed=seed)
    plain, smoothed = _resampled(examples, predictions, num_resamples, generators)
    sums = examples.observed()
    observed = {name: float(value) for name, (value,) in _values_of_sums(sums).items()}
    noise = _calibration_noise(labels, predictions, num_resamples, generators[2])
    found = {
        name: _outer_ends(plain[name], smoothed[name])
        for name in (*MEANS, *_MACRO_AVERAGES, "mcc")
    }
    for name in _MACRO_AVERAGES:
        low, high = found[name]
        bias = min(0.0, float(plain[name].mean()) - observed[name])
        found[name] = low, min(1.0, high - bias)
    name = "expected_calibration_error"
    bias = max(0.0, float(smoothed[name].mean()) - observed[name])
    low = observed[name] - float(np.quantile(noise, _ENDS[1]))
    high = float(np.quantile(smoothed[name], _ENDS[1])) - bias
    return {**found, name: (max(0.0, low), max(observed[name], high))}


def _outer_ends(*resamples: FloatArray) -> tuple[float, float]:
    """The outer ones of the ends of several percentile intervals."""
    ends = np.quantile(resamples, _ENDS, axis=1)
    return float(ends[0].min()), float(ends[1].max())


def _examples(
    labels: IntArray, predictions: ClassPredictions, *, seed: int
) -> _Examples | _ManyExamples:
    """What is resampled of them."""
    if large_sets.is_large(len(labels)):
        return _ManyExamples(labels, predictions, seed=seed)
    return _Examples(labels, predictions)


def _resampled(
    examples: _Examples | _ManyExamples,
    predictions: ClassPredictions,
    num_resamples: int,
    generators: Sequence[np.random.Generator],
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Metrics of resamples, without and with some right and wrong examples more.

    Of two classes there is one more of each kind, of k classes sqrt(k / 2): fewer do
    too little for the mean over rare classes, and one for each class would drown what is
    known of many. They are spread evenly over the classes, and are as sure as the mean
    of the examples is. A wrong one is given the next class: which, no metric tells.
    """
    num_classes = predictions.probabilities.shape[1]
    right, wrong = (
        _mean_columns(given, predictions)
        for given in (predictions.predicted, predictions.runner_up)
    )
    largest = max(examples.num_drawn, num_classes)
    num_at_once = max(1, _MAX_RESAMPLED_NUMBERS // largest)
    parts: list[tuple[dict[str, FloatArray], dict[str, FloatArray]]] = []
    for start in range(0, num_resamples, num_at_once):
        size = min(num_at_once, num_resamples - start)
        sums = examples.draw(size, generators[0])
        # One draw for both, so that parts of any size get the same.
        more = generators[1].gamma(
            (2 * num_classes) ** -0.5, size=(size, 2, num_classes)
        )
        more_right, more_wrong, total = more[:, 0], more[:, 1], sums.drawn_total
        smoothed = _Sums(
            sums.columns
            + more_right.sum(axis=1, keepdims=True) * right
            + more_wrong.sum(axis=1, keepdims=True) * wrong,
            total if total is None else total + more.sum(axis=(1, 2)),
            sums.correct + more_right,
            sums.true + more_right + more_wrong,
            sums.given + more_right + np.roll(more_wrong, 1, axis=1),
        )
        parts.append((_values_of_sums(sums), _values_of_sums(smoothed)))
    plain_parts, smoothed_parts = zip(*parts)
    return _joined(plain_parts), _joined(smoothed_parts)


def _joined(parts: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def weight_shape(num_examples: int) -> float:
    """The shape of weights drawn from a gamma distribution, 1 for many examples.

    With 1 it is Rubin's bootstrap, whose variance is (n - 1) / (n + 1) of the usual
    estimate; smaller, it makes up for that and for Student's wider distribution.
    """
    student = scipy.special.stdtrit(num_examples - 1, _ENDS[1])
    normal = scipy.special.ndtri(_ENDS[1])
    return float((normal / student) ** 2 * (num_examples - 1) / (num_examples + 1))


def _calibration_noise(
    labels: IntArray,
    predictions: ClassPredictions,
    num_resamples: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Calibration errors that chance alone gives, [resamples].

    In each bin the number of right ones is off by a normal deviate, whose variance is
    that of the confidences or that of the bin's accuracy, whichever is larger.
    """
    confidence, is_correct, bin_of_example = _binned(labels, predictions)
    count, num_correct, variance = (
        np.bincount(bin_of_example, values, minlength=NUM_CALIBRATION_BINS)
        for values in (
            np.ones(len(labels)),
            is_correct.astype(np.float64),
            confidence * (1 - confidence),
        )
    )
    accuracy = (num_correct + 1) / (count + 2)
    deviation = np.sqrt(np.maximum(variance, count * accuracy * (1 - accuracy)))
    draws = generator.normal(size=(num_resamples, NUM_CALIBRATION_BINS))
    return np.asarray(np.abs(draws * deviation).sum(axis=1) / len(labels))


def reliability_bins(
    labels: IntArray, predictions: ClassPredictions
) -> list[dict[str, Any]]:
    """Equal-width bins of confidence, the probability of the predicted class.

    Returns:
      A dict a bin: lower, upper, count, mean_confidence, accuracy.
    """
    return _reliability(_sums_of_bins(labels, predictions))


def _sums_of_bins(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """Of each bin the examples, their confidences, the right ones: [3, bins]."""
    confidence, is_correct, bin_of_example = _binned(labels, predictions)
    sums = np.zeros((3, NUM_CALIBRATION_BINS))
    for index in range(NUM_CALIBRATION_BINS):
        inside = bin_of_example == index
        sums[:, index] = (
            inside.sum(),
            confidence[inside].sum(),
            is_correct[inside].sum(),
        )
    return sums


def _reliability(sums: FloatArray) -> list[dict[str, Any]]:
    """The bins, as `reliability_bins`, of sums as `_sums_of_bins` gives them."""
    edges = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)
    bins = []
    for index, (count, confidence, num_correct) in enumerate(sums.T.tolist()):
        bins.append(
            {
                "lower": float(edges[index]),
                "upper": float(edges[index + 1]),
                "count": int(count),
                "mean_confidence": confidence / count if count else None,
                "accuracy": num_correct / count if count else None,
            }
        )
    return bins


def _gaps_by_bin(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """Each example's correctness less confidence, in its bin's column, [n, bins]."""
    confidence, is_correct, bin_of_example = _binned(labels, predictions)
    in_bin = bin_of_example[:, np.newaxis] == np.arange(NUM_CALIBRATION_BINS)
    return np.asarray(in_bin * (is_correct - confidence)[:, np.newaxis])


def _binned(
    labels: IntArray, predictions: ClassPredictions
) -> tuple[FloatArray, npt.NDArray[np.bool_], IntArray]:
    """Confidence, whether the prediction is right, and the bin, each [n]."""
    rows = np.arange(len(labels))
    confidence = predictions.probabilities[rows, predictions.predicted]
    is_correct = predictions.predicted == labels
    inner_edges = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)[1:-1]
    return confidence, is_correct, np.digitize(confidence, inner_edges, right=True)


def _checked(
    labels: npt.ArrayLike, predictions: ClassPredictions, label_names: Sequence[str]
) -> IntArray:
    """labels as int64 [n], or ValueError."""
    label_array = np.asarray(labels)
    if not label_array.size:
        raise ValueError(
            message("metrics need at least one example", received="no labels")
        )
    if label_array.ndim != 1 or label_array.dtype.kind not in "iu":
        raise ValueError(
            message(
                "labels must be integers of shape [n]",
                received=f"shape={label_array.shape}, dtype={label_array.dtype}",
            )
        )
    num_classes = len(label_names)
    if num_classes < 2 or len(set(label_names)) < num_classes:
        raise ValueError(
            message(
                "label_names must be two different names or more", received=label_names
            )
        )
    shape = predictions.probabilities.shape
    if shape != (len(label_array), num_classes):
        raise ValueError(
            message(
                f"logits must have the shape [{len(label_array)}, {num_classes}]: "
                "labels, label_names",
                received=f"shape={shape}",
            )
        )
    if label_array.min() < 0 or label_array.max() >= num_classes:
        raise ValueError(
            message(
                f"labels must be in 0 to {num_classes - 1}",
                received=f"{label_array.min()} to {label_array.max()}",
            )
        )
    return label_array.astype(np.int64)


def _losses(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """Negative log-likelihood of each example, [n], in nats."""
    rows = np.arange(len(labels))
    return np.asarray(-predictions.log_probabilities[rows, labels])


def _squared_errors(labels: IntArray, predictions: ClassPredictions) -> FloatArray:
    """Brier's score of each example, [n], in 0 to 2."""
    probabilities = predictions.probabilities
    result = np.empty(len(labels))
    for rows in large_sets.blocks(*probabilities.shape):
        errors = probabilities[rows].copy()
        errors[np.arange(len(errors)), labels[rows]] -= 1.0
        result[rows] = (errors**2).sum(axis=1)
    return result


def _scikit_learn() -> Any:
    """Its metrics, imported at their first use: a second sooner a run is resumed."""
    import sklearn.metrics

    return sklearn.metrics


def _ranked_classes(predictions: ClassPredictions) -> range:
    """The classes whose ROC curves count: of two, one says all."""
    num_classes = predictions.probabilities.shape[1]
    return range(1, 2) if num_classes == 2 else range(num_classes)


def _area(labels: IntArray, predictions: ClassPredictions) -> intervals.Area | None:
    """The macro ROC AUC; None if a class has no example."""
    if len(np.unique(labels)) < predictions.probabilities.shape[1]:
        return None
    return intervals.macro_area(
        labels, predictions.log_odds, classes=_ranked_classes(predictions)
    )


def _mcc(labels: IntArray, predicted: IntArray) -> float:
    # scikit-learn gives 0 here too, but warns if the labels are of that class alone.
    if len(np.unique(predicted)) == 1:
        return 0.0
    return float(_scikit_learn().matthews_corrcoef(labels, predicted))


def _confusion_matrix(labels: IntArray, predictions: ClassPredictions) -> IntArray:
    return np.asarray(
        _scikit_learn().confusion_matrix(
            labels,
            predictions.predicted,
            labels=np.arange(predictions.probabilities.shape[1]),
        )
    )


def _per_class(
    labels: IntArray, predictions: ClassPredictions, label_names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    scores = classwise.class_scores(
        labels,
        predictions.predicted,
        predictions.probabilities,
        label_names=label_names,
    )
    return {name: _for_json(each) for name, each in scores.items()}


def _top_k(labels: IntArray, predictions: ClassPredictions) -> list[dict[str, Any]]:
    found = classwise.top_k(labels, predictions.log_probabilities)
    return [_for_json(each) for each in found]


def _for_json(row: Any) -> dict[str, Any]:
    """A dataclass of numbers and of intervals."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(row).items()
    }


def _expected_calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    filled = [each for each in bins if each["count"]]
    gaps = [
        each["count"] * abs(each["accuracy"] - each["mean_confidence"])
        for each in filled
    ]
    return float(sum(gaps) / sum(each["count"] for each in filled))


def metrics_of_counts(
    correct: FloatArray, true: npt.NDArray[Any], predicted: FloatArray
) -> dict[str, FloatArray]:
    """The metrics that labels alone decide, of the classes' counts or weights.

    Args:
      correct: predicted right, [..., classes].
      true: that have the class, [..., classes].
      predicted: that are given the class, [..., classes].

    Returns:
      Metric name → float64 [...].
    """
    total = true.sum(axis=-1)
    return {
        "accuracy": correct.sum(axis=-1) / total,
        **macro_averages(correct, true, predicted),
        "mcc": _mcc_of_sums(correct.sum(axis=-1), true, predicted),
    }


def macro_averages(
    correct: FloatArray, true: npt.NDArray[Any], predicted: FloatArray
) -> dict[str, FloatArray]:
    """Means over the classes that occur, 0 where none does; as `metrics_of_counts`."""
    num_occurring = np.maximum(np.count_nonzero(true + predicted, axis=-1), 1)
    return {
        "precision_macro": ratio(correct, predicted).sum(axis=-1) / num_occurring,
        "recall_macro": ratio(correct, true).sum(axis=-1) / num_occurring,
        "f1_macro": ratio(2 * correct, true + predicted).sum(axis=-1) / num_occurring,
    }


def _mcc_of_sums(
    correct: FloatArray, true: FloatArray, predicted: FloatArray
) -> FloatArray:
    """Matthews correlation for any number of classes (Gorodkin 2004).

    Args:
      correct: weight of the examples predicted right, [...].
      true, predicted: weight of each class, [..., classes].
    """
    total = true.sum(axis=-1)
    spread_true = total**2 - (true**2).sum(axis=-1)
    spread_predicted = total**2 - (predicted**2).sum(axis=-1)
    covariance = total * correct - (true * predicted).sum(axis=-1)
    # Rounding may put a spread of 0 below it.
    product = np.maximum(spread_true, 0.0) * np.maximum(spread_predicted, 0.0)
    return ratio(covariance, np.sqrt(product))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, 0 where the denominator is 0."""
    zeros = np.zeros_like(denominator, dtype=np.float64)
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)

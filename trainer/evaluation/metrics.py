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

import collections
from typing import Any, Mapping, Protocol, Sequence

import numpy as np
import numpy.typing as npt

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
# Guo et al. 2017, "On Calibration of Modern Neural Networks", use 15 bins.
NUM_CALIBRATION_BINS = 15
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
      - per_class: name → precision (None if never predicted), recall (None
        without examples), f1 (None if neither), support.
      - confusion_matrix: counts [classes][classes], rows true, columns predicted.
      - confidence_intervals_95: metric → [low, high]; see `bootstrap_intervals`.

    Raises:
      ValueError: for no examples, or arrays that do not fit together.
    """
    label_array = _checked(labels, predictions, label_names)
    num_examples = len(label_array)
    return {
        "num_examples": num_examples,
        **point_values(label_array, predictions),
        "majority_class_accuracy": float(np.bincount(label_array).max() / num_examples),
        "per_class": _per_class(label_array, predictions, label_names),
        "confusion_matrix": _confusion_matrix(label_array, predictions).tolist(),
        "reliability": reliability_bins(label_array, predictions),
        "confidence_intervals_95": bootstrap_intervals(
            label_array, predictions, num_resamples=num_resamples, seed=seed
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
    predicted = predictions.predicted
    precision, recall, f1, _ = _scikit_learn().precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    return {
        "loss": float(_losses(labels, predictions).mean()),
        "accuracy": float(_scikit_learn().accuracy_score(labels, predicted)),
        "precision_macro": float(precision),
        "recall_macro": float(recall),
        "f1_macro": float(f1),
        "mcc": _mcc(labels, predicted),
        "roc_auc": _roc_auc(labels, predictions),
        "brier_score": float(_squared_errors(labels, predictions).mean()),
        "expected_calibration_error": _expected_calibration_error(
            reliability_bins(labels, predictions)
        ),
    }


def weighted_metrics(
    weights: npt.NDArray[Any], labels: IntArray, predictions: ClassPredictions
) -> dict[str, FloatArray]:
    """The metrics of `point_values`, for many weightings of the examples at once.

    Args:
      weights: number [resamples, n], not negative: how often each example counts.
      labels: int [n].
      predictions: of the same n examples.

    Returns:
      Metric name → float64 [resamples]; ROC AUC is NaN where one class alone has
      weight, and leaves out classes without weight.
    """
    total = weights.sum(axis=1)
    return {
        "loss": weights @ _losses(labels, predictions) / total,
        "brier_score": weights @ _squared_errors(labels, predictions) / total,
        "roc_auc": _weighted_roc_auc(weights, labels, predictions),
        "expected_calibration_error": np.abs(
            weights @ _gaps_by_bin(labels, predictions)
        ).sum(axis=1)
        / total,
        **metrics_of_confusion(_weighted_confusion(weights, labels, predictions)),
    }


def bootstrap_intervals(
    labels: IntArray, predictions: ClassPredictions, *, num_resamples: int, seed: int
) -> dict[str, list[float]]:
    """95% intervals by the percentile bootstrap over examples (Efron 1979).

    Metrics without a point value have no interval. The calibration error, a mean of
    absolute values, grows with noise, so that its resamples lie above it (Roelofs et
    al. 2022, "Mitigating bias in calibration error estimation"): its interval is
    moved down by the bootstrap's estimate of that bias, their mean less the point
    value (Efron and Tibshirani 1993, chapter 10), but not below 0.

    Args:
      labels: int [n].
      predictions: of the same n examples.
      num_resamples: how many; 0: no intervals.
      seed: of NumPy's default generator.

    Returns:
      Metric name → [low, high]. Empty for 0 resamples.
    """
    generator = np.random.default_rng(seed)
    num_examples, num_classes = predictions.probabilities.shape
    num_at_once = max(1, _MAX_RESAMPLED_NUMBERS // max(num_examples, num_classes**2))
    resampled = collections.defaultdict(list)
    for start in range(0, num_resamples, num_at_once):
        size = min(num_at_once, num_resamples - start)
        weights = _resample_counts(generator, size=size, num_examples=num_examples)
        for name, values in weighted_metrics(weights, labels, predictions).items():
            resampled[name].append(values)
    intervals = {}
    for name, point_value in point_values(labels, predictions).items():
        values = np.concatenate(resampled[name] or [np.empty(0)])
        values = values[~np.isnan(values)]
        if name == "expected_calibration_error" and len(values):
            values = np.maximum(values - (values.mean() - (point_value or 0.0)), 0.0)
        if point_value is not None and len(values):
            intervals[name] = np.percentile(values, (2.5, 97.5)).tolist()
    return intervals


def reliability_bins(
    labels: IntArray, predictions: ClassPredictions
) -> list[dict[str, Any]]:
    """Equal-width bins of confidence, the probability of the predicted class.

    Returns:
      A dict a bin: lower, upper, count, mean_confidence, accuracy.
    """
    confidence, is_correct, bin_of_example = _binned(labels, predictions)
    edges = np.linspace(0.0, 1.0, NUM_CALIBRATION_BINS + 1)
    bins = []
    for index in range(NUM_CALIBRATION_BINS):
        inside = bin_of_example == index
        count = int(inside.sum())
        bins.append(
            {
                "lower": float(edges[index]),
                "upper": float(edges[index + 1]),
                "count": count,
                "mean_confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(is_correct[inside].mean()) if count else None,
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
    one_hot = np.eye(probabilities.shape[1])[labels]
    return np.asarray(((probabilities - one_hot) ** 2).sum(axis=1))


def _scikit_learn() -> Any:
    """Its metrics, imported at their first use: a second sooner a run is resumed."""
    import sklearn.metrics

    return sklearn.metrics


def _ranked_classes(predictions: ClassPredictions) -> range:
    """The classes whose ROC curves count: of two, one says all."""
    num_classes = predictions.probabilities.shape[1]
    return range(1, 2) if num_classes == 2 else range(num_classes)


def _roc_auc(labels: IntArray, predictions: ClassPredictions) -> float | None:
    if len(np.unique(labels)) < predictions.probabilities.shape[1]:
        return None
    areas = [
        _scikit_learn().roc_auc_score(labels == index, predictions.log_odds(index))
        for index in _ranked_classes(predictions)
    ]
    return float(np.mean(areas))


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
    columns = _scikit_learn().precision_recall_fscore_support(
        labels,
        predictions.predicted,
        labels=np.arange(len(label_names)),
        average=None,
        zero_division=np.nan,
    )
    return {
        name: {
            "precision": _none_if_nan(precision),
            "recall": _none_if_nan(recall),
            "f1": _none_if_nan(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(label_names, *columns)
    }


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _expected_calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    filled = [each for each in bins if each["count"]]
    gaps = [
        each["count"] * abs(each["accuracy"] - each["mean_confidence"])
        for each in filled
    ]
    return float(sum(gaps) / sum(each["count"] for each in filled))


def _resample_counts(
    generator: np.random.Generator, *, size: int, num_examples: int
) -> FloatArray:
    """How often each example is drawn, float64 [size, n], by n draws with return."""
    counts = np.empty((size, num_examples))
    for row in counts:
        drawn = generator.integers(num_examples, size=num_examples)
        row[:] = np.bincount(drawn, minlength=num_examples)
    return counts


def _weighted_confusion(
    weights: npt.NDArray[Any], labels: IntArray, predictions: ClassPredictions
) -> FloatArray:
    """Weight of each (true, predicted) pair: float64 [resamples, classes, classes]."""
    num_classes = predictions.probabilities.shape[1]
    cells = labels * num_classes + predictions.predicted
    sums = [np.bincount(cells, row, minlength=num_classes**2) for row in weights]
    return np.reshape(sums, (-1, num_classes, num_classes))


def metrics_of_confusion(confusion: FloatArray) -> dict[str, FloatArray]:
    """Metrics of confusion matrices [resamples, classes, classes]."""
    correct = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    total = true.sum(axis=1)
    num_occurring = np.count_nonzero(true + predicted, axis=1)
    return {
        "accuracy": correct.sum(axis=1) / total,
        "precision_macro": _ratio(correct, predicted).sum(axis=1) / num_occurring,
        "recall_macro": _ratio(correct, true).sum(axis=1) / num_occurring,
        "f1_macro": _ratio(2 * correct, true + predicted).sum(axis=1) / num_occurring,
        "mcc": _mcc_of_sums(correct.sum(axis=1), true, predicted),
    }


def _mcc_of_sums(
    correct: FloatArray, true: FloatArray, predicted: FloatArray
) -> FloatArray:
    """Matthews correlation for any number of classes (Gorodkin 2004).

    Args:
      correct: weight of the examples predicted right, [resamples].
      true, predicted: weight of each class, [resamples, classes].
    """
    total = true.sum(axis=1)
    spread_true = total**2 - (true**2).sum(axis=1)
    spread_predicted = total**2 - (predicted**2).sum(axis=1)
    covariance = total * correct - (true * predicted).sum(axis=1)
    return _ratio(covariance, np.sqrt(spread_true * spread_predicted))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Elementwise quotient, 0 where the denominator is 0."""
    zeros = np.zeros_like(denominator, dtype=np.float64)
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)


def _weighted_roc_auc(
    weights: npt.NDArray[Any], labels: IntArray, predictions: ClassPredictions
) -> FloatArray:
    """Mean area over the classes that have weight, NaN without: [resamples]."""
    areas = np.array(
        [
            _weighted_area(weights, labels == index, predictions.log_odds(index))
            for index in _ranked_classes(predictions)
        ]
    )
    is_defined = ~np.isnan(areas)
    sums = np.where(is_defined, areas, 0.0).sum(axis=0)
    counts = is_defined.sum(axis=0)
    return np.where(counts > 0, _ratio(sums, counts), np.nan)


def _weighted_area(
    weights: npt.NDArray[Any], is_positive: BoolArray, scores: FloatArray
) -> FloatArray:
    """Area under weighted ROC curves, [resamples]; NaN where a side has no weight.

    It is the chance that a positive example scores above a negative one, ties
    counting half (Mann-Whitney's U over the number of pairs).
    """
    order = np.argsort(scores)
    is_new_score = np.diff(scores[order], prepend=-np.inf) > 0
    starts = np.flatnonzero(is_new_score)
    ranked = weights[:, order]
    positive = np.add.reduceat(ranked * is_positive[order], starts, axis=1)
    negative = np.add.reduceat(ranked * ~is_positive[order], starts, axis=1)
    num_below = np.cumsum(negative, axis=1) - negative / 2
    num_pairs = positive.sum(axis=1) * negative.sum(axis=1)
    areas = _ratio((positive * num_below).sum(axis=1), num_pairs)
    return np.where(num_pairs > 0, areas, np.nan)

"""Tests of trainer/evaluation/metrics.py."""

from __future__ import annotations

import functools
import json
import time
import typing
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics

from trainer import config
from trainer.evaluation import classwise
from trainer.evaluation import metrics as metrics_lib
from trainer.tasks.predictions import Predictions, softmax

NAMES = ("negative", "positive", "neutral", "mixed")


def _examples(
    num_examples: int, num_classes: int, *, seed: int = 0, skill: float = 1.5
) -> tuple[np.ndarray, np.ndarray]:
    """Random labels [n] and logits [n, classes] that know something of them.

    Logits are multiples of 1/8, so that exact ties occur.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(num_classes, size=num_examples)
    logits = generator.normal(size=(num_examples, num_classes))
    logits[np.arange(num_examples), labels] += skill
    return labels, (8 * logits).round() / 8


def _predicted(num_examples: int, *, seed: int) -> tuple[np.ndarray, Predictions]:
    labels, logits = _examples(num_examples, 2, seed=seed)
    return labels, Predictions(logits)


def _metrics(
    labels: Any, logits: Any, num_classes: Any = 2, num_resamples: Any = 200
) -> Any:
    return metrics_lib.classification_metrics(
        labels,
        Predictions(logits),
        label_names=NAMES[:num_classes],
        num_resamples=num_resamples,
        seed=0,
    )


# name → labels, logits: what a bootstrap resample or a small split may look like.
EDGE_CASES: dict[str, Any] = {
    "one_example": ([1], [[0.0, 2.0]]),
    "one_class_present": ([1, 1, 1], [[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]]),
    "class_never_predicted": ([0, 1, 0], [[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]]),
    "all_ties": ([0, 1, 1, 0], [[1.0, 1.0]] * 4),
    "perfect": ([0, 1, 1], [[5.0, 0.0], [0.0, 5.0], [0.0, 4.0]]),
    "all_wrong": ([1, 0, 0], [[5.0, 0.0], [0.0, 5.0], [0.0, 4.0]]),
    "extreme": ([0, 1, 1], [[1e3, -1e3], [-1e3, 1e3], [1e3, -1e3]]),
    "three_classes": ([0, 1, 2, 2], [[3, 0, 0], [0, 3, 0], [0, 0, 3], [3, 0, 0]]),
    "absent_third_class": ([0, 1, 0], [[3, 0, 0], [0, 3, 0], [0, 3, 0]]),
}


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_point_values_are_scikit_learns(num_classes: Any) -> None:
    labels, logits = _examples(500, num_classes)
    # No ties here: rounding breaks them differently in logits and probabilities.
    logits += np.random.default_rng(1).normal(scale=1e-3, size=logits.shape)
    metrics = _metrics(labels, logits, num_classes)
    probabilities = softmax(logits)
    predicted = logits.argmax(axis=1)
    is_binary = num_classes == 2
    one_hot = np.eye(num_classes)[labels]
    expected = {
        "num_examples": 500,
        "loss": sklearn.metrics.log_loss(labels, probabilities),
        "accuracy": sklearn.metrics.accuracy_score(labels, predicted),
        "precision_macro": sklearn.metrics.precision_score(
            labels, predicted, average="macro"
        ),
        "recall_macro": sklearn.metrics.recall_score(
            labels, predicted, average="macro"
        ),
        "f1_macro": sklearn.metrics.f1_score(labels, predicted, average="macro"),
        "mcc": sklearn.metrics.matthews_corrcoef(labels, predicted),
        "roc_auc": sklearn.metrics.roc_auc_score(
            labels,
            probabilities[:, 1] if is_binary else probabilities,
            multi_class="ovr",
        ),
        "brier_score": np.mean(np.sum((probabilities - one_hot) ** 2, axis=1)),
        "majority_class_accuracy": np.bincount(labels).max() / 500,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert (
        metrics["confusion_matrix"]
        == sklearn.metrics.confusion_matrix(labels, predicted).tolist()
    )
    report = sklearn.metrics.classification_report(
        labels, predicted, target_names=NAMES[:num_classes], output_dict=True
    )
    for name, of_class in metrics["per_class"].items():
        assert of_class["precision"] == pytest.approx(report[name]["precision"])
        assert of_class["recall"] == pytest.approx(report[name]["recall"])
        assert of_class["f1"] == pytest.approx(report[name]["f1-score"])
        assert of_class["support"] == report[name]["support"]


def test_binary_brier_score_is_twice_scikit_learns() -> None:
    labels, logits = _examples(300, 2)
    halved = sklearn.metrics.brier_score_loss(labels, softmax(logits)[:, 1])
    assert _metrics(labels, logits)["brier_score"] == pytest.approx(2 * halved)


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_weighted_metrics_with_weights_one_equal_the_point_values(
    num_classes: Any,
) -> None:
    labels, logits = _examples(300, num_classes)
    weighted = metrics_lib.weighted_metrics(
        np.ones((2, 300)), labels, Predictions(logits)
    )
    points = metrics_lib.point_values(labels, Predictions(logits))
    assert {*weighted, "roc_auc"} == set(points)
    for name, values in weighted.items():
        assert values == pytest.approx([points[name]] * 2), name


@pytest.mark.parametrize("name", EDGE_CASES)
def test_weighted_metrics_equal_the_point_values_at_edge_cases(name: Any) -> None:
    labels, logits = map(np.array, EDGE_CASES[name])
    ones = np.ones((1, len(labels)))
    points = metrics_lib.point_values(labels, Predictions(logits))
    for metric, values in metrics_lib.weighted_metrics(
        ones, labels, Predictions(logits)
    ).items():
        assert values[0] == pytest.approx(points[metric]), metric


@pytest.mark.parametrize("num_classes", [2, 3])
def test_whole_weights_equal_repeated_examples(num_classes: Any) -> None:
    labels, logits = _examples(60, num_classes)
    weights = np.random.default_rng(1).integers(4, size=(5, 60))
    weighted = metrics_lib.weighted_metrics(weights, labels, Predictions(logits))
    for index, row in enumerate(weights):
        points = metrics_lib.point_values(
            np.repeat(labels, row), Predictions(np.repeat(logits, row, axis=0))
        )
        for name, values in weighted.items():
            assert values[index] == pytest.approx(points[name]), name


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases_are_strict_json_and_quiet(name: Any) -> None:
    labels, logits = EDGE_CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = _metrics(labels, logits, num_classes=len(logits[0]))
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    for low, high in metrics["confidence_intervals_95"].values():
        assert low <= high


@pytest.mark.parametrize(
    "name, expected",
    [
        ("one_example", {"accuracy": 1.0, "roc_auc": None, "mcc": 0.0}),
        ("one_class_present", {"accuracy": 2 / 3, "roc_auc": None, "mcc": 0.0}),
        ("class_never_predicted", {"precision_macro": 1 / 3, "recall_macro": 0.5}),
        ("all_ties", {"accuracy": 0.5, "roc_auc": 0.5, "loss": np.log(2)}),
        ("perfect", {"accuracy": 1.0, "f1_macro": 1.0, "mcc": 1.0, "roc_auc": 1.0}),
        ("all_wrong", {"accuracy": 0.0, "f1_macro": 0.0, "mcc": -1.0, "roc_auc": 0.0}),
        ("extreme", {"accuracy": 2 / 3, "loss": 2000 / 3, "brier_score": 2 / 3}),
        ("three_classes", {"accuracy": 0.75, "majority_class_accuracy": 0.5}),
        ("absent_third_class", {"roc_auc": None, "f1_macro": 2 / 3}),
    ],
)
def test_edge_case_values(name: Any, expected: Any) -> None:
    labels, logits = EDGE_CASES[name]
    metrics = _metrics(labels, logits, num_classes=len(logits[0]))
    assert {key: metrics[key] for key in expected} == pytest.approx(expected)


def test_per_class_values_are_none_where_undefined() -> None:
    labels, logits = EDGE_CASES["absent_third_class"]
    per_class = _metrics(labels, logits, num_classes=3)["per_class"]
    told = ("precision", "recall", "f1", "precision_interval_95", "recall_interval_95")
    assert [per_class["neutral"][name] for name in told] == [None] * 5
    assert per_class["neutral"]["support"] == 0
    labels, logits = EDGE_CASES["class_never_predicted"]
    positive = _metrics(labels, logits)["per_class"]["positive"]
    assert [positive[name] for name in told[:3]] == [None, 0.0, 0.0]
    assert positive["support"] == 1 and positive["recall_interval_95"][0] == 0.0


def test_undefined_roc_auc_has_no_interval() -> None:
    intervals = _metrics([1] * 12, [[0.0, 1.0]] * 12)["confidence_intervals_95"]
    assert "roc_auc" not in intervals and "mcc" in intervals


def test_roc_auc_tells_saturated_probabilities_apart() -> None:
    # Both probabilities are 1.0 in float64; the logits still rank them rightly.
    assert _metrics([0, 1], [[0.0, 100.0], [0.0, 200.0]])["roc_auc"] == 1.0


def test_calibration_error_of_known_bins() -> None:
    # Confidence 0.8: 3 of 4 right; confidence 0.95: 1 of 2 right.
    confidence = np.array([0.8] * 4 + [0.95] * 2)
    logits = np.stack([np.zeros(6), np.log(confidence / (1 - confidence))], axis=1)
    metrics = _metrics([1, 1, 1, 0, 1, 0], logits)
    expected = (4 * 0.05 + 2 * 0.45) / 6
    assert metrics["expected_calibration_error"] == pytest.approx(expected)
    filled = [each for each in metrics["reliability"] if each["count"]]
    assert [each["count"] for each in filled] == [4, 2]
    assert [each["accuracy"] for each in filled] == [0.75, 0.5]
    for each in filled:
        assert each["lower"] < each["mean_confidence"] <= each["upper"]
    assert len(metrics["reliability"]) == classwise.NUM_CALIBRATION_BINS


def test_reliability_counts_every_example_also_at_the_ends() -> None:
    logits = np.array([[0.0, 0.0], [0.0, 1e3], [1e3, 0.0]])
    bins = metrics_lib.reliability_bins(np.array([0, 1, 1]), Predictions(logits))
    assert sum(each["count"] for each in bins) == 3
    assert bins[-1]["count"] == 2


@pytest.mark.parametrize("num_correct, count", [(22, 22), (19, 20), (3, 4), (0, 9)])
def test_accuracy_interval_is_wilsons(num_correct: int, count: int) -> None:
    labels = np.arange(count) % 2
    given = np.where(np.arange(count) < num_correct, labels, 1 - labels)
    metrics = _metrics(labels, 4.0 * np.eye(2)[given])
    wilson = scipy.stats.binomtest(num_correct, count).proportion_ci(method="wilson")
    assert metrics["confidence_intervals_95"]["accuracy"] == pytest.approx(
        [wilson.low, wilson.high]
    )


def _drawn(
    num_examples: int, skill: float, *, shares: Any, scale: float, seed: int
) -> tuple[np.ndarray, Predictions]:
    """Labels, and a model whose logits are right times `scale`."""
    generator = np.random.default_rng(seed)
    shares = np.array(shares) / np.sum(shares)
    labels = generator.choice(len(shares), size=num_examples, p=shares)
    logits = generator.normal(size=(num_examples, len(shares)))
    logits[np.arange(num_examples), labels] += skill
    return labels, Predictions(scale * (skill * logits + np.log(shares)))


EVEN = {num_classes: (1,) * num_classes for num_classes in (2, 4, 10)}


@functools.cache
def _truth(skill: float, shares: tuple[int, ...], scale: float) -> Any:
    """The point values of many examples."""
    return metrics_lib.point_values(
        *_drawn(100_000, skill, shares=shares, scale=scale, seed=999)
    )


@pytest.mark.parametrize("num_examples", [20, 50, 100, 500])
@pytest.mark.parametrize(
    "skill, shares, scale",
    [
        # Two classes: accuracies of 0.53, 0.95, 0.99, and 0.93 with a rare class.
        (0.1, EVEN[2], 4.0),
        (2.3, EVEN[2], 1.0),
        (3.3, EVEN[2], 0.4),
        (1.5, (9, 1), 1.0),
        # Four: 0.55. Ten: 0.34 and 0.96.
        (1.0, EVEN[4], 3.0),
        (1.0, EVEN[10], 1.0),
        (3.6, EVEN[10], 2.0),
    ],
)
def test_intervals_hold(
    num_examples: int, skill: float, shares: Any, scale: float
) -> None:
    """How often they miss the value of 100,000 examples, of 80 samples."""
    truth = _truth(skill, shares, scale)
    num_missed = dict.fromkeys(truth, 0)
    for seed in range(80):
        sample = _drawn(num_examples, skill, shares=shares, scale=scale, seed=seed)
        found = metrics_lib.bootstrap_intervals(*sample, num_resamples=150, seed=seed)
        for name, (low, high) in found.items():
            num_missed[name] += not low - 1e-9 <= truth[name] <= high + 1e-9
    # Wilson's is what it is.
    del num_missed["accuracy"]
    # If 8% are missed, as many once in a hundred times.
    assert max(num_missed.values()) <= 12, num_missed


def test_intervals_are_not_all_too_wide() -> None:
    """Where there are enough errors they are as wide as the usual ones."""
    labels, predictions = _drawn(500, 1.0, shares=[1, 1], scale=1.0, seed=0)
    found = metrics_lib.bootstrap_intervals(
        labels, predictions, num_resamples=1000, seed=0
    )
    width = {name: high - low for name, (low, high) in found.items()}
    for name in ("precision_macro", "recall_macro", "f1_macro"):
        assert width[name] == pytest.approx(width["accuracy"], rel=0.1), name
    assert width["mcc"] == pytest.approx(2 * width["accuracy"], rel=0.1)
    losses = -predictions.log_probabilities[np.arange(500), labels]
    assert width["loss"] == pytest.approx(3.92 * losses.std() / 500**0.5, rel=0.1)


MACRO = {"precision_macro", "recall_macro", "f1_macro", "roc_auc"}


@pytest.mark.parametrize(
    "class_counts, absent",
    [
        ((5, 5), set()),
        ((5, 4), {*MACRO, "mcc", "loss", "brier_score", "expected_calibration_error"}),
        ((20, 5), set()),
        ((20, 4), MACRO),
        ((20, 20, 4), MACRO),
        ((20, 20, 0), MACRO),
        # One in twenty classes may be rare, but each has to be there for its curve.
        ((20,) * 19 + (4,), set()),
        ((20,) * 18 + (4, 4), MACRO),
        ((20,) * 19 + (0,), {"roc_auc"}),
    ],
)
def test_too_few_examples_have_no_interval(
    class_counts: tuple[int, ...], absent: set[str]
) -> None:
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
    found = metrics_lib.bootstrap_intervals(
        labels,
        Predictions(np.eye(len(class_counts))[labels]),
        num_resamples=20,
        seed=0,
    )
    names = metrics_lib.point_values(np.array([0, 1]), Predictions(np.eye(2)))
    assert set(names) - set(found) == absent


def test_no_error_leaves_the_interval_open_on_one_side() -> None:
    labels = np.arange(22) % 2
    found = _metrics(labels, 6.0 * np.eye(2)[labels])["confidence_intervals_95"]
    for name in ("accuracy", "f1_macro", "mcc", "roc_auc"):
        low, high = found[name]
        assert high == pytest.approx(1.0) and 0.6 < low < 0.93, name
    low, high = found["loss"]
    assert low < 0.01 and high > 0.3


def test_intervals_depend_on_the_seed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = _examples(100, 3)
    first = metrics_lib.bootstrap_intervals(
        labels, Predictions(logits), num_resamples=50, seed=1
    )
    other = metrics_lib.bootstrap_intervals(
        labels, Predictions(logits), num_resamples=50, seed=2
    )
    # Memory allows only 7 resamples at once: another cut, the same draws.
    monkeypatch.setattr(metrics_lib, "_MAX_RESAMPLED_NUMBERS", 700)
    in_parts = metrics_lib.bootstrap_intervals(
        labels, Predictions(logits), num_resamples=50, seed=1
    )
    assert in_parts == first != other


def test_no_resamples_give_no_intervals() -> None:
    labels, logits = _examples(10, 2)
    assert _metrics(labels, logits, num_resamples=0)["confidence_intervals_95"] == {}


@pytest.mark.parametrize(
    "num_examples, num_classes, limit_secs", [(5000, 2, 8), (2000, 150, 6)]
)
def test_bootstrap_is_quick(
    num_examples: int, num_classes: int, limit_secs: float
) -> None:
    labels, logits = _examples(num_examples, num_classes)
    predictions = Predictions(logits)
    started = time.process_time()
    metrics_lib.bootstrap_intervals(labels, predictions, num_resamples=1000, seed=0)
    # A second of one core each.
    assert time.process_time() - started < limit_secs


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0, 1000.0])
def test_log_odds_are_exact(scale: float) -> None:
    _, logits = _examples(50, 4)
    predictions = Predictions(scale * logits)
    for index in range(4):
        others = scipy.special.logsumexp(
            np.delete(scale * logits, index, axis=1), axis=1
        )
        np.testing.assert_allclose(
            predictions.log_odds(index),
            scale * logits[:, index] - others,
            rtol=1e-9,
            atol=1e-12,
        )


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_softmax_sums_to_one(scale: Any) -> None:
    probabilities = softmax(np.array([[1, -1, 0], [0, 0, 0]], np.float32) * scale)
    assert probabilities.dtype == np.float64
    assert probabilities.sum(axis=-1) == pytest.approx([1.0, 1.0])
    assert probabilities[1] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    "labels, logits, names, message",
    [
        ([], np.empty((0, 2)), NAMES[:2], "at least one example"),
        ([0.5], [[1.0, 0.0]], NAMES[:2], "labels must be integers"),
        ([[0]], [[1.0, 0.0]], NAMES[:2], r"shape=\(1, 1\)"),
        ([0, 1], [[1.0, 0.0]], NAMES[:2], r"shape \[2, 2\]"),
        ([0], [[1.0, 0.0]], NAMES[:3], r"shape \[1, 3\]"),
        ([2], [[1.0, 0.0]], NAMES[:2], "0 to 1. Received: 2 to 2"),
        ([-1], [[1.0, 0.0]], NAMES[:2], "0 to 1. Received: -1"),
        ([0], [[1.0, 0.0]], ("same", "same"), "different names"),
        ([0], [[1.0]], ("only",), "two different names"),
        ([0, 0], [[1.0, 0.0], [np.nan, 0.0]], NAMES[:2], "finite.*example 1"),
    ],
)
def test_wrong_input_is_named(
    labels: Any, logits: Any, names: Any, message: Any
) -> None:
    with pytest.raises(ValueError, match=message):
        metrics_lib.classification_metrics(
            labels, Predictions(logits), label_names=names, num_resamples=0, seed=0
        )


@pytest.mark.parametrize(
    "name, expected", [("accuracy", 0.9), ("f1_macro", 0.8), ("mcc", 0.7), ("loss", -2)]
)
def test_score_is_higher_for_better(name: Any, expected: Any) -> None:
    metrics = {"accuracy": 0.9, "f1_macro": 0.8, "mcc": 0.7, "loss": 2.0}
    assert metrics_lib.score(metrics, name) == expected


def test_score_refuses_other_metrics() -> None:
    with pytest.raises(ValueError, match="Received: 'roc_auc'"):
        metrics_lib.score({"roc_auc": 0.5}, "roc_auc")


def test_every_best_metric_of_the_config_can_be_scored() -> None:
    assert set(typing.get_args(config.BestMetric)) == set(metrics_lib.SCORE_SIGNS)


def test_interval_of_the_calibration_error_is_freed_of_its_noise() -> None:
    """A calibrated model's error is noise alone, so that its interval begins at 0."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1.0, 400)
    logits = np.stack([np.zeros(400), np.log(confidence / (1 - confidence))], axis=1)
    labels = (generator.uniform(size=400) < confidence).astype(np.int64)
    metrics = _metrics(labels, logits, num_resamples=1000)
    low, high = metrics["confidence_intervals_95"]["expected_calibration_error"]
    assert 0.0 == low < metrics["expected_calibration_error"] < high < 0.1
    metrics = _metrics(labels, 4 * logits, num_resamples=1000)
    low, high = metrics["confidence_intervals_95"]["expected_calibration_error"]
    assert 0.05 < low < metrics["expected_calibration_error"] < high < 0.3

"""Curves of a classifier, against scikit-learn's and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from trainer.evaluation import curves
from trainer.tasks.predictions import Predictions


def draw(num_examples: int, num_classes: int, *, skill: float = 1.0) -> Any:
    """Labels and predictions of random texts, and the classes' names."""
    generator = np.random.default_rng(0)
    labels = generator.integers(num_classes, size=num_examples)
    logits = generator.normal(size=(num_examples, num_classes))
    logits[np.arange(num_examples), labels] += skill
    names = tuple(f"label {index}" for index in range(num_classes))
    return labels, Predictions(logits), names


@pytest.mark.parametrize("num_examples", [20, 5000])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_areas_are_those_of_scikit_learn(num_examples: int, num_classes: int) -> None:
    labels, predictions, names = draw(num_examples, num_classes)
    result = curves.of(labels, predictions, label_names=names)
    shown = range(1, 2) if num_classes == 2 else range(num_classes)
    for kind, area in (
        ("roc", sklearn.metrics.roc_auc_score),
        ("precision_recall", sklearn.metrics.average_precision_score),
    ):
        assert [curve.name for curve in result[kind]] == [names[i] for i in shown]
        for index, curve in zip(shown, result[kind]):
            scores = predictions.log_odds(index)
            assert curve.area == pytest.approx(area(labels == index, scores), abs=1e-5)


@pytest.mark.parametrize("num_classes", [2, 5, 11])
def test_few_points_keep_the_shape(num_classes: int) -> None:
    labels, predictions, names = draw(20_000, num_classes)
    result = curves.of(labels, predictions, label_names=names)
    for kind, (first_x, last_x) in {
        "roc": (0.0, 1.0),
        "precision_recall": (0.0, 1.0),
        "risk_coverage": (0.0, 1.0),
    }.items():
        for curve in result[kind]:
            assert 10 < len(curve.x) == len(curve.y) <= curves.MAX_POINTS
            assert curve.x[0] == pytest.approx(first_x, abs=1e-3)
            assert curve.x[-1] == last_x
            assert list(curve.x) == sorted(curve.x)
            area = np.trapezoid(curve.y, curve.x)
            assert area == pytest.approx(curve.area, abs=0.02), (kind, curve.name)


def test_more_than_ten_classes_are_their_means() -> None:
    labels, predictions, names = draw(3000, 11)
    result = curves.of(labels, predictions, label_names=names)
    micro, macro = result["roc"]
    is_label = labels[:, np.newaxis] == np.arange(11)
    for curve, average in ((micro, "micro"), (macro, "macro")):
        expected = sklearn.metrics.roc_auc_score(
            is_label, predictions.probabilities, average=average
        )
        assert curve.name == average
        assert curve.area == pytest.approx(expected, abs=1e-4)


def test_a_class_without_texts_has_no_curve() -> None:
    labels, predictions, names = draw(30, 3)
    result = curves.of(labels * 0, predictions, label_names=names)
    assert result["roc"] == result["precision_recall"] == ()
    result = curves.of(np.minimum(labels, 1), predictions, label_names=names)
    assert [curve.name for curve in result["roc"]] == ["label 0", "label 1"]


def test_risk_and_coverage_by_hand() -> None:
    # The surest is right, then two of one score of which one is wrong, then one wrong.
    logits = np.log([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
    labels = np.array([0, 0, 1, 0])
    (curve,) = curves.of(labels, Predictions(logits), label_names=("a", "b"))[
        "risk_coverage"
    ]
    assert curve.x == (0.25, 0.75, 1.0)
    assert curve.y == pytest.approx((0.0, 1 / 3, 0.5), abs=1e-5)
    assert curve.area == pytest.approx((0 + 1 / 3 + 1 / 3 + 0.5) / 4, abs=1e-5)


def test_a_single_text() -> None:
    predictions = Predictions([[0.0, 1.0]])
    result = curves.of([1], predictions, label_names=("a", "b"))
    (curve,) = result["risk_coverage"]
    assert (curve.x, curve.y) == ((1.0,), (0.0,)) and result["roc"] == ()

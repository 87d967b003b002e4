"""One label of many: among the likeliest, and each by itself."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from trainer.evaluation import classwise, comparisons
from trainer.tasks.predictions import Predictions, softmax


def draw(
    generator: np.random.Generator, num_examples: int, num_classes: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels that follow the probabilities of the logits, some classes being rare."""
    logits = generator.normal(0, scale, (num_examples, num_classes))
    logits += generator.normal(0, scale, num_classes)
    cumulative = softmax(logits).cumsum(axis=1)
    draws = generator.random((num_examples, 1)) * cumulative[:, -1:]
    return (cumulative > draws).argmax(axis=1), logits


@pytest.mark.parametrize("num_classes, ks", [(5, []), (6, [3]), (11, [3, 5])])
def test_top_k_is_scikit_learns(num_classes: int, ks: list[int]) -> None:
    labels, logits = draw(np.random.default_rng(0), 400, num_classes, 1.0)
    found = classwise.top_k(labels, Predictions(logits).log_probabilities)
    assert [each.k for each in found] == ks
    for each in found:
        expected = sklearn.metrics.top_k_accuracy_score(
            labels, logits, k=each.k, labels=range(num_classes)
        )
        assert each.accuracy == pytest.approx(expected)
        low, high = each.confidence_interval_95
        assert low < each.accuracy < high


def test_at_a_tie_the_earlier_class_comes_first() -> None:
    """All equal: the first three of six are the likeliest three."""
    even = np.full((6, 6), -np.log(6))
    (found,) = classwise.top_k(np.arange(6), even)
    assert found.accuracy == 0.5


@pytest.mark.parametrize(
    "expected, num_examples, near", [(3, 500, 2e-4), (40, 500, 2e-4), (20, 40, 2e-3)]
)
def test_p_values_of_counts_are_near_exact_ones(
    expected: float, num_examples: int, near: float
) -> None:
    """Of equal probabilities the count is binomial, whose tails are known."""
    chance = expected / num_examples
    probabilities = np.full((num_examples, 1), chance)
    exact = scipy.stats.binom(num_examples, chance)
    for count in range(min(num_examples, int(2.5 * expected)) + 1):
        tails = exact.cdf(count), exact.sf(count - 1)
        wanted = min(1.0, 2 * min(tails))
        (found,) = classwise.count_p_values(np.array([count]), probabilities)
        assert found == pytest.approx(wanted, rel=0.06, abs=near)


@pytest.mark.parametrize("num_classes, num_examples", [(2, 400), (52, 600)])
def test_right_probabilities_are_seldom_called_wrong(
    num_classes: int, num_examples: int
) -> None:
    """In at most one of twenty tables, and wrong ones nearly always."""
    generator = np.random.default_rng(1)
    num_called = {"right": 0, "wrong": 0}
    for _ in range(200):
        labels, logits = draw(generator, num_examples, num_classes, 2.0)
        counts = np.bincount(labels, minlength=num_classes)
        # The commonest label is thought to be three times as likely as it is.
        wrong = logits + np.log(3) * (np.arange(num_classes) == counts.argmax())
        for name, given in (("right", logits), ("wrong", wrong)):
            p_values = classwise.count_p_values(counts, softmax(given))
            num_called[name] += min(comparisons.holm(p_values.tolist())) < 0.05
    assert num_called["right"] <= 16
    assert num_called["wrong"] >= 180


def test_calibration_of_a_class_by_hand() -> None:
    """Three bins: of 0.9 are 3 of 4 right, of 0.1 none of 4, of 0.05 one of 4."""
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0])
    chance = np.repeat([0.9, 0.1, 0.05], 4)
    # What is given has no part in it.
    scores = classwise.class_scores(
        labels,
        np.zeros_like(labels),
        np.column_stack([1 - chance, chance]),
        label_names=("rest", "rare"),
    )
    rare = scores["rare"]
    assert rare.calibration_error == pytest.approx(4 * (0.15 + 0.1 + 0.2) / 12)
    assert rare.expected == pytest.approx(4.2) and rare.support == 4
    assert rare.expected_p_holm == 1.0

"""How far answers are off, where labels have an order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from trainer.evaluation.ordinal_metrics import ordinal_metrics


def draw(
    generator: np.random.Generator, num_examples: int, *, num_classes: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers and probabilities of a noisy view of what labels are made of."""
    places = np.arange(num_classes)
    middle, scale = (num_classes - 1) / 2, num_classes / 4
    truth = generator.normal(size=num_examples)
    seen = truth + generator.normal(0, noise, num_examples)
    labels = np.clip(np.round(scale * truth + middle), 0, num_classes - 1).astype(int)
    logits = -((scale * seen[:, np.newaxis] + middle - places) ** 2)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = (probabilities.cumsum(axis=1) < 0.5).sum(axis=1)
    return labels, np.minimum(answers, num_classes - 1), probabilities


def measure(*parts: np.ndarray, num_resamples: int = 0) -> Any:
    return ordinal_metrics(*parts, num_resamples=num_resamples, seed=0)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_values_are_those_of_scikit_learn_and_scipy(num_classes: int) -> None:
    parts = draw(np.random.default_rng(0), 300, num_classes=num_classes, noise=0.7)
    labels, answers, probabilities = parts
    values = measure(*parts).values
    assert values["mae"] == pytest.approx(np.abs(labels - answers).mean())
    assert values["within_one"] == (np.abs(labels - answers) <= 1).mean()
    kappa = sklearn.metrics.cohen_kappa_score(labels, answers, weights="quadratic")
    assert values["quadratic_kappa"] == pytest.approx(kappa)
    expected = probabilities @ np.arange(num_classes)
    correlation = scipy.stats.spearmanr(labels, expected).statistic
    assert values["spearman"] == pytest.approx(correlation)
    if num_classes == 2:
        brier = sklearn.metrics.brier_score_loss(labels, probabilities[:, 1])
        assert values["rps"] == pytest.approx(brier)


def test_the_ranked_score_knows_how_far() -> None:
    """By hand: two steps are worse than one, at the same probability of the label."""
    labels = np.zeros(1, int)
    near, far = np.array([[0.4, 0.6, 0.0]]), np.array([[0.4, 0.0, 0.6]])
    values = [measure(labels, labels, each).values["rps"] for each in (near, far)]
    assert values == pytest.approx([0.36, 0.72])


def test_undefined_is_none_and_never_a_number() -> None:
    labels = np.ones(12, int)
    even = np.full((12, 3), 1 / 3)
    found = measure(labels, labels, even, num_resamples=50)
    assert found.values["quadratic_kappa"] is None and found.values["spearman"] is None
    assert "quadratic_kappa" not in found.intervals
    assert found.values["mae"] == 0.0
    few = measure(labels[:5], labels[:5], even[:5], num_resamples=50)
    assert set(few.intervals) == {"within_one"}
    assert measure(labels, labels, even).intervals == {}


def test_intervals_do_not_close_where_no_error_was_seen() -> None:
    labels = np.arange(60) % 3
    sure = np.eye(3)[labels]
    found = measure(labels, labels, sure, num_resamples=200).intervals
    assert found["mae"][0] == 0.0 and found["mae"][1] > 0.03
    assert found["quadratic_kappa"][0] < 0.99 and found["quadratic_kappa"][1] == 1.0
    assert found["within_one"][0] < 0.97


@pytest.mark.parametrize("num_examples", [30, 300])
def test_intervals_hold(num_examples: int) -> None:
    """In nine of ten samples at least, where they are said to in 95 of 100."""
    generator = np.random.default_rng(1)
    settings: dict[str, Any] = {"num_classes": 5, "noise": 1.0}
    truth = measure(*draw(generator, 200_000, **settings)).values
    held = {name: 0 for name in truth}
    for _ in range(150):
        found = measure(*draw(generator, num_examples, **settings), num_resamples=200)
        for name, (low, high) in found.intervals.items():
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 0.88 * 150, held

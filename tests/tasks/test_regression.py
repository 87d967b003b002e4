"""Squared distance, values and intervals: by hand, in NumPy and in the graph."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from trainer.data.batches import Batch, Inputs
from trainer.tasks import regression_decision
from trainer.tasks.regression import Regression
from trainer.tasks.regression_decision import (
    RegressionDecision,
    conformal_half_width,
    num_texts_needed,
)
from trainer.tasks.task import Scale


def fit(
    labels: np.ndarray, logits: np.ndarray, **settings: object
) -> RegressionDecision:
    """On a scale that leaves numbers as they are."""
    options: dict[str, Any] = {"scale": Scale(), "coverage": 0.9, "split": "validation"}
    return regression_decision.fit(labels, logits, **options | settings)


def test_targets_are_in_spreads_from_the_mean() -> None:
    labels = np.array([1_000_010.0, 1_000_030.0, 1_000_020.0, 1_000_020.0])
    task = Regression().of_texts(labels)
    assert task.scale is not None
    assert task.scale.mean == 1_000_020
    assert task.scale.spread == pytest.approx(math.sqrt(50))
    targets = task.targets(labels)
    assert targets.dtype == np.float32
    assert targets.mean() == pytest.approx(0, abs=1e-6)
    assert targets.std() == pytest.approx(1, abs=1e-6)
    # Back in the user's unit, to the digits that float32 leaves of a spread.
    np.testing.assert_allclose(task.scale.values(targets), labels, atol=1e-5)


def test_texts_of_one_number_are_refused() -> None:
    with pytest.raises(ValueError, match="must have different numbers.*0.1 for all 3"):
        Regression().of_texts(np.full(3, 0.1))


def test_the_loss_is_the_squared_distance_of_each_text() -> None:
    """Not of each pair of texts, which [batch] beside [batch, 1] would give."""
    task = Regression()
    logits = np.array([[0.25], [1.0], [-2.0]], np.float32)
    targets = np.array([0.5, -1.0, 2.0], np.float32)
    classifier = keras.Sequential([keras.layers.Dense(1)])
    classifier.compile(loss=task.loss())
    objective = task.objective(classifier, lambda *_, dropout_seed: tf.constant(logits))
    inputs = Inputs(np.zeros([3, 4]), np.full([3], 4))
    losses = objective.losses(
        Batch(inputs, tf.constant(targets), None),
        dropout_seed=tf.zeros(2),
        step=tf.constant(0),
    )
    np.testing.assert_allclose(losses, [0.0625, 4.0, 16.0])


def test_the_score_is_the_root_mean_squared_error_turned() -> None:
    scale = Scale(mean=10.0, spread=2.0)
    labels, logits = np.array([10.0, 14.0]), np.array([[0.0], [1.0]], np.float32)
    scoring = Regression(scale).scoring
    metrics = scoring.metrics(labels, logits, label_names=("value",))
    assert metrics["rmse"] == pytest.approx(math.sqrt(2))  # Off by 0 and 2.
    assert metrics["mae"] == pytest.approx(1)
    assert metrics["loss"] == pytest.approx(0.5)  # In squared spreads: 0 and 1.
    assert scoring.score(metrics, "accuracy") == -metrics["rmse"]


@pytest.mark.parametrize(
    "count, coverage, rank",
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (19, 0.95, 19), (99, 0.9, 90)],
)
def test_the_half_width_is_the_distance_of_that_rank(
    count: int, coverage: float, rank: int
) -> None:
    distances = np.random.default_rng(0).permutation(count).astype(np.float64) + 1
    assert conformal_half_width(distances, coverage=coverage) == rank


@pytest.mark.parametrize(
    "coverage, needed", [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)]
)
def test_too_few_texts_give_no_interval_and_a_warning(
    coverage: float, needed: int
) -> None:
    assert num_texts_needed(coverage) == needed
    generator = np.random.default_rng(1)
    labels = generator.normal(size=needed)
    logits = np.zeros([needed, 1])
    assert fit(labels, logits, coverage=coverage).half_width is not None
    few = fit(labels[1:], logits[1:], coverage=coverage)
    assert few.half_width is None
    assert f"at least {needed} validation texts" in few.warnings[0]
    assert list(few.answers(np.zeros([1, 1]), label_names=())[0]) == ["value"]


def covered(half_widths: np.ndarray, truths: np.ndarray) -> int:
    return int((np.abs(truths) <= half_widths).sum())


def simulate(count: int, coverage: float, *, draws: int, with_one: bool) -> int:
    """How often a new text's distance is within those of `count` texts drawn alike."""
    generator = np.random.default_rng(7)
    distances = np.abs(generator.standard_t(3, (draws, count)))
    news = np.abs(generator.standard_t(3, draws))
    widths = []
    for row in distances:
        if with_one:
            width = conformal_half_width(row, coverage=coverage)
        else:  # The rank of n texts, not of n + 1: too few.
            width = float(np.sort(row)[math.ceil(coverage * count) - 1])
        widths.append(math.inf if width is None else width)
    return covered(np.array(widths), news)


@pytest.mark.parametrize("count, coverage", [(9, 0.9), (25, 0.9), (60, 0.8)])
def test_intervals_hold_as_often_as_they_say(count: int, coverage: float) -> None:
    """The rank of the new distance is uniform, so the coverage is known exactly."""
    draws = 4000
    exact = math.ceil((count + 1) * coverage - 1e-9) / (count + 1)
    assert coverage <= exact <= coverage + 1 / (count + 1)
    low, high = scipy.stats.binom.interval(0.9999, draws, exact)
    assert low <= simulate(count, coverage, draws=draws, with_one=True) <= high


def test_without_the_one_more_the_promise_fails() -> None:
    """Of 25 texts the 23rd distance holds 23 of 26, not 9 of 10."""
    draws = 4000
    held = simulate(25, 0.9, draws=draws, with_one=False)
    assert held < scipy.stats.binom.interval(0.9999, draws, 0.9)[0]


def test_the_graph_gives_what_numpy_gives() -> None:
    generator = np.random.default_rng(3)
    labels = generator.normal(50, 8, 40)
    logits = generator.normal(size=(40, 1)).astype(np.float32)
    decision = fit(labels, logits, scale=Scale(50.0, 8.0))
    outputs = decision.graph_outputs(
        tf.constant(logits), decision.constants(), label_names=tf.constant(["value"])
    )
    answers = decision.answers(logits, label_names=())
    assert sorted(outputs) == ["high", "low", "value"]
    for name, tensor in outputs.items():
        assert tensor.dtype == tf.float32 and tensor.shape == (40,)
        wanted = [answer[name] for answer in answers]
        np.testing.assert_allclose(tensor, wanted, rtol=1e-5)
    assert decision.half_width is not None
    half = (outputs["high"] - outputs["low"]) / 2
    np.testing.assert_allclose(half, decision.half_width, rtol=1e-4)


def test_quality_counts_what_the_intervals_hold() -> None:
    decision = RegressionDecision(half_width=1.0, coverage=0.9, split="validation")
    labels = np.array([0.0, 0.9, -1.0, 1.1])
    quality = decision.quality(labels, np.zeros([4, 1]))
    assert quality["num_held"] == 3 and quality["coverage"] == 0.75
    low, high = quality["coverage_interval_95"]
    assert low < 0.75 < high
    assert "coverage" not in RegressionDecision().quality(labels, np.zeros([4, 1]))

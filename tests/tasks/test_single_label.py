"""The loss that training makes small; what a report says of a split."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.data import places
from trainer.data.batches import Batch, Inputs
from trainer.tasks.focal import focal_loss
from trainer.tasks.single_label import ClassScoring, SingleLabel
from trainer.tasks.single_label_decision import Decision, plain


def losses(logits: np.ndarray, targets: np.ndarray, **settings: Any) -> np.ndarray:
    """Of a classifier that gives these logits whatever it reads."""
    task = SingleLabel()
    classifier = keras.Sequential([keras.layers.Dense(logits.shape[1])])
    classifier.compile(loss=task.loss())
    objective = task.objective(
        classifier, lambda *_, dropout_seed: tf.constant(logits), **settings
    )
    inputs = Inputs(np.zeros([len(targets), 4]), np.full([len(targets)], 4))
    batch = Batch(inputs, tf.constant(targets, tf.int32), None)
    result: np.ndarray = objective.losses(
        batch, dropout_seed=tf.zeros(2), step=tf.constant(0)
    ).numpy()
    return result


@pytest.mark.parametrize("num_classes", [2, 3, 11])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing(num_classes: int, smoothing: float) -> None:
    """As Keras's loss has it, and as it is defined."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, [16, num_classes]).astype(np.float32)
    targets = generator.integers(num_classes, size=16)
    found = losses(logits, targets, label_smoothing=smoothing)
    assert found.shape == (16,) and found.dtype == np.float32
    keras_loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction="none"
    )
    expected = keras_loss(np.eye(num_classes)[targets], logits)
    np.testing.assert_allclose(found, expected, rtol=1e-5)

    exact = logits.astype(np.float64)
    log = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
    plain = -log[np.arange(16), targets]
    smoothed = (1 - smoothing) * plain - smoothing * log.mean(axis=1)
    np.testing.assert_allclose(found, smoothed, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss(gamma: float) -> None:
    """As Keras's loss of one-hot targets has it, and exact where Keras's is cut off."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, [16, 5]).astype(np.float32)
    targets = generator.integers(5, size=16)
    found = losses(logits, targets, focal_gamma=gamma)
    keras_loss = keras.losses.CategoricalFocalCrossentropy(
        alpha=1.0, gamma=gamma, from_logits=True, reduction="none"
    )
    # Keras clips probabilities at 1e-7.
    np.testing.assert_allclose(
        found, keras_loss(np.eye(5)[targets], logits), rtol=1e-4, atol=1e-6
    )
    far = np.array([[0.0, 80.0], [80.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        losses(far, np.array([0, 0]), focal_gamma=gamma), [80.0, 0.0], atol=1e-5
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_gradient_is_finite_where_all_is_learnt(gamma: float) -> None:
    """Of p = 1 and of p = 0, in float32."""
    nll = tf.constant([0.0, 1e-9, 1e-3, 1.0, 90.0])
    with tf.GradientTape() as tape:
        tape.watch(nll)
        total = tf.reduce_sum(focal_loss(nll, gamma=gamma))
    exact = nll.numpy().astype(np.float64)
    share = -np.expm1(-exact)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = share**gamma + exact * gamma * share ** (gamma - 1) * np.exp(-exact)
    slope[0] = 0.0
    np.testing.assert_allclose(tape.gradient(total, nll), slope, rtol=1e-4, atol=5e-4)


def test_without_smoothing_the_loss_is_the_compiled_one() -> None:
    """To the bit, smoothing being left out or 0."""
    logits = np.random.default_rng(1).normal(0, 3, [64, 3]).astype(np.float32)
    targets = np.arange(64) % 3
    expected = SingleLabel().loss()(targets, logits).numpy()
    for settings in ({}, {"label_smoothing": 0.0}, {"focal_gamma": 0.0}):
        assert losses(logits, targets, **settings).tolist() == expected.tolist()


LOGITS = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 1.5], [0.0, 2.0]], np.float32)
LABELS = np.array([0, 1, 1, 0])


@pytest.mark.parametrize(
    "decision, confusion",
    [
        (plain(2), ((1, 1), (1, 1))),
        # The second text, of which the model is 62% sure, goes to the other class.
        (Decision(2.0, (0.7, 0.3), 0.0, "validation"), ((1, 1), (0, 2))),
        (Decision(2.0, (0.3, 0.7), 0.0, "validation"), ((1, 1), (2, 0))),
    ],
)
def test_report_is_of_the_decision(
    decision: Decision, confusion: tuple[tuple[int, ...], ...]
) -> None:
    """All of it is said of the labels that the export gives."""
    found = ClassScoring().report(
        LABELS,
        LOGITS,
        decision=decision,
        label_names=("no", "yes"),
        texts=["a", "b", "c", "d"],
        lengths=np.array([1, 2, 3, 4]),
        places=places.unknown(4),
        longest_text=8,
        num_resamples=10,
        seed=0,
    )
    predicted = decision.labels(LOGITS)
    probabilities = decision.probabilities(LOGITS)
    assert found.confusion_matrix == confusion
    assert found.accuracy == (predicted == LABELS).mean()
    assert found.accuracy == decision.quality(LABELS, LOGITS)["accuracy"]
    assert found.per_class["yes"].support == 2
    assert found.per_class["yes"].recall == confusion[1][1] / 2
    of_lengths = found.accuracy_by_length
    assert sum(row.accuracy * row.count for row in of_lengths) == 4 * found.accuracy
    errors = {error.text: error for error in found.most_confident_errors}
    names = np.array(["no", "yes"])[predicted]
    assert {text: error.predicted for text, error in errors.items()} == {
        text: names[i] for i, text in enumerate("abcd") if predicted[i] != LABELS[i]
    }
    assert errors["d"].score == pytest.approx(probabilities[3].max())
    losses = -np.log(probabilities[np.arange(4), LABELS])
    assert found.loss == pytest.approx(losses.mean())

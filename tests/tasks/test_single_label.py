"""The loss that training makes small, with and without label smoothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.data.batches import Batch, Inputs
from trainer.tasks.single_label import SingleLabel


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
    result: np.ndarray = objective.losses(batch, dropout_seed=tf.zeros(2)).numpy()
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


def test_without_smoothing_the_loss_is_the_compiled_one() -> None:
    """To the bit, smoothing being left out or 0."""
    logits = np.random.default_rng(1).normal(0, 3, [64, 3]).astype(np.float32)
    targets = np.arange(64) % 3
    expected = SingleLabel().loss()(targets, logits).numpy()
    for settings in ({}, {"label_smoothing": 0.0}):
        assert losses(logits, targets, **settings).tolist() == expected.tolist()

"""N replicas compute what one computes; dropout is a function of step and replica."""

from __future__ import annotations

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.config import OptimizerConfig
from trainer.data import batches
from trainer.modeling import classifier as classifier_lib
from trainer.modeling import optimizers
from trainer.training import strategies
from trainer.training.steps import PredictStep, TrainStep

NUM_ROWS = 27  # Not a multiple of the batch size: the last batch is uneven.
BATCH_SIZE = 8


def strategy_of(num_replicas: int) -> tf.distribute.Strategy:
    """The default strategy for one replica, a mirrored one for several."""
    if num_replicas == 1:
        return tf.distribute.get_strategy()
    return strategies.mirror([f"CPU:{i}" for i in range(num_replicas)])


def make_classifier(
    strategy: tf.distribute.Strategy,
    preset: str,
    *,
    dropout: float = 0.0,
    pooling: Any = "first",
    **settings: Any,
) -> keras.Model:
    """A compiled tiny classifier under a strategy."""
    from trainer.modeling.presets import load_preset

    with strategy.scope():
        model = classifier_lib.build_classifier(
            load_preset(preset),
            num_classes=2,
            pooling=pooling,
            dropout=dropout,
            seed=0,
        )
        config = OptimizerConfig(learning_rate=1e-2, num_warmup_steps=2, **settings)
        optimizer = optimizers.build_optimizer(config, total_steps=12)
        optimizers.exclude_from_weight_decay(optimizer, model.trainable_variables)
        classifier_lib.compile_classifier(model, optimizer)
    return model


def train(
    num_replicas: int,
    preset: str,
    cache_dir: pathlib.Path,
    *,
    num_epochs: int = 2,
    clip_norm: float = 0.5,
    jit_compile: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Losses, gradient norms, weights and predictions after a few steps."""
    texts, labels = tiny.labelled_sentences(NUM_ROWS)
    tokens = tiny.tokenize(texts, cache_dir)
    strategy = strategy_of(num_replicas)
    model = make_classifier(strategy, preset, **settings)
    buckets = (32, 64)
    plan = batches.TrainingPlan(
        tokens.lengths, buckets, seed=0, batch_size=BATCH_SIZE, num_epochs=num_epochs
    )
    feeder = batches.BatchFeeder(tokens, labels, buckets, strategy)
    step = TrainStep(
        model, strategy, clip_norm=clip_norm, seed=0, jit_compile=jit_compile
    )
    results = [
        [float(value) for value in step(batch)]
        for _, batch in feeder(plan.from_step(0))
    ]
    predict = PredictStep(model, strategy, jit_compile=jit_compile)
    logits = np.zeros([NUM_ROWS, 2])
    evaluation = batches.plan_evaluation(tokens.lengths, buckets, batch_size=BATCH_SIZE)
    for rows, batch in feeder(evaluation):
        logits[rows[rows >= 0]] = predict(batch)[rows >= 0]
    return {
        "losses": np.array(results)[:, 0],
        "norms": np.array(results)[:, 1],
        "weights": [v.numpy() for v in model.trainable_variables],
        "logits": logits,
        "model": model,
        "strategy": strategy,
    }


def assert_same(
    one: dict[str, Any], other: dict[str, Any], *, tolerance: float
) -> None:
    """Losses, weights and predictions agree to rounding."""
    np.testing.assert_allclose(one["losses"], other["losses"], atol=tolerance)
    np.testing.assert_allclose(one["norms"], other["norms"], rtol=1e-4)
    for a, b in zip(one["weights"], other["weights"], strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    np.testing.assert_allclose(one["logits"], other["logits"], atol=10 * tolerance)


@pytest.mark.parametrize("num_replicas", [2, 4])
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_replicas_equal_one(
    num_replicas: int, pooling: str, tiny_preset: str, cache_dir: pathlib.Path
) -> None:
    settings: Any = dict(pooling=pooling, weight_decay=0.1)
    one = train(1, tiny_preset, cache_dir, **settings)
    several = train(num_replicas, tiny_preset, cache_dir, **settings)
    assert one["norms"].max() > 0.5, "nothing was clipped: the test would show nothing"
    assert_same(one, several, tolerance=2e-5)


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_xla_equals_plain(
    num_replicas: int, tiny_preset: str, cache_dir: pathlib.Path
) -> None:
    plain = train(1, tiny_preset, cache_dir)
    compiled = train(num_replicas, tiny_preset, cache_dir, jit_compile=True)
    assert_same(plain, compiled, tolerance=2e-5)

"""Schedules, AdamW, what decays, clipping: each against its formula."""

from __future__ import annotations

import math
from typing import Any, Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import OptimizerConfig
from trainer.modeling import optimizers
from trainer.modeling.classifier import build_classifier
from trainer.modeling.presets import load_preset

PEAK = 3e-4


def rising(step: int, warmup: int) -> float:
    return step / warmup


def linear(step: int, warmup: int, total: int) -> float:
    return (total - step) / (total - warmup)


def cosine(step: int, warmup: int, total: int) -> float:
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (total - warmup))


SCHEDULE_VALUES: list[tuple[str, int, int, int, float]] = [
    # name, warmup, total, step, the factor of the peak
    ("linear", 0, 20, 0, 1.0),
    ("linear", 0, 20, 7, linear(7, 0, 20)),
    ("linear", 0, 20, 19, 1 / 20),
    ("linear", 0, 20, 20, 0.0),
    ("linear", 4, 20, 0, 0.0),
    ("linear", 4, 20, 3, rising(3, 4)),
    ("linear", 4, 20, 4, 1.0),
    ("linear", 4, 20, 12, 0.5),
    ("linear", 4, 20, 19, 1 / 16),
    ("cosine", 0, 20, 0, 1.0),
    ("cosine", 0, 20, 10, 0.5),
    ("cosine", 0, 20, 19, cosine(19, 0, 20)),
    ("cosine", 0, 20, 20, 0.0),
    ("cosine", 4, 20, 2, rising(2, 4)),
    ("cosine", 4, 20, 8, 0.5 + 0.5 * math.sqrt(0.5)),
    ("cosine", 4, 20, 19, cosine(19, 4, 20)),
    ("constant", 0, 20, 0, 1.0),
    ("constant", 0, 20, 19, 1.0),
    ("constant", 4, 20, 1, rising(1, 4)),
    ("constant", 4, 20, 12, 1.0),
    ("constant", 4, 20, 20, 1.0),
    *(
        (name, warmup, 20, step, step / warmup)
        for name in ("linear", "cosine", "constant")
        for warmup in (20, 50)
        for step in (0, 10, 19)
    ),
    # A run of one step that warms up does nothing; one that does not, all.
    ("linear", 1, 1, 0, 0.0),
    ("linear", 0, 1, 0, 1.0),
]


@pytest.mark.parametrize(("name", "warmup", "total", "step", "factor"), SCHEDULE_VALUES)
def test_schedule(name: Any, warmup: int, total: int, step: int, factor: float) -> None:
    schedule = optimizers.WarmupSchedule(
        PEAK, total_steps=total, num_warmup_steps=warmup, schedule=name
    )
    for asked in (step, tf.constant(step, tf.int64), keras.Variable(step, dtype=int)):
        found = schedule(asked)
        assert found.dtype == tf.float32 and found.shape == ()
        assert float(found) == pytest.approx(PEAK * factor, rel=1e-5, abs=1e-10)


def test_schedule_of_updates_of_unlike_sizes() -> None:
    """Warmup and decay go by what was seen, and stay where they are at the end."""
    settings: Any = {"total_steps": 8, "num_warmup_steps": 2}
    even = optimizers.WarmupSchedule(PEAK, **settings)
    seen = np.array([0.0, 0.5, 2.0, 5.0, 7.5], np.float32)
    uneven = optimizers.WarmupSchedule(PEAK, **settings, steps_done=seen)
    for update, step in enumerate([*seen, seen[-1]]):
        for asked in (update, tf.constant(update, tf.int64)):
            assert float(uneven(asked)) == float(even(step))
    compiled = tf.function(uneven, jit_compile=True)
    assert float(compiled(tf.constant(3))) == pytest.approx(float(even(5.0)))


@pytest.mark.parametrize(
    ("settings", "total", "expected"),
    [
        ({}, 100, 10),
        ({}, 101, 11),
        ({"warmup_fraction": 0.25}, 100, 25),
        ({"warmup_fraction": 0.0}, 100, 0),
        ({"warmup_fraction": 1.0}, 100, 100),
        ({"num_warmup_steps": 0}, 100, 0),
        ({"num_warmup_steps": 7}, 100, 7),
        ({"num_warmup_steps": 700}, 100, 700),
    ],
)
def test_num_warmup_steps(settings: dict[str, Any], total: int, expected: int) -> None:
    config = OptimizerConfig(**settings)
    assert optimizers.num_warmup_steps(config, total_steps=total) == expected


@pytest.mark.parametrize(
    ("warmup", "words"),
    [
        (0, None),
        (99, None),
        (100, None),
        (101, ["warmup of 101 steps", "run of 100 steps"]),
        (500, ["warmup of 500 steps", "run of 100 steps", "rises to 0.00099 and"]),
    ],
)
def test_warmup_warning(warmup: int, words: list[str] | None) -> None:
    config = OptimizerConfig(learning_rate=5e-3, num_warmup_steps=warmup)
    warning = optimizers.warmup_warning(config, total_steps=100)
    if words is None:
        assert warning is None
    else:
        assert warning is not None
        for word in [*words, "peak of 0.005", "--num_warmup_steps"]:
            assert word in warning


def test_warning_names_the_learning_rate_the_run_will_reach() -> None:
    config = OptimizerConfig(learning_rate=5e-3, num_warmup_steps=500)
    optimizer = optimizers.build_optimizer(config, total_steps=100)
    reached = float(optimizer._learning_rate(99))
    assert f"rises to {reached:.3g} " in str(
        optimizers.warmup_warning(config, total_steps=100)
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_build_optimizer(weight_decay: float) -> None:
    config = OptimizerConfig(
        learning_rate=PEAK,
        num_warmup_steps=4,
        schedule="cosine",
        weight_decay=weight_decay,
    )
    optimizer = optimizers.build_optimizer(config, total_steps=20)
    expected = optimizers.WarmupSchedule(
        PEAK, total_steps=20, num_warmup_steps=4, schedule="cosine"
    )
    assert vars(optimizer._learning_rate) == vars(expected)
    assert (optimizer.weight_decay or 0.0) == weight_decay
    assert (optimizer.beta_1, optimizer.beta_2) == (0.9, 0.999)
    assert optimizer.epsilon == 1e-8
    # Clipping is the training step's: here it would come before the all-reduce.
    assert (optimizer.clipnorm, optimizer.clipvalue) == (None, None)
    assert optimizer.global_clipnorm is None


_LAYER_DECAYED = (
    "self_attention_layer/query/kernel",
    "self_attention_layer/key/kernel",
    "self_attention_layer/value/kernel",
    "self_attention_layer/attention_output/kernel",
    "feedforward_intermediate_dense/kernel",
    "feedforward_output_dense/kernel",
)
_LAYER_KEPT = (
    "self_attention_layer/query/bias",
    "self_attention_layer/key/bias",
    "self_attention_layer/value/bias",
    "self_attention_layer/attention_output/bias",
    "self_attention_layer_norm/gamma",
    "self_attention_layer_norm/beta",
    "feedforward_layer_norm/gamma",
    "feedforward_layer_norm/beta",
    "feedforward_intermediate_dense/bias",
    "feedforward_output_dense/bias",
)
DECAYED = {
    "token_embedding/embeddings",
    "position_embedding/embeddings",
    "segment_embedding/embeddings",
    *(f"transformer_layer_{n}/{name}" for n in (0, 1) for name in _LAYER_DECAYED),
    "pooled_dense/kernel",
    "logits/kernel",
}
KEPT = {
    "embeddings_layer_norm/gamma",
    "embeddings_layer_norm/beta",
    *(f"transformer_layer_{n}/{name}" for n in (0, 1) for name in _LAYER_KEPT),
    "pooled_dense/bias",
    "logits/bias",
}
POOLER = {"pooled_dense/kernel", "pooled_dense/bias"}


def make_classifier(preset: str, pooling: Any) -> keras.Model:
    """A tiny classifier, none of whose weights is 0."""
    model = build_classifier(
        load_preset(preset), num_classes=2, pooling=pooling, dropout=None, seed=0
    )
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_which_variables_decay(pooling: str, tiny_preset: str) -> None:
    """By name; and by what happens to them when there is no gradient."""
    model = make_classifier(tiny_preset, pooling)
    variables = model.trainable_variables
    learning_rate, weight_decay = 0.1, 0.5
    optimizer = optimizers.AdamW(learning_rate=learning_rate, weight_decay=weight_decay)
    decayed, kept = optimizers.exclude_from_weight_decay(optimizer, variables)
    unread = POOLER if pooling == "mean" else set()
    assert set(decayed) == DECAYED - unread
    assert set(kept) == KEPT - unread
    assert (len(decayed), len(kept)) == {"first": (17, 24), "mean": (16, 23)}[pooling]

    before = {variable.path: variable.numpy() for variable in variables}
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    for variable in variables:
        factor = 1 - learning_rate * weight_decay if variable.path in DECAYED else 1
        np.testing.assert_allclose(
            variable.numpy(),
            before[variable.path] * np.float32(factor),
            rtol=2e-7 if variable.path in DECAYED else 0,
            err_msg=variable.path,
        )


def test_no_weight_decay(tiny_preset: str) -> None:
    model = make_classifier(tiny_preset, "first")
    variables = model.trainable_variables
    optimizer = optimizers.AdamW(learning_rate=0.1, weight_decay=0.0)
    decayed, kept = optimizers.exclude_from_weight_decay(optimizer, variables)
    assert decayed == []
    assert set(kept) == DECAYED | KEPT
    before = [variable.numpy() for variable in variables]
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def numpy_adamw(
    value: np.ndarray,
    gradients: list[np.ndarray],
    *,
    learning_rate: Callable[[int], float],
    weight_decay: float,
) -> np.ndarray:
    """Loshchilov & Hutter 2019, algorithm 2, as torch.optim.AdamW documents it."""
    beta_1, beta_2, epsilon = 0.9, 0.999, 1e-8
    value = value.astype(np.float64)
    m, v = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients):
        rate = learning_rate(step)
        value = value - rate * weight_decay * value
        m = beta_1 * m + (1 - beta_1) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient**2
        m_hat = m / (1 - beta_1 ** (step + 1))
        v_hat = v / (1 - beta_2 ** (step + 1))
        value = value - rate * m_hat / (np.sqrt(v_hat) + epsilon)
    return value


NUM_STEPS = 8
# Keras adds epsilon before the bias correction: in the paper's terms its epsilon is
# 1e-8 / sqrt(1 - 0.999^t), 3e-7 at first, which is 3e-6 of an update by a gradient of
# 0.1. The float32 of 1 - 0.999^t is good to 6e-5, its root to 3e-5: of an update of
# 0.01 that is 3e-7 a step. Decay after the update would be 5e-5 off, coupled decay
# (L2) 1e-2. Measured: 3.1e-7 after all steps.
ADAMW_TOLERANCE = 3e-6


@pytest.mark.parametrize("factor", [None, 1.0, 0.5])
def test_adamw_is_the_papers(factor: float | None) -> None:
    """Of an embedding's rows 0 and 1 are used at each step, 2 and 3 at the first.

    A factor is one of the rate, and so of the decay.
    """
    generator = np.random.default_rng(0)
    table = generator.uniform(0.5, 1.5, [6, 4])
    gradients = [
        generator.uniform(0.1, 2, [6, 4]) * generator.choice([-1, 1], [6, 4])
        for _ in range(NUM_STEPS)
    ]
    for step, gradient in enumerate(gradients):
        gradient[4:] = 0
        if step:
            gradient[2:] = 0
    schedule = optimizers.WarmupSchedule(
        0.01, total_steps=NUM_STEPS, num_warmup_steps=2
    )
    variable = keras.Variable(table, dtype="float32", name="embeddings")
    optimizer = optimizers.AdamW(learning_rate=schedule, weight_decay=0.5)
    optimizers.exclude_from_weight_decay(optimizer, [variable])
    if factor is not None:
        optimizer.rate_factors = [factor]
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient, tf.float32)], [variable])

    rates = [0, 0.005, *(0.01 * (NUM_STEPS - s) / (NUM_STEPS - 2) for s in range(2, 8))]
    rates = [rate * (factor or 1.0) for rate in rates]
    expected = numpy_adamw(
        table, gradients, learning_rate=rates.__getitem__, weight_decay=0.5
    )
    np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=ADAMW_TOLERANCE)
    # What is not used still moves: by its decaying moments, and by weight decay.
    shrunk = table * math.prod(1 - 0.5 * rate for rate in rates)
    np.testing.assert_allclose(variable.numpy()[4:], shrunk[4:], atol=ADAMW_TOLERANCE)
    assert np.abs(variable.numpy() - shrunk)[2:4].min() > 1e-3
    assert np.abs(shrunk - table).min() > 1e-3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_is_let_go_later_waits_to_the_bit(jit_compile: bool) -> None:
    """Then it moves as if its rate had been 0 so far: with moments of all updates."""
    generator, waits = np.random.default_rng(0), 3
    start = generator.uniform(0.5, 1.5, [2, 99]).astype(np.float32)
    gradients = generator.uniform(0.1, 2, [NUM_STEPS, 99])
    variables = [
        keras.Variable(value, name=name)
        for value, name in zip(start, ("head", "layer"))
    ]
    optimizer = optimizers.AdamW(learning_rate=0.01, weight_decay=0.5, ema=0.8)
    optimizers.exclude_from_weight_decay(optimizer, variables)
    optimizer.first_updates = [0, waits]

    @tf.function(autograph=False, jit_compile=jit_compile)
    def update(gradient: tf.Tensor) -> None:
        optimizer.apply([gradient, gradient], variables)

    for step, gradient in enumerate(gradients):
        update(tf.constant(gradient, tf.float32))
        layer, mean = variables[1], optimizers.averages(optimizer)[1]
        waiting = step < waits
        assert np.array_equal(layer.numpy(), start[1]) == waiting
        assert np.array_equal(mean.numpy(), start[1]) == waiting
    for variable, value, wait in zip(variables, start, (0, waits)):
        rates = [0.01 * (step >= wait) for step in range(NUM_STEPS)]
        expected = numpy_adamw(
            value,
            list(gradients),
            learning_rate=rates.__getitem__,
            weight_decay=0.5,
        )
        np.testing.assert_allclose(variable.numpy(), expected, atol=ADAMW_TOLERANCE)


def test_layers_that_are_never_let_go_are_said() -> None:
    optimizer = optimizers.AdamW(learning_rate=0.01, weight_decay=0.5)
    for first_updates, total, said in (
        ((), 5, None),
        ([0, 3, 6], 7, None),
        ([0, 3, 6], 6, "lowest layer after 6 updates, and the run has 6: 1 of 3"),
    ):
        optimizer.first_updates = first_updates
        warning = optimizers.unfreezing_warning(optimizer, total_updates=total)
        assert warning is None if said is None else said in (warning or "")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_adamw_is_keras_own_to_rounding(jit_compile: bool) -> None:
    """One operation a variable in place of Keras's dozen, decay included."""
    schedule = optimizers.WarmupSchedule(0.01, total_steps=20, num_warmup_steps=3)
    keras_own = keras.optimizers.AdamW(schedule, weight_decay=0.5, epsilon=1e-8)
    ours = optimizers.AdamW(learning_rate=schedule, weight_decay=0.5)
    results = []
    for optimizer in (ours, keras_own):
        generator = np.random.default_rng(0)
        variables = [
            keras.Variable(generator.normal(size=shape), dtype="float32", name=name)
            for shape, name in (((9, 7), "kernel"), ((7,), "bias"))
        ]
        optimizers.exclude_from_weight_decay(optimizer, variables)

        @tf.function(autograph=False, jit_compile=jit_compile)
        def update(gradients: list[tf.Tensor]) -> None:
            optimizer.apply(gradients, variables)

        for _ in range(NUM_STEPS):
            update(
                [
                    tf.constant(generator.normal(size=variable.shape), tf.float32)
                    for variable in variables
                ]
            )
        results.append([variable.numpy() for variable in optimizer.variables])
        results[-1] += [variable.numpy() for variable in variables]
    for found, expected in zip(*results, strict=True):
        # 1 - beta_2 is 1.3e-5 off.
        np.testing.assert_allclose(found, expected, rtol=3e-5, atol=3e-7)


def test_decay_pulls_to_the_start_what_has_one() -> None:
    old, new = (keras.Variable([4.0, 8.0], name=name) for name in ("old", "new"))
    optimizer = optimizers.AdamW(learning_rate=0.1, weight_decay=5.0)
    optimizers.exclude_from_weight_decay(optimizer, [old, new])
    optimizers.decay_towards_start(optimizer, [old, new], new=[new.path])
    for variable in (old, new):
        variable.assign([6.0, 6.0])
    optimizer.apply([tf.zeros(2), tf.zeros(2)], [old, new])
    np.testing.assert_allclose(old.numpy(), [5.0, 7.0], rtol=1e-6)
    np.testing.assert_allclose(new.numpy(), [3.0, 3.0], rtol=1e-6)


def test_the_mean_of_the_weights_counts_within_its_block() -> None:
    variable = keras.Variable([1.0, 2.0], name="kernel")
    optimizer = optimizers.AdamW(learning_rate=0.1, weight_decay=0.0, ema=0.75)
    optimizers.exclude_from_weight_decay(optimizer, [variable])
    seen = []
    for step in range(4):
        optimizer.apply([tf.constant([1.0, -step])], [variable])
        seen.append(variable.numpy())
    mean = seen[0]
    for value in seen[1:]:
        mean = 0.75 * mean + 0.25 * value
    with optimizers.averaged(optimizer, [variable]):
        np.testing.assert_allclose(variable.numpy(), mean, rtol=1e-6)
    np.testing.assert_array_equal(variable.numpy(), seen[-1])
    (average,) = optimizers.averages(optimizer)
    np.testing.assert_allclose(average.numpy(), mean, rtol=1e-6)
    plain = optimizers.AdamW(learning_rate=0.1, weight_decay=0.0)
    plain.build([variable])
    assert optimizers.averages(plain) == []


GRADIENTS = ([3.0, 0.0], [[0.0], [4.0]])  # Of norm 5.


@pytest.mark.parametrize(
    ("clip_norm", "factor"),
    [(0.0, 1.0), (10.0, 1.0), (5.0, 1.0), (2.5, 0.5), (0.001, 0.0002)],
)
def test_clip_by_global_norm(clip_norm: float, factor: float) -> None:
    clipped, norm = optimizers.clip_by_global_norm(
        [tf.constant(gradient) for gradient in GRADIENTS], clip_norm=clip_norm
    )
    assert norm.dtype == tf.float32 and float(norm) == 5.0
    assert len(clipped) == 2
    for found, gradient in zip(clipped, GRADIENTS):
        np.testing.assert_allclose(found, np.array(gradient) * factor, rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_clipping_hides_no_infinity(value: float, clip_norm: float) -> None:
    clipped, norm = optimizers.clip_by_global_norm(
        [tf.constant([1.0]), tf.constant([value])], clip_norm=clip_norm
    )
    assert not math.isfinite(float(norm))
    assert not np.isfinite(clipped[1]).any()

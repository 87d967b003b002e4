"""N replicas compute what one computes; dropout is a function of step and replica."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.config import OptimizerConfig
from trainer.data import batches, plans
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_few
from trainer.modeling import classifier as classifier_lib
from trainer.modeling import optimizers
from trainer.runtime import strategies
from trainer.modeling.forward import Fusion
from trainer.training.steps import StepNumbers, TrainStep

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
        tiny.compile_classifier(model, optimizer)
    return model


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a few steps gave; nothing in it keeps a graph alive.

    Attributes:
      losses, norms, waits: float [steps].
      weights: of the trainable variables.
      logits: float [NUM_ROWS, 2], of the trained model.
      num_traced: how often a step, and several of them, were traced.
    """

    losses: np.ndarray
    norms: np.ndarray
    waits: np.ndarray
    weights: list[np.ndarray]
    logits: np.ndarray
    num_traced: tuple[int, int]


def train(num_replicas: int, preset: str, **settings: Any) -> Trained:
    """A few steps; those of the same settings are done once."""
    policy = keras.mixed_precision.dtype_policy().name
    return _train(num_replicas, preset, policy, **settings)


@functools.cache
def _train(
    num_replicas: int,
    preset: str,
    policy: str,
    *,
    num_epochs: int = 2,
    clip_norm: float = 0.5,
    fusion: Fusion = "none",
    accumulation_steps: int = 1,
    steps_per_call: int = 1,
    rematerialize: bool = False,
    window_length: int = tiny.MAX_LENGTH,
    class_weights: tuple[float, float] | None = None,
    any_length: bool = False,
    **settings: Any,
) -> Trained:
    del policy  # It is Keras's own state; here it tells results apart.
    texts, labels = tiny.labelled_sentences(NUM_ROWS)
    buckets = tuple(range(32, 65, min(window_length, 32)))
    tokens = tokens_of(window_length, buckets[-1] // window_length)
    strategy = strategy_of(num_replicas)
    model = make_classifier(strategy, preset, **settings)
    plan = plans.TrainingPlan(
        tokens.lengths, buckets, seed=0, batch_size=BATCH_SIZE, num_epochs=num_epochs
    )
    weights = _weights(class_weights, labels)
    feeder = batches.BatchFeeder(
        tokens, labels, buckets, strategy, example_weights=weights
    )
    computed: dict[str, Any] = dict(
        fusion=fusion, window_length=window_length, any_length=any_length
    )
    step = tiny.make_train_step(
        model,
        strategy,
        clip_norm=clip_norm,
        seed=0,
        accumulation_steps=accumulation_steps,
        steps_per_call=steps_per_call,
        rematerialize=rematerialize,
        **computed,
    )
    feed = feeder(plan.from_step(0))
    calls = [
        step(feed.pipelines, feed.order[first : first + steps_per_call])
        for first in range(0, plan.total_steps, steps_per_call)
    ]
    predict = tiny.make_predict_step(model, strategy, **computed)
    evaluation = plans.plan_evaluation(tokens.lengths, buckets, batch_size=BATCH_SIZE)
    return Trained(
        losses=np.concatenate([call.losses for call in calls]),
        norms=np.concatenate([call.gradient_norms for call in calls]),
        waits=np.concatenate([call.input_wait_secs for call in calls]),
        weights=[v.numpy() for v in model.trainable_variables],
        logits=_logits(predict, feeder(evaluation)),
        num_traced=(
            _num_traced(step._step) if steps_per_call > 1 else 0,
            _num_traced(step._one if any_length else step._many),
        ),
    )


def _weights(
    class_weights: tuple[float, float] | None, labels: np.ndarray
) -> np.ndarray | None:
    return np.array(class_weights, np.float32)[labels] if class_weights else None


def _logits(predict: Any, feed: batches.Feed) -> np.ndarray:
    logits = np.zeros([NUM_ROWS, 2])
    for rows, batch in feed:
        logits[rows[rows >= 0]] = predict(batch).numpy()[rows >= 0]
    return logits


def _num_traced(function: Any) -> int:
    return int(function.experimental_get_tracing_count())


@functools.cache
def tokens_of(window_length: int, max_windows: int) -> TokenizedTexts:
    """Token ids of the sentences that all steps are trained on."""
    texts, _ = tiny.labelled_sentences(NUM_ROWS)
    encoder = TextEncoder(
        tiny.VOCABULARY,
        lowercase=True,
        window_length=window_length,
        max_windows=max_windows,
    )
    return encode_few(texts, encoder)


def assert_same(one: Trained, other: Trained, *, tolerance: float) -> None:
    """Losses, weights and predictions agree to rounding."""
    np.testing.assert_allclose(one.losses, other.losses, atol=tolerance)
    np.testing.assert_allclose(one.norms, other.norms, rtol=1e-4)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    np.testing.assert_allclose(one.logits, other.logits, atol=10 * tolerance)


@pytest.mark.parametrize(
    ("num_replicas", "pooling"),
    [
        (2, "mean"),
        pytest.param(2, "first", marks=pytest.mark.slow),
        pytest.param(4, "mean", marks=pytest.mark.slow),
    ],
)
def test_replicas_equal_one(num_replicas: int, pooling: str, tiny_preset: str) -> None:
    """Through clipping, decay, the schedule, an uneven batch, and prediction."""
    settings: Any = dict(pooling=pooling, weight_decay=0.1)
    one = train(1, tiny_preset, **settings)
    several = train(num_replicas, tiny_preset, **settings)
    assert one.norms.max() > 0.5, "nothing was clipped: the test would show nothing"
    assert_same(one, several, tolerance=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_replicas", "fusion", "rematerialize", "dropout"),
    [
        (1, "pieces", False, 0.1),
        (1, "whole", False, 0.1),
        (1, "none", True, 0.1),
        (2, "whole", True, 0.0),
    ],
)
def test_fast_equals_plain(
    num_replicas: int,
    fusion: Fusion,
    rematerialize: bool,
    dropout: float,
    tiny_preset: str,
) -> None:
    """Dropout draws the same masks however it is compiled."""
    plain = train(1, tiny_preset, dropout=dropout)
    fast = train(
        num_replicas,
        tiny_preset,
        fusion=fusion,
        rematerialize=rematerialize,
        dropout=dropout,
    )
    assert_same(plain, fast, tolerance=2e-5)


@pytest.mark.parametrize(
    ("num_replicas", "fusion", "accumulation_steps"),
    [
        (2, "pieces", 1),
        pytest.param(1, "whole", 2, marks=pytest.mark.slow),
    ],
)
def test_windows_are_trained_alike_however_they_are_computed(
    num_replicas: int, fusion: Fusion, accumulation_steps: int, tiny_preset: str
) -> None:
    plain = train(1, tiny_preset, window_length=32)
    other = train(
        num_replicas,
        tiny_preset,
        window_length=32,
        fusion=fusion,
        accumulation_steps=accumulation_steps,
    )
    assert_same(plain, other, tolerance=2e-5)
    # What windows change is more than rounding.
    whole = train(1, tiny_preset)
    assert np.abs(plain.logits - whole.logits).max() > 1e-4


@pytest.mark.parametrize(
    ("num_replicas", "accumulation_steps", "fusion"),
    [
        (1, 4, "none"),
        pytest.param(2, 2, "none", marks=pytest.mark.slow),
        pytest.param(1, 2, "whole", marks=pytest.mark.slow),
    ],
)
def test_accumulated_parts_equal_the_large_batch(
    num_replicas: int, accumulation_steps: int, fusion: Fusion, tiny_preset: str
) -> None:
    """The schedule counts updates; the uneven batch has parts without a real row."""
    whole = train(1, tiny_preset)
    parts = train(
        num_replicas,
        tiny_preset,
        accumulation_steps=accumulation_steps,
        fusion=fusion,
    )
    assert whole.norms.max() > 0.5, "nothing was clipped: the test would show less"
    assert_same(whole, parts, tolerance=2e-5)


@pytest.mark.parametrize(
    ("num_replicas", "accumulation_steps"),
    [
        (2, 2),
        pytest.param(2, 1, marks=pytest.mark.slow),
        pytest.param(1, 4, marks=pytest.mark.slow),
    ],
)
def test_class_weights_are_exact_however_they_are_computed(
    num_replicas: int, accumulation_steps: int, tiny_preset: str
) -> None:
    """By replicas and in parts, whose own weights do not sum to a share of 1."""
    settings: Any = dict(class_weights=(0.25, 3.0))
    whole = train(1, tiny_preset, **settings)
    assert_same(
        whole,
        train(
            num_replicas,
            tiny_preset,
            accumulation_steps=accumulation_steps,
            **settings,
        ),
        tolerance=2e-5,
    )
    plain = train(1, tiny_preset)
    assert np.abs(whole.logits - plain.logits).max() > 1e-2


def test_a_weight_of_2_is_an_example_twice(
    tiny_preset: str, cache_dir: pathlib.Path
) -> None:
    texts, labels = tiny.labelled_sentences(NUM_ROWS)
    tokens = tiny.tokenize(texts, cache_dir)
    example_weights = np.ones(NUM_ROWS, np.float32)
    example_weights[9] = 2.0
    model = make_classifier(strategy_of(1), tiny_preset)
    step = tiny.make_train_step(model, strategy_of(1), clip_norm=0.0, seed=0)
    start = model.get_weights()
    found = []
    for rows, weights in (
        ([4, 2, 9, 9], None),
        ([4, 2, 9, -1], example_weights),
        ([4, 2, 9, -1], None),
    ):
        feeder = batches.BatchFeeder(
            tokens,
            labels,
            (64,),
            strategy_of(1),
            nominal_batch_size=4,
            example_weights=weights,
        )
        plan = plans.BatchPlan(np.zeros(1, np.int32), np.array([rows]))
        model.set_weights(start)
        numbers = one_step(step, next(iter(feeder(plan)))[1])
        found.append((numbers.losses.numpy(), numbers.gradient_norms.numpy()))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert np.abs(np.subtract(found[0], found[2])).min() > 1e-3


@pytest.mark.parametrize(
    ("num_replicas", "fusion"),
    [
        (1, "none"),
        pytest.param(1, "whole", marks=pytest.mark.slow),
        pytest.param(2, "none", marks=pytest.mark.slow),
        pytest.param(2, "whole", marks=pytest.mark.slow),
    ],
)
def test_several_steps_a_call_equal_single_ones(
    num_replicas: int, fusion: Fusion, one_layer_preset: str
) -> None:
    """Of both lengths, dropout included; the last call has fewer steps."""
    settings: Any = dict(fusion=fusion, dropout=0.1)
    single = train(num_replicas, one_layer_preset, **settings)
    several = train(num_replicas, one_layer_preset, steps_per_call=3, **settings)
    assert len(single.losses) == 8
    for name in ("losses", "norms", "weights"):
        for a, b in zip(getattr(single, name), getattr(several, name), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
    assert several.num_traced == (2, 1), "not once a length"
    for numbers in (single, several):
        assert numbers.waits.shape == (8,) and numbers.waits.min() > 0


def test_waiting_for_input_is_measured(
    tiny_preset: str, cache_dir: pathlib.Path
) -> None:
    """In a pipeline that is slow at its third batch."""
    model = make_classifier(strategy_of(1), tiny_preset)
    batch = one_batch([4, 2, 9, 1], cache_dir, 64)

    def after_half_a_second(index: tf.Tensor, batch: batches.Batch) -> batches.Batch:
        secs = tf.cast(index == 2, tf.float64) / 2
        with tf.control_dependencies([tf.numpy_function(time.sleep, [secs], [])]):
            copied: batches.Batch = tf.nest.map_structure(tf.identity, batch)
            return copied

    dataset = tf.data.Dataset.from_tensors(batch).repeat().enumerate()
    dataset = dataset.map(after_half_a_second)
    # Left to itself, tf.data would work ahead here.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    pipelines = [iter(dataset.with_options(options))]
    step = tiny.make_train_step(
        model, strategy_of(1), clip_norm=0.0, seed=0, steps_per_call=4
    )
    several = step(pipelines, np.zeros(4, np.int32)).input_wait_secs.numpy()
    pipelines = [iter(dataset.with_options(options))]
    single = [step(pipelines, np.zeros(1, np.int32)) for _ in range(4)]
    for waits in (several, np.concatenate([each.input_wait_secs for each in single])):
        assert waits[2] > 0.49 and np.delete(waits, 2).max() < 0.49


def one_batch(rows: list[int], cache_dir: pathlib.Path, length: int) -> batches.Batch:
    """A batch of these rows, -1 for none, padded to a length."""
    texts, labels = tiny.labelled_sentences(NUM_ROWS)
    tokens = tiny.tokenize(texts, cache_dir)
    plan = plans.BatchPlan(np.zeros(1, np.int32), np.array([rows]))
    feeder = batches.BatchFeeder(tokens, labels, (length,), strategy_of(1))
    return next(iter(feeder(plan)))[1]


def one_step(step: TrainStep, batch: batches.Batch) -> StepNumbers:
    """What a step finds on this batch."""
    return step([iter(tf.data.Dataset.from_tensors(batch))], np.zeros(1, np.int32))


def test_padding_changes_nothing(tiny_preset: str, cache_dir: pathlib.Path) -> None:
    """A step on 3 texts in a batch of 8 at length 64 is one on the 3 texts alone.

    What is expected is computed with Keras and TensorFlow alone: the plain mean loss
    over the texts, cut to their longest, its gradient, clipped, and Keras's AdamW.
    """
    padded = one_batch([4, 2, 9, -1, -1, -1, -1, -1], cache_dir, 64)
    plain = one_batch([4, 2, 9], cache_dir, 64)
    longest = int(max(plain.inputs.num_tokens))
    assert longest < 64

    model = make_classifier(strategy_of(1), tiny_preset)
    step = tiny.make_train_step(model, strategy_of(1), clip_norm=0.2, seed=0)
    (loss,), (norm,), *_ = one_step(step, padded)

    expected = make_classifier(strategy_of(1), tiny_preset)
    optimizer = keras.optimizers.AdamW(
        expected.optimizer._learning_rate, weight_decay=0.01, epsilon=1e-8
    )
    optimizer.exclude_from_weight_decay(
        [v for v in expected.trainable_variables if v.name in ("bias", "gamma", "beta")]
    )
    variables = [variable.value for variable in expected.trainable_variables]
    with tf.GradientTape() as tape:
        logits = expected(
            classifier_lib.model_inputs(
                plain.inputs.token_ids[:, :longest], plain.inputs.num_tokens
            )
        )
        expected_loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(plain.targets, logits)
        )
    # Dense: of IndexedSlices TensorFlow takes the norm without adding up what belongs
    # to the same row.
    gradients = [
        tf.convert_to_tensor(g) for g in tape.gradient(expected_loss, variables)
    ]
    gradients, expected_norm = tf.clip_by_global_norm(gradients, 0.2)
    optimizer.apply(gradients, expected.trainable_variables)
    assert float(loss) == pytest.approx(float(expected_loss), abs=1e-6)
    assert float(norm) == pytest.approx(float(expected_norm), rel=1e-5)
    assert float(norm) > 0.2, "nothing was clipped: the test would show less"
    for one, other in zip(model.trainable_variables, expected.trainable_variables):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_dropout_is_a_function_of_seed_step_and_replica(
    tiny_preset: str, cache_dir: pathlib.Path
) -> None:
    model = make_classifier(strategy_of(1), tiny_preset, dropout=0.5)
    batch = one_batch([4, 2, 9, 1], cache_dir, 64)
    state = [v.numpy() for v in model.non_trainable_variables]

    def loss(*, seed: int, step: int, replica: int) -> float:
        train_step = tiny.make_train_step(
            model, strategy_of(1), clip_norm=0.0, seed=seed
        )
        return float(train_step._loss_and_gradients(batch, step, 0, replica)[0])

    cases = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0)]
    losses = [loss(seed=s, step=t, replica=r) for s, t, r in cases]
    assert len(set(losses)) == len(cases), "two of them drew the same masks"
    assert losses == [loss(seed=s, step=t, replica=r) for s, t, r in cases]
    for before, variable in zip(state, model.non_trainable_variables):
        np.testing.assert_array_equal(before, variable.numpy())


def test_mixed_precision_keeps_weights_in_float32(tiny_preset: str) -> None:
    with strategies.precision("mixed_bfloat16"):
        mixed = train(1, tiny_preset, pooling="mean")
    plain = train(1, tiny_preset, pooling="mean")
    assert {w.dtype for w in mixed.weights} == {np.dtype("float32")}
    np.testing.assert_allclose(mixed.losses, plain.losses, rtol=0.05)
    assert np.abs(mixed.logits - plain.logits).max() > 0, "nothing was mixed"


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.1},
        {"dropout": 0.1, "accumulation_steps": 2},
        {"dropout": 0.1, "fusion": "pieces"},
        pytest.param(
            {"window_length": 32, "rematerialize": True}, marks=pytest.mark.slow
        ),
    ],
)
def test_one_graph_for_all_lengths_computes_the_same_bits(
    settings: dict[str, Any], one_layer_preset: str
) -> None:
    each = train(1, one_layer_preset, num_epochs=1, **settings)
    one = train(1, one_layer_preset, num_epochs=1, any_length=True, **settings)
    assert one.num_traced == (0, 1)
    for name in ("losses", "norms", "logits"):
        np.testing.assert_array_equal(getattr(one, name), getattr(each, name))
    for found, expected in zip(one.weights, each.weights, strict=True):
        np.testing.assert_array_equal(found, expected)

"""LoRA's factors: where they are, what they compute, what comes of merging."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import LORA_TARGETS, ModelConfig
from trainer.modeling import classifier as classifiers
from trainer.modeling import freezing, lora, presets, weights
from trainer.modeling.forward import Forward
from trainer.modeling.layers import LayerParts, parts_of
from trainer.runtime import strategies

TOKENS = tf.constant([[2, 11, 12, 30, 3], [2, 20, 3, 0, 0]])
NUM_TOKENS = tf.constant([5, 3])
# Of logits up to 0.3: half of the distance of two numbers there, and a little more.
TOLERANCE_BFLOAT16 = 2e-3


def made(preset: str) -> keras.Model:
    return classifiers.build_classifier(
        presets.load_preset(preset), num_classes=2, pooling="first", dropout=0.0, seed=0
    )


def adapted(preset: str, **settings: Any) -> keras.Model:
    classifier = made(preset)
    values: dict[str, Any] = {
        **{"rank": 2, "alpha": 4.0, "targets": ("query", "value"), "seed": 0}
    }
    lora.add(classifier, **values | settings)
    return classifier


def logits(classifier: keras.Model, **settings: Any) -> np.ndarray:
    result: np.ndarray = Forward(classifier, **settings)(TOKENS, NUM_TOKENS).numpy()
    return result


def test_targets_are_the_kernels_of_a_layer() -> None:
    assert LORA_TARGETS == LayerParts.DENSE


def test_untrained_it_answers_as_without(tiny_preset: str) -> None:
    targets = LORA_TARGETS
    np.testing.assert_array_equal(
        logits(adapted(tiny_preset, targets=targets)), logits(made(tiny_preset))
    )


@pytest.mark.parametrize("targets", [("query", "value"), LORA_TARGETS])
def test_numbers_are_those_of_hu(targets: tuple[str, ...], tiny_preset: str) -> None:
    """rank · (in + out) a kernel of all heads; and the head."""
    classifier = adapted(tiny_preset, targets=targets, rank=3)
    expected = 16 * 2 + 2
    for layer in classifier.backbone.transformer_layers:
        for name, dense in parts_of(layer).dense().items():
            num_outputs = math.prod(dense.bias.shape)
            num_inputs = math.prod(dense.kernel.shape) // num_outputs
            expected += 3 * (num_inputs + num_outputs) * (name in targets)
    assert sum(math.prod(v.shape) for v in classifier.trainable_variables) == expected


def test_factors_are_drawn_by_seed_and_place(tiny_preset: str) -> None:
    one, same, other = (adapted(tiny_preset, seed=seed) for seed in (0, 0, 1))
    drawn = [
        [pair.a.numpy() for pair in lora.factors_of(each).values()]
        for each in (one, same, other)
    ]
    for a, b, c in zip(*drawn):
        np.testing.assert_array_equal(a, b)
        assert (a != c).all() and np.abs(a).max() <= 1 / math.sqrt(16)
    assert (drawn[0][0] != drawn[0][1]).all()
    assert not any(pair.b.numpy().any() for pair in lora.factors_of(one).values())


@pytest.mark.parametrize("fusion", ["none", "pieces", "whole"])
@pytest.mark.parametrize("rematerialize", [False, True])
def test_at_full_rank_a_step_is_that_of_the_kernel(
    fusion: Any, rematerialize: bool, tiny_preset: str
) -> None:
    """Of gradient descent: with A = 1 and B = 0, B's gradient is the kernel's."""
    whole, small = made(tiny_preset), adapted(tiny_preset, rank=16, alpha=16.0)
    for pair in lora.factors_of(small).values():
        pair.a.assign(np.eye(16))
    moved = []
    for classifier in (whole, small):
        forward = Forward(classifier, fusion=fusion, rematerialize=rematerialize)
        paths = list(lora.factors_of(small))
        if classifier is whole:
            variables = [weights.by_path(whole)[path] for path in paths]
        else:
            variables = [lora.factors_of(small)[path].b for path in paths]

        @tf.function(jit_compile=fusion == "whole")
        def gradients() -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(forward(TOKENS, NUM_TOKENS)[:, 0])
            return tape.gradient(loss, [each.value for each in variables])

        for variable, gradient in zip(variables, gradients()):
            variable.assign_sub(50.0 * gradient)
        moved.append(lora.merged(classifier))
    start = lora.merged(made(tiny_preset))
    assert max(np.abs(moved[0][name] - start[name]).max() for name in start) > 1e-3
    for name, value in moved[0].items():
        np.testing.assert_allclose(moved[1][name], value, rtol=0, atol=1e-5)


def test_merged_it_answers_alike(tiny_preset: str) -> None:
    classifier = adapted(tiny_preset, targets=LORA_TARGETS)
    generator = np.random.default_rng(0)
    for pair in lora.factors_of(classifier).values():
        pair.b.assign(generator.normal(size=pair.b.shape))
    plain = made(tiny_preset)
    weights.assign(lora.merged(classifier), plain)
    expected = logits(classifier)
    np.testing.assert_allclose(logits(plain), expected, rtol=0, atol=1e-5)
    assert np.abs(expected - logits(made(tiny_preset))).max() > 1e-2


@pytest.mark.parametrize("fusion", ["none", "pieces", "whole"])
def test_under_bfloat16_the_factors_are_float32(fusion: Any, tiny_preset: str) -> None:
    """And merged it answers alike: what is rounded is the sum, not the factors."""
    with strategies.precision("mixed_bfloat16"):
        classifier = adapted(tiny_preset, targets=LORA_TARGETS)
        plain = made(tiny_preset)
    generator = np.random.default_rng(0)
    head = generator.normal(size=(16, 2))
    for each in (classifier, plain):
        each.get_layer("logits").kernel.assign(head)
    for pair in lora.factors_of(classifier).values():
        assert pair.a.dtype == pair.b.dtype == pair.product().dtype == "float32"
        pair.b.assign(generator.normal(0, 0.5, size=pair.b.shape))
    merged = lora.merged(classifier)
    assert {value.dtype for value in merged.values()} == {np.dtype(np.float32)}
    before = logits(plain, fusion=fusion)
    weights.assign(merged, plain)
    expected = logits(classifier, fusion=fusion)
    np.testing.assert_allclose(
        logits(plain, fusion=fusion), expected, rtol=0, atol=TOLERANCE_BFLOAT16
    )
    assert np.abs(expected - before).max() > 10 * TOLERANCE_BFLOAT16


def test_a_rank_beyond_the_width_is_named(tiny_preset: str) -> None:
    with pytest.raises(ValueError, match=r"--lora_rank must be at most 16"):
        adapted(tiny_preset, rank=17)


@pytest.mark.parametrize(
    ("num_layers", "frozen"),
    [(0, 0), (1, 5 + 16), (2, 5 + 32), (freezing.ALL_BUT_HEAD, 5 + 32 + 2)],
)
def test_frozen_layers(num_layers: int, frozen: int, tiny_preset: str) -> None:
    classifier = made(tiny_preset)
    freezing.freeze(classifier, num_layers=num_layers)
    held = {v.path for v in weights.by_path(classifier).values() if not v.trainable}
    assert len(held) == frozen and not any("logits" in path for path in held)
    assert len(classifier.trainable_variables) == 5 + 32 + 2 + 2 - frozen


def test_more_frozen_layers_than_there_are_are_named(tiny_preset: str) -> None:
    with pytest.raises(ValueError, match="--freeze_layers must be at most 2"):
        freezing.freeze(made(tiny_preset), num_layers=3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_rank": 2, "freeze_layers": 1}, "give one of the two"),
        (
            {"lora_targets": ("query", "keys")},
            "--lora_targets must be some of query, key",
        ),
        ({"lora_targets": ()}, "--lora_targets must be some of"),
        ({"lora_alpha": 0.0}, "--lora_alpha must be above 0"),
        ({"freeze_layers": -2}, "--freeze_layers must be at least -1"),
        ({"lora_rank": -1}, "--lora_rank must be at least 0"),
    ],
)
def test_settings_that_do_not_go(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ModelConfig(preset="any", **settings)

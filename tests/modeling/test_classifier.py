"""The head on the encoder: what it reads, how it starts, what trains."""

from __future__ import annotations

import pathlib
from typing import Any, get_args

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.config import Pooling
from trainer.modeling.classifier import (
    build_classifier,
    compile_classifier,
    model_inputs,
)
from trainer.modeling.presets import Preset, load_preset
from trainer.runtime import strategies
from trainer.tasks.single_label import SingleLabel

POOLINGS = get_args(Pooling)
LENGTHS = (2, 9, 17, 5)


@pytest.fixture(scope="module")
def preset(tiny_hugging_face: str) -> Preset:
    """The checkpoint whose every weight is random, biases included."""
    return load_preset(tiny_hugging_face)


@pytest.fixture(scope="module")
def classifiers(preset: Preset) -> dict[str, keras.Model]:
    """A classifier of two classes for each pooling, its head's bias not zero."""
    made = {pooling: build(preset, pooling=pooling) for pooling in POOLINGS}
    for model in made.values():
        head_of(model)[1].assign([0.3, -0.2])
    return made


def build(
    preset: Preset,
    *,
    pooling: Pooling = "first",
    num_classes: int = 2,
    dropout: float | None = None,
    seed: int = 0,
) -> keras.Model:
    return build_classifier(
        preset, num_classes=num_classes, pooling=pooling, dropout=dropout, seed=seed
    )


def head_of(model: keras.Model) -> tuple[keras.Variable, keras.Variable]:
    """The head's kernel and bias."""
    layer = model.get_layer("logits")
    return layer.kernel, layer.bias


def make_batch(length: int) -> dict[str, tf.Tensor]:
    """Four texts of LENGTHS, padded to `length` with [PAD], whose id is 0."""
    generator = np.random.default_rng(5)
    ids = np.zeros([len(LENGTHS), length], np.int32)
    for row, num_tokens in enumerate(LENGTHS):
        ids[row, :num_tokens] = generator.integers(4, 60, num_tokens)
    return model_inputs(tf.constant(ids), tf.constant(LENGTHS))


def test_model_inputs() -> None:
    ids = tf.constant([[2, 7, 3], [2, 3, 0]])
    inputs = model_inputs(ids, tf.constant([3, 2], tf.int64))
    assert set(inputs) == {"token_ids", "padding_mask", "segment_ids"}
    for name, expected in {
        "token_ids": [[2, 7, 3], [2, 3, 0]],
        "padding_mask": [[1, 1, 1], [1, 1, 0]],
        "segment_ids": [[0, 0, 0], [0, 0, 0]],
    }.items():
        assert inputs[name].dtype == tf.int32
        np.testing.assert_array_equal(inputs[name], expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_does_not_matter(
    pooling: str, classifiers: dict[str, keras.Model]
) -> None:
    model = classifiers[pooling]
    shortest = model(make_batch(max(LENGTHS))).numpy()
    for length in (max(LENGTHS) + 1, 32, tiny.MAX_LENGTH):
        longer = model(make_batch(length)).numpy()
        np.testing.assert_allclose(shortest, longer, atol=1e-5)
    assert np.ptp(shortest, axis=0).min() > 1e-3, "all texts are alike to the model"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_other_rows_do_not_matter(
    pooling: str, classifiers: dict[str, keras.Model]
) -> None:
    model, batch = classifiers[pooling], make_batch(32)
    together = model(batch).numpy()
    for row in range(len(LENGTHS)):
        alone = model({name: value[row : row + 1] for name, value in batch.items()})
        np.testing.assert_allclose(together[row : row + 1], alone, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_the_head_reads(pooling: str, classifiers: dict[str, keras.Model]) -> None:
    model, batch = classifiers[pooling], make_batch(32)
    outputs = model.backbone(batch)
    hidden = outputs["sequence_output"].numpy()
    read = {
        "first": outputs["pooled_output"].numpy(),
        "mean": np.stack([row[:n].mean(axis=0) for row, n in zip(hidden, LENGTHS)]),
    }[pooling]
    kernel, bias = (variable.numpy() for variable in head_of(model))
    np.testing.assert_allclose(model(batch), read @ kernel + bias, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_trainable_variable_gets_a_gradient(
    pooling: str, classifiers: dict[str, keras.Model]
) -> None:
    model = classifiers[pooling]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(make_batch(17))[:, 0])
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        largest = np.abs(tf.convert_to_tensor(gradient)).max()
        # Softmax is blind to what is added to all scores: a key's bias is no use.
        assert largest > 1e-6 or variable.path.endswith("key/bias"), variable.path
    is_pooler = [variable.path.startswith("pooled_dense") for variable in variables]
    assert sum(is_pooler) == {"first": 2, "mean": 0}[pooling]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_all_but_an_unread_pooler_train(
    pooling: str, classifiers: dict[str, keras.Model]
) -> None:
    frozen = [
        variable.path
        for variable in classifiers[pooling].non_trainable_variables
        if variable.name != "seed_generator_state"
    ]
    pooler = ["pooled_dense/kernel", "pooled_dense/bias"]
    assert frozen == {"first": [], "mean": pooler}[pooling]


def test_first_weights_of_the_head_depend_on_the_seed_only(
    preset: Preset, tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    shallow = keras_nlp.models.BertBackbone(
        vocabulary_size=len(tiny.VOCABULARY),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
    )
    shallow.save_to_preset(str(tmp_path))
    keras_nlp.models.BertTokenizer(list(tiny.VOCABULARY)).save_to_preset(str(tmp_path))
    kernels = []
    presets: list[tuple[str, Any]] = [
        (preset.name, "first"),
        (preset.name, "mean"),
        (tiny_preset, "first"),
        (str(tmp_path), "mean"),
    ]
    for number, (name, pooling) in enumerate(presets):
        keras.utils.set_random_seed(number)  # What was drawn before is of no effect.
        dropout = 0.1 * number  # Nor is it of effect whether there is dropout.
        kernel, bias = head_of(
            build(load_preset(name), pooling=pooling, dropout=dropout, seed=11)
        )
        assert not bias.numpy().any()
        kernels.append(kernel.numpy())
    for kernel in kernels[1:]:
        np.testing.assert_array_equal(kernels[0], kernel)
    other = head_of(build(preset, seed=12))[0].numpy()
    assert np.abs(other - kernels[0]).max() > 1e-3
    # A truncated normal distribution of deviation 0.02, as BERT's own.
    assert 0.01 < kernels[0].std() < 0.03
    assert np.abs(kernels[0]).max() <= 0.04


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("num_classes", [2, 5])
def test_number_of_classes(num_classes: int, pooling: Pooling, preset: Preset) -> None:
    model = build(preset, num_classes=num_classes, pooling=pooling)
    logits = model(make_batch(17))
    assert logits.shape == (len(LENGTHS), num_classes)
    assert logits.dtype == tf.float32


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("dropout", "rate"), [(None, 0.1), (0.0, 0.0), (0.35, 0.35)])
def test_dropout_is_set_everywhere(
    dropout: float | None, rate: float, pooling: Pooling, preset: Preset
) -> None:
    model = build(preset, pooling=pooling, dropout=dropout)
    layers = {
        layer.name: layer.rate
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Dropout)
    }
    assert "classifier_dropout" in layers and "embeddings_dropout" in layers
    assert set(layers.values()) == {rate}
    attention = [layer._self_attention_layer for layer in encoder_layers(model)]
    assert [layer.dropout for layer in attention] == [rate] * 2
    batch = make_batch(17)
    moved = np.abs(model(batch, training=True) - model(batch, training=False)).max()
    assert (moved > 1e-6) == (rate > 0)


def encoder_layers(model: keras.Model) -> list[keras.layers.Layer]:
    layers: list[keras.layers.Layer] = model.backbone.transformer_layers
    return layers


@pytest.mark.parametrize("pooling", POOLINGS)
def test_head_is_float32_under_bfloat16(pooling: Pooling, preset: Preset) -> None:
    """In training too; bfloat16 logits would give probabilities of two digits."""
    with strategies.precision("mixed_bfloat16"):
        model = build(preset, pooling=pooling)
    assert model.backbone.compute_dtype == "bfloat16"
    logits = model(make_batch(17), training=True)
    assert logits.dtype == tf.float32
    rounded = tf.cast(tf.cast(logits, tf.bfloat16), tf.float32)
    assert np.abs(logits - rounded).max() > 0


def test_mean_and_its_head_are_float32_under_bfloat16(preset: Preset) -> None:
    with strategies.precision("mixed_bfloat16"):
        model = build(preset, pooling="mean")
    batch = make_batch(tiny.MAX_LENGTH)
    hidden = model.backbone(batch)["sequence_output"]
    assert hidden.dtype == tf.bfloat16, "the encoder is not under the policy"
    logits = model(batch)
    assert logits.dtype == tf.float32
    assert model.get_layer("logits").compute_dtype == "float32"
    hidden = tf.cast(hidden, tf.float32).numpy()
    mean = np.stack([row[:n].mean(axis=0) for row, n in zip(hidden, LENGTHS)])
    # A sum or a product in bfloat16 would be 1e-3 off.
    expected = mean @ head_of(model)[0].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_compiled_loss_is_per_example_and_from_logits(preset: Preset) -> None:
    model = build(preset)
    optimizer = keras.optimizers.SGD()
    compile_classifier(model, optimizer, loss=SingleLabel().loss())
    assert model.optimizer is optimizer
    logits = np.array([[4.0, 1.0], [-2.0, 3.0], [0.0, 0.0]], np.float32)
    labels = np.array([0, 0, 1])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(shares[np.arange(3), labels])
    np.testing.assert_allclose(model.loss(labels, logits), expected, rtol=1e-6)

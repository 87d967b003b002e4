"""Weights in 8 bits: how far they and the answers are from float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import tiny_export
from trainer.modeling.forward import Forward
from trainer.modeling.layers import parts_of
from trainer.serving.formats.quantization import Int8Forward


@pytest.fixture(scope="module", params=["first", "mean"])
def forwards(
    request: pytest.FixtureRequest, tiny_hugging_face: str
) -> tuple[Any, Forward, Int8Forward]:
    """A classifier, called in float32 and in 8 bits."""
    classifier = tiny_export.make_classifier(tiny_hugging_face, request.param)
    return classifier, Forward(classifier), Int8Forward(classifier, window_length=32)


def test_each_number_is_off_by_half_a_step_at_most(
    forwards: tuple[Any, Forward, Int8Forward],
) -> None:
    classifier, plain, small = forwards
    for layer in classifier.backbone.transformer_layers:
        for dense in parts_of(layer).dense().values():
            expected, found = plain.kernel(dense).numpy(), small.kernel(dense).numpy()
            step = np.abs(expected).max(axis=0, keepdims=True) / 127
            assert found.shape == expected.shape
            assert (np.abs(found - expected) <= step * 0.5001).all()
            assert np.abs(found - expected).max() > 0
    table = classifier.backbone.token_embedding.embeddings
    ids = tf.constant([[3, 1], [40, 3]])
    expected, found = table.numpy()[ids.numpy()], small.rows(table, ids).numpy()
    step = np.abs(expected).max(axis=-1, keepdims=True) / 127
    assert (np.abs(found - expected) <= step * 0.5001).all()


def test_a_column_of_zeros(tiny_hugging_face: str) -> None:
    classifier = tiny_export.make_classifier(tiny_hugging_face, "first")
    dense = parts_of(classifier.backbone.transformer_layers[0]).intermediate
    kernel = dense.kernel.numpy()
    kernel[:, 3] = 0
    dense.kernel.assign(kernel)
    found = Int8Forward(classifier, window_length=32).kernel(dense).numpy()
    assert np.isfinite(found).all() and (found[:, 3] == 0).all()


def test_answers_are_near(forwards: tuple[Any, Forward, Int8Forward]) -> None:
    _, plain, small = forwards
    generator = np.random.default_rng(0)
    ids = tf.constant(generator.integers(4, 60, [6, 20]), tf.int32)
    num_tokens = tf.constant([20, 3, 9, 20, 15, 1])
    expected, found = plain(ids, num_tokens), small(ids, num_tokens)
    assert 0 < np.abs(found - expected).max() < 0.25
    assert np.ptp(expected) > 1


def test_kernels_and_table_are_stored_once_and_small(
    forwards: tuple[Any, Forward, Int8Forward],
) -> None:
    classifier, plain, small = forwards
    variables = list(small.variables.values())
    assert len({id(v) for v in variables}) == len(variables)
    in_8_bits = [v for v in variables if v.dtype == tf.int8]
    # Six kernels a layer, and the table.
    assert len(in_8_bits) == 6 * 2 + 1
    large = {tuple(v.shape) for v in variables if v.dtype != tf.int8}
    assert tuple(classifier.backbone.token_embedding.embeddings.shape) not in large
    weights = sum(v.numpy().size for v in in_8_bits)
    assert weights > 0.7 * sum(v.numpy().size for v in plain.variables.values())

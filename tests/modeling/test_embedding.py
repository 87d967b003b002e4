"""The gradient of an embedding: the sums themselves, and what XLA makes of them."""

from __future__ import annotations

import itertools
import pathlib
import re
import types
from typing import Any, Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.modeling.test_forward import (
    assert_equal,
    build,
    loss_and_gradients,
    loss_of,
    make_batch,
)
from tests.test_experiment import make_config
from trainer.modeling import embedding
from trainer.modeling.forward import Forward, Fusion
from trainer.stages import build as build_stage
from trainer.stages import resolve

NUM_ROWS, SIZE = 50, 3


def one_after_the_other(values: np.ndarray, indices: np.ndarray) -> np.ndarray:
    sums = np.zeros([NUM_ROWS, values.shape[1]], np.float64)
    np.add.at(sums, indices, values)
    return sums


def draw(count: int, spread: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    indices = generator.integers(0, spread, count)
    return generator.normal(0, 1, [count, SIZE]), indices


CASES = {
    "one": draw(1, NUM_ROWS),
    "a few": draw(7, NUM_ROWS),
    "a block": draw(128, NUM_ROWS),
    "a block and one": draw(129, NUM_ROWS),
    "many": draw(5_000, NUM_ROWS),
    "all the same, over many blocks": draw(1_000, 1),
    "two, the border within a block": draw(777, 2),
    "each once": (np.random.default_rng(0).normal(0, 1, [50, 3]), np.arange(50)[::-1]),
    "the last row": (np.ones([300, SIZE]), np.full(300, NUM_ROWS - 1)),
}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("values", "indices"), CASES.values(), ids=list(CASES))
def test_sums_by_row(
    values: np.ndarray, indices: np.ndarray, jit_compile: bool
) -> None:
    compute = tf.function(
        lambda v, i: embedding.sum_by_row(v, i, num_rows=NUM_ROWS),
        jit_compile=jit_compile,
    )
    numbers = tf.constant(values, tf.float32), tf.constant(indices, tf.int32)
    found = compute(*numbers).numpy()
    expected = one_after_the_other(values, indices)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(compute(*numbers), found)


def gradient_by(gather: Callable[..., tf.Tensor], *, jit_compile: bool) -> Any:
    """The gradient of a table of which some rows are taken."""
    generator = np.random.default_rng(1)
    table = tf.constant(generator.normal(0, 1, [NUM_ROWS, SIZE]), tf.float32)
    ids = tf.constant(generator.integers(0, 20, [4, 60]), tf.int32)

    @tf.function(jit_compile=jit_compile)
    def compute() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(table)
            loss = tf.reduce_sum(tf.sin(gather(table, ids)) ** 2)
        return gather(table, ids), tf.convert_to_tensor(tape.gradient(loss, table))

    return compute()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rows_and_their_gradient_are_those_of_gather(jit_compile: bool) -> None:
    vectors, gradient = gradient_by(embedding.rows, jit_compile=jit_compile)
    same_vectors, same_gradient = gradient_by(tf.gather, jit_compile=False)
    np.testing.assert_array_equal(vectors, same_vectors)
    np.testing.assert_allclose(gradient, same_gradient, rtol=1e-5, atol=1e-5)


def hlo_of(model: keras.Model, forward: Forward) -> str:
    """What XLA is given of loss and gradients of a batch."""
    ids, num_tokens = make_batch()

    @tf.function(jit_compile=True, autograph=False)
    def compute(ids: tf.Tensor, num_tokens: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(forward(ids, num_tokens))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    text: str = compute.experimental_get_compiler_ir(ids, num_tokens)(stage="hlo")
    return text


def test_no_gradient_is_a_scatter_of_floats(tiny_hugging_face: str) -> None:
    """Which XLA expands, number by number, where kernels must be deterministic."""
    model = build(tiny_hugging_face, pooling="mean", dropout=0.1)
    scatter = re.compile(r"= (?:f32|f16|bf16)\S* scatter\(")
    assert scatter.search(hlo_of(model, Forward(model, fusion="whole")))
    assert not scatter.search(
        hlo_of(model, Forward(model, fusion="whole", sorts_gradient=True))
    )


def test_gradients_are_those_of_the_plain_forward_pass(tiny_hugging_face: str) -> None:
    model = build(tiny_hugging_face, pooling="mean", dropout=0.1)
    seed = tf.constant([3, 4])
    plain, other = (
        loss_and_gradients(
            model, lambda ids, num, f=forward: f(ids, num, dropout_seed=seed)
        )
        for forward in (Forward(model), Forward(model, sorts_gradient=True))
    )
    assert_equal(other, plain)


def test_only_a_gpus_step_sorts(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    config = make_config(tmp_path, tiny_preset)
    fusions: tuple[Fusion, ...] = ("whole", "pieces")
    for on_gpu, fusion in itertools.product((True, False), fusions):
        made: list[Forward] = []
        run: Any = types.SimpleNamespace(
            config=config,
            runtime=types.SimpleNamespace(
                is_on_gpu=on_gpu,
                has_accelerators=on_gpu,
                strategy=tf.distribute.get_strategy(),
            ),
            resolved=types.SimpleNamespace(steps_per_call=1),
            task=types.SimpleNamespace(
                objective=lambda _, forward, **__: made.append(forward)
            ),
        )
        model = types.SimpleNamespace(
            backbone=None, trainable_variables=[], optimizer=None
        )
        build_stage._train_step(run, model, resolve.Compiled(fusion), 1)
        (forward,) = made
        assert forward._sorts_gradient == (on_gpu and fusion == "whole")


def test_only_matrix_products_depend_on_determinism(tiny_hugging_face: str) -> None:
    """What XLA runs otherwise where kernels must be deterministic.

    By https://openxla.org/xla/determinism: scatters, select-and-scatters, matrix
    products, convolutions and fused attention, which is a custom call. A scatter of
    whole numbers is expanded, too; it has one number a token.
    """
    model = build(tiny_hugging_face, pooling="mean", dropout=0.1)
    text = hlo_of(model, Forward(model, fusion="whole", sorts_gradient=True))
    concerned = {"scatter", "select-and-scatter", "dot", "convolution", "custom-call"}
    found = re.findall(r"= (\w+)\[[\d,]*\]\S* ([\w-]+)\(", text)
    assert {(type_, code) for type_, code in found if code in concerned} == {
        ("f32", "dot"),
        ("s32", "scatter"),
    }

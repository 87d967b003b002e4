"""Several classifiers as one SavedModel: the mean of their probabilities."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Sequence

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests import tiny
from tests.serving import tiny_export
from tests.serving.tiny_export import DECISION, LABELS, MAX_LENGTH
from trainer.config import ENSEMBLE_FORMATS
from trainer.serving import formats, stock_ops
from trainer.serving.formats.exportable import Exportable
from trainer.tasks import single_label_decision

NUM_MODELS = 2
# Of one word to more than three windows.
TEXTS = ("good", *tiny.labelled_sentences(12)[0], "", "bad " * 29, "so dull " * 60)
# As in test_export.py and test_litert.py: how far such models' probabilities move.
TOLERANCES = {"bfloat16": 0.1, "int8": 0.05, "litert": 0.05}


def make_ensemble(preset: str, *, max_windows: int = 1) -> Exportable:
    """Models with other heads and other words' vectors."""
    source = tiny_export.make_source(preset, max_windows=max_windows)
    (make,) = source.make_classifiers

    def other(seed: int) -> Any:
        def make_other(policy: str) -> keras.Model:
            generator, model = np.random.default_rng(seed), make(policy)
            head = model.get_layer("logits")
            head.kernel.assign(generator.normal(0, 1, head.kernel.shape))
            table = model.backbone.token_embedding.embeddings
            table.assign_add(generator.normal(0, 0.1, table.shape))
            return model

        return make_other

    makers = (make, *(other(seed) for seed in range(2, NUM_MODELS + 1)))
    return dataclasses.replace(source, make_classifiers=makers)


def expected(
    source: Exportable, texts: Sequence[str], *, max_windows: int = 1
) -> np.ndarray:
    """The mean of what KerasHub's layers make of texts, then the decision's temperature."""
    each = [
        tiny_export.logits_in_memory(
            dataclasses.replace(source, make_classifiers=(make,)),
            texts,
            max_windows=max_windows,
        )
        for make in source.make_classifiers
    ]
    mean = np.mean([scipy.special.softmax(logits, axis=1) for logits in each], axis=0)
    warm = mean ** (1 / source.decision.temperature)
    result: np.ndarray = warm / warm.sum(axis=1, keepdims=True)
    return result


@dataclasses.dataclass(frozen=True)
class Served:
    """An ensemble and its SavedModel."""

    source: Exportable
    path: pathlib.Path
    model: Any


@pytest.fixture(scope="module")
def served(tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Of texts of up to three windows."""
    source = make_ensemble(tiny_hugging_face, max_windows=3)
    folder = tmp_path_factory.mktemp("ensemble")
    formats.write("float32", folder, source)
    return Served(source, folder, tf.saved_model.load(str(folder)))


def test_answers_by_the_mean_probability(served: Served) -> None:
    outputs = served.model.signatures["serving_default"](text=tf.constant(TEXTS))
    mean = expected(served.source, TEXTS, max_windows=3)
    np.testing.assert_allclose(outputs["probabilities"], mean, atol=1e-5)
    labels = [LABELS[chosen] for chosen in served.source.decision.choose(mean)]
    assert [label.decode() for label in outputs["label"].numpy()] == labels
    score = mean[np.arange(len(mean)), served.source.decision.choose(mean)]
    below = DECISION.abstain_below
    np.testing.assert_array_equal(outputs["abstain"], score < below)
    # They would not tell a mean of logits from one of probabilities if they agreed.
    logits = [
        tiny_export.logits_in_memory(
            dataclasses.replace(served.source, make_classifiers=(make,)),
            TEXTS,
            max_windows=3,
        )
        for make in served.source.make_classifiers
    ]
    other = served.source.decision.probabilities(np.mean(logits, axis=0))
    assert np.abs(other - mean).max() > 0.02


def test_the_other_signatures_say_the_same(served: Served) -> None:
    texts = [text for text in TEXTS if len(text.split()) < MAX_LENGTH - 2]
    mean = expected(served.source, texts, max_windows=3)
    signatures = served.model.signatures
    examples = [tiny_export.example(text) for text in texts]
    found = signatures["tf_example"](examples=tf.constant(examples))
    np.testing.assert_allclose(found["probabilities"], mean, atol=1e-5)
    scores = signatures["classify"](inputs=tf.constant(examples))["scores"]
    np.testing.assert_allclose(scores, mean, atol=1e-5)
    rows = tiny_export.make_encoder()(tf.constant(texts)).token_ids
    ids = rows.to_tensor()
    found = signatures["tokens"](
        token_ids=ids,
        padding_mask=tf.sequence_mask(rows.row_lengths(), dtype=tf.int32),
        segment_ids=tf.zeros_like(ids),
    )
    np.testing.assert_allclose(found["probabilities"], mean, atol=1e-5)


@pytest.fixture(scope="module")
def last(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The last of its models alone."""
    makers = served.source.make_classifiers[-1:]
    source = dataclasses.replace(served.source, make_classifiers=makers)
    folder = tmp_path_factory.mktemp("last")
    formats.write("float32", folder, source)
    return Served(source, folder, tf.saved_model.load(str(folder)))


def test_the_vectors_stand_side_by_side(served: Served, last: Served) -> None:
    found = served.model.signatures["embed"](text=tf.constant(TEXTS))["embedding"]
    vectors = last.model.signatures["embed"](text=tf.constant(TEXTS))["embedding"]
    assert found.shape == (len(TEXTS), NUM_MODELS * vectors.shape[1])
    np.testing.assert_allclose(found[:, -vectors.shape[1] :], vectors, atol=1e-5)


def num_nodes(folder: pathlib.Path, op: str) -> int:
    """How many nodes of an operation the functions of a SavedModel have."""
    functions = stock_ops.read(folder).graph_def.library.function
    return [node.op for each in functions for node in each.node_def].count(op)


def test_weights_once_a_model_and_one_tokenizer(served: Served, last: Served) -> None:
    stock_ops.check(served.path)
    variables = served.path / "variables"
    shapes = [
        tuple(shape)
        for name, shape in tf.train.list_variables(str(variables / "variables"))
        if name.endswith("VARIABLE_VALUE")
    ]
    assert shapes.count((len(tiny.VOCABULARY), 16)) == NUM_MODELS
    (data,) = variables.glob("variables.data-*")
    weights = [
        variable
        for make in served.source.make_classifiers
        for variable in make("float32").variables
    ]
    num_bytes = sum(variable.numpy().nbytes for variable in weights)
    assert num_bytes < data.stat().st_size < num_bytes + 40_000
    op = "FastWordpieceTokenizeWithOffsets"
    assert num_nodes(served.path, op) == num_nodes(last.path, op) > 0


@pytest.mark.parametrize("name", ENSEMBLE_FORMATS)
def test_every_format_of_an_ensemble(
    name: str, tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    source = make_ensemble(tiny_hugging_face)
    formats.write(name, tmp_path, source)
    found = formats.reader(name, tmp_path, source)(TEXTS)
    mean = expected(source, TEXTS)
    tolerance = TOLERANCES.get(name, 1e-5)
    np.testing.assert_allclose(found.probabilities, mean, atol=tolerance)


def test_a_format_of_one_model_holds_no_ensemble(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError):
        formats.write("huggingface", tmp_path, make_ensemble(tiny_hugging_face))


def test_the_logits_are_logarithms_of_the_mean_probability() -> None:
    """In NumPy and in the graph; also of what is next to impossible."""
    decision = single_label_decision.plain(3)
    generator = np.random.default_rng(0)
    logits = list(generator.normal(0, 3, (4, 50, 3)).astype(np.float32))
    logits.append(np.tile(np.array([0, -300, 300], np.float32), (50, 1)))
    mean = np.mean([scipy.special.softmax(each, axis=1) for each in logits], axis=0)
    found = decision.ensemble_logits(logits)
    np.testing.assert_allclose(np.exp(found), mean, rtol=1e-5)
    in_graph = decision.graph_ensemble_logits([tf.constant(each) for each in logits])
    np.testing.assert_allclose(in_graph, found, rtol=1e-5, atol=1e-5)
    certain = [np.array([[0, -300, 300]], np.float32)] * 2
    assert np.isfinite(decision.ensemble_logits(certain)).all()
    assert np.isfinite(decision.graph_ensemble_logits(certain).numpy()).all()
    assert decision.ensemble_logits(logits[:1]) is logits[0]
    assert decision.ensemble_logits([np.zeros([0, 3])] * 2).shape == (0, 3)

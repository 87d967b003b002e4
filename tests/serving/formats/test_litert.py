"""The LiteRT model: what it computes, of what it is made, what it needs to run."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tokenizers
from ai_edge_litert.interpreter import Interpreter

from tests import tiny
from trainer.config import LongText, Pooling, Truncation
from trainer.data.tokens import TextEncoder
from trainer.modeling.classifier import build_classifier, model_inputs
from trainer.modeling.forward import Forward
from trainer.modeling.presets import load_preset
from trainer.serving.formats import litert
from trainer.tasks.single_label_decision import Decision

LABELS = ("pas bon", "bon", "tr\u00e8s bon")
MAX_LENGTH = 32
TEMPERATURE = 1.7
# Batch size and length; the padding is up to each row.
SHAPES = ((1, 5), (7, 17), (2, MAX_LENGTH), (1, 2), (0, 9))
# Of the tiny model, whose head tells the classes apart by a lot.
INT8_TOLERANCE = 0.02


def make_classifier(preset: str, pooling: Pooling) -> keras.Model:
    """Three classes, and a head that is sure enough for differences to show."""
    model = build_classifier(
        load_preset(preset), num_classes=3, pooling=pooling, dropout=0.0, seed=0
    )
    head = model.get_layer("logits")
    head.kernel.assign(np.random.default_rng(0).normal(size=head.kernel.shape))
    head.bias.assign([0.3, -0.2, 0.1])
    return model


def write(
    folder: pathlib.Path,
    classifier: keras.Model,
    preset: str,
    *,
    weights: litert.Weights,
    truncation: Truncation = "head",
    long_text: LongText = "truncate",
) -> litert.Model:
    folder.mkdir(exist_ok=True)
    litert.write(
        folder,
        litert.forward_of(classifier, window_length=MAX_LENGTH, long_text=long_text),
        load_preset(preset),
        LABELS,
        decision=Decision(TEMPERATURE, (0.5, 0.5), 0.0, None),
        window_length=MAX_LENGTH,
        truncation=truncation,
        long_text=long_text,
        weights=weights,
    )
    return litert.Model(folder)


def make_rows(batch_size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids, padded with 0, and how many there are; the first row is full."""
    generator = np.random.default_rng(batch_size * length)
    num_tokens = generator.integers(2, length + 1, batch_size).astype(np.int32)
    num_tokens[:1] = length
    ids = generator.integers(4, len(tiny.VOCABULARY), (batch_size, length))
    ids = np.where(np.arange(length) < num_tokens[:, np.newaxis], ids, 0)
    return ids.astype(np.int32), num_tokens


def in_memory(
    classifier: keras.Model, ids: np.ndarray, num_tokens: np.ndarray
) -> np.ndarray:
    """What KerasHub computes."""
    logits = classifier(model_inputs(tf.constant(ids), tf.constant(num_tokens)))
    result: np.ndarray = tf.nn.softmax(logits / TEMPERATURE).numpy()
    return result


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize(
    ("weights", "tolerance"), [("float32", 1e-5), ("int8", INT8_TOLERANCE)]
)
def test_computes_what_the_model_in_memory_does(
    pooling: Pooling,
    weights: litert.Weights,
    tolerance: float,
    tiny_hugging_face: str,
    tmp_path: pathlib.Path,
) -> None:
    """At any batch size and length, one after the other.

    Measured: at most 6e-7 in float32, 0.0065 in int8.
    """
    classifier = make_classifier(tiny_hugging_face, pooling)
    model = write(tmp_path, classifier, tiny_hugging_face, weights=weights)
    for shape in SHAPES:
        ids, num_tokens = make_rows(*shape)
        found = model(ids, num_tokens)
        assert found.shape == (shape[0], 3) and found.dtype == np.float32
        expected = in_memory(classifier, ids, num_tokens)
        np.testing.assert_allclose(found, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_builtin_operations_only_and_each_weight_once(
    weights: litert.Weights, tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    classifier = make_classifier(tiny_hugging_face, "first")
    write(tmp_path, classifier, tiny_hugging_face, weights=weights)
    interpreter = Interpreter(model_path=str(tmp_path / litert.MODEL_FILE))
    names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert {"FULLY_CONNECTED", "GATHER"} < names
    strange = [n for n in names if "Flex" in n or "CUSTOM" in n or "VAR_HANDLE" in n]
    assert not strange
    signature = interpreter.get_signature_list()
    assert signature == {
        "serving_default": {
            "inputs": ["num_tokens", "token_ids"],
            "outputs": ["probabilities"],
        }
    }
    num_tables = 0
    for tensor in interpreter.get_tensor_details():
        if tuple(tensor["shape"]) == (len(tiny.VOCABULARY), 16):
            num_tables += 1
            assert tensor["dtype"] == np.dtype(weights)
    assert num_tables == 1


def test_windows_are_pooled_in_the_model(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    """A row of several windows gets what the program itself computes of it."""
    classifier = make_classifier(tiny_hugging_face, "first")
    model = write(
        tmp_path,
        classifier,
        tiny_hugging_face,
        weights="float32",
        long_text="windows",
    )
    forward = Forward(classifier, window_length=MAX_LENGTH)
    ids, _ = make_rows(3, 3 * MAX_LENGTH)
    num_tokens = np.array([3 * MAX_LENGTH, MAX_LENGTH, 5], np.int32)
    logits = forward(tf.constant(ids), tf.constant(num_tokens))
    expected = tf.nn.softmax(logits / TEMPERATURE).numpy()
    np.testing.assert_allclose(model(ids, num_tokens), expected, atol=1e-5)
    one_window = in_memory(classifier, ids[1:, :MAX_LENGTH], num_tokens[1:])
    np.testing.assert_allclose(expected[1:], one_window, atol=1e-5)


FRESH_PROCESS = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

run = Interpreter("model.tflite").get_signature_runner()
ids = json.loads(sys.argv[1])
found = run(token_ids=np.array([ids], np.int32), num_tokens=np.array([len(ids)], np.int32))
assert "tensorflow" not in sys.modules
print(json.dumps(found["probabilities"].tolist()))
"""


def test_an_app_needs_the_folder_and_litert_alone(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    """As README.md in the folder has it: tokenizer.json, then model.tflite."""
    classifier = make_classifier(tiny_hugging_face, "first")
    folder = tmp_path / "here"
    write(folder, classifier, tiny_hugging_face, weights="float32")
    folder = folder.rename(tmp_path / "there")
    text = "A lovely FILM, caf\u00e9! " + "good " * 50
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text).ids
    encoder = TextEncoder(tiny.VOCABULARY, lowercase=True, window_length=MAX_LENGTH)
    assert ids == encoder(tf.constant([text])).token_ids[0].numpy().tolist()
    process = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, json.dumps(ids)],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    expected = in_memory(
        classifier, np.array([ids], np.int32), np.array([len(ids)], np.int32)
    )
    np.testing.assert_allclose(json.loads(process.stdout), expected, atol=1e-5)
    assert tuple((folder / "labels.txt").read_text().splitlines()) == LABELS
    assert "[batch, 3]" in (folder / "README.md").read_text()


def test_without_litert_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ValueError, match="pip install ai-edge-litert"):
        litert.check_installed()

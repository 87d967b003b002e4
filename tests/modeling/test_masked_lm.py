"""The head that guesses masked tokens, beside transformers' BertForMaskedLM.

The stored numbers and their layout: tests/reference/make_masked_lm_reference.py.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Mapping

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from tests import tiny
from trainer.data.batches import Batch, Inputs
from trainer.modeling import classifier as classifiers
from trainer.modeling import hugging_face_weights, masked_lm, presets
from trainer.modeling.forward import Forward
from trainer.modeling.masked_lm import MaskedLM
from trainer.modeling.masking import Masked, Masking
from trainer.serving.formats import hugging_face

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "masked_lm.npz"
TOLERANCE = 3e-6
OLD_NAMES = {
    "LayerNorm.weight": "LayerNorm.gamma",
    "LayerNorm.bias": "LayerNorm.beta",
    "cls.predictions.bias": "cls.predictions.decoder.bias",
}


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    """What Hugging Face's model computed."""
    with np.load(REFERENCE) as file:
        return dict(file)


def part(reference: Mapping[str, Any], kind: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so."""
    prefix = f"{kind}/"
    return {
        n.removeprefix(prefix): v for n, v in reference.items() if n.startswith(prefix)
    }


@pytest.fixture(scope="module")
def checkpoint(
    reference: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The folder of a BertForPreTraining, as transformers writes it."""
    folder = tmp_path_factory.mktemp("masked_lm")
    tiny.write_hugging_face(folder)
    config = json.loads(str(reference["config"]))
    (folder / "config.json").write_text(json.dumps(config))
    unused = [
        f"[unused{i}]" for i in range(config["vocab_size"] - len(tiny.VOCABULARY))
    ]
    (folder / "vocab.txt").write_text("\n".join([*tiny.VOCABULARY, *unused]) + "\n")
    # A BertForMaskedLM has none, and KerasHub wants one.
    pooler = {
        "bert.pooler.dense.weight": np.eye(16, dtype=np.float32),
        "bert.pooler.dense.bias": np.zeros(16, np.float32),
    }
    save_file(part(reference, "weights") | pooler, folder / "model.safetensors")
    return folder


class GivenMasks:
    """The masks that the reference was made with, in the place of drawn ones."""

    def __init__(self, reference: Mapping[str, Any]) -> None:
        self._reference = reference

    def __call__(self, token_ids: tf.Tensor, rows: tf.Tensor, *, seed: Any) -> Masked:
        names = ("positions", "labels", "label_weights")
        return Masked(token_ids, *(tf.constant(self._reference[n]) for n in names))


def make(
    preset: presets.Preset, masking: Any, **settings: Any
) -> tuple[keras.Model, keras.Model, MaskedLM]:
    """A classifier, the model that guesses with its encoder, and the objective."""
    head = masked_lm.read_head(preset)
    assert head is not None
    classifier = classifiers.build_classifier(
        preset, num_classes=2, pooling="first", dropout=0.0, seed=0
    )
    model = masked_lm.build_masked_lm(classifier.backbone, head)
    forward = Forward(classifier, **settings)
    return classifier, model, MaskedLM(model, forward, masking, seed=0)


@pytest.mark.parametrize("fusion", ["none", "pieces"])
def test_loss_and_gradients_are_those_of_transformers(
    fusion: Any, reference: Mapping[str, Any], checkpoint: pathlib.Path
) -> None:
    """Measured: 5e-7 off the loss, 2e-7 off the gradients at most."""
    classifier, model, objective = make(
        presets.load_preset(str(checkpoint)), GivenMasks(reference), fusion=fusion
    )
    counts = reference["label_weights"].sum(axis=1)
    inputs = Inputs(
        tf.constant(reference["token_ids"]), tf.constant(reference["num_tokens"])
    )
    # Each masked token weighs the same.
    batch = Batch(inputs, tf.range(len(counts)), tf.constant(counts / counts.sum()))
    with tf.GradientTape() as tape:
        losses = objective.losses(
            batch, dropout_seed=tf.constant([0, 0]), step=tf.constant(0)
        )
        loss = tf.reduce_sum(losses * batch.weights)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    assert float(loss) == pytest.approx(float(reference["loss"]), abs=TOLERANCE)
    sums = objective.sums(batch).numpy()
    assert sums[:, 1].tolist() == counts.tolist()
    assert sums[:, 0].sum() / counts.sum() == pytest.approx(float(loss), abs=1e-5)
    # By Hugging Face's names, as the export gives them.
    for variable, gradient in zip(variables, gradients):
        variable.assign(tf.convert_to_tensor(gradient))
    found = hugging_face._tensors(classifier, 1.0)
    head = model.get_layer("masked_lm_head")
    prefix = "cls.predictions.transform"
    found |= hugging_face_weights.dense_tensors(
        f"{prefix}.dense", head._intermediate_dense
    )
    found |= hugging_face_weights.norm_tensors(
        f"{prefix}.LayerNorm", head._intermediate_layer_norm
    )
    found["cls.predictions.bias"] = head._bias.numpy()
    expected = part(reference, "gradients")
    assert len(expected) == len(variables) > 40
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, atol=TOLERANCE, err_msg=name)


def test_the_head_is_read_by_new_and_by_old_names(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path, reference: Mapping[str, Any]
) -> None:
    preset = presets.load_preset(str(checkpoint))
    head = masked_lm.read_head(preset)
    assert head is not None
    weights = part(reference, "weights")
    kernel = weights["cls.predictions.transform.dense.weight"]
    np.testing.assert_array_equal(head.kernel, kernel.T)
    np.testing.assert_array_equal(head.output_bias, weights["cls.predictions.bias"])
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    renamed = {}
    for name, value in weights.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        renamed[name] = value
    save_file(renamed, tmp_path / "model.safetensors")
    again = masked_lm.read_head(presets.load_preset(str(tmp_path)))
    assert again is not None
    for name in ("kernel", "bias", "gamma", "beta", "output_bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(head, name))


def test_a_head_of_its_own_embeddings_is_said(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = write_changed(checkpoint, tmp_path)
    table = tensors["bert.embeddings.word_embeddings.weight"]
    preset = presets.load_preset(str(tmp_path))
    for own, is_said in ((table, False), (table + 1, True)):
        caplog.clear()
        save_file(
            {**tensors, "cls.predictions.decoder.weight": own},
            tmp_path / "model.safetensors",
        )
        assert masked_lm.read_head(preset) is not None
        assert ("token embeddings of its own" in caplog.text) is is_said


def write_changed(
    checkpoint: pathlib.Path, folder: pathlib.Path
) -> dict[str, np.ndarray]:
    """Copies a checkpoint; returns its tensors."""
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors: dict[str, np.ndarray] = load_file(checkpoint / "model.safetensors")
    return tensors


def test_half_a_head_is_refused(
    checkpoint: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tensors = write_changed(checkpoint, tmp_path)
    preset = presets.load_preset(str(tmp_path))
    name = "cls.predictions.transform.dense.bias"
    bias = tensors.pop(name)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"a whole masked-LM head.*without {name}"):
        masked_lm.read_head(preset)
    save_file({**tensors, name: bias[:3]}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"dense.bias must have the shape \[16\].*\[3\]"
    ):
        masked_lm.read_head(preset)


def test_without_a_head(tiny_preset: str, tiny_hugging_face: str) -> None:
    for name in (tiny_preset, tiny_hugging_face):
        assert masked_lm.read_head(presets.load_preset(name)) is None


def test_the_start_guesses_by_frequency(tiny_hugging_face: str) -> None:
    """Where a text tells nothing, it is the unigram model."""
    preset = presets.load_preset(tiny_hugging_face)
    size = len(tiny.VOCABULARY)
    generator = np.random.default_rng(0)
    counts = np.where(np.arange(size) < 5, 0, generator.integers(0, 1000, size))
    head = masked_lm.starting_head(16, counts)
    bias = np.log((counts + 1) / (counts.sum() + size))
    np.testing.assert_allclose(head.output_bias, bias, rtol=1e-6)
    classifier = classifiers.build_classifier(
        preset, num_classes=2, pooling="first", dropout=0.0, seed=0
    )
    model = masked_lm.build_masked_lm(classifier.backbone, head)
    objective = MaskedLM(
        model, Forward(classifier), Masking(tiny.VOCABULARY, fraction=0.15), seed=0
    )
    # Zero embeddings leave the bias alone.
    table = classifier.backbone.token_embedding.embeddings
    table.assign(np.zeros(table.shape))
    logits = objective.logits(tf.ones([1, 3, 16]), tf.constant([[0, 2]]))
    np.testing.assert_allclose(logits[0, 1], bias, rtol=1e-6)


def test_windows_are_read_each_by_itself(checkpoint: pathlib.Path) -> None:
    """A row of two windows has the vectors of two rows."""
    classifier = classifiers.build_classifier(
        presets.load_preset(str(checkpoint)),
        num_classes=2,
        pooling="first",
        dropout=0.0,
        seed=0,
    )
    token_ids = np.random.default_rng(0).integers(5, 60, (2, 32)).astype(np.int32)
    one = Forward(classifier).encode(
        tf.constant(token_ids.reshape(4, 16)), tf.constant([16, 9, 16, 16])
    )
    two = Forward(classifier, window_length=16).encode(
        tf.constant(token_ids), tf.constant([25, 32])
    )
    assert two.shape == (2, 32, 16)
    np.testing.assert_allclose(np.reshape(two, [4, 16, 16]), one, atol=1e-6)

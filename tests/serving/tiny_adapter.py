"""A tiny BERT with LoRA, and its adapter's files, for PEFT to read.

    python -m tests.serving.tiny_adapter FOLDER

FOLDER/base: the Hugging Face checkpoint that all adapters are put on.
FOLDER/ours/NAME: the adapter of `make_classifier(base, TARGETS[NAME])`.
FOLDER/tokens.npz: `token_ids` int64 [3, 12], `num_tokens` int64 [3].
"""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests import tiny
from trainer.modeling import adapters, lora
from trainer.modeling.classifier import build_classifier
from trainer.modeling.forward import Forward
from trainer.modeling.presets import load_preset

RANK, ALPHA, NUM_CLASSES = 3, 4.5, 3
# What PEFT is told by a pattern, and by a list of endings.
TARGETS = {
    "pattern": ("query", "value", "output"),
    "list": ("query", "attention_output", "intermediate"),
}


def make_classifier(base: str, targets: tuple[str, ...]) -> keras.Model:
    """Of three classes, with factors and a head that change every answer."""
    classifier = build_classifier(
        load_preset(base), num_classes=NUM_CLASSES, pooling="first", dropout=0, seed=0
    )
    lora.add(classifier, rank=RANK, alpha=ALPHA, targets=targets, seed=0)
    generator = np.random.default_rng(5)
    head = classifier.get_layer("logits")
    pairs = lora.factors_of(classifier).values()
    drawn = [each for pair in pairs for each in (pair.a, pair.b)]
    for variable in (*drawn, head.kernel, head.bias):
        variable.assign(generator.normal(0, 0.5, variable.shape))
    return classifier


def tokens() -> dict[str, Any]:
    """Random token ids, rows of different lengths."""
    num_tokens = np.array([12, 3, 7])
    ids = np.random.default_rng(6).integers(5, len(tiny.VOCABULARY), (3, 12))
    ids[np.arange(12) >= num_tokens[:, None]] = 0
    return {"token_ids": ids, "num_tokens": num_tokens}


def logits(classifier: keras.Model) -> np.ndarray:
    """float32 [3, classes], of `tokens`."""
    asked = {name: tf.constant(value, tf.int32) for name, value in tokens().items()}
    result: np.ndarray = Forward(classifier)(**asked).numpy()
    return result


def write(folder: pathlib.Path) -> str:
    """Writes all, and returns the base."""
    base = tiny.write_hugging_face(folder / "base")
    for name, targets in TARGETS.items():
        place = folder / "ours" / name
        place.mkdir(parents=True)
        adapter = adapters.of(make_classifier(base, targets))
        adapters.write(place, adapter, base="a/base")
    np.savez(folder / "tokens.npz", **tokens())
    return base


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))

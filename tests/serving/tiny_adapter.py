"""Tiny encoders with LoRA, and their adapters' files, for PEFT to read.

    python -m tests.serving.tiny_adapter FOLDER

Of each kind in FOLDER/KIND:

base: the Hugging Face checkpoint that all adapters are put on.
ours/NAME: the adapter of `make_classifier(kind, base, TARGETS[NAME])`.
tokens.npz: `token_ids` int64 [3, 12], `num_tokens` int64 [3].
peft.json: `target_modules` and `modules_to_save`, for PEFT to adapt all it can.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests import tiny
from trainer.modeling import adapters, lora
from trainer.modeling.classifier import build_classifier, new_weights, pooler_of
from trainer.modeling.encoders import BERT, DISTIL_BERT, ROBERTA, EncoderKind
from trainer.modeling.forward import Forward
from trainer.modeling.presets import load_preset

RANK, ALPHA, NUM_CLASSES = 3, 4.5, 3
# XLM-RoBERTa's parts have RoBERTa's names.
KINDS = {kind.model_type: kind for kind in (BERT, DISTIL_BERT, ROBERTA)}
# What PEFT saves whole, where pooler and head are trained.
SAVED_MODULES = {
    "bert": ["classifier", "pooler"],
    "distilbert": ["classifier", "pre_classifier"],
    "roberta": ["classifier"],
}
_ENCODERS = pathlib.Path(__file__).parents[1] / "reference" / "encoders"
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
    drawn += [head.kernel, head.bias]
    if len(new_weights(classifier)) > len(head.weights):
        drawn += pooler_of(classifier).weights
    for variable in drawn:
        variable.assign(generator.normal(0, 0.5, variable.shape))
    return classifier


def tokens(base: str) -> dict[str, Any]:
    """Random token ids, rows of different lengths."""
    preset = load_preset(base)
    num_tokens = np.array([12, 3, 7])
    end = min(len(preset.vocabulary), len(tiny.VOCABULARY))
    ids = np.random.default_rng(6).integers(5, end, (3, 12))
    padding = preset.vocabulary.index(preset.special.pad)
    ids[np.arange(12) >= num_tokens[:, None]] = padding
    return {"token_ids": ids, "num_tokens": num_tokens}


def logits(classifier: keras.Model, base: str) -> np.ndarray:
    """float32 [3, classes], of `tokens`."""
    asked = {name: tf.constant(value, tf.int32) for name, value in tokens(base).items()}
    result: np.ndarray = Forward(classifier)(**asked).numpy()
    return result


def write(folder: pathlib.Path, kind: EncoderKind) -> str:
    """Writes all of a kind, and returns the base."""
    base = folder / "base"
    if kind is BERT:
        tiny.write_hugging_face(base)
    else:
        shutil.copytree(_ENCODERS / kind.model_type, base)
    for name, targets in TARGETS.items():
        place = folder / "ours" / name
        place.mkdir(parents=True)
        adapter = adapters.of(make_classifier(str(base), targets))
        adapters.write(place, adapter, base="a/base")
    np.savez(folder / "tokens.npz", **tokens(str(base)))
    settings = {
        "target_modules": list(kind.dense.values()),
        "modules_to_save": SAVED_MODULES[kind.model_type],
    }
    (folder / "peft.json").write_text(json.dumps(settings))
    return str(base)


if __name__ == "__main__":
    for name, each in KINDS.items():
        write(pathlib.Path(sys.argv[1]) / name, each)

"""Tiny real models and data that the tests share: no fakes of our own code.

A BERT of 2 layers and a vocabulary of a few dozen words, written as a KerasHub
preset and as a Hugging Face checkpoint, and labelled sentences made of those words.
"""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any, Sequence

import keras
import keras_nlp
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from trainer.data.splits import content_digests
from trainer.data.tokens import TextEncoder, TokenizedTexts, encode_texts
from trainer.modeling import classifier as classifiers
from trainer.modeling.forward import Forward, Fusion
from trainer.tasks.single_label import SingleLabel
from trainer.training.steps import PredictStep, TrainStep

GOOD = "good great fine lovely wonderful superb moving bright".split()
BAD = "bad awful poor boring terrible dull weak dreadful".split()
NEUTRAL = "the a film movie was is it plot actor scene and of very so".split()
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "!", "##ly", "##s"),
    *GOOD,
    *BAD,
    *NEUTRAL,
    *"bcdefghijklmnopqrstuvwxyz",  # "a" is among the words.
)
MAX_LENGTH = 64


def sentence(generator: np.random.Generator, label: int) -> str:
    """A review of 3 to 40 words, most of its judging words of the label's kind."""
    words = generator.choice(NEUTRAL, generator.integers(2, 36)).tolist()
    for _ in range(generator.integers(1, 4)):
        kind = GOOD if label else BAD
        words.insert(generator.integers(len(words) + 1), generator.choice(kind))
    return " ".join(words) + "."


def labelled_sentences(count: int, *, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """`count` reviews and their labels, 0 or 1: int32 [count]."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, count).astype(np.int32)
    return [sentence(generator, int(label)) for label in labels], labels


def write_csv(path: pathlib.Path, texts: Sequence[str], labels: Sequence[str]) -> str:
    """A CSV of columns text and label; returns the path as --dataset takes it."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(zip(texts, labels))
    return f"files:{path}"


def write_reviews(path: pathlib.Path, *, count: int, seed: int = 0) -> str:
    """A CSV of tiny reviews with the labels "bad" and "good"."""
    texts, labels = labelled_sentences(count, seed=seed)
    return write_csv(path, texts, [("bad", "good")[label] for label in labels])


def make_backbone(
    *, seed: int = 7, dropout: float = 0.1, num_layers: int = 2
) -> keras.Model:
    """A BERT of 2 heads, 16 wide, with random weights."""
    keras.utils.set_random_seed(seed)
    return keras_nlp.models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=num_layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        dropout=dropout,
        max_sequence_length=MAX_LENGTH,
    )


def write_preset(folder: pathlib.Path, **settings: Any) -> str:
    """The tiny BERT as a KerasHub preset; returns the folder as --preset takes it."""
    make_backbone(**settings).save_to_preset(str(folder))
    tokenizer = keras_nlp.models.BertTokenizer(
        vocabulary=list(VOCABULARY), lowercase=True
    )
    tokenizer.save_to_preset(str(folder))
    return str(folder)


def needs_keras_hub_of_checkpoints() -> pytest.MarkDecorator:
    """For tests in which KerasHub itself reads what `write_hugging_face` wrote."""
    return pytest.mark.skipif(
        [*map(int, keras_nlp.__version__.split(".")[:2])] < [0, 26],
        reason="KerasHub 0.25, the newest for Python 3.10, reads no BERT whose weights "
        "have no prefix",
    )


def write_hugging_face(folder: pathlib.Path, **config: object) -> str:
    """A random tiny BERT as a Hugging Face checkpoint, its config as given."""
    folder.mkdir(parents=True, exist_ok=True)
    width, wide, layers = 16, 32, 2
    generator = np.random.default_rng(3)
    shapes: dict[str, Any] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), width),
        "embeddings.position_embeddings.weight": (MAX_LENGTH, width),
        "embeddings.token_type_embeddings.weight": (2, width),
        "embeddings.LayerNorm": width,
        "pooler.dense": (width, width),
    }
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            shapes[f"{prefix}.attention.self.{name}"] = (width, width)
        shapes[f"{prefix}.attention.output.dense"] = (width, width)
        shapes[f"{prefix}.attention.output.LayerNorm"] = width
        shapes[f"{prefix}.intermediate.dense"] = (wide, width)
        shapes[f"{prefix}.output.dense"] = (width, wide)
        shapes[f"{prefix}.output.LayerNorm"] = width
    tensors = {}
    for name, shape in shapes.items():
        if name.endswith("weight"):
            tensors[name] = generator.normal(0, 0.3, shape)
        elif isinstance(shape, int):
            tensors[f"{name}.weight"] = generator.normal(1, 0.1, shape)
            tensors[f"{name}.bias"] = generator.normal(0, 0.1, shape)
        else:
            tensors[f"{name}.weight"] = generator.normal(0, 0.3, shape)
            tensors[f"{name}.bias"] = generator.normal(0, 0.1, shape[0])
    save_file(
        {name: value.astype(np.float32) for name, value in tensors.items()},
        folder / "model.safetensors",
    )
    settings = {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": wide,
        "max_position_embeddings": MAX_LENGTH,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    )
    return str(folder)


def add_masked_lm_head(folder: pathlib.Path) -> None:
    """Gives a Hugging Face checkpoint a random head that guesses tokens."""
    generator = np.random.default_rng(4)
    shapes: dict[str, Any] = {
        "transform.dense.weight": (16, 16),
        "transform.dense.bias": 16,
        "transform.LayerNorm.weight": 16,
        "transform.LayerNorm.bias": 16,
        "bias": len(VOCABULARY),
    }
    tensors = load_file(folder / "model.safetensors")
    for name, shape in shapes.items():
        value = generator.normal(0, 0.3, shape).astype(np.float32)
        tensors[f"cls.predictions.{name}"] = value
    save_file(tensors, folder / "model.safetensors")


def make_train_step(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    *,
    fusion: Fusion = "none",
    rematerialize: bool = False,
    window_length: int | None = None,
    **settings: Any,
) -> TrainStep:
    """The training step of a classifier, as a run makes it."""
    forward = Forward(
        model,
        fusion=fusion,
        rematerialize=rematerialize,
        window_length=window_length,
    )
    objective = SingleLabel().objective(model, forward)
    return TrainStep(model, objective, strategy, fusion=fusion, **settings)


def make_predict_step(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    *,
    fusion: Fusion = "none",
    window_length: int | None = None,
    any_length: bool = False,
) -> PredictStep:
    """The predict step of a classifier, as a run makes it."""
    forward = Forward(
        model, fusion=fusion, window_length=window_length, differentiable=False
    )
    return PredictStep(forward, strategy, fusion=fusion, any_length=any_length)


def compile_classifier(
    model: keras.Model, optimizer: keras.optimizers.Optimizer
) -> None:
    """Compiles it for one label a text."""
    classifiers.compile_classifier(model, optimizer, loss=SingleLabel().loss())


def tokenize(
    texts: Sequence[str],
    cache_dir: pathlib.Path,
    *,
    window_length: int = MAX_LENGTH,
    max_windows: int = 1,
) -> TokenizedTexts:
    """The texts' ids by the tiny vocabulary."""
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    encoder = TextEncoder(
        VOCABULARY, lowercase=True, window_length=window_length, max_windows=max_windows
    )
    return encode_texts(
        array, encoder, digests=content_digests(array), cache_dir=str(cache_dir)
    )

"""Classifier → SavedModel that reads text, in float32, bfloat16 or int8.

    write("int8", folder, exportable)
    reader(folder, exportable)(["A fine film."]).probabilities
    embedder(folder)(["A fine film."])              # float32 [1, hidden]

The signatures are in `serving/signatures.py`, 8 bits in `quantization.py`.
"""

from __future__ import annotations

import pathlib
from typing import Any, Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.data import pairs
from trainer.modeling.forward import Forward
from trainer.serving import signatures
from trainer.serving.formats.exportable import Answers, Classify, Exportable
from trainer.serving.formats.quantization import Int8Forward


def write(name: str, folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes the model into a folder that is there."""

    def forward(classifier: keras.Model) -> Forward:
        length = exportable.data.max_length
        if name == "int8":
            return Int8Forward(classifier, window_length=length)
        return Forward(classifier, window_length=length, differentiable=False)

    module = signatures.ServingModule(
        exportable.make_forward("float32" if name == "int8" else name, forward),
        exportable.encoder,
        exportable.label_names,
        bucket_lengths=exportable.bucket_lengths,
        decision=exportable.decision,
        explains=exportable.explains,
    )
    signatures.save(module, folder)


def reader(folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function that asks what `write` wrote, through the default signature."""
    with storage.literal(folder) as place:
        loaded = tf.saved_model.load(str(place))

    def classify(texts: Sequence[str]) -> Answers:
        ask = loaded.signatures["serving_default"]
        return exportable.answers(ask(**_inputs(texts, ask)))

    return classify


def embedder(folder: pathlib.Path) -> Callable[[Sequence[str]], np.ndarray]:
    """A function from texts to what `embed` gives: float32 [n, hidden]."""
    with storage.literal(folder) as place:
        loaded = tf.saved_model.load(str(place))

    def embed(texts: Sequence[str]) -> np.ndarray:
        ask = loaded.signatures["embed"]
        outputs = ask(**_inputs(texts, ask))
        vectors: np.ndarray = outputs["embedding"].numpy()
        return vectors

    return embed


def _inputs(texts: Sequence[str], signature: Any) -> dict[str, tf.Tensor]:
    """What a signature is asked, of texts or of pairs as it reads them."""
    if not pairs.are_read(signature.structured_input_signature[1]):
        return {"text": tf.constant(list(texts))}
    return {name: tf.constant(each) for name, each in pairs.columns(texts).items()}

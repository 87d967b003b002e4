"""The formats of an export: how each is written, and how it is run.

    write("int8", folder, source)
    classify = reader("int8", folder, source)
    classify(["A fine film."]).probabilities    # [1, classes]

float32, bfloat16 and int8 are SavedModels of the same signatures. litert and
huggingface take token ids, and leave the tokenizer's files beside the model. What is
published, and whether it is, is the export's business.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Callable, NamedTuple, Sequence

import keras
import numpy as np
import safetensors.numpy
import tensorflow as tf

from trainer.config import DataConfig
from trainer.data.tokens import TextEncoder
from trainer.tasks.task import Decision
from trainer.modeling.classifier import build_classifier
from trainer.modeling.forward import Forward
from trainer.modeling.presets import Preset, load_preset
from trainer.serving.formats import hugging_face, litert
from trainer.serving.formats.quantization import Int8Forward
from trainer.serving.signatures import ServingModule

SAVED_MODELS = ("float32", "bfloat16", "int8")


class Answers(NamedTuple):
    """probabilities: float [batch, classes]. labels: int [batch], positions."""

    probabilities: np.ndarray
    labels: np.ndarray


Classify = Callable[[Sequence[str]], Answers]


@dataclasses.dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
      make_classifier: gives the trained classifier anew, outside of any strategy, under
        a Keras precision policy such as "float32".
      bucket_lengths: padded lengths in tokens, ascending.
    """

    make_classifier: Callable[[str], keras.Model]
    preset: Preset
    encoder: TextEncoder
    label_names: tuple[str, ...]
    bucket_lengths: tuple[int, ...]
    decision: Decision
    data: DataConfig


def write(name: str, folder: pathlib.Path, source: Source) -> None:
    """Writes one format into a folder that is there."""
    if name in SAVED_MODELS:
        _write_saved_model(name, folder, source)
        return
    classifier = source.make_classifier("float32")
    settings: dict[str, Any] = {
        "window_length": source.data.max_length,
        "truncation": source.data.truncation,
    }
    arguments = folder, classifier, source.preset, source.label_names
    if name == "litert":
        litert.write(
            *arguments,
            **settings,
            decision=source.decision,
            long_text=source.data.long_text,
        )
    else:
        temperature = source.decision.temperature
        hugging_face.write(*arguments, **settings, temperature=temperature)


def reader(name: str, folder: pathlib.Path, source: Source) -> Classify:
    """A function from texts to answers that reads what was written.

    A Hugging Face checkpoint is read by this program's own loader, for transformers is
    not among what it needs.
    """
    if name in SAVED_MODELS:
        return _saved_model_reader(folder, source)
    if name == "litert":
        return _litert_reader(folder, source)
    return _hugging_face_reader(folder, source)


def _write_saved_model(name: str, folder: pathlib.Path, source: Source) -> None:
    window_length = source.data.max_length
    if name == "int8":
        classifier = source.make_classifier("float32")
        forward: Forward = Int8Forward(classifier, window_length=window_length)
    else:
        classifier = source.make_classifier(name)
        forward = Forward(classifier, window_length=window_length, differentiable=False)
    module = ServingModule(
        forward,
        source.encoder,
        source.label_names,
        bucket_lengths=source.bucket_lengths,
        decision=source.decision,
    )
    tf.saved_model.save(module, str(folder), signatures=module.signatures())


def _saved_model_reader(folder: pathlib.Path, source: Source) -> Classify:
    loaded = tf.saved_model.load(str(folder))
    position_of = {name.encode(): i for i, name in enumerate(source.label_names)}

    def classify(texts: Sequence[str]) -> Answers:
        outputs = loaded.signatures["serving_default"](text=tf.constant(list(texts)))
        labels = [position_of[label] for label in outputs["label"].numpy()]
        return Answers(outputs["probabilities"].numpy(), np.array(labels))

    return classify


def _litert_reader(folder: pathlib.Path, source: Source) -> Classify:
    model = litert.Model(folder)

    def classify(texts: Sequence[str]) -> Answers:
        ids = source.encoder(tf.constant(list(texts))).token_ids
        padded = ids.to_tensor(source.encoder.pad_id)
        probabilities = model(padded.numpy(), ids.row_lengths().numpy())
        return Answers(probabilities, source.decision.choose(probabilities))

    return classify


def _hugging_face_reader(folder: pathlib.Path, source: Source) -> Classify:
    preset = load_preset(str(folder))
    classifier = build_classifier(
        preset,
        num_classes=len(source.label_names),
        pooling="first",
        dropout=0.0,
        seed=0,
    )
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    head = classifier.get_layer("logits")
    head.kernel.assign(tensors["classifier.weight"].T)
    head.bias.assign(tensors["classifier.bias"])
    encoder = TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=source.data.max_length,
        truncation=source.data.truncation,
    )
    forward = Forward(classifier)

    def classify(texts: Sequence[str]) -> Answers:
        ids = encoder(tf.constant(list(texts))).token_ids
        logits = forward(ids.to_tensor(encoder.pad_id), ids.row_lengths())
        # The temperature is folded into the head that was loaded.
        calibrated = logits.numpy() * source.decision.temperature
        probabilities = source.decision.probabilities(calibrated)
        return Answers(probabilities, source.decision.choose(probabilities))

    return classify

"""A tiny classifier of three classes, as an export's source, and its SavedModel."""

from __future__ import annotations

import pathlib
from typing import Any, Sequence

import keras
import numpy as np
import tensorflow as tf

from tests import tiny
from trainer.config import DataConfig
from trainer.data.tokens import TextEncoder
from trainer.tasks.single_label_decision import Decision
from trainer.modeling.classifier import build_classifier, model_inputs
from trainer.modeling.presets import load_preset
from trainer.serving import formats, warmup
from trainer.serving.formats.exportable import Exportable
from trainer.runtime import strategies

MAX_LENGTH = 32
BUCKET_LENGTHS = (16, MAX_LENGTH)
OVERLAP = 6
# Neither sorted nor ASCII, so that their order and bytes are seen to be kept.
LABELS = ("pas bon", "bon", "tr\u00e8s bon")
DECISION = Decision(1.6, (0.5, 0.3, 0.2), 0.45, "validation")
TEXT = tf.TensorSpec([None], tf.string, name="text")


def replay(saved_model: pathlib.Path) -> int:
    """Runs the warm-up requests as a server would, and counts them."""
    model = tf.saved_model.load(str(saved_model))
    requests = warmup.read(saved_model)
    for request in requests:
        inputs = {
            name: tf.constant(tf.make_ndarray(tensor))
            for name, tensor in request.inputs.items()
        }
        for output in model.signatures[request.model_spec.signature_name](
            **inputs
        ).values():
            output.numpy()
    return len(requests)


def example(text: str) -> bytes:
    """A serialized tf.train.Example, with a feature that nobody asks for."""
    values = tf.train.BytesList(value=[text.encode()])
    feature = {
        "text": tf.train.Feature(bytes_list=values),
        "other": tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2])),
    }
    features = tf.train.Features(feature=feature)
    serialized: bytes = tf.train.Example(features=features).SerializeToString()
    return serialized


def make_encoder(*, max_windows: int = 1) -> TextEncoder:
    """An encoder of the tiny vocabulary."""
    return TextEncoder(
        tiny.VOCABULARY,
        lowercase=True,
        window_length=MAX_LENGTH,
        max_windows=max_windows,
        window_overlap=OVERLAP,
    )


def make_classifier(preset: str, pooling: Any, policy: str = "float32") -> keras.Model:
    """Always the same one, its head sure enough for differences to show."""
    with strategies.precision(policy):
        model = build_classifier(
            load_preset(preset),
            num_classes=len(LABELS),
            pooling=pooling,
            dropout=0.0,
            seed=0,
        )
    head = model.get_layer("logits")
    head.kernel.assign(np.random.default_rng(1).normal(0, 1, head.kernel.shape))
    return model


def make_source(
    preset: str,
    pooling: Any = "first",
    *,
    max_windows: int = 1,
    decision: Decision = DECISION,
) -> Exportable:
    """What is exported."""
    return Exportable(
        make_classifiers=(lambda policy: make_classifier(preset, pooling, policy),),
        preset=load_preset(preset),
        encoder=load_preset(preset).text_encoder(
            window_length=MAX_LENGTH, max_windows=max_windows, window_overlap=OVERLAP
        ),
        label_names=LABELS,
        bucket_lengths=(
            *BUCKET_LENGTHS,
            *(n * MAX_LENGTH for n in range(2, max_windows + 1)),
        ),
        decision=decision,
        data=DataConfig(
            max_length=MAX_LENGTH,
            long_text="truncate" if max_windows == 1 else "windows",
            max_windows=max(max_windows, 2),
        ),
    )


def save(preset: str, folder: pathlib.Path) -> pathlib.Path:
    """Saves it as a SavedModel into a new folder, which is returned."""
    folder.mkdir()
    formats.write("float32", folder, make_source(preset))
    return folder


def logits_in_memory(
    source: Exportable, texts: Sequence[str], *, max_windows: int = 1
) -> np.ndarray:
    """What KerasHub's own layers make of texts, window by window: [texts, classes]."""
    model = source.make_classifier("float32")
    encoder = make_encoder(max_windows=max_windows)
    rows = []
    for ids in encoder(tf.constant(list(texts))).token_ids.to_list():
        windows = [ids[i : i + MAX_LENGTH] for i in range(0, len(ids), MAX_LENGTH)]
        ragged = tf.ragged.constant(windows, tf.int32)
        padded = ragged.to_tensor(shape=[None, MAX_LENGTH])
        logits = model(model_inputs(padded, ragged.row_lengths())).numpy()
        rows.append(logits.astype(np.float64).mean(axis=0))
    return np.array(rows)

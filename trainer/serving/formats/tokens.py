"""Classifier → SavedModel that reads token ids, of TensorFlow's own operations alone.

    write_format(folder, exportable)
    reader(folder, exportable)(["A fine film."]).probabilities

The other SavedModels hold their tokenizer, and need TensorFlow Text's operations to be
loaded at all, whichever signature is asked. This one is for what does without: Java, Go,
C, other runtimes. Tokenizing is the client's; the tokenizer's files lie beside. A row is
one window: of longer texts it reads the start, or what --truncation keeps.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Sequence

import tensorflow as tf

from trainer import storage
from trainer.data.tokens import TextEncoder
from trainer.modeling.classifier import segments_of_pairs
from trainer.modeling.forward import Forward
from trainer.serving import signatures, stock_ops
from trainer.serving.formats import tokenizer_files
from trainer.serving.formats.exportable import Answers, Classify, Exportable


def write_format(folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes the model and the tokenizer's files into a folder that is there."""
    data = exportable.data
    forward = exportable.make_forward(
        "float32",
        functools.partial(Forward, window_length=data.max_length, differentiable=False),
    )
    module = signatures.TokensModule(
        forward,
        exportable.label_names,
        window_length=data.max_length,
        decision=exportable.decision,
    )
    signatures.save(module, folder)
    stock_ops.check(folder, allowed=stock_ops.CORE_OPS)
    tokenizer_files.write(
        folder,
        exportable.preset,
        window_length=data.max_length,
        truncation=data.truncation,
    )


def _segments(token_ids: tf.Tensor, encoder: TextEncoder) -> tf.Tensor:
    if encoder.separator_id is None:
        return tf.zeros_like(token_ids)
    return segments_of_pairs(token_ids, encoder.separator_id)


def reader(folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function that asks what `write_format` wrote, with the ids of one window."""
    with storage.literal(folder) as place:
        loaded = tf.saved_model.load(str(place))
    preset, data = exportable.preset, exportable.data
    encoder = preset.text_encoder(
        window_length=data.max_length,
        truncation=data.truncation,
        reads_pairs=exportable.encoder.reads_pairs,
    )

    def classify(texts: Sequence[str]) -> Answers:
        rows = encoder(tf.constant(list(texts))).token_ids
        token_ids = rows.to_tensor(encoder.pad_id)
        inputs = {
            "token_ids": token_ids,
            "padding_mask": tf.sequence_mask(rows.row_lengths(), dtype=tf.int32),
        }
        if preset.kind.has_segments:
            inputs["segment_ids"] = _segments(token_ids, encoder)
        outputs = loaded.signatures["serving_default"](**inputs)
        return exportable.answers(outputs)

    return classify

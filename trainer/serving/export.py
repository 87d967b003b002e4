"""Classifier → SavedModel that reads text, checked before it is published.

    version = export(
        classifier, encoder, label_names, "/runs/a/export",
        check_texts=texts, expected_probabilities=probabilities,
    )

The SavedModel holds the tokenizer and each weight once. Its `serving_default` takes
`text` (string [batch]) and gives `label` (string [batch]), `score` (float32 [batch])
and `probabilities` (float32 [batch, classes], in the order of the labels). It needs
TensorFlow and tensorflow-text to run, and none of this package.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.data.tokens import TextEncoder
from trainer.modeling.classifier import model_inputs

# Largest difference of a probability between the SavedModel and the model in memory.
PARITY_TOLERANCE = 1e-5
_CHECK_BATCH_SIZE = 16


@dataclasses.dataclass(frozen=True)
class Export:
    """A published SavedModel.

    Attributes:
      path: its folder.
      version: the folder's name, as a number.
      parity_max_difference: the largest difference of a probability that the check
        found.
      num_parity_texts: how many texts were checked.
    """

    path: str
    version: int
    parity_max_difference: float
    num_parity_texts: int


class ServingModule(tf.Module):
    """What is saved: the tokenizer, the classifier's variables, and the signature.

    Args:
      classifier: gives logits; made outside of any strategy, in float32.
    """

    def __init__(
        self,
        classifier: keras.Model,
        encoder: TextEncoder,
        label_names: Sequence[str],
    ) -> None:
        super().__init__()
        # The variables themselves: tracking the Keras model would save them twice.
        self.weights = [variable.value for variable in classifier.variables]
        self._label_names = tf.constant(list(label_names))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
            token_ids = encoder(text).token_ids
            # A batch of no texts has no length either, but BERT reads a first token.
            length = tf.maximum(token_ids.bounding_shape(axis=1), 1)
            padded = token_ids.to_tensor(encoder.pad_id, shape=tf.stack([-1, length]))
            inputs = model_inputs(padded, token_ids.row_lengths())
            probabilities = tf.nn.softmax(classifier(inputs, training=False))
            return {
                "label": tf.gather(
                    self._label_names, tf.argmax(probabilities, axis=-1)
                ),
                "score": tf.reduce_max(probabilities, axis=-1),
                "probabilities": probabilities,
            }

        self.serve = serve


def export(
    classifier: keras.Model,
    encoder: TextEncoder,
    label_names: Sequence[str],
    folder: storage.Path,
    *,
    check_texts: Sequence[str],
    expected_probabilities: np.ndarray,
) -> Export:
    """Writes the next version, and publishes it if it computes what it should.

    Args:
      folder: versions are numbered folders in it.
      expected_probabilities: [len(check_texts), classes], of the model in memory.

    Raises:
      ValueError: the SavedModel's probabilities differ; nothing is published.
    """
    version = 1 + max(_published_versions(folder), default=0)
    target = folder / str(version)
    with storage.new_directory(target) as unfinished:
        module = ServingModule(classifier, encoder, label_names)
        tf.saved_model.save(
            module, str(unfinished), signatures={"serving_default": module.serve}
        )
        difference = _max_difference(unfinished, check_texts, expected_probabilities)
        if not difference <= PARITY_TOLERANCE:
            raise ValueError(
                f"the export was not published: expected its probabilities within "
                f"{PARITY_TOLERANCE} of the model in memory; found a difference of "
                f"{difference:.3g} among {len(check_texts)} texts"
            )
    return Export(str(target), version, difference, len(check_texts))


def _published_versions(folder: storage.Path) -> list[int]:
    if not folder.is_dir():
        return []
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _max_difference(
    saved_model: pathlib.Path, texts: Sequence[str], expected: np.ndarray
) -> float:
    serve = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    found = [
        serve(text=tf.constant(texts[start : start + _CHECK_BATCH_SIZE]))[
            "probabilities"
        ].numpy()
        for start in range(0, len(texts), _CHECK_BATCH_SIZE)
    ]
    return float(np.abs(np.concatenate(found) - expected).max())

"""Preset → compiled KerasHub classifier.

    classifier = build_classifier(
        preset, num_classes=2, pooling="mean", dropout=None, seed=0
    )
    classifier(model_inputs(token_ids, num_tokens))     # logits [batch, 2]

The classifier is compiled as Keras expects, with optimizer, loss from logits and
metric; `training/steps.py` runs it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import keras_nlp
import tensorflow as tf

from trainer.config import Pooling
from trainer.modeling.presets import Preset


class MeanPooledBertTextClassifier(keras_nlp.models.TextClassifier):
    """KerasHub's BertTextClassifier, but its head reads the mean of the tokens.

    Sentence encoders such as MiniLM were trained so, and not with the pooler on their
    first token. Padding is left out of the mean; [CLS] and [SEP] are in it. The
    backbone's pooler, which nothing reads here, is frozen.
    """

    backbone_cls = keras_nlp.models.BertBackbone

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        dropout: float,
        preprocessor: None = None,
    ) -> None:
        backbone.pooled_dense.trainable = False
        inputs = backbone.input
        mean = mean_of_tokens(
            backbone(inputs)["sequence_output"], inputs["padding_mask"]
        )
        output_dropout = keras.layers.Dropout(
            dropout, dtype="float32", name="classifier_dropout"
        )
        output_dense = keras.layers.Dense(num_classes, dtype="float32", name="logits")
        logits = output_dense(output_dropout(mean))
        super().__init__(inputs=inputs, outputs=logits, compile=False)
        self.backbone = backbone
        self.preprocessor = preprocessor


def mean_of_tokens(vectors: Any, is_token: Any) -> Any:
    """The mean of the vectors that are not padding: float32 [batch, hidden].

    Zeros where all are. In float32 also under mixed precision: bfloat16 cannot count
    past 256. Of Keras's operations, for a Keras model is made of it as well as a graph.

    Args:
      vectors: float [batch, length, hidden].
      is_token: bool or int [batch, length], 0 where there is padding.
    """
    mask = keras.ops.expand_dims(keras.ops.cast(is_token, "float32"), -1)
    total = keras.ops.sum(keras.ops.cast(vectors, "float32") * mask, axis=1)
    return total / keras.ops.maximum(keras.ops.sum(mask, axis=1), 1.0)


def separator_of(classifier: keras.Model) -> int | None:
    """The id of [SEP] of a classifier that reads pairs; None: it reads single texts."""
    separator_id: int | None = getattr(classifier, "separator_id", None)
    return separator_id


def segments_of_pairs(token_ids: tf.Tensor, separator_id: int) -> tf.Tensor:
    """The segments of pairs, and of single texts: int32 [batch, length].

    What stands after the first [SEP] is of the second segment. So is the padding of a
    single text, which nothing reads.

    Args:
      token_ids: int32 [batch, length].
    """
    is_separator = tf.cast(tf.equal(token_ids, separator_id), tf.int32)
    num_before = tf.cumsum(is_separator, axis=1, exclusive=True)
    return tf.minimum(num_before, 1)


def model_inputs(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> dict[str, tf.Tensor]:
    """What a KerasHub BERT takes, for texts of a single segment.

    Args:
      token_ids: int32 [batch, length].
      num_tokens: int [batch], how many of them are not padding.
    """
    mask = tf.sequence_mask(num_tokens, tf.shape(token_ids)[1], dtype=tf.int32)
    return {
        "token_ids": token_ids,
        "padding_mask": mask,
        "segment_ids": tf.zeros_like(token_ids),
    }


def build_classifier(
    preset: Preset,
    *,
    num_classes: int,
    pooling: Pooling,
    dropout: float | None,
    seed: int,
    separator_id: int | None = None,
) -> keras.Model:
    """The pretrained encoder with a new head, not yet compiled.

    Args:
      dropout: rate in encoder and head; None: the preset's own.
      seed: of the head's first weights.
      separator_id: of [SEP], for a classifier that reads pairs of texts, in which it
        stands after the first text and after the second; None: it reads single texts.
    """
    backbone = preset.make_backbone(dropout=dropout)
    head_dropout = backbone.dropout if dropout is None else dropout
    classifier_class = {
        "first": keras_nlp.models.BertTextClassifier,
        "mean": MeanPooledBertTextClassifier,
    }[pooling]
    classifier = classifier_class(backbone, num_classes, dropout=head_dropout)
    head = classifier.get_layer("logits")
    # In float32 also under mixed precision, as all that probabilities hang on.
    head.dtype_policy = "float32"
    # BERT's own initializer, but with a seed, which KerasHub gives no way to set.
    initializer = keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)
    head.kernel.assign(initializer(head.kernel.shape))
    classifier.separator_id = separator_id
    return classifier


def compile_classifier(
    classifier: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    loss: keras.losses.Loss,
) -> None:
    """Compiles it with a task's loss, which is one number an example."""
    classifier.compile(optimizer=optimizer, loss=loss, jit_compile=False)


def set_head(classifier: keras.Model, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Gives the head other weights.

    Args:
      kernel: float32 [hidden, classes].
      bias: float32 [classes].
    """
    head = classifier.get_layer("logits")
    head.kernel.assign(kernel)
    head.bias.assign(bias)

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
from trainer.modeling import encoders
from trainer.modeling.hugging_face_weights import Dense
from trainer.modeling.presets import Preset

# The layer between a first token and the head, where the classifier has one.
_POOLER = "pooled_dense"
# What tells the pooler's first weights from the head's, of the same seed.
_POOLER_SEED = 1_000_003


class MeanPooledTextClassifier(keras_nlp.models.TextClassifier):
    """KerasHub's BertTextClassifier, but its head reads the mean of the tokens.

    Sentence encoders such as MiniLM were trained so, and not with the pooler on their
    first token. Padding is left out of the mean; the ends of a text are in it. A
    backbone's pooler, which nothing reads here, is frozen.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        dropout: float,
        preprocessor: None = None,
    ) -> None:
        if encoders.of_backbone(backbone).has_pooler:
            backbone.pooled_dense.trainable = False
        inputs = backbone.input
        vectors = encoders.token_vectors(backbone(inputs))
        mean = mean_of_tokens(vectors, inputs["padding_mask"])
        logits = _head(mean, num_classes, dropout=dropout)
        super().__init__(inputs=inputs, outputs=logits, compile=False)
        self.backbone = backbone
        self.preprocessor = preprocessor


class FirstTokenTextClassifier(keras_nlp.models.TextClassifier):
    """What BertTextClassifier is to a BERT, for a backbone that has no pooler.

    It has one of its own, as Hugging Face's classifiers of these kinds: a dense layer
    on the first token, with the activation of the kind, then dropout and the head.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int,
        *,
        dropout: float,
        preprocessor: None = None,
    ) -> None:
        inputs = backbone.input
        first = encoders.token_vectors(backbone(inputs))[:, 0]
        pooler = keras.layers.Dense(
            backbone.hidden_dim,
            activation=encoders.of_backbone(backbone).pooler_activation,
            dtype=backbone.dtype_policy,
            name=_POOLER,
        )
        logits = _head(pooler(first), num_classes, dropout=dropout)
        super().__init__(inputs=inputs, outputs=logits, compile=False)
        self.backbone = backbone
        self.preprocessor = preprocessor


def _head(pooled: Any, num_classes: int, *, dropout: float) -> Any:
    """The logits, by layers of these names."""
    output_dropout = keras.layers.Dropout(
        dropout, dtype="float32", name="classifier_dropout"
    )
    output_dense = keras.layers.Dense(num_classes, dtype="float32", name="logits")
    return output_dense(output_dropout(pooled))


def reads_mean(classifier: keras.Model) -> bool:
    """Whether its head reads the mean of the tokens, not the first one."""
    return isinstance(classifier, MeanPooledTextClassifier)


def pooler_of(classifier: keras.Model) -> keras.layers.Layer:
    """The dense layer between the first token and the head, which is the backbone's or
    the classifier's own. Of a classifier that reads the first token."""
    if encoders.of_backbone(classifier.backbone).has_pooler:
        return classifier.backbone.pooled_dense
    return classifier.get_layer(_POOLER)


def new_weights(classifier: keras.Model) -> tuple[str, ...]:
    """Paths of what a preset brings none of: the head, and a pooler of its own."""
    names = ["logits"]
    has_pooler = encoders.of_backbone(classifier.backbone).has_pooler
    if not has_pooler and not reads_mean(classifier):
        names.append(_POOLER)
    return tuple(f"{name}/{part}" for name in names for part in ("kernel", "bias"))


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

    `encoders.inputs_of` leaves out what another backbone does not take.

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

    Returns:
      A classifier; its `has_new_pooler` says whether the layer between the first token
      and the head is new: neither the preset's nor a checkpoint's.
    """
    backbone = preset.make_backbone(dropout=dropout)
    head_dropout = backbone.dropout if dropout is None else dropout
    first: Any = FirstTokenTextClassifier
    if preset.kind.has_pooler:
        first = keras_nlp.models.BertTextClassifier
    classifier_class = {"first": first, "mean": MeanPooledTextClassifier}[pooling]
    classifier = classifier_class(backbone, num_classes, dropout=head_dropout)
    classifier.has_new_pooler = False
    if classifier_class is FirstTokenTextClassifier:
        own = preset.read_pooler()
        classifier.has_new_pooler = own is None
        _start_pooler(pooler_of(classifier), own, seed=seed)
    head = classifier.get_layer("logits")
    # In float32 also under mixed precision, as all that probabilities hang on.
    head.dtype_policy = "float32"
    # BERT's own initializer, but with a seed, which KerasHub gives no way to set.
    initializer = keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)
    head.kernel.assign(initializer(head.kernel.shape))
    classifier.separator_id = separator_id
    return classifier


def _start_pooler(pooler: keras.layers.Layer, own: Dense | None, *, seed: int) -> None:
    """Gives a classifier's own pooler the checkpoint's weights, or the first of a seed."""
    if own is None:
        initializer = keras.initializers.TruncatedNormal(
            stddev=0.02, seed=seed + _POOLER_SEED
        )
        pooler.kernel.assign(initializer(pooler.kernel.shape))
    else:
        pooler.kernel.assign(own.kernel)
        pooler.bias.assign(own.bias)


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

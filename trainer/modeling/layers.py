"""The parts of a transformer layer by name: KerasHub's layers, and their weights.

    parts = parts_of(backbone.transformer_layers[0])
    parts.intermediate.activation, parts.output_norm.epsilon
    LayerWeights.of(tensors).query.kernel

KerasHub keeps them in attributes that are not public; here they are looked up once.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import keras
import tensorflow as tf

# Hugging Face's names of the linear maps in `bert.encoder.layer.N`, by `LayerParts`'.
HUGGING_FACE_DENSE = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
}


class DenseWeights(NamedTuple):
    """kernel: float [inputs, outputs], heads side by side. bias: float [outputs]."""

    kernel: tf.Tensor
    bias: tf.Tensor


class NormWeights(NamedTuple):
    """gamma, beta: float [hidden]."""

    gamma: tf.Tensor
    beta: tf.Tensor


class LayerWeights(NamedTuple):
    """What one transformer layer computes with.

    Attributes:
      query, key, value: [hidden, hidden].
      attention_output: [hidden, hidden].
      intermediate, output: the feed-forward, [hidden, wide] and [wide, hidden].
      attention_norm, output_norm: after attention, and after the feed-forward.
    """

    query: DenseWeights
    key: DenseWeights
    value: DenseWeights
    attention_output: DenseWeights
    intermediate: DenseWeights
    output: DenseWeights
    attention_norm: NormWeights
    output_norm: NormWeights

    @classmethod
    def of(cls, tensors: Sequence[tf.Tensor]) -> LayerWeights:
        """The same tensors by name, from the order of `tf.nest.flatten`."""
        rest = iter(tensors)
        dense: dict[str, Any] = {
            name: DenseWeights(next(rest), next(rest)) for name in LayerParts.DENSE
        }
        norms: dict[str, Any] = {
            name: NormWeights(next(rest), next(rest)) for name in LayerParts.NORMS
        }
        return cls(**dense, **norms)

    @staticmethod
    def num_tensors() -> int:
        """How many tensors `tf.nest.flatten` makes of it."""
        return 2 * (len(LayerParts.DENSE) + len(LayerParts.NORMS))


class LayerParts:
    """The Keras layers within a KerasHub TransformerEncoder.

    Attributes are those of `LayerWeights`: Dense and EinsumDense layers, and
    LayerNormalizations.
    """

    DENSE = ("query", "key", "value", "attention_output", "intermediate", "output")
    NORMS = ("attention_norm", "output_norm")

    def __init__(self, layer: keras.layers.Layer) -> None:
        attention = layer._self_attention_layer
        self.query = attention._query_dense
        self.key = attention._key_dense
        self.value = attention._value_dense
        self.attention_output = attention._output_dense
        self.intermediate = layer._feedforward_intermediate_dense
        self.output = layer._feedforward_output_dense
        self.attention_norm = layer._self_attention_layer_norm
        self.output_norm = layer._feedforward_layer_norm

    def dense(self) -> dict[str, keras.layers.Layer]:
        """The linear maps by name, in the order of `LayerWeights`."""
        return {name: getattr(self, name) for name in self.DENSE}

    def norms(self) -> dict[str, keras.layers.Layer]:
        """The layer norms by name, in the order of `LayerWeights`."""
        return {name: getattr(self, name) for name in self.NORMS}


def parts_of(layer: keras.layers.Layer) -> LayerParts:
    """The parts of one of a backbone's `transformer_layers`."""
    return LayerParts(layer)

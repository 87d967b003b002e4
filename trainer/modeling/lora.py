"""LoRA: kernels learn by the product of two small matrices, the rest stays.

    lora.add(classifier, rank=8, alpha=16, targets=("query", "value"), seed=0)
    factors = lora.factors_of(classifier)       # {} of a classifier without
    kernel + factors[path].product()            # what the forward pass reads
    lora.merged(classifier)                     # all weights by path, as if trained whole

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models": W + (alpha / r) A B
with A [in, r] and B [r, out], where W is a kernel of all heads side by side. (KerasHub's
own `enable_lora` factorizes a kernel's last axis alone: six times the numbers, and the
heads share a factor.) B begins as zeros; A as PEFT draws it, by seed and path, so that
workers, folds and a run that starts again begin alike.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.messages import message
from trainer.modeling import weights as weights_lib
from trainer.modeling.layers import parts_of

# The classifier's attribute, and the first part of the factors' paths.
_LAYER = "lora"


@dataclasses.dataclass(frozen=True)
class Factors:
    """What is added to a kernel.

    Attributes:
      a: [in, rank].
      b: [rank, out].
      scale: alpha / rank.
    """

    a: keras.Variable
    b: keras.Variable
    scale: float

    def product(self) -> tf.Tensor:
        """float32 [in, out]."""
        return self.scale * tf.matmul(self.a.value, self.b.value)


class FactorsLayer(keras.layers.Layer):
    """Holds the factors of all kernels, for Keras to find them.

    Attributes:
      rank: of all factors.
      alpha: what their products are scaled by, times the rank.
      has_own_pooler: whether the pooler, which LoRA leaves alone, is another than the
        preset's: it came with an adapter.
      factors: by the path of the kernel.
    """

    def __init__(self, *, rank: int, alpha: float) -> None:
        # Float32 whatever the policy: these are the weights, and no copy of them.
        super().__init__(name=_LAYER, dtype="float32")
        self.rank, self.alpha = rank, alpha
        self.has_own_pooler = False
        self.factors: dict[str, Factors] = {}

    def add_factors(self, place: str, dense: keras.layers.Layer, seed: int) -> None:
        """Of a kernel; place: the name of its layer and of it there."""
        num_outputs = math.prod(dense.bias.shape)
        num_inputs = math.prod(dense.kernel.shape) // num_outputs
        # PEFT's: uniform, of a variance of 1 / (3 in).
        limit = 1 / math.sqrt(num_inputs)
        drawn = np.random.default_rng([seed, zlib.crc32(place.encode())]).uniform(
            -limit, limit, [num_inputs, self.rank]
        )
        a = self.add_weight(name=f"{place}.a", shape=(num_inputs, self.rank))
        a.assign(drawn.astype(np.float32))
        b = self.add_weight(
            name=f"{place}.b", shape=(self.rank, num_outputs), initializer="zeros"
        )
        self.factors[dense.kernel.path] = Factors(a, b, self.alpha / self.rank)


def add(
    classifier: keras.Model,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str],
    seed: int,
) -> None:
    """Adds factors to kernels of all layers; they and the head alone are trained.

    Args:
      classifier: not compiled.
      rank: at most the width of the encoder.
      targets: as `LayerParts.DENSE` names them.
      seed: of A.

    Raises:
      ValueError: the rank is larger than a kernel.
    """
    width = int(classifier.backbone.hidden_dim)
    if rank > width:
        raise ValueError(
            message(
                f"--lora_rank must be at most {width}, the width of the preset",
                received=rank,
                mend="at full rank LoRA saves nothing: train without it",
            )
        )
    classifier.backbone.trainable = False
    layer = FactorsLayer(rank=rank, alpha=alpha)
    for number, of_backbone in enumerate(classifier.backbone.transformer_layers):
        parts = parts_of(of_backbone).dense()
        for name in targets:
            layer.add_factors(f"layer_{number}.{name}", parts[name], seed)
    layer.built = True
    setattr(classifier, _LAYER, layer)
    # Keras 3.12, the newest for Python 3.10, keeps a functional model's layers in a list
    # of its own, which an attribute does not join: the factors would not be trained.
    if not any(each is layer for each in classifier._layers):
        classifier._layers.append(layer)


def factors_of(classifier: keras.Model) -> dict[str, Factors]:
    """By the path of the kernel that they are added to; empty: there are none."""
    layer = getattr(classifier, _LAYER, None)
    return {} if layer is None else layer.factors


def layer_of(classifier: keras.Model) -> FactorsLayer:
    """What `add` added."""
    layer: FactorsLayer = getattr(classifier, _LAYER)
    return layer


def merged(classifier: keras.Model) -> dict[str, np.ndarray]:
    """All weights by path, the factors' products added to their kernels."""
    factors = factors_of(classifier)
    own = {id(each) for pair in factors.values() for each in (pair.a, pair.b)}
    return {
        path: _merged(variable, factors.get(path))
        for path, variable in weights_lib.by_path(classifier).items()
        if id(variable) not in own
    }


def _merged(variable: keras.Variable, factors: Factors | None) -> np.ndarray:
    value: np.ndarray = variable.numpy()
    if factors is None:
        return value
    value = value + factors.product().numpy().reshape(value.shape)
    return value


def merged_values(
    values: Mapping[str, np.ndarray], classifier: keras.Model, *, alpha: float
) -> dict[str, np.ndarray]:
    """Weights as they were saved, by path, with the factors among them merged.

    Bit for bit what `merged` gives of the classifier that they were saved of.

    Args:
      values: of a classifier with factors, or without.
      classifier: of the same architecture, without factors.
      alpha: --lora_alpha of those factors.
    """
    prefix = f"{_LAYER}/"
    result = {path: each for path, each in values.items() if path[:5] != prefix}
    for number, of_backbone in enumerate(classifier.backbone.transformer_layers):
        for name, dense in parts_of(of_backbone).dense().items():
            place, path = f"{prefix}layer_{number}.{name}", dense.kernel.path
            if f"{place}.a" in values and path in result:
                a, b = values[f"{place}.a"], values[f"{place}.b"]
                product = alpha / a.shape[1] * tf.matmul(a, b)
                result[path] = result[path] + product.numpy().reshape(
                    result[path].shape
                )
    return result

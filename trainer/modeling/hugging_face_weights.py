"""The weights of an encoder by Hugging Face's names, read and written.

    assign(backbone, load_file("model.safetensors"))    # a KerasHub backbone
    pooler = read_pooler(kind, tensors)                 # None: it has none
    tensors = encoder_tensors(backbone)                 # the same, to be saved

PyTorch has a linear map's outputs first, KerasHub its inputs, and attention's by head.
The names are those of `encoders.KINDS`.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, NamedTuple

import keras
import numpy as np

from trainer.messages import message
from trainer.modeling import encoders
from trainer.modeling.encoders import EncoderKind
from trainer.modeling.layers import parts_of

_TOKENS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_SEGMENTS = "embeddings.token_type_embeddings.weight"
_NORM = "embeddings.LayerNorm"
_SHOWN = 3


class Dense(NamedTuple):
    """kernel: float32 [in, out]. bias: float32 [out]."""

    kernel: np.ndarray
    bias: np.ndarray


def assign(backbone: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Gives a backbone the weights of a checkpoint.

    Args:
      tensors: by name, with the kind's prefix ("distilbert.") or without.

    Raises:
      ValueError: some are missing, or of other shapes.
    """
    kind = encoders.of_backbone(backbone)
    by_name = _without_prefix(kind, tensors)
    missing = [name for name in encoder_tensors(backbone) if name not in by_name]
    # RoBERTa's one segment, which says nothing, may have been left out.
    if not kind.has_segments:
        missing = [name for name in missing if not name.endswith(_SEGMENTS)]
    if missing:
        raise ValueError(
            message(
                f"expected the weights of a {kind.name} of the size that config.json "
                "says",
                received=f"none named {', '.join(missing[:_SHOWN])}"
                f"{' ...' * (len(missing) > _SHOWN)}",
                mend="are both files of one model?",
            )
        )
    embeddings = encoders.embeddings_of(backbone)
    positions = by_name[_POSITIONS][kind.first_position :]
    if embeddings.segments is not None:
        _set(embeddings.segments.embeddings, by_name[_SEGMENTS], _SEGMENTS)
    elif _SEGMENTS in by_name:
        # All tokens are of it: it may as well be added to each position.
        positions = positions + by_name[_SEGMENTS][:1]
    _set(embeddings.tokens.embeddings, by_name[_TOKENS], _TOKENS)
    _set(embeddings.positions.position_embeddings, positions, _POSITIONS)
    for name, layer in _layers(backbone, kind):
        if isinstance(layer, keras.layers.LayerNormalization):
            _set(layer.gamma, by_name[f"{name}.weight"], name)
            _set(layer.beta, by_name[f"{name}.bias"], name)
        else:
            _set(layer.kernel, by_name[f"{name}.weight"].T, name)
            _set(layer.bias, by_name[f"{name}.bias"], name)


def read_pooler(kind: EncoderKind, tensors: Mapping[str, np.ndarray]) -> Dense | None:
    """The layer between the first token and a head, of a classifier's checkpoint."""
    weight = tensors.get(f"{kind.pooler}.weight")
    bias = tensors.get(f"{kind.pooler}.bias")
    if weight is None or bias is None:
        return None
    return Dense(weight.T.astype(np.float32), bias.astype(np.float32))


def encoder_tensors(backbone: keras.Model) -> dict[str, np.ndarray]:
    """All weights of an encoder by Hugging Face's names without prefix, float32."""
    kind = encoders.of_backbone(backbone)
    embeddings = encoders.embeddings_of(backbone)
    positions = as_float32(embeddings.positions.position_embeddings)
    before = np.zeros([kind.first_position, positions.shape[1]], np.float32)
    result = {
        _TOKENS: as_float32(embeddings.tokens.embeddings),
        _POSITIONS: np.concatenate([before, positions]),
    }
    if embeddings.segments is not None:
        result[_SEGMENTS] = as_float32(embeddings.segments.embeddings)
    elif kind.first_position:
        # Its model has a table of one row, which is in the positions here.
        result[_SEGMENTS] = np.zeros([1, positions.shape[1]], np.float32)
    for name, layer in _layers(backbone, kind):
        if isinstance(layer, keras.layers.LayerNormalization):
            result |= norm_tensors(name, layer)
        else:
            result |= dense_tensors(name, layer)
    return result


def dense_tensors(name: str, layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """Weight [out, in] and bias [out], heads side by side."""
    bias = as_float32(layer.bias).reshape(-1)
    kernel = as_float32(layer.kernel).reshape(-1, len(bias))
    return {f"{name}.weight": np.ascontiguousarray(kernel.T), f"{name}.bias": bias}


def norm_tensors(name: str, layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """Weight and bias: [hidden]."""
    return {
        f"{name}.weight": as_float32(layer.gamma),
        f"{name}.bias": as_float32(layer.beta),
    }


def as_float32(weight: Any) -> np.ndarray:
    """Of a variable, or of a sum of several (LoRA)."""
    return np.asarray(weight.numpy(), np.float32)


def _layers(
    backbone: keras.Model, kind: EncoderKind
) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Name → norm or linear map, in the order of the checkpoint."""
    yield _NORM, backbone.embeddings_layer_norm
    for index, layer in enumerate(backbone.transformer_layers):
        prefix = f"{kind.layers}.{index}"
        parts = parts_of(layer)
        for name, dense in parts.dense().items():
            yield f"{prefix}.{kind.dense[name]}", dense
        for name, norm in parts.norms().items():
            yield f"{prefix}.{kind.norms[name]}", norm


def _without_prefix(
    kind: EncoderKind, tensors: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    prefix = f"{kind.tensors_prefix}."
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _set(variable: keras.Variable, value: np.ndarray, name: str) -> None:
    """Raises ValueError where it has not as many numbers."""
    if value.size != np.prod(variable.shape):
        raise ValueError(
            message(
                f"expected {name} to have {list(variable.shape)} numbers, by config.json",
                received=list(value.shape),
                mend="are both files of one model?",
            )
        )
    variable.assign(np.reshape(value, variable.shape).astype(np.float32))

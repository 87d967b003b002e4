"""A model's weights by name: what checkpoints, exports and copies go by.

    weights = by_path(classifier)
    weights["transformer_layer_0/self_attention_layer/query/kernel"]

A position in a list says nothing when a layer is frozen, added or left out; Keras's
path of a variable does.
"""

from __future__ import annotations

import hashlib
from typing import Iterable, Mapping

import keras
import numpy as np

from trainer.messages import message

# Dropout's masks are computed from seed, step and replica (`training/steps.py`), so
# the states of KerasHub's own generators are read by nobody; and their paths are
# numbered anew for each model of a process.
_SEED_STATE = "seed_generator_state"
# How many names a message lists of each kind.
_SHOWN = 5


def by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """All variables of a model that it computes with, trainable or not.

    Raises:
      ValueError: two of them have the same path.
    """
    weights = [v for v in model.variables if v.name != _SEED_STATE]
    named = {variable.path: variable for variable in weights}
    if len(named) < len(weights):
        doubled = {v.path for v in weights if named[v.path] is not v}
        raise ValueError(
            message(
                "a model's variables must have paths of their own",
                received=f"{', '.join(sorted(doubled))} more than once",
            )
        )
    return named


def assign(values: Mapping[str, np.ndarray], model: keras.Model) -> None:
    """Gives a model weights by path.

    Raises:
      ValueError: its paths are others.
    """
    targets = by_path(model)
    if values.keys() != targets.keys():
        raise ValueError(
            message(
                "a copy must have the variables of its model",
                received=difference(values.keys(), targets.keys()),
            )
        )
    for path, variable in targets.items():
        variable.assign(values[path])


def digest(values: Mapping[str, np.ndarray]) -> str:
    """SHA-256 in hex of weights by path: of paths, shapes and float32 numbers.

    It does not depend on where they were read: a run and its export have one digest.
    """
    result = hashlib.sha256()
    for path in sorted(values):
        value = np.ascontiguousarray(values[path], "<f4")
        result.update(f"{path} {list(value.shape)}\n".encode())
        result.update(value.tobytes())
    return result.hexdigest()


def name_of_key(key: str) -> str:
    """A variable's name in a TensorFlow checkpoint as the name it was given.

    "weights/logits.Skernel/.ATTRIBUTES/VARIABLE_VALUE" is "weights/logits/kernel":
    TensorFlow writes a dict's key with "." doubled and "/" as ".S"
    (tensorflow/python/trackable/trackable_utils.py, escape_local_name).
    """
    name = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
    return name.replace(".S", "/").replace("..", ".")


def difference(expected: Iterable[str], received: Iterable[str]) -> str:
    """In words, which names are missing and which are too many."""
    wanted, there = set(expected), set(received)
    parts = [
        f"{what} {', '.join(sorted(names)[:_SHOWN])}{' ...' * (len(names) > _SHOWN)}"
        for what, names in (("missing", wanted - there), ("too many", there - wanted))
        if names
    ]
    return "; ".join(parts)

"""Lets go of the graphs that a run has traced, so that many runs fit in a process.

    with released():
        train_and_export()

TensorFlow keeps the gradient of each `tf.custom_gradient` that was ever traced in a
registry, by a name of its own, and with it the graph it was traced in: about 80 MB for
each step of a tiny model, for as long as the process lives. Names are never looked up
again once the steps that were traced with them are gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Any, Iterator

from tensorflow.python.framework import ops

_PREFIX = "CustomGradient-"


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Forgets, at its end, the custom gradients that were traced in the block.

    What was traced in the block must not be differentiated after it.
    """
    before = _custom_gradients()
    try:
        yield
    finally:
        registry = _registry()
        for name in _custom_gradients() - before:
            del registry[name]
        # Graphs hold on to their tensors, and these to them.
        gc.collect()
        _return_freed_memory()


def _return_freed_memory() -> None:
    """Gives the system back what is free; glibc keeps it: a fifth of a small run's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def _custom_gradients() -> set[str]:
    return {name for name in _registry() if name.startswith(_PREFIX)}


def _registry() -> dict[str, Any]:
    # Not public; without it nothing is forgotten, and nothing else is wrong.
    registry = getattr(ops, "gradient_registry", None)
    entries: dict[str, Any] = getattr(registry, "_registry", {})
    return entries

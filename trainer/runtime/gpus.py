"""How much of each GPU's memory this process takes, so that others find room beside it.

    gpus.grow()                     # what it needs, when it needs it
    gpus.limit(memory_mib=4096)     # a share, at the start

Left to itself TensorFlow takes all of every GPU it sees at its start, and a second
process on the machine fails. To be called before TensorFlow has started on them.
"""

from __future__ import annotations

import logging
from typing import Any, Callable

import tensorflow as tf

_logger = logging.getLogger(__name__)


def grow() -> None:
    """Has every GPU's memory taken as it is needed; none is given back."""
    _configure(lambda gpu: tf.config.experimental.set_memory_growth(gpu, True))


def limit(*, memory_mib: int) -> None:
    """Takes a share of every GPU's memory.

    Args:
      memory_mib: MiB; 0: as it is needed.
    """
    if not memory_mib:
        return grow()
    share = tf.config.LogicalDeviceConfiguration(memory_limit=memory_mib)
    _configure(lambda gpu: tf.config.set_logical_device_configuration(gpu, [share]))


def _configure(configure: Callable[[Any], None]) -> None:
    for gpu in tf.config.list_physical_devices("GPU"):
        if tf.config.get_logical_device_configuration(gpu) is not None:
            continue  # Whoever has split it has said what each part may take.
        try:
            configure(gpu)
        except RuntimeError as error:
            # Too late; the process works, and its neighbour may not.
            _logger.warning("the memory of %s is taken as before: %s", gpu.name, error)

"""What all workers of a run have to have alike, compared before the work.

    agreement.refuse_differences(strategy, cluster, {"--seed": "0"})
    agreement.share(strategy, numbers)      # every replica's

Workers with other settings or data would train on, and nobody would notice.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Callable, Mapping

import numpy as np
import tensorflow as tf

from trainer.messages import message
from trainer.runtime.cluster import Cluster


def refuse_differences(
    strategy: tf.distribute.Strategy, cluster: Cluster, values: Mapping[str, str]
) -> None:
    """Compares what the workers go by with what the chief does.

    Every worker must call it, with values of the same names.

    Raises:
      ValueError: on all workers, naming the workers and the values that differ.
    """
    names = sorted(values)
    digests = [hashlib.sha256(values[name].encode()).digest() for name in names]
    # 31 bits of each hash, which fit an int32.
    mine = np.array([int.from_bytes(d[:4], "big") >> 1 for d in digests], np.int32)
    gathered = share(strategy, mine)
    by_worker = gathered[:: len(gathered) // cluster.num_workers]
    differing = [
        f"worker {worker} ({cluster.addresses[worker]}) in "
        + ", ".join(names[i] for i in np.flatnonzero(row != by_worker[0]))
        for worker, row in enumerate(by_worker)
        if (row != by_worker[0]).any()
    ]
    if differing:
        raise ValueError(
            message(
                "all workers must be started with the same settings and data, and "
                "share --model_dir",
                received=f"other than the chief's: {'; '.join(differing)}",
            )
        )


def share(strategy: tf.distribute.Strategy, values: np.ndarray) -> np.ndarray:
    """Every replica's values: int32 [n] → int32 [replicas, n]."""
    gathered: np.ndarray = _sharing(strategy)(tf.constant(values)).numpy()
    return gathered


@functools.lru_cache(maxsize=1)
def _sharing(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    def share(values: tf.Tensor) -> tf.Tensor:
        rows = strategy.run(lambda value: value[tf.newaxis], args=(values,))
        return strategy.gather(rows, axis=0)

    function: Callable[[tf.Tensor], tf.Tensor] = tf.function(share, autograph=False)
    return function

"""TensorFlow's own TPUStrategy for a TPU that is not there.

    strategy = stand_in(Cores("worker", num_hosts=2, cores_per_host=2))

CPU devices stand in for its cores: variables and batches are really made on them, and
steps really traced for a TPU of so many hosts and cores, by TensorFlow's own code.
Only what a TPU would then do, to compile and run the steps, cannot happen.
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Cores:
    """The cores of a TPU, each named like a CPU device of the same number.

    Attributes:
      job: whose tasks are the TPU's hosts.
    """

    job: str
    num_hosts: int
    cores_per_host: int

    def devices(self, kind: str) -> list[list[str]]:
        """Names of devices, "TPU" or "CPU", host by host."""
        return [
            [
                f"/job:{self.job}/replica:0/task:{host}/device:{kind}:{core}"
                for core in range(self.cores_per_host)
            ]
            for host in range(self.num_hosts)
        ]


class Resolver:
    """What TPUStrategy asks a TPUClusterResolver, answered from memory."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores

    def get_tpu_system_metadata(self) -> Any:
        """What a connected TPU would tell of itself."""
        names = [name for host in self._cores.devices("TPU") for name in host]
        return tf.tpu.experimental.TPUSystemMetadata(
            num_cores=len(names),
            num_hosts=self._cores.num_hosts,
            num_of_cores_per_host=self._cores.cores_per_host,
            topology=None,
            devices=[SimpleNamespace(name=name) for name in names],
        )


def stand_in(cores: Cores) -> tf.distribute.TPUStrategy:
    """A strategy on CPU devices, which must be there, in place of a TPU's cores."""
    strategy = tf.distribute.TPUStrategy(Resolver(cores))
    hosts = cores.devices("CPU")
    extended = strategy.extended
    extended._tpu_devices = np.array([[core] for host in hosts for core in host])
    extended._tpu_devices = extended._tpu_devices.astype(object)
    extended._device_input_worker_devices = {host[0]: host for host in hosts}
    return strategy

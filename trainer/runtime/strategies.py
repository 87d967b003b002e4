"""TensorFlow's process-wide state, and the tf.distribute strategy of a run.

    runtime = set_up(config.runtime, seed=0)
    with runtime.strategy.scope():
        ...  # make the variables
    runtime.reasons     # what was chosen, and why, in sentences

Everything that holds for the whole process is set here and nowhere else: logical
devices, determinism, seeds, the precision policy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import logging
import os
from typing import Iterator

import keras
import numpy as np
import tensorflow as tf

from trainer.messages import message
from trainer.config import RuntimeConfig
from trainer.modeling.forward import Fusion
from trainer.runtime import cluster as clusters
from trainer.runtime import agreement, compile_cache, gpus, tpus
from trainer.runtime.cluster import Cluster
from trainer.runtime.watchdog import (
    Watchdog,
    configure_heartbeats,
    naming_lost_workers,
    wait_for_workers,
)

_BFLOAT16_COMPUTE_CAPABILITY = (8, 0)

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What a run computes on.

    Attributes:
      strategy: tf.distribute's; the default one for a single device.
      precision: "float32" or "mixed_bfloat16", the current Keras policy.
      fusion: what XLA compiles of the steps; "pieces": or nothing, where
        --jit_compile=auto finds that it does not pay (`stages/resolve.py`).
      cluster: the workers that share the run; None: this process is alone.
      watchdog: to be told that the process gets on, where it waits for others.
      reasons: one sentence for each thing that was chosen.
    """

    strategy: tf.distribute.Strategy
    precision: str
    fusion: Fusion
    cluster: Cluster | None
    watchdog: Watchdog
    reasons: tuple[str, ...]

    @property
    def num_replicas(self) -> int:
        """How many replicas share each global batch."""
        count: int = self.strategy.num_replicas_in_sync
        return count

    @property
    def num_local_replicas(self) -> int:
        """How many of them are of this process; the other workers have as many."""
        return self.num_replicas // (self.cluster.num_workers if self.cluster else 1)

    @property
    def is_on_tpu(self) -> bool:
        """Whether the replicas are the cores of a TPU."""
        return isinstance(self.strategy, tf.distribute.TPUStrategy)

    @property
    def has_accelerators(self) -> bool:
        """Whether the replicas are anything but CPUs."""
        return self.is_on_tpu or bool(tf.config.list_logical_devices("GPU"))

    @property
    def is_on_gpu(self) -> bool:
        """Whether the replicas are GPUs."""
        return self.has_accelerators and not self.is_on_tpu

    @property
    def io_device(self) -> str | None:
        """Where checkpoints are read and written: None, beside their variables.

        A TPU's variables are on its hosts, which do not see this machine's files.
        """
        return "/job:localhost" if self.is_on_tpu else None

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.cluster is None or self.cluster.is_chief

    def wait_for_all(self) -> None:
        """Returns when every worker has called it."""
        if self.cluster is not None:
            agreement.share(self.strategy, np.zeros(1, np.int32))


def set_up(config: RuntimeConfig, *, seed: int) -> Runtime:
    """Sets the process up and makes the strategy.

    Raises:
      ValueError: what was asked for is not there.
    """
    compiled = compile_cache.keep_compiled(
        config.compile_cache_dir, deterministic=config.deterministic
    )
    _split_cpu(config.num_virtual_devices)
    if config.gpu_memory_growth:
        gpus.grow()
    cluster = clusters.find(os.environ)
    watchdog = Watchdog(cluster, timeout_secs=config.cluster_timeout_secs)
    # First of all: several workers must be told of before TensorFlow starts.
    with naming_lost_workers(cluster):
        strategy, strategy_reason = _make_strategy(config, cluster)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    # Float32 is float32: an export is compared with the model to 1e-5.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    on_gpu = bool(tf.config.list_logical_devices("GPU"))
    precision, precision_reason = _choose_precision(config, on_gpu=on_gpu)
    keras.mixed_precision.set_dtype_policy(precision)
    fusion, jit_reason = _choose_fusion(config, on_gpu=on_gpu)
    if fusion == "whole" and not config.tpu:
        jit_reason += f"; compiled steps are {compiled}"
    reasons = (strategy_reason, precision_reason, jit_reason)
    return Runtime(strategy, precision, fusion, cluster, watchdog, reasons)


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Keras's precision policy while layers are made that shall have another one."""
    current = keras.mixed_precision.dtype_policy().name
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(current)


def check_batch_size(
    name: str, batch_size: int, *, num_replicas: int, num_parts: int = 1
) -> None:
    """Raises ValueError unless a global batch can be shared out evenly.

    Args:
      num_parts: in how many parts each replica computes its share.
    """
    divisor = num_replicas * num_parts
    if batch_size % divisor:
        what = f"the number of replicas, {num_replicas}"
        if num_parts > 1:
            what = f"replicas × accumulation steps, {num_replicas} × {num_parts}"
        lower = batch_size - batch_size % divisor
        raise ValueError(
            message(
                f"--{name} must be a multiple of {what}",
                received=f"{name}={batch_size}",
                mend=(
                    f"try {' or '.join(str(n) for n in (lower, lower + divisor) if n)}"
                ),
            )
        )


def _split_cpu(num_devices: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration()] * num_devices
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError:
        # Too late to change: fine when they are as many as asked for.
        num_present = len(tf.config.list_logical_devices("CPU"))
        if num_devices > num_present:
            raise ValueError(
                f"--num_virtual_devices={num_devices}: TensorFlow was already started "
                f"with {num_present} logical CPU devices; start a new process"
            ) from None


def _make_strategy(
    config: RuntimeConfig, cluster: Cluster | None
) -> tuple[tf.distribute.Strategy, str]:
    """The strategy, and a sentence on why it is this one."""
    if config.tpu:
        return _tpu(config, cluster)
    if cluster is None and config.strategy == "multi_worker":
        raise ValueError(
            message(
                "--strategy=multi_worker needs to be told of the workers, by TF_CONFIG,"
                " Slurm (start it with srun) or Kubernetes",
                received="none of their variables",
            )
        )
    if cluster is not None:
        return _multi_worker(config, cluster)
    on_gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    on_cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    devices = on_gpus or on_cpus[: config.num_virtual_devices]
    kind = "GPU" if on_gpus else "CPU device"
    count = f"{len(devices)} {kind}{'s' * (len(devices) != 1)}"
    mirrored = config.strategy == "mirrored" or (
        config.strategy == "auto" and len(devices) > 1
    )
    why = f"--strategy={config.strategy}, {count}"
    if mirrored:
        return mirror(devices), f"mirrored on {count}: {why}"
    return tf.distribute.get_strategy(), f"one device: {why}"


def _tpu(
    config: RuntimeConfig, cluster: Cluster | None
) -> tuple[tf.distribute.Strategy, str]:
    if cluster is not None:
        raise ValueError(
            f"--tpu={config.tpu} is driven by one process, also where it has several "
            f"hosts, and {cluster.source} names {cluster.num_workers}: start one, "
            "without these variables"
        )
    if config.jit_compile == "off":
        raise ValueError(
            message(
                "--jit_compile=off is not for a TPU, which runs what XLA compiled and"
                " nothing else",
                received=f"jit_compile=off, tpu={config.tpu}",
            )
        )
    if config.num_virtual_devices > 1:
        raise ValueError(
            message(
                "--num_virtual_devices is for --strategy=mirrored",
                received=(
                    f"num_virtual_devices={config.num_virtual_devices},"
                    f" tpu={config.tpu}"
                ),
            )
        )
    strategy = tpus.connect(config.tpu, timeout_secs=config.cluster_timeout_secs)
    num_hosts, num_cores = strategy.extended.num_hosts, strategy.num_replicas_in_sync
    return (
        strategy,
        (
            f"TPU of {num_cores} cores on {num_hosts} host{'s' * (num_hosts != 1)}: "
            f"--strategy={config.strategy}, --tpu={config.tpu}"
        ),
    )


def _multi_worker(
    config: RuntimeConfig, cluster: Cluster
) -> tuple[tf.distribute.Strategy, str]:
    if config.strategy not in ("auto", "multi_worker"):
        raise ValueError(
            f"--strategy={config.strategy} is for one process, and {cluster.source} "
            f"names {cluster.num_workers}: they would train apart, and write over each "
            "other's files; use --strategy=multi_worker"
        )
    os.environ["TF_CONFIG"] = cluster.tf_config()
    timeout_secs = config.cluster_timeout_secs
    wait_for_workers(cluster, timeout_secs=timeout_secs)
    configure_heartbeats(cluster, timeout_secs=timeout_secs)
    implementation = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementation[config.collective_communication.upper()]
    )
    with _ended_after(timeout_secs):
        strategy = tf.distribute.MultiWorkerMirroredStrategy(
            communication_options=options
        )
    return (
        strategy,
        (
            f"worker {cluster.index} of {cluster.num_workers}: "
            f"--strategy={config.strategy}, {cluster.source}"
        ),
    )


@contextlib.contextmanager
def _ended_after(timeout_secs: float) -> Iterator[None]:
    """Ends the process where TensorFlow's start takes longer.

    All workers have come. If one dies now, TensorFlow waits for it for ever, with the
    interpreter's lock held: no Python can say who, only C end the process.
    """
    _logger.info(
        "starting TensorFlow with all workers: at most %g s (--cluster_timeout_secs)",
        timeout_secs,
    )
    faulthandler.dump_traceback_later(timeout_secs, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def mirror(devices: list[str]) -> tf.distribute.Strategy:
    """A MirroredStrategy on these devices, all of one kind.

    Logical CPUs share a memory: adding up in one place is as good there, and leaves
    no collective group behind that a next strategy of another size would clash with.
    """
    on_cpu = "CPU" in devices[0]
    return tf.distribute.MirroredStrategy(
        devices,
        cross_device_ops=tf.distribute.ReductionToOneDevice() if on_cpu else None,
    )


def _choose_precision(config: RuntimeConfig, *, on_gpu: bool) -> tuple[str, str]:
    if config.precision != "auto":
        return config.precision, f"{config.precision}: --precision={config.precision}"
    if config.tpu:
        return "mixed_bfloat16", "mixed_bfloat16: --precision=auto on a TPU"
    if not on_gpu:
        return "float32", "float32: --precision=auto on a CPU"
    details = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if min(details) >= _BFLOAT16_COMPUTE_CAPABILITY:
        return "mixed_bfloat16", "mixed_bfloat16: --precision=auto, the GPUs have it"
    return "float32", "float32: --precision=auto, the GPUs have no bfloat16"


def _choose_fusion(config: RuntimeConfig, *, on_gpu: bool) -> tuple[Fusion, str]:
    if config.tpu:
        return "whole", "XLA on: a TPU's strategy compiles the whole step itself"
    why = f"--jit_compile={config.jit_compile}"
    if config.jit_compile == "off":
        return "none", f"XLA off: {why}"
    if config.jit_compile == "on" or on_gpu:
        return "whole", f"XLA on: {why}{' on a GPU' * on_gpu}"
    return "pieces", f"XLA between matrix products: {why} on a CPU"

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
import json
import os
from typing import Iterator

import keras
import tensorflow as tf

from trainer.config import RuntimeConfig

_BFLOAT16_COMPUTE_CAPABILITY = (8, 0)


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What a run computes on.

    Attributes:
      strategy: tf.distribute's; the default one for a single device.
      precision: "float32" or "mixed_bfloat16", the current Keras policy.
      jit_compile: whether forward and backward passes are compiled with XLA.
      reasons: one sentence for each thing that was chosen.
    """

    strategy: tf.distribute.Strategy
    precision: str
    jit_compile: bool
    reasons: tuple[str, ...]

    @property
    def num_replicas(self) -> int:
        """How many replicas share each global batch."""
        count: int = self.strategy.num_replicas_in_sync
        return count


def set_up(config: RuntimeConfig, *, seed: int) -> Runtime:
    """Sets the process up and makes the strategy.

    Raises:
      ValueError: what was asked for is not there.
    """
    _split_cpu(config.num_virtual_devices)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    strategy, strategy_reason = _make_strategy(config)
    gpus = tf.config.list_logical_devices("GPU")
    precision, precision_reason = _choose_precision(config, on_gpu=bool(gpus))
    keras.mixed_precision.set_dtype_policy(precision)
    jit_compile = config.jit_compile == "on" or (
        config.jit_compile == "auto" and bool(gpus)
    )
    jit_reason = (
        f"XLA {'on' if jit_compile else 'off'}: "
        + (f"--jit_compile={config.jit_compile}")
        + (", on where there is an accelerator" * (config.jit_compile == "auto"))
    )
    return Runtime(
        strategy,
        precision,
        jit_compile,
        (strategy_reason, precision_reason, jit_reason),
    )


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Keras's precision policy while layers are made that shall have another one."""
    current = keras.mixed_precision.dtype_policy().name
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(current)


def check_batch_size(name: str, batch_size: int, *, num_replicas: int) -> None:
    """Raises ValueError unless a global batch can be shared out evenly."""
    if batch_size % num_replicas:
        lower = batch_size - batch_size % num_replicas
        raise ValueError(
            f"--{name} must be a multiple of the number of replicas, {num_replicas}. "
            f"Received: {name}={batch_size}; try "
            f"{' or '.join(str(n) for n in (lower, lower + num_replicas) if n)}"
        )


def _split_cpu(num_devices: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    wanted = [tf.config.LogicalDeviceConfiguration()] * num_devices
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
    except RuntimeError:
        # Too late to change: fine when they are as many as asked for.
        found = len(tf.config.list_logical_devices("CPU"))
        if num_devices > found:
            raise ValueError(
                f"--num_virtual_devices={num_devices}: TensorFlow was already started "
                f"with {found} logical CPU devices; start a new process"
            ) from None


def _make_strategy(config: RuntimeConfig) -> tuple[tf.distribute.Strategy, str]:
    """The strategy, and a sentence on why it is this one."""
    num_workers = _num_workers()
    if config.strategy in ("multi_worker", "tpu") or num_workers > 1:
        raise ValueError(
            "several workers and TPUs are not supported yet: use --strategy=one_device "
            f"or mirrored, without TF_CONFIG. Received: strategy={config.strategy}, "
            f"{num_workers} workers in TF_CONFIG"
        )
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    cpus = [device.name for device in tf.config.list_logical_devices("CPU")]
    devices = gpus or cpus[: config.num_virtual_devices]
    kind = "GPU" if gpus else "CPU device"
    found = f"{len(devices)} {kind}{'s' * (len(devices) != 1)}"
    mirrored = config.strategy == "mirrored" or (
        config.strategy == "auto" and len(devices) > 1
    )
    why = f"--strategy={config.strategy}, {found}"
    if mirrored:
        return mirror(devices), f"mirrored on {found}: {why}"
    return tf.distribute.get_strategy(), f"one device: {why}"


def _num_workers() -> int:
    """How many workers TF_CONFIG names; 0 where it is not set."""
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        cluster = json.loads(text).get("cluster", {})
        return sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            'TF_CONFIG must be JSON like {"cluster": {"worker": ["host:port"]}}. '
            f"Received: {text!r} ({error})"
        ) from error


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
    if not on_gpu:
        return "float32", "float32: --precision=auto on a CPU"
    details = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    if min(details) >= _BFLOAT16_COMPUTE_CAPABILITY:
        return "mixed_bfloat16", "mixed_bfloat16: --precision=auto, the GPUs have it"
    return "float32", "float32: --precision=auto, the GPUs have no bfloat16"

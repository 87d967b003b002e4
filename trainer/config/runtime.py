"""Devices, precision, compilation, other workers."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trainer.config.fields import require, require_at_least, require_choices, setting

StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
CollectiveCommunication = Literal["auto", "ring", "nccl"]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
JitCompile = Literal["auto", "on", "off"]
# Saves the host most of its work, and is what it may run ahead of the device: a request
# to end is heeded a call or two later.
ACCELERATOR_STEPS_PER_CALL = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """On what it runs. None of these changes the result beyond rounding."""

    strategy: StrategyName = setting(
        "auto",
        "How the work is spread: `one_device`; `mirrored`, all accelerators of this "
        "machine; `multi_worker`, those of all workers that TF_CONFIG, Slurm or "
        "Kubernetes name; `tpu`, the one that --tpu names; `auto` picks by what it "
        "finds and says why.",
        may_change=True,
    )
    collective_communication: CollectiveCommunication = setting(
        "auto",
        "How several workers add up their gradients: `nccl` between GPUs, `ring` over "
        "the network, `auto` leaves it to TensorFlow.",
        may_change=True,
    )
    tpu: str = setting(
        "",
        "The TPU to train on: its name, its grpc://HOST:PORT, or `local` on a TPU VM. "
        "Empty: none.",
        may_change=True,
    )
    cluster_timeout_secs: float = setting(
        600.0,
        "How long to wait, in seconds, for a worker or a TPU that does not come or "
        "has stopped answering, before giving up with its name; and how long "
        "TensorFlow's own start with several workers may take, a step, or compiling one "
        "padded length for one replica.",
        may_change=True,
    )
    precision: Precision = setting(
        "auto",
        "Numbers of the forward and backward pass; weights are float32 always, and "
        "float32 is never rounded to TF32. "
        "`auto`: mixed_bfloat16 on accelerators that have it, else float32.",
        may_change=True,
    )
    num_virtual_devices: int = setting(
        1,
        "Split the CPU into this many logical devices, to try `mirrored` without "
        "accelerators. 1: do not split.",
        may_change=True,
    )
    jit_compile: JitCompile = setting(
        "auto",
        "What XLA compiles. `on`: on one device the whole step, on several the forward "
        "and backward pass. `off`: nothing. `auto`: as `on` on accelerators; on CPUs, "
        "whose matrix products are oneDNN's business, what lies between these, if the "
        "run is long enough to pay for it.",
        may_change=True,
    )
    rematerialize: bool = setting(
        False,
        "Compute each layer again in the backward pass instead of keeping what it "
        "computed, for long texts and big batches: a fraction of the memory, for about "
        "a third more time.",
        may_change=True,
    )
    steps_per_call: int = setting(
        0,
        "Hand so many steps at a time over to the devices, at most: fewer where the "
        "next log line, checkpoint or evaluation is due. Changes no result beyond "
        "rounding. A request to end (SIGTERM) is heeded two calls later, of several "
        "workers five, and --cluster_timeout_secs must be longer than a call. 0: "
        f"{ACCELERATOR_STEPS_PER_CALL} where a step is a single program (a TPU, or one "
        "GPU with XLA), else 1. --logging_steps is a limit too.",
        may_change=True,
    )
    compile_cache_dir: str = setting(
        "~/.cache/bert_trainer/xla",
        "Folder where what XLA compiled is kept for the next run, which then starts "
        "in a fraction of the time; workers may share it, and it may be removed at "
        "any time. Beyond 4 GB the oldest goes. Empty: keep nothing.",
        may_change=True,
    )
    gpu_memory_growth: bool = setting(
        True,
        "Take a GPU's memory as it is needed, so that other processes may use the same "
        "GPU. `false`: all of it at the start, which leaves no gaps in it.",
        may_change=True,
    )
    deterministic: bool = setting(
        True,
        "Use only kernels that give the same bits at every run, so that a resumed "
        "run equals one never stopped.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        require_choices(self)
        require_at_least(self, 1, "num_virtual_devices", "cluster_timeout_secs")
        require_at_least(self, 0, "steps_per_call")
        require(
            math.isfinite(self.cluster_timeout_secs),
            "--cluster_timeout_secs must be finite",
            received=self.cluster_timeout_secs,
        )
        require(
            bool(self.tpu) or self.strategy != "tpu",
            "--strategy=tpu needs to be told of the TPU, with --tpu",
            received="none",
        )
        require(
            not self.tpu or self.strategy in ("auto", "tpu"),
            "--tpu is for --strategy=tpu",
            received=f"tpu={self.tpu}, strategy={self.strategy}",
        )
        require(
            self.num_virtual_devices == 1 or self.strategy in ("auto", "mirrored"),
            "--num_virtual_devices is for --strategy=mirrored",
            received=(
                f"num_virtual_devices={self.num_virtual_devices},"
                f" strategy={self.strategy}"
            ),
        )

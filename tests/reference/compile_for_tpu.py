"""Compiles lowered modules with the TPU's own XLA compiler, without a TPU.

The tests lower the very steps of a run; this hands them to the compiler that a TPU
would: libtpu's, which compiles ahead of time for a topology that is not there. Run in
an environment of its own, since neither package is a dependency of the program:

    LOWERED_MODULES_DIR=/tmp/modules .venv/bin/python -m pytest \
        tests/training/test_tpu_lowering.py
    python3.11 -m venv tpu && tpu/bin/pip install jax==0.9.2 libtpu==0.0.52
    tpu/bin/python tests/reference/compile_for_tpu.py v5e:2x2 /tmp/modules/*.hlo.pb

The topology is to have four cores, for which the tests lower the training step; v5e:2x2
and v6e:2x2 were tried. Prints a line a module: for how many replicas it was compiled,
the time that took, and the memory a core needs. Ends with an error at the first module
that is refused, such as one with a custom call the compiler does not know.

With the versions above all modules of the tests were compiled for v5e:2x2. BERT-base
in mixed_bfloat16, a batch of 8 a core, needs 1.22 GiB for weights and moments and, for
all else while it trains, 0.55 GiB at 128 tokens and 2.81 GiB at 512.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
from typing import Any

# libtpu would ask the machine, which is no TPU's, what it is.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jax._src import compiler  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402
from jax._src.lib import xla_client  # noqa: E402
from jax._src.lib.mlir import ir  # noqa: E402
from jax.experimental import topologies  # noqa: E402


def compile_module(path: pathlib.Path, devices: list[Any]) -> Any:
    """The executable of an HLO module, for as many replicas as it adds up over."""
    text = xla_client._xla.mlir.hlo_to_stablehlo(path.read_bytes())
    with mlir.make_ir_context():
        module = ir.Module.parse(text)
        drop_copies(module)
        is_replicated = "stablehlo.all_reduce" in str(module)
        devices = devices if is_replicated else devices[:1]
        options = compiler.get_compile_options(
            num_replicas=len(devices),
            num_partitions=1,
            device_assignment=[[device.id] for device in devices],
        )
        client = devices[0].client
        result = client.compile(module, xla_client.DeviceList(tuple(devices)), options)
    return result, len(devices)


def drop_copies(module: ir.Module) -> None:
    """Without copies of what is returned as it came, which StableHLO does not have."""
    copies = []

    def collect(operation: Any) -> Any:
        if operation.name == "mhlo.copy":
            copies.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for copy in copies:
        copy.results[0].replace_all_uses_with(copy.operands[0])
        copy.erase()


def main(topology_name: str, *paths: str) -> None:
    topology = topologies.get_topology_desc(platform="tpu", topology_name=topology_name)
    for path in map(pathlib.Path, paths):
        started = time.monotonic()
        executable, num_replicas = compile_module(path, list(topology.devices))
        memory = executable.get_compiled_memory_stats()
        secs = time.monotonic() - started
        print(
            f"{path.name}: {topology_name}, {num_replicas} replicas, {secs:.1f} s, "
            f"variables and batch {memory.argument_size_in_bytes / 2**20:.1f} MiB, "
            f"temporary {memory.temp_size_in_bytes / 2**20:.1f} MiB, "
            f"program {memory.generated_code_size_in_bytes / 2**20:.1f} MiB",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a run ran on and what memory it took, for its report.

environment.facts(reasons)  # {"python": "3.11.7", "tensorflow": "2.21.0", ...}
environment.peak_memory()   # {"peak_host_memory_bytes": 1605246976, ...}
environment.secs_since_start()  # 8.1
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import re
import resource
import sys
import time
from typing import Sequence

import tensorflow as tf

from trainer import __version__

_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-text",
    "tensorflow-datasets",
    "numpy",
    "scikit-learn",
)
_IMPORTED = time.monotonic()
_STATUS = pathlib.Path("/proc/self/status")


def facts(reasons: Sequence[str]) -> dict[str, str]:
    """Versions and hardware.

    Args:
      reasons: sentences on what was chosen, for strategy, precision and so on.
    """
    return {
        **package_versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "num_processors": str(len(os.sched_getaffinity(0))),
        "chosen": "; ".join(reasons),
    }


def package_versions() -> dict[str, str]:
    """The versions of what results depend on, by name: program, Python, packages."""
    own = {"bert-trainer": __version__, "python": platform.python_version()}
    return own | {name: _version(name) for name in _PACKAGES}


def peak_memory() -> dict[str, int | None]:
    """The most memory that this process has held so far, in bytes.

    Returns:
      `peak_host_memory_bytes`; and `peak_device_memory_bytes`, of the GPU that held
      the most, None where there is none that says.
    """
    # Not getrusage's where it can be helped, which starts from what the process that started this one held.
    status = _STATUS.read_text() if _STATUS.is_file() else ""
    # Linux counts in KiB there and in getrusage, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    host = unit * int(found[1] if found else usage)
    peaks = []
    for device in tf.config.list_logical_devices("GPU"):
        # Not every allocator counts.
        with contextlib.suppress(ValueError):
            info = tf.config.experimental.get_memory_info(device.name)
            peaks.append(int(info["peak"]))
    return {
        "peak_host_memory_bytes": host,
        "peak_device_memory_bytes": max(peaks, default=None),
    }


def secs_since_start() -> float:
    """Wall seconds since this process was started.

    Where there is no /proc, since this module was imported.
    """
    try:
        stat = pathlib.Path("/proc/self/stat").read_text(encoding="utf-8")
    except OSError:
        return time.monotonic() - _IMPORTED
    # Not psutil's create_time, which knows the machine's start in whole seconds.
    # Field 22 of proc(5), the second of which is a name that may hold blanks.
    ticks = int(stat.rpartition(")")[2].split()[19])
    started = ticks / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

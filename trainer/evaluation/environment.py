"""What a run ran on, for its report.

environment.facts(reasons)  # {"python": "3.11.7", "tensorflow": "2.21.0", ...}
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
from typing import Sequence

_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "tensorflow-text",
    "tensorflow-datasets",
    "numpy",
    "scikit-learn",
)


def facts(reasons: Sequence[str]) -> dict[str, str]:
    """Versions and hardware.

    Args:
      reasons: sentences on what was chosen, for strategy, precision and so on.
    """
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "python": platform.python_version(),
        **versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "num_processors": str(len(os.sched_getaffinity(0))),
        "chosen": "; ".join(reasons),
    }


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

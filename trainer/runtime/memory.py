"""How much memory there is for a run, and how much the process holds.

memory.limit_bytes(on_gpu=False)    # 25_769_803_776; None: nobody tells
memory.held_bytes()                 # 1_025_507_328
"""

from __future__ import annotations

import contextlib
import pathlib

import psutil

# What a container may hold, by version 2 and 1 of Linux's control groups.
_CONTAINER_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def held_bytes() -> int:
    """What this process holds of the host's memory now."""
    return int(psutil.Process().memory_info().rss)


def limit_bytes(*, on_gpu: bool) -> int | None:
    """The most that a run may hold.

    Args:
      on_gpu: of the GPU that has the least; else of the host, where others' memory is
        not counted in.
    """
    if on_gpu:
        return _of_gpus()
    free = psutil.virtual_memory().available + held_bytes()
    return min([free, *_of_container()])


def _of_gpus() -> int | None:
    # Not public; there is no other way to ask TensorFlow for it.
    from tensorflow.python.client import device_lib

    devices = device_lib.list_local_devices()
    limits = [each.memory_limit for each in devices if each.device_type == "GPU"]
    return int(min(limits)) if limits else None


def _of_container() -> list[int]:
    found = []
    for path in _CONTAINER_LIMITS:
        # "max" where there is none.
        with contextlib.suppress(OSError, ValueError):
            found.append(int(path.read_text()))
    return found

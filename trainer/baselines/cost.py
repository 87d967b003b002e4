"""What a baseline costs: seconds, and memory beside what the process held before.

    with cost.measured() as spent:
        ...
    spent.secs, spent.peak_memory_bytes

The memory is looked up every few hundredths of a second by a thread, for the peak that
Linux keeps is that of the whole process, and Python's own count knows nothing of what
libraries hold. Files that are mapped are not counted: they can be let go of. Room that
was free within the process before is not seen to be used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import Iterator

import psutil

_EVERY_SECS = 0.02


@dataclasses.dataclass
class Cost:
    """What the block took; complete when it has ended."""

    secs: float = 0.0
    peak_memory_bytes: int = 0


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measures the block."""
    spent = Cost()
    process, has_ended = psutil.Process(), threading.Event()
    held_before = _held(process)

    def look() -> None:
        grown = _held(process) - held_before
        spent.peak_memory_bytes = max(spent.peak_memory_bytes, grown)

    def watch() -> None:
        while not has_ended.wait(_EVERY_SECS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    start = time.monotonic()
    thread.start()
    try:
        yield spent
        look()
    finally:
        spent.secs = time.monotonic() - start
        has_ended.set()
        thread.join()


def _held(process: psutil.Process) -> int:
    """Bytes of memory that is the process's own."""
    memory = process.memory_info()
    # Elsewhere than on Linux nobody tells what is shared.
    return int(memory.rss - getattr(memory, "shared", 0))

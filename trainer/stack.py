"""Imports TensorFlow and Keras quietly, and without what is not used of them.

    stack.load()
    import tensorflow as tf  # takes no time now

For the entry points, before they import what needs TensorFlow. What it leaves out of
Keras is gone for the whole process, so a program that uses this package as a library
does without it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import sys
import tempfile
from typing import Iterator

# Keras imports them wherever they are installed, for wrappers and pictures that
# nothing here uses: over a second.
_UNUSED_BY_KERAS = ("matplotlib", "sklearn")


def load() -> None:
    """Imports TensorFlow, which imports Keras."""
    if "tensorflow" in sys.modules:
        return
    with _no_garbage_collection(), _absent(*_UNUSED_BY_KERAS), _filtered_stderr():
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """An import makes a million objects that stay: looking through them takes long."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _absent(*names: str) -> Iterator[None]:
    """To what is imported within, these packages are not installed."""
    hidden = [name for name in names if name not in sys.modules]
    # Python's own sign for a module that cannot be imported; not in its types.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Leaves out the log lines that TF_CPP_MIN_LOG_LEVEL asks to leave out.

    While it is imported, TensorFlow logs before it has read that variable. All else
    that is written to file descriptor 2 is held back, and comes out at the end. Of a
    process that crashes in the import (TensorFlow needs AVX) it is lost: the shell
    says what became of it, and TF_CPP_MIN_LOG_LEVEL=0 shows all.
    """
    noise = _noise(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""))
    if not noise:
        yield
        return
    with contextlib.ExitStack() as undo:
        try:
            held_back = undo.enter_context(tempfile.TemporaryFile())
            original = os.dup(2)
        except OSError:  # No standard error, or no room: noise, then.
            yield
            return
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
            held_back.seek(0)
            # Where nobody reads it any more, the import, or its own error, goes on.
            with contextlib.suppress(OSError):
                for line in held_back:
                    if not re.match(noise.encode(), line):
                        os.write(2, line)


def _noise(min_log_level: str) -> str:
    """A pattern of the log lines below a level (1: I, 2: W, 3: E); "": none are.

    "I0000 00:00:1795445586.302423    2455 port.cc:153] oneDNN custom operations …"
    """
    hidden = "IWE"[: int(min_log_level)] if min_log_level.isdecimal() else ""
    if not hidden:
        return ""
    header = rf"[{hidden}]\d{{4}} [\d:.]+ +\d+ [\w./-]+:\d+\] "
    return rf"{header}|WARNING: All log messages before absl::InitializeLog\(\)"

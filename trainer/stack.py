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
import subprocess
import sys
from typing import Iterator

# Keras imports them wherever they are installed, for wrappers and pictures that
# nothing here uses: over a second.
_UNUSED_BY_KERAS = ("matplotlib", "sklearn")
# In a process of its own, so that last words are passed on even if this one crashes.
_FILTER = """
import re, sys
noise = re.compile(sys.argv[1].encode())
for line in sys.stdin.buffer:
    if not noise.match(line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""
# How long to wait for it at the end, so that what it passes on comes first.
_FILTER_SECS = 5.0


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
    that is written to file descriptor 2 is passed on, line by line.
    """
    noise = _noise(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""))
    if not noise:
        yield
        return
    with contextlib.ExitStack() as undo:
        try:
            original = os.dup(2)
            undo.callback(os.close, original)
            passing_on, write_end = _pass_on(noise, original)
        except OSError:  # No standard error, or no more processes: noise, then.
            yield
            return
        os.dup2(write_end, 2)
        os.close(write_end)
        try:
            yield
        finally:
            os.dup2(original, 2)
            with contextlib.suppress(subprocess.TimeoutExpired):
                passing_on.wait(_FILTER_SECS)


def _pass_on(noise: str, output: int) -> tuple[subprocess.Popen[bytes], int]:
    """A process that passes on to `output` what is written to the returned end."""
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _FILTER, noise],
            stdin=read_end,
            stdout=output,
            # Ctrl-C is for this process; the other one ends when this one has.
            start_new_session=True,
        )
    except OSError:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return process, write_end


def _noise(min_log_level: str) -> str:
    """A pattern of the log lines below a level (1: I, 2: W, 3: E); "": none are.

    "I0000 00:00:1795445586.302423    2455 port.cc:153] oneDNN custom operations …"
    """
    hidden = "IWE"[: int(min_log_level)] if min_log_level.isdecimal() else ""
    if not hidden:
        return ""
    header = rf"[{hidden}]\d{{4}} [\d:.]+ +\d+ [\w./-]+:\d+\] "
    return rf"{header}|WARNING: All log messages before absl::InitializeLog\(\)"

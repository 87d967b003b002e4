"""Keeps what XLA compiled, for the next process that needs the same.

    keep_compiled("~/.cache/bert_trainer/xla", deterministic=True)
    # "kept in /home/me/.cache/bert_trainer/xla/5d41402abc4b2a76"
    import tensorflow  # only now

TensorFlow writes the files, each under a temporary name first, so that several
workers may share the folder; it reads a file only for the very program that it was
made from. What else decides what XLA makes of a program (TensorFlow's version, the
hardware, XLA's flags) is in no file's name, and so in the folder's.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import sys

from trainer import caches

_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY = "--tf_xla_persistent_cache_directory"


def keep_compiled(cache_dir: str, *, deterministic: bool) -> str:
    """Has TensorFlow keep compiled programs; to be called before it is imported.

    Called again, it changes nothing and says the same. A user's own TF_XLA_FLAGS
    stay, and win.

    Args:
      cache_dir: folder of all that is kept; "": keep nothing.
      deterministic: whether the run asks for kernels that give the same bits.

    Returns:
      Whether and where they are kept, as the end of a sentence.
    """
    flags = os.environ.get(_FLAGS, "").strip()
    if flags and not flags.startswith("-"):
        return f"kept as {flags} says, the file that {_FLAGS} names"
    for flag in shlex.split(flags):
        name, _, value = flag.partition("=")
        if name == _DIRECTORY:
            return f"kept in {value}"
    if not cache_dir:
        return "not kept: --compile_cache_dir is empty"
    if _is_started():
        return "not kept: this process had used TensorFlow before"
    folder = pathlib.Path(cache_dir).expanduser() / _fingerprint(deterministic)
    if not caches.can_be_written(folder):
        return f"not kept: {folder} cannot be written"
    # In quotes, which TensorFlow's reader of flags understands as JSON's.
    quoted = json.dumps(str(folder), ensure_ascii=False)
    os.environ[_FLAGS] = f"{flags} {_DIRECTORY}={quoted}".strip()
    return f"kept in {folder}"


def _is_started() -> bool:
    """Whether TensorFlow has read its flags: when it first looked at the devices."""
    if "tensorflow" not in sys.modules:
        return False
    # Its own, as there is no public way to ask.
    from tensorflow.python.eager import context

    return context.context()._physical_devices is not None


def _fingerprint(deterministic: bool) -> str:
    """Of what decides, besides the program, what XLA makes of it."""
    parts = [
        importlib.metadata.version("tensorflow"),
        f"deterministic={deterministic}",
        os.environ.get("XLA_FLAGS", ""),
        platform.machine(),
        *_hardware(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _hardware() -> list[str]:
    """The kinds of processor and GPU, as Linux and its NVIDIA driver tell them."""
    gpus = pathlib.Path("/proc/driver/nvidia/gpus").glob("*/information")
    kinds = {"model name", "flags", "Features", "Model"}
    found = set()
    for file in (pathlib.Path("/proc/cpuinfo"), *gpus):
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            found |= {line for line in lines if line.partition(":")[0].strip() in kinds}
    return sorted(found)

"""Keeps what XLA compiled, for the next process that needs the same.

    keep_compiled("~/.cache/bert_trainer/xla", deterministic=True)
    # "kept in /home/me/.cache/bert_trainer/xla/5d41402abc4b2a76"
    import tensorflow  # only now

TensorFlow writes the files, each under a temporary name first, so that several
workers may share the folder; it reads a file only for the very program that it was
made from. What else decides what XLA makes of a program (TensorFlow's version, the
hardware, XLA's flags) is in no file's name, and so in the folder's.

TensorFlow believes what it reads, and fails where a file was torn, in every run from
then on. So before it starts the files are looked through, and what is damaged goes.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import shlex
import sys

from trainer import caches, storage

_FLAGS = "TF_XLA_FLAGS"
_DIRECTORY = "--tf_xla_persistent_cache_directory"
# The files that TensorFlow writes, and beside each its SHA-256.
_PROGRAMS = "*.pb"
_SEAL = ".sha256"
# Of all programs together, for all settings and machines that share the folder: some
# hundred runs of different shapes. A run's are a few megabytes on a CPU, some tens on
# a GPU.
_MAX_BYTES = 4 * 10**9

_logger = logging.getLogger(__name__)


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
    if "://" in cache_dir:
        return f"not kept: {cache_dir} is no folder of this machine"
    if _is_started():
        return "not kept: this process had used TensorFlow before"
    folder = pathlib.Path(cache_dir).expanduser() / _fingerprint(deterministic)
    if not caches.can_be_written(folder):
        return f"not kept: {folder} cannot be written"
    # In quotes, which TensorFlow's reader of flags understands as JSON's.
    _remove_damaged(folder)
    _remove_oldest(folder.parent, max_bytes=_MAX_BYTES)
    atexit.register(_seal, folder)
    quoted = json.dumps(str(folder), ensure_ascii=False)
    os.environ[_FLAGS] = f"{flags} {_DIRECTORY}={quoted}".strip()
    return f"kept in {folder}"


def _remove_damaged(folder: pathlib.Path) -> None:
    """Removes compiled programs that are not what was written."""
    for file in folder.glob(_PROGRAMS):
        # Another process may do the same.
        with contextlib.suppress(FileNotFoundError):
            content, seal = file.read_bytes(), file.with_suffix(_SEAL)
            # Of a process that was killed there is none yet.
            is_whole = (
                seal.read_text() == hashlib.sha256(content).hexdigest()
                if seal.is_file()
                else _is_message(content)
            )
            if not is_whole:
                _logger.warning("%s is damaged and is compiled anew", file)
                file.unlink()
                seal.unlink(missing_ok=True)
    _seal(folder)


def _remove_oldest(root: pathlib.Path, *, max_bytes: int) -> None:
    """Removes what was compiled longest ago, of all settings and machines.

    Which programs are used TensorFlow does not tell. One that another process is about
    to read it compiles anew.
    """
    programs = []
    for file in root.glob(f"*/{_PROGRAMS}"):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            programs.append((status.st_mtime_ns, status.st_size, file))
    total = sum(size for _, size, _ in programs)
    for _, size, file in sorted(programs):
        if total <= max_bytes:
            break
        total -= size
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
            file.with_suffix(_SEAL).unlink(missing_ok=True)
            # Only where it was the last one.
            file.parent.rmdir()


def _seal(folder: pathlib.Path) -> None:
    """Notes what was written, of programs of which it is not noted yet."""
    for file in folder.glob(_PROGRAMS):
        seal = file.with_suffix(_SEAL)
        # Without a note, as on a disk that is full, the next process looks less close.
        with contextlib.suppress(OSError):
            if not seal.is_file():
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                storage.write_text(seal, digest)


def _is_message(content: bytes) -> bool:
    """Whether bytes are the fields of a protocol buffer, from the first to the last.

    Source: protobuf.dev/programming-guides/encoding. Neither nothing nor zeros are one.
    """
    position = 0
    while position < len(content):
        key, position = _varint(content, position)
        kind = key & 7
        if key < 8 or kind not in (0, 1, 2, 5):
            return False
        size, position = _varint(content, position) if kind in (0, 2) else (0, position)
        position += {0: 0, 1: 8, 2: size, 5: 4}[kind]
    return position == len(content) > 0


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends: behind all if it does not."""
    value, shift = 0, 0
    for byte in content[position : position + 10]:
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    return 0, len(content) + 1


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

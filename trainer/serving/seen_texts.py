"""Which texts a model has seen, so that another is not compared with it on them.

    write(folder, normalized_digests)               # of training and validation texts
    seen = read(folder)                             # uint64, or None: not written
    is_seen(seen, normalized_digests(texts))        # bool [n]

Beside an exported model lie 64 bits of a hash of each text, and no text. Where a model
has seen a million texts, one in 18 million million others is taken for one of them.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

FILE_NAME = "seen_texts.bin"
_DTYPE = np.dtype("<u8")


def write(folder: pathlib.Path, digests: np.ndarray) -> None:
    """Writes the file; digests: uint8 [n, 32], of normal forms (`duplicates.py`)."""
    (folder / FILE_NAME).write_bytes(np.unique(numbers(digests)).tobytes())


def read(folder: Path) -> np.ndarray | None:
    """uint64, ascending; None: an export of an older version, which does not tell."""
    place = folder / FILE_NAME
    if not place.is_file():
        return None
    with place.open("rb") as file:
        return np.frombuffer(file.read(), _DTYPE)


def is_seen(seen: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """bool [n]. digests: uint8 [n, 32]."""
    return np.isin(numbers(digests), seen)


def numbers(digests: np.ndarray) -> np.ndarray:
    """uint64 [n], the first bytes of each digest."""
    first = np.ascontiguousarray(digests[:, : _DTYPE.itemsize])
    return first.view(_DTYPE).reshape(-1)

"""Which texts a model has seen, so that another is not compared with it on them.

    write(folder / FILE_NAME, numbers(normalized_digests(texts)))
    seen = read(folder / FILE_NAME)                 # uint64, or None: not written
    is_seen(seen, normalized_digests(texts))        # bool [n]

Beside an exported model lie 64 bits of a hash of each text, and no text. Where a model
has seen a million texts, one in 18 million million others is taken for one of them.
"""

from __future__ import annotations

import numpy as np

from trainer import storage
from trainer.storage import Path

FILE_NAME = "seen_texts.bin"
_DTYPE = np.dtype("<u8")


def write(place: Path, seen: np.ndarray) -> None:
    """Writes the file; seen: uint64, as `numbers` gives them."""
    storage.write_bytes(place, np.unique(seen).astype(_DTYPE).tobytes())


def read(place: Path) -> np.ndarray | None:
    """uint64, ascending; None: there is no such file, as in older exports."""
    if not place.is_file():
        return None
    with place.open("rb") as file:
        return np.frombuffer(file.read(), _DTYPE)


def is_seen(seen: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """bool [n]. digests: uint8 [n, 32]."""
    return np.isin(numbers(digests), seen)


def numbers(digests: np.ndarray) -> np.ndarray:
    """uint64 [n], the first bytes of each digest of a normal form, uint8 [n, 32]."""
    first = np.ascontiguousarray(digests[:, : _DTYPE.itemsize])
    return first.view(_DTYPE).reshape(-1)

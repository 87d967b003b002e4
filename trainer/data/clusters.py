"""Clusters of near-duplicates, from the cache where they are there already.

    clusters = of_texts(texts, digests, config.data)    # int64 [n]
    found = found_in(texts, digests, config.data, similarity=0.7)
    found.pairs

They are a function of the texts alone, so every worker has the same. They take a minute
for a hundred thousand texts, and every run of a study asks for the same ones: they lie
in --cache_dir under the digests of the texts, as token ids do.
"""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
import pyarrow as pa

from trainer import caches
from trainer.config import DataConfig
from trainer.data import extras, near_duplicates
from trainer.data.near_duplicates import NearDuplicates

_ARRAYS = ("clusters", "pairs", "similarities")


def of_texts(
    texts: pa.ChunkedArray, digests: np.ndarray, config: DataConfig
) -> np.ndarray:
    """For --split_near_duplicates=together: int64 [n], equal within a cluster.

    Args:
      texts: large_string [n].
      digests: uint8 [n, 32], SHA-256 of each text.

    Raises:
      ValueError: the extra `audit` is not installed.
    """
    extras.require("rensa", asked_for="--split_near_duplicates=together")
    return found_in(texts, digests, config, similarity=config.least_similarity).clusters


def found_in(
    texts: pa.ChunkedArray,
    digests: np.ndarray,
    config: DataConfig,
    *,
    similarity: float,
) -> NearDuplicates:
    """The near-duplicates among some texts.

    Args:
      texts: large_string [n].
      digests: uint8 [n, 32], SHA-256 of each text.
      config: says where they are kept.
      similarity: the least, in (0, 1].

    Raises:
      ValueError: the extra `audit` is not installed.
    """
    # Also with a warm cache, so that the answer does not depend on it.
    extras.require("rensa", asked_for="near-duplicates")
    settings = f"{near_duplicates.VERSION} {similarity!r} "
    fingerprint = hashlib.sha256(settings.encode() + digests.tobytes())

    def make(folder: pathlib.Path) -> None:
        found = near_duplicates.near_duplicates(texts, similarity=similarity)
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(found, name))

    return caches.entry(
        caches.root(config.cache_dir, "near_duplicates"),
        fingerprint.hexdigest()[:32],
        make=make,
        read=lambda folder: _read(folder, len(texts)),
        max_bytes=round(config.max_cache_gb * 1e9),
    )


def _read(folder: pathlib.Path, num_texts: int) -> NearDuplicates:
    found = NearDuplicates(*(np.load(folder / f"{name}.npy") for name in _ARRAYS))
    if len(found.clusters) != num_texts:
        raise ValueError(f"{len(found.clusters)} texts, not {num_texts}")
    return found

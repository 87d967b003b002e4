"""Train, validation and test by content hash: the same text, the same split.

    splits = make_splits(sources, config=config.data, seed=config.training.seed)
    splits["test"].texts, splits["test"].digests

A text's split depends on the text alone, so a duplicate cannot leak from one split
into another, and a row added to a file moves no other row. Splits that the data set
brings along are kept as they are; what they share with the training texts is
counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Mapping

import numpy as np
import pyarrow as pa

from trainer.config import DataConfig
from trainer.data.sources import Sources, TextDataset

_VALIDATION_SALT = b"validation:"


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled texts with their hashes.

    Attributes:
      data: the texts and labels [n].
      digests: uint8 [n, 32], SHA-256 of each text in UTF-8.
      num_available: how many there were before some were drawn.
    """

    data: TextDataset
    digests: np.ndarray
    num_available: int

    def __len__(self) -> int:
        return len(self.data)


def content_digests(texts: pa.ChunkedArray) -> np.ndarray:
    """SHA-256 of each text in UTF-8: uint8 [n, 32]."""
    # Text by text and in place: no list of millions of Python strings.
    digests = np.empty([len(texts), 32], np.uint8)
    for row, text in enumerate(texts):
        digest = hashlib.sha256(text.as_buffer()).digest()
        digests[row] = np.frombuffer(digest, np.uint8)
    return digests


def share(digests: np.ndarray, *, one_in: int, salt: bytes = b"") -> np.ndarray:
    """Which texts belong to a share of one in `one_in`: bool [n].

    Without a salt the rule is `int(sha256(text)[:8], 16) % one_in == 0`, on the hex
    digest; with one, the same on the hash of the salt and the text's digest.
    """
    if one_in == 0:
        return np.zeros(len(digests), bool)
    chosen: np.ndarray = _first_32_bits(digests, salt) % one_in == 0
    return chosen


def make_splits(sources: Sources, *, config: DataConfig, seed: int) -> dict[str, Split]:
    """The splits of a run: "train", and "validation" and "test" where there are any.

    Raises:
      ValueError: no text is left to train on, or a split that was asked for is empty.
    """
    wholes = {name: _as_split(data) for name, data in sources.splits.items()}
    pool = wholes["train"]
    is_left = np.ones(len(pool), bool)
    shares = {name: np.ones(len(whole), bool) for name, whole in wholes.items()}
    for name, one_in, salt in (
        ("test", config.test_one_in, b""),
        ("validation", config.validation_one_in, _VALIDATION_SALT),
    ):
        if name not in wholes and one_in:
            chosen = share(pool.digests, one_in=one_in, salt=salt)
            shares[name] = is_left & chosen
            is_left = is_left & ~chosen
    shares["train"] = is_left
    for name, chosen in shares.items():
        if not chosen.any():
            raise ValueError(
                f"the {name} split is empty: expected at least one text; found "
                f"{len(sources.splits['train'])} in the data set, shared out with "
                f"--test_one_in={config.test_one_in} and "
                f"--validation_one_in={config.validation_one_in}; add texts, change "
                "the shares, or set the share to 0 to go without that split"
            )
    limits = {"train": config.num_train_examples}
    return {
        name: _part(
            wholes.get(name, pool),
            shares[name],
            limit=limits.get(name, config.num_eval_examples),
            seed=seed,
        )
        for name in ("train", "validation", "test")
        if name in shares
    }


def facts(splits: Mapping[str, Split], label_names: tuple[str, ...]) -> dict[str, Any]:
    """What a reader of the report should know of the splits, JSON-able."""
    together = np.concatenate([split.digests for split in splits.values()])
    labels = np.concatenate([split.data.labels for split in splits.values()])
    result: dict[str, Any] = {
        "label_names": list(label_names),
        "splits": {
            name: {
                "num_examples": len(split),
                "num_available": split.num_available,
                "class_counts": dict(
                    zip(label_names, _class_counts(split, len(label_names)))
                ),
                "num_duplicates": len(split) - len(_distinct(split.digests)),
            }
            for name, split in splits.items()
        },
        "num_contradicting_texts": _num_contradicting(together, labels),
    }
    for name in ("validation", "test"):
        if name in splits:
            shared = np.isin(
                _keys(splits[name].digests), _distinct(splits["train"].digests)
            )
            result[f"num_{name}_texts_in_train"] = int(shared.sum())
    return result


def fingerprint(splits: Mapping[str, Split]) -> dict[str, str]:
    """A hash of texts and labels for each split, to tell whether data changed."""
    return {
        name: hashlib.sha256(
            split.digests.tobytes() + split.data.labels.astype("<i4").tobytes()
        ).hexdigest()[:32]
        for name, split in splits.items()
    }


def _as_split(data: TextDataset) -> Split:
    return Split(data, content_digests(data.texts), len(data))


def _part(whole: Split, chosen: np.ndarray, *, limit: int, seed: int) -> Split:
    """The chosen texts, or `limit` (0: all) of them by seed and content, in order."""
    rows = np.flatnonzero(chosen)
    if 0 < limit < len(rows):
        keys = _first_32_bits(whole.digests[rows], b"draw:%d:" % seed)
        drawn = rows[np.argsort(keys, kind="stable")[:limit]]
        chosen = np.zeros(len(whole), bool)
        chosen[drawn] = True
    if chosen.all():
        return whole
    return Split(whole.data.filter(chosen), whole.digests[chosen], len(rows))


def _first_32_bits(digests: np.ndarray, salt: bytes) -> np.ndarray:
    """Hash of the salt and each digest, its first 4 bytes, big-endian: int64 [n]."""
    if not salt:
        return np.ascontiguousarray(digests[:, :4]).view(">u4").ravel().astype(np.int64)
    hashes = (hashlib.sha256(salt + digest.tobytes()) for digest in digests)
    first = (int.from_bytes(each.digest()[:4], "big") for each in hashes)
    return np.fromiter(first, np.int64, count=len(digests))


def _keys(digests: np.ndarray) -> np.ndarray:
    """The first 16 bytes of each digest, as one comparable value: [n]."""
    return np.ascontiguousarray(digests[:, :16]).view("V16").ravel()


def _distinct(digests: np.ndarray) -> np.ndarray:
    return np.unique(_keys(digests))


def _class_counts(split: Split, num_classes: int) -> list[int]:
    counts: list[int] = np.bincount(split.data.labels, minlength=num_classes).tolist()
    return counts


def _num_contradicting(digests: np.ndarray, labels: np.ndarray) -> int:
    """How many distinct texts stand in the data with more than one label."""
    texts, inverse = np.unique(_keys(digests), return_inverse=True)
    pairs = np.unique(np.stack([inverse.ravel(), labels]), axis=1)
    return int((np.bincount(pairs[0], minlength=len(texts)) > 1).sum())

"""Train, validation and test by content hash: the same text, the same split.

    pool, splits = make_splits(sources, config=config.data, seed=config.training.seed)
    pool.texts.take(splits["test"].rows), pool.labels[splits["test"].rows]

A text's split depends on the text alone, so a duplicate cannot leak from one split
into another, and a row added to a file moves no other row. Splits that the data set
brings along are kept as they are; what they share with the training texts is
counted. A split is a list of row numbers into one pool: another division of the same
texts, as for a fold, copies nothing and tokenizes nothing again.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Mapping, Sequence

import numpy as np
import pyarrow as pa

from trainer.config import DataConfig
from trainer.data import places
from trainer.data.places import Places
from trainer.data.sources import Sources
from trainer.messages import message

SPLITS = ("train", "validation", "test")
_VALIDATION_SALT = b"validation:"


@dataclasses.dataclass(frozen=True)
class Pool:
    """Every text that a run uses, once for each row it was read from.

    Attributes:
      texts: large_string [n].
      labels: int32 [n], positions among the label names.
      digests: uint8 [n, 32], SHA-256 of each text in UTF-8.
      places: where each row was read.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    digests: np.ndarray
    places: Places

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Split:
    """Some rows of a pool.

    Attributes:
      rows: int64 [m], ascending.
      num_available: how many there were before some were drawn.
    """

    rows: np.ndarray
    num_available: int

    def __len__(self) -> int:
        return len(self.rows)


def unlabelled(texts: Sequence[str]) -> Pool:
    """A pool of texts to predict, all labels 0."""
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    return Pool(
        array,
        np.zeros(len(texts), np.int32),
        content_digests(array),
        places.unknown(len(texts)),
    )


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


def make_splits(
    sources: Sources, *, config: DataConfig, seed: int
) -> tuple[Pool, dict[str, Split]]:
    """The texts of a run and its splits.

    Returns:
      The pool of all texts that a split holds, and the splits: "train" always, and
      "validation" and "test" where there are any.

    Raises:
      ValueError: no text is left to train on, or a split that was asked for is empty.
    """
    digests = {
        name: content_digests(data.texts) for name, data in sources.splits.items()
    }
    shares = _shares(digests, config)
    for name, is_chosen in shares.items():
        if not is_chosen.any():
            raise ValueError(_empty_split(name, len(sources.splits["train"]), config))
    limits = {"train": config.num_train_examples}
    drawn = {
        name: _drawn(
            digests.get(name, digests["train"]),
            is_chosen,
            limit=limits.get(name, config.num_eval_examples),
            seed=seed,
        )
        for name, is_chosen in shares.items()
    }
    pool, rows = _pooled(sources, digests, drawn)
    return pool, {
        name: Split(rows[name], int(shares[name].sum()))
        for name in SPLITS
        if name in shares
    }


def _shares(
    digests: Mapping[str, np.ndarray], config: DataConfig
) -> dict[str, np.ndarray]:
    """Which rows are in each split: bool [rows of the source that the split is of].

    Splits without a source of their own share out the training source.
    """
    is_left = np.ones(len(digests["train"]), bool)
    shares = {name: np.ones(len(each), bool) for name, each in digests.items()}
    for name, one_in, salt in (
        ("test", config.test_one_in, b""),
        ("validation", config.validation_one_in, _VALIDATION_SALT),
    ):
        if name not in digests and one_in:
            is_chosen = share(digests["train"], one_in=one_in, salt=salt)
            shares[name] = is_left & is_chosen
            is_left = is_left & ~is_chosen
    shares["train"] = is_left
    return shares


def _empty_split(name: str, num_texts: int, config: DataConfig) -> str:
    return message(
        f"the {name} split must have at least one text",
        received=f"none of the {num_texts} in the data set, shared out with "
        f"--test_one_in={config.test_one_in} and "
        f"--validation_one_in={config.validation_one_in}",
        mend="add texts, change the shares, or set the share to 0 to go without that "
        "split",
    )


def _drawn(
    digests: np.ndarray, is_chosen: np.ndarray, *, limit: int, seed: int
) -> np.ndarray:
    """The chosen rows, or `limit` (0: all) of them by seed and content: int64 [m]."""
    rows = np.flatnonzero(is_chosen)
    if 0 < limit < len(rows):
        keys = _first_32_bits(digests[rows], b"draw:%d:" % seed)
        rows = np.sort(rows[np.argsort(keys, kind="stable")[:limit]])
    return rows


def _pooled(
    sources: Sources, digests: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]
) -> tuple[Pool, dict[str, np.ndarray]]:
    """One pool of the rows that were drawn, and where each split's rows are in it."""
    texts: list[pa.Array] = []
    labels, kept_digests, kept_places = [], [], []
    rows: dict[str, np.ndarray] = {}
    start = 0
    for source, data in sources.splits.items():
        # A split without a source of its own is a share of the training source.
        names = [
            name for name in drawn if source == (name if name in digests else "train")
        ]
        is_used = np.zeros(len(data), bool)
        for name in names:
            is_used[drawn[name]] = True
        position = start + np.cumsum(is_used) - 1
        rows |= {name: position[drawn[name]] for name in names}
        start += int(is_used.sum())
        used = data if is_used.all() else data.filter(is_used)
        texts += used.texts.chunks
        labels.append(used.labels)
        kept_digests.append(digests[source][is_used])
        kept_places.append(used.places)
    pool = Pool(
        pa.chunked_array(texts, pa.large_string()),
        np.concatenate(labels),
        np.concatenate(kept_digests),
        places.joined(kept_places),
    )
    return pool, rows


def facts(
    pool: Pool, splits: Mapping[str, Split], label_names: tuple[str, ...]
) -> dict[str, Any]:
    """What a reader of the report should know of the splits, JSON-able."""
    used = np.concatenate([split.rows for split in splits.values()])
    result: dict[str, Any] = {
        "label_names": list(label_names),
        "splits": {
            name: _split_facts(pool, split, label_names)
            for name, split in splits.items()
        },
        "num_contradicting_texts": _num_contradicting(
            pool.digests[used], pool.labels[used]
        ),
    }
    in_train = _distinct(pool.digests[splits["train"].rows])
    for name in ("validation", "test"):
        if name in splits:
            shared = np.isin(_keys(pool.digests[splits[name].rows]), in_train)
            result[f"num_{name}_texts_in_train"] = int(shared.sum())
    return result


def _split_facts(
    pool: Pool, split: Split, label_names: tuple[str, ...]
) -> dict[str, Any]:
    digests, labels = pool.digests[split.rows], pool.labels[split.rows]
    counts = np.bincount(labels, minlength=len(label_names)).tolist()
    return {
        "num_examples": len(split),
        "num_available": split.num_available,
        "class_counts": dict(zip(label_names, counts)),
        "num_duplicates": len(split) - len(_distinct(digests)),
    }


def fingerprint(pool: Pool, splits: Mapping[str, Split]) -> dict[str, str]:
    """A hash of texts and labels for each split, to tell whether data changed."""
    return {
        name: hashlib.sha256(
            pool.digests[split.rows].tobytes()
            + pool.labels[split.rows].astype("<i4").tobytes()
        ).hexdigest()[:32]
        for name, split in splits.items()
    }


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


def _num_contradicting(digests: np.ndarray, labels: np.ndarray) -> int:
    """How many distinct texts stand in the data with more than one label."""
    texts, inverse = np.unique(_keys(digests), return_inverse=True)
    pairs = np.unique(np.stack([inverse.ravel(), labels]), axis=1)
    return int((np.bincount(pairs[0], minlength=len(texts)) > 1).sum())

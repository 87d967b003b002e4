"""Texts that are nearly one text: they share most of their runs of five words.

    found = near_duplicates(texts, similarity=0.7)
    found.clusters          # int64 [n], equal for texts that hang together
    found.pairs             # int64 [m, 2], rows; found.similarities: float32 [m]

Two texts are near-duplicates if the Jaccard similarity of their runs of five words is
at least so much (Broder 1997, "On the resemblance and containment of documents"). Only
words count: no case, no tags, no links, no punctuation. MinHash signatures in bands
name the candidates (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4), and
each candidate is then verified. By the formula of the bands, of pairs of similarity 0.7
all but one in 6,000 are candidates, of 0.6 98.8%, of 0.5 87%.

A pair is a function of its two texts alone, so a row that is added changes no other
pair. Needs the extra `audit` (rensa). Which copies are equal `duplicates.py` says.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
from typing import Iterator

import numpy as np
import pyarrow as pa

from trainer.data import extras, pairs
from trainer.data.duplicates import normalized, normalized_digests, numbered
from trainer.data.text_rows import TextRows

# Increased whenever the same texts would give other clusters than before.
VERSION = 1
_WORDS_PER_SHINGLE = 5
_NUM_PERMUTATIONS = 128
# Of 4 numbers each: with 8, the usual, 39% of the pairs at 0.7 are missed.
_NUM_BANDS = 32
_SEED = 42
_PAIRS_AT_ONCE = 1 << 16
# In a band that more texts share, of texts that hang together already no further pair
# is looked at: a form of a thousand copies has half a million pairs, and one cluster.
_MAX_BUCKET = 200
_MARKUP = re.compile(rf"<[^<>]{{0,500}}>|(?:https?://|www\.)[^\s{pairs.SEPARATOR}]+")
_WORD = re.compile(r"\w+")
# Of splitmix64 (Steele, Lea, Flood 2014), to mix the words of a run in their order.
_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """What hangs together.

    Attributes:
      clusters: int64 [n], the same for rows that near-duplicates or copies join, one
        after the other; a number is the least row of its cluster.
      pairs: int64 [m, 2], rows of different texts, the first before the second. Each
        text is named by the first of its rows, whatever copies it has.
      similarities: float32 [m], in [0, 1].
    """

    clusters: np.ndarray
    pairs: np.ndarray
    similarities: np.ndarray


def near_duplicates(texts: pa.ChunkedArray, *, similarity: float) -> NearDuplicates:
    """All of them among some texts.

    Args:
      texts: large_string [n].
      similarity: the least, in (0, 1].

    Raises:
      ValueError: the extra `audit` is not installed.
    """
    extras.require("rensa", asked_for="near-duplicates")
    _, first, numbers = np.unique(
        numbered(normalized_digests(texts)), return_index=True, return_inverse=True
    )
    shingles = _shingles(TextRows(texts, first))
    pairs, similarities = _verified_pairs(shingles, similarity)
    components = _components(pairs, len(first))
    rows = np.sort(first[pairs], axis=1)
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    least = np.full(len(first), len(texts))
    np.minimum.at(least, components, first)
    return NearDuplicates(least[components[numbers]], rows[order], similarities[order])


def least_digests(clusters: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """For each row the least digest of its cluster: uint8 [n, 32].

    It is the cluster's name: it depends on the texts in it and on no order.

    Args:
      clusters: int64 [n].
      digests: uint8 [n, 32], equal for copies.
    """
    rows = np.lexsort((numbered(digests), clusters))
    found, first = np.unique(clusters[rows], return_index=True)
    least: np.ndarray = digests[rows[first][np.searchsorted(found, clusters)]]
    return least


def words_of(text: str) -> list[str]:
    """The words that tell texts apart."""
    return _WORD.findall(_MARKUP.sub(" ", html.unescape(normalized(text))))


def runs_of(text: str) -> frozenset[tuple[str, ...]]:
    """A text's runs of five words; of fewer words, all together."""
    words = words_of(text)
    length = min(_WORDS_PER_SHINGLE, len(words))
    starts = range(len(words) - length + 1) if words else ()
    return frozenset(tuple(words[start : start + length]) for start in starts)


@dataclasses.dataclass(frozen=True)
class _Shingles:
    """The runs of five words of texts, as hashes.

    Attributes:
      hashes: uint64 [m], of each text ascending and without repeats.
      starts: int64 [n + 1], where each text's begin.
    """

    hashes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1


def _shingles(texts: TextRows) -> _Shingles:
    words = _WordHashes()
    parts = [_hashed_runs(words, text) for text in texts]
    starts = np.cumsum([0, *map(len, parts)])
    return _Shingles(np.concatenate([np.empty(0, np.uint64), *parts]), starts)


class _WordHashes(dict[str, int]):
    """64 bits of the hash of each word, made when it is first met."""

    def __missing__(self, word: str) -> int:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8)
        self[word] = number = int.from_bytes(digest.digest(), "big")
        return number


def _hashed_runs(words: _WordHashes, text: str) -> np.ndarray:
    """The hashes of a text's runs: uint64 [m]; of fewer words, of all together."""
    hashes = np.fromiter(map(words.__getitem__, words_of(text)), np.uint64)
    if not len(hashes):
        return hashes
    length = min(_WORDS_PER_SHINGLE, len(hashes))
    num_runs = len(hashes) - length + 1
    mixed = np.full(num_runs, length, np.uint64)
    for place in range(length):
        mixed = (mixed ^ hashes[place : place + num_runs]) * _MULTIPLIERS[0]
        mixed ^= mixed >> np.uint64(31)
        mixed *= _MULTIPLIERS[1]
    return np.unique(mixed)


def _verified_pairs(
    shingles: _Shingles, similarity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of texts, int64 [m, 2], and their similarities, float32 [m].

    In the order of bands; each pair once.
    """
    import scipy.sparse

    columns = np.unique(shingles.hashes, return_inverse=True)[1]
    matrix = scipy.sparse.csr_array(
        (np.ones(len(columns), np.int32), columns, shingles.starts),
        shape=(len(shingles), int(columns.max(initial=-1)) + 1),
    )
    sizes = np.diff(shingles.starts)
    pairs = [np.empty([0, 2], np.int64)]
    similarities = [np.empty(0, np.float32)]
    seen = np.empty(0, np.int64)
    joined = _Joined(len(shingles))
    for candidates in _candidates(shingles, joined):
        keys = np.unique(candidates[:, 0] * len(shingles) + candidates[:, 1])
        keys = keys[~np.isin(keys, seen)]
        seen = np.concatenate([seen, keys])
        for start in range(0, len(keys), _PAIRS_AT_ONCE):
            some = keys[start : start + _PAIRS_AT_ONCE]
            left, right = some // len(shingles), some % len(shingles)
            shared = matrix[left].multiply(matrix[right]).sum(axis=1)
            found = shared / (sizes[left] + sizes[right] - shared)
            is_near = found >= similarity
            pairs.append(np.stack([left[is_near], right[is_near]], axis=1))
            similarities.append(found[is_near].astype(np.float32))
            joined.join(pairs[-1])
    return np.concatenate(pairs), np.concatenate(similarities)


def _candidates(shingles: _Shingles, joined: _Joined) -> Iterator[np.ndarray]:
    """Pairs of texts that share a band of their signatures: int64 [m, 2] at a time."""
    import rensa

    num_texts = len(shingles)
    has_words = np.diff(shingles.starts) > 0
    signatures = np.array(
        rensa.RMinHash.digest_matrix_from_flat_token_hashes(
            shingles.hashes, shingles.starts.astype(np.uint64), _NUM_PERMUTATIONS, _SEED
        ).to_rows(),
        np.uint32,
    ).reshape(num_texts, _NUM_PERMUTATIONS)
    width = _NUM_PERMUTATIONS // _NUM_BANDS
    for first in range(0, _NUM_PERMUTATIONS, width):
        band = np.ascontiguousarray(signatures[:, first : first + width])
        keys = band.view(f"V{4 * width}").ravel()
        numbers = np.unique(keys, return_inverse=True)[1]
        rows = np.flatnonzero(has_words)
        rows = rows[np.argsort(numbers[rows], kind="stable")]
        ends = np.flatnonzero(np.diff(numbers[rows], append=-1)) + 1
        few = [np.empty([0, 2], np.int64)]
        for start, end in zip([0, *ends[:-1]], ends):
            if end - start > _MAX_BUCKET:
                yield from _of_large_bucket(rows[start:end], joined)
            elif end - start > 1:
                few.append(_all_pairs(rows[start:end]))
        yield np.concatenate(few)


def _all_pairs(rows: np.ndarray) -> np.ndarray:
    left, right = np.triu_indices(len(rows), k=1)
    return np.stack([rows[left], rows[right]], axis=1)


def _of_large_bucket(rows: np.ndarray, joined: _Joined) -> Iterator[np.ndarray]:
    """Pairs that decide what hangs together: of each row with what is not joined yet."""
    for index, row in enumerate(rows[:-1]):
        others = rows[index + 1 :]
        apart = others[joined.find(others) != joined.find(np.array([row]))]
        if len(apart):
            yield np.stack([np.full(len(apart), row), apart], axis=1)


class _Joined:
    """Which texts hang together so far: union-find (Galler and Fischer 1964)."""

    def __init__(self, size: int) -> None:
        self._parents = np.arange(size)

    def find(self, rows: np.ndarray) -> np.ndarray:
        """The roots of some rows."""
        roots: np.ndarray = self._parents[rows]
        while ((higher := self._parents[roots]) != roots).any():
            roots = higher
        self._parents[rows] = roots
        return roots

    def join(self, pairs: np.ndarray) -> None:
        """Joins the two of each pair."""
        for pair in pairs:
            one, other = self.find(pair)
            self._parents[max(one, other)] = min(one, other)


def _components(pairs: np.ndarray, size: int) -> np.ndarray:
    """The number of each text's component: int64 [size]."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(size, size))
    components: np.ndarray = connected_components(graph, directed=False)[1]
    return components.astype(np.int64)

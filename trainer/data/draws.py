"""A few rows of many, in whose proportions they stay: of labels, and of copies.

    rows = draw(
        labels, texts, contents, label_names=("bad", "good"), limit=1000, seed=0
    )

Rows are drawn and not texts, so a text that is half of the rows is about half of those
drawn. The draw is systematic (Madow and Madow 1944, "On the theory of systematic
sampling"): the copies of a text, and again the rows of a label, stand at equal distances
from a random start, and those that come first are drawn. So a label has its share of
the draw to about a row, and exactly on the mean over seeds, even if that is less than a
row. (Rounding to the largest remainders would leave out all rare labels in each draw,
or favour some of them.) There is one order of the rows for all limits, so a larger draw
holds the smaller, and it is a function of seed and contents: rows may be shuffled.
"""

from __future__ import annotations

import hashlib
from typing import Sequence

import numpy as np

from trainer.data import label_sets
from trainer.data.duplicates import first_32_bits, numbered


def draw(
    labels: np.ndarray,
    texts: np.ndarray,
    contents: np.ndarray,
    *,
    label_names: Sequence[str],
    limit: int,
    seed: int,
    every_label: bool = False,
) -> np.ndarray:
    """The rows that are drawn: int64 [min(limit, n)], ascending.

    Args:
      labels: see `label_sets.pairs`. Of texts with several, sets of labels keep their
        proportions.
      texts: uint8 [n, 32], digests of the normalized texts, equal for copies.
      contents: uint8 [n, 32], digests of the texts as they are.
      limit: how many.
      seed: of the random starts.
      every_label: draw a row of each label first, as far as there is room.
    """
    pairs = label_sets.pairs(labels)
    labels, label_names = label_sets.classes_of(labels, label_names)
    salt = b"draw:%d:" % seed
    # The order of copies among themselves.
    order = numbered(contents)
    text_places = _places(
        numbered(texts) * len(label_names) + labels, _starts(texts, salt), order
    )
    names = [hashlib.sha256(name.encode()).digest() for name in label_names]
    name_digests = np.frombuffer(b"".join(names), np.uint8).reshape(-1, 32)
    label_starts = _starts(name_digests, salt)[labels]
    by_text = np.argsort(np.lexsort((order, text_places)))
    places = _places(labels, label_starts, by_text)
    if every_label:
        rows, codes = pairs
        ahead = np.lexsort((places[rows], codes))
        _, first = np.unique(codes[ahead], return_index=True)
        # Before all others, whose places are at least 0.
        places[np.unique(rows[ahead[first]])] -= 1
    return np.sort(np.lexsort((order, places))[:limit])


def _places(strata: np.ndarray, starts: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Where rows stand when each stratum's are spread over 0 to 1: float64 [n].

    Args:
      strata: int64 [n].
      starts: float64 [n], in [0, 1), equal within a stratum.
      order: int64 [n], of the rows within a stratum.
    """
    rows = np.lexsort((order, strata))
    _, first, inverse, sizes = np.unique(
        strata[rows], return_index=True, return_inverse=True, return_counts=True
    )
    ranks = np.arange(len(rows)) - first[inverse]
    places = np.empty(len(rows))
    places[rows] = (ranks + starts[rows]) / sizes[inverse]
    return places


def _starts(digests: np.ndarray, salt: bytes) -> np.ndarray:
    """A random number in [0, 1) for each digest: float64 [n]."""
    return first_32_bits(digests, salt) / 2**32

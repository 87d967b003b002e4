"""Texts that stand in several rows: within a split, across splits, of several labels.

found = copies(rows)
found[0].splits, found[0].rows
"""

from __future__ import annotations

from typing import Iterator

import numpy as np

from trainer.data import label_sets
from trainer.data.audit.findings import MAX_ROWS, Copies
from trainer.data.audit.rows import Rows

# Fewer say nothing, whatever they are.
LEAST_TEXTS = 10


def copies(rows: Rows) -> list[Copies]:
    """All of them: those in several splits first, then those of several labels."""
    found = list(_copies(rows))
    found.sort(key=lambda each: (-len(each.splits), -len(each.labels)))
    return found


def small_classes(rows: Rows) -> dict[str, int]:
    """Classes with few different texts, and how many."""
    pool = rows.pool
    if label_sets.are_numbers(pool.labels):
        return {}
    of_rows, labels = label_sets.pairs(pool.labels)
    num_texts = int(pool.text_numbers.max(initial=0)) + 1
    # One number a pair is sorted in a fraction of the memory that two take.
    pairs = np.unique(labels * num_texts + pool.text_numbers[of_rows])
    counts = np.bincount(pairs // num_texts, minlength=len(rows.label_names))
    return {
        name: int(count)
        for name, count in zip(rows.label_names, counts)
        if count < LEAST_TEXTS
    }


def _copies(rows: Rows) -> Iterator[Copies]:
    """In the order of their first rows."""
    pool = rows.pool
    for group in sorted(_groups(pool.text_numbers), key=lambda group: int(group[0])):
        is_exact = (pool.digests[group] == pool.digests[group[0]]).all()
        splits = np.unique(rows.split_numbers[group])
        yield Copies(
            kind="exact" if is_exact else "normalized",
            splits=tuple(rows.split_names[number] for number in splits),
            labels=tuple(rows.class_names[n] for n in np.unique(rows.classes[group])),
            num_rows=len(group),
            rows=tuple(rows.facts(int(row)) for row in _shown(rows, group)),
        )


def _groups(text_numbers: np.ndarray) -> list[np.ndarray]:
    """The rows of each text that stands in several: int64 [at least 2] each."""
    # First without the other texts: of millions nearly all, and an array each.
    counts = np.bincount(text_numbers)
    rows = np.flatnonzero(counts[text_numbers] > 1)
    rows = rows[np.argsort(text_numbers[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(text_numbers[rows])) + 1
    return np.split(rows, starts) if len(rows) else []


def _shown(rows: Rows, group: np.ndarray) -> np.ndarray:
    """Some rows, among them one of each split and of each label."""
    kinds = np.stack([rows.split_numbers[group], rows.classes[group]])
    firsts = np.unique(kinds, axis=1, return_index=True)[1]
    order = np.concatenate([firsts, np.setdiff1d(np.arange(len(group)), firsts)])
    return np.sort(group[order[:MAX_ROWS]])

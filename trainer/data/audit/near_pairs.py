"""Near-duplicates as pairs of rows, those in two splits first.

facts, pairs = near_pairs(rows, near_duplicates)
"""

from __future__ import annotations

import itertools
from typing import Iterator

import numpy as np

from trainer.data.audit.findings import MAX_LISTED, NearDuplicatesFacts, NearPair
from trainer.data.audit.rows import Rows
from trainer.data.near_duplicates import NearDuplicates


def near_pairs(
    rows: Rows, found: NearDuplicates, *, similarity: float
) -> tuple[NearDuplicatesFacts, tuple[NearPair, ...]]:
    """Numbers, and the pairs.

    Args:
      found: among the texts of the pool.
      similarity: that was the least.
    """
    groups = _Groups(rows)
    order = sorted(
        range(len(found.pairs)), key=lambda n: not groups.is_across(found.pairs[n])
    )
    listed = itertools.islice(_pairs(rows, groups, found, order), MAX_LISTED)
    by_split = [groups.counts(rows.split_numbers, pair) for pair in found.pairs]
    by_label = [groups.counts(rows.classes, pair) for pair in found.pairs]
    totals = [int(one.sum() * other.sum()) for one, other in by_split]
    facts = NearDuplicatesFacts(
        similarity=similarity,
        num_pairs=sum(totals),
        num_across=sum(
            total - int(one @ other) for total, (one, other) in zip(totals, by_split)
        ),
        num_contradicting=sum(
            total - int(one @ other) for total, (one, other) in zip(totals, by_label)
        ),
    )
    return facts, tuple(sorted(listed, key=lambda pair: pair.split == pair.other_split))


class _Groups:
    """The rows of each text."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._order = np.argsort(rows.pool.text_numbers, kind="stable")
        self._numbers = rows.pool.text_numbers[self._order]

    def of(self, row: int) -> np.ndarray:
        """The rows of the text of a row: int64 [copies]."""
        number = self._rows.pool.text_numbers[row]
        first, last = (
            np.searchsorted(self._numbers, number, side=side)
            for side in ("left", "right")
        )
        return self._order[first:last]

    def counts(
        self, kinds: np.ndarray, pair: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How many rows of each of two texts are of each kind: two int64 [kinds]."""
        size = int(kinds.max()) + 1
        one, other = (np.bincount(kinds[self.of(row)], minlength=size) for row in pair)
        return one, other

    def is_across(self, pair: np.ndarray) -> bool:
        """Whether rows of the two texts are in two splits."""
        numbers = [self._rows.split_numbers[self.of(row)] for row in pair]
        return len(np.unique(np.concatenate(numbers))) > 1


def _pairs(
    rows: Rows, groups: _Groups, found: NearDuplicates, order: list[int]
) -> Iterator[NearPair]:
    for number in order:
        one, other = found.pairs[number]
        for row, other_row in itertools.product(groups.of(one), groups.of(other)):
            first, second = rows.facts(int(row)), rows.facts(int(other_row))
            yield NearPair(
                similarity=round(float(found.similarities[number]), 4),
                file=first.file,
                line=first.line,
                label=first.label,
                split=first.split,
                other_file=second.file,
                other_line=second.line,
                other_label=second.label,
                other_split=second.split,
            )

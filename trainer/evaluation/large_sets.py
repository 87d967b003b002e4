"""Sets of more examples than a bootstrap draws one by one: it draws groups of them.

    if large_sets.is_large(len(losses)):
        groups = large_sets.deal(len(losses), seed=0)
        sums = groups.sums(losses)                  # float64 [NUM_GROUPS]
    for rows in large_sets.blocks(num_examples, num_classes):
        ...                                         # some rows, of bounded size

Examples are dealt to groups at random, and a resample weighs groups. A sum over examples
varies as much so, for what two examples of a group have in common is as often above as
below nothing: the method of random groups (Wolter 2007, "Introduction to Variance
Estimation", chapter 2). With G groups, the width of an interval is itself off by a
share of about 1 / sqrt(2 G), 0.6% here; the percentiles of 1,000 resamples are off by
5%. What is so rare that hardly two stand in a group is drawn as one by one. Of a set of
examples all else stays as it is: it is a set of fewer examples, each of a size.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterator

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# Up to so many, each example is drawn: 1,000 resamples take some ten seconds.
MAX_DRAWN = 65_536
NUM_GROUPS = 16_384
# Numbers of a block: 8 MB of float64.
_MAX_NUMBERS = 1024 * 1024


def is_large(num_examples: int) -> bool:
    """Whether groups are drawn in the place of examples."""
    return num_examples > MAX_DRAWN


@dataclasses.dataclass(frozen=True)
class Groups:
    """Which group each example is in.

    Attributes:
      numbers: int64 [n], in [0, NUM_GROUPS).
      sizes: float64 [NUM_GROUPS], examples in each; they differ by one at most.
    """

    numbers: IntArray
    sizes: FloatArray

    def sums(self, values: npt.NDArray[Any]) -> FloatArray:
        """Of each group, float64 [NUM_GROUPS], of values [n]."""
        return np.asarray(
            np.bincount(self.numbers, values, minlength=NUM_GROUPS), np.float64
        )

    def counts(self, is_counted: npt.NDArray[np.bool_]) -> FloatArray:
        """How many of each group are counted, float64 [NUM_GROUPS]; bool [n]."""
        counts = np.bincount(self.numbers[is_counted], minlength=NUM_GROUPS)
        return counts.astype(np.float64)


def deal(num_examples: int, *, seed: int) -> Groups:
    """Deals examples to groups, as cards are."""
    numbers = np.arange(num_examples) % NUM_GROUPS
    np.random.default_rng(seed).shuffle(numbers)
    sizes = np.bincount(numbers, minlength=NUM_GROUPS).astype(np.float64)
    return Groups(numbers, sizes)


def blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """All rows in their order, in slices of at most 1,048,576 numbers or of one row."""
    at_once = max(1, _MAX_NUMBERS // max(num_columns, 1))
    for start in range(0, num_rows, at_once):
        yield slice(start, min(start + at_once, num_rows))


def by_row(
    function: Callable[[Any], npt.NDArray[Any]], values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """What a function gives that treats each row alone, with little memory besides.

    Args:
      function: [m, columns] → [m, ...].
      values: [n, columns].
    """
    parts = list(blocks(len(values), values.shape[1]))
    if len(parts) <= 1:
        return function(values)
    first = function(values[parts[0]])
    result = np.empty((len(values), *first.shape[1:]), first.dtype)
    result[parts[0]] = first
    for rows in parts[1:]:
        result[rows] = function(values[rows])
    return result

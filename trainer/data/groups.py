"""Rows that must stay together: those of one author, film or patient.

    group_name(3.0)                                     # "3"; "" where there is none
    group_digests(values)                               # uint8 [n, 32]
    united(text_digests, group_digests(values))         # uint8 [n, 32], one a unit

A row without a group is a group of its own text. Copies of one text in two groups tie
these together: whichever way the text goes, both groups go. Which side a unit is on is
left to `splits.py`.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from trainer.data.duplicates import normalized_digests, numbered


def group_name(value: object) -> str:
    """The value of --group_field as a string; empty where it is missing.

    A whole number is the same as a fraction of no rest, for pandas makes floats of a
    column of integers that has a gap.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # JSON's \ud800, half a pair, is written out: no UTF-8 holds it, and it is a name.
    return str(value).encode(errors="backslashreplace").decode()


def group_digests(names: pa.ChunkedArray) -> np.ndarray:
    """SHA-256 of each group's normalized name: uint8 [n, 32], zeros where it is blank.

    Args:
      names: large_string [n], of `group_name`.
    """
    digests = normalized_digests(names)
    nothing = normalized_digests(pa.chunked_array([[""]], pa.large_string()))
    digests[(digests == nothing).all(axis=1)] = 0
    return digests


def group_numbers(digests: np.ndarray) -> np.ndarray:
    """int64 [n], equal for rows of one group; -1 for rows of none."""
    return np.where(digests.any(axis=1), numbered(digests), -1)


def united(texts: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What each row is split by: uint8 [n, 32], equal for rows that stay together.

    It is the digest of the row's group, or of its text if it has none. Groups that
    share a text have the digest of that one of them whose own is the least.

    Args:
      texts: uint8 [n, 32], equal for copies of one text.
      groups: uint8 [n, 32], of `group_digests`.
    """
    # Only for runs with groups: SciPy's graphs take a while to import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    has_group = np.asarray(groups.any(axis=1))
    text_numbers, numbers = numbered(texts), numbered(groups)
    size = len(texts)
    # A graph of texts and, after them, groups; a row with a group is an edge.
    edges = text_numbers[has_group], size + numbers[has_group]
    graph = coo_array((np.ones(has_group.sum(), bool), edges), shape=(2 * size,) * 2)
    component = connected_components(graph, directed=False)[1][text_numbers]
    # By component, the row of the least group, whose number is its digest's rank.
    rows = np.lexsort((numbers, ~has_group, component))
    components, first = np.unique(component[rows], return_index=True)
    least = rows[first][np.searchsorted(components, component)]
    result: np.ndarray = np.where(has_group[least, np.newaxis], groups[least], texts)
    return result

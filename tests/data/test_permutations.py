"""Tests of trainer/data/permutations.py: a permutation, and any of them alike."""

from __future__ import annotations

import collections
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from trainer.data.permutations import KeyedPermutation

# A level so low that a right program fails once in ten thousand seeds; these are fixed.
LEVEL = 1e-4


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 1000, 4096, 4097, 70_001])
def test_every_number_comes_once(size: int) -> None:
    order = KeyedPermutation(size, key=[3, 1])(np.arange(size))
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(size))


def test_a_part_is_computed_as_within_the_whole() -> None:
    shuffle = KeyedPermutation(50_000, key=[1])
    whole = shuffle(np.arange(50_000))
    part = np.array([[49_999, 0, 7], [31_000, 7, 16_384]])
    np.testing.assert_array_equal(shuffle(part), whole[part])
    assert shuffle(np.empty([0, 4], np.int64)).shape == (0, 4)


def test_the_order_is_the_same_for_ever() -> None:
    """A run that goes on with another version of NumPy finds its order again."""
    shuffle = KeyedPermutation(10_000_000, key=[0, 2, 1])
    assert shuffle(np.arange(6)).tolist() == [
        568162,
        193659,
        4900255,
        3416618,
        9317467,
        4855250,
    ]


def test_other_keys_are_other_orders() -> None:
    orders = [
        KeyedPermutation(5000, key=key)(np.arange(5000))
        for key in ([0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 2])
    ]
    for one, other in itertools.combinations(orders, 2):
        # Of unrelated orders one place agrees on average.
        assert (one == other).sum() < 10


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_permutations_of_a_few_are_alike(size: int) -> None:
    num_keys = 30 * math.factorial(size)
    found = collections.Counter(
        tuple(KeyedPermutation(size, key=[key])(np.arange(size)).tolist())
        for key in range(num_keys)
    )
    assert len(found) == math.factorial(size)
    assert stats.chisquare(list(found.values())).pvalue > LEVEL


def test_all_places_and_all_neighbours_are_alike() -> None:
    """Of 300 numbers by 400 keys: where each comes, and which come one after another."""
    size, num_keys = 300, 400
    places = np.arange(size)
    orders = np.array(
        [KeyedPermutation(size, key=[5, k])(places) for k in range(num_keys)]
    )
    cells = np.zeros([10, 10])
    np.add.at(cells, (orders // 30, np.broadcast_to(places // 30, orders.shape)), 1)
    # Rows and columns have fixed sums, so there are 9 × 9 degrees of freedom.
    expected = cells.sum() / cells.size
    chi_square = ((cells - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi_square, 81) > LEVEL
    # What comes next is uniform over all but itself.
    steps = (orders[:, 1:] - orders[:, :-1]) % size
    counts = np.bincount(steps.ravel(), minlength=size)[1:]
    assert stats.chisquare(counts).pvalue > LEVEL

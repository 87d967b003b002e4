"""A shuffle whose parts are computed alone, without the rest of it.

    shuffle = KeyedPermutation(10_000_000, key=[seed, epoch])
    shuffle(np.arange(320, 352))        # what is at these places of the shuffled order

A list of ten million numbers is never made: each place is enciphered by a Feistel
network with a key, which is a permutation whatever its round function is. It costs as
much at the last place as at the first. The numbers do not depend on the machine, nor on
NumPy's version: NumPy promises that of SeedSequence, the only part of it that is used.
"""

from __future__ import annotations

from typing import Sequence

import numpy as np

# As many as Mitchell et al. (see below) found to pass their test of permutations.
_NUM_ROUNDS = 24
# Short orders walk in a domain of 2^6, for the fewer bits a network has the fewer of
# the permutations it can be.
_MIN_BITS = 6
# Of the steps below so many numbers are in a processor's cache together.
_NUM_AT_ONCE = 1 << 14
# The constants of SplitMix64's finalizer (Steele, Lea and Flood 2014, "Fast Splittable
# Pseudorandom Number Generators", after Stafford's variant 13).
_SHIFTS = (np.uint64(30), np.uint64(27))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_WORD_BITS = 64


class KeyedPermutation:
    """A permutation of the numbers from 0 to `size` - 1, drawn by a key.

    A Feistel network over the least power of two that holds them; what falls outside is
    enciphered again until it falls inside ("cycle walking": Black and Rogaway 2002,
    "Ciphers with Arbitrary Finite Domains"), fewer than two times on average. To
    shuffle with one is due to Mitchell et al. 2021, "Bandwidth-Optimal Random Shuffling
    for GPUs" (arXiv:2106.06161), whose number of rounds this takes.

    Args:
      size: how many numbers there are.
      key: integers from 0; any other key is another permutation.
    """

    def __init__(self, size: int, *, key: Sequence[int]) -> None:
        self._size = size
        bits = max(_MIN_BITS, (size - 1).bit_length())
        self._right_bits = np.uint64(bits - bits // 2)
        # How far a word is shifted to leave as many bits as a half has.
        self._shifts = tuple(
            np.uint64(_WORD_BITS - half) for half in (bits // 2, bits - bits // 2)
        )
        self._keys = np.random.SeedSequence(list(key)).generate_state(
            _NUM_ROUNDS, np.uint64
        )

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """What is at these places of the order: int64, of the shape of `places`.

        Args:
          places: integers from 0 to `size` - 1.
        """
        result = np.empty(places.size, np.int64)
        flat = places.reshape(-1)
        for start in range(0, len(flat), _NUM_AT_ONCE):
            block = slice(start, start + _NUM_AT_ONCE)
            result[block] = self._walk(flat[block].astype(np.uint64))
        return result.reshape(places.shape)

    def _walk(self, numbers: np.ndarray) -> np.ndarray:
        numbers = self._encipher(numbers)
        outside = np.flatnonzero(numbers >= self._size)
        while len(outside):
            again = self._encipher(numbers[outside])
            numbers[outside] = again
            outside = outside[again >= self._size]
        return numbers

    def _encipher(self, numbers: np.ndarray) -> np.ndarray:
        left = numbers >> self._right_bits
        right = numbers ^ (left << self._right_bits)
        for number, key in enumerate(self._keys):
            # In turns, so that no half has to change places.
            source, target = (left, right) if number % 2 else (right, left)
            target ^= _mixed(source ^ key) >> self._shifts[number % 2]
        result: np.ndarray = (left << self._right_bits) | right
        return result


def _mixed(words: np.ndarray) -> np.ndarray:
    """Pseudo-random words of words, in place: uint64."""
    for shift, factor in zip(_SHIFTS, _FACTORS):
        words ^= words >> shift
        words *= factor
    # SplitMix64's last shift spreads to low bits, and the highest are taken here.
    return words

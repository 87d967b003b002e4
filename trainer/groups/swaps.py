"""The words of one group put in place of those of another one.

    swap = swapped("She left him.", lexicon.kinds["gender"], ("female", "male"))
    swap.text, swap.num_words           # "He left her.", 2

Both groups' terms change places at once, so that a swap is undone by itself wherever each
term has one partner that is written with the same capitals. English has pairs that have
not: "her" is "his" or "him", and the first is taken. Such words are counted, for what they
give may be wrong English; so may an article before another vowel.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Collection, Mapping

import numpy as np

from trainer.groups.lexicon import Kind


@dataclasses.dataclass(frozen=True)
class Swap:
    """A text after a swap.

    Attributes:
      text: with the words swapped.
      num_words: how many were; 0: it is the same text.
      num_approximate: of these, the ones whose partner is one of several.
    """

    text: str
    num_words: int
    num_approximate: int


def partners(kind: Kind, pair: tuple[str, str]) -> Mapping[str, str]:
    """What each term is swapped with, by the term in lower case; of several the first.

    Terms beyond the end of the other group's list have none.
    """
    found: dict[str, str] = {}
    for one, other in zip(*(kind.groups[group] for group in pair)):
        found.setdefault(one.lower(), other)
        found.setdefault(other.lower(), one)
    return found


def approximate(kind: Kind, pair: tuple[str, str]) -> frozenset[str]:
    """The terms, in lower case, that have several partners or whose partner has."""
    others: dict[str, set[str]] = {}
    for one, other in zip(*(kind.groups[group] for group in pair)):
        others.setdefault(one.lower(), set()).add(other.lower())
        others.setdefault(other.lower(), set()).add(one.lower())
    return frozenset(
        term
        for term, each in others.items()
        if len(each) > 1 or any(len(others[other]) > 1 for other in each)
    )


def swapped(text: str, kind: Kind, pair: tuple[str, str]) -> Swap:
    """A text with the terms of two groups swapped.

    Args:
      pair: two groups of the kind.
    """
    others, doubtful = partners(kind, pair), approximate(kind, pair)
    num_words = num_approximate = 0

    def replace(found: re.Match[str]) -> str:
        nonlocal num_words, num_approximate
        word = found.group()
        other = others.get(word.lower())
        if other is None:
            return word
        num_words += 1
        num_approximate += word.lower() in doubtful
        return _cased(word, other)

    return Swap(kind.pattern.sub(replace, text), num_words, num_approximate)


def drawn_pair(
    kind: Kind, mentioned: Collection[str], generator: np.random.Generator
) -> tuple[str, str]:
    """A group that a text mentions, and another one to swap it with.

    Args:
      mentioned: groups of the kind, at least one.
    """
    first = [group for group in kind.groups if group in mentioned]
    one = first[int(generator.integers(len(first)))]
    others = [group for group in kind.groups if group != one]
    return one, others[int(generator.integers(len(others)))]


def _cased(word: str, other: str) -> str:
    """`other` with the capitals of `word`."""
    if word.isupper() and len(word) > 1:
        return other.upper()
    return other[:1].upper() + other[1:] if word[0].isupper() else other

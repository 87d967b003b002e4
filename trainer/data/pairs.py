"""Pairs of texts, each as one string: the first, a separator, the second.

    pair = joined("A question?", "An answer.")
    split(pair)                 # ("A question?", "An answer.")
    shown(pair)                 # "A question? ‖ An answer."

So a pair is a text to all that reads, hashes, splits, compares and caches texts: the same
first text with another second is another text. The separator is a character of private
use, which BERT's tokenizers leave out of any text; here it is left out of both.
"""

from __future__ import annotations

from typing import Collection, Sequence

# What signatures call the first text, and the second.
INPUTS = ("text", "text_pair")
SEPARATOR = "\ue01f"
_SHOWN = " ‖ "


def joined(first: str, second: str) -> str:
    """Both as one string."""
    return SEPARATOR.join(text.replace(SEPARATOR, "") for text in (first, second))


def split(text: str) -> tuple[str, str]:
    """Both texts of a pair; of a single text the second is empty."""
    first, _, second = text.partition(SEPARATOR)
    return first, second


def spaced(text: str) -> str:
    """Both texts with a blank between them, to count or compare words."""
    return text.replace(SEPARATOR, " ")


def shown(text: str) -> str:
    """A pair for people to read; a single text as it is."""
    return text.replace(SEPARATOR, _SHOWN)


def are_read(names: Collection[str]) -> bool:
    """Whether a function with inputs of these names reads pairs of texts."""
    return INPUTS[1] in names


def columns(texts: Sequence[str]) -> dict[str, list[str]]:
    """First and second texts, by the names that signatures have for them."""
    halves = [split(text) for text in texts]
    return {name: [each[index] for each in halves] for index, name in enumerate(INPUTS)}

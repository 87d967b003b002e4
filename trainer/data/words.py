"""Tokens that were explained, put together to the words of a text.

    [word.text for word in words("Café!", tokens, begin, end, attribution)]    # ["Café", "!"]

Plain Python: whoever asks a SavedModel needs no TensorFlow of ours for it.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

# What the pieces of a word begin with, but for the first (google-research/bert).
_CONTINUED = "##"


class Word(NamedTuple):
    """A word of a text.

    Attributes:
      text: as it stands there.
      begin, end: its bytes, in UTF-8.
      attribution: the sum of its tokens'.
    """

    text: str
    begin: int
    end: int
    attribution: float


def words(
    text: str,
    tokens: Sequence[str],
    begin: Sequence[int],
    end: Sequence[int],
    attribution: Sequence[float],
) -> list[Word]:
    """The words that tokens are made of, in the text's order.

    Args:
      tokens: of the text, "" from where there are no more.
      begin, end, attribution: of each token.
    """
    raw = text.encode("utf-8")
    merged: list[Word] = []
    for token, start, stop, value in zip(tokens, begin, end, attribution):
        if not token:
            break
        last = merged[-1] if merged else None
        if last and token.startswith(_CONTINUED) and not _parts(raw[last.end : start]):
            start, value = last.begin, last.attribution + value
            merged.pop()
        shown = raw[start:stop].decode("utf-8", errors="replace")
        merged.append(Word(shown, start, stop, value))
    return merged


def _parts(between: bytes) -> bool:
    """Whether a blank or more is between: a word's start may have been cut off."""
    return any(map(str.isspace, between.decode("utf-8", errors="replace")))

"""Tokens that were explained, put together to the words of a text.

    [word.text for word in words("Café!", tokens, begin, end, attribution)]    # ["Café", "!"]

Plain Python: whoever asks a SavedModel needs no TensorFlow of ours for it.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple, Sequence

# What the pieces of a word begin with, but for the first (google-research/bert); and
# what the first begins with, of byte-level BPE and of SentencePiece.
_CONTINUED = "##"
_BEGUN = ("\u0120", "\u2581")


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
    marks_begins = any(token.startswith(_BEGUN) for token in tokens)
    merged: list[Word] = []
    for token, start, stop, value in zip(tokens, begin, end, attribution):
        if not token:
            break
        last = merged[-1] if merged else None
        if marks_begins:
            goes_on = not token.startswith(_BEGUN) and _is_within_word(raw, start, stop)
            # Of one character, such as an emoji's bytes.
            goes_on |= last is not None and start < last.end
        else:
            goes_on = token.startswith(_CONTINUED)
        if last and goes_on and not _parts(raw[last.end : start]):
            start, value = last.begin, last.attribution + value
            merged.pop()
            stop = max(stop, last.end)
        elif last and marks_begins and not last.text.strip():
            # The blank before a word may be a piece of its own.
            value += last.attribution
            merged.pop()
        shown = raw[start:stop].decode("utf-8", errors="replace")
        merged.append(Word(shown, start, stop, value))
    return merged


def _is_within_word(raw: bytes, start: int, stop: int) -> bool:
    """Whether letters or digits stand on both sides of a piece's beginning: pieces that
    mark where words begin do not say where punctuation does."""
    before = raw[max(start - 4, 0) : start].decode("utf-8", errors="replace")[-1:]
    piece = raw[start:stop].decode("utf-8", errors="replace")[:1]
    return _is_of_word(before) and _is_of_word(piece)


def _is_of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character or " ")[0] == "M"


def _parts(between: bytes) -> bool:
    """Whether a blank or more is between: a word's start may have been cut off."""
    return any(map(str.isspace, between.decode("utf-8", errors="replace")))

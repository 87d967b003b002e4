"""An explained text as the report draws it: pieces with a colour, and the numbers.

    drawn(explanation).pieces       # text, direction, strength of each

The colours are relative to the strongest word of a text: a text that was hardly moved
shows which words did it, too; the numbers say how little that was.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator, Literal

from trainer.evaluation.schema import Explanation
from trainer.evaluation.slices import shorten_middle

NUM_STRONGEST = 6
# From this part of the strongest on, a word is underlined.
STRONG = 0.2
# Of a stretch that was not read, so many characters are shown.
_MAX_UNREAD_CHARACTERS = 120


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of the text.

    Attributes:
      direction: "": it is no word that was read.
      strength: in [0, 1], of the strongest word.
      number: the attribution, for people.
      is_unread: whether it holds words that were cut off.
    """

    text: str
    direction: Literal["for", "against", ""] = ""
    strength: float = 0.0
    number: str = ""
    is_unread: bool = False

    @property
    def is_strong(self) -> bool:
        """Whether it is underlined."""
        return self.strength >= STRONG


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An explanation for people; attributes as of `Explanation`.

    Attributes:
      strongest: words with their attributions, at most `NUM_STRONGEST`.
      total: of all words' attributions.
    """

    label: str
    predicted: str
    explained: str
    score: float
    why: str
    place: str
    pieces: tuple[Piece, ...]
    strongest: tuple[tuple[str, str], ...]
    total: str
    difference: str
    gap: str


def drawn(explanation: Explanation) -> Drawn:
    """The parts of a text, one after the other, and its numbers."""
    raw = explanation.text.encode("utf-8")
    ranked = sorted(explanation.words, key=lambda word: -abs(word.attribution))
    total = sum(word.attribution for word in explanation.words)
    return Drawn(
        label=explanation.label,
        predicted=explanation.predicted,
        explained=explanation.explained,
        score=explanation.score,
        why=explanation.why,
        place=f"{explanation.file}:{explanation.line}",
        pieces=tuple(_pieces(explanation, raw)),
        strongest=tuple(
            (_text(raw, word.begin, word.end), signed(word.attribution))
            for word in ranked[:NUM_STRONGEST]
            if word.attribution
        ),
        total=signed(total),
        difference=signed(explanation.difference),
        gap=signed(explanation.completeness_gap),
    )


def signed(value: float) -> str:
    """Two digits, or as many as show that it is not 0: "+1.25", "−0.0004"."""
    digits = f"{abs(value):.2f}" if abs(value) >= 0.005 else f"{abs(value):.1g}"
    return ("−" if value < 0 else "+") + digits


def _pieces(explanation: Explanation, raw: bytes) -> Iterator[Piece]:
    largest = max((abs(word.attribution) for word in explanation.words), default=0.0)
    end = 0
    for word in explanation.words:
        # Two words of one character both have its bytes: it is drawn once.
        if word.begin > end:
            yield _between(_text(raw, end, word.begin))
        if word.end > end:
            yield Piece(
                _text(raw, word.begin, word.end),
                "for" if word.attribution > 0 else "against",
                abs(word.attribution) / largest if largest else 0.0,
                signed(word.attribution),
            )
        end = max(end, word.end)
    if end < len(raw):
        yield _between(_text(raw, end, len(raw)))


def _between(text: str) -> Piece:
    is_unread = any(map(str.isalnum, text))
    if is_unread:
        text = shorten_middle(text, limit=_MAX_UNREAD_CHARACTERS)
    return Piece(text, is_unread=is_unread)


def _text(raw: bytes, begin: int, end: int) -> str:
    return raw[begin:end].decode("utf-8", errors="replace")

"""Texts that only say that there is none: "nan", "[deleted]", "N/A".

    placeholders = Placeholders()
    placeholders.look_at("[Deleted] ", file="posts.csv", line=3)
    placeholders.facts()
    # {"num_placeholder_texts": 1, "placeholder_texts": ["'[deleted]' in posts.csv:3"]}

They are counted, not left out: a review may be the one word "None". What is said of
them is left to the doubts of a run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.characters import visible
from trainer.data.label_forms import MISSING_WORDS

# What forums and pandas leave of a text.
_WORDS = (
    MISSING_WORDS
    | frozenset(
        "[deleted] [removed] <deleted> <removed> (deleted) (removed) deleted removed "
        "[null] [none] [nan] [empty] empty (none)".split()
    )
    | {"no text", "not available", "no comment", "no description", "[deleted by user]"}
)
# Longer texts need no second look; invisible characters take room as well.
_MAX_CHARACTERS = 2 * max(map(len, _WORDS))
_MAX_PLACES = 3


class Placeholders:
    """Counts them, and remembers where they came first."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def look_at(self, text: str, *, file: str, line: int) -> None:
        """Counts a text if it is one."""
        if len(text) > _MAX_CHARACTERS:
            return
        word = visible(text).casefold()
        if word in _WORDS:
            self._counts[word] = self._counts.get(word, 0) + 1
            places = self._places.setdefault(word, [])
            if len(places) < _MAX_PLACES:
                places.append(f"{file}:{line}")

    def look_at_all(self, texts: pa.Array, *, file: str, lines: np.ndarray) -> None:
        """Counts those of single texts that are one: large_string [n], int64 [n]."""
        # A character has four bytes at most.
        is_short = pc.less_equal(pc.binary_length(texts), 4 * _MAX_CHARACTERS)
        if not pc.any(is_short).as_py():
            return
        short = texts.filter(is_short)
        word = pc.ascii_lower(pc.ascii_trim_whitespace(short))
        may_be_one = pc.or_(
            pc.is_in(word, pa.array(sorted(_WORDS), pa.large_string())),
            # What is not seen of them, or is another form of a letter, only Python knows.
            pc.match_substring_regex(short, r"[^ -~]"),
        )
        numbers = lines[is_short.to_numpy(zero_copy_only=False)]
        found = numbers[may_be_one.to_numpy(zero_copy_only=False)]
        for text, line in zip(short.filter(may_be_one).to_pylist(), found.tolist()):
            self.look_at(text, file=file, line=line)

    def facts(self) -> dict[str, Any]:
        """How many there are, and for each word, the commonest first, the first places."""
        by_count = sorted(self._counts.items(), key=lambda item: -item[1])
        return {
            "num_placeholder_texts": sum(self._counts.values()),
            "placeholder_texts": [
                f"{word!r} {f'{count:,} times, ' if count > 1 else ''}"
                f"in {', '.join(self._places[word])}"
                for word, count in by_count
            ],
        }

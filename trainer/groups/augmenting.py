"""Copies of training texts with the words of one group put for those of another one.

    made = swapped_copies(texts, digests, kinds, seed=0)
    made.texts[0], made.origins[0]      # "He left.", 17: of the text in row 17

Counterfactual data augmentation (Lu et al. 2018, "Gender Bias in Neural Natural Language
Processing"): where both stand in the training texts with the same label, the words of a
group say nothing of the label. Whether it helps is for the report's groups to say.
"""

from __future__ import annotations

import dataclasses
from typing import Iterable, Mapping, Sequence

import numpy as np

from trainer.groups.lexicon import Kind, words_of
from trainer.groups.swaps import drawn_pair, swapped


@dataclasses.dataclass(frozen=True)
class Copies:
    """Copies of texts, changed.

    Attributes:
      texts: n texts.
      origins: int64 [n], the rows of the texts that they are copies of, ascending.
    """

    texts: Sequence[str]
    origins: np.ndarray


def swapped_copies(
    texts: Iterable[str],
    digests: np.ndarray,
    kinds: Mapping[str, Kind],
    *,
    seed: int,
) -> Copies:
    """A copy of each text for each kind of whose groups it has words.

    With which other group's words they are swapped is drawn by the seed and the text, so
    that neither the order of the rows nor other texts change it.

    Args:
      texts: n texts.
      digests: uint8 [n, 32], of the texts.
      kinds: by name.
    """
    copies: list[str] = []
    origins: list[int] = []
    for row, text in enumerate(texts):
        words = words_of(text)
        for name, kind in kinds.items():
            if not kind.first_words & words:
                continue
            entropy = [seed, *name.encode(), *digests[row].tolist()]
            mentioned = kind.members(text)
            if not mentioned:
                continue
            pair = drawn_pair(kind, mentioned, np.random.default_rng(entropy))
            copy = swapped(text, kind, pair).text
            if copy != text:
                copies.append(copy)
                origins.append(row)
    return Copies(copies, np.array(origins, np.int64))

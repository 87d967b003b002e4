"""Words that give a label away: nearly every text with the word has one label.

    revealing_words(texts, labels, label_names=("ham", "spam"))
    # [RevealingWord("unsubscribe", "spam", num_texts=310, share_of_label=0.62, ...)]

A model trained on such texts may learn the word and nothing else: a field name that was
joined into the text, a signature, the site that the texts were gathered from.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from typing import Any, Iterable, Sequence

import numpy as np

from trainer.data import label_sets

# Of the texts that hold the word, at least this share has the label,
_MIN_PURITY = 0.98
# and of the texts of the label, at least this share holds the word.
_MIN_SHARE_OF_LABEL = 0.5
# With fewer texts, chance alone makes such words.
_MIN_TEXTS = 25
# Words to show, of which most are honest: a person tells the one that is an artefact.
_SHOWN_PURITY = 0.97
_MAX_SHOWN_OF_LABEL = 20
# Enough to see what stands in half of a label's texts.
_MAX_TEXTS = 20_000
_MAX_WORDS = 5
_WORD = re.compile(r"\w+")


@dataclasses.dataclass(frozen=True)
class RevealingWord:
    """A word that stands in texts of one label and hardly in others.

    Attributes:
      num_texts: texts of the label that hold it.
      share_of_label: of the label's texts, in [0, 1].
    """

    word: str
    label: str
    num_texts: int
    share_of_label: float


def sampled(num_texts: int) -> slice:
    """Which of so many texts are looked at; they may be taken before."""
    return slice(None, None, max(1, -(-num_texts // _MAX_TEXTS)))


def revealing_words(
    texts: Iterable[Any], labels: np.ndarray, *, label_names: Sequence[str]
) -> list[RevealingWord]:
    """The words to doubt, those of the largest share first; at most five.

    Args:
      texts: n texts, of which `str()` is the text.
      labels: see `label_sets.pairs`.
    """
    found = _pure_words(texts, labels, label_names, purity=_MIN_PURITY)
    return [each for each in found if each.share_of_label >= _MIN_SHARE_OF_LABEL][
        :_MAX_WORDS
    ]


def words_of_one_label(
    texts: Iterable[Any], labels: np.ndarray, *, label_names: Sequence[str]
) -> list[RevealingWord]:
    """The words to show: at most twenty a label, those of the largest share first.

    Most are honest, as "mortgage" is in spam. An artefact of how texts were gathered
    stands among them, though it may be in one text of ten.
    """
    found = _pure_words(texts, labels, label_names, purity=_SHOWN_PURITY)
    return [
        word
        for name in label_names
        for word in [each for each in found if each.label == name][:_MAX_SHOWN_OF_LABEL]
    ]


def _pure_words(
    texts: Iterable[Any],
    labels: np.ndarray,
    label_names: Sequence[str],
    *,
    purity: float,
) -> list[RevealingWord]:
    """Words of which this share of the texts has one label, the commonest first."""
    step = sampled(len(labels)).step
    num_labels = len(label_names)
    counts: dict[str, collections.Counter[int]] = collections.defaultdict(
        collections.Counter
    )
    num_texts = np.zeros(num_labels, int)
    num_with: collections.Counter[str] = collections.Counter()
    num_read = 0
    for row, text in enumerate(texts):
        if row % step:
            continue
        num_read += 1
        own = label_sets.pairs(labels[row : row + 1])[1].tolist()
        num_texts[own] += 1
        words = set(_WORD.findall(str(text).lower()))
        num_with.update(words)
        for word in words:
            counts[word].update(own)
    found = [
        RevealingWord(word, label_names[label], count, count / num_texts[label])
        for word, by_label in counts.items()
        for label, count in by_label.most_common(1)
        if count >= _MIN_TEXTS and count >= purity * num_with[word]
        # A label of nearly all texts has such words without any meaning.
        and num_texts[label] < 0.9 * num_read
    ]
    found.sort(key=lambda each: (-each.share_of_label, each.word))
    return found

"""Two models' answers to the same texts, and what follows from them.

    contest = judge(labels, challenger, champion, margin=0.01, slices=slices, min_slice=50)
    contest.verdict, contest.difference, contest.slices

Slices are compared too: a model that is better on the whole may be worse on the texts of
one label, or of one customer. Their p-values are corrected for their number (Holm), and
one that is too small can warn, never hold a challenger back.
"""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

import numpy as np

from trainer.champion.verdicts import texts_to_settle, verdict
from trainer.data import label_sets, pairs
from trainer.evaluation import comparisons
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import Contest, SliceContest

_LEVEL = 0.05
# Of the texts by their length.
_NUM_LENGTHS = 4
# A column of names or numbers is no slicing.
_MAX_VALUES = 30


def judge(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    margin: float,
    is_same: bool = False,
    num_left_out: int = 0,
    slices: Mapping[str, Sequence[str]] | None = None,
    min_slice: int = 50,
) -> Contest:
    """Compares.

    Args:
      labels: the right ones of n texts, n at least 1, see `label_sets.pairs`; likewise
        what each model answers.
      is_same: whether both gave the same probabilities to all texts.
      slices: by name, the value of each text; "": it has none.
      min_slice: texts that a slice needs to hold the challenger back.
    """
    paired = comparisons.compare(labels, challenger, champion)
    count = len(labels)
    num_right = [
        int(label_sets.is_right(labels, answers).sum())
        for answers in (champion, challenger)
    ]
    return Contest(
        verdict=verdict(paired, margin=margin, is_same=is_same),
        margin=margin,
        num_texts=count,
        num_left_out=num_left_out,
        champion=num_right[0] / count,
        champion_interval_95=wilson_interval(num_right[0], count),
        challenger=num_right[1] / count,
        challenger_interval_95=wilson_interval(num_right[1], count),
        difference=paired.difference,
        interval_95=paired.interval_95,
        mcnemar_p=paired.mcnemar_p,
        num_discordant=paired.num_discordant,
        num_only_champion_right=len(paired.only_second),
        num_only_challenger_right=len(paired.only_first),
        texts_to_settle=None if is_same else texts_to_settle(paired, margin=margin),
        slices=tuple(
            _slice_contests(labels, challenger, champion, slices or {}, min_slice)
        ),
    )


def word_slices(texts: Sequence[str]) -> list[str]:
    """A name for the length of each text, in words: four of about equal size."""
    counts = np.array([len(pairs.spaced(text).split()) for text in texts])
    shares = np.linspace(0, 1, _NUM_LENGTHS + 1)[1:-1]
    edges = np.unique(np.quantile(counts, shares, method="inverted_cdf"))
    bounds = [0, *edges.tolist(), int(counts.max())]
    names = [
        f"{low + 1 if low else 0} to {high}" for low, high in zip(bounds, bounds[1:])
    ]
    return [names[min(i, len(names) - 1)] for i in np.searchsorted(edges, counts)]


def _slice_contests(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    slices: Mapping[str, Sequence[str]],
    min_slice: int,
) -> list[SliceContest]:
    named = list(masks(slices))
    compared = [
        comparisons.compare(labels[mask], challenger[mask], champion[mask])
        for _, _, mask in named
    ]
    adjusted = comparisons.holm([paired.mcnemar_p for paired in compared])
    found = []
    for (name, value, mask), paired, p_value in zip(named, compared, adjusted):
        is_worse = p_value < _LEVEL and paired.difference < 0
        found.append(
            SliceContest(
                slice=name,
                value=value,
                num_texts=paired.num_examples,
                champion=float(
                    label_sets.is_right(labels[mask], champion[mask]).mean()
                ),
                challenger=float(
                    label_sets.is_right(labels[mask], challenger[mask]).mean()
                ),
                difference=paired.difference,
                interval_95=paired.interval_95,
                p_holm=p_value,
                is_worse=is_worse,
                blocks=is_worse and paired.num_examples >= min_slice,
            )
        )
    return sorted(found, key=lambda each: each.difference)


def masks(
    slices: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, str, np.ndarray]]:
    """The commonest values of each slicing, which divides the texts.

    Yields:
      The slicing's name, a value, and bool [n], which texts have it.
    """
    for name, values in slices.items():
        array = np.array(values, object)
        counts: dict[str, int] = {}
        for value in values:
            counts[value] = counts.get(value, 0) + 1
        commonest = sorted(counts, key=lambda each: (-counts[each], each))
        for value in commonest[:_MAX_VALUES]:
            if value and counts[value] < len(values):
                yield name, value, array == value

"""Which texts mention which groups, and how that goes with their labels.

found = groupings(texts, lexicon.kinds)             # a Grouping a kind
by_label(found, labels, label_names=("bad", "good"))[0].odds_ratio
"""

from __future__ import annotations

import math
from typing import Mapping, Sequence

import numpy as np
import scipy.special

from trainer.data import label_sets
from trainer.data.audit.findings import Mention
from trainer.data.text_rows import TextRows
from trainer.groups.lexicon import Kind, words_of
from trainer.groups.rates import Grouping, LookedAt, labels_looked_at


def groupings(texts: TextRows, kinds: Mapping[str, Kind]) -> list[Grouping]:
    """Of each kind the groups that each text mentions."""
    members = {
        name: np.zeros((len(texts), len(kind.groups)), bool)
        for name, kind in kinds.items()
    }
    for row, text in enumerate(texts):
        words = words_of(text)
        for name, kind in kinds.items():
            if kind.first_words & words:
                mentioned = kind.members(text)
                members[name][row] = [group in mentioned for group in kind.groups]
    return [
        Grouping(name, "terms", tuple(kind.groups), members[name])
        for name, kind in kinds.items()
    ]


def of_column(name: str, values: Sequence[str]) -> Grouping:
    """The groups that the values of a column make. values: "": in none."""
    groups = sorted(set(values) - {""})
    numbers = {group: number for number, group in enumerate(groups)}
    members = np.zeros((len(values), len(groups)), bool)
    for row, value in enumerate(values):
        if value:
            members[row, numbers[value]] = True
    return Grouping(name, "column", tuple(groups), members)


def by_label(
    found: Sequence[Grouping], labels: np.ndarray, *, label_names: Sequence[str]
) -> tuple[Mention, ...]:
    """Of each group that is mentioned, how often with which label.

    Args:
      labels: see `label_sets.pairs`.
    """
    # Of two that exclude each other, the second says all.
    positive = 1 if len(label_names) == 2 and labels.ndim == 1 else None
    looked_at = LookedAt(
        label_names=label_names, positive=positive, min_slice=1, num_resamples=0, seed=0
    )
    classes, _ = labels_looked_at(labels, looked_at)
    return tuple(
        _mention(
            each.name,
            group,
            inside,
            label_sets.having(labels, index),
            label_names[index],
        )
        for each in found
        for group, inside in zip(each.groups, each.members.T)
        if inside.any()
        for index in classes
    )


def _mention(
    kind: str, group: str, inside: np.ndarray, has_label: np.ndarray, label: str
) -> Mention:
    num_texts, num_of_label = int(inside.sum()), int((inside & has_label).sum())
    num_rest = len(inside) - num_texts
    num_rest_of_label = int(has_label.sum()) - num_of_label
    ratio, interval = odds_ratio(
        num_of_label,
        num_texts - num_of_label,
        num_rest_of_label,
        num_rest - num_rest_of_label,
    )
    return Mention(
        kind=kind,
        group=group,
        label=label,
        num_texts=num_texts,
        num_of_label=num_of_label,
        num_rest=num_rest,
        num_rest_of_label=num_rest_of_label,
        odds_ratio=ratio,
        interval_95=interval,
    )


def odds_ratio(*counts: int) -> tuple[float, tuple[float, float]]:
    """(a / b) / (c / d) of four counts a, b, c, d, and its 95% interval.

    A half is added to each (Haldane 1956, "The estimation and significance of the
    logarithm of a ratio of frequencies"; Anscombe 1956, "On estimating binomial response
    relations"); the interval is that of Woolf 1955, "On estimating the relation between
    blood group and disease".
    """
    a, b, c, d = (count + 0.5 for count in counts)
    logarithm = math.log(a * d / (b * c))
    reach = float(scipy.special.ndtri(0.975)) * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return math.exp(logarithm), (
        math.exp(logarithm - reach),
        math.exp(logarithm + reach),
    )

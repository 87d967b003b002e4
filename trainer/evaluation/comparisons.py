"""Two models on the same texts: how far apart they are, and how sure that is.

    paired = compare(labels, model, baseline)
    paired.difference, paired.interval_95, paired.mcnemar_p, paired.verdict

Only the texts on which exactly one of the two is right tell them apart.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, Sequence

import numpy as np
import scipy.optimize
import scipy.special

from trainer.data import label_sets
from trainer.evaluation.schema import Interval

Verdict = Literal["better", "not_shown", "worse"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paired:
    """A model beside another one.

    Attributes:
      num_examples: texts that both answered.
      only_first: int64, positions of the texts that only the first answers right.
      only_second: the same of the second.
    """

    num_examples: int
    only_first: np.ndarray
    only_second: np.ndarray

    @property
    def difference(self) -> float:
        """Of accuracies, the first minus the second."""
        return (len(self.only_first) - len(self.only_second)) / self.num_examples

    @property
    def num_discordant(self) -> int:
        """Texts on which exactly one is right."""
        return len(self.only_first) + len(self.only_second)

    @property
    def interval_95(self) -> Interval:
        """Of the difference; see `paired_interval`."""
        return paired_interval(
            len(self.only_first), len(self.only_second), self.num_examples
        )

    @property
    def mcnemar_p(self) -> float:
        """See `mcnemar`."""
        return mcnemar(len(self.only_first), len(self.only_second))

    @property
    def verdict(self) -> Verdict:
        """What the interval says of the first."""
        low, high = self.interval_95
        if low > 0:
            return "better"
        return "worse" if high < 0 else "not_shown"


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Paired:
    """Two models' labels of the same texts.

    Args:
      labels: the right ones of n texts, n at least 1, see `label_sets.pairs`.
      first: what the first model gives; where a text may have several labels, it is right
        if all of them are.
      second: what the second gives.
    """
    is_first, is_second = (
        label_sets.is_right(labels, given) for given in (first, second)
    )
    return Paired(
        num_examples=len(labels),
        only_first=np.flatnonzero(is_first & ~is_second),
        only_second=np.flatnonzero(is_second & ~is_first),
    )


def mcnemar(num_only_first: int, num_only_second: int) -> float:
    """McNemar's exact test, two-sided: 1 where no text tells the two apart.

    Of the texts on which one is right, a half would be the first's if they were equals
    (McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages").
    """
    num_discordant = num_only_first + num_only_second
    if not num_discordant:
        return 1.0
    # Only now: it takes half a second, which the start would wait for.
    import scipy.stats

    return float(scipy.stats.binomtest(num_only_first, num_discordant).pvalue)


def paired_interval(
    num_only_first: int, num_only_second: int, count: int
) -> tuple[float, float]:
    """95% interval (low, high) of a difference of proportions, paired.

    The score interval of Tango 1998, "Equivalence test and confidence interval for the
    difference in proportions for the paired-sample design": all differences that its
    score test does not reject.

    How often it holds, in percent: the least over differences of 0 to 10 points and
    discordant shares of 0.5% to 30%, 20,000 samples each; beside it Wald's, Agresti and
    Min's (2005), and Bonett and Price's (2012), which is the widest for few texts.

        n      Tango  Wald  Agresti-Min  Bonett-Price
        20      95.0   9.7         87.7          96.6
        50      94.5  22.2         92.3          95.7
        100     93.9  39.1         87.0          94.0
        200     93.1  63.2         86.9          95.0
        500     94.7  87.0         91.6          94.6
        1,000   94.7  87.2         92.5          94.7
        2,000   94.4  92.5         92.5          94.6
    """
    quantile = float(scipy.special.ndtri(0.975))
    value = (num_only_first - num_only_second) / count

    def beyond(difference: float) -> float:
        score = _tango_score(num_only_first, num_only_second, count, difference)
        return abs(score) - quantile

    ends = []
    for end in (-1.0, 1.0):
        inner = math.nextafter(end, 0.0)
        if value == end or beyond(inner) <= 0:
            ends.append(end)
        else:
            ends.append(float(scipy.optimize.brentq(beyond, value, inner)))
    return ends[0], ends[1]


def _tango_score(
    num_only_first: int, num_only_second: int, count: int, difference: float
) -> float:
    """How many standard deviations what was seen is from a difference; Tango's (6)."""
    distance = num_only_first - num_only_second - count * difference
    if not distance:
        return 0.0
    # The share of texts that only the second answers right, the likeliest one for this
    # difference, is a root of a quadratic equation.
    linear = (
        -num_only_first
        - num_only_second
        + (2 * count - num_only_first + num_only_second) * difference
    )
    constant = -num_only_second * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * count * constant, 0.0))
    share = max((root - linear) / (4 * count), 0.0)
    variance = count * (2 * share + difference * (1 - difference))
    return distance / math.sqrt(variance) if variance > 0 else math.inf


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the order given.

    Holm 1979, "A simple sequentially rejective multiple test procedure": those below a
    level hold all together at that level.
    """
    order = sorted(range(len(p_values)), key=lambda each: p_values[each])
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, position in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def evenly(positions: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` of the positions, evenly over all of them."""
    if len(positions) <= limit:
        return positions
    chosen: np.ndarray = positions[
        np.linspace(0, len(positions) - 1, limit).round().astype(np.int64)
    ]
    return chosen

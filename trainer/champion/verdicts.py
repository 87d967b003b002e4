"""Which of two models is better on the same texts, and whether so many can tell.

    verdict(paired, margin=0.01, is_same=False)     # "better", "not_worse", "undecided" …
    texts_to_settle(paired, margin=0.01)            # 3,200, or None: it is settled

There are four answers and not two. With 500 texts "it is not significantly worse" lets
two of three losses of 2 points through, and "it is shown not to be worse" refuses two
of three equals: where the texts cannot tell, the verdict says so.
"""

from __future__ import annotations

import math

import scipy.special

from trainer.evaluation.comparisons import Paired
from trainer.evaluation.schema import Verdict

_POWER = 0.8
_CONFIDENCE = 0.975


def verdict(paired: Paired, *, margin: float, is_same: bool = False) -> Verdict:
    """What the 95% interval of the difference says of the first, the challenger.

    Args:
      paired: the challenger beside the champion.
      margin: a loss of accuracy that would be borne, as a fraction.
      is_same: whether both gave the same probabilities to all texts: one model twice,
        of which no number of texts could say more.

    Returns:
      "better": the interval lies above 0. "not_worse": above -margin (non-inferior).
      "worse": below 0. "undecided": none of these.
    """
    if is_same:
        return "not_worse"
    low, high = paired.interval_95
    if low > 0:
        return "better"
    if low > -margin:
        return "not_worse"
    return "worse" if high < 0 else "undecided"


def texts_to_settle(paired: Paired, *, margin: float) -> int | None:
    """How many texts in all would end "undecided", in four of five repetitions.

    If the difference d and the share q of texts that tell the two apart were as seen:
    (z_0.975 + z_0.8)² (q - d²) / distance² texts (Connor 1987, "Sample size for testing
    differences in proportions for the paired-sample design", with the variance of the
    alternative), where the distance is that of d from what is to be excluded: from
    -margin for "not worse", or from 0 for "worse", whichever takes fewer.

    Returns:
      None: the verdict is none of "undecided", or no number would do: the difference
      is just -margin, and the margin is 0.
    """
    if verdict(paired, margin=margin) != "undecided":
        return None
    count, difference = paired.num_examples, paired.difference
    # Of no discordant text at all one is not far.
    share = max(paired.num_discordant, 1) / count
    variance = share - difference**2
    distances = [difference + margin, -difference]
    needed = [
        math.ceil(settling_quantiles() ** 2 * variance / distance**2)
        for distance in distances
        if distance > 0
    ]
    # What was seen by chance may promise less than there is already.
    return max(min(needed), count + 1) if needed else None


def settling_quantiles() -> float:
    """z_0.975 + z_0.8: in four of five repetitions a 95% interval excludes a value that
    is so many standard errors away."""
    return float(scipy.special.ndtri(_CONFIDENCE) + scipy.special.ndtri(_POWER))

"""What a rising learning rate says: the losses smoothed, and a range to sweep.

    curve = suggest(learning_rates, losses)
    curve.low, curve.high       # 2.1e-05, 2.1e-04; None, None: nothing is suggested

Smith 2015 ("Cyclical learning rates for training neural networks") lets the rate rise
within one training and looks at where the loss begins to fall and where it stops. Here
`high` is a third of the rate at which the smoothed loss was lowest, for there the
training was about to come apart, and `low` a tenth of that: a decade to sweep.
"""

from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from trainer.studies.sweep_schema import RangeTest

# Of the mean of the losses so far, in each step.
_SMOOTHING = 0.9
_BELOW_LOWEST = 3.0
_RANGE = 10.0
# A loss that has not fallen by so many standard errors of its noise has not fallen: the
# lowest of many is low by luck, too.
_ERRORS = 4.0
_MIN_STEPS = 10
_DOUBT = (
    "It is a hint, not a result: the steps build on each other, so that a loss late in "
    "the curve also has the steps before it to thank; batches differ; and a training of "
    "its own warms up and decays. A sweep of that range tells."
)


def suggest(learning_rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """The curve and the range that it suggests.

    Args:
      learning_rates: ascending.
      losses: as many, finite, before the update of each.
    """
    values = np.array(losses)
    smoothed = np.array(smooth(losses))
    low = high = None
    if len(values) < _MIN_STEPS:
        found = "Nothing is suggested: the training came apart within its first steps."
    else:
        lowest = int(smoothed.argmin())
        fallen = float(values[:_MIN_STEPS].mean() - smoothed[lowest])
        if fallen <= _ERRORS * _noise(values):
            found = (
                "Nothing is suggested: the loss has not fallen by more than its noise at "
                "any rate tried."
            )
        else:
            high = _rounded(learning_rates[lowest] / _BELOW_LOWEST)
            low = _rounded(learning_rates[lowest] / _BELOW_LOWEST / _RANGE)
            found = (
                f"The smoothed loss was lowest at a learning rate of "
                f"{learning_rates[lowest]:.2g}. A third of that and a tenth of the third "
                f"make a range to sweep: --sweep=learning_rate=log:{low:g}:{high:g}."
            )
            if lowest == len(values) - 1:
                found += (
                    " The loss still fell at the end: a higher --learning_rate in the "
                    "base would let it rise further."
                )
    return RangeTest(
        learning_rates=tuple(map(float, learning_rates)),
        losses=tuple(map(float, losses)),
        smoothed=tuple(smoothed.tolist()),
        low=low,
        high=high,
        sentences=(found, *([_DOUBT] if high else [])),
    )


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential moving means, each of the losses so far alone."""
    result: list[float] = []
    total = weight = 0.0
    for loss in losses:
        total = _SMOOTHING * total + loss
        weight = _SMOOTHING * weight + 1
        result.append(total / weight)
    return result


def _noise(losses: np.ndarray) -> float:
    """The standard error of a fall from the first losses' mean to a smoothed loss.

    A loss's own error is that of neighbours' differences; of its smoothing by b the
    variance is (1 - b) / (1 + b) times as large.
    """
    first = np.diff(losses[: len(losses) // 2])
    of_one = float(np.sqrt((first**2).mean() / 2))
    smoothed = (1 - _SMOOTHING) / (1 + _SMOOTHING)
    return of_one * math.sqrt(1 / _MIN_STEPS + smoothed)


def _rounded(rate: float) -> float:
    return float(f"{rate:.1e}")

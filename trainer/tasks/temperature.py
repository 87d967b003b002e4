"""The temperature that held-out texts speak for, shrunk towards 1 where they are few.

    temperature = fit(lambda log_temperature: ...)      # a task's loss of it

What the loss is, and so what probabilities follow from logits, is the task's.
"""

from __future__ import annotations

import math
from typing import Callable

import scipy.optimize

# Where the fit looks. Its prior keeps it away from the ends.
_TEMPERATURES = (0.01, 100.0)
# Standard deviation of the temperature's logarithm before a text is seen.
_LOG_TEMPERATURE_DEVIATION = 0.5
# Of twice the gain in log-likelihood, what chance alone might give: 1 on average.
_CHANCE_GAIN = 6.0


def fit(loss: Callable[[float], float]) -> float:
    """The temperature (Guo et al. 2017) of the least loss, as far as it can be told.

    The likeliest one alone is unfit for few texts: where all are classified right, it
    is 0. So its logarithm has a normal prior about 0; and what is left of it is shrunk
    by the share of its gain that chance may have given, 0 if that is all of it
    (Breiman 1995, "Better subset regression using the nonnegative garrote"):

        log T = log T_prior * max(0, 1 - 6 / gain), gain = 2 (L(T_prior) - L(1))

    where L is the log-likelihood. Were T = 1 true, the gain of the likeliest one
    would be a chi-square of one degree of freedom: above 6 once in 70 times.

    Args:
      loss: of the temperature's logarithm: the texts' negative log-likelihood, in nats.
    """

    def penalized_loss(log_temperature: float) -> float:
        return loss(log_temperature) + 0.5 * (
            (log_temperature / _LOG_TEMPERATURE_DEVIATION) ** 2
        )

    found: float = scipy.optimize.minimize_scalar(
        penalized_loss,
        bounds=tuple(map(math.log, _TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-6},
    ).x
    gain = 2 * (loss(0.0) - loss(found))
    return math.exp(found * max(0.0, 1 - _CHANCE_GAIN / max(gain, _CHANCE_GAIN)))

"""Which settings each trial of a sweep has: drawn by Sobol's sequence.

    trials = draw(axes, num_trials=16, seed=0)
    trials[5]       # {"learning_rate": 4.472e-05, "num_train_epochs": 3}

Sobol's points (1967) fill a space more evenly than random ones, and every beginning of
the sequence does; Owen's scrambling (1998) makes them a function of the seed. Trial i
depends on the axes, the seed and i alone, so a longer study begins with the trials of a
shorter one. A point whose settings an earlier trial has already, as whole numbers and
lists may give, is passed over.
"""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

from trainer.messages import message
from trainer.sweep_space import Axis

# So many points for each trial: a rest of few settings takes a while to be met.
_POINTS_PER_TRIAL = 64
_POINTS_AT_ONCE = 64

Settings = Mapping[str, Any]


def draw(axes: Sequence[Axis], *, num_trials: int, seed: int) -> tuple[Settings, ...]:
    """The settings of the trials, all different, by axis name.

    Raises:
      ValueError: there are not as many different ones.
    """
    # Only now: it takes half a second, which the start would wait for.
    from scipy.stats import qmc

    refuse_too_many(axes, num_trials)
    sampler = qmc.Sobol(len(axes), scramble=True, seed=seed)
    trials: dict[tuple[Any, ...], Settings] = {}
    for _ in range(math.ceil(num_trials * _POINTS_PER_TRIAL / _POINTS_AT_ONCE)):
        for point in sampler.random(_POINTS_AT_ONCE).tolist():
            values = tuple(axis.at(place) for axis, place in zip(axes, point))
            trials.setdefault(
                values, {axis.name: value for axis, value in zip(axes, values)}
            )
        if len(trials) >= num_trials:
            break
    if len(trials) < num_trials:
        raise ValueError(_too_many(num_trials, len(trials)))
    return tuple(trials.values())[:num_trials]


def refuse_too_many(axes: Sequence[Axis], num_trials: int) -> None:
    """Raises ValueError where the axes have fewer settings than there are trials."""
    available = math.prod(axis.num_values for axis in axes)
    if available < num_trials:
        raise ValueError(_too_many(num_trials, int(available)))


def _too_many(num_trials: int, available: int) -> str:
    return message(
        "--num_trials must be at most the number of different settings in the sweep",
        received=f"{num_trials} trials of {available}",
        mend=f"give --num_trials={available}, or widen --sweep",
    )

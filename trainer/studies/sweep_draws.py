"""Which settings each trial of a sweep has: drawn by Sobol's sequence or by Optuna.

    trials = draw(axes, num_trials=16, seed=0)
    trials[5]       # {"learning_rate": 4.472e-05, "num_train_epochs": 3}
    draw_by_optuna(axes, num_trials=16, seed=0, scores={0: 0.91, 1: None, ...})

Sobol's points (1967) fill a space more evenly than random ones, and every beginning of
the sequence does; Owen's scrambling (1998) makes them a function of the seed. Trial i
depends on the axes, the seed and i alone, so a longer study begins with the trials of a
shorter one. A point whose settings an earlier trial has already, as whole numbers and
lists may give, is passed over.

Optuna's TPE (Bergstra et al. 2011) draws near to the trials that were good so far. The
first trials are Sobol's, then come batches of a fixed size. Each is drawn from all
trials of the batches before and from nothing else, so it is the same whoever asks for
it, and however many runs are made at a time.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np

from trainer.data import extras
from trainer.messages import message
from trainer.study_config import NUM_SOBOL_TRIALS
from trainer.sweep_space import Axis

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

# So many points for each trial: a rest of few settings takes a while to be met.
_POINTS_PER_TRIAL = 64
_POINTS_AT_ONCE = 64
# Larger ones let more runs be made at a time, smaller ones learn sooner. Another number
# makes other trials: studies that were begun could not go on.
_BATCH_SIZE = 4
# How often Optuna is asked for settings that no trial has.
_NUM_ASKS = 8

Settings = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A trial: its place on each axis, in [0, 1], and the values that are there."""

    point: tuple[float, ...]
    values: tuple[Any, ...]


def draw(axes: Sequence[Axis], *, num_trials: int, seed: int) -> tuple[Settings, ...]:
    """The settings of the trials, all different, by axis name.

    Raises:
      ValueError: there are not as many different ones.
    """
    return _settings(axes, _by_sobol(axes, num_trials, seed))


def draw_by_optuna(
    axes: Sequence[Axis],
    *,
    num_trials: int,
    seed: int,
    scores: Mapping[int, float | None],
) -> tuple[Settings, ...]:
    """The settings of the trials that are known so far, all different, by axis name.

    Args:
      num_trials: how many there will be in the end.
      scores: of the trials that are over, by number; higher is better. None: diverged.

    Returns:
      The first batches: all trials, or up to the first batch in which one is not over.

    Raises:
      ValueError: there are not as many different ones, or Optuna is missing.
    """
    extras.require("optuna", asked_for="--sampler=optuna", extra="optuna")
    sobol = _by_sobol(axes, num_trials, seed)
    drawn = sobol[:NUM_SOBOL_TRIALS]
    while len(drawn) < num_trials and all(
        number in scores for number in range(len(drawn))
    ):
        drawn += _batch(
            tuple(axes),
            seed,
            tuple((each, scores[number]) for number, each in enumerate(drawn)),
            min(_BATCH_SIZE, num_trials - len(drawn)),
            sobol,
        )
    return _settings(axes, drawn)


def refuse_too_many(axes: Sequence[Axis], num_trials: int) -> None:
    """Raises ValueError where the axes have fewer settings than there are trials."""
    available = math.prod(axis.num_values for axis in axes)
    if available < num_trials:
        raise ValueError(_too_many(num_trials, int(available)))


def _settings(axes: Sequence[Axis], drawn: Sequence[_Drawn]) -> tuple[Settings, ...]:
    names = [axis.name for axis in axes]
    return tuple(dict(zip(names, each.values)) for each in drawn)


def _at(axes: Sequence[Axis], point: Sequence[float]) -> _Drawn:
    values = tuple(axis.at(place) for axis, place in zip(axes, point))
    return _Drawn(tuple(point), values)


def _by_sobol(axes: Sequence[Axis], num_trials: int, seed: int) -> tuple[_Drawn, ...]:
    """Raises ValueError where there are not as many different ones."""
    # Only now: it takes half a second, which the start would wait for.
    from scipy.stats import qmc

    refuse_too_many(axes, num_trials)
    sampler = qmc.Sobol(len(axes), scramble=True, seed=seed)
    trials: dict[tuple[Any, ...], _Drawn] = {}
    for _ in range(math.ceil(num_trials * _POINTS_PER_TRIAL / _POINTS_AT_ONCE)):
        for point in sampler.random(_POINTS_AT_ONCE).tolist():
            drawn = _at(axes, point)
            trials.setdefault(drawn.values, drawn)
        if len(trials) >= num_trials:
            break
    if len(trials) < num_trials:
        raise ValueError(_too_many(num_trials, len(trials)))
    return tuple(trials.values())[:num_trials]


# A process that waits for others plans every second.
@functools.lru_cache(maxsize=256)
def _batch(
    axes: tuple[Axis, ...],
    seed: int,
    earlier: tuple[tuple[_Drawn, float | None], ...],
    size: int,
    sobol: tuple[_Drawn, ...],
) -> tuple[_Drawn, ...]:
    """The trials that follow.

    Args:
      earlier: all trials before with their scores.
      sobol: as many trials as there will be, of which some are taken where Optuna
        finds nothing new.
    """
    study = _study(axes, seed, earlier)
    known = {drawn.values for drawn, _ in earlier}
    batch: list[_Drawn] = []
    for _ in range(size):
        # Those that are asked and not told count as bad ones, so that the next lies
        # elsewhere: of settings that are known, too.
        asked = (_ask(study, axes) for _ in range(_NUM_ASKS))
        drawn = next(
            each for each in itertools.chain(asked, sobol) if each.values not in known
        )
        known.add(drawn.values)
        batch.append(drawn)
    return tuple(batch)


def _study(
    axes: Sequence[Axis], seed: int, earlier: Sequence[tuple[_Drawn, float | None]]
) -> Study:
    """Optuna's, in memory, with the earlier trials in their order."""
    # Only now: most sweeps do without, and it takes a second.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Of its own for each batch, and for neighbouring seeds.
    entropy = np.random.SeedSequence((seed, len(earlier))).generate_state(1)
    sampler = optuna.samplers.TPESampler(
        seed=int(entropy[0]), n_startup_trials=NUM_SOBOL_TRIALS, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(axes)
    for drawn, score in earlier:
        is_known = score is not None and not math.isnan(score)
        state = optuna.trial.TrialState
        study.add_trial(
            optuna.trial.create_trial(
                state=state.COMPLETE if is_known else state.PRUNED,
                value=score if is_known else None,
                params={
                    axis.name: _parameter(axis, place)
                    for axis, place in zip(axes, drawn.point)
                },
                distributions=distributions,
            )
        )
    return study


def _ask(study: Study, axes: Sequence[Axis]) -> _Drawn:
    params = study.ask(_distributions(axes)).params
    # Of a list the middle of a choice's room.
    return _at(
        axes,
        [
            (
                (params[axis.name] + 0.5) / len(axis.values)
                if axis.scale == "choices"
                else params[axis.name]
            )
            for axis in axes
        ],
    )


def _distributions(axes: Sequence[Axis]) -> dict[str, BaseDistribution]:
    """Of a range the place on the axis, which has its scale; of a list which one."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        axis.name: (
            CategoricalDistribution(tuple(range(len(axis.values))))
            if axis.scale == "choices"
            else FloatDistribution(0, 1)
        )
        for axis in axes
    }


def _parameter(axis: Axis, place: float) -> float:
    """What stands for a place in `_distributions`."""
    return int(place * len(axis.values)) if axis.scale == "choices" else place


def _too_many(num_trials: int, available: int) -> str:
    return message(
        "--num_trials must be at most the number of different settings in the sweep",
        received=f"{num_trials} trials of {available}",
        mend=f"give --num_trials={available}, or widen --sweep",
    )

"""Successive halving: which trials are trained on how many texts, and who goes on.

    rungs = first_rungs(num_trials=16, sizes=(250, 500, 1000), seeds=(0, 1), ...)
    rungs[0].trials, rungs[0].seeds     # (0, 1, ..., 15), (0,)
    survivors(scores, keep=8)           # {trial: score} → (3, 7, ...)

Jamieson and Talwalkar 2016 ("Non-stochastic best arm identification and hyperparameter
optimization") cut schedules short. A learning rate that warms up and decays says little
when it is stopped at a quarter of its way, so here it is the texts that are fewer (each
share holds the smaller ones), and each trial has its whole schedule.

All rungs but the last have the first seed alone: they only have to tell good trials
from bad ones, all on the same texts, and seeds cost most where there are most trials.
The last one has all seeds, for there the choice is made.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Rung:
    """Some trials on some texts.

    Attributes:
      share: of the training texts.
      size: the same as a number.
      num_trials: how many of the best trials of the rung before.
      seeds: each trial is trained with all of them.
      first_run: the number of its first run within the study.
    """

    share: float
    size: int
    num_trials: int
    seeds: tuple[int, ...]
    first_run: int

    @property
    def num_runs(self) -> int:
        """Trials times seeds."""
        return self.num_trials * len(self.seeds)

    def run_number(self, place: int, seed: int) -> int:
        """The run of a trial.

        Args:
          place: of the trial among those of the rung, by number, from 0.
          seed: one of the rung's.
        """
        return self.first_run + place * len(self.seeds) + self.seeds.index(seed)


def rungs_of(
    *,
    num_trials: int,
    shares: Sequence[float],
    sizes: Sequence[int],
    seeds: Sequence[int],
    keep_fraction: float,
) -> tuple[Rung, ...]:
    """The rungs of a sweep, whose runs are numbered one rung after the other."""
    made: list[Rung] = []
    for index, (share, size) in enumerate(zip(shares, sizes, strict=True)):
        is_last = index == len(shares) - 1
        before = made[-1] if made else None
        made.append(
            Rung(
                share=share,
                size=size,
                num_trials=(
                    math.ceil(before.num_trials * keep_fraction)
                    if before
                    else num_trials
                ),
                seeds=tuple(seeds) if is_last else tuple(seeds[:1]),
                first_run=before.first_run + before.num_runs if before else 0,
            )
        )
    return tuple(made)


def survivors(scores: Mapping[int, float], *, keep: int) -> tuple[int, ...]:
    """The best trials, by number.

    Args:
      scores: by trial, higher is better; of equal ones the first trials go on. Trials
        that diverged are not among them.
      keep: how many; all of `scores` if these are fewer.
    """
    ranked = sorted(scores, key=lambda trial: (-scores[trial], trial))
    return tuple(sorted(ranked[:keep]))

"""How much each setting of a sweep moves the metric: a forest, and permutations.

    effects, why_not = effects_of(axes, settings, scores)

A random forest (Breiman 2001) learns the score from the settings of the trials on the
first rung, on which all of them are, on equally many texts. A setting matters as much
as the forest errs more when that setting alone is dealt out anew among the trials
(permutation importance, likewise). A forest that predicts the scores of trials it has
not seen (out of the bag) no better than their mean does has learned nothing, and
nothing is told.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from trainer.studies.sweep_schema import Effect
from trainer.sweep_space import Axis

# Below this a forest learns the trials by heart.
MIN_TRIALS = 8
_NUM_TREES = 300
_NUM_PERMUTATIONS = 30


def effects_of(
    axes: Sequence[Axis], settings: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> tuple[tuple[Effect, ...], str | None]:
    """The effects, the largest first; or none, and why there are none.

    Args:
      settings: of each trial.
      scores: of the same.
    """
    if len(scores) < MIN_TRIALS:
        return (), (
            f"{len(scores)} trials are too few to tell the settings' effects: it takes "
            f"{MIN_TRIALS}"
        )
    if max(scores) == min(scores):
        return (), "all trials came to the same value, so no setting has an effect"
    # Only now: it takes a second, which the start would wait for.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    places = np.array(
        [[axis.place_of(each[axis.name]) for axis in axes] for each in settings]
    )
    forest = RandomForestRegressor(
        n_estimators=_NUM_TREES,
        min_samples_leaf=2,
        oob_score=True,
        n_jobs=1,
        random_state=0,
    ).fit(places, scores)
    if forest.oob_score_ <= 0:
        return (), (
            "a forest of the trials' settings predicts the others' values no better than "
            "their mean does: the settings' effects cannot be told from chance"
        )
    found = permutation_importance(
        forest, places, scores, n_repeats=_NUM_PERMUTATIONS, n_jobs=1, random_state=0
    )
    effects = [
        Effect(name=axis.name, importance=float(mean), std=float(std))
        for axis, mean, std in zip(
            axes, found["importances_mean"], found["importances_std"]
        )
    ]
    return tuple(sorted(effects, key=lambda effect: -effect.importance)), None

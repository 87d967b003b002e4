"""Tests of trainer/studies/sweep_draws.py and sweep_rungs.py: no run is made."""

from __future__ import annotations

import re

import numpy as np
import pytest

from trainer.studies import sweep_draws, sweep_rungs
from trainer.sweep_space import parse

AXES = parse(("learning_rate=log:1e-5:1e-3", "num_train_epochs=2,3,4,5"))


def test_a_longer_sweep_begins_with_the_shorter_one() -> None:
    trials = sweep_draws.draw(AXES, num_trials=100, seed=3)
    assert sweep_draws.draw(AXES, num_trials=5, seed=3) == trials[:5]
    assert sweep_draws.draw(AXES, num_trials=5, seed=4) != trials[:5]
    assert len({tuple(trial.values()) for trial in trials}) == 100


def test_they_fill_the_space_evenly() -> None:
    """Of 16 trials one is in each sixteenth of the rates, four have each choice."""
    trials = sweep_draws.draw(AXES, num_trials=16, seed=0)
    places = [AXES[0].place_of(trial["learning_rate"]) for trial in trials]
    assert sorted(np.floor(np.array(places) * 16).tolist()) == list(range(16))
    epochs = np.bincount([trial["num_train_epochs"] for trial in trials])
    assert epochs[2:].tolist() == [4, 4, 4, 4]


def test_a_small_space_is_tried_whole() -> None:
    axes = parse(("num_train_epochs=linear:1:3", "schedule=linear,cosine"))
    trials = sweep_draws.draw(axes, num_trials=6, seed=0)
    assert len({tuple(trial.values()) for trial in trials}) == 6
    with pytest.raises(ValueError, match=re.escape("7 trials of 6")) as caught:
        sweep_draws.draw(axes, num_trials=7, seed=0)
    assert "give --num_trials=6" in str(caught.value)


def test_half_of_each_rung_goes_on() -> None:
    rungs = sweep_rungs.rungs_of(
        num_trials=5,
        shares=(0.25, 0.5, 1.0),
        sizes=(25, 50, 100),
        seeds=(7, 8, 9),
        keep_fraction=0.5,
    )
    assert [rung.num_trials for rung in rungs] == [5, 3, 2]
    # Seeds only where the choice is made.
    assert [rung.seeds for rung in rungs] == [(7,), (7,), (7, 8, 9)]
    numbers = [
        rung.run_number(place, seed)
        for rung in rungs
        for place in range(rung.num_trials)
        for seed in rung.seeds
    ]
    assert numbers == list(range(5 + 3 + 6))


@pytest.mark.parametrize(
    ("scores", "keep", "left"),
    [
        ({0: 0.5, 1: 0.9, 2: 0.7, 3: 0.8}, 2, (1, 3)),
        # Of equals the first.
        ({0: 0.5, 1: 0.5, 2: 0.5}, 2, (0, 1)),
        # Of five, three diverged.
        ({2: -0.3, 4: -0.1}, 3, (2, 4)),
        ({}, 3, ()),
    ],
    ids=str,
)
def test_survivors(scores: dict[int, float], keep: int, left: tuple[int, ...]) -> None:
    assert sweep_rungs.survivors(scores, keep=keep) == left

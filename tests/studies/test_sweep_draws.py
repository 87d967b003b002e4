"""Tests of trainer/studies/sweep_draws.py and sweep_rungs.py: no run is made."""

from __future__ import annotations

import importlib.util
import math
import re
from typing import Callable, Sequence

import numpy as np
import pytest

from trainer.studies import sweep_draws, sweep_rungs
from trainer.studies.sweep_draws import Settings
from trainer.study_config import NUM_SOBOL_TRIALS
from trainer.sweep_space import Axis, parse

AXES = parse(("learning_rate=log:1e-5:1e-3", "num_train_epochs=2,3,4,5"))
# A rate is as good as it is near to this one; all else hardly matters.
BEST_RATE = 3e-4
MIXED_AXES = parse(
    (
        "learning_rate=log:1e-6:1e-2",
        "num_train_epochs=linear:1:5",
        "schedule=linear,cosine",
        "dropout=linear:0:0.3",
    )
)


def decades_off(settings: Settings) -> float:
    return abs(math.log10(settings["learning_rate"] / BEST_RATE))


def planted(settings: Settings) -> float | None:
    return -decades_off(settings)


def by_optuna(
    score: Callable[[Settings], float | None] = planted,
    *,
    axes: Sequence[Axis] = MIXED_AXES,
    num_trials: int = 24,
    seed: int = 0,
) -> tuple[Settings, ...]:
    """All trials, each scored when it is known."""
    scores: dict[int, float | None] = {}
    while True:
        trials = sweep_draws.draw_by_optuna(
            axes, num_trials=num_trials, seed=seed, scores=scores
        )
        if len(trials) == len(scores):
            return trials
        scores = {number: score(trial) for number, trial in enumerate(trials)}


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


def test_optuna_comes_nearer_to_the_best_than_sobol() -> None:
    """Sobol's are a decade off on average; Optuna's were 0.5 to 0.7 of it, by seeds."""
    seeds = range(5)
    tpe = [by_optuna(seed=seed)[12:] for seed in seeds]
    sobol = [
        sweep_draws.draw(MIXED_AXES, num_trials=24, seed=seed)[12:] for seed in seeds
    ]
    near, far = (
        np.mean([decades_off(trial) for trials in each for trial in trials])
        for each in (tpe, sobol)
    )
    assert far > 0.9 and near < 0.75 * far


def test_optuna_begins_with_sobol_and_fewer_results_give_a_prefix() -> None:
    trials = by_optuna()
    assert trials[:8] == sweep_draws.draw(MIXED_AXES, num_trials=8, seed=0)
    assert by_optuna(seed=1) != trials
    # One whose scores are others is another sweep, from the ninth trial on.
    other = by_optuna(lambda settings: -settings["dropout"])
    assert other[:8] == trials[:8] and other[8:12] != trials[8:12]
    assert by_optuna(num_trials=18) == trials[:18]
    for num_over in range(25):
        known = sweep_draws.draw_by_optuna(
            MIXED_AXES,
            num_trials=24,
            seed=0,
            scores={number: planted(trials[number]) for number in range(num_over)},
        )
        assert known == trials[: max(8, num_over // 4 * 4 + 4)]


def test_a_batch_is_drawn_from_the_batches_before_alone() -> None:
    trials = by_optuna(num_trials=16)
    scores = {number: planted(trial) for number, trial in enumerate(trials)}

    def known(left_out: int) -> tuple[Settings, ...]:
        there = {number: scores[number] for number in scores if number != left_out}
        return sweep_draws.draw_by_optuna(
            MIXED_AXES, num_trials=16, seed=0, scores=dict(reversed(there.items()))
        )

    assert known(left_out=3) == trials[:8]
    assert known(left_out=8) == known(left_out=11) == trials[:12]
    assert known(left_out=12) == trials


def test_optuna_survives_trials_that_diverged() -> None:
    """It keeps away from them: here rates above 1e-4 diverge."""
    trials = by_optuna(
        lambda settings: (
            None if settings["learning_rate"] > 1e-4 else planted(settings)
        )
    )
    assert len(trials) == 24
    diverged = [trial["learning_rate"] > 1e-4 for trial in trials]
    assert 0 < sum(diverged[8:]) < 8
    # All of them, and scores that are no numbers.
    assert len(by_optuna(lambda settings: None)) == 24
    assert len(by_optuna(lambda settings: math.nan)) == 24


def test_optuna_tries_a_small_space_whole() -> None:
    """No settings twice, whatever TPE would rather try again."""
    axes = parse(("num_train_epochs=linear:1:6", "class_weights=none,balanced"))
    trials = by_optuna(
        lambda settings: -settings["num_train_epochs"], axes=axes, num_trials=12
    )
    assert len({tuple(trial.values()) for trial in trials}) == 12
    with pytest.raises(ValueError, match=re.escape("13 trials of 12")):
        by_optuna(axes=axes, num_trials=13)


def test_optuna_keeps_to_the_axes(capfd: pytest.CaptureFixture[str]) -> None:
    for settings in by_optuna(num_trials=NUM_SOBOL_TRIALS + 12, seed=4):
        assert 1e-6 <= settings["learning_rate"] <= 1e-2
        assert settings["num_train_epochs"] in range(1, 6)
        assert isinstance(settings["num_train_epochs"], int)
        assert settings["schedule"] in ("linear", "cosine")
        assert 0 <= settings["dropout"] <= 0.3
    # Its own log lines are of no use here.
    assert capfd.readouterr() == ("", "")


def test_without_optuna_the_mend_is_named_before_the_first_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "optuna" else find(name),
    )
    with pytest.raises(ValueError, match=r"needs the extra 'optuna'.*") as caught:
        sweep_draws.draw_by_optuna(AXES, num_trials=16, seed=0, scores={})
    assert "pip install -c constraints.txt -e '.[optuna]'" in str(caught.value)
    assert "\n" not in str(caught.value)


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

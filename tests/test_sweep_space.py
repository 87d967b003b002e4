"""Tests of trainer/sweep_space.py: what --sweep may say, and what is said of the rest."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tests.test_study_config import REQUIRED, parse
from trainer import sweep_space
from trainer.sweep_space import Axis

SWEEP = (*REQUIRED, "--study=sweep")


@pytest.mark.parametrize(
    ("entry", "axis"),
    [
        ("learning_rate=log:1e-5:2e-4", Axis("learning_rate", "log", (1e-5, 2e-4))),
        ("weight_decay=linear:0:0.1", Axis("weight_decay", "linear", (0.0, 0.1))),
        ("global_batch_size=log:8:64", Axis("global_batch_size", "log", (8, 64))),
        ("num_train_epochs=2,3,4", Axis("num_train_epochs", "choices", (2, 3, 4))),
        ("learning_rate=1e-5, 3e-5", Axis("learning_rate", "choices", (1e-5, 3e-5))),
        ("--schedule=linear,cosine", Axis("schedule", "choices", ("linear", "cosine"))),
        ("preset=a/b,tiny", Axis("preset", "choices", ("a/b", "tiny"))),
        (
            'class_weights=none,"spam:5,ham:1"',
            Axis("class_weights", "choices", (("none",), ("spam:5", "ham:1"))),
        ),
        (
            "num_warmup_steps=linear:-1:10",
            Axis("num_warmup_steps", "linear", (-1, 10)),
        ),
    ],
    ids=str,
)
def test_axes(entry: str, axis: Axis) -> None:
    assert sweep_space.parse([entry]) == (axis,)


@pytest.mark.parametrize(
    ("axis", "first", "middle", "last"),
    [
        (Axis("a", "log", (1e-5, 1e-3)), 1e-5, 1e-4, 9.995e-4),
        (Axis("a", "linear", (0.0, 0.2)), 0.0, 0.1, 0.1999),
        (Axis("a", "linear", (2, 4)), 2, 3, 4),
        (Axis("a", "log", (8, 63)), 8, 22, 63),
        (Axis("a", "choices", ("x", "y", "z")), "x", "y", "z"),
    ],
    ids=str,
)
def test_values_along_an_axis(axis: Axis, first: Any, middle: Any, last: Any) -> None:
    found = [axis.at(place) for place in (0.0, 0.5, 0.9999)]
    assert found[0] == first and found[1] == middle
    if isinstance(last, float):
        assert found[2] == pytest.approx(last, rel=1e-3)
        assert 0 <= axis.place_of(found[2]) <= 1
    else:
        assert found[2] == last and type(found[2]) is type(last)
        assert axis.place_of(found[0]) == 0 and axis.place_of(found[2]) == 1


def test_whole_numbers_have_equal_shares() -> None:
    axis = Axis("a", "linear", (2, 4))
    places = (np.arange(300) + 0.5) / 300
    counts = np.bincount([axis.at(place) for place in places])
    assert counts.tolist() == [0, 0, 100, 100, 100]
    assert axis.num_values == 3


REFUSED = [
    # What is swept, what is said of it, and what it becomes when its word is taken.
    ("learning_rat=1e-5,1e-4", "did you mean 'learning_rate'?", "learning_rate=1,2"),
    ("rate", "--sweep must say which setting takes which values", ""),
    ("learning_rate=", "--sweep must say which setting takes which values", ""),
    ("model_dir=a,b", "--model_dir cannot be swept: it changes no weights", ""),
    ("study_dir=a,b", "--sweep must name a setting of a run", ""),
    ("seeds=1,2", "--sweep must name a setting of a run", ""),
    ("precision=float32,auto", "--precision cannot be swept: it changes no w", ""),
    ("dataset=files:a,files:b", "cannot be swept: trials must be compared on the", ""),
    ("seed=1,2", "give --seeds=0,1,2, with which the best trials", ""),
    ("num_train_examples=10,20", "use --rungs for growing shares", ""),
    ("best_metric=loss,mcc", "trials are ranked by it", ""),
    ("schedule=linear,cosin", "must be one of linear, cosine, constant", ""),
    ("schedule=log:1:2", "the setting is no number", "schedule=linear,cosine"),
    ("num_train_epochs=2,3.5", "must be a whole number", "num_train_epochs=2,3"),
    ("learning_rate=log:0:1", "must have LOW above 0 and LOW below HIGH", ""),
    ("learning_rate=log:2e-4:1e-5", "give --sweep=learning_rate=log:1e-5:2e-4", ""),
    ("weight_decay=linear:1:1", "must have LOW below HIGH", ""),
    ("weight_decay=linear:0:inf", "must have LOW below HIGH", ""),
    ("learning_rate=log:1e-5", "must have two ends", "learning_rate=log:1e-5:1e-4"),
    ("num_train_epochs=3,3", "two different values or more", "num_train_epochs=3,4"),
    ("dropout=0.1,0.1,0.2", "give --sweep=dropout=0.1,0.2", ""),
    ("dropout=0.1,1.5", "received: 1.5, of which it says: --dropout must be in", ""),
    ("max_length=linear:2:64", "of which it says: --max_length must be at le", ""),
    ("export=true,false", "it changes no weights", ""),
]


@pytest.mark.parametrize(("entry", "said", "mended"), REFUSED, ids=lambda each: each)
def test_what_cannot_be_swept_is_named(entry: str, said: str, mended: str) -> None:
    with pytest.raises(ValueError, match="(?i)" + re.escape(said)) as caught:
        parse(*SWEEP, f"--sweep={entry}")
    given = re.search(r"give (--sweep=\S+)", str(caught.value))
    if given:
        parse(*SWEEP, given[1])
    if mended:
        parse(*SWEEP, f"--sweep={mended}")


def test_one_setting_twice_is_named() -> None:
    twice = ("--sweep=dropout=0,0.1", "--sweep=dropout=0.2,0.3")
    with pytest.raises(ValueError, match="name each setting once") as caught:
        parse(*SWEEP, *twice)
    assert "give --sweep=dropout=0,0.1,0.2,0.3" in str(caught.value)
    parse(*SWEEP, "--sweep=dropout=0,0.1,0.2,0.3")


LEARNING_RATE = "--sweep=learning_rate=log:1e-5:2e-4"


@pytest.mark.parametrize(
    ("arguments", "said", "mended"),
    [
        (["--study=sweep"], "must be told what to try", [LEARNING_RATE]),
        (["--study=sweep"], "must be told what to try", ["--range_test"]),
        ([LEARNING_RATE], "must be given what it uses", ["--study=sweep"]),
        (["--range_test"], "must be given what it uses", ["--study=sweep"]),
        (["--presets=a,b"], "must be given what it uses", ["--study=ladder"]),
        (
            ["--study=sweep", LEARNING_RATE, "--presets=a,b"],
            "must be given what it uses. Received: --presets=a,b",
            ["--presets="],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--rungs=0.5,0.25,1"],
            "--rungs must be ascending shares",
            ["--rungs=0.25,0.5,1"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--rungs=0.5"],
            "the last one 1",
            ["--rungs=0.5,1"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--rungs=a"],
            "the last one 1",
            ["--rungs=0.25,0.5,1"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--num_trials=1"],
            "must be at least 2",
            ["--num_trials=2"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--sampler=optuna", "--rungs=0.5,1"],
            "--sampler=optuna must learn from trials on all texts",
            ["--rungs=1"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--sampler=optuna", "--num_trials=8"],
            "--sampler=optuna must have more than 8 trials",
            ["--num_trials=16"],
        ),
        (
            ["--sampler=optuna"],
            "must be given what it uses",
            ["--study=sweep", LEARNING_RATE],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--keep_fraction=1"],
            "above 0 and below 1",
            ["--keep_fraction=0.5"],
        ),
        (
            ["--study=sweep", LEARNING_RATE, "--validation_one_in=0"],
            "a sweep chooses on validation texts",
            ["--validation_one_in=10"],
        ),
        (["--study=ladder"], "two different models or more", ["--presets=a,b"]),
        (
            ["--study=ladder", "--presets=a,b,a"],
            "give --presets=a,b",
            ["--presets=a,b"],
        ),
        (
            ["--study=ladder", "--presets=a,b", "--validation_one_in=0"],
            "a ladder chooses on validation",
            ["--validation_one_in=10"],
        ),
    ],
    ids=str,
)
def test_mistakes_of_a_study_that_chooses(
    arguments: list[str], said: str, mended: list[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        parse(*REQUIRED, *arguments)
    assert str(caught.value).count("Received: ") >= 1
    parse(*REQUIRED, *arguments, *mended)

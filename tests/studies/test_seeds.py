"""Tests of trainer/studies/seeds.py: real tiny runs, one a seed."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.studies.tiny_runs import make_study
from trainer.config import DataConfig, ExperimentConfig, ModelConfig, settings
from trainer.studies import driver, seeds
from trainer.study_config import StudyConfig


@pytest.mark.slow
def test_it_says_how_much_is_luck(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    tiny.write_reviews(tmp_path / "reviews.csv", count=60)
    config = make_study(
        tmp_path,
        tiny_preset,
        study="seeds",
        seeds=("3", "5"),
        training={"num_train_epochs": 2},
        data={"num_eval_examples": 0},
    )
    table = driver.run(config)
    folder = pathlib.Path(config.study_dir)
    study = json.loads((folder / "study.json").read_text())
    runs = [
        json.loads((folder / "runs" / f"{number:03}" / "report.json").read_text())
        for number in range(2)
    ]
    accuracies = [run["after"]["test"]["accuracy"] for run in runs]
    assert [run["config"]["training"]["seed"] for run in runs] == [3, 5]
    assert [run["seed"] for run in study["runs"]] == [3, 5]
    assert study["mean"] == pytest.approx(np.mean(accuracies))
    assert study["std"] == pytest.approx(np.std(accuracies, ddof=1))
    # The same held-out texts, other weights.
    tested = [run["data"]["fingerprint"]["test"] for run in runs]
    assert tested[0] == tested[1]
    assert runs[0]["after"]["test"]["loss"] != runs[1]["after"]["test"]["loss"]
    assert study["answers"][0].startswith("Over 2 seeds fine-tuning answers")
    assert study["answers"][-1] in (folder / "study.html").read_text(encoding="utf-8")
    assert table == (folder / "study.txt").read_text()


@pytest.mark.parametrize(
    ("data", "model", "said"),
    [
        ({}, {}, "for another order of the batches, other first weights of the "
         "head, and other dropout."),
        ({"num_train_examples": 9}, {"head_start": "frozen"}, "for another draw of the "
         "training texts, another order of the batches, and other dropout."),
        ({}, {"lora_init_from": "a", "lora_rank": 2},
         "for another order of the batches, and other dropout."),
        ({"num_train_examples": 9, "num_eval_examples": 9}, {},
         "another draw of the training and held-out texts, another order"),
    ],
)  # fmt: skip
def test_what_a_seed_stands_for(
    data: dict[str, Any], model: dict[str, Any], said: str
) -> None:
    config = StudyConfig(
        study="seeds",
        study_dir="a",
        seeds=("0", "1"),
        data=DataConfig(dataset="files:a.csv", **data),
        model=ModelConfig(preset="tiny", **model),
    )
    assert said in seeds.what_a_seed_is(config)


def test_runs_differ_by_the_seed_alone() -> None:
    config = StudyConfig(
        study="seeds",
        study_dir="a",
        seeds=("0", "1"),
        data=DataConfig(dataset="files:a.csv"),
        model=ModelConfig(preset="tiny"),
    )
    one, other = (config.run(number, seed=number) for number in (0, 1))
    assert type(one) is ExperimentConfig
    differing = {k for k, v in settings(one).items() if settings(other)[k] != v}
    assert differing == {"seed", "model_dir"}

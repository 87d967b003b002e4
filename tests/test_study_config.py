"""Tests of trainer/study_config.py: a run's flagfile, and what is wrong with a study."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import pytest
from absl import flags as absl_flags

from tests.test_flags import defined
from trainer import flags
from trainer.config import ExperimentConfig, differences
from trainer.study_config import StudyConfig

REQUIRED = ["--dataset=files:a.csv", "--preset=tiny", "--study_dir=studies/a"]


def parse(*arguments: str) -> StudyConfig:
    """The config of a command line."""
    flag_values: Any = defined(StudyConfig)
    absl_flags.DEFINE_multi_string("flagfile", None, "", flag_values=flag_values)
    rest = flag_values(["study", *arguments])
    assert rest == ["study"]
    return flags.read(StudyConfig, flag_values)


def test_a_runs_flagfile_is_taken(tmp_path: pathlib.Path) -> None:
    """Its folders are not: nothing may be written where a run or a server looks."""
    path = tmp_path / "run.flags"
    path.write_text(
        "--model_dir=runs/a\n--export_dir=/models/a\n--dataset=files:a.csv\n"
        "--preset=tiny\n--num_train_examples=1000\n--seed=3\n--learning_rate=1e-3\n"
    )
    config = parse(f"--flagfile={path}", "--study_dir=studies/a/", "--seeds=4,5")
    run = config.run(12, num_train_examples=300, seed=5)
    assert type(run) is ExperimentConfig
    assert run.model_dir == "studies/a/runs/012"
    assert run.serving.export_dir == ""
    assert (run.data.num_train_examples, run.training.seed) == (300, 5)
    assert run.optimizer.learning_rate == 1e-3
    assert (config.run_seeds, config.data.num_train_examples) == ((4, 5), 1000)


def test_what_is_not_given_is_automatic() -> None:
    config = parse(*REQUIRED, "--seed=7")
    assert (config.study, config.sizes, config.run_seeds) == (
        "learning_curve",
        (),
        (7,),
    )


def test_it_is_read_back() -> None:
    config = parse(*REQUIRED, "--train_sizes=10,20", "--seeds=1,2")
    there = StudyConfig.from_json(config.to_json())
    assert there == config
    other = dataclasses.replace(
        config, train_sizes=("10",), study_dir="b", model_dir="c"
    )
    assert differences(there, other) == {"train_sizes": (("10", "20"), ("10",))}


@pytest.mark.parametrize(
    ("arguments", "rule", "mended"),
    [
        (["--train_sizes=300,100"], "ascending", ["--train_sizes=100,300"]),
        (["--train_sizes=100,100"], "each size once", ["--train_sizes=100"]),
        (["--train_sizes=0,100"], "whole numbers of at least 1", []),
        (["--train_sizes=1e3"], "whole numbers of at least 1", []),
        (["--train_sizes=-5"], "whole numbers of at least 1", []),
        (["--seeds=1,1,2"], "different numbers", ["--seeds=1,2"]),
        (["--seeds=a"], "whole numbers of at least 0", []),
        (["--seeds=2147483648"], "--seed must be below 2147483648", ["--seeds=0"]),
        (["--max_length=2"], "--max_length must be at least 3", []),
        (["--num_jobs=0"], "--num_jobs must be at least 1", ["--num_jobs=1"]),
        (
            ["--export_to_label=a.csv", "--unlabelled=files:a.txt"],
            "--export_to_label is of a single run",
            [],
        ),
        (["--export_folds=final"], "must be given what it uses", []),
        (["--export_folds=ensemble"], "must be given what it uses", []),
        (
            ["--study=folds", "--num_folds=5", "--export_folds=ensemble"]
            + ["--export_formats=float32,int8,huggingface"],
            "formats that hold several models",
            [
                "--study=folds --num_folds=5 --export_folds=ensemble"
                " --export_formats=float32,int8"
            ],
        ),
        (
            ["--study=folds", "--num_folds=5", "--export_folds=ensemble", "--ema=0.9"]
            + ["--validation_one_in=0", "--best_metric=loss"],
            "is made of the runs' best weights",
            [],
        ),
        (
            ["--study=folds", "--num_folds=5", "--export_folds=ensemble"]
            + ["--max_slice_gap=0.1"],
            "--max_slice_gap needs texts that are held out from the model",
            [],
        ),
        (
            ["--study=folds", "--num_folds=5", "--export_folds=final"]
            + ["--max_flips=0.1", "--counterfactuals=gender"],
            "--max_flips needs texts that are held out from the model",
            [],
        ),
        (["--study=folds"], "needs --num_folds", ["--study=folds --num_folds=5"]),
        (["--study=folds", "--num_folds=5", "--seeds=0,1"], "what it uses", []),
        (
            ["--study=folds", "--num_folds=5", "--fold=5"],
            "--fold must be from 0 to 4",
            [],
        ),
        (["--study=seeds"], "two --seeds or more", ["--study=seeds --seeds=0,1,2"]),
        (["--study=seeds", "--seeds=4"], "two --seeds or more", []),
        (["--num_folds=5"], "must be told which fold", ["--num_folds=5 --fold=0"]),
        (
            ["--early_stopping_patience=2", "--validation_one_in=0"],
            "needs a validation split",
            [],
        ),
    ],
    ids=str,
)
def test_mistakes_are_named(arguments: list[str], rule: str, mended: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        parse(*REQUIRED, *arguments)
    for flag in mended:
        if "give --" in str(caught.value):
            # Of several flags the last one mends.
            assert f"give {flag.split()[-1]}" in str(caught.value)
        parse(*REQUIRED, *flag.split())


def test_processes_that_make_one_fold_each_share_the_study() -> None:
    folds = [*REQUIRED, "--study=folds", "--num_folds=5"]
    every, one = parse(*folds), parse(*folds, "--fold=3")
    assert (every.only_run, one.only_run) == (None, 3)
    assert one.shared == every.shared == every


def test_a_setting_of_any_section_is_changed_by_its_name() -> None:
    config = parse(*REQUIRED, "--export_dir=/models/a")
    run = config.run(2, learning_rate=1e-3, num_folds=5, fold=2, baselines=("tfidf",))
    assert run.optimizer.learning_rate == 1e-3
    assert (run.data.num_folds, run.data.fold) == (5, 2)
    assert run.baselines == ("tfidf",)
    assert run.serving.export_dir == ""


@pytest.mark.parametrize("missing", REQUIRED)
def test_what_is_required_is_named(missing: str) -> None:
    name = missing.partition("=")[0]
    with pytest.raises(ValueError, match=f"{name} is required"):
        parse(*(flag for flag in REQUIRED if flag != missing))

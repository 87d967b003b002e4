"""Settings as people read them: sentinels in words, and flagfiles that are read back."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from tests.test_flags import parse
from trainer import wording
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ServingConfig,
    TrainingConfig,
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("dropout", -1.0, "the preset's own"),
        ("dropout", 0.1, ""),
        ("dropout", 0.0, ""),
        ("clip_norm", 0.0, "no clipping"),
        ("num_warmup_steps", -1, "as --warmup_fraction says"),
        ("num_warmup_steps", 0, ""),
        ("warmup_fraction", -1.0, "0.1, unless --num_warmup_steps is given"),
        ("num_train_examples", 0, "all of them"),
        ("validation_dataset", "", "a share of --dataset (--validation_one_in)"),
        ("validation_dataset", "files:a.csv", ""),
        (
            "label_names",
            [],
            "the labels found, integers by value and strings by alphabet",
        ),
        ("accumulation_steps", 1, "all at once"),
        ("calibrate", False, ""),
        ("no such setting", 0, ""),
    ],
)
def test_what_a_sentinel_means(name: str, value: Any, expected: str) -> None:
    assert wording.meaning(name, value) == expected


def make_config(**changes: Any) -> ExperimentConfig:
    """A config with what is required."""
    config = ExperimentConfig(
        model_dir="runs/a b",
        data=DataConfig(dataset="files:a.csv", label_names=("not, so bad", 'a "b"')),
        model=ModelConfig(preset="tiny", dropout=0.25),
        optimizer=OptimizerConfig(learning_rate=2e-5),
        training=TrainingConfig(seed=7),
        serving=ServingConfig(calibrate=False, export_formats=("float32", "int8")),
    )
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize("all_of_them", [False, True])
@pytest.mark.parametrize("texts", [("One, two.",), ("#1 = a", "b"), None])
def test_a_flagfile_gives_the_config_back(
    all_of_them: bool, texts: tuple[str, ...] | None, tmp_path: pathlib.Path
) -> None:
    config = make_config(**({} if texts is None else {"sample_texts": texts}))
    # As report.json holds it.
    lines = wording.flag_lines(json.loads(config.to_json()), all_of_them=all_of_them)
    path = tmp_path / "run.flags"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert parse(f"--flagfile={path}") == config
    assert ("--num_train_epochs=3" in lines) == all_of_them
    assert "--dropout=0.25" in lines and "--calibrate=False" in lines


def test_what_a_flagfile_cannot_hold_is_said(tmp_path: pathlib.Path) -> None:
    config = make_config(sample_texts=("two\nlines", "fine"))
    lines = wording.flag_lines(dataclasses.asdict(config), all_of_them=False)
    path = tmp_path / "run.flags"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert parse(f"--flagfile={path}").sample_texts == ("fine",)
    assert any(line.startswith("# --sample_texts is left out") for line in lines)

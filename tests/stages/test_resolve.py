"""What automatic settings stand for."""

from __future__ import annotations

import pathlib
import types
from typing import Any

import numpy as np
import pytest

from trainer.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ServingConfig,
    TrainingConfig,
)
from trainer.data.plans import TrainingPlan
from trainer.stages import resolve


@pytest.mark.parametrize(
    ("logging_steps", "total_steps", "expected"),
    [
        (0, 1, 1),
        (0, 50, 1),
        (0, 51, 2),
        (0, 375, 8),
        (0, 5000, 100),
        (0, 1_000_000, 100),
        (10, 5, 10),
        (1, 5000, 1),
    ],
)
def test_logging_follows_the_length_of_the_run(
    logging_steps: int, total_steps: int, expected: int
) -> None:
    config = TrainingConfig(logging_steps=logging_steps)
    assert resolve.logging_steps(config, total_steps=total_steps) == expected


def in_words(config: ExperimentConfig) -> dict[str, str]:
    """Of a run of 40 steps on one CPU."""
    plan = TrainingPlan(np.full(40, 8), (8,), seed=0, batch_size=2, num_epochs=2)
    run: Any = types.SimpleNamespace(
        config=config,
        runtime=types.SimpleNamespace(
            num_replicas=1, precision="float32", fusion="pieces"
        ),
        resolved=resolve.Resolved(
            eval_batch_size=32,
            steps_per_call=1,
            dropout=None,
            export_folder=pathlib.Path("runs/a/export"),
            sample_texts=(),
        ),
    )
    return resolve.in_words(run, plan, dropout=0.1)


def test_what_automatic_settings_came_to() -> None:
    config = ExperimentConfig(
        model_dir="runs/a",
        data=DataConfig(dataset="files:a.csv"),
        model=ModelConfig(preset="tiny"),
    )
    assert in_words(config) == {
        "dropout": "the preset's own (0.1)",
        "window_overlap": "128 tokens",
        "num_warmup_steps": "10% of the steps (4)",
        "warmup_fraction": "10%",
        "eval_batch_size": "32",
        "logging_steps": "1",
        "steps_per_call": "1",
        "strategy": "1 device",
        "precision": "float32",
        "jit_compile": "parts of a step",
        "export_dir": "runs/a/export",
    }


def test_what_was_given_needs_no_words() -> None:
    config = ExperimentConfig(
        model_dir="runs/a",
        data=DataConfig(dataset="files:a.csv", window_overlap=0),
        model=ModelConfig(preset="tiny", dropout=0.0),
        optimizer=OptimizerConfig(num_warmup_steps=0),
        training=TrainingConfig(eval_batch_size=8, logging_steps=5),
        runtime=RuntimeConfig(
            strategy="one_device",
            precision="float32",
            jit_compile="off",
            steps_per_call=2,
        ),
        serving=ServingConfig(export_dir="exports"),
    )
    # Which stands for --num_warmup_steps here.
    assert in_words(config) == {"warmup_fraction": "0%"}

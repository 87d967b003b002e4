"""What automatic settings stand for."""

from __future__ import annotations

import json
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
from trainer.run_folder import RunFolder
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
        runtime=types.SimpleNamespace(num_replicas=1, precision="float32"),
        resolved=resolve.Resolved(
            eval_batch_size=32,
            steps_per_call=1,
            dropout=None,
            export_folder=pathlib.Path("runs/a/export"),
            sample_texts=(),
        ),
    )
    return resolve.in_words(run, plan, dropout=0.1, fusion="pieces", num_parts=4)


def test_what_automatic_settings_came_to() -> None:
    config = ExperimentConfig(
        model_dir="runs/a",
        data=DataConfig(dataset="files:a.csv"),
        model=ModelConfig(preset="tiny"),
        training=TrainingConfig(accumulation_steps="auto"),
    )
    assert in_words(config) == {
        "dropout": "the preset's own (0.1)",
        "window_overlap": "128 tokens",
        "accumulation_steps": "4 parts",
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


# MiniLM's 6 layers, 384 wide; BERT-base's 12, 768 wide.
MINILM = {"num_layers": 6, "hidden_size": 384}
BERT_BASE = {"num_layers": 12, "hidden_size": 768}


@pytest.mark.parametrize(
    ("shape", "num_texts", "length", "num_lengths", "fusion"),
    [
        # The quickstart; and the same with more texts, lengths, or a larger model.
        (MINILM, 1000, 120, 3, "none"),
        (MINILM, 1200, 120, 3, "pieces"),
        (MINILM, 2000, 120, 8, "none"),
        (MINILM, 60_000, 300, 8, "pieces"),
        (BERT_BASE, 200, 120, 3, "none"),
        (BERT_BASE, 300, 120, 3, "pieces"),
        (MINILM, 1, 8, 1, "none"),
    ],
)
def test_compiling_has_to_pay(
    shape: dict[str, int], num_texts: int, length: int, num_lengths: int, fusion: str
) -> None:
    found = resolve.weighed(
        num_tokens=num_texts * length,
        num_lengths=num_lengths,
        num_steps=num_texts // 16,
        **shape,
    )
    assert found.fusion == fusion
    used = "used" if fusion == "pieces" else "left out"
    assert found.reason is not None
    assert found.reason.startswith(f"XLA is {used}: ")
    assert f" for {num_lengths} length" in found.reason


@pytest.mark.parametrize(
    ("asked_for", "possible", "recorded", "has_checkpoint", "expected"),
    [
        # As asked for, and on accelerators, nothing is weighed.
        ("off", "none", "pieces", True, "none"),
        ("on", "whole", "none", True, "whole"),
        ("auto", "whole", None, False, "whole"),
        ("auto", "pieces", None, False, "none"),
        # A run that resumes does as it did; one of an older version compiled.
        ("auto", "pieces", "pieces", True, "pieces"),
        ("auto", "pieces", "none", True, "none"),
        ("auto", "pieces", None, True, "pieces"),
    ],
)
def test_a_run_that_resumes_compiles_as_it_did(
    asked_for: Any,
    possible: Any,
    recorded: str | None,
    has_checkpoint: bool,
    expected: str,
    tmp_path: pathlib.Path,
) -> None:
    folder = RunFolder(tmp_path)
    if recorded:
        record = json.dumps({"fusion": recorded, "reason": "It was so."})
        (tmp_path / "chosen.json").write_text(record)
    if has_checkpoint:
        latest = tmp_path / "checkpoints" / "latest"
        latest.mkdir(parents=True)
        (latest / "step-1.index").touch()
    run: Any = types.SimpleNamespace(
        config=types.SimpleNamespace(runtime=RuntimeConfig(jit_compile=asked_for)),
        runtime=types.SimpleNamespace(fusion=possible),
        folder=folder,
    )
    plan = TrainingPlan(np.full(40, 8), (8,), seed=0, batch_size=2, num_epochs=2)
    found = resolve.compiled(run, plan, (8,), **MINILM)
    assert found.fusion == expected
    assert (found.reason is None) == (asked_for != "auto" or possible == "whole")


def test_the_size_of_a_plan_is_weighed(tmp_path: pathlib.Path) -> None:
    """Batches at their padded lengths, and the lengths that occur alone."""
    lengths = np.array([5] * 20 + [30] * 10)
    plan = TrainingPlan(lengths, (8, 16, 32), seed=0, batch_size=10, num_epochs=3)
    run: Any = types.SimpleNamespace(
        config=types.SimpleNamespace(runtime=RuntimeConfig()),
        runtime=types.SimpleNamespace(fusion="pieces"),
        folder=RunFolder(tmp_path),
    )
    assert resolve.compiled(run, plan, (8, 16, 32), **MINILM) == resolve.weighed(
        num_tokens=3 * (20 * 8 + 10 * 32), num_lengths=2, num_steps=9, **MINILM
    )

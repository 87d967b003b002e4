"""Techniques and tasks on each other kind of encoder than BERT: a table of both.

What each computes is tested on a BERT beside its module. Here it is that a pooler of the
classifier's own, embeddings under other names and no segments go with all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import shutil
from typing import Any, Callable, Mapping

import pytest
from safetensors.numpy import load_file, save_file

from tests import test_multi_label, test_ordinal, test_regression
from tests.modeling import test_lora as lora_on
from tests.test_adapters import killed_at_a_checkpoint
from tests.test_encoders import FOLDERS, KINDS
from tests.test_experiment import assert_equal_weights, make_config
from tests.training import test_steps as steps_of
from trainer import experiment
from trainer.config import ExperimentConfig, PretrainingConfig

PRETRAINING = PretrainingConfig(
    pretrain_steps=6, pretrain_on="train", pretrain_learning_rate=1e-2
)
DATA: Mapping[str, Callable[[pathlib.Path], str]] = {
    "multi_label": functools.partial(test_multi_label.write_posts, count=120),
    "ordinal": functools.partial(test_ordinal.write_stars, count=120),
    "regression": functools.partial(test_regression.write_prices, count=120),
}


@pytest.fixture(scope="module", params=KINDS)
def preset(request: pytest.FixtureRequest) -> str:
    return str(FOLDERS / request.param)


@pytest.mark.slow
def test_steps_are_the_same_however_they_are_computed() -> None:
    """On two replicas, each in two parts: of one kind, for it takes long."""
    preset = str(FOLDERS / "roberta")
    common: dict[str, Any] = {"num_epochs": 1, "weight_decay": 0.1}
    one = steps_of.train(1, preset, **common)
    other = steps_of.train(2, preset, accumulation_steps=2, **common)
    assert one.norms.max() > 0.5, "nothing was clipped: the test would show less"
    steps_of.assert_same(one, other, tolerance=5e-5)


def test_lora(preset: str) -> None:
    """A step at full rank is the kernel's, merged it answers alike, in bfloat16 too."""
    lora_on.test_at_full_rank_a_step_is_that_of_the_kernel("none", False, preset)
    lora_on.test_merged_it_answers_alike(preset)
    lora_on.test_under_bfloat16_the_factors_are_float32("none", preset)


# By kind of encoder, what goes together in a run: each task, and each way to train, with
# one of them. What one encoder's variables cannot do, no task can mend.
RUNS: Mapping[str, dict[str, Any]] = {
    "distilbert": {
        "data": {"task": "multi_label"},
        "model": {"head_start": "frozen"},
        "pretraining": PRETRAINING,
    },
    "roberta": {
        "data": {"task": "regression"},
        "pretraining": dataclasses.replace(PRETRAINING, mask_whole_words=True),
        "training": {"accumulation_steps": 2},
        "runtime": {"precision": "mixed_bfloat16"},
    },
    "xlm-roberta": {
        "data": {"task": "ordinal", "long_text": "windows", "max_length": 16},
        "model": {"freeze_layers": 1},
        "optimizer": {"ema": 0.8, "layer_decay": 0.5, "unfreeze_every": 4},
    },
}


def without_a_pooler(folder: pathlib.Path) -> str:
    """DistilBERT's checkpoint, as it is when it was not fine-tuned."""
    shutil.copytree(FOLDERS / "distilbert", folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({k: v for k, v in tensors.items() if "classifier" not in k}, file)
    return str(folder)


def config_of(folder: pathlib.Path, kind: str, name: str) -> ExperimentConfig:
    """A run of an epoch or two, in a folder of this name."""
    settings, preset = RUNS[kind], str(FOLDERS / kind)
    if kind == "distilbert":
        preset = without_a_pooler(folder / "preset")
    data = settings["data"]
    ending = "jsonl" if data["task"] == "multi_label" else "csv"
    dataset = DATA[data["task"]](folder / f"texts.{ending}")
    sections = {
        **settings,
        "data": {"max_length": 24, **data, "dataset": dataset},
        "model": {"preset": preset, **settings.get("model", {})},
        "training": {
            **{"num_train_epochs": 2, "save_every_steps": 5},
            **settings.get("training", {}),
        },
    }
    return make_config(folder, "", model_dir=str(folder / name), **sections)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_a_run(
    kind: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = config_of(tmp_path, kind, "whole")
    report = experiment.run(config).report
    # Of the one whose checkpoint is not a classifier's.
    is_said = "brings no layer between the first token and the head" in caplog.text
    assert is_said == (kind == "distilbert")
    before, after = (report[name]["test"]["loss"] for name in ("before", "after"))
    assert math.isfinite(after) and after != before
    if config.pretraining.pretrain_steps:
        assert report["pretraining"]["head"] == "checkpoint"
        masked = report["pretraining"]["masked_loss"]
        assert masked["after"] < masked["before"]
        # That it goes on after a kill, stages/test_pretrain.py shows.
        return
    killed = dataclasses.replace(config, model_dir=str(tmp_path / "killed"))
    with killed_at_a_checkpoint(monkeypatch):
        with pytest.raises(RuntimeError, match="killed"):
            experiment.run(killed)
    experiment.run(killed)
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")

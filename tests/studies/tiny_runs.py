"""Studies of real tiny runs, as values and as processes.

config = make_study(tmp_path, tiny_preset, study="folds", data={"num_folds": 3})
processes.finish([start(config)])
results(config)["mean"]
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

from tests import processes
from tests.test_experiment import make_config
from trainer.config import ServingConfig, settings
from trainer.study_config import StudyConfig


def make_study(folder: pathlib.Path, preset: str, **changes: Any) -> StudyConfig:
    """Two short runs on a CSV of tiny reviews; `changes` by section, or of the study."""
    sections = {
        "data": {"max_length": 16, "num_buckets": 1, "num_eval_examples": 20},
        "training": {"num_train_epochs": 3, "save_every_steps": 2},
    }
    of_sections = {
        name: sections.get(name, {}) | changes.pop(name, {})
        for name in ("data", "training")
    }
    serving = ServingConfig(**{"export": False} | changes.pop("serving", {}))
    fold = of_sections["data"].pop("fold", -1)
    num_folds = of_sections["data"].pop("num_folds", 0)
    base = make_config(
        folder, preset, baselines=("commonest",), serving=serving, **of_sections
    )
    values = {
        field.name: getattr(base, field.name) for field in dataclasses.fields(base)
    }
    # Which a run takes only with a fold.
    values["data"] = dataclasses.replace(base.data, num_folds=num_folds, fold=fold)
    defaults: dict[str, Any] = {"study_dir": str(folder / "study")}
    if changes.get("study", "learning_curve") == "learning_curve":
        defaults["train_sizes"] = ("16", "40")
    return StudyConfig(**values | defaults | changes)


def command(config: StudyConfig) -> list[str]:
    """The command line of a study, every setting a flag."""
    flags = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in settings(config).items()
        # Of which each value has a flag of its own.
        if name not in ("sample_texts", "sweep")
    ]
    flags += [f"--sweep={value}" for value in config.sweep]
    return [sys.executable, "-m", "trainer.study", *flags]


def start(config: StudyConfig) -> processes.Process:
    return subprocess.Popen(
        command(config), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def results(config: StudyConfig) -> Any:
    """study.json without what depends on clock and folder."""
    study = json.loads((pathlib.Path(config.study_dir) / "study.json").read_text())
    del study["config"], study["environment"], study["title"]
    if study.get("final"):
        del study["final"]["saved_model"]
    if study.get("ensemble"):
        del study["ensemble"]["export"]
    for run in study["runs"]:
        assert run.pop("secs") > 0
        for comparison in run["comparisons"].values():
            comparison.pop("cost_ratio")
    return study

"""Runs that begin from the weights of others, and replay old texts."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests import processes, tiny
from tests.test_experiment import assert_equal_weights, make_config, weights_of
from trainer import experiment, storage
from trainer.config import DataConfig, ExperimentConfig, ServingConfig
from trainer.data import held_out
from trainer.data.duplicates import normalized_digests
from trainer.run_folder import RunFolder
from trainer.serving import manifest, seen_texts
from trainer.stages import prepare, start

ONE_EPOCH = {"num_train_epochs": 1}


@dataclasses.dataclass(frozen=True)
class Source:
    """A finished run of two labels, with its export."""

    config: ExperimentConfig
    report: Any

    @property
    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.config.model_dir)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> Source:
    folder = tmp_path_factory.mktemp("source")
    config = make_config(
        folder,
        tiny_preset,
        num_before_examples=0,
        training={"num_train_epochs": 2},
        serving=ServingConfig(),
    )
    return Source(config, experiment.run(config).report)


def config_from(
    source: Source, folder: pathlib.Path, init_from: object, **changes: Any
) -> ExperimentConfig:
    """A run of one epoch on the source's texts, from its weights."""
    changed = {
        section: dataclasses.replace(getattr(source.config, section), **values)
        for section, values in ({"model": {}, "training": ONE_EPOCH} | changes).items()
    }
    config = dataclasses.replace(
        source.config,
        model_dir=str(folder / "run"),
        **({"serving": ServingConfig(export=False)} | changed),
    )
    return processes.replaced(config, "model", init_from=str(init_from))


def start_of(config: ExperimentConfig) -> dict[str, np.ndarray]:
    """The weights that a run began from, by path."""
    from trainer.training import checkpoints

    return checkpoints.read_weights(
        RunFolder(storage.path(config.model_dir)).start / "step-0"
    )


def test_before_of_the_new_run_is_after_of_the_source(
    source: Source, tmp_path: pathlib.Path
) -> None:
    """Whether a run, its export or its checkpoint is named; by one digest."""
    export = pathlib.Path(source.report["export"]["path"])
    best = source.report["training"]["best_step"]
    named = [source.folder, export, export.parent]
    named.append(source.folder / "checkpoints" / "best" / f"step-{best}")
    expected = source.report["after"]["test"]
    digests = set()
    for number, init_from in enumerate(named):
        config = config_from(source, tmp_path / str(number), init_from)
        report = experiment.run(config).report
        before, facts = report["before"]["test"], report["start"]
        # The decision's temperature changes the loss, and no label.
        quality = source.report["decision"]["quality"]["test"]["before"]
        assert before["loss"] == pytest.approx(quality["loss"], abs=1e-6)
        assert before["accuracy"] == expected["accuracy"]
        assert facts["source"] == str(init_from) and facts["new_labels"] == []
        assert facts["notes"] == [] and facts["tells_seen_texts"]
        digests.add(facts["sha256"])
    assert len(digests) == 1

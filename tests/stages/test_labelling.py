"""What a run tells a person to look at: its errors by cause, and texts worth a label."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import DataConfig, ExperimentConfig, LabellingConfig, ServingConfig
from trainer.data import sources
from trainer.data.near_duplicates import runs_of
from trainer.experiment import run
from trainer.serving import predictor

NUM_HELD_OUT, NUM_UNLABELLED = 240, 60
COPY, NEAR_COPY = "The plot of the film is very dull.", "the PLOT of the film is very dull."


def unlabelled_texts(dataset: str) -> list[str]:
    """New reviews, two copies of one, and three that the run has."""
    texts, _ = tiny.labelled_sentences(NUM_UNLABELLED, seed=5)
    known = sources.load(DataConfig(dataset=dataset)).splits["train"].texts
    return [*texts, COPY, NEAR_COPY, *known.slice(0, 3).to_pylist()]


def config_of(folder: pathlib.Path, preset: str, **changes: Any) -> ExperimentConfig:
    """Texts of which 240 are held out, some of them with a wrong label."""
    config = make_config(folder, preset)
    held_out = folder / "held_out.csv"
    if not held_out.is_file():
        texts, labels = tiny.labelled_sentences(NUM_HELD_OUT, seed=9)
        labels = np.where(np.arange(len(labels)) % 12, labels, 1 - labels)
        tiny.write_csv(held_out, texts, [("bad", "good")[each] for each in labels])
    data = {"test_dataset": f"files:{held_out}"}
    return make_config(
        folder,
        preset,
        data=data,
        training={"num_train_epochs": 2},
        **changes,
    ) if config else config


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run that was asked for all of it."""
    folder = tmp_path_factory.mktemp("labelling")
    plain = config_of(folder, tiny_preset)
    texts = unlabelled_texts(plain.data.dataset)
    (folder / "unlabelled.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    config = config_of(
        folder,
        tiny_preset,
        labelling=LabellingConfig(
            error_causes=True,
            export_to_label=str(folder / "to_label.csv"),
            unlabelled=f"files:{folder}/unlabelled.txt",
            num_to_label=20,
        ),
        serving=ServingConfig(num_export_examples=8),
    )
    return config, run(config)


def test_x(finished):
    config, result = finished
    print(open(config.labelling.export_to_label).read())
    import json
    print(json.dumps(result.report["error_causes"], indent=1)[:6000])

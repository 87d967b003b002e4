"""--task=ordinal the whole way: from stars to predictions."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.studies.tiny_runs import make_study
from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    PredictConfig,
    ServingConfig,
)
from trainer.data import sources
from trainer.serving import manifest, predictor


def write_stars(
    path: pathlib.Path, *, count: int = 300, names: Sequence[str] = ("1", "2", "3")
) -> str:
    """Bad words, as many of both, good words: the more good ones, the more stars."""
    generator = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(count):
            star = row % 3
            words = generator.choice(tiny.NEUTRAL, generator.integers(2, 7)).tolist()
            words += generator.choice(tiny.BAD, 2 * (2 - star)).tolist()
            words += generator.choice(tiny.GOOD, 2 * star).tolist()
            generator.shuffle(words)
            writer.writerow([" ".join(words), names[star]])
    return f"files:{path}"


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run with an export, and its result."""
    folder = tmp_path_factory.mktemp("ordinal")
    config = make_config(
        folder,
        tiny_preset,
        data={"dataset": write_stars(folder / "stars.csv"), "task": "ordinal"},
        training={"num_train_epochs": 6},
        baselines=("commonest", "tfidf"),
        serving=ServingConfig(
            export_formats=("float32", "tokens"), abstain_accuracy=0.5
        ),
        model={"pooling": "mean", "dropout": 0.0},
    )
    return config, experiment.run(config)


def test_reports_how_far_answers_are_off(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    result = finished[1]
    report = result.report
    assert report["task"] == "ordinal"
    test, before = report["after"]["test"], report["before"]["test"]
    # Other programs read these.
    assert " ".join(test["ordinal"]) == "mae within_one quadratic_kappa spearman rps"
    assert test["ordinal"]["mae"] < 0.3 < before["ordinal"]["mae"]
    assert test["ordinal"]["quadratic_kappa"] > 0.7
    low, high = test["confidence_intervals_95"]["mae"]
    assert low <= test["ordinal"]["mae"] <= high
    tfidf = report["baselines"]["tfidf"]["test"]["ordinal"]
    beside = report["comparisons"]["tfidf"]
    assert beside["mae_difference"] == pytest.approx(
        test["ordinal"]["mae"] - tfidf["mae"]
    )
    page = result.report_path.with_suffix(".html").read_text()
    assert "Quadratic kappa" in page and "Mean distance" in page
    assert "Mean distance, steps" in result.summary


def test_the_export_and_predict_give_the_expected_label(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    folder = finished[1].saved_model
    loaded = tf.saved_model.load(str(folder))
    texts = ["awful terrible dull bad film", "wonderful superb great good film"]
    outputs = loaded.signatures["serving_default"](text=tf.constant(texts))
    names = "abstain expected label probabilities score"
    assert sorted(outputs) == names.split()
    wanted = outputs["probabilities"].numpy() @ np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(outputs["expected"], wanted, rtol=1e-5)
    assert outputs["label"].numpy().tolist() == [b"1", b"3"]
    described = manifest.read(folder)
    assert described["task"] == "ordinal"
    assert described["metrics"]["test"]["ordinal"]["mae"] < 0.3
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(texts) + "\n")
    predictor.predict_file(
        PredictConfig(
            saved_model=str(folder), input=str(rows), output=str(tmp_path / "out.jsonl")
        )
    )
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    found = [json.loads(line)["expected"] for line in lines]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "names, mend",
    [
        (("low", "mid", "high"), "--label_names=high,low,mid, from the lowest"),
        (("9.5", "10.5", "1.5"), "--label_names=1.5,9.5,10.5"),
        (("1", "2", "inf"), "--label_names=1,2,inf, from the lowest"),
    ],
)
def test_an_order_that_nobody_named_is_asked_for(
    tmp_path: pathlib.Path, names: tuple[str, ...], mend: str
) -> None:
    """And what is named goes on."""
    dataset = write_stars(tmp_path / "a.csv", count=30, names=names)
    config = DataConfig(dataset=dataset, task="ordinal")
    with pytest.raises(
        ValueError, match="labels of --task=ordinal .*must be"
    ) as caught:
        sources.load(config)
    assert mend in str(caught.value)
    is_number = names[0] == "9.5"
    ordered = ("1.5", "9.5", "10.5") if is_number else names
    named = DataConfig(dataset=dataset, task="ordinal", label_names=ordered)
    assert sources.load(named).label_names == ordered


def test_numbers_named_out_of_order_are_refused(tmp_path: pathlib.Path) -> None:
    """As the alphabet has them; but from the highest to the lowest is an order."""
    names = ("1", "2", "10")
    dataset = write_stars(tmp_path / "a.csv", count=30, names=names)

    def load(*order: str) -> tuple[str, ...]:
        config = DataConfig(dataset=dataset, task="ordinal", label_names=order)
        return sources.load(config).label_names

    with pytest.raises(ValueError, match="in their order.*--label_names=1,2,10"):
        load("1", "10", "2")
    assert load("10", "2", "1") == ("10", "2", "1")


def test_what_knows_no_order_is_refused(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    data = {"dataset": write_stars(tmp_path / "a.csv", count=30), "task": "ordinal"}
    with pytest.raises(ValueError, match="--decision_metric.*the median.*leave it out"):
        make_config(
            tmp_path,
            tiny_preset,
            data=data,
            serving=ServingConfig(decision_metric="f1_macro"),
        )
    for study in ("folds", "ladder"):
        with pytest.raises(ValueError, match=f"--study={study}.*task=ordinal"):
            make_study(tmp_path, tiny_preset, study=study, data=data)

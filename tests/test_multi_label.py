"""--task=multi_label the whole way: from lists of labels to predictions and comparisons."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.studies.tiny_runs import make_study
from tests.equalities import assert_same_when_killed_and_on_two_replicas
from tests.test_experiment import make_config
from trainer import compare, experiment, predict
from trainer.config import (
    CompareConfig,
    DataConfig,
    ExperimentConfig,
    LabellingConfig,
    PredictConfig,
    ServingConfig,
)
from trainer.serving import manifest
from trainer.study_config import StudyConfig
from trainer.studies import driver

NAMES = ["bad", "good"]


def write_posts(path: pathlib.Path, *, count: int = 200, seed: int = 0) -> str:
    """Texts of good words, bad words, both or neither, and the labels that say so."""
    generator = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            is_bad, is_good = (generator.random(2) < (0.4, 0.5)).tolist()
            words = generator.choice(tiny.NEUTRAL, generator.integers(2, 9)).tolist()
            words += generator.choice(tiny.BAD, 3 * is_bad).tolist()
            words += generator.choice(tiny.GOOD, 3 * is_good).tolist()
            generator.shuffle(words)
            labels = ["good"] * is_good + ["bad"] * is_bad
            file.write(json.dumps({"text": " ".join(words), "label": labels}) + "\n")
    return f"files:{path}"


def config_of(
    folder: pathlib.Path, preset: str, *, data: dict[str, Any] = {}, **changes: Any
) -> ExperimentConfig:
    dataset = write_posts(folder / "posts.jsonl")
    data = {"dataset": dataset, "task": "multi_label", **data}
    return make_config(folder, preset, data=data, **changes)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run with an export, and its result."""
    folder = tmp_path_factory.mktemp("multi_label")
    config = config_of(
        folder,
        tiny_preset,
        training={"num_train_epochs": 4},
        baselines=("commonest", "tfidf"),
        serving=ServingConfig(
            export_formats=("float32", "tokens"),
            decision_metric="f1_macro",
        ),
        model={"pooling": "mean", "dropout": 0.0},
        labelling=LabellingConfig(
            error_causes=True,
            export_to_label=str(folder / "to_label.csv"),
            unlabelled=write_posts(folder / "new.jsonl", count=30, seed=8),
            num_to_label=5,
        ),
    )
    return config, experiment.run(config)


def test_learns_and_reports(finished: tuple[ExperimentConfig, Any]) -> None:
    config, result = finished
    report = result.report
    assert report["task"] == "multi_label"
    test, before = report["after"]["test"], report["before"]["test"]
    assert test["f1_macro"] > max(0.85, before["f1_macro"] + 0.1)
    sets = test["label_sets"]
    # Other programs read these.
    assert " ".join(sets) == (
        "f1_micro hamming_loss average_precision num_without_label num_given_none "
        "mean_num_labels mean_num_given per_label together"
    )
    assert " ".join(sets["per_label"]["bad"]) == (
        "support num_given precision recall f1 threshold roc_auc roc_auc_interval_95 "
        "average_precision"
    )
    assert set(sets["per_label"]) == set(test["per_class"]) == set(NAMES)
    assert 0 < sets["num_without_label"] < test["num_examples"]
    assert report["decision"]["quality"]["test"]["accuracy"] == test["accuracy"]
    counts = report["data"]["splits"]["train"]["class_counts"]
    assert sum(counts.values()) != report["data"]["splits"]["train"]["num_examples"]
    commonest, tfidf = (report["baselines"][n]["test"] for n in ("commonest", "tfidf"))
    assert commonest["accuracy"] == test["majority_class_accuracy"]
    assert tfidf["f1_macro"] > 0.85
    page = result.report_path.read_text()
    for words in ("Labels that stand together", "Hamming loss", "all labels right in"):
        assert words in page, words
    assert "It never abstains" not in page
    for words in ("F1, macro, of the same", "F1, micro, of the same"):
        assert words in result.summary, words
    rows = pathlib.Path(report["paths"]["predictions"]["test"]).read_text()
    answers = [json.loads(row) for row in rows.splitlines()]
    is_right = [row["label"] == row["answer"] for row in answers]
    assert np.mean(is_right) == pytest.approx(test["accuracy"])
    assert {tuple(row["label"]) for row in answers} > {(), ("bad",), ("bad", "good")}


def test_the_export_says_the_same(finished: tuple[ExperimentConfig, Any]) -> None:
    """Signatures, manifest and card; in each format, which the run itself checked."""
    _, result = finished
    folder = pathlib.Path(result.saved_model)
    facts = manifest.read(folder)
    assert facts["task"] == "multi_label" and facts["constants"]["labels"] == NAMES
    for name in ("serving_default", "tf_example", "tokens"):
        outputs = facts["signatures"][name]["outputs"]
        assert outputs == {
            "chosen": {"dtype": "bool", "shape": [None, 2]},
            "probabilities": {"dtype": "float32", "shape": [None, 2]},
        }
    model = tf.saved_model.load(str(folder))
    said = model.signatures["serving_default"](text=tf.constant(["good fine", "", "a"]))
    expected = said["probabilities"].numpy() >= model.decision_thresholds.numpy()
    assert (said["chosen"].numpy() == expected).all()
    card = (folder / "MODEL_CARD.md").read_text()
    for words in ("| hamming_loss |", "| bad |", "any number of them, or none"):
        assert words in card, words
    assert "abstain" not in card
    assert not (folder / "drift_reference.npz").exists()
    formats = {each["format"]: each for each in result.report["export"]["formats"]}
    assert list(formats) == ["float32", "tokens"]
    for measured in formats.values():
        assert measured["status"] == "published" and measured["max_difference"] < 1e-4


def test_predict_writes_lists(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    _, result = finished
    texts = tmp_path / "texts.txt"
    texts.write_text("good great fine\nbad awful good great\nthe a of\n")
    saved_model = str(result.saved_model)
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        predict.main(
            PredictConfig(
                saved_model=saved_model, input=str(texts), output=str(tmp_path / name)
            )
        )
    rows = [
        json.loads(row) for row in (tmp_path / "out.jsonl").read_text().split("\n")[:-1]
    ]
    assert [list(row) for row in rows] == [["labels", "probabilities"]] * 3
    assert rows[0]["labels"] == ["good"] and rows[1]["labels"] == NAMES
    with (tmp_path / "out.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [json.loads(row["labels"]) for row in table] == [r["labels"] for r in rows]
    assert float(table[0]["probability_good"]) == rows[0]["probabilities"][1]


def test_a_drift_report_is_refused_by_name(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    _, result = finished
    (tmp_path / "texts.txt").write_text("good\n")
    config = PredictConfig(
        saved_model=str(result.saved_model),
        input=str(tmp_path / "texts.txt"),
        output=str(tmp_path / "out.jsonl"),
        drift_report=str(tmp_path / "drift.html"),
    )
    with pytest.raises(ValueError, match="one label a text.*--task=multi_label"):
        predict.main(config)


def test_compare_and_the_champion_go_by_whole_texts(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    config, result = finished
    asked = write_posts(tmp_path / "asked.jsonl", count=60, seed=5)
    output = tmp_path / "compared.json"
    settings: dict[str, Any] = dict(
        champion=str(result.saved_model), challenger=str(result.saved_model)
    )
    compare.main(
        CompareConfig(
            **settings,
            output=str(output),
            data=DataConfig(dataset=asked, task="multi_label"),
        )
    )
    compared = json.loads(output.read_text())
    assert compared["verdict"] == "not_worse" and compared["num_texts"] > 20
    assert compared["champion"]["accuracy"] > 0.5
    slices = {each["value"] for each in compared["slices"] if each["slice"] == "label"}
    assert {"no label", "bad + good"} & slices
    with pytest.raises(
        ValueError, match="--champion=.* --task=multi_label.*give --task"
    ):
        compare.main(CompareConfig(**settings, data=DataConfig(dataset=asked)))


def test_what_needs_one_label_is_refused_by_name(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config, result = finished
    for changes, words in (
        ({"training": {"class_weights": ("balanced",)}}, "--class_weights"),
        ({"serving": ServingConfig(abstain_accuracy=0.9)}, "--abstain_accuracy"),
        (
            {"serving": ServingConfig(given_decision=("1", "0", ".5", ".5"))},
            "--given_decision",
        ),
        ({"data": {"corrections": "a.jsonl"}}, "--corrections"),
    ):
        with pytest.raises(ValueError, match=f"{words}.*task=multi_label"):
            config_of(tmp_path, tiny_preset, **changes)
    with pytest.raises(ValueError, match="--study=ladder.*--study=seeds"):
        make_study(tmp_path, tiny_preset, study="ladder", data={"task": "multi_label"})
    reviews = make_config(
        tmp_path, tiny_preset, model={"init_from": config.model_dir, "pooling": "mean"}
    )
    with pytest.raises(ValueError, match="same task.*multi_label there, single_label"):
        experiment.run(reviews)


@pytest.mark.slow
def test_killed_and_on_two_replicas_it_is_the_same(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    short: dict[str, Any] = {
        "num_train_epochs": 3,
        "label_smoothing": 0.1,
        "save_every_steps": 3,
    }

    def made(name: str, **changes: Any) -> ExperimentConfig:
        return config_of(
            tmp_path,
            tiny_preset,
            training=short,
            model_dir=str(tmp_path / name),
            **changes,
        )

    assert_same_when_killed_and_on_two_replicas(made, tmp_path)


@pytest.mark.slow
def test_a_study_of_seeds(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    dataset = write_posts(tmp_path / "posts.jsonl")
    config: StudyConfig = make_study(
        tmp_path,
        tiny_preset,
        study="seeds",
        seeds=("3", "5"),
        training={"num_train_epochs": 1},
        data={"dataset": dataset, "task": "multi_label", "num_eval_examples": 0},
    )
    driver.run(config)
    study = json.loads((pathlib.Path(config.study_dir) / "study.json").read_text())
    assert len(study["runs"]) == 2 and 0 <= study["mean"] <= 1


def test_says_what_to_label_next(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    config, result = finished
    causes = result.report["error_causes"]
    assert causes["clusters"] == [] and "are too few" in causes["sentence"]
    sure = result.report["after"]["test"]["most_confident_errors"]
    assert [each["error"]["score"] for each in causes["neighbours"]] == [
        each["score"] for each in sure
    ]
    labels = {
        each["label"] for near in causes["neighbours"] for each in near["neighbours"]
    }
    assert labels <= {"bad", "good", "bad + good", "no label"}
    predict.main(
        PredictConfig(
            saved_model=f"{config.model_dir}/export",
            input=config.labelling.unlabelled.removeprefix("files:"),
            export_to_label=str(tmp_path / "to_label.csv"),
            num_to_label=5,
        )
    )
    of_run, of_export = (
        list(csv.DictReader(pathlib.Path(place).open(encoding="utf-8")))
        for place in (config.labelling.export_to_label, tmp_path / "to_label.csv")
    )
    assert len(of_run) == len(of_export) == 5
    for name in ("text", "answer"):
        assert of_run[0][name] == of_export[0][name]
    assert float(of_run[0]["score"]) == pytest.approx(
        float(of_export[0]["score"]), abs=1e-3
    )

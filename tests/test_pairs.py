"""--second_text_field the whole way: from two columns to predictions and comparisons."""

from __future__ import annotations

import csv
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.equalities import assert_same_when_killed_and_on_two_replicas
from tests.test_experiment import make_config
from trainer import compare, experiment
from trainer.config import (
    CompareConfig,
    DataConfig,
    ExperimentConfig,
    PredictConfig,
    PretrainingConfig,
    ServingConfig,
)
from trainer.data import pairs
from trainer.modeling.forward import Forward
from trainer.serving import labelling, manifest, predictor

FIELDS: dict[str, Any] = {"text_field": "before", "second_text_field": "now"}


def sentence(generator: np.random.Generator, is_good: bool) -> str:
    words = generator.choice(tiny.NEUTRAL, generator.integers(2, 7)).tolist()
    words += generator.choice(tiny.GOOD if is_good else tiny.BAD, 3).tolist()
    generator.shuffle(words)
    return " ".join(words)


def write_pairs(path: pathlib.Path, *, count: int = 240, seed: int = 0) -> str:
    """Two texts of any tone; the second one's is the label."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["before", "now", "label"])
        for _ in range(count):
            was_good, is_good = (generator.random(2) < 0.5).tolist()
            texts = [sentence(generator, each) for each in (was_good, is_good)]
            writer.writerow([*texts, ("bad", "good")[is_good]])
    return f"files:{path}"


def config_of(
    folder: pathlib.Path, preset: str, *, data: dict[str, Any] = {}, **changes: Any
) -> ExperimentConfig:
    dataset = write_pairs(folder / "pairs.csv")
    return make_config(
        folder, preset, data={"dataset": dataset, **FIELDS, **data}, **changes
    )


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run with an export, and its result."""
    folder = tmp_path_factory.mktemp("pairs")
    config = config_of(
        folder,
        tiny_preset,
        training={"num_train_epochs": 8},
        baselines=("tfidf", "frozen"),
        serving=ServingConfig(export_formats=("float32", "int8", "tokens")),
        model={"pooling": "mean", "dropout": 0.0},
    )
    return config, experiment.run(config)


def test_learns_which_text_is_which(finished: tuple[ExperimentConfig, Any]) -> None:
    """A bag of the words of both would be right in three of four at best."""
    report = finished[1].report
    assert report["after"]["test"]["accuracy"] > 0.9
    # It has features of each text of its own.
    assert report["baselines"]["tfidf"]["test"]["accuracy"] > 0.9
    assert all(" ‖ " in sample["text"] for sample in report["samples"])
    text = json.dumps(report, ensure_ascii=False)
    assert pairs.SEPARATOR not in text
    assert (
        pairs.SEPARATOR not in finished[1].report_path.with_suffix(".html").read_text()
    )


def test_the_export_takes_both(finished: tuple[ExperimentConfig, Any]) -> None:
    """By every signature, and as the model in memory does, which the export checks."""
    folder = finished[1].saved_model
    loaded = tf.saved_model.load(str(folder))
    first, second = ["a dull film", "a good plot"], ["a great scene", "so boring"]
    default = loaded.signatures["serving_default"]
    asked = default(text=tf.constant(first), text_pair=tf.constant(second))
    assert asked["label"].numpy().tolist() == [b"good", b"bad"]
    probabilities = asked["probabilities"].numpy()
    predict = predictor.load(str(folder))
    joined = [pairs.joined(*each) for each in zip(first, second)]
    for signature in ("serving_default", "tf_example"):
        predict = predictor.load(str(folder), signature=signature)
        said = [each["probabilities"] for each in predict(joined)]
        np.testing.assert_allclose(said, probabilities, atol=1e-6)
    alone = default(text=tf.constant(first), text_pair=tf.constant(["", ""]))
    assert np.abs(alone["probabilities"].numpy() - probabilities).max() > 0.01
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many texts"):
        default(text=tf.constant(first), text_pair=tf.constant(["one"]))
    counted = loaded.count_tokens(tf.constant(["a film"]), tf.constant(["good"]))
    assert counted["num_tokens"].numpy().tolist() == [6]
    assert manifest.read(folder)["config"]["data"]["second_text_field"] == "now"
    statuses = [each["status"] for each in finished[1].report["export"]["formats"]]
    assert statuses == ["published"] * 3
    assert "--second_text_field=now" in finished[1].report["commands"]["predict"]


def test_predict_reads_two_columns(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("before,now\na dull film,a great scene\na good plot,so boring\n")
    settings: dict[str, Any] = {
        "saved_model": str(finished[1].saved_model),
        "input": str(rows),
        "output": str(tmp_path / "out.jsonl"),
    }
    predictor.predict_file(PredictConfig(**settings, **FIELDS))
    written = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in written] == ["good", "bad"]
    for changes, expected in (
        ({"text_field": "before"}, "reads pairs of texts.*--second_text_field"),
        ({**FIELDS, "second_text_field": "then"}, "'then'.*--second_text_field"),
        (
            {"text_field": "before", "signature": "tf_example"},
            "reads pairs of texts.*--second_text_field",
        ),
        ({**FIELDS, "input_format": "text"}, "'before', 'now'|columns"),
    ):
        with pytest.raises(ValueError, match=expected):
            predictor.predict_file(PredictConfig(**{**settings, **changes}))


def test_no_texts_to_label_of_pairs(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    """A pair cannot be chosen by its first text alone."""
    (tmp_path / "new.txt").write_text("a dull film\na great scene\n")
    config = PredictConfig(
        saved_model=str(finished[1].saved_model),
        input=str(tmp_path / "new.txt"),
        export_to_label=str(tmp_path / "to_label.csv"),
    )
    with pytest.raises(ValueError, match="single texts.*reads pairs of texts"):
        labelling.export(config)
    assert not (tmp_path / "to_label.csv").exists()


def test_compare_needs_both(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    folder = str(finished[1].saved_model)
    dataset = write_pairs(tmp_path / "new.csv", count=60, seed=1)
    both = CompareConfig(
        champion=folder,
        challenger=folder,
        output=str(tmp_path / "a.json"),
        data=DataConfig(dataset=dataset, **FIELDS),
    )
    compare.main(both)
    compared = json.loads((tmp_path / "a.json").read_text())
    assert compared["difference"] == 0.0 and compared["champion"]["accuracy"] > 0.9
    single = DataConfig(dataset=dataset, text_field="before")
    with pytest.raises(ValueError, match="reads pairs of texts.*--second_text_field"):
        compare.main(CompareConfig(champion=folder, challenger=folder, data=single))


def test_forward_is_kerashubs_of_two_segments(
    finished: tuple[ExperimentConfig, Any], tiny_preset: str
) -> None:
    """And of a text without a second that of one."""
    from trainer.modeling import classifier as classifiers
    from trainer.modeling import presets

    preset = presets.load_preset(tiny_preset)
    separator = preset.vocabulary.index("[SEP]")
    model = classifiers.build_classifier(
        preset,
        num_classes=2,
        pooling="mean",
        dropout=0.0,
        seed=0,
        separator_id=separator,
    )
    ids = np.array([[2, 9, 8, separator, 7, separator], [2, 9, 8, 7, separator, 0]])
    ids = ids.astype(np.int32)
    mask = np.array([[1] * 6, [1] * 5 + [0]], np.int32)
    segments = np.array([[0, 0, 0, 0, 1, 1], [0] * 6], np.int32)
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
    found = Forward(model)(tf.constant(ids), tf.constant([6, 5]))
    np.testing.assert_allclose(found, model(inputs), atol=1e-5)
    others = model({**inputs, "segment_ids": 0 * segments}).numpy()
    assert np.abs(others[0] - found[0]).max() > 1e-4


@pytest.mark.slow
def test_killed_and_on_two_replicas_it_is_the_same(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    short: dict[str, Any] = {"num_train_epochs": 2, "save_every_steps": 3}

    def made(name: str, **changes: Any) -> ExperimentConfig:
        return config_of(
            tmp_path,
            tiny_preset,
            training=short,
            model_dir=str(tmp_path / name),
            **changes,
        )

    assert_same_when_killed_and_on_two_replicas(made, tmp_path)


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"explain": 2}, "--explain is not for pairs of texts"),
        ({"sample_texts": ("one",)}, "--sample_texts is not for pairs of texts"),
        (
            {"pretraining": PretrainingConfig(pretrain_steps=2, pretrain_dataset="a")},
            "--pretrain_dataset is not for pairs of texts",
        ),
        (
            {"serving": ServingConfig(export_explain=True)},
            "--export_explain is not for pairs of texts",
        ),
    ],
)
def test_what_reads_one_text_is_refused(
    tmp_path: pathlib.Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=f"{expected}.*leave it out"):
        config_of(tmp_path, "preset", **changes)

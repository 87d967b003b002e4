"""The whole way, from a CSV to predictions; and runs that are killed on it."""

from __future__ import annotations

import csv
import dataclasses
import html
import json
import math
import logging
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import types
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests import processes, tiny
from trainer import exit_codes, experiment, folder_lock, predict, storage
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    KeptConfig,
    LabellingConfig,
    ModelConfig,
    OptimizerConfig,
    PredictConfig,
    RuntimeConfig,
    ServingConfig,
    TrainingConfig,
)
from trainer.serving import export as exports
from trainer.serving import manifest, predictor
from trainer.stages import prepare, resolve

NUM_REVIEWS = 240
_EXECUTABLE = [sys.executable, "-m"]


def make_config(folder: pathlib.Path, preset: str, **changes: Any) -> ExperimentConfig:
    """A run of a few seconds on a CSV of tiny reviews; `changes` by section name."""
    csv_file = folder / "reviews.csv"
    if not csv_file.is_file():
        tiny.write_reviews(csv_file, count=NUM_REVIEWS)
    sections: dict[str, Any] = {
        "data": DataConfig(
            dataset=f"files:{csv_file}",
            max_length=48,
            num_buckets=2,
            cache_dir=str(folder / "cache"),
        ),
        "model": ModelConfig(preset=preset, dropout=0.1),
        "optimizer": OptimizerConfig(learning_rate=1e-2),
        "training": TrainingConfig(
            num_train_epochs=4, global_batch_size=8, best_metric="loss"
        ),
        # Compiling would take longer than what such a run computes: it is left out.
        "runtime": RuntimeConfig(strategy="one_device"),
        "kept": KeptConfig(),
    }
    defaults: dict[str, Any] = {
        "model_dir": str(folder / "run"),
        "num_bootstrap_resamples": 50,
        # What they do is tested in stages/test_baselines.py.
        "baselines": (),
        "num_before_examples": 20,
        # Half of the time of such a run; who looks at an export asks for one.
        "serving": ServingConfig(export=False),
    }
    for name, values in changes.items():
        if name in sections:
            sections[name] = dataclasses.replace(sections[name], **values)
            changes = {k: v for k, v in changes.items() if k != name}
    return ExperimentConfig(**defaults | sections | changes)


def weights_of(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """Every number in the latest checkpoint: weights, optimizer and all."""
    steps = [
        int(path.stem.removeprefix("step-"))
        for path in (model_dir / "checkpoints" / "latest").glob("step-*.index")
    ]
    newest = model_dir / "checkpoints" / "latest" / f"step-{max(steps)}"
    reader = tf.train.load_checkpoint(str(newest))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith(("weights", "optimizer"))
    }


def assert_equal_weights(one: pathlib.Path, other: pathlib.Path) -> None:
    """To the last bit."""
    expected, found = weights_of(one), weights_of(other)
    assert expected.keys() == found.keys() and len(expected) > 20
    for name, value in expected.items():
        np.testing.assert_array_equal(value, found[name], err_msg=name)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run that was let alone, and its result."""
    folder = tmp_path_factory.mktemp("finished")
    config = make_config(folder, tiny_preset, serving=ServingConfig())
    return config, experiment.run(config)


def test_learns_and_reports(finished: tuple[ExperimentConfig, Any]) -> None:
    config, result = finished
    folder = pathlib.Path(config.model_dir)
    report = json.loads((folder / "report.json").read_text())
    assert report == result.report
    before, after = report["before"]["test"], report["after"]["test"]
    assert before["num_examples"] == 20 < after["num_examples"]
    assert before["confidence_intervals_95"]["accuracy"]
    assert "; XLA is left out: " in report["environment"]["chosen"]
    assert report["settings_in_words"]["jit_compile"] == "off"
    assert after["accuracy"] > max(0.85, before["accuracy"] + 0.1)
    assert after["loss"] < before["loss"]
    low, high = after["confidence_intervals_95"]["accuracy"]
    assert low <= after["accuracy"] <= high
    counted = sum(s["num_examples"] for s in report["data"]["splits"].values())
    assert counted == NUM_REVIEWS
    assert report["config"] == json.loads((folder / "config.json").read_text())
    timing = report["timing"]
    assert 0 < timing["train_examples_per_sec"]
    assert 0 < timing["input_wait_fraction"] < 1
    assert 0 < timing["compile_secs"] < timing["secs_to_first_step"]
    assert report["training"]["num_steps_run"] == report["training"]["total_steps"]
    page = (folder / "report.html").read_text()
    assert "<svg" in page or "data:image/svg" in page
    for line in (str(folder / "report.html"), " -m trainer.predict "):
        assert line in result.summary


def read_answers(report: Any, split: str) -> list[dict[str, Any]]:
    """The answers that a run left, of a held-out split."""
    text = pathlib.Path(report["paths"]["predictions"][split]).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_leaves_its_answers_to_the_held_out_texts(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    """With their places, as the export gives them."""
    config, result = finished
    report, folder = result.report, pathlib.Path(config.model_dir)
    reviews = folder.parent / "reviews.csv"
    with open(reviews, encoding="utf-8") as file:
        lines = [None, None, *csv.DictReader(file)]
    data = prepare.read_texts(config.data, seed=config.training.seed)
    for split in ("validation", "test"):
        path = folder / "predictions" / f"{split}.jsonl"
        assert report["paths"]["predictions"][split] == str(path)
        found = read_answers(report, split)
        texts = data.pool.texts.take(data.splits[split].rows).to_pylist()
        assert [lines[row["line"]]["text"] for row in found] == texts
        assert [lines[row["line"]]["label"] for row in found] == [
            row["label"] for row in found
        ]
        served = predictor.load(report["export"]["path"])(texts)
        for row, answer in zip(found, served, strict=True):
            assert list(row) == "file line label answer probabilities".split()
            assert row["file"] == str(reviews) and row["answer"] == answer["label"]
            assert row["probabilities"] == pytest.approx(
                answer["probabilities"], abs=1e-5
            )
        for error in report["after"][split]["most_confident_errors"]:
            assert error["file"] == str(reviews)
            assert lines[error["line"]]["text"] == error["text"]
            assert lines[error["line"]]["label"] == error["label"]


def test_shows_held_out_texts(finished: tuple[ExperimentConfig, Any]) -> None:
    """Which the trained model chose; not beside the model, which may be published."""
    _, result = finished
    report, page = result.report, result.report_path.read_text()
    samples = {sample["why"]: sample for sample in report["samples"]}
    answers = read_answers(report, "test")
    is_right = [row["answer"] == row["label"] for row in answers]
    reasons = ["surest right", "surest wrong", "nearest to the border"]
    if all(is_right):
        reasons.remove("surest wrong")
    assert list(samples) == reasons
    version = pathlib.Path(report["export"]["path"])
    card = (version / "MODEL_CARD.md").read_text()
    for why, sample in samples.items():
        assert f"The {why} of the test texts" in page and why in result.summary
        assert sample["text"] in page and sample["text"] not in card
        assert sample["before"] != sample["after"]
    scores = [max(row["probabilities"]) for row in answers]
    assert samples["surest right"]["after"]["score"] == max(
        score for score, right in zip(scores, is_right) if right
    )
    assert samples["nearest to the border"]["after"]["score"] == min(scores)
    assert manifest.read(version)["samples"] == []


@pytest.mark.parametrize("has_held_out", [True, False])
def test_texts_that_are_given_are_shown_everywhere(
    has_held_out: bool, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    changes: Any = (
        {} if has_held_out else {"data": {"test_one_in": 0, "validation_one_in": 0}}
    )
    given = ("A good film.", "A | bad film.") if has_held_out else ()
    config = make_config(
        tmp_path,
        tiny_preset,
        sample_texts=given,
        training={"num_train_epochs": 1},
        serving=ServingConfig(),
        **changes,
    )
    report = experiment.run(config).report
    assert [sample["text"] for sample in report["samples"]] == list(given)
    for sample in report["samples"]:
        assert (sample["why"], sample["label"]) == ("given", None)
    version = pathlib.Path(report["export"]["path"])
    card = (version / "MODEL_CARD.md").read_text()
    assert ("| A \\| bad film. | " in card) == has_held_out
    assert [s["text"] for s in manifest.read(version)["samples"]] == list(given)
    names = report["paths"]["predictions"].keys()
    assert names == ({"validation", "test"} if has_held_out else set())
    assert (tmp_path / "run" / "predictions").is_dir() == has_held_out


def test_long_texts_in_windows_decided_and_exported(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """The numbers of the report are those that its export gives."""
    new, _ = tiny.labelled_sentences(20, seed=6)
    (tmp_path / "new.txt").write_text("\n".join(new) + "\n")
    config = make_config(
        tmp_path,
        tiny_preset,
        data=dict(max_length=12, long_text="windows", max_windows=3, num_buckets=1),
        labelling=LabellingConfig(
            export_to_label=str(tmp_path / "to_label.csv"),
            unlabelled=f"files:{tmp_path}/new.txt",
            num_to_label=5,
        ),
        serving=ServingConfig(
            export_dir=str(tmp_path / "models"),
            export_formats=("float32", "bfloat16"),
            max_accuracy_drop=1,
            decision_metric="f1_macro",
            abstain_accuracy=0.5,
            num_export_examples=7,
        ),
    )
    report = experiment.run(config).report
    assert report["data"]["bucket_lengths"] == [12, 24, 36]
    # 3 windows of 10 tokens, of which neighbours share 3, and their ends.
    truncated = report["data"]["splits"]["test"]["truncated_fraction"]
    assert 0 < truncated < 0.8
    assert report["export"]["path"] == str(tmp_path / "models" / "1")
    assert [f["format"] for f in report["export"]["formats"]] == ["float32", "bfloat16"]
    decision = report["decision"]
    quality = decision["quality"]["validation"]
    assert decision["split"] == "validation"
    assert quality["after"]["loss"] <= quality["before"]["loss"]
    assert quality["after"]["loss"] == pytest.approx(
        report["after"]["validation"]["loss"], rel=1e-5
    )
    # As it is served: the test split, predicted from the export.
    data = prepare.read_texts(config.data, seed=config.training.seed)
    rows = data.splits["test"].rows
    labels = data.pool.labels[rows]
    answers = predictor.load(str(tmp_path / "models"))(
        data.pool.texts.take(rows).to_pylist()
    )
    names = [data.label_names[label] for label in labels]
    is_right = [a["label"] == name for a, name in zip(answers, names, strict=True)]
    assert np.mean(is_right) == pytest.approx(decision["quality"]["test"]["accuracy"])
    # The export was checked on texts from all over the split.
    checked_rows = np.linspace(0, len(rows) - 1, 7).round().astype(int)
    checked = report["export"]["formats"][0]
    assert checked["num_texts"] == 7
    assert checked["accuracy"] == pytest.approx(
        np.mean(np.array(is_right)[checked_rows])
    )
    _assert_measured_of_these(report, data.label_names, labels, answers)
    _assert_told_beside_the_export(tmp_path / "models" / "1", report)
    with open(config.labelling.export_to_label, newline="") as file:
        _assert_answers_of(tmp_path / "models", list(csv.DictReader(file)))


def _assert_answers_of(saved_model: pathlib.Path, rows: Sequence[Any]) -> None:
    """What is told of texts to label is what the export answers."""
    asked = predictor.load(str(saved_model))([row["text"] for row in rows])
    for row, answer in zip(rows, asked, strict=True):
        assert row["answer"] == answer["label"]
        assert float(row["score"]) == pytest.approx(answer["score"], abs=1e-3)


def _assert_measured_of_these(
    report: Any,
    label_names: Sequence[str],
    labels: np.ndarray,
    answers: Sequence[Mapping[str, Any]],
) -> None:
    """The metrics of the test split are those of the answers to it."""
    names = [label_names[label] for label in labels]
    decision = report["decision"]
    measured = report["after"]["test"]
    assert np.trace(measured["confusion_matrix"]) == sum(
        a["label"] == name for a, name in zip(answers, names)
    )
    given = [label_names.index(answer["label"]) for answer in answers]
    assert np.sum(measured["confusion_matrix"], axis=0).tolist() == (
        np.bincount(given, minlength=len(label_names)).tolist()
    )
    assert measured["f1_macro"] == pytest.approx(
        decision["quality"]["test"]["thresholds"]["f1_macro"]
    )
    covered = 1 - np.mean([answer["abstain"] for answer in answers])
    assert covered == pytest.approx(decision["quality"]["test"]["coverage"])
    losses = [
        -np.log(answer["probabilities"][label])
        for answer, label in zip(answers, labels)
    ]
    assert np.mean(losses) == pytest.approx(report["after"]["test"]["loss"], rel=1e-4)


def _assert_told_beside_the_export(folder: pathlib.Path, report: Any) -> None:
    facts = manifest.read(folder)
    assert facts["metrics"]["test"]["loss"] == report["after"]["test"]["loss"]
    assert facts["data_fingerprint"] == report["data"]["fingerprint"]
    card = (folder / "MODEL_CARD.md").read_text()
    assert "in up to 3 overlapping windows" in card


def test_metrics_file_has_every_log_line(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, result = finished
    history = result.report["history"]
    total = result.report["training"]["total_steps"]
    steps = [record["step"] for record in history["train"]]
    # --logging_steps=0 follows the length of the run; the first step is logged, too.
    every = math.ceil(total / 50)
    assert steps == sorted({1, *range(every, total, every), total})
    assert len(history["validation"]) == config.training.num_train_epochs
    assert history["train"][-1]["loss"] < history["train"][0]["loss"]
    logs = pathlib.Path(config.model_dir) / "logs"
    assert list(logs.glob("train/events*")) and list(logs.glob("validation/events*"))


def test_a_finished_run_is_left_alone(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, result = finished
    report = pathlib.Path(config.model_dir) / "report.json"
    written = report.stat().st_mtime_ns
    assert experiment.run(config).summary == result.summary
    assert report.stat().st_mtime_ns == written


def test_a_second_process_on_the_same_folder_is_refused(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, _ = finished
    place = storage.path(config.model_dir)
    with folder_lock.held(place, flag="model_dir"):
        with pytest.raises(ValueError, match=f"process {os.getpid()} on .* uses it"):
            experiment.run(config)
    experiment.run(config)


def test_finished_on_data_that_were_mended_is_refused_and_the_way_on_works(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(tmp_path, tiny_preset, training={"num_train_epochs": 1})
    first = experiment.run(config)
    reviews = tmp_path / "reviews.csv"
    before = reviews.read_text()
    reviews.write_text(before.replace("bad\n", "good\n", 1))
    with pytest.raises(
        ValueError, match="other data; .* split changed since;"
    ) as error:
        experiment.run(config)
    assert "another --model_dir" in str(error.value)
    reviews.write_text(before + "One row more.,good\n")
    with pytest.raises(
        ValueError, match=r"reviews.csv has \d+ rows and had \d+; train"
    ):
        experiment.run(config)
    reviews.write_text(before.replace("bad\n", "good\n", 1))
    # Both ways that the message names.
    other = dataclasses.replace(config, model_dir=str(tmp_path / "other"))
    assert experiment.run(other).report["data"] != first.report["data"]
    reviews.write_text(before)
    assert experiment.run(config) == first


def test_finished_with_other_serving_settings_is_published_again(
    tmp_path: pathlib.Path, tiny_preset: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From the best weights: nothing is trained."""
    config = make_config(
        tmp_path,
        tiny_preset,
        training={"num_train_epochs": 2},
        serving=ServingConfig(),
    )
    first = experiment.run(config)
    changed = processes.replaced(
        config,
        "serving",
        export_formats=("float32", "int8"),
        max_accuracy_drop=1.0,
        calibrate=False,
        abstain_accuracy=0.99,
    )
    with caplog.at_level(logging.INFO, logger="trainer"):
        second = experiment.run(changed)
    assert "publishing again with --export_formats=float32,int8" in caplog.text
    assert "--calibrate=False" in caplog.text
    assert second.report["export"]["version"] == 2
    formats = [f["format"] for f in second.report["export"]["formats"]]
    assert formats == ["float32", "int8"]
    assert second.report["decision"]["temperature"] == 1
    assert not second.report["config"]["serving"]["calibrate"]
    # So few texts promise nothing, and the reader of report and manifest learns of it.
    assert first.report["decision"]["abstain_below"] == 0
    assert second.report["decision"]["abstain_below"] == 1
    (warning,) = second.report["decision"]["warnings"]
    assert "--abstain_accuracy=0.99" in warning and warning in second.report["warnings"]
    facts = manifest.read(pathlib.Path(second.report["export"]["path"]))
    assert warning in [doubt["message"] for doubt in facts["doubts"]]
    assert facts["decision_measured_on"] == "test"
    assert facts["decision_quality"] == json.loads(
        json.dumps(second.report["decision"]["quality"]["test"])
    )
    for part in ("before", "training"):
        assert second.report[part] == first.report[part]
    records = first.report["history"]["train"]
    assert second.report["history"]["train"] == records
    # Applied now: nothing is left to do.
    assert experiment.run(changed).report == second.report
    # Without its weights there is nothing to publish.
    storage.remove(storage.path(config.model_dir) / "checkpoints")
    with pytest.raises(ValueError, match="no checkpoint in .*calibrate|calibrate"):
        experiment.run(config)
    assert experiment.run(changed).report == second.report


def test_an_evaluation_of_other_data_is_not_taken_for_before(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Killed before its first checkpoint, and started again on mended data."""
    config = make_config(
        tmp_path,
        tiny_preset,
        num_before_examples=0,
        training={"num_train_epochs": 1, "save_every_steps": 0},
    )
    (process,) = [processes.start(config)]
    before = tmp_path / "run" / "before.json"
    processes.kill_when(process, before.is_file)
    tiny.write_reviews(tmp_path / "reviews.csv", count=2 * NUM_REVIEWS, seed=5)
    if (tmp_path / "run" / "checkpoints" / "latest").is_dir():
        shutil.rmtree(tmp_path / "run" / "checkpoints")  # It was too quick.
    report = experiment.run(config).report
    for split in ("validation", "test"):
        num_texts = report["data"]["splits"][split]["num_examples"]
        assert report["before"][split]["num_examples"] == num_texts
        assert report["after"][split]["num_examples"] == num_texts


def test_other_settings_in_the_same_folder_are_refused(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, _ = finished
    other = dataclasses.replace(
        config, training=dataclasses.replace(config.training, seed=5)
    )
    with pytest.raises(ValueError, match="--seed: 0 there, 5 now"):
        experiment.run(other)


def test_a_refused_export_leaves_a_report(
    tmp_path: pathlib.Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no run that is finished: it is published when it is started again."""
    config = make_config(
        tmp_path,
        tiny_preset,
        training={"num_train_epochs": 1},
        serving=ServingConfig(),
    )
    roundings = dict.fromkeys(exports.ROUNDINGS, exports.Rounding(-1.0, -1.0))
    with monkeypatch.context() as patch:
        patch.setattr(exports, "ROUNDINGS", roundings)
        with pytest.raises(ValueError, match="the export was not published"):
            experiment.run(config)
    folder = tmp_path / "run"
    page, summary = (
        (folder / name).read_text() for name in ("report.html", "summary.txt")
    )
    assert "no export has passed its checks" in page and "Accuracy on" in page
    assert re.search("SavedModel +not yet", summary) and "Accuracy on" in summary
    assert (folder / "predictions" / "test.jsonl").is_file()
    assert not (folder / "report.json").exists()


def test_other_data_in_the_same_run_is_refused(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        training={"num_train_epochs": 1},
        data={"dataset": f"files:{tmp_path}/reviews*.csv"},
    )
    experiment.run(config)
    (tmp_path / "run" / "report.json").unlink()
    tiny.write_reviews(tmp_path / "reviews.csv", count=NUM_REVIEWS, seed=1)
    with pytest.raises(ValueError, match="train, .*test.* split changed since; train"):
        experiment.run(config)
    # A glob that stands for more than when the run was started.
    tiny.write_reviews(tmp_path / "reviews_2.csv", count=8, seed=2)
    with pytest.raises(ValueError, match="since, .*/reviews_2.csv is new; train on"):
        experiment.run(config)


def test_predicts_from_the_export(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    """In a new process, from a folder that was moved, with the library's own inputs."""
    _, result = finished
    moved = tmp_path / "moved"
    assert result.saved_model is not None
    os.rename(result.saved_model, moved)
    try:
        texts, labels = tiny.labelled_sentences(50, seed=99)
        (tmp_path / "texts.txt").write_text("".join(text + "\n" for text in texts))
        output = tmp_path / "out.jsonl"
        subprocess.run(
            [
                *_EXECUTABLE,
                "trainer.predict",
                f"--saved_model={moved}",
                f"--input={tmp_path / 'texts.txt'}",
                f"--output={output}",
            ],
            check=True,
            timeout=120,
        )
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        found = np.array([row["label"] == "good" for row in rows])
        assert len(rows) == 50 and (found == labels).mean() > 0.85
    finally:
        os.rename(moved, result.saved_model)


def test_says_whether_new_texts_have_drifted(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    """By `trainer.predict`, whose answers stay what they are."""
    _, result = finished
    texts, labels = tiny.labelled_sentences(200, seed=98)
    good = [text for text, label in zip(texts, labels) if label]
    (tmp_path / "same.txt").write_text("\n".join(texts))
    (tmp_path / "other.txt").write_text("\n".join(f"zebra {text}" for text in good))
    said = {}
    for name, code in {"same": None, "other": exit_codes.DRIFTED}.items():
        settings: dict[str, Any] = dict(
            saved_model=str(result.saved_model),
            input=str(tmp_path / f"{name}.txt"),
            output=str(tmp_path / f"{name}.jsonl"),
        )
        predictor.predict_file(PredictConfig(**settings))
        plain = (tmp_path / f"{name}.jsonl").read_bytes()
        page = tmp_path / f"{name}.html"
        config = PredictConfig(**settings, drift_report=str(page), fail_on_drift=True)
        ended = None
        try:
            predict.main(config)
        except SystemExit as caught:
            ended = caught.code
        assert ended == code
        assert (tmp_path / f"{name}.jsonl").read_bytes() == plain
        said[name] = json.loads(page.with_suffix(".json").read_text())
        assert said[name]["sentence"] in html.unescape(page.read_text())
    assert not said["same"]["is_drifted"] and said["other"]["is_drifted"]
    drifted = {m["name"] for m in said["other"]["measures"] if m["is_drifted"]}
    assert drifted >= {"answers", "unknown_tokens"}
    # All of them are good; the model confuses few.
    bad, good_share = said["other"]["label_shares"]
    assert good_share["label"] == "good" and good_share["estimated_new"] > 0.9
    assert bad["interval_95"][0] <= 0.05
    # Of the texts it is trained on nothing but counts is kept.
    report = result.report["data"]["splits"]["train"]
    train = {share["label"]: share["train"] for share in said["same"]["label_shares"]}
    for label, count in report["class_counts"].items():
        assert train[label] == pytest.approx(count / report["num_examples"])


def test_warmup_beyond_the_run_is_told(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        training={"num_train_epochs": 1},
        optimizer={"num_warmup_steps": 500},
    )
    report = experiment.run(config).report
    total = report["training"]["total_steps"]
    assert total < 500
    (warning,) = [w for w in report["warnings"] if "warmup" in w]
    assert "500" in warning and str(total) in warning


@pytest.mark.parametrize(
    ("settings", "runtime", "eval_batch_size", "steps_per_call"),
    [
        ({}, {}, 24, 1),
        ({}, {"fusion": "whole"}, 24, 1),
        ({"eval_batch_size": 7, "steps_per_call": 5}, {}, 7, 5),
        ({}, {"has_accelerators": True}, 128, 1),
        ({}, {"has_accelerators": True, "fusion": "whole"}, 128, 4),
        ({}, {"has_accelerators": True, "num_replicas": 4}, 512, 1),
        (
            {},
            {"has_accelerators": True, "fusion": "whole", "num_replicas": 4},
            512,
            1,
        ),
        (
            {},
            {"has_accelerators": True, "is_on_tpu": True, "num_replicas": 8},
            1024,
            4,
        ),
        (
            {"global_batch_size": 300, "steps_per_call": 1},
            {"has_accelerators": True, "fusion": "whole"},
            300,
            1,
        ),
        ({"eval_batch_size": 32}, {"has_accelerators": True}, 32, 1),
    ],
)
def test_what_auto_stands_for(
    settings: dict[str, int],
    runtime: dict[str, Any],
    eval_batch_size: int,
    steps_per_call: int,
    tmp_path: pathlib.Path,
) -> None:
    per_call = settings.get("steps_per_call", 0)
    training = {"global_batch_size": 24} | settings
    training.pop("steps_per_call", None)
    config = make_config(
        tmp_path, "preset", training=training, runtime={"steps_per_call": per_call}
    )
    cpu = dict(has_accelerators=False, is_on_tpu=False, num_replicas=1)
    device: Any = types.SimpleNamespace(**{"fusion": "none"} | cpu | runtime)
    assert resolve.eval_batch_size(config.training, device) == eval_batch_size
    assert resolve.steps_per_call(config.runtime, device) == steps_per_call


@pytest.mark.slow
def test_several_steps_a_call_give_the_same_run(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config, one = finished
    config = processes.replaced(config, "serving", export=False)
    results = {}
    for count in (2, 4):
        several = processes.replaced(config, "runtime", steps_per_call=count)
        folder = tmp_path / str(count)
        several = dataclasses.replace(several, model_dir=str(folder))
        results[count] = experiment.run(several)
    assert_equal_weights(tmp_path / "2", tmp_path / "4")
    for split in ("train", "validation"):
        two, four = (each.report["history"][split] for each in results.values())
        assert without_times(two) == without_times(four)
    for part in ("before", "after", "samples", "training"):
        assert results[2].report[part] == results[4].report[part]
    # A step a call has a graph of its own, one for all lengths: equal to rounding.
    losses = [
        [record["loss"] for record in each.report["history"]["train"]]
        for each in (one, results[4])
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    accuracy = [each.report["after"]["test"]["accuracy"] for each in (one, results[4])]
    assert accuracy[0] == accuracy[1]


def test_budget_of_tokens(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    """Fewer updates; the loss is that of an example, not of a nominal batch."""
    config = make_config(
        tmp_path,
        tiny_preset,
        model={"dropout": 0.0},
        training={
            "global_batch_size": 2,
            "tokens_per_batch": 16 * 48,
            "logging_steps": 1,
            "num_train_epochs": 1,
            "eval_batch_size": 8,
        },
        optimizer={"num_warmup_steps": 10, "learning_rate": 1e-4},
    )
    report = experiment.run(config).report
    records = report["history"]["train"]
    num_examples = report["data"]["splits"]["train"]["num_examples"]
    assert len(records) == report["training"]["total_steps"] <= num_examples / 16 + 1
    for record in records:
        assert record["loss"] == pytest.approx(
            report["before"]["test"]["loss"], rel=0.3
        )
    # After the first update 16 examples or more are seen, 8 nominal batches of 10.
    assert records[0]["learning_rate"] == 0.0
    assert records[1]["learning_rate"] >= 0.79e-4
    assert records[1]["learning_rate"] <= 1e-4


@pytest.mark.parametrize(
    ("training", "num_replicas", "words"),
    [
        ({"tokens_per_batch": 400}, 3, ["multiple of 8 rows", "3 × 1"]),
        (
            {"tokens_per_batch": 400, "accumulation_steps": 4},
            4,
            ["--tokens_per_batch=400", "48 tokens", "4 × 4"],
        ),
    ],
)
def test_budget_that_replicas_cannot_share(
    training: dict[str, Any],
    num_replicas: int,
    words: list[str],
    tmp_path: pathlib.Path,
    tiny_preset: str,
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        training={"eval_batch_size": 24} | training,
        runtime={"strategy": "mirrored", "num_virtual_devices": 4},
    )
    runtime = types.SimpleNamespace(num_replicas=num_replicas)
    with pytest.raises(ValueError) as caught:
        resolve.check_train_batch_size(
            config.training,
            runtime,  # type: ignore[arg-type]
            max_text_length=config.data.max_text_length,
        )
    for word in words:
        assert word in str(caught.value)


def test_without_validation_the_last_weights_count(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        data={
            "validation_one_in": 0,
            "num_train_examples": 64,
            "num_eval_examples": 999,
        },
        training={"num_train_epochs": 1},
    )
    report = experiment.run(config).report
    assert report["training"]["weights"] == "last"
    assert "validation" not in report["after"]
    assert report["data"]["splits"]["train"]["num_examples"] == 64
    (warning,) = [w for w in report["warnings"] if "--num_eval_examples=999" in w]
    num_test = report["after"]["test"]["num_examples"]
    assert f"exceeds the {num_test} texts of the test split" in warning


def test_whole_run_on_a_file_system_of_another_scheme(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """TensorFlow's own in memory: as gs:// is used, without the network."""
    place = f"ram://{tmp_path.name}/run"
    config, local = finished
    config = dataclasses.replace(config, model_dir=place)
    result = experiment.run(config)
    assert result.report["after"] == local.report["after"]
    assert str(result.saved_model) == f"{place}/export/1"
    folder = storage.path(place)
    names = {path.name for path in folder.iterdir()}
    assert names >= {"report.html", "report.json", "config.json", "metrics.jsonl"}
    assert {p.name for p in (folder / "logs").iterdir()} == {"train", "validation"}
    served = tf.saved_model.load(f"{place}/export/1").signatures["serving_default"]
    assert served(text=tf.constant(["a good film"]))["label"].numpy().tolist()
    # Goes on from the checkpoint there.
    (folder / "report.json").unlink()
    assert experiment.run(config).report["after"] == local.report["after"]
    assert experiment.run(config).summary.count("export/2") == 2
    storage.remove(folder)


def test_whole_run_among_names_that_are_patterns(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """TensorFlow matches the name of a checkpoint before it opens it."""
    folder = tmp_path / r"runs [1] ?*{a,b}\d"
    preset = folder / "preset"
    shutil.copytree(tiny_preset, preset)
    config = make_config(
        folder,
        str(preset),
        training={"num_train_epochs": 1},
        serving=ServingConfig(),
    )
    config = dataclasses.replace(
        config, data=dataclasses.replace(config.data, dataset=f"files:{folder}/r*.csv")
    )
    result = experiment.run(config)
    assert result.report["status"] == "complete"
    (answer,) = predictor.load(str(result.saved_model))(["a good film"])
    assert answer["label"] in ("bad", "good")
    # From the checkpoint there.
    (pathlib.Path(config.model_dir) / "report.json").unlink()
    assert experiment.run(config).report["after"] == result.report["after"]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "is_a_checkpoint"), [("340k", True), ("8k", False)])
def test_full_disk_ends_with_a_message(
    size: str, is_a_checkpoint: bool, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """On a file system of its own, with room for a few checkpoints, or for none."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this machine lets no process have file systems of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    config = make_config(
        tmp_path,
        tiny_preset,
        model_dir=str(disk / "run"),
        training={"save_every_steps": 5},
    )
    command = shlex.join(processes.command(config))
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk}"
    script = (
        f"{mount} && {command}; code=$?; ls {disk}/run/checkpoints/latest; exit $code"
    )
    result = subprocess.run(
        [*alone, "bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=processes.TIMEOUT_SECS,
        check=False,
    )
    output = result.stdout.decode()
    assert result.returncode == exit_codes.USER_ERROR, output
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in error and "make room" in error
    assert "Traceback" not in output
    if not is_a_checkpoint:
        return
    match = re.search(r"latest/(step-\d+) is there to resume from", error)
    assert match and output.split().count(f"{match[1]}.index") == 1, output
    assert "temp" not in output.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize(("dropout", "tokens_per_batch"), [(0.1, 0), (0.0, 400)])
def test_mirrored_run_equals_one_device(
    dropout: float, tokens_per_batch: int, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Through evaluation; with dropout the replicas' masks differ."""
    results = {}
    for name, runtime in (
        ("one", {"strategy": "one_device"}),
        ("two", {"strategy": "mirrored", "num_virtual_devices": 2}),
    ):
        config = make_config(
            tmp_path,
            tiny_preset,
            model={"dropout": dropout},
            training={"num_train_epochs": 1, "tokens_per_batch": tokens_per_batch},
            runtime=runtime,
            model_dir=str(tmp_path / name),
        )
        results[name] = experiment.run(config).report
    one, two = (weights_of(tmp_path / name) for name in ("one", "two"))
    difference = max(np.abs(one[name] - two[name]).max() for name in one)
    if dropout:
        assert difference > 1e-3, "both runs drew the same masks"
    else:
        # At a learning rate of 1e-2; Adam makes much of a gradient that is rounding.
        assert difference < 2e-4
        losses = [results[n]["after"]["test"]["loss"] for n in ("one", "two")]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.slow
def test_killed_and_started_again_equals_undisturbed(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """SIGKILL before the first checkpoint, between two, and while one is written."""
    settings: Any = dict(
        training={"save_every_steps": 7, "eval_every_steps": 13},
        serving=ServingConfig(),
    )
    undisturbed = make_config(
        tmp_path, tiny_preset, model_dir=str(tmp_path / "undisturbed"), **settings
    )
    processes.finish([processes.start(undisturbed)])

    killed = make_config(
        tmp_path, tiny_preset, model_dir=str(tmp_path / "killed"), **settings
    )
    folder = tmp_path / "killed"
    latest = folder / "checkpoints" / "latest"
    metrics = folder / "metrics.jsonl"
    moments: list[Callable[[], bool]] = [
        lambda: (folder / "before.json").is_file(),
        lambda: metrics.is_file() and '"step": 20' in metrics.read_text(),
        lambda: any(latest.glob("step-[45]*temp*")) or any(latest.glob("step-5*")),
        lambda: (folder / "export").is_dir(),
    ]
    for moment in moments:
        processes.kill_when(processes.start(killed), moment)
        assert not (folder / "report.json").exists()
    (output,) = processes.finish([processes.start(killed)])
    assert "resuming from step" in output

    assert_equal_weights(tmp_path / "undisturbed", folder)
    one, other = (
        json.loads((path / "report.json").read_text())
        for path in (tmp_path / "undisturbed", folder)
    )
    for part in ("before", "after", "samples", "training"):
        assert one[part] == other[part]
    for split in ("train", "validation"):
        assert without_times(one["history"][split]) == without_times(
            other["history"][split]
        )
    for split in ("validation", "test"):
        assert read_answers(one, split) == read_answers(other, split)


def without_times(records: list[dict[str, float]]) -> list[dict[str, float]]:
    """Records without what depends on the clock."""
    times = ("examples_per_sec", "secs_left", "input_wait_fraction")
    return [{k: v for k, v in r.items() if k not in times} for r in records]


@pytest.mark.slow
def test_diverged_run_ends_with_a_message(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        optimizer={"learning_rate": 1e30, "clip_norm": 0.0, "num_warmup_steps": 20},
        training={"save_every_steps": 1},
    )
    (output,) = processes.finish([processes.start(config)], returncode=3)
    assert "training diverged at step" in output and "Traceback" not in output


def test_csv_written_by_a_user_is_read_whole(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Three classes by name, fewer texts than a batch holds, one mistake in it."""
    rows = [("good film", "liked"), ("bad film", "disliked"), ("a film", "neither")]
    path = tmp_path / "reviews.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((f"{t} {w}", n) for t, n in rows for w in tiny.NEUTRAL)
        writer.writerow(["", "liked"])
    changes: Any = dict(training={"num_train_epochs": 1, "global_batch_size": 64})
    config = make_config(tmp_path, tiny_preset, **changes)
    line = 2 + len(rows) * len(tiny.NEUTRAL)
    with pytest.raises(ValueError, match=rf"reviews\.csv:{line}: expected .*text"):
        experiment.run(config)
    # The folder is not taken by a run that could not start.
    changes["data"] = {"bad_rows": "skip"}
    report = experiment.run(make_config(tmp_path, tiny_preset, **changes)).report
    assert report["data"]["label_names"] == ["disliked", "liked", "neither"]
    assert report["data"]["source"]["splits"]["train"]["num_skipped_rows"] == 1
    assert any("--global_batch_size=64" in warning for warning in report["warnings"])

"""Tests of trainer/studies/folds.py: real tiny runs, alone, together, killed."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import psutil
import pyarrow.parquet
import pytest
import tensorflow as tf

from tests import processes, tiny
from tests.serving import tiny_export
from tests.studies.tiny_runs import make_study, results, start
from tests.test_experiment import assert_equal_weights
from trainer.config import DataConfig, ExperimentConfig, GroupsConfig, ModelConfig
from trainer.modeling import weights
from trainer.modeling.classifier import build_classifier, model_inputs
from trainer.modeling.presets import load_preset
from trainer.serving import manifest, predictor
from trainer.stages import prepare
from trainer.studies import driver
from trainer.study_config import StudyConfig

NUM_FOLDS, NUM_TEXTS = 3, 60


def make_folds(folder: pathlib.Path, preset: str, **changes: Any) -> StudyConfig:
    """Three folds of few texts, and the final run."""
    tiny.write_reviews(folder / "reviews.csv", count=NUM_TEXTS)
    return make_study(
        folder,
        preset,
        study="folds",
        data={
            "num_folds": NUM_FOLDS,
            "num_eval_examples": 0,
            "validation_one_in": 4,
        },
        training={"num_train_epochs": 2},
        # Of what the folds' runs hold out; the final run has no such texts.
        groups=GroupsConfig(slice_fields=("label",)),
        **{"export_folds": "final"} | changes,
    )


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> StudyConfig:
    """A study that was let alone."""
    config = make_folds(tmp_path_factory.mktemp("undisturbed"), tiny_preset)
    driver.run(config)
    return config


def report_of(config: StudyConfig, run: int) -> Any:
    folder = pathlib.Path(config.study_dir) / "runs" / f"{run:03}"
    return json.loads((folder / "report.json").read_text())


def rows_of(config: StudyConfig) -> list[Mapping[str, Any]]:
    path = pathlib.Path(config.study_dir) / "out_of_fold.parquet"
    rows: list[Mapping[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


@pytest.mark.slow
def test_every_text_has_one_answer_by_a_model_that_never_saw_it(
    undisturbed: StudyConfig,
) -> None:
    rows = rows_of(undisturbed)
    assert [*rows[0]] == ["file", "line", "label", "fold", "probabilities"]
    assert len({(row["file"], row["line"]) for row in rows}) == len(rows) == NUM_TEXTS
    assert {row["fold"] for row in rows} == set(range(NUM_FOLDS))
    for fold in range(NUM_FOLDS):
        report = report_of(undisturbed, fold)
        config = undisturbed.run(fold, fold=fold)
        texts = prepare.read_texts(config.data, seed=config.training.seed)
        assert texts.fingerprint() == report["data"]["fingerprint"]
        pool = texts.pool
        seen = {
            pool.digests[row].tobytes()
            for name in ("train", "validation")
            for row in texts.splits[name].rows
        }
        held_out = {pool.places.of(int(row)): row for row in texts.splits["test"].rows}
        answered = [row for row in rows if row["fold"] == fold]
        assert len(answered) == len(held_out)
        for row in answered:
            number = held_out[(row["file"], row["line"])]
            assert pool.digests[number].tobytes() not in seen
            assert row["label"] == texts.label_names[pool.labels[number]]
            assert sum(row["probabilities"]) == pytest.approx(1)


@pytest.mark.slow
def test_the_results_are_those_of_the_runs(undisturbed: StudyConfig) -> None:
    folder = pathlib.Path(undisturbed.study_dir)
    study = json.loads((folder / "study.json").read_text())
    accuracies = [
        report_of(undisturbed, fold)["after"]["test"]["accuracy"]
        for fold in range(NUM_FOLDS)
    ]
    assert (study["study"], study["metric"]) == ("folds", "accuracy")
    assert [run["accuracy"] for run in study["runs"]] == accuracies
    assert study["mean"] == pytest.approx(np.mean(accuracies))
    assert study["std"] == pytest.approx(np.std(accuracies, ddof=1))
    low, high = study["interval_95"]
    assert low <= study["mean"] <= high
    pooled = study["out_of_fold"]
    assert pooled["num_examples"] == study["num_examples"] == NUM_TEXTS
    sizes = np.bincount([row["fold"] for row in rows_of(undisturbed)])
    right = np.dot(accuracies, sizes) / NUM_TEXTS
    assert pooled["metrics"]["fine_tuned"]["accuracy"] == pytest.approx(right)
    commonest = pooled["metrics"]["commonest"]["accuracy"]
    assert pooled["comparisons"]["commonest"]["difference"] == pytest.approx(
        right - commonest
    )
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert study["answers"][0] in page and 'src="data:image' in page


@pytest.mark.slow
def test_the_final_run_learns_from_all_texts_and_decides_as_fitted_out_of_fold(
    undisturbed: StudyConfig,
) -> None:
    study = results(undisturbed)
    report = report_of(undisturbed, NUM_FOLDS)
    assert [*report["data"]["splits"]] == ["train"]
    assert report["training"]["num_train_examples"] == NUM_TEXTS
    fitted, given = study["out_of_fold"]["decision"], report["decision"]
    assert given["split"] == "given"
    for name in ("temperature", "abstain_below", "thresholds"):
        assert given[name] == pytest.approx(fitted[name], rel=1e-5)
    assert report["groups"] is None
    # After the kinds of words that the texts have.
    *_, by_label = report_of(undisturbed, 0)["groups"]["slices"]
    assert [each["name"] for each in by_label["groups"]] == ["bad", "good"]
    assert study["final"]["num_train_examples"] == NUM_TEXTS
    assert len(study["runs"]) == NUM_FOLDS


@pytest.fixture(scope="module")
def with_ensemble(
    undisturbed: StudyConfig, tmp_path_factory: pytest.TempPathFactory
) -> StudyConfig:
    """The same study, asked for an ensemble when all its runs were finished."""
    study_dir = tmp_path_factory.mktemp("ensemble") / "study"
    shutil.copytree(undisturbed.study_dir, study_dir)
    config = dataclasses.replace(
        undisturbed, study_dir=str(study_dir), export_folds="ensemble"
    )
    driver.run(config)
    return config


def mean_of_models(config: StudyConfig, texts: Sequence[str]) -> np.ndarray:
    """By KerasHub's layers, with the weights in the checkpoints: [texts, classes]."""
    preset = load_preset(config.model.preset)
    encoder = prepare.make_encoder(config.data, preset)
    rows = encoder(tf.constant(list(texts))).token_ids
    inputs = model_inputs(rows.to_tensor(encoder.pad_id), rows.row_lengths())
    each = []
    for fold in range(NUM_FOLDS):
        model = build_classifier(
            preset, num_classes=2, pooling=config.model.pooling, dropout=0.0, seed=0
        )
        step = report_of(config, fold)["training"]["best_step"]
        best = pathlib.Path(config.study_dir) / f"runs/{fold:03}/checkpoints/best"
        reader = tf.train.load_checkpoint(str(best / f"step-{step}"))
        keys = {
            weights.name_of_key(key): key for key in reader.get_variable_to_shape_map()
        }
        for path, variable in weights.by_path(model).items():
            variable.assign(reader.get_tensor(keys[f"weights/{path}"]))
        each.append(tf.nn.softmax(model(inputs)).numpy().astype(np.float64))
    assert np.abs(each[0] - each[-1]).max() > 0.01
    mean: np.ndarray = np.mean(each, axis=0)
    return mean


@pytest.mark.slow
def test_the_ensemble_answers_by_the_mean_of_the_folds_models(
    with_ensemble: StudyConfig,
) -> None:
    study_dir = pathlib.Path(with_ensemble.study_dir)
    decision = results(with_ensemble)["out_of_fold"]["decision"]
    texts = ["good", "bad", "", "a dull film " * 20, *tiny.labelled_sentences(20)[0]]
    cooled = mean_of_models(with_ensemble, texts) ** (1 / decision["temperature"])
    expected = cooled / cooled.sum(axis=1, keepdims=True)
    answers = predictor.load(str(study_dir / "export"))(texts)
    for answer, row in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(row.tolist(), abs=1e-5)
        chosen = int((row / decision["thresholds"]).argmax())
        assert answer["label"] == ("bad", "good")[chosen]


@pytest.mark.slow
def test_the_ensemble_is_an_export_like_any_other(
    undisturbed: StudyConfig, with_ensemble: StudyConfig
) -> None:
    study_dir = pathlib.Path(with_ensemble.study_dir)
    version = study_dir / "export" / "1"
    assert (study_dir / "export" / "latest").read_text() == "1\n"
    assert manifest.verify(version).num_files > 5
    assert tiny_export.replay(version) > 0
    content = manifest.read(version)
    final = pathlib.Path(undisturbed.study_dir) / "runs" / f"{NUM_FOLDS:03}"
    of_one = manifest.read(final / "export" / "1")
    assert content["signatures"].keys() == of_one["signatures"].keys()
    assert len(content["ensemble"]) == NUM_FOLDS and content["metrics"] == {}
    assert content["latency_ms"] > 0
    card = (version / "MODEL_CARD.md").read_text()
    assert f"An ensemble of {NUM_FOLDS} such models" in card
    assert "No texts were held out" in card
    study = json.loads((study_dir / "study.json").read_text())
    assert study["ensemble"]["num_models"] == NUM_FOLDS and study["final"] is None
    assert study["ensemble"]["export"]["path"] == str(version)
    assert study["ensemble"]["export"]["formats"][0]["bytes"] == content["bytes"]
    for text in (
        (study_dir / name).read_text() for name in ("study.html", "study.txt")
    ):
        assert "is left to measure it on" in " ".join(text.split())
        assert str(version) in "".join(text.split())


@pytest.mark.slow
def test_an_ensemble_that_is_published_is_left_alone(
    with_ensemble: StudyConfig,
) -> None:
    """Until something else is to be published, or it is gone."""
    export = pathlib.Path(with_ensemble.study_dir) / "export"
    before = (export / "1" / "manifest.json").stat().st_mtime_ns
    driver.run(with_ensemble)
    assert [*map(int, filter(str.isdecimal, os.listdir(export)))] == [1]
    assert (export / "1" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_an_ensemble_that_was_cut_off_is_published_at_the_next_start(
    with_ensemble: StudyConfig, tmp_path: pathlib.Path
) -> None:
    study_dir = tmp_path / "study"
    export = study_dir / "export"
    shutil.copytree(with_ensemble.study_dir, study_dir)
    shutil.rmtree(export)
    config = dataclasses.replace(with_ensemble, study_dir=str(study_dir))
    processes.kill_when(start(config), (export / ".1.claimed").is_dir)
    assert not (export / "latest").exists()
    driver.run(config)
    assert sorted(os.listdir(export)) == [
        "1",
        "batching_parameters.txt",
        "history",
        "latest",
    ]
    assert manifest.verify(export / "1")
    texts = tiny.labelled_sentences(5)[0]
    there = predictor.load(f"{with_ensemble.study_dir}/export")(texts)
    assert predictor.load(str(export))(texts) == there


@pytest.mark.slow
def test_an_ensemble_of_which_a_model_is_gone_is_refused(
    with_ensemble: StudyConfig, tmp_path: pathlib.Path
) -> None:
    study_dir = tmp_path / "study"
    shutil.copytree(with_ensemble.study_dir, study_dir)
    shutil.rmtree(study_dir / "export")
    shutil.rmtree(study_dir / "runs" / "001" / "checkpoints" / "best")
    config = dataclasses.replace(with_ensemble, study_dir=str(study_dir))
    with pytest.raises(ValueError, match="expected the weights that the run chose"):
        driver.run(config)
    assert not (study_dir / "export" / "latest").exists()


@pytest.mark.slow
def test_a_fold_gives_within_the_study_what_it_gives_alone(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """By the flagfile that the study left, in a process of its own; to the bit."""
    within = pathlib.Path(undisturbed.study_dir) / "runs" / "002"
    flagfile = within.with_suffix(".flags")
    lines = flagfile.read_text().splitlines()
    assert {"--num_folds=3", "--fold=2"} <= set(lines)
    alone = tmp_path / "alone"
    subprocess.run(
        [sys.executable, "-m", "trainer.main", f"--flagfile={flagfile}"]
        + [f"--model_dir={alone}"],
        check=True,
        capture_output=True,
    )
    assert_equal_weights(within, alone)
    one, other = (
        json.loads((path / "report.json").read_text()) for path in (within, alone)
    )
    for part in ("before", "after", "training", "decision"):
        assert one[part] == other[part]
    predictions = [path / "predictions" / "test.jsonl" for path in (within, alone)]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


def owner(run: pathlib.Path) -> int | None:
    """The process that makes a run now."""
    lock = run / ".lock"
    found = re.match(r"process (\d+)", lock.read_text()) if lock.is_file() else None
    return int(found[1]) if found else None


def children(process: processes.Process) -> Iterator[psutil.Process]:
    yield from psutil.Process(process.pid).children()


@pytest.mark.slow
def test_jobs_that_are_killed_leave_the_same_study(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """One of two jobs is killed in its run, which the other takes over; then all are.

    Who comes then shares what is left.
    """
    study_dir = tmp_path / "study"
    config = dataclasses.replace(undisturbed, study_dir=str(study_dir), num_jobs=2)
    runs = study_dir / "runs"

    def has_checkpoint(run: str) -> bool:
        return any((runs / run / "checkpoints").glob("latest/*.index"))

    process = start(config)
    processes.signal_when(process, lambda: has_checkpoint("001"), 0)
    victim = owner(runs / "001")
    assert victim is not None and victim != owner(runs / "000")
    jobs = list(children(process))
    assert victim in [job.pid for job in jobs] and len(jobs) == 2
    os.kill(victim, signal.SIGKILL)
    processes.kill_when(process, (runs / "000" / "report.json").is_file)
    psutil.wait_procs(jobs, timeout=60)
    assert not any(job.is_running() for job in jobs)

    # Two processes, one of them by two jobs: each run is made once, or gone on with.
    single = dataclasses.replace(config, num_jobs=1)
    outputs = processes.finish([start(config), start(single)])
    made = "".join(outputs).count("INFO evaluating before fine-tuning")
    assert made <= NUM_FOLDS
    assert "[job 1] " in outputs[0] and "[job 2] " in outputs[0]
    tables = [output[output.index("Mean over 3 folds") :] for output in outputs]
    assert tables[0] == tables[1]
    assert results(config) == results(undisturbed)
    assert rows_of(config) == rows_of(undisturbed)


@pytest.mark.slow
def test_one_fold_may_be_made_alone(
    undisturbed: StudyConfig, tmp_path: pathlib.Path
) -> None:
    """--fold within a study: here of one that is finished."""
    data = dataclasses.replace(undisturbed.data, fold=1)
    table = driver.run(dataclasses.replace(undisturbed, data=data))
    summary = pathlib.Path(undisturbed.study_dir) / "study.txt"
    assert table == summary.read_text()


def test_another_study_is_refused(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    config = make_folds(tmp_path, tiny_preset)
    study_dir = pathlib.Path(config.study_dir)
    study_dir.mkdir()
    there = make_study(tmp_path, tiny_preset, study="seeds", seeds=("0", "1"))
    (study_dir / "config.json").write_text(there.to_json())
    with pytest.raises(ValueError, match="holds a study with other settings") as caught:
        driver.run(config)
    assert "--study: 'seeds' there, 'folds' now" in str(caught.value)


def test_more_folds_than_texts_of_a_label_are_refused_before_any_run(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_folds(tmp_path, tiny_preset)
    data = dataclasses.replace(config.data, num_folds=50)
    with pytest.raises(ValueError, match="--num_folds=50 different texts"):
        driver.run(dataclasses.replace(config, data=data))
    assert not pathlib.Path(config.study_dir).exists()


def test_a_run_of_folds_is_told_which() -> None:
    with pytest.raises(ValueError, match="must be told which fold") as caught:
        ExperimentConfig(
            model_dir="a",
            data=DataConfig(dataset="files:a.csv", num_folds=5),
            model=ModelConfig(preset="tiny"),
        )
    assert "give --fold=0, or make all folds with trainer.study" in str(caught.value)

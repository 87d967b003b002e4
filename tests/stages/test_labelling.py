"""What a run tells a person to look at: its errors by cause, and texts worth a label."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.test_experiment import make_config
from trainer import experiment, predict
from trainer.config import (
    DataConfig,
    ExperimentConfig,
    LabellingConfig,
    PredictConfig,
    ServingConfig,
)
from trainer.data import sources
from trainer.data.duplicates import normalized
from trainer.evaluation import error_causes
from trainer.serving import predictor

NUM_HELD_OUT, NUM_UNLABELLED, NUM_TO_LABEL = 240, 60, 12
# A text in two forms, of which one counts.
COPIES = ("The plot of the film is dull.", "the PLOT of  the film is dull.")


def config_of(folder: pathlib.Path, preset: str, **changes: Any) -> ExperimentConfig:
    """240 texts are held out, one in twelve with a wrong label."""
    held_out = folder / "held_out.csv"
    if not held_out.is_file():
        texts, labels = tiny.labelled_sentences(NUM_HELD_OUT, seed=9)
        labels = np.where(np.arange(len(labels)) % 12, labels, 1 - labels)
        tiny.write_csv(held_out, texts, [("bad", "good")[each] for each in labels])
    changes = {
        "data": {"test_dataset": f"files:{held_out}"},
        "training": {"num_train_epochs": 2},
        **changes,
    }
    return make_config(folder, preset, **changes)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run that was asked for all of it."""
    folder = tmp_path_factory.mktemp("labelling")
    plain = config_of(folder, tiny_preset)
    known = texts_of(plain.data.dataset)[:2] + texts_of(plain.data.test_dataset)[:1]
    new, _ = tiny.labelled_sentences(NUM_UNLABELLED, seed=5)
    lines = [*known, *new, *COPIES]
    (folder / "new.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = config_of(
        folder,
        tiny_preset,
        labelling=LabellingConfig(
            error_causes=True,
            export_to_label=str(folder / "to_label.csv"),
            unlabelled=f"files:{folder}/new.txt",
            num_to_label=NUM_TO_LABEL,
        ),
        serving=ServingConfig(num_export_examples=8, calibrate=False),
    )
    return config, experiment.run(config)


def texts_of(dataset: str) -> list[str]:
    """Of a file, in its order."""
    config = DataConfig(dataset=dataset, test_one_in=0)
    texts: list[str] = sources.load(config).splits["train"].texts.to_pylist()
    return texts


def rows_of(place: str | pathlib.Path) -> list[dict[str, str]]:
    with open(place, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_texts_to_label_are_new_and_unlike(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, _ = finished
    rows = rows_of(config.labelling.export_to_label)
    assert list(rows[0]) == [
        *("text", "label", "rank", "answer", "score", "why", "file", "line")
    ]
    assert [row["rank"] for row in rows] == [
        str(rank) for rank in range(1, NUM_TO_LABEL + 1)
    ]
    place = pathlib.Path(config.labelling.unlabelled.removeprefix("files:"))
    read = place.read_text(encoding="utf-8").splitlines()
    for row in rows:
        assert row["label"] == "" and row["answer"] in ("bad", "good")
        # The first three lines are the run's own texts.
        assert int(row["line"]) > 3 and read[int(row["line"]) - 1] == row["text"]
    assert len({normalized(row["text"]) for row in rows}) == len(rows)
    scores = [float(row["score"]) for row in rows]
    asked = predictor.load(config.model_dir + "/export")(read[3:])
    everything = [answer["score"] for answer in asked]
    by_text = {text: answer for text, answer in zip(read[3:], asked)}
    for row, score in zip(rows, scores):
        assert row["answer"] == by_text[row["text"]]["label"]
        assert score == pytest.approx(by_text[row["text"]]["score"], abs=1e-3)
    assert np.mean(scores) < np.mean(everything)


def test_filled_in_the_file_joins_the_training(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config, _ = finished
    rows = rows_of(config.labelling.export_to_label)
    with open(tmp_path / "labelled.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"label": row["answer"]} for row in rows)
    both = f"{config.data.dataset},{tmp_path}/labelled.csv"
    before, after = (
        sources.load(DataConfig(dataset=dataset, test_one_in=0)).splits["train"]
        for dataset in (config.data.dataset, both)
    )
    assert len(after) == len(before) + NUM_TO_LABEL


def test_neighbours_are_those_of_the_exported_vectors(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    config, result = finished
    causes = result.report["error_causes"]
    errors = [each["error"] for each in causes["neighbours"]]
    sure = result.report["after"]["test"]["most_confident_errors"]
    assert [each["text"] for each in errors] == [each["text"] for each in sure]
    embed = predictor.load(config.model_dir + "/export", signature="embed")

    def vectors(texts: list[str]) -> np.ndarray:
        return np.array([each["embedding"] for each in embed(texts)])

    place = pathlib.Path(result.report["paths"]["predictions"]["validation"])
    held = {json.loads(line)["line"] for line in place.read_text().splitlines()}
    # The first line is the header.
    labelled = enumerate(texts_of(config.data.dataset), 2)
    train = [(text, line) for line, text in labelled if line not in held]
    assert causes["num_train_texts"] == causes["num_train_available"] == len(train)
    of_train = vectors([text for text, _ in train])
    middle, place_of = of_train.mean(axis=0), {row: i for i, row in enumerate(train)}
    of_errors = vectors([each["text"] for each in errors])
    _, best = error_causes.nearest(of_errors, of_train, count=3)
    for told, asked, cosines in zip(causes["neighbours"], of_errors, best):
        found = [each["similarity"] for each in told["neighbours"]]
        np.testing.assert_allclose(found, cosines, atol=1e-3)
        for each in told["neighbours"]:
            near = of_train[place_of[each["text"], each["line"]]] - middle
            wide = asked - middle
            cosine = near @ wide / np.linalg.norm(near) / np.linalg.norm(wide)
            assert cosine == pytest.approx(each["similarity"], abs=1e-3)
            assert each["file"] in config.data.dataset
            assert each["label"] in ("bad", "good")


def test_clusters_hold_all_held_out_texts(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    _, result = finished
    causes, after = result.report["error_causes"], result.report["after"]["test"]
    clusters = causes["clusters"]
    assert causes["split"] == "test" and len(clusters) == 2
    assert sum(each["num_texts"] for each in clusters) == NUM_HELD_OUT
    errors = sum(each["num_errors"] for each in clusters)
    assert errors == causes["num_errors"]
    assert errors == round((1 - after["accuracy"]) * NUM_HELD_OUT) > 0
    expected = sum(each["expected_errors"] for each in clusters)
    assert expected == pytest.approx(errors)
    place = pathlib.Path(result.report["paths"]["predictions"]["test"])
    answers = [json.loads(line) for line in place.read_text().splitlines()]
    doubts = sum(1 - max(each["probabilities"]) for each in answers)
    by_scores = sum(each["errors_by_scores"] for each in clusters)
    assert by_scores == pytest.approx(doubts)
    for each in clusters:
        low, high = each["confidence_interval_95"]
        assert low <= each["num_errors"] / each["num_texts"] <= high
        assert all(error["label"] != error["predicted"] for error in each["errors"])
    page = result.report_path.read_text()
    assert causes["sentence"] in page and "beside the surest errors" in page
    assert result.report["timing"]["labelling_secs"] > 0


def test_a_finished_run_says_who_chooses_now(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    config, result = finished
    # Its own file is there: nothing is to be done.
    assert experiment.run(config).report == result.report
    other = dataclasses.replace(
        config.labelling, export_to_label=str(tmp_path / "other.csv")
    )
    with pytest.raises(ValueError, match="a finished run; ask its model: ") as caught:
        experiment.run(dataclasses.replace(config, labelling=other))
    command = str(caught.value).partition("trainer.predict ")[2]

    flags: dict[str, Any] = dict(
        flag.removeprefix("--").split("=", 1) for flag in command.split()
    )
    predict.main(PredictConfig(num_to_label=NUM_TO_LABEL, **flags))

    # The draws are not the same, for rounding moves distances that are near 0.
    ours, theirs = (
        rows_of(place)
        for place in (config.labelling.export_to_label, tmp_path / "other.csv")
    )
    assert theirs[0]["text"] == ours[0]["text"] and len(theirs) == len(ours)
    assert float(theirs[0]["score"]) == pytest.approx(float(ours[0]["score"]), abs=1e-3)
    # It knows by what the export keeps of them the texts of training and validation.
    assert min(int(row["line"]) for row in theirs) > 2
    assert len({normalized(row["text"]) for row in theirs}) == len(theirs)
    with pytest.raises(ValueError, match="must be a new file"):
        predict.main(PredictConfig(num_to_label=NUM_TO_LABEL, **flags))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no_such_file": ({"unlabelled": "files:{}/none.txt"}, "none.txt"),
    "no_scheme": ({"unlabelled": "{}/known.txt"}, "did you mean files:"),
    "all_known": ({"unlabelled": "files:{}/known.txt"}, "3 texts, 3 of them labelled"),
    "place_is_taken": ({"export_to_label": "{}/taken.csv"}, "must be a new file"),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_refused_before_all_work(
    changes: dict[str, str], words: str, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    plain = config_of(tmp_path, tiny_preset)
    texts = texts_of(plain.data.dataset)[:3]
    (tmp_path / "known.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "new.txt").write_text("so so film.\n")
    (tmp_path / "taken.csv").write_text("text,label\n")
    settings = {"unlabelled": "files:{}/new.txt", "export_to_label": "{}/a.csv"}
    settings |= changes
    asked: dict[str, Any] = {
        name: value.format(tmp_path) for name, value in settings.items()
    }
    config = config_of(tmp_path, tiny_preset, labelling=LabellingConfig(**asked))
    with pytest.raises(ValueError, match=words):
        experiment.run(config)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert (tmp_path / "taken.csv").read_text() == "text,label\n"


def test_no_causes_without_held_out_texts(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        data={"test_one_in": 0, "validation_one_in": 0},
        training={"best_metric": "accuracy"},
        labelling=LabellingConfig(error_causes=True),
    )
    with pytest.raises(ValueError, match="--error_causes looks at held-out texts"):
        experiment.run(config)

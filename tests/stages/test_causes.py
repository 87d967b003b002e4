"""What a run says of its errors by their cause."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests import tiny
from tests.test_experiment import make_config
from trainer import experiment


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> Any:
    """Of a run that learns little, so that there are errors."""
    folder = tmp_path_factory.mktemp("causes")
    tiny.write_reviews(folder / "many.csv", count=1200)
    config = make_config(
        folder,
        tiny_preset,
        data={"dataset": f"files:{folder}/many.csv", "num_train_examples": 60},
        training={"num_train_epochs": 1},
        optimizer={"learning_rate": 1e-3},
        error_causes=True,
    )
    return experiment.run(config)


def test_errors_have_kinds_and_neighbours(result: Any) -> None:
    report = result.report
    causes, test = report["causes"], report["after"]["test"]
    # Other programs read these.
    assert " ".join(causes) == "split num_train_texts clusters nearest"
    assert " ".join(causes["clusters"][0]) == (
        "num_texts num_errors confidence_interval_95 p_holm is_beyond_chance words errors"
    )
    assert " ".join(causes["nearest"][0]) == "text label predicted score training_texts"
    count = test["num_examples"]
    num_errors = sum(each["num_errors"] for each in causes["clusters"])
    assert sum(each["num_texts"] for each in causes["clusters"]) == count
    assert num_errors == round((1 - test["accuracy"]) * count) > 0
    assert causes["num_train_texts"] == 60
    surest = test["most_confident_errors"]
    assert [each["text"] for each in causes["nearest"]] == [
        each["text"] for each in surest
    ]
    for each in causes["nearest"]:
        near = [text["similarity"] for text in each["training_texts"]]
        assert len(near) == 3 and near == sorted(near, reverse=True)
        assert 0 < near[0] <= 1.0 + 1e-6
        assert each["training_texts"][0]["file"].endswith("many.csv")
    assert report["timing"]["error_causes_secs"] > 0


def test_the_page_shows_them(result: Any) -> None:
    page = result.report_path.with_suffix(".html").read_text()
    assert 'id="causes"' in page and "What was trained on near" in page


def test_off_by_default(tmp_path: pathlib.Path) -> None:
    assert make_config(tmp_path, "preset").error_causes is False

"""Which held-out texts are explained, and what the report then holds of them."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import ServingConfig
from trainer.serving import predictor
from trainer.stages import explain
from trainer.tasks import multi_label_decision, single_label_decision

WRONG, NEAR = "surest wrong", "nearest to the border"
CHOICES: dict[str, tuple[list[int], list[float], int, dict[int, str]]] = {
    "half_and_half": (
        [1, 0, 0, 1, 0],
        [0.9, 0.8, 0.95, 0.45, 0.3],
        4,
        {2: WRONG, 1: WRONG, 3: NEAR, 4: NEAR},
    ),
    # A text is explained once.
    "an_error_is_near": ([0, 1], [0.51, 0.9], 2, {0: WRONG, 1: NEAR}),
    "odd": ([0, 0, 0], [0.7, 0.8, 0.6], 3, {1: WRONG, 0: WRONG, 2: NEAR}),
    "no_errors": ([1, 1], [0.7, 0.6], 2, {1: NEAR, 0: NEAR}),
    "fewer_texts": ([1], [0.7], 10, {0: NEAR}),
}


@pytest.mark.parametrize(
    ("labels", "probabilities", "count", "expected"), CHOICES.values(), ids=CHOICES
)
def test_surest_errors_and_nearest_texts(
    labels: list[int], probabilities: list[float], count: int, expected: Any
) -> None:
    second = np.array(probabilities)
    logits = np.log(np.stack([1 - second, second], axis=1))
    decision = single_label_decision.plain(2)
    found = explain.choose(np.array(labels), logits, decision, count=count)
    assert found == expected and list(found) == list(expected)


def test_of_several_labels_all_must_be_right() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0]], np.float32)
    # Half right and sure, right and sure, right and near.
    logits = np.array([[5.0, 4.0], [4.0, 4.0], [-0.1, -4.0]])
    decision = multi_label_decision.plain(2)
    assert explain.choose(labels, logits, decision, count=2) == {0: WRONG, 2: NEAR}


@pytest.mark.slow
def test_a_finished_run_explains_itself_and_its_export(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    settings: dict[str, Any] = {"training": {"num_train_epochs": 2}}
    plain = experiment.run(make_config(tmp_path, tiny_preset, **settings)).report
    assert plain["explanations"] == [] and plain["export"] is None

    config = make_config(
        tmp_path,
        tiny_preset,
        **settings,
        explain=4,
        serving=ServingConfig(export_explain=True, num_export_examples=8),
    )
    result = experiment.run(config)

    assert result.report["after"] == plain["after"], "it was trained again"
    found = result.report["explanations"]
    assert len(found) == 4 and "Why it said so" in result.report_path.read_text()
    assert result.report["timing"]["explain_secs"] > 0
    texts = [each["text"] for each in found]
    predict = predictor.load(str(result.saved_model), explain=True)
    for each, answer in zip(found, predict(texts), strict=True):
        assert answer["label"] == each["predicted"]
        moved = [word["attribution"] for word in each["words"]]
        # The report explains the model in memory; the export says the same.
        np.testing.assert_allclose(answer["attribution"], moved, atol=1e-4)
        assert answer["begin"] == [word["begin"] for word in each["words"]]
        total = sum(moved) + each["completeness_gap"]
        assert total == pytest.approx(each["difference"], abs=1e-5)
        assert abs(each["completeness_gap"]) < 0.05 * max(1, abs(each["difference"]))

"""The baselines of a run: on replicas, in its folder, in its report."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

from tests import tiny
from tests.test_experiment import make_config
from tests.training.test_steps import make_classifier, strategy_of, tokens_of
from trainer import experiment
from trainer.config import ServingConfig
from trainer.data import splits
from trainer.evaluation.evaluator import make_evaluator
from trainer.modeling.forward import Forward
from trainer.stages import train
from trainer.tasks.single_label import SingleLabel
from trainer.training.steps import PredictStep


def vectors(num_replicas: int, max_windows: int, preset: str) -> np.ndarray:
    """The encoder's vectors of the tiny reviews, as the stage collects them."""
    strategy = strategy_of(num_replicas)
    window_length = 12 if max_windows > 1 else tiny.MAX_LENGTH
    tokens = tokens_of(window_length, max_windows)
    texts, _ = tiny.labelled_sentences(len(tokens))
    forward = Forward(
        make_classifier(strategy, preset),
        window_length=window_length,
        differentiable=False,
    )
    evaluator = make_evaluator(
        splits.unlabelled(texts),
        np.arange(len(texts)),
        tokens,
        [window_length, window_length * max_windows][
            : max_windows if max_windows == 1 else 2
        ],
        strategy,
        batch_size=8,
        scoring=SingleLabel().scoring,
        label_names=("bad", "good"),
        name="all",
    )
    found = np.full([len(texts), forward.hidden_size], np.nan, np.float32)
    evaluator.collect(PredictStep(forward.embed, strategy), found, description="all")
    return found


@pytest.mark.parametrize("max_windows", [1, 3])
def test_two_replicas_give_the_vectors_of_one(
    max_windows: int, tiny_preset: str
) -> None:
    one, two = (vectors(n, max_windows, tiny_preset) for n in (1, 2))
    assert np.isfinite(one).all() and len(np.unique(one.round(4), axis=0)) > 20
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_report_and_record(
    tmp_path: pathlib.Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between baselines and training, then started again."""
    config = make_config(
        tmp_path,
        tiny_preset,
        baselines=("commonest", "tfidf", "frozen"),
        training=dict(num_train_epochs=1),
        serving=ServingConfig(),
    )

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment.run(config)
    folder = tmp_path / "run" / "baselines"
    assert sorted(path.stem for path in folder.iterdir()) == [
        "commonest",
        "frozen",
        "tfidf",
    ]
    # What is read is shown by a number that no computation would give.
    record = json.loads((folder / "frozen.json").read_text())
    # As an earlier version wrote it.
    del record["sha256"]
    (folder / "frozen.json").write_text(json.dumps({**record, "secs": 12345.0}))
    report = experiment.run(config).report
    assert report["baselines"]["frozen"]["secs"] == 12345.0
    for name in ("commonest", "tfidf", "frozen"):
        baseline, comparison = report["baselines"][name], report["comparisons"][name]
        for split in ("validation", "test"):
            scores = baseline[split]
            assert scores["num_examples"] == report["after"][split]["num_examples"]
            assert 0 <= scores["accuracy"] <= 1 and scores["loss"] > 0
        assert baseline["secs"] > 0
        assert comparison["difference"] == pytest.approx(
            report["after"]["test"]["accuracy"] - baseline["test"]["accuracy"]
        )
        low, high = comparison["interval_95"]
        assert low <= comparison["difference"] <= high
        assert 0 < comparison["mcnemar_p"] <= 1
        assert comparison["num_discordant"] == (
            comparison["num_only_model_right"] + comparison["num_only_baseline_right"]
        )
        for shown in comparison["only_model_right"]:
            assert shown["model"] == shown["label"] != shown["baseline"]
        for shown in comparison["only_baseline_right"]:
            assert shown["baseline"] == shown["label"] != shown["model"]
    majority = report["after"]["test"]["majority_class_accuracy"]
    assert report["baselines"]["commonest"]["test"]["accuracy"] <= majority
    assert report["baselines"]["tfidf"]["test"]["accuracy"] > 0.8
    assert report["timing"]["baselines_secs"] > 0
    exported = pathlib.Path(report["paths"]["saved_model"])
    (manifest,) = exported.rglob("manifest.json")
    public = json.loads(manifest.read_text())["comparisons"]["tfidf"]
    assert "only_model_right" not in public and "difference" in public


def test_nothing_held_out_nothing_compared(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(
        tmp_path,
        tiny_preset,
        baselines=("commonest", "tfidf", "frozen"),
        data=dict(test_one_in=0, validation_one_in=0),
        training=dict(num_train_epochs=1, best_metric="loss"),
    )
    report = experiment.run(config).report
    assert report["baselines"] == report["comparisons"] == {}

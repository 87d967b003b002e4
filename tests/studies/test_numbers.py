"""Studies of --task=regression: real tiny runs of folds, and planted ones of the rest."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any, Mapping

import numpy as np
import pyarrow.parquet
import pytest

from tests import processes
from tests.studies.tiny_runs import make_study, results, start
from tests.test_experiment import assert_equal_weights
from tests.test_regression import write_prices
from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.evaluation import number_metrics
from trainer.evaluation.schema import NumberComparison, NumbersReport
from trainer.studies import (
    choice,
    curves,
    driver,
    number_answers,
    page,
    scores,
    sweep_page,
)
from trainer.studies.choice import Candidate
from trainer.studies.curves import Measured
from trainer.studies.schema import Curve, RunFacts, Study
from trainer.studies.sweep_schema import RungFacts, SweepStudy, Trial
from trainer.study_config import StudyConfig
from trainer.tasks import regression_decision

NUM_FOLDS, NUM_TEXTS = 2, 80


def make_prices(folder: pathlib.Path, preset: str, **changes: Any) -> StudyConfig:
    """A study of prices; a run takes a few seconds."""
    data = {
        "dataset": write_prices(folder / "prices.csv", count=NUM_TEXTS),
        "task": "regression",
        "max_length": 24,
        "num_eval_examples": 0,
        "validation_one_in": 4,
    }
    config = make_study(
        folder,
        preset,
        data=data | changes.pop("data", {}),
        training={"num_train_epochs": 2, "save_every_steps": 2},
        **changes,
    )
    model = dataclasses.replace(config.model, pooling="mean", dropout=0.0)
    return dataclasses.replace(config, model=model)


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> StudyConfig:
    """Two folds and the model of all texts, let alone."""
    config = make_prices(
        tmp_path_factory.mktemp("folds"),
        tiny_preset,
        study="folds",
        data={"num_folds": NUM_FOLDS},
        # Of which a fold's few validation texts are enough.
        serving={"interval_coverage": 0.6},
        export_folds="final",
    )
    driver.run(config)
    return config


def report_of(config: StudyConfig, run: int) -> NumbersReport:
    path = pathlib.Path(config.study_dir) / "runs" / f"{run:03}" / "report.json"
    return NumbersReport.from_json(path.read_text())


def rows_of(config: StudyConfig) -> list[Mapping[str, Any]]:
    path = pathlib.Path(config.study_dir) / "out_of_fold.parquet"
    rows: list[Mapping[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    return rows


def test_every_text_has_one_value_by_the_fold_that_held_it_out(
    folds: StudyConfig,
) -> None:
    rows = rows_of(folds)
    columns = ["file", "line", "label", "fold", "value", "low", "high"]
    assert [*rows[0]] == columns
    assert len({(row["file"], row["line"]) for row in rows}) == len(rows) == NUM_TEXTS
    prices = pathlib.Path(folds.data.dataset.removeprefix("files:")).read_text()
    lines = prices.splitlines()
    for row in rows:
        assert row["label"] == float(lines[row["line"] - 1].rpartition(",")[2])
    for fold in range(NUM_FOLDS):
        report = report_of(folds, fold)
        of_fold = [row for row in rows if row["fold"] == fold]
        errors = [abs(row["value"] - row["label"]) for row in of_fold]
        assert np.mean(errors) == pytest.approx(report.after["test"].mae)
        reach = report.decision.half_width
        assert reach is not None
        for row in of_fold:
            assert row["high"] - row["value"] == pytest.approx(reach)
            assert row["value"] - row["low"] == pytest.approx(reach)


def test_the_results_are_those_of_the_folds(folds: StudyConfig) -> None:
    study = results(folds)
    errors = [report_of(folds, fold).after["test"].mae for fold in range(NUM_FOLDS)]
    assert study["metric"] == "mae" and study["mean"] == pytest.approx(np.mean(errors))
    assert study["std"] == pytest.approx(np.std(errors, ddof=1))
    assert [run["value"] for run in study["runs"]] == errors
    assert [run["accuracy"] for run in study["runs"]] == [None] * NUM_FOLDS
    # A constant has no correlation, in no fold.
    assert "spearman" not in study["models"]["commonest"]["metrics"]
    assert study["models"]["commonest"]["metrics"]["mae"]["mean"] > 300
    rows, pooled = rows_of(folds), study["out_of_fold"]
    numbers, values = (
        np.array([row[name] for row in rows]) for name in ("label", "value")
    )
    found = number_metrics.number_metrics(numbers, values, num_resamples=0, seed=0)
    for name, value in found.values.items():
        assert pooled["metrics"]["fine_tuned"][name] == pytest.approx(value)
    beside = pooled["comparisons"]["commonest"]
    theirs = pooled["metrics"]["commonest"]["mae"]
    assert beside["mae_difference"] == pytest.approx(found.values["mae"] - theirs)
    assert beside["verdict"] == "better"
    folder = pathlib.Path(folds.study_dir)
    html = (folder / "study.html").read_text(encoding="utf-8")
    assert study["answers"][0] in html and "Accuracy" not in html
    assert "is off by" in study["answers"][0]


def test_the_final_model_has_the_interval_of_all_folds(folds: StudyConfig) -> None:
    rows = rows_of(folds)
    distances = np.array([abs(row["value"] - row["label"]) for row in rows])
    expected = regression_decision.conformal_half_width(distances, coverage=0.6)
    decision = results(folds)["out_of_fold"]["decision"]
    assert decision["half_width"] == pytest.approx(expected)
    assert decision["num_texts"] == NUM_TEXTS and "mean" not in decision
    final = report_of(folds, NUM_FOLDS)
    assert final.decision.split == "given"
    assert final.decision.half_width == pytest.approx(expected, rel=1e-5)
    assert final.training.num_train_examples == NUM_TEXTS
    export = pathlib.Path(folds.study_dir) / "runs" / f"{NUM_FOLDS:03}" / "export/1"
    assert "That width was given" in (export / "MODEL_CARD.md").read_text()


def test_folds_by_text_hold_each_number_out(folds: StudyConfig) -> None:
    """Without classes to deal by, the folds are as large as each other."""
    sizes = np.bincount([row["fold"] for row in rows_of(folds)])
    assert sizes.tolist() == [NUM_TEXTS // NUM_FOLDS] * NUM_FOLDS


@pytest.mark.slow
def test_a_killed_study_is_an_undisturbed_one_and_a_fold_is_the_run_alone(
    folds: StudyConfig, tmp_path: pathlib.Path
) -> None:
    config = dataclasses.replace(folds, study_dir=str(tmp_path / "killed"))
    latest = tmp_path / "killed" / "runs" / "001" / "checkpoints" / "latest"
    processes.kill_when(start(config), lambda: any(latest.glob("*.index")))
    assert not (tmp_path / "killed" / "study.json").exists()
    driver.run(config)
    assert results(config) == results(folds)
    assert rows_of(config) == rows_of(folds)
    within = pathlib.Path(folds.study_dir) / "runs" / "001"
    alone = dataclasses.replace(
        ExperimentConfig.from_json((within / "config.json").read_text()),
        model_dir=str(tmp_path / "alone"),
    )
    experiment.run(alone)
    for folder in (tmp_path / "killed" / "runs" / "001", tmp_path / "alone"):
        assert_equal_weights(within, folder)
        answers = [each / "predictions" / "test.jsonl" for each in (within, folder)]
        assert answers[0].read_bytes() == answers[1].read_bytes()


@pytest.mark.slow
def test_a_sweep_and_a_ladder_take_the_nearer_model(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """Real ones: half of the texts, then all; and beside the simple models."""
    swept = make_prices(
        tmp_path,
        tiny_preset,
        study="sweep",
        sweep=("learning_rate=1e-9,1e-2",),
        num_trials=2,
        rungs=("0.5", "1"),
    )
    driver.run(swept)
    study = json.loads((pathlib.Path(swept.study_dir) / "study.json").read_text())
    winner = study["trials"][study["winner"]]
    assert winner["settings"] == {"learning_rate": 1e-2}
    # `make_study` chooses by the loss.
    assert study["metric"] == "rmse"
    chosen = report_of(swept, study["chosen_run"])
    assert study["mean"] == chosen.after["test"].rmse
    climbed = dataclasses.replace(
        swept,
        study="ladder",
        study_dir=str(tmp_path / "ladder"),
        sweep=(),
        rungs=("1",),
        presets=(tiny_preset, f"{tiny_preset}/"),
        baselines=("commonest", "tfidf"),
        training=dataclasses.replace(swept.training, best_metric="accuracy"),
    )
    driver.run(climbed)
    ladder = json.loads((tmp_path / "ladder" / "study.json").read_text())
    assert ladder["metric"] == "mae"
    models = {model["kind"]: model for model in ladder["models"]}
    assert [*models] == ["commonest", "median", "tfidf", "fine_tuned"]
    first = report_of(climbed, 0)
    for kind in ("commonest", "median", "tfidf"):
        validation = first.baselines[kind].validation
        assert validation is not None
        assert models[kind]["value"] == pytest.approx(validation.mae)
    assert models["fine_tuned"]["value"] == first.after["validation"].mae
    assert models["commonest"]["status"] == "behind"


# What is planted.


def answered(reach: float, *, count: int = 200, seed: int = 0) -> choice.Answered:
    """Values that are off by some random distance, `reach` on the mean."""
    generator = np.random.default_rng(seed)
    numbers = np.arange(count, dtype=np.float64)
    off = generator.uniform(0, 2 * reach, count) * generator.choice([-1, 1], count)
    places = [("a.csv", line) for line in range(count)]
    return choice.of_numbers(places, numbers, numbers + off)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_the_nearest_is_the_best_and_the_cheapest_of_the_near_is_taken(
    metric: str,
) -> None:
    far, near, nearest = (
        Candidate((answered(reach, seed=seed),), (cost,))
        for reach, seed, cost in ((30.0, 1, 1.0), (10.4, 2, 2.0), (10.0, 3, 3.0))
    )
    given = [far, near, nearest]
    standings = choice.rank(given, metric=metric, num_classes=1)
    assert [each.is_as_good for each in standings] == [False, True, True]
    assert choice.cheapest(given, standings) == 1
    errors = np.abs(far.answered[0].predicted - far.answered[0].labels)
    expected = errors.mean() if metric == "mae" else np.sqrt((errors**2).mean())
    assert standings[0].value == pytest.approx(expected)
    assert standings[0].behind > 0
    interval = standings[0].behind_interval_95
    assert interval is not None and 0 < interval[0] < standings[0].behind < interval[1]


def test_the_interval_of_a_difference_is_paired_by_text() -> None:
    """Errors that go together are told apart by much less than they vary."""
    one = answered(10.0)
    shifted = np.where(one.predicted > one.labels, 0.2, -0.2)
    other = choice.of_numbers(
        one.texts, one.labels.astype(float), one.predicted.astype(float) + shifted
    )
    standings = choice.rank(
        [Candidate((each,), (1.0,)) for each in (one, other)],
        metric="mae",
        num_classes=1,
    )
    assert standings[1].behind_interval_95 == pytest.approx((0.2, 0.2))
    assert not standings[1].is_as_good


def test_trials_are_shown_the_nearest_first() -> None:
    trials = tuple(
        Trial(
            number=number,
            settings={"learning_rate": 1e-5 * (1 + number)},
            status="behind" if number else "winner",
            rungs=(
                RungFacts(
                    share=1.0,
                    num_train_examples=9,
                    value=value,
                    std=None,
                    runs=(number,),
                ),
            ),
            behind=value - 1.0,
            behind_interval_95=None,
            cost=1.0,
            train_secs=1.0,
        )
        for number, value in enumerate((1.0, 400.0, 1200.0, 30.0))
    )
    study = SweepStudy(
        study="sweep",
        title="Sweep: prices",
        answers=("Trial 0 wins.",),
        metric="mae",
        split="test",
        num_examples=9,
        num_validation_examples=9,
        mean=1.0,
        std=None,
        interval_95=(0.5, 1.5),
        chosen_run=4,
        flagfile="winner.flags",
        runs=(),
        config={"study_dir": "a", "sweep": ["learning_rate=log:1e-6:1e-2"]},
        environment={},
        winner=0,
        trials=trials,
        effects=(),
        no_effects="4 trials are too few",
        range_test=None,
    )
    rows = sweep_page.summary(study).splitlines()
    assert rows[1].split()[:2] == ["Trial", "MAE"]
    shown = [row.split()[:2] for row in rows[2:6]]
    assert shown == [["0", "1"], ["3", "30"], ["1", "400"], ["2", "1,200"]]
    html = sweep_page.render_html(study)
    assert "mean absolute error" in html and "399" in html


def test_over_seeds_means_are_compared() -> None:
    calm = Candidate(tuple(answered(10.0, seed=seed) for seed in (1, 2)), (1.0,))
    wild = Candidate(
        (answered(4.0, seed=3), answered(19.0, seed=4)),
        (2.0,),
    )
    standings = choice.rank([calm, wild], metric="mae", num_classes=1)
    assert standings[1].std is not None and standings[1].std > 8
    assert standings[1].is_as_good


def measured(errors: Mapping[int, float], *, guessing: float = 9.0) -> list[Measured]:
    return [
        Measured(
            size=size,
            value=error,
            interval_95=(0.95 * error, 1.05 * error),
            num_examples=400,
            guessing=guessing,
            variance=(0.025 * error) ** 2,
        )
        for size, error in errors.items()
    ]


def make_curve(errors: Mapping[int, float], title: str = "fine-tuning") -> Curve:
    runs = measured(errors)
    resampled = np.random.default_rng(0).normal(
        [run.value for run in runs],
        [0.025 * run.value for run in runs],
        (200, len(runs)),
    )
    return curves.make_curve(title, runs, errors_resampled=resampled, metric=scores.MAE)


# 2 + 30 / sqrt(n), far above 1: no share.
FALLING = {size: 2 + 30 / size**0.5 for size in (100, 300, 1000, 3000)}


def test_a_curve_of_errors_falls_to_its_forecasts() -> None:
    curve = make_curve(FALLING)
    assert curve.fit is not None
    assert curve.fit.accuracy_at_largest is None
    assert curve.fit.value_at_largest == pytest.approx(FALLING[3000], rel=0.01)
    assert curve.fit.asymptote == pytest.approx(2, abs=0.3)
    near, far = curve.fit.forecasts
    assert near.value == pytest.approx(2 + 30 / 4000**0.5, rel=0.02)
    assert far.value < near.value < curve.fit.value_at_largest
    assert near.gain == pytest.approx(curve.fit.value_at_largest - near.value)
    assert near.gain > 0 and near.interval_95 is not None
    assert near.interval_95[0] < near.value < near.interval_95[1]


def test_sizes_no_nearer_than_a_constant_are_left_out() -> None:
    curve = make_curve({30: 8.9, 50: 9.3, **FALLING})
    assert curve.fit is not None and curve.fit.smallest_size == 100
    none = make_curve({30: 8.9, 50: 9.3, 100: 9.0})
    assert none.fit is None and none.no_fit is not None
    assert "better than any constant, and there are 0" in none.no_fit


def test_seeds_of_a_size_are_a_mean_with_an_interval_of_the_texts() -> None:
    runs = [*measured({100: 4.0}), *measured({100: 5.0})]
    curve = curves.make_curve(
        "a model", runs, errors_resampled=np.empty((0, 2)), metric=scores.MAE
    )
    (point,) = curve.points
    assert (point.mean, point.num_runs) == (4.5, 2)
    low, high = point.interval_95
    deviation = (((0.1) ** 2 + (0.125) ** 2) / 2) ** 0.5
    assert (high - low) / 2 == pytest.approx(1.966 * deviation, rel=1e-3)


def comparison(difference: float) -> NumberComparison:
    return NumberComparison(
        split="test",
        num_examples=400,
        mae_difference=difference,
        interval_95=(difference - 0.5, difference + 0.5),
        verdict="better",
        num_nearer=300,
        cost_ratio=10.0,
    )


@pytest.fixture(scope="module")
def of_curve() -> Study:
    """A learning curve in which fine-tuning overtakes TF-IDF."""
    all_curves = {
        "fine_tuned": make_curve(FALLING),
        "tfidf": make_curve(
            dict.fromkeys(FALLING, 3.2), "TF-IDF with ridge regression"
        ),
        "median": make_curve(dict.fromkeys(FALLING, 9.0), "the training median"),
    }
    runs = tuple(
        RunFacts(
            number=number,
            name=f"{size:,} texts, seed 0",
            folder=f"runs/{number:03}",
            num_train_examples=size,
            seed=0,
            accuracy=None,
            value=error,
            secs=60.0,
            comparisons={"tfidf": comparison(error - 3.2)},
        )
        for number, (size, error) in enumerate(FALLING.items())
    )
    return Study(
        study="learning_curve",
        title="Learning curve: prices",
        answers=number_answers.sentences(all_curves, runs),
        split="test",
        num_examples=400,
        metric="mae",
        curves=all_curves,
        runs=runs,
        config={"study_dir": "studies/a", "training": {"seed": 3}},
        environment={},
    )


def test_the_sentences_say_less_where_labels_say_more(of_curve: Study) -> None:
    first, second, last = of_curve.answers
    assert first.startswith(
        "With 1,000 more texts (4,000 in all), fine-tuning would be off by 2.4"
    )
    assert first.endswith(" less.")
    assert second.startswith("TF-IDF with ridge regression would come to 3.2")
    assert last == (
        "Fine-tuning overtakes TF-IDF with ridge regression between 300 and 1,000 texts; "
        "with 3,000 its mean absolute error is 0.652 (0.152 to 1.15) less."
    )


def test_the_page_of_a_curve_is_of_errors(of_curve: Study) -> None:
    html = page.render_html(of_curve)
    for words in (
        "Mean absolute error by training texts",
        "What more texts would buy",
        "not shown to be better than any constant",
        *of_curve.answers,
    ):
        assert words in html
    assert (
        "ccuracy" not in html and "%" not in page.summary(of_curve).partition("\n")[2]
    )
    assert page.png(of_curve).startswith(b"\x89PNG\r\n")
    content = json.loads(of_curve.to_json())
    assert content["metric"] == "mae" and content["mean"] == FALLING[3000]
    assert content["runs"][0]["comparisons"]["tfidf"]["mae_difference"] > 0

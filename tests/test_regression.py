"""--task=regression the whole way: from prices to predictions; and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import functools
import html
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from tests import tiny
from tests.equalities import assert_same_when_killed_and_on_two_replicas
from tests.test_experiment import make_config
from trainer import compare, experiment
from trainer.champion import comparing, pages
from trainer.config import (
    AuditConfig,
    CompareConfig,
    DataConfig,
    ExperimentConfig,
    PredictConfig,
    ServingConfig,
    settings,
)
from trainer.config import regression
from trainer.evaluation import number_metrics, number_worth
from trainer.evaluation.schema import NumbersReport
from trainer.modeling import classifier, presets
from trainer.serving import export, labelling, manifest, predictor, versions
from trainer.serving.local.model import Model
from trainer.data import sources
from trainer.stages import audit, range_test
from trainer.stages.record import RunResult
from trainer.tasks.task import Scale

BASE, STEP = 1000.0, 250.0


def write_prices(
    path: pathlib.Path, *, count: int = 300, seed: int = 0, noise: float = 30.0
) -> str:
    """Texts whose price rises with each good word that is there instead of a bad one."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for _ in range(count):
            num_good = int(generator.integers(0, 7))
            words = generator.choice(tiny.NEUTRAL, generator.integers(2, 8)).tolist()
            words += generator.choice(tiny.GOOD, num_good).tolist()
            words += generator.choice(tiny.BAD, 6 - num_good).tolist()
            generator.shuffle(words)
            price = BASE + STEP * num_good + generator.normal(0, noise)
            writer.writerow([" ".join(words), f"{price:.2f}"])
    return f"files:{path}"


def of_prices(
    folder: pathlib.Path, preset: str, dataset: str, **changes: Any
) -> ExperimentConfig:
    """A run that is made in a few seconds."""
    defaults: dict[str, Any] = {
        "data": {"dataset": dataset, "task": "regression"},
        "training": {"num_train_epochs": 3},
        "model": {"pooling": "mean", "dropout": 0.0},
    }
    return make_config(folder, preset, **defaults | changes)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run with an export, and its result."""
    folder = tmp_path_factory.mktemp("regression")
    config = of_prices(
        folder,
        tiny_preset,
        write_prices(folder / "prices.csv"),
        baselines=("commonest", "tfidf", "frozen"),
        serving=ServingConfig(interval_coverage=0.8),
    )
    return config, experiment.run(config)


def test_reports_how_far_values_are_off(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    result = finished[1]
    report = NumbersReport.from_json(json.dumps(result.report))
    test, before = report.after["test"], report.before["test"]
    # In the unit of the prices: the spread of equally likely steps is 2 of them.
    assert test.mae < STEP / 2 < STEP < before.mae
    assert test.r2 is not None and test.r2 > 0.9
    low, high = test.confidence_intervals_95["mae"]
    assert low < test.mae < high
    assert report.training.best_metric == "rmse"
    scores = [record.rmse for record in report.history.validation]
    best = report.training.best_step
    assert min(scores) == {r.step: r.rmse for r in report.history.validation}[best or 0]
    assert report.decision.mean == pytest.approx(BASE + 3 * STEP, abs=STEP)


def test_the_answers_are_those_that_the_metrics_say(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    """The file of answers, read back, gives the report's numbers."""
    report = NumbersReport.from_json(json.dumps(finished[1].report))
    place = pathlib.Path(report.paths.predictions["test"])
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    labels, answers = (
        np.array([line[name] for line in lines]) for name in ("label", "answer")
    )
    test = report.after["test"]
    found = number_metrics.number_metrics(labels, answers, num_resamples=0, seed=0)
    assert {name: getattr(test, name) for name in found.values} == pytest.approx(
        dict(found.values)
    )
    held = [line["low"] <= line["label"] <= line["high"] for line in lines]
    quality = report.decision.quality["test"]
    assert quality.num_held == sum(held)
    assert quality.coverage == pytest.approx(np.mean(held))
    half_width = report.decision.half_width
    assert half_width is not None
    assert lines[0]["high"] - lines[0]["answer"] == pytest.approx(half_width)


def test_simple_models_stand_beside_it(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    report = NumbersReport.from_json(json.dumps(finished[1].report))
    assert list(report.baselines) == ["commonest", "median", "tfidf", "frozen"]
    test = report.after["test"]
    for name, beside in report.comparisons.items():
        rival = report.baselines[name].test
        assert rival is not None
        assert beside.mae_difference == pytest.approx(test.mae - rival.mae)
    mean = report.baselines["commonest"].test
    assert mean is not None and mean.r2 is not None
    # The training mean is not that of the test texts, so a little below 0.
    assert -0.1 < mean.r2 <= 0
    assert mean.pearson is None
    assert report.comparisons["commonest"].verdict == "better"
    assert report.worth is not None
    assert (
        report.worth.startswith("Fine-tuning ")
        and "mean absolute error" in report.worth
    )


def test_the_page_the_card_and_the_last_lines_say_it(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    result = finished[1]
    report = NumbersReport.from_json(json.dumps(result.report))
    quality = report.decision.quality["test"]
    held = f"{quality.coverage:.1%}"
    page = result.report_path.read_text()
    for words in ("Values by true numbers", "How far values are off", held):
        assert words in page
    assert page.count("data:image/svg+xml") == 6
    assert "Accuracy" not in page
    assert held in " ".join(result.summary.split())
    card = (result.saved_model / "MODEL_CARD.md").read_text()
    assert held in card and 'type: "mae"' in card
    assert 'type: "text-regression"' in card
    assert "text-classification" not in card and "pipeline_tag" not in card
    assert number_worth.number(report.after["test"].mae) in card


def test_the_export_and_predict_give_values_in_the_users_unit(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    folder = finished[1].saved_model
    report = finished[1].report
    loaded = tf.saved_model.load(str(folder))
    texts = [" ".join(kind[:6]) for kind in (tiny.BAD, tiny.GOOD)]
    outputs = loaded.signatures["serving_default"](text=tf.constant(texts))
    assert sorted(outputs) == ["high", "low", "value"]
    values = outputs["value"].numpy()
    np.testing.assert_allclose(values, [BASE, BASE + 6 * STEP], atol=STEP)
    reach = report["decision"]["half_width"]
    np.testing.assert_allclose(outputs["low"], values - reach, rtol=1e-5)
    np.testing.assert_allclose(outputs["high"], values + reach, rtol=1e-5)
    described = manifest.read(folder)
    assert described["task"] == "regression"
    assert described["metrics"]["test"]["mae"] == report["after"]["test"]["mae"]
    assert described["constants"]["value_mean"] == report["decision"]["mean"]
    assert described["constants"]["interval_half_width"] == reach
    rows = tmp_path / "rows.txt"
    rows.write_text("\n".join(texts) + "\n")
    for ending in ("jsonl", "csv"):
        place = tmp_path / f"out.{ending}"
        predictor.predict_file(
            PredictConfig(saved_model=str(folder), input=str(rows), output=str(place))
        )
        lines = place.read_text().splitlines()
        if ending == "csv":
            assert lines[0] == "value,low,high"
            found = [float(line.split(",")[0]) for line in lines[1:]]
        else:
            found = [json.loads(line)["value"] for line in lines]
        np.testing.assert_allclose(found, values, rtol=1e-6)


def test_a_server_answers_predict_and_regress(
    finished: tuple[ExperimentConfig, Any],
) -> None:
    model = Model(finished[1].saved_model, "prices")
    text = " ".join(tiny.GOOD[:6])
    asked = {"text": np.array([text.encode()], object)}
    predicted = model.predict("serving_default", asked)
    assert model.regressors() == ["regress"] and not model.classifiers()
    regressed = model.regress("regress", [{"text": [text.encode()]}])
    np.testing.assert_allclose(regressed, predicted["value"], rtol=1e-6)


@pytest.fixture(scope="module")
def poor(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_preset: str,
) -> pathlib.Path:
    """A version that hardly learned anything, of other texts."""
    folder = tmp_path_factory.mktemp("poor")
    config = of_prices(
        folder,
        tiny_preset,
        write_prices(folder / "a.csv", count=60, seed=5),
        training={"num_train_epochs": 1},
        optimizer={"learning_rate": 1e-7},
        serving=ServingConfig(),
    )
    saved_model = experiment.run(config).saved_model
    assert saved_model is not None
    return pathlib.Path(saved_model)


def test_two_models_are_compared_by_distance(
    finished: tuple[ExperimentConfig, Any],
    poor: pathlib.Path,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that learned against one that hardly did, on texts that neither knows."""
    fresh = write_prices(tmp_path / "fresh.csv", count=80, seed=9)
    output, page = tmp_path / "compared.json", tmp_path / "compared.html"
    config = CompareConfig(
        champion=str(finished[1].saved_model),
        challenger=str(poor),
        output=str(output),
        page=str(page),
        promote_margin=0.1,
        data=DataConfig(dataset=fresh, task="regression"),
    )
    compare.main(config)
    said = capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["verdict"] == "worse" and "farther off" in said
    assert found["interval_95"][0] > 0 and found["margin"] == 0.1
    sides = [found[name]["mae"] for name in ("challenger", "champion")]
    assert found["mae_difference"] == pytest.approx(sides[0] - sides[1])
    assert {each["slice"] for each in found["slices"]} == {"number", "words"}
    assert "number" in {each["slice"] for each in found["slices"] if each["is_worse"]}
    shown = html.unescape(page.read_text())
    assert "Where the champion is nearer by most" in shown and "Accuracy" not in shown
    # What is shown first is where most is lost: one text, with both answers.
    lost = [each for each in found["differences"] if _gain(each) < 0]
    gains = [_gain(each) for each in lost]
    assert gains == sorted(gains) and lost[0]["text"] in shown
    assert number_worth.number(lost[0]["challenger"]) in shown
    turned = dataclasses.replace(
        config, champion=config.challenger, challenger=config.champion
    )
    assert comparing.compare_numbers(turned).contest.verdict == "better"


def _gain(each: dict[str, float]) -> float:
    """How much nearer the challenger is on a text."""
    errors = [abs(each[name] - each["label"]) for name in ("champion", "challenger")]
    return errors[0] - errors[1]


def test_a_better_model_is_promoted_and_a_worse_one_held(
    finished: tuple[ExperimentConfig, Any], poor: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The same run twice more, published beside a poor champion, then beside its own."""
    config, result = finished
    export = tmp_path / "export"
    shutil.copytree(poor, export / "1")
    versions.set_latest(export)
    model_dir = tmp_path / "run"
    shutil.copytree(
        config.model_dir, model_dir, ignore=shutil.ignore_patterns("export")
    )
    again = dataclasses.replace(config, model_dir=str(model_dir))

    def published(**values: Any) -> RunResult:
        return experiment.run(
            with_settings(again, export_dir=str(export), promote="better", **values)
        )

    first = published()
    told = NumbersReport.from_json(json.dumps(first.report))
    assert told.champion is not None and told.champion.verdict == "better"
    assert told.champion.mae_difference < 0 and told.champion.split == "test"
    assert told.champion.challenger == pytest.approx(told.after["test"].mae)
    assert told.export is not None and told.export.status == "promoted"
    assert versions.latest(export) == 2
    assert "The challenger is nearer" in first.summary
    assert told.champion.sentence in html.unescape(first.report_path.read_text())
    card = (export / "2" / "MODEL_CARD.md").read_text()
    assert "Against the model that served before" in card
    # The same weights again are not called better, though rounding tells them apart.
    second = published(keep_exports=7, promote_margin=0.0)
    told = NumbersReport.from_json(json.dumps(second.report))
    assert told.champion is not None and told.champion.verdict == "not_worse"
    assert told.export is not None and told.export.status == "held"
    assert "the verdict is not_worse" in told.export.status_reason
    assert versions.latest(export) == 2
    page = pages.history(export)
    assert (
        f"off by {number_worth.number(result.report['after']['test']['mae'])}" in page
    )
    assert "mean absolute error (" in page


@pytest.fixture(scope="module")
def in_all_formats(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> tuple[ExperimentConfig, Any]:
    """A run whose checkpoint for transformers reads the first token, as these do."""
    folder = tmp_path_factory.mktemp("formats")
    config = of_prices(
        folder,
        tiny_preset,
        write_prices(folder / "prices.csv"),
        model={"pooling": "first", "dropout": 0.0},
        training={"num_train_epochs": 8},
        serving=ServingConfig(
            export_formats=("float32", *FORMATS),
            # What 8 bits cost a model of 16 dimensions says nothing of others.
            max_value_shift=STEP / 2,
            interval_coverage=0.6,
        ),
    )
    return config, experiment.run(config)


FORMATS = ("bfloat16", "int8", "tokens", "litert", "huggingface")


def test_every_format_gives_the_values_of_the_model_as_trained(
    in_all_formats: tuple[ExperimentConfig, Any],
) -> None:
    """By each one's own reader, on the held-out texts, in the unit of the prices."""
    report = NumbersReport.from_json(json.dumps(in_all_formats[1].report))
    assert report.export is not None
    measured = {each.format: each for each in report.export.formats}
    assert tuple(measured) == ("float32", *FORMATS)
    first, spread = measured["float32"], report.decision.spread
    assert first.mae == pytest.approx(report.after["test"].mae, rel=1e-4)
    for name, each in measured.items():
        assert (each.status, each.accuracy, each.num_other_labels) == (
            "published",
            None,
            0,
        )
        assert each.mae is not None and first.mae and each.value_shift is not None
        assert abs(each.mae - first.mae) <= each.value_shift + 1e-3
        assert each.value_shift <= each.max_difference * spread + 1e-3
        # The exact ones by rounding alone; of 8 and 16 bits it is seen that they are.
        is_exact = name in ("float32", "tokens", "huggingface")
        assert (each.value_shift < 1e-4 * spread) == is_exact, name
        folder = pathlib.Path(each.path or "")
        card = "README.md" if name == "huggingface" else "MODEL_CARD.md"
        assert "values are" in (folder / card).read_text()
    folder = pathlib.Path(measured["litert"].path or "")
    assert (
        "| output | `low` | float32 | [batch] |" in (folder / "README.md").read_text()
    )
    assert not (folder / "labels.txt").exists()


def test_a_checkpoint_holds_the_unit_in_its_head(
    in_all_formats: tuple[ExperimentConfig, Any],
) -> None:
    """As transformers computes it: the first token's pooled vector by the head."""
    report = NumbersReport.from_json(json.dumps(in_all_formats[1].report))
    assert report.export is not None
    paths = {each.format: each.path or "" for each in report.export.formats}
    folder = pathlib.Path(paths["huggingface"])
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "value"}
    tensors = load_file(folder / "model.safetensors")
    assert tensors["classifier.weight"].shape == (1, 16)
    preset = presets.load_preset(str(folder))
    text = " ".join(tiny.GOOD[:6])
    ids = preset.text_encoder(window_length=64)(tf.constant([text])).token_ids
    inputs = classifier.model_inputs(ids.to_tensor(0), ids.row_lengths())
    pooled = preset.make_backbone(dropout=0.0)(inputs)["pooled_output"].numpy()
    values = pooled @ tensors["classifier.weight"].T + tensors["classifier.bias"]
    (answer,) = predictor.load(paths["float32"])([text])
    assert values[0, 0] == pytest.approx(answer["value"], rel=1e-5)
    for name in ("int8", "bfloat16"):
        (beside,) = predictor.load(paths[name])([text])
        assert beside["value"] == pytest.approx(answer["value"], abs=STEP)
        assert beside["high"] - beside["low"] == pytest.approx(
            2 * (report.decision.half_width or 0.0), rel=1e-4
        )


def test_a_format_whose_values_are_too_far_off_is_not_published(
    in_all_formats: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    config = with_settings(
        in_all_formats[0],
        export_dir=str(tmp_path / "export"),
        export_formats=("float32", "bfloat16"),
        max_value_shift=1e-6,
    )
    model_dir = tmp_path / "run"
    shutil.copytree(config.model_dir, model_dir)
    result = experiment.run(dataclasses.replace(config, model_dir=str(model_dir)))
    report = NumbersReport.from_json(json.dumps(result.report))
    assert report.export is not None
    _, measured = report.export.formats
    assert (measured.status, measured.path) == ("refused", None)
    assert not (tmp_path / "export" / "bfloat16" / "1").exists()
    (doubt,) = [each for each in report.doubts if each.kind == "refused_format"]
    assert "--max_value_shift=1e-06" in doubt.message
    assert f"{measured.value_shift:.3g} from those of the" in doubt.message
    assert "refused" in result.report_path.read_text()


@pytest.mark.parametrize(
    ("shift", "limit", "is_refused"),
    [
        (12.0, 0.0, False),
        (13.0, 0.0, True),
        (13.0, 20.0, False),
        (21.0, 20.0, True),
        (float("nan"), 20.0, True),
    ],
)
def test_a_twentieth_of_the_spread_may_be_lost_unless_another_limit_is_given(
    shift: float, limit: float, is_refused: bool
) -> None:
    measured = {"num_texts": 50, "value_shift": shift, "mae": 40.0}
    why = export.too_lossy(
        measured,
        {"mae": 38.0},
        config=ServingConfig(max_value_shift=limit),
        scale=Scale(mean=1000.0, spread=250.0),
    )
    assert bool(why) == is_refused
    with pytest.raises(ValueError, match="--max_value_shift must be a distance"):
        ServingConfig(max_value_shift=-1.0)


def test_a_range_test_is_in_spreads(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    """Losses begin near those of the mean, 1 squared spread, whatever the prices are."""
    dataset = write_prices(tmp_path / "a.csv", count=60)
    config = of_prices(tmp_path, tiny_preset, dataset)
    rates, losses = range_test.run(
        config, low=1e-7, high=1e-4, num_steps=5, load=sources.load
    )
    assert len(rates) == len(losses) == 5 and rates == sorted(rates)
    assert all(0.1 < loss < 10 for loss in losses)


def test_too_few_validation_texts_give_values_alone(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = of_prices(
        tmp_path,
        tiny_preset,
        write_prices(tmp_path / "a.csv", count=60),
        serving=ServingConfig(interval_coverage=0.99),
        training={"num_train_epochs": 1},
    )
    result = experiment.run(config)
    report = result.report
    assert report["decision"]["half_width"] is None
    told = [each for each in report["warnings"] if "--interval_coverage" in each]
    assert "at least 99 validation texts" in told[0]
    loaded = tf.saved_model.load(str(result.saved_model))
    outputs = loaded.signatures["serving_default"](text=tf.constant(["good"]))
    assert list(outputs) == ["value"]
    assert result.saved_model is not None
    assert "There are none" in (result.saved_model / "MODEL_CARD.md").read_text()
    assert "without an interval" in result.summary


def test_the_head_begins_as_the_ridge_and_trackers_are_told_distances(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """A training that moves nothing leaves the model of the frozen encoder."""
    config = of_prices(
        tmp_path,
        tiny_preset,
        write_prices(tmp_path / "a.csv", count=60),
        model={"pooling": "mean", "dropout": 0.0, "head_start": "frozen"},
        optimizer={"learning_rate": 1e-12},
        training={"num_train_epochs": 1},
        baselines=("frozen",),
        trackers=("tensorboard",),
    )
    report = NumbersReport.from_json(json.dumps(experiment.run(config).report))
    ridge = report.baselines["frozen"].test
    assert ridge is not None and ridge.mae < STEP
    test = report.after["test"]
    assert test.mae == pytest.approx(ridge.mae, rel=1e-3)
    assert report.before["test"].mae > STEP
    events = event_accumulator.EventAccumulator(
        str(pathlib.Path(config.model_dir) / "logs" / "hparams")
    )
    events.Reload()
    told = {"test_mae": test.mae, "test_r2": test.r2, "test_mae_frozen": ridge.mae}
    for name, value in told.items():
        (found,) = events.Tensors(name)
        assert tensor_util.make_ndarray(found.tensor_proto) == pytest.approx(value)


def test_a_model_of_numbers_begins_where_another_ended(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    """Its head gives the same values, whatever the spread of the new numbers is."""
    source = finished[1].saved_model
    config = dataclasses.replace(
        with_settings(
            finished[0],
            dataset=write_prices(tmp_path / "fresh.csv", count=60, seed=9, noise=900.0),
            init_from=str(source),
            learning_rate=1e-12,
            num_train_epochs=1,
            export=False,
        ),
        model_dir=str(tmp_path / "run"),
        baselines=("frozen",),
    )
    report = NumbersReport.from_json(json.dumps(experiment.run(config).report))
    assert report.start is not None and report.start.source == str(source)
    assert "Began from the weights of" in (tmp_path / "run/report.html").read_text()
    there = NumbersReport.from_json(json.dumps(finished[1].report))
    assert report.decision.spread > 1.2 * there.decision.spread
    assert report.baselines["frozen"].title == (
        "the encoder of --init_from, frozen, with ridge regression"
    )
    place = pathlib.Path(report.paths.predictions["test"])
    lines = [json.loads(line) for line in place.read_text().splitlines()]
    with (tmp_path / "fresh.csv").open(newline="") as file:
        texts = [row[0] for row in csv.reader(file)]
    answers = predictor.load(str(source))([texts[line["line"] - 1] for line in lines])
    np.testing.assert_allclose(
        [line["answer"] for line in lines],
        [answer["value"] for answer in answers],
        rtol=1e-4,
    )


@pytest.mark.slow
def test_killed_and_on_two_replicas(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    dataset = write_prices(tmp_path / "a.csv", count=120)

    def made(name: str, **changes: Any) -> ExperimentConfig:
        training = {"num_train_epochs": 2, "save_every_steps": 2, "logging_steps": 1}
        defaults = {"training": training, "model": {"dropout": 0.1}}
        config = of_prices(tmp_path, tiny_preset, dataset, **defaults | changes)
        return dataclasses.replace(config, model_dir=str(tmp_path / name))

    assert_same_when_killed_and_on_two_replicas(made, tmp_path)


# What is given → a part of why it is refused. Each of `regression.refused` has a row.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "class_weights": ({"class_weights": ("balanced",)}, "has no class"),
    "label_smoothing": ({"label_smoothing": 0.1}, "over all labels"),
    "focal_gamma": ({"focal_gamma": 2.0}, "probability of what is right"),
    "best_metric": ({"best_metric": "f1_macro"}, "root mean squared error"),
    "replay_dataset": (
        {"replay_dataset": "files:a.csv"},
        "proportions of their labels",
    ),
    "reweigh_by": ({"reweigh_by": "terms:gender"}, "by their label"),
    "augment_counterfactuals": (
        {"augment_counterfactuals": ("gender",)},
        "may not stay right",
    ),
    "decision_metric": ({"decision_metric": "mcc"}, "a number has none"),
    "abstain_accuracy": ({"abstain_accuracy": 0.9}, "its interval says"),
    "max_accuracy_drop": (
        {"max_accuracy_drop": 0.5},
        "--max_value_shift is of numbers",
    ),
    "export_explain": ({"export_explain": True}, "speak for a label"),
    "max_slice_gap": ({"max_slice_gap": 0.1}, "rates of labels"),
    "max_flips": (
        {"max_flips": 0.1, "counterfactuals": ("gender",)},
        "labels that change",
    ),
    "explain": ({"explain": 4}, "speak for a label"),
    "out_of_fold": ({"out_of_fold": "a.jsonl"}, "by their probabilities"),
    "audit_model": ({"audit_model": "tfidf"}, "by their probabilities"),
    "slice_fields": ({"slice_fields": ("city",)}, "rates of labels"),
    "positive_label": ({"positive_label": "good"}, "rates of labels"),
    "counterfactuals": ({"counterfactuals": ("gender",)}, "label that changes"),
    "error_causes": ({"error_causes": True}, "labels that are wrong"),
    "export_to_label": (
        {"export_to_label": "a.csv", "unlabelled": "files:b.txt"},
        "probabilities of their labels",
    ),
}


def with_settings(config: ExperimentConfig, **values: Any) -> ExperimentConfig:
    """The config with some settings of any section."""
    content = dataclasses.asdict(config)
    for name, value in values.items():
        holder = next(
            section
            for section in (content, *content.values())
            if isinstance(section, dict) and name in section
        )
        holder[name] = value
    return ExperimentConfig.from_json(json.dumps(content))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    folder = tmp_path_factory.mktemp("plain")
    return make_config(
        folder, "preset", data={"dataset": "files:a.csv", "task": "regression"}
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_of_labels_is_refused_by_name(
    plain: ExperimentConfig, name: str
) -> None:
    values, why = REFUSED[name]
    # What several settings refuse, is said of the first one.
    allowed = [each for each in values if each != name]
    refused = "|".join([name, *allowed])
    with pytest.raises(ValueError) as caught:
        with_settings(plain, **values)
    said = str(caught.value)
    assert said.startswith(
        tuple(f"--{each} is for labels" for each in refused.split("|"))
    )
    if said.startswith(f"--{name}"):
        assert why in said
    assert "task=regression; leave it out" in said


def test_every_refusal_is_tried(plain: ExperimentConfig) -> None:
    assert set(regression.refused(settings(plain))) == set(REFUSED)


@pytest.mark.parametrize(
    "make, told",
    [
        (
            functools.partial(DataConfig, label_names=("1", "2")),
            "--label_names is of labels.*--task=ordinal",
        ),
        (
            functools.partial(DataConfig, corrections="a.jsonl"),
            "--corrections is of labels",
        ),
        (functools.partial(DataConfig, label_separator="|"), "--label_separator"),
    ],
)
def test_data_of_labels_is_refused(make: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make(dataset="files:a.csv", task="regression")


def test_intervals_are_of_numbers_alone(plain: ExperimentConfig) -> None:
    with pytest.raises(ValueError, match="--max_value_shift is of numbers; of labels"):
        with_settings(plain, task="single_label", max_value_shift=0.5)
    with pytest.raises(ValueError, match="--interval_coverage is of the intervals"):
        with_settings(plain, task="single_label", interval_coverage=0.5)
    assert with_settings(plain, interval_coverage=0.5).serving.interval_coverage == 0.5
    for share in (0.0, 1.0, -0.1, 90.0):
        with pytest.raises(ValueError, match="--interval_coverage must be a share"):
            ServingConfig(interval_coverage=share)


@pytest.mark.parametrize(
    ("task", "given", "rule"),
    [
        ("regression", ("1", "0", "0.5", "0.5"), "half the width of the interval"),
        ("single_label", ("12.5",), "a temperature, a score and thresholds"),
    ],
)
def test_a_decision_of_another_task_is_refused(
    plain: ExperimentConfig, task: str, given: tuple[str, ...], rule: str
) -> None:
    with pytest.raises(ValueError, match=f"--given_decision must be {rule}"):
        with_settings(plain, task=task, given_decision=given)


@pytest.mark.parametrize("given", ["-1", "inf", "wide"])
def test_a_width_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="of numbers half the width"):
        ServingConfig(given_decision=(given,))


def test_texts_to_label_are_not_chosen_by_numbers(
    finished: tuple[ExperimentConfig, Any], tmp_path: pathlib.Path
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("a film\n")
    config = PredictConfig(
        saved_model=str(finished[1].saved_model),
        input=str(rows),
        export_to_label=str(tmp_path / "to_label.csv"),
    )
    with pytest.raises(ValueError, match="by the probabilities of their labels"):
        labelling.export(config)


def test_an_audit_looks_at_numbers(tmp_path: pathlib.Path) -> None:
    """Copies with other numbers are named; labels that may be wrong are not looked for."""
    place = tmp_path / "a.csv"
    rows = [f"text number {row} of many,{row / 2}" for row in range(40)]
    place.write_text("text,label\n" + "\n".join([*rows, rows[0][:-3] + "7.5"]) + "\n")
    data = DataConfig(dataset=f"files:{place}", task="regression")
    found = audit.audit(AuditConfig(data=data))
    assert found["num_contradictions"] == 1
    assert found["copies"][0]["labels"] == ["0", "7.5"]
    assert not found["small_classes"]
    for kind in ("few_texts_of_class", "imbalance", "absent_class"):
        assert kind not in [doubt["kind"] for doubt in found["doubts"]]
    with pytest.raises(ValueError, match="--review_page is of texts of one label"):
        AuditConfig(data=data, review_page="a.html")

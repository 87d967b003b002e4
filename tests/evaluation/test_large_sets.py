"""Tests of trainer/evaluation/large_sets.py, and of metrics of more texts than are drawn."""

from __future__ import annotations

import tracemalloc
from typing import Any, Callable, Mapping

import numpy as np
import pytest
import sklearn.metrics

from trainer.data import places
from trainer.evaluation import curves, large_sets, metrics, number_metrics
from trainer.stages import predictions
from trainer.tasks import multi_label_decision, single_label_decision
from trainer.tasks.multi_label import LabelSetScoring
from trainer.tasks.ordinal import OrdinalScoring
from trainer.tasks.predictions import Predictions
from trainer.tasks.regression import NumberScoring
from trainer.tasks.single_label import ClassScoring
from trainer.tasks.task import Scale

_NAMES = tuple("abcdefghijklmnopqrst")
_Ends = Mapping[str, tuple[float, float]]


def _classes(
    num_texts: int, num_classes: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_classes + 1)
    labels = generator.choice(num_classes, num_texts, p=shares / shares.sum())
    logits = generator.standard_normal((num_texts, num_classes), np.float32)
    logits[np.arange(num_texts), labels] += 2
    return labels, logits


def _label_sets(num_texts: int, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    # What two labels of a text have in common must stay together.
    shared = generator.standard_normal((num_texts, 1))
    logits = 2 * (generator.standard_normal((num_texts, num_labels)) + shared) - 2
    chance = 1 / (1 + np.exp(-logits))
    has = generator.random((num_texts, num_labels)) < chance
    return has.astype(np.float32), logits.astype(np.float32)


def _numbers(num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    numbers = generator.gamma(2.0, size=num_texts).round(1)
    values = numbers + generator.standard_t(4, size=num_texts)
    return numbers, values[:, np.newaxis].astype(np.float32)


def _report(
    scoring: Any, labels: np.ndarray, logits: np.ndarray, *, num_resamples: int = 1000
) -> Any:
    count, names = len(labels), _NAMES[: logits.shape[1]]
    if isinstance(scoring, LabelSetScoring):
        decision: Any = multi_label_decision.plain(len(names))
    elif isinstance(scoring, NumberScoring):
        from trainer.tasks.regression_decision import RegressionDecision

        decision = RegressionDecision()
    else:
        decision = single_label_decision.plain(len(names))
    return scoring.report(
        labels,
        logits,
        decision=decision,
        label_names=names,
        texts=["a word or two"] * count,
        lengths=np.arange(count) % 300,
        places=places.unknown(count),
        longest_text=256,
        num_resamples=num_resamples,
        seed=0,
    )


_CASES: Mapping[str, tuple[Any, Callable[[int], tuple[np.ndarray, np.ndarray]]]] = {
    "two": (ClassScoring(), lambda count: _classes(count, 2)),
    "twelve": (ClassScoring(), lambda count: _classes(count, 12)),
    "ordinal": (OrdinalScoring(), lambda count: _classes(count, 5)),
    "label_sets": (LabelSetScoring(), lambda count: _label_sets(count, 6)),
    "numbers": (NumberScoring(Scale()), _numbers),
}


# Of version 0.1.0 before groups were drawn: 600 texts, 100 resamples.
_UNCHANGED: Mapping[str, _Ends] = {
    "two": {
        "loss": (0.20428961520175448, 0.26395317840202154),
        "brier_score": (0.1046929620992941, 0.14986871713289696),
        "f1_macro": (0.9068937982548132, 0.9497952271416976),
        "mcc": (0.8153388770405243, 0.8992923280825844),
        "expected_calibration_error": (0.04563189986557533, 0.10696830266858594),
        "roc_auc": (0.9632658985088641, 0.9882774972520644),
    },
    "twelve": {
        "loss": (1.2843085935716754, 1.403701810325177),
        "precision_macro": (0.5292395221763263, 0.609124481407725),
        "roc_auc": (0.9301257214933114, 0.9546077545883209),
    },
    "ordinal": {
        "mae": (0.3642849519075379, 0.5190483814257955),
        "rps": (0.3280964866774124, 0.3920560950184968),
        "quadratic_kappa": (0.6492029464186087, 0.7788260116348489),
        "spearman": (0.7144590650937797, 0.792515427184913),
    },
    "label_sets": {
        "f1_macro": (0.7072433613365046, 0.753414084396516),
        "hamming_loss": (0.12287317432111111, 0.14998299893333192),
        "mcc": (0.6153639170746653, 0.6744598819636327),
        "loss": (0.2994347555409408, 0.33345392035662635),
        "expected_calibration_error": (0.0, 0.01731699443513151),
    },
    "numbers": {
        "mae": (0.9352497383572006, 1.080257260175127),
        "rmse": (1.250937549334244, 1.5496142184785788),
        "r2": (-0.4528330087799121, 0.13892091985917818),
        "spearman": (0.6175434787286205, 0.7052442192656957),
        "pearson": (0.6452480601983446, 0.7471709325916941),
        "median_absolute_error": (0.6802551957964897, 0.827924179881811),
    },
}


@pytest.mark.parametrize("name", _CASES)
def test_groups_have_the_intervals_of_single_texts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scoring, made = _CASES[name]
    labels, logits = made(12_000)
    ends: list[_Ends] = []
    for most in (len(labels), len(labels) - 1):
        monkeypatch.setattr(large_sets, "MAX_DRAWN", most)
        # Twelve texts in each, so that groups are told from texts.
        monkeypatch.setattr(large_sets, "NUM_GROUPS", 1000)
        ends.append(_report(scoring, labels, logits).confidence_intervals_95)
    single, grouped = ends
    assert set(single) == set(grouped)
    for metric, (low, high) in single.items():
        # A percentile of 1,000 resamples is off by a tenth of the half-width, seldom
        # by two; what groups bring is a share of 1 / sqrt(2,000) of it.
        limit = 0.2 * (high - low) / 2
        assert grouped[metric] == pytest.approx((low, high), abs=limit), metric


@pytest.mark.parametrize("name", _UNCHANGED)
def test_few_texts_have_the_intervals_that_they_had(name: str) -> None:
    scoring, made = _CASES[name]
    report = _report(scoring, *made(600), num_resamples=100)
    found = {each: report.confidence_intervals_95[each] for each in _UNCHANGED[name]}
    # Some digits less than there are: another processor may add in another order.
    assert found == {
        each: pytest.approx(ends, rel=1e-12) for each, ends in _UNCHANGED[name].items()
    }


@pytest.mark.parametrize("name", ["twelve", "label_sets", "numbers"])
def test_three_hundred_thousand_texts_take_little_memory(name: str) -> None:
    scoring, made = _CASES[name]
    labels, logits = made(300_000)
    tracemalloc.start()
    try:
        # Time is in the resamples, memory is not: few will do.
        report = _report(scoring, labels, logits, num_resamples=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.num_examples == 300_000 and report.confidence_intervals_95
    # Drawing each text took 1 GB and more for 20 resamples alone at any of these.
    assert peak < 250e6


def test_what_is_drawn_does_not_grow_with_the_texts() -> None:
    labels, logits = _classes(200_000, 3)
    many = metrics._examples(labels, Predictions(logits), seed=0)
    assert many.num_drawn == large_sets.NUM_GROUPS
    few = metrics._examples(labels[:900], Predictions(logits[:900]), seed=0)
    assert few.num_drawn == 900


def test_sums_of_groups_are_those_of_all_texts() -> None:
    groups = large_sets.deal(100_000, seed=0)
    values = np.random.default_rng(0).normal(size=100_000)
    assert groups.sums(values).sum() == pytest.approx(values.sum())
    assert groups.counts(values > 0).sum() == (values > 0).sum()
    assert groups.sizes.sum() == 100_000
    assert np.ptp(groups.sizes) <= 1
    # Dealt out at random: neighbours are not always in neighbouring groups.
    assert (np.diff(groups.numbers) == 1).mean() < 0.01


def test_blocks_hold_every_row_once() -> None:
    found = [row for rows in large_sets.blocks(7, 400_000) for row in range(7)[rows]]
    assert found == list(range(7))
    assert list(large_sets.blocks(0, 3)) == []


def test_a_function_of_rows_gives_the_same_by_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    monkeypatch.setattr(large_sets, "_MAX_NUMBERS", 12)
    found = large_sets.by_row(lambda some: some.cumsum(axis=1), values)
    np.testing.assert_array_equal(found, values.cumsum(axis=1))
    labels = np.arange(50) % 3
    some, whole = Predictions(values), []
    for name in ("probabilities", "log_probabilities", "runner_up"):
        whole.append(getattr(some, name))
    whole += [some.log_odds(1), metrics._squared_errors(labels, some)]
    monkeypatch.undo()
    others = Predictions(values)
    expected = [others.probabilities, others.log_probabilities, others.runner_up]
    expected += [others.log_odds(1), metrics._squared_errors(labels, others)]
    for one, other in zip(whole, expected):
        np.testing.assert_array_equal(one, other)


def test_curves_of_many_pairs_are_those_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = _classes(3_000, 12)
    predicted = Predictions(4 * logits)
    whole = curves.of(labels, predicted, label_names=_NAMES[:12])
    monkeypatch.setattr(curves, "_MAX_SORTED", 1_000)
    monkeypatch.setattr(curves, "_MAX_DISTINCT", 20_000)
    many = curves.of(labels, predicted, label_names=_NAMES[:12])
    for kind, found in many.items():
        for one, other in zip(found, whole[kind], strict=True):
            assert one.name == other.name
            assert one.area == pytest.approx(other.area, abs=2e-4)
            grid = np.linspace(0.02, 1, 40)
            np.testing.assert_allclose(
                np.interp(grid, one.x, one.y),
                np.interp(grid, other.x, other.y),
                atol=0.02,
            )


def test_many_pairs_are_ranked_from_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 50, 4_000) / 7.0
    is_hit = generator.random(4_000) < scores / 8
    expected = curves._from_the_top(is_hit, scores)
    found = curves._from_the_top_of_many(is_hit, scores)
    np.testing.assert_array_equal(found, expected)


def test_a_median_of_resamples_is_drawn_as_from_texts() -> None:
    generator = np.random.default_rng(0)
    for count in (201, 200):
        numbers, values = generator.normal(size=(2, count))
        measured = number_metrics._Measured(numbers, values)
        drawn = measured.drawn_medians(20_000, seed=0)
        errors = np.abs(values - numbers)
        rows = generator.integers(0, count, (20_000, count))
        medians = np.median(errors[rows], axis=1)
        for share in (0.025, 0.3, 0.5, 0.8, 0.975):
            # Of 20,000 draws a quantile is off by less than 0.01 of the rank.
            low, high = np.quantile(medians, (share - 0.012, share + 0.012))
            assert low <= np.quantile(drawn, share) <= high


def test_influences_have_the_covariance_of_ranks() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 500).astype(float)
    values = labels + generator.normal(size=500).round(1)
    found = number_metrics._rank_influences(labels, values)
    means = {name: column.mean() for name, column in found.items()}
    correlation = means["rank_products"] / np.sqrt(
        means["rank_labels"] * means["rank_values"]
    )
    plain = number_metrics.number_metrics(labels, values, num_resamples=0, seed=0)
    assert correlation == pytest.approx(plain.values["spearman"], abs=1e-12)


def test_calibration_of_parts_is_that_of_all() -> None:
    labels, logits = _classes(1_000, 3)
    whole = metrics.calibration_values([(labels, Predictions(logits))])
    parts = metrics.calibration_values(
        (labels[start : start + 300], Predictions(logits[start : start + 300]))
        for start in range(0, 1_000, 300)
    )
    for name in ("loss", "brier_score", "expected_calibration_error"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-12), name
    assert [each["count"] for each in parts["reliability"]] == [
        each["count"] for each in whole["reliability"]
    ]
    one_hot = np.eye(3)[labels]
    squares = ((Predictions(logits).probabilities - one_hot) ** 2).sum(axis=1)
    assert whole["brier_score"] == pytest.approx(squares.mean())
    assert whole["loss"] == pytest.approx(
        sklearn.metrics.log_loss(labels, Predictions(logits).probabilities)
    )


def test_a_gain_has_the_error_of_single_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, logits = _classes(5_000, 3)
    plain = logits.argmax(axis=1)
    other = (logits + [0.0, 0.3, 0.8]).argmax(axis=1)
    found = []
    for most in (5_000, 4_999):
        monkeypatch.setattr(large_sets, "MAX_DRAWN", most)
        found.append(single_label_decision._gain(labels, plain, other, "f1_macro"))
    (gain, error), (same_gain, same_error) = found
    assert same_gain == gain
    # Of 500 resamples a deviation is off by 3%.
    assert same_error == pytest.approx(error, rel=0.15)
    of_label = []
    for most in (5_000, 4_999):
        monkeypatch.setattr(large_sets, "MAX_DRAWN", most)
        of_label.append(
            multi_label_decision._resampled_gains(
                "mcc", labels == 1, other == 1, plain == 1
            )
        )
    assert np.std(of_label[1]) == pytest.approx(np.std(of_label[0]), rel=0.15)
    assert np.mean(of_label[1]) == pytest.approx(np.mean(of_label[0]), abs=0.002)


def test_predictions_are_made_as_they_are_written() -> None:
    labels, logits = _classes(100_000, 4)
    arguments: Any = {
        "decision": single_label_decision.plain(4),
        "label_names": _NAMES[:4],
        "places": places.unknown(len(labels)),
    }
    tracemalloc.start()
    try:
        lines = predictions.lines(labels, logits, **arguments)
        num_lines = sum(1 for _ in lines)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert num_lines == 100_000
    # All of them are 11 MB, their probabilities 3 MB more.
    assert peak < 3e6

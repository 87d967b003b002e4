"""Metrics of numbers, beside scikit-learn and SciPy; what is undefined; intervals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from trainer.evaluation import intervals, number_doubts, number_metrics
from trainer.evaluation.number_metrics import NAMES, mae_difference


def metrics(
    labels: object, values: object, *, num_resamples: int = 0
) -> number_metrics.Found:
    return number_metrics.number_metrics(
        labels, values, num_resamples=num_resamples, seed=0  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("has_ties", [False, True])
def test_as_others_compute_them(shift: float, has_ties: bool) -> None:
    generator = np.random.default_rng(0)
    labels = generator.normal(3, 2, 101)
    values = labels + generator.normal(0, 1, 101)
    if has_ties:
        labels, values = labels.round(), values.round()
    found = metrics(labels + shift, values + shift).values
    assert list(found) == list(NAMES)
    expected = {
        "mae": sklearn.metrics.mean_absolute_error(labels, values),
        "rmse": sklearn.metrics.mean_squared_error(labels, values) ** 0.5,
        "r2": sklearn.metrics.r2_score(labels, values),
        "spearman": scipy.stats.spearmanr(labels, values).statistic,
        "pearson": scipy.stats.pearsonr(labels, values).statistic,
        "median_absolute_error": sklearn.metrics.median_absolute_error(labels, values),
    }
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10])
def test_the_median_of_even_and_odd_numbers(count: int) -> None:
    errors = np.arange(count) ** 2.0
    found = metrics(np.zeros(count), errors).values["median_absolute_error"]
    assert found == np.median(errors)


def test_undefined_is_none_and_never_0() -> None:
    constant = metrics([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 2.0, 2.0]).values
    assert constant["pearson"] is constant["spearman"] is None
    assert constant["r2"] is not None and constant["r2"] < 0
    same = metrics([5.1, 5.1, 5.1], [5.0, 5.1, 5.2]).values
    assert same["r2"] is same["pearson"] is same["spearman"] is None
    two = metrics([1.0, 2.0], [1.0, 2.5]).values
    assert two["r2"] is two["pearson"] is two["spearman"] is None
    assert two["mae"] == 0.25 and two["rmse"] is not None
    far = metrics(np.full(50, 1e8 + 0.1), np.arange(50.0)).values
    assert far["r2"] is far["pearson"] is None


def test_resamples_are_those_of_texts() -> None:
    """Each resample's metrics are those of the texts that it draws, one by one."""
    generator = np.random.default_rng(1)
    labels = generator.normal(0, 2, 12).round(1)
    values = (labels + generator.normal(0, 1, 12)).round(1)
    measured = number_metrics._Measured(labels, values)
    (counts,) = number_metrics._resamples(12, 20, seed=3)
    assert (counts.sum(axis=1) == 12).all()
    found = measured.of(counts)
    for row, count in enumerate(counts.astype(int)):
        one = np.repeat(np.arange(12), count)
        drawn = metrics(labels[one], values[one]).values
        for name in NAMES:
            assert found[name][row] == pytest.approx(drawn[name], rel=1e-9), name


def test_intervals_hold_their_values_and_need_ten_texts() -> None:
    generator = np.random.default_rng(2)
    labels = generator.normal(0, 2, 60)
    values = labels + generator.normal(0, 1, 60)
    found = metrics(labels, values, num_resamples=400)
    assert set(found.intervals) == set(NAMES)
    for name, (low, high) in found.intervals.items():
        value = found.values[name]
        assert value is not None and low < value < high, name
    assert not metrics(labels[:9], values[:9], num_resamples=400).intervals
    assert not metrics(labels, values).intervals
    constant = metrics(labels, np.zeros(60), num_resamples=400).intervals
    assert "pearson" not in constant and "mae" in constant


def test_blocks_of_resamples_make_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = np.concatenate(list(number_metrics._resamples(10, 50, seed=0)))
    monkeypatch.setattr(number_metrics, "_MAX_NUMBERS", 70)
    parts = np.concatenate(list(number_metrics._resamples(10, 50, seed=0)))
    np.testing.assert_array_equal(whole, parts)


@pytest.mark.parametrize("shift, least, most", [(0.0, 0.0, 0.10), (0.5, 0.9, 1.0)])
def test_differences_are_shown_where_there_are_any(
    shift: float, least: float, most: float
) -> None:
    """Of 100 samples: of equal models about 5 err, of unequal ones most are told."""
    generator = np.random.default_rng(4)
    verdicts = []
    for _ in range(100):
        errors = generator.normal(0, 1, (2, 80))
        found = mae_difference(
            np.zeros(80),
            errors[0],
            (1 + shift) * errors[1],
            num_resamples=200,
            seed=0,
        )
        verdicts.append(found.verdict)
    share = np.mean([verdict != "not_shown" for verdict in verdicts])
    assert least <= share <= most
    assert "worse" not in verdicts or shift == 0


def test_a_difference_is_below_0_where_the_first_is_nearer() -> None:
    labels = np.arange(20.0)
    found = mae_difference(labels, labels + 1, labels - 3, num_resamples=100, seed=0)
    assert found == (-2.0, (-2.0, -2.0), "better")
    turned = mae_difference(labels, labels - 3, labels + 1, num_resamples=100, seed=0)
    assert turned.value == 2.0 and turned.verdict == "worse"
    few = mae_difference(
        labels[:9], labels[:9] + 1, labels[:9], num_resamples=9, seed=0
    )
    assert few.interval is None and few.verdict == "not_shown"


@pytest.mark.parametrize("num_fitted, num_new", [(52, 379), (400, 200), (9, 1000)])
def test_few_held_by_chance_are_no_doubt(num_fitted: int, num_new: int) -> None:
    """Texts drawn alike look too few in 1 of 40 draws at most; unlike ones, nearly all."""
    generator = np.random.default_rng(5)
    rank = intervals.conformal_rank(num_fitted, coverage=0.9)
    num_doubted = {1.0: 0, 3.0: 0}
    for _ in range(1000):
        fitted = np.sort(np.abs(generator.normal(size=num_fitted)))
        for spread in num_doubted:
            new = spread * np.abs(generator.normal(size=num_new))
            chance = number_doubts.chance_of_so_few(
                int((new <= fitted[rank - 1]).sum()),
                num_new,
                num_fitted=num_fitted,
                coverage=0.9,
            )
            num_doubted[spread] += chance < 0.025
    assert num_doubted[1.0] <= scipy.stats.binom(1000, 0.025).ppf(0.999)
    assert num_doubted[3.0] > (990 if num_fitted > 9 else 500)

"""Tests of trainer/studies/curves.py: which points, which fit, how far it looks."""

from __future__ import annotations

import json
import pathlib
from typing import Sequence

import numpy as np
import pytest

from tests.studies.tiny_study import RISING, make_curve, measured
from trainer.evaluation.intervals import wilson_interval
from trainer.studies import curves


def test_a_curve_has_points_a_fit_and_forecasts() -> None:
    curve = make_curve(RISING)
    assert tuple((p.num_train_examples, p.mean) for p in curve.points) == RISING
    assert all(p.std is None and p.num_runs == 1 for p in curve.points)
    assert curve.fit is not None and curve.no_fit is None
    assert curve.fit.smallest_size == 100
    assert curve.fit.value_at_largest == pytest.approx(0.89, abs=0.01)
    near, far = curve.fit.forecasts
    assert (near.num_more, near.num_train_examples) == (1000, 4000)
    assert (far.num_more, far.num_train_examples) == (3000, 6000)
    assert curve.fit.value_at_largest < near.value < far.value < 1
    assert near.gain == pytest.approx(near.value - curve.fit.value_at_largest)
    for forecast in (near, far):
        assert forecast.interval_95 is not None
        assert forecast.gain_interval_95 is not None
        low, high = forecast.interval_95
        assert low < forecast.value < high
        assert forecast.accuracy == forecast.value
        low, high = forecast.gain_interval_95
        assert 0 <= low < forecast.gain < high


@pytest.mark.parametrize("largest", [120, 400, 500, 501, 1000, 20_000])
def test_no_forecast_is_beyond_three_times_the_largest_size(largest: int) -> None:
    curve = make_curve([(30, 0.7), (100, 0.8), (largest, 0.86)])
    assert curve.fit is not None
    sizes = [forecast.num_train_examples for forecast in curve.fit.forecasts]
    assert max(sizes) <= 3 * largest
    assert sizes[0] == min(largest + 1000, 3 * largest)
    assert largest * 2 in sizes


def test_sizes_no_better_than_guessing_are_left_out() -> None:
    """And smaller ones, even if one is better by luck."""
    curve = make_curve([(30, 0.56), (100, 0.51), *RISING[1:], (10_000, 0.9)])
    assert curve.fit is not None and curve.fit.smallest_size == 300
    assert len(curve.points) == 6


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        (RISING[:2], "2 sizes make no curve: it takes 3"),
        ([(100, 0.5), (300, 0.51), (1000, 0.8), (3000, 0.9)], "and there are 2"),
        ([(100, 0.5), (300, 0.51), (1000, 0.5)], "and there are 0"),
    ],
)
def test_why_there_is_no_fit(
    accuracies: Sequence[tuple[int, float]], reason: str
) -> None:
    curve = make_curve(accuracies)
    assert curve.fit is None
    assert curve.no_fit is not None and reason in curve.no_fit
    assert len(curve.points) == len(accuracies)


def test_several_seeds_are_a_mean_and_a_spread() -> None:
    pairs = [(s, a + d) for s, a in RISING for d in (-0.01, 0.0, 0.04)]
    curve = make_curve(pairs)
    first = curve.points[0]
    assert first.num_runs == 3
    assert first.mean == pytest.approx(0.71)
    assert first.std == pytest.approx(np.std([0.69, 0.7, 0.74], ddof=1))
    assert first.interval_95 == wilson_interval(710, 1000)
    # Farther from the curve than chance in the test texts explains.
    assert curve.fit is not None and curve.fit.dispersion > 1.2


def test_without_resamples_there_are_no_intervals_of_forecasts() -> None:
    curve = make_curve(RISING, resamples=0)
    assert curve.fit is not None
    assert curve.fit.forecasts[0].interval_95 is None
    assert curve.fit.forecasts[0].gain_interval_95 is None


def test_texts_are_drawn_anew_for_all_runs_together() -> None:
    one = {("a.csv", line): float(line % 3 == 0) for line in range(300)}
    opposite = {text: 1 - error for text, error in one.items()}
    other = {("b.csv", line): float(line % 3 == 0) for line in range(300)}
    errors = curves.resampled([one, one, opposite, other], num_resamples=500)
    assert errors.shape == (500, 4)
    np.testing.assert_array_equal(errors[:, 0], errors[:, 1])
    np.testing.assert_allclose(errors[:, 0], 1 - errors[:, 2])
    assert abs(np.corrcoef(errors[:, 0], errors[:, 3])[0, 1]) < 0.2
    assert errors[:, 0].mean() == pytest.approx(1 / 3, abs=0.01)
    assert errors[:, 0].std() == pytest.approx((2 / 9 / 300) ** 0.5, rel=0.1)


def test_what_is_simulated_has_the_spread_of_as_many_texts() -> None:
    runs = measured([(100, 0.7), (300, 0.9)])
    errors = curves.simulated(runs, num_resamples=4000)
    np.testing.assert_allclose(errors.mean(axis=0), [0.3, 0.1], atol=0.002)
    expected = np.sqrt([0.3 * 0.7 / 1000, 0.1 * 0.9 / 1000])
    np.testing.assert_allclose(errors.std(axis=0), expected, rtol=0.05)


def test_answers_are_read(tmp_path: pathlib.Path) -> None:
    rows = [
        {"file": "a.csv", "line": 2, "label": "good", "answer": "good"},
        {"file": "a.csv", "line": 5, "label": "good", "answer": "bad\u2028"},
    ]
    path = tmp_path / "test.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")
    assert curves.read_errors(path) == {("a.csv", 2): 0.0, ("a.csv", 5): 1.0}

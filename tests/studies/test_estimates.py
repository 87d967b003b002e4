"""Tests of trainer/studies/estimates.py: means, spreads, and what intervals hold."""

from __future__ import annotations

import statistics

import pytest

from tests.studies.simulated_folds import simulate
from trainer.studies import estimates
from trainer.studies.schema import Estimate


def holds(estimate: Estimate, truth: float) -> bool:
    assert estimate.interval_95 is not None
    low, high = estimate.interval_95
    return low <= truth <= high


def test_by_hand() -> None:
    """Of 0.8, 0.9, 1.0 the deviation is 0.1; Student's quantile of 2 degrees is 4.3027."""
    values = [0.8, 0.9, 1.0]
    seeds = estimates.over_seeds(values)
    folds = estimates.over_folds(values, test_share=0.5)
    assert seeds.values == folds.values == (0.8, 0.9, 1.0)
    assert seeds.mean == folds.mean == pytest.approx(0.9)
    assert seeds.std == folds.std == pytest.approx(0.1)
    reach = 4.302653 * 0.1
    assert seeds.interval_95 == pytest.approx(
        (0.9 - reach / 3**0.5, 0.9 + reach / 3**0.5)
    )
    wider = reach * (1 / 3 + 0.5) ** 0.5
    assert folds.interval_95 == pytest.approx((0.9 - wider, 0.9 + wider))


def test_of_one_run_no_spread_is_known() -> None:
    estimate = estimates.over_seeds([0.8])
    assert (estimate.mean, estimate.std, estimate.interval_95) == (0.8, None, None)


@pytest.mark.parametrize(("num_texts", "num_folds"), [(40, 5), (100, 10)])
def test_shared_training_texts_are_allowed_for(num_texts: int, num_folds: int) -> None:
    """Of 95% that it says; Student's interval holds less often than it says."""
    scores, truth = simulate(
        "one_feature", num_texts=num_texts, num_folds=num_folds, num_studies=800
    )
    corrected = statistics.fmean(
        holds(
            estimates.over_folds(each.tolist(), test_share=1 / (num_folds - 1)), truth
        )
        for each in scores
    )
    naive = statistics.fmean(
        holds(estimates.over_seeds(each.tolist()), truth) for each in scores
    )
    assert 0.94 <= corrected <= 0.99
    assert naive < 0.925

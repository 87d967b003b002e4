"""The measures of drift: how often they err, what they find, what they recover."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from trainer.drift import measures
from trainer.evaluation import comparisons

_SHARES = np.array([0.5, 0.3, 0.15, 0.05])
_NUM_TRIALS = 200
_LEVEL = 0.05
# Of 200 independent trials of chance 0.05, more are as likely as 1 in 1,000.
_MOST_ALARMS = int(scipy.stats.binom.ppf(0.999, _NUM_TRIALS, _LEVEL))


def test_counts_of_one_distribution_raise_few_alarms() -> None:
    generator = np.random.default_rng(1)
    alarms = 0
    for trial in range(_NUM_TRIALS):
        old, new = (generator.multinomial(count, _SHARES) for count in (60, 40))
        found = measures.compare_counts(old, new, seed=trial, num_permutations=199)
        alarms += found.p_value <= _LEVEL
        assert found.chance_size < found.chance_high
    # A test that never speaks would pass the other half.
    assert 1 <= alarms <= _MOST_ALARMS


def test_vectors_of_one_distribution_raise_few_alarms() -> None:
    generator = np.random.default_rng(2)
    alarms, areas = 0, []
    for trial in range(_NUM_TRIALS):
        old, new = generator.normal(size=(50, 6)), generator.normal(size=(60, 6))
        found = measures.compare_vectors(old, new, seed=trial, num_permutations=99)
        alarms += found.p_value <= _LEVEL
        areas.append(found.size)
    assert 1 <= alarms <= _MOST_ALARMS
    assert abs(np.mean(areas) - 0.5) < 0.02


def test_all_measures_together_raise_few_alarms() -> None:
    """Holm's promise is of the report, also where measures depend on each other."""
    generator = np.random.default_rng(3)
    alarms = 0
    for trial in range(_NUM_TRIALS):
        old, new = (generator.normal(size=(count, 3)) for count in (80, 50))
        old, new = np.hstack([old, old[:, :1]]), np.hstack([new, new[:, :1]])
        p_values = [
            measures.compare_counts(
                *(
                    np.histogram(side[:, column], [-9, -1, 0, 1, 9])[0]
                    for side in (old, new)
                ),
                seed=trial,
                num_permutations=199,
            ).p_value
            for column in range(4)
        ]
        alarms += min(comparisons.holm(p_values)) <= _LEVEL
    assert alarms <= _MOST_ALARMS


def test_other_counts_are_found_with_their_size() -> None:
    found = measures.compare_counts(
        np.array([500, 300, 200, 0]), np.array([250, 300, 350, 100]), seed=0
    )
    assert found.size == pytest.approx(0.25)
    assert found.p_value == 1 / (1 + measures.NUM_PERMUTATIONS)
    assert found.chance_high < 0.1


def test_counts_agree_with_the_chi_square_test() -> None:
    """With many texts a bin, whose p the asymptotic distribution knows."""
    old, new = np.array([400, 300, 300]), np.array([430, 310, 260])
    found = measures.compare_counts(old, new, seed=0, num_permutations=9999)
    expected = scipy.stats.chi2_contingency([old, new]).pvalue
    assert found.p_value == pytest.approx(expected, abs=0.015)


def test_other_vectors_are_found_and_the_most_unlike_stand_out() -> None:
    generator = np.random.default_rng(4)
    old, new = generator.normal(size=(150, 8)), generator.normal(size=(100, 8))
    new[:50, 2] += 4
    found = measures.compare_vectors(old, new, seed=0, num_permutations=199)
    assert found.size > 0.6 and found.p_value == 1 / 200
    surest = np.argsort(-found.scores)[:20]
    assert (surest < 50).mean() > 0.9


def test_the_area_is_that_of_the_ridge_fitted_fold_by_fold() -> None:
    """Against scikit-learn's, on the same folds."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(5)
    old, new = generator.normal(size=(60, 4)), generator.normal(0.4, 1, size=(60, 4))
    found = measures.compare_vectors(old, new, seed=7, num_permutations=9)
    folds = np.random.default_rng(7).permutation(np.arange(120) % 5)
    rows = np.concatenate([old, new])
    rows = rows - rows.mean(axis=0)
    rows /= np.sqrt((rows**2).sum(axis=1).mean())
    is_new = np.arange(120) >= 60
    won = pairs = 0.0
    for fold in range(5):
        left = folds == fold
        ridge = Ridge(alpha=measures._RIDGE * (~left).sum(), fit_intercept=False)
        ridge.fit(rows[~left], is_new[~left] - 0.5)
        number = is_new[left].sum() * (~is_new[left]).sum()
        won += number * roc_auc_score(is_new[left], ridge.predict(rows[left]))
        pairs += number
    assert found.size == pytest.approx(won / pairs)


def test_equal_vectors_are_not_told_apart() -> None:
    ones = np.ones([60, 3])
    found = measures.compare_vectors(ones, ones, seed=0, num_permutations=99)
    assert found.size == 0.5 and found.p_value == 1.0


_RATES = np.array([[0.8, 0.15, 0.05], [0.05, 0.8, 0.15], [0.03, 0.07, 0.9]])


def test_label_shares_are_recovered_within_their_error() -> None:
    generator = np.random.default_rng(6)
    covered = []
    for trial in range(100):
        shares = generator.dirichlet([2, 2, 2])
        confusion = np.stack(
            [generator.multinomial(n, row) for n, row in zip((100, 200, 200), _RATES)]
        )
        answered = generator.multinomial(500, shares @ _RATES)
        found = measures.label_shares(confusion, answered, seed=trial)
        low, high = found.intervals.T
        covered += ((low <= shares) & (shares <= high)).tolist()
        assert found.shares.sum() == pytest.approx(1)
    # 95% are meant; of 300 that hang together by threes, 90% are still well within.
    assert 0.9 <= np.mean(covered) <= 0.99


def test_the_correction_does_what_the_answers_alone_do_not() -> None:
    shares = np.array([0.7, 0.2, 0.1])
    confusion = (1000 * _RATES).round().astype(np.int64)
    answered = (10_000 * (shares @ _RATES)).round().astype(np.int64)
    found = measures.label_shares(confusion, answered, seed=0)
    np.testing.assert_allclose(found.shares, shares, atol=0.001)
    assert abs(answered[0] / 10_000 - shares[0]) > 0.1


def test_answers_that_do_not_tell_labels_apart_are_named() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="do not tell the labels apart"):
        measures.label_shares(np.array([[9, 1], [9, 1]]), np.array([5, 5]), seed=0)

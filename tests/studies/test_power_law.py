"""Tests of trainer/studies/power_law.py: planted laws, and how often intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.studies import power_law

SIZES = np.array([100.0, 300, 1000, 3000])


def errors_of(
    sizes: np.ndarray, *, asymptote: float, scale: float, exponent: float
) -> np.ndarray:
    """The law as written, without the code under test."""
    errors: np.ndarray = asymptote + scale * sizes**-exponent
    return errors


@pytest.mark.parametrize(
    ("asymptote", "scale", "exponent"),
    [(0.1, 3.0, 0.5), (0.0, 1.0, 0.25), (0.05, 20.0, 1.0), (0.2, 0.0, 0.5)],
)
@pytest.mark.parametrize("num_sizes", [3, 4])
def test_a_planted_law_is_found(
    asymptote: float, scale: float, exponent: float, num_sizes: int
) -> None:
    sizes = SIZES[:num_sizes]
    errors = errors_of(sizes, asymptote=asymptote, scale=scale, exponent=exponent)
    law = power_law.fit(sizes, errors, np.full(len(sizes), 1e-4))
    assert law is not None and law.dispersion == 1
    # Between the exponents of the grid, so not to the last digit.
    np.testing.assert_allclose(
        power_law.forecast(law.parameters, sizes), errors, atol=2e-3
    )
    target = 2 * sizes[-1]
    expected = errors_of(target, asymptote=asymptote, scale=scale, exponent=exponent)
    assert power_law.forecast(law.parameters, target) == pytest.approx(
        expected, abs=4e-3
    )
    if scale:
        assert law.parameters[2] == pytest.approx(exponent, rel=0.15)


def test_two_sizes_make_no_law() -> None:
    sizes = np.array([100.0, 100, 300, 300])
    errors = np.array([0.4, 0.41, 0.3, 0.31])
    assert power_law.fit(sizes, errors, np.full(4, 1e-4)) is None


def test_errors_that_rise_give_a_flat_law() -> None:
    law = power_law.fit(SIZES, np.array([0.2, 0.25, 0.28, 0.3]), np.full(4, 1e-4))
    assert law is not None
    assert law.parameters[:2].tolist() == [pytest.approx(0.2575), 0.0]


def test_heavier_errors_pull_the_law() -> None:
    errors = np.array([0.4, 0.3, 0.2, 0.3])
    laws = [
        power_law.fit(SIZES, errors, np.array([1e-4, 1e-4, 1e-4, last]))
        for last in (1e-6, 1e-2)
    ]
    near, far = [
        abs(float(power_law.forecast(law.parameters, 3000)) - 0.3)
        for law in laws
        if law
    ]
    assert near < 0.02 < far


def test_points_far_from_the_law_widen_its_intervals() -> None:
    """By the square root of chi squared by degree of freedom."""
    errors = np.array([0.4, 0.31, 0.2, 0.19])
    close = power_law.fit(SIZES, errors, np.full(4, 1e-2))
    far = power_law.fit(SIZES, errors, np.full(4, 1e-6))
    assert close is not None and close.dispersion == 1
    assert far is not None and far.dispersion > 5
    resamples = np.linspace(0.1, 0.3, 1001)
    low, high = power_law.interval(0.2, resamples, dispersion=1)
    assert (low, high) == pytest.approx((0.105, 0.295))
    wide = power_law.interval(0.2, resamples, dispersion=2)
    assert wide == pytest.approx((0.01, 0.39))


@pytest.mark.parametrize(
    ("num_sizes", "asymptote"), [(4, 0.1), (4, 0.03), (3, 0.05)], ids=str
)
def test_intervals_of_forecasts_hold_about_as_often_as_they_say(
    num_sizes: int, asymptote: float
) -> None:
    """95%: of 200 simulated studies of 1,000 test texts, the same for all sizes."""
    sizes, num_texts, num_studies = SIZES[:num_sizes], 1000, 200
    target = float(sizes[-1]) + 1000
    law = {"asymptote": asymptote, "scale": 3.0, "exponent": 0.5}
    true = errors_of(np.append(sizes, target), **law)
    gain = true[-2] - true[-1]
    generator = np.random.default_rng(1)
    num_held, num_gains_held = 0, 0
    for _ in range(num_studies):
        # A text that is hard for one run is hard for the others.
        hard = generator.random((num_texts, 1))
        chance = np.where(
            generator.random((num_texts, num_sizes)) < 0.5,
            hard,
            generator.random((num_texts, num_sizes)),
        )
        is_wrong = chance < true[:-1]
        errors = is_wrong.mean(axis=0)
        variances = errors * (1 - errors) / num_texts
        rows = generator.integers(0, num_texts, (100, num_texts))
        counts = np.apply_along_axis(np.bincount, 1, rows, None, num_texts)
        found = power_law.fit(sizes, errors, variances)
        assert found is not None
        laws = power_law.fit_all(sizes, counts @ is_wrong / num_texts, variances)
        ahead, now = (power_law.forecast(laws, size) for size in (target, sizes[-1]))
        point = float(power_law.forecast(found.parameters, target))
        point_now = float(power_law.forecast(found.parameters, sizes[-1]))
        spread = found.dispersion
        low, high = power_law.interval(point, ahead, dispersion=spread)
        num_held += low <= true[-1] <= high
        low, high = power_law.interval(
            point_now - point, now - ahead, dispersion=spread
        )
        num_gains_held += low <= gain <= high
    assert 0.90 <= num_held / num_studies
    assert 0.85 <= num_gains_held / num_studies

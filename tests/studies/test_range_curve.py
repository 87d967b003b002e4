"""Tests of trainer/studies/range_curve.py: planted losses."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.studies import range_curve

RATES = np.geomspace(1e-6, 1e-2, 100)


def losses(*, bend: float, noise: float, fall: float = 0.4) -> list[float]:
    """Falling with the logarithm of the rate up to the bend, then rising fast."""
    decades = np.log10(RATES / 1e-6)
    at_bend = np.log10(bend / 1e-6)
    curve = 0.7 - fall * np.minimum(decades, at_bend) / at_bend
    curve += 2.0 * np.maximum(decades - at_bend, 0.0)
    drawn: list[float] = (
        curve + noise * np.random.default_rng(0).normal(size=100)
    ).tolist()
    return drawn


@pytest.mark.parametrize("bend", [1e-4, 1e-3])
def test_the_range_ends_below_where_the_loss_rises(bend: float) -> None:
    curve = range_curve.suggest(RATES.tolist(), losses(bend=bend, noise=0.05))
    assert curve.low is not None and curve.high is not None
    assert bend / 4 < curve.high < bend / 1.5
    assert curve.low == pytest.approx(curve.high / 10, rel=0.05)
    assert (
        f"--sweep=learning_rate=log:{curve.low:g}:{curve.high:g}" in curve.sentences[0]
    )
    assert "a hint, not a result" in curve.sentences[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (losses(bend=9e-3, noise=0.2, fall=0.0), "not fallen by more than its noise"),
        ([0.7, 0.6, 0.5], "came apart within its first steps"),
    ],
    ids=["flat", "short"],
)
def test_nothing_is_suggested_of_noise(given: list[float], said: str) -> None:
    curve = range_curve.suggest(RATES[: len(given)].tolist(), given)
    assert (curve.low, curve.high) == (None, None)
    assert said in curve.sentences[0] and len(curve.sentences) == 1


def test_a_loss_that_still_falls_says_so() -> None:
    curve = range_curve.suggest(RATES.tolist(), losses(bend=1e-2, noise=0.01))
    assert "still fell at the end" in curve.sentences[0]


def test_smoothing_is_a_mean_of_the_losses_so_far() -> None:
    assert range_curve.smooth([1.0, 1.0, 1.0]) == pytest.approx([1.0, 1.0, 1.0])
    assert range_curve.smooth([1.0, 2.0])[1] == pytest.approx(2.9 / 1.9)

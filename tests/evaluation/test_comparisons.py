"""Two models on the same texts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.evaluation import comparisons


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        # 2 / 2 ** 5.
        (5, 0, 0.0625),
        # 2 (1 + 6 + 15) / 2 ** 6, then the same by symmetry.
        (2, 4, 44 / 64),
        (4, 2, 44 / 64),
        (3, 3, 1.0),
        # 2 (1 + 10 + 45) / 2 ** 10.
        (8, 2, 112 / 1024),
    ],
)
def test_mcnemar_by_hand(only_first: int, only_second: int, expected: float) -> None:
    assert comparisons.mcnemar(only_first, only_second) == pytest.approx(expected)


def likelihood_score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's statistic, its likeliest share sought by trying all on a grid."""
    share = np.linspace(max(0.0, -difference), (1 - difference) / 2, 400_003)[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_likelihood = (
            b * np.log(share + difference)
            + c * np.log(share)
            + (n - b - c) * np.log(1 - 2 * share - difference)
        )
    best = share[np.nanargmax(log_likelihood)]
    variance = n * (2 * best + difference - difference**2)
    return float((b - c - n * difference) / math.sqrt(variance))


@pytest.mark.parametrize(("b", "c", "n"), [(7, 3, 50), (403, 490, 4915), (12, 2, 44)])
def test_interval_holds_what_the_score_test_does_not_reject(
    b: int, c: int, n: int
) -> None:
    low, high = comparisons.paired_interval(b, c, n)
    assert low < (b - c) / n < high
    assert likelihood_score(b, c, n, low) == pytest.approx(1.96, abs=2e-3)
    assert likelihood_score(b, c, n, high) == pytest.approx(-1.96, abs=2e-3)


@pytest.mark.parametrize(
    ("b", "c", "n"),
    [
        (0, 0, 1),
        (1, 0, 1),
        (0, 1, 1),
        (0, 0, 20),
        (20, 0, 20),
        (0, 20, 20),
        (9, 11, 20),
    ],
)
def test_interval_at_the_edges(b: int, c: int, n: int) -> None:
    low, high = comparisons.paired_interval(b, c, n)
    assert -1 <= low <= (b - c) / n <= high <= 1
    assert high - low > 1 / n
    assert comparisons.paired_interval(c, b, n) == pytest.approx((-high, -low))


@pytest.mark.parametrize("num_examples", [20, 100, 500])
@pytest.mark.parametrize(
    ("share", "difference"), [(0.01, 0.0), (0.05, 0.02), (0.2, 0.0), (0.3, 0.1)]
)
def test_interval_covers(num_examples: int, share: float, difference: float) -> None:
    shares = [(share + difference) / 2, (share - difference) / 2, 1 - share]
    draws = np.random.default_rng(0).multinomial(num_examples, shares, size=4000)
    counts, times = np.unique(draws[:, :2], axis=0, return_counts=True)
    num_covered = 0
    for (b, c), often in zip(counts.tolist(), times.tolist()):
        low, high = comparisons.paired_interval(b, c, num_examples)
        num_covered += often * (low <= difference <= high)
    assert num_covered / 4000 >= 0.93


def test_compare_counts_the_texts_that_tell_two_apart() -> None:
    labels = np.array([0, 1, 2, 1, 0, 2])
    first = np.array([0, 1, 1, 1, 1, 2])
    second = np.array([0, 0, 2, 0, 2, 2])
    paired = comparisons.compare(labels, first, second)
    assert paired.only_first.tolist() == [1, 3] and paired.only_second.tolist() == [2]
    assert paired.num_discordant == 3
    assert paired.difference == pytest.approx(1 / 6)
    assert paired.mcnemar_p == 1.0 and paired.verdict == "not_shown"


@pytest.mark.parametrize(
    ("num_first", "num_second", "verdict"),
    [(30, 5, "better"), (5, 30, "worse"), (20, 15, "not_shown"), (0, 0, "not_shown")],
)
def test_verdict(num_first: int, num_second: int, verdict: str) -> None:
    labels = np.zeros(200, int)
    first, second = np.zeros(200, int), np.zeros(200, int)
    second[:num_first] = 1
    first[num_first : num_first + num_second] = 1
    assert comparisons.compare(labels, first, second).verdict == verdict


def test_evenly() -> None:
    positions = np.arange(0, 300, 3)
    shown = comparisons.evenly(positions, 10)
    assert shown[0] == 0 and shown[-1] == 297 and len(set(shown.tolist())) == 10
    assert comparisons.evenly(positions[:4], 10).tolist() == [0, 3, 6, 9]


def test_holm() -> None:
    """The example of Holm's step-down: each by the number that is left, never falling."""
    assert comparisons.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )
    assert comparisons.holm([0.7, 0.9]) == [1.0, 1.0] and comparisons.holm([]) == []

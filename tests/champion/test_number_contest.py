"""Of two models of numbers the nearer one wins, by a margin in the champion's errors."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.champion import number_contest, numbers
from trainer.champion.number_contest import judge, verdict_on

TRUTH = np.random.default_rng(0).normal(1000.0, 250.0, 400)


def _off(scale: float, *, seed: int, count: int = 400) -> np.ndarray:
    """Errors of a size, with signs by chance."""
    drawn: np.ndarray = np.random.default_rng(seed).normal(0.0, scale, count)
    return drawn


@pytest.mark.parametrize(
    ("challenger", "champion", "margin", "expected"),
    [
        (50.0, 100.0, 0.01, "better"),
        (100.0, 50.0, 0.01, "worse"),
        (100.0, 100.0, 0.3, "not_worse"),
        (100.0, 100.0, 0.0, "undecided"),
        # Shown to be worse, and by less than what would be borne.
        (120.0, 100.0, 0.6, "not_worse"),
    ],
)
def test_the_smaller_error_wins(
    challenger: float, champion: float, margin: float, expected: str
) -> None:
    first, second = _off(challenger, seed=11), _off(champion, seed=12)
    contest = judge(TRUTH, TRUTH + first, TRUTH + second, margin=margin)
    assert contest.verdict == expected
    assert contest.challenger == pytest.approx(np.abs(first).mean())
    assert contest.champion == pytest.approx(np.abs(second).mean())
    assert contest.mae_difference == pytest.approx(
        contest.challenger - contest.champion
    )
    low, high = contest.interval_95 or (np.nan, np.nan)
    assert low < contest.mae_difference < high
    assert (contest.texts_to_settle is not None) == (expected == "undecided")
    # In cents instead of euros the verdict is the same.
    scaled = judge(
        100 * TRUTH, 100 * (TRUTH + first), 100 * (TRUTH + second), margin=margin
    )
    assert scaled.verdict == expected
    assert scaled.mae_difference == pytest.approx(100 * contest.mae_difference)


def test_a_model_beside_itself_and_few_texts() -> None:
    values = TRUTH + _off(50.0, seed=3)
    same = judge(TRUTH, values, values, margin=0.0, is_same=True)
    assert (same.verdict, same.mae_difference) == ("not_worse", 0.0)
    few = judge(TRUTH[:9], TRUTH[:9], values[:9], margin=0.5)
    assert (few.verdict, few.interval_95) == ("undecided", None)
    assert "cannot tell" in numbers.sentence(few)


def test_promises_hold_in_simulation() -> None:
    """Equals are seldom told apart, and a loss of the margin is seldom borne.

    Each error is a tail of 2.5%: of 200 pairs 13 come once in a thousand times; the
    bootstrap of 100 texts is a little too narrow, so 16.
    """
    generator = np.random.default_rng(7)
    equals, too_bad = [], []
    for _ in range(200):
        errors = np.abs(generator.normal(0.0, 1.0, (2, 100)))
        equals.append(verdict_on(errors[0], errors[1], margin=0.1))
        too_bad.append(verdict_on(1.2 * errors[0], errors[1], margin=0.2))
    assert equals.count("better") <= 16 and equals.count("worse") <= 16
    assert too_bad.count("better") + too_bad.count("not_worse") <= 16


def test_the_number_it_names_settles_it_four_times_of_five() -> None:
    generator = np.random.default_rng(3)
    seen = np.abs(generator.normal(0.0, [[1.1], [1.0]], (2, 100)))
    assert verdict_on(seen[0], seen[1], margin=0.01) == "undecided"
    needed = number_contest.texts_to_settle(seen[0], seen[1], margin=0.01)
    assert needed is not None and needed > 100
    settled = []
    for _ in range(100):
        rows = generator.integers(0, 100, needed)
        verdict = verdict_on(seen[0][rows], seen[1][rows], margin=0.01)
        settled.append(verdict != "undecided")
    assert 0.68 < np.mean(settled) < 0.92


def test_a_loss_on_one_group_is_found_and_blocks() -> None:
    groups = np.array(["north", "south", "east", "west"])[np.arange(400) % 4]
    first = _off(50.0, seed=5) * np.where(groups == "south", 4.0, 1.0)
    champion = TRUTH + _off(110.0, seed=6)
    slices = {"country": groups.tolist()}
    contest = judge(TRUTH, TRUTH + first, champion, margin=0.02, slices=slices)
    assert contest.verdict == "better"
    (blocking,) = contest.blocking
    assert (blocking.slice, blocking.value) == ("country", "south")
    assert blocking is contest.slices[0] and blocking.mae_difference > 0
    said = numbers.slice_sentence(blocking)
    assert said.startswith("worse on the 100 texts of country south: mean absolute")
    small = judge(
        TRUTH, TRUTH + first, champion, margin=0.02, slices=slices, min_slice=101
    )
    assert not small.blocking and small.slices[0].is_worse


def test_of_equals_few_slices_seem_worse() -> None:
    generator = np.random.default_rng(4)
    slices = {"x": [str(each % 20) for each in range(400)]}
    warned = 0
    for _ in range(40):
        first, second = TRUTH + generator.normal(0.0, 50.0, (2, 400))
        contest = judge(TRUTH, first, second, margin=0.01, slices=slices)
        warned += any(each.is_worse for each in contest.slices)
    assert warned <= 6


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.arange(1.0, 101.0), ["up to 25", "above 75", 4]),
        # Of few numbers as many ranges as can be told apart.
        (np.array([1.0] * 60 + [5.0] * 40), ["up to 1", "above 1", 2]),
        (np.array([3.0, 3.0]), ["", "", 1]),
    ],
)
def test_ranges_of_numbers_are_told_in_words(
    labels: np.ndarray, expected: list[object]
) -> None:
    names = number_contest.ranges(labels)
    assert [names[0], names[-1], len(set(names))] == expected

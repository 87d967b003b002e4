"""Verdicts keep the error rates that they promise, and say when texts are too few."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.champion.verdicts import texts_to_settle, verdict
from trainer.evaluation.comparisons import Paired


def paired(only_first: int, only_second: int, count: int) -> Paired:
    return Paired(
        num_examples=count,
        only_first=np.arange(only_first),
        only_second=np.arange(only_second),
    )


@pytest.mark.parametrize(
    ("numbers", "margin", "expected"),
    [
        ((60, 20, 1000), 0.01, "better"),
        ((20, 60, 1000), 0.01, "worse"),
        ((20, 20, 1000), 0.02, "not_worse"),
        ((20, 20, 1000), 0.01, "undecided"),
        ((20, 30, 500), 0.01, "undecided"),
        # Shown to be worse, and by less than the margin.
        ((20, 50, 20_000), 0.01, "not_worse"),
        ((0, 0, 100), 0.01, "undecided"),
        ((0, 0, 1000), 0.01, "not_worse"),
        ((20, 20, 1000), 0.0, "undecided"),
    ],
)
def test_verdict(numbers: tuple[int, int, int], margin: float, expected: str) -> None:
    assert verdict(paired(*numbers), margin=margin) == expected


def test_a_model_is_not_worse_than_itself_on_however_few_texts() -> None:
    assert verdict(paired(0, 0, 3), margin=0.01, is_same=True) == "not_worse"


def _verdicts(
    num_texts: int, difference: float, *, runs: int = 200, margin: float = 0.02
) -> list[str]:
    """Of pairs of models that disagree on a tenth of the texts."""
    generator = np.random.default_rng(7)
    shares = [(0.1 + difference) / 2, (0.1 - difference) / 2]
    drawn = generator.multinomial(num_texts, [*shares, 0.9], size=runs)
    return [
        verdict(paired(first, second, num_texts), margin=margin)
        for first, second, _ in drawn.tolist()
    ]


@pytest.mark.parametrize("num_texts", [100, 500, 2000])
def test_promises_hold_in_simulation(num_texts: int) -> None:
    """Each of the four errors is one tail of the interval: 2.5%, and 6.5% of 200 runs
    is what chance makes of that once in a thousand times."""
    equals = _verdicts(num_texts, 0.0)
    assert equals.count("better") <= 13 and equals.count("worse") <= 13
    just_too_bad = _verdicts(num_texts, -0.02)
    assert just_too_bad.count("not_worse") + just_too_bad.count("better") <= 13


def test_few_texts_leave_it_undecided_and_many_settle_it() -> None:
    assert _verdicts(500, -0.02).count("undecided") > 100
    assert _verdicts(20_000, 0.0).count("not_worse") > 190
    assert _verdicts(20_000, -0.04).count("worse") > 195


def test_the_number_it_names_settles_it_four_times_of_five() -> None:
    """Where the truth is as it was seen."""
    for first, second in ((25, 25), (22, 35)):
        seen = paired(first, second, 500)
        assert verdict(seen, margin=0.02) == "undecided"
        needed = texts_to_settle(seen, margin=0.02)
        assert needed is not None
        generator = np.random.default_rng(1)
        shares = [first / 500, second / 500, 1 - (first + second) / 500]
        drawn = generator.multinomial(needed, shares, size=400).tolist()
        settled = [
            verdict(paired(a, b, needed), margin=0.02) != "undecided"
            for a, b, _ in drawn
        ]
        assert 0.74 < np.mean(settled) < 0.9


def test_what_is_settled_needs_no_more_texts() -> None:
    assert texts_to_settle(paired(60, 20, 1000), margin=0.01) is None
    assert texts_to_settle(paired(20, 20, 1000), margin=0.0) is None
    no_difference = texts_to_settle(paired(0, 0, 100), margin=0.01)
    assert no_difference is not None and 100 < no_difference < 1000

"""Tests of trainer/studies/choice.py: planted answers, no runs."""

from __future__ import annotations

import json
import math
import pathlib
from typing import Sequence

import numpy as np
import pytest

from trainer.evaluation.comparisons import paired_interval
from trainer.studies import choice
from trainer.studies.choice import Answered, Candidate

NUM_TEXTS = 200


def answered(num_wrong: int, *, first_wrong: int = 0, loss: float = 0.5) -> Answered:
    """Two classes in turn; wrong are neighbours, from one on."""
    labels = np.arange(NUM_TEXTS) % 2
    predicted = labels.copy()
    wrong = slice(first_wrong, first_wrong + num_wrong)
    predicted[wrong] = 1 - predicted[wrong]
    return Answered(
        texts=[("a.csv", line) for line in range(NUM_TEXTS)],
        labels=labels,
        predicted=predicted,
        losses=np.full(NUM_TEXTS, loss),
    )


def candidates(*wrong: Sequence[int], costs: Sequence[float] = ()) -> list[Candidate]:
    """By candidate, how many of the texts each seed has wrong."""
    return [
        Candidate(
            tuple(answered(count, first_wrong=7 * index) for count in of_seeds),
            (cost,),
        )
        for index, (of_seeds, cost) in enumerate(
            zip(wrong, costs or [1.0] * len(wrong), strict=True)
        )
    ]


def test_pairs_of_one_seed_have_tangos_interval() -> None:
    best, other = candidates([0], [14])
    standings = choice.rank([best, other], metric="accuracy", num_classes=2)
    assert [each.value for each in standings] == [1.0, 0.93]
    assert standings[0].behind_interval_95 is None
    assert standings[1].behind_interval_95 == paired_interval(14, 0, NUM_TEXTS)
    assert [each.is_as_good for each in standings] == [True, False]
    assert [each.std for each in standings] == [None, None]


def test_the_cheapest_of_the_good_ones_is_taken() -> None:
    # The third is the best, the second as good and cheaper, the first cheap and bad.
    given = candidates([80], [3], [1], costs=[1.0, 2.0, 3.0])
    standings = choice.rank(given, metric="accuracy", num_classes=2)
    assert [each.is_as_good for each in standings] == [False, True, True]
    assert choice.cheapest(given, standings) == 1


def test_of_equal_costs_the_best_is_taken_and_then_the_first() -> None:
    given = candidates([3], [1], [1])
    standings = choice.rank(given, metric="accuracy", num_classes=2)
    assert choice.cheapest(given, standings) == 1


def test_seeds_that_disagree_widen_the_interval() -> None:
    """The same means: 10 and 30 texts wrong."""
    calm = choice.rank(
        candidates([10, 10, 10], [30, 30, 30]), metric="accuracy", num_classes=2
    )
    wild = choice.rank(
        candidates([0, 10, 20], [60, 30, 0]), metric="accuracy", num_classes=2
    )
    assert calm[1].behind == pytest.approx(wild[1].behind) == pytest.approx(0.1)
    assert calm[1].std == 0.0 and wild[1].std == pytest.approx(0.15)
    assert not calm[1].is_as_good and wild[1].is_as_good
    low, high = wild[1].behind_interval_95 or (0.0, 0.0)
    # Differences of 0.3, 0.1 and -0.1; with two models the residual is theirs alone,
    # so that the seeds' part is Student's interval of their mean.
    assert (high - low) / 2 > 4.302653 * 0.2 / math.sqrt(3)


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro", "mcc", "loss"])
def test_the_value_is_that_of_the_report(metric: str) -> None:
    """Of a model beside a better one."""
    good, bad = answered(10, loss=0.2), answered(40, loss=0.7)
    given = [Candidate((each,), (1.0,)) for each in (bad, good)]
    standings = choice.rank(given, metric=metric, num_classes=2)
    assert standings[1].behind_interval_95 is None
    assert standings[0].behind > 0 and not standings[0].is_as_good
    # Wrong are as many of either class, so that F1 is the accuracy.
    expected = {"accuracy": 0.8, "f1_macro": 0.8, "mcc": 0.6, "loss": 0.7}
    assert standings[0].value == pytest.approx(expected[metric])


def test_seeds_may_have_other_texts() -> None:
    """As --num_eval_examples draws them."""
    other = answered(10)
    shifted = Answered(
        [("a.csv", line + 50) for _, line in other.texts],
        other.labels,
        other.predicted,
        other.losses,
    )
    given = [
        Candidate((each, shifted), (1.0,)) for each in (answered(10), answered(12))
    ]
    standings = choice.rank(given, metric="accuracy", num_classes=2)
    assert [each.value for each in standings] == pytest.approx([0.95, 0.945])
    assert standings[1].is_as_good


def test_answers_are_read(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "validation.jsonl"
    rows = [
        {"file": "a", "line": 2, "label": "b\u2028", "answer": "a"},
        {"file": "a", "line": 3, "label": "a", "answer": "a"},
    ]
    place.write_text(
        "".join(
            json.dumps({**row, "probabilities": [0.75, 0.25]}, ensure_ascii=False)
            + "\n"
            for row in rows
        )
    )
    found = choice.read(place, ("a", "b\u2028"))
    assert (found.labels.tolist(), found.predicted.tolist()) == ([1, 0], [0, 0])
    assert found.losses == pytest.approx([math.log(4), math.log(4 / 3)])
    assert list(found.texts) == [("a", 2), ("a", 3)]

"""Rates of groups and their gaps: equal to fairlearn's, and claimed only where planted."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from trainer.evaluation import large_sets
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import GroupSlices, SliceGap
from trainer.groups.rates import Grouping, LookedAt, slices

TABLE = json.loads(
    (pathlib.Path(__file__).parent.parent / "reference/fairlearn_gaps.json").read_text()
)


def measured(
    members: np.ndarray, labels: np.ndarray, predicted: np.ndarray, **changes: Any
) -> GroupSlices:
    settings = {
        "label_names": ("bad", "good"),
        "positive": 1,
        "min_slice": 1,
        "num_resamples": 200,
        "seed": 0,
    }
    names = tuple(f"g{number}" for number in range(members.shape[1]))
    (found,) = slices(
        [Grouping("kind", "terms", names, members)],
        labels,
        predicted,
        looked_at=LookedAt(**{**settings, **changes}),
    )
    return found


def gaps_of(found: GroupSlices) -> dict[str, SliceGap]:
    return {each.measure: each for each in found.gaps}


@pytest.mark.parametrize("case", TABLE["cases"])
def test_gaps_are_those_of_fairlearn(case: dict[str, Any]) -> None:
    """Made by tests/reference/make_fairlearn_table.py."""
    groups = np.array(case["groups"])
    found = measured(
        groups[:, None] == np.arange(groups.max() + 1),
        np.array(case["labels"]),
        np.array(case["predicted"]),
    )
    gaps = gaps_of(found)
    for measure in ("equalized_odds", "share_chosen", "tpr", "fpr"):
        assert gaps[measure].value == pytest.approx(case[measure], abs=1e-12)


def test_a_rate_without_texts_is_none_and_is_in_no_gap() -> None:
    """fairlearn's is 0.0 there, which would make a gap of 1."""
    members = np.array([[1, 0]] * 4 + [[0, 1]] * 4, bool)
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    found = measured(members, labels, np.array([1, 1, 0, 1, 0, 0, 1, 1]))
    rates = {each.measure: each for each in found.groups[1].rates}
    assert rates["tpr"].value is None and rates["tpr"].interval_95 is None
    assert rates["tpr"].difference is None
    assert rates["tpr"].difference_interval_95 is None
    assert rates["tpr"].num_texts == 0
    assert rates["fpr"].value == 0.5
    assert rates["fpr"].interval_95 == wilson_interval(2, 4)
    assert set(gaps_of(found)) == {"accuracy", "fpr", "share_chosen"}


def test_small_groups_are_listed_and_not_judged() -> None:
    members = np.zeros((60, 3), bool)
    members[:30, 0] = members[30:55, 1] = members[55:, 2] = True
    labels = np.arange(60) % 2
    # The smallest is wrong throughout.
    predicted = np.where(members[:, 2], 1 - labels, labels)
    found = measured(members, labels, predicted, min_slice=20)
    assert [each.is_judged for each in found.groups] == [True, True, False]
    assert found.groups[2].rates[0].value == 0
    assert gaps_of(found)["accuracy"].value == 0


def test_difference_is_to_all_other_texts_and_groups_may_overlap() -> None:
    members = np.array([[1, 1], [1, 0], [0, 1], [0, 0]] * 10, bool)
    labels = np.ones(40, int)
    predicted = members[:, 0].astype(int)
    found = measured(members, labels, predicted)
    first, second = (each.rates[0] for each in found.groups)
    assert (first.value, first.difference) == (1.0, 1.0)
    assert first.difference_interval_95 == (1.0, 1.0)
    assert (second.value, second.difference) == (0.5, 0.0)
    assert found.num_without == 10


def test_without_resamples_nothing_is_claimed() -> None:
    members = np.array([[1, 0], [0, 1]] * 50, bool)
    labels = np.ones(100, int)
    found = measured(members, labels, members[:, 0].astype(int), num_resamples=0)
    gap = gaps_of(found)["tpr"]
    assert gap.value == 1 and not gap.is_shown
    assert gap.interval_95 is None and gap.by_chance_95 is gap.p_holm is None


def drawn(generator: np.random.Generator, *, planted: float) -> GroupSlices:
    """500 texts, of which two kinds of groups are told; one errs more in one group."""
    members = generator.random((500, 3)) < 0.3
    labels = (generator.random(500) < 0.3 + 0.3 * members[:, 0]).astype(int)
    is_wrong = generator.random(500) < 0.12 + planted * members[:, 1]
    return measured(
        members, labels, np.where(is_wrong, 1 - labels, labels), min_slice=50
    )


def test_a_planted_gap_is_found_and_none_is_claimed_where_none_is() -> None:
    """The first group has more texts of one label: that alone is no gap of the model."""
    generator = np.random.default_rng(0)
    false_claims = sum(
        any(gap.is_shown for gap in drawn(generator, planted=0.0).gaps)
        for _ in range(100)
    )
    assert false_claims <= 10
    found = [gaps_of(drawn(generator, planted=0.25))["accuracy"] for _ in range(20)]
    assert sum(each.is_shown for each in found) >= 18
    assert sum(each.smallest == "g1" for each in found) >= 18


def test_of_many_classes_each_has_rates_and_the_rarest_are_left_out() -> None:
    members = np.array([[1, 0], [0, 1]] * 60, bool)
    labels = np.arange(120) % 12
    found = measured(
        members, labels, labels, label_names=tuple("abcdefghijkl"), positive=None
    )
    told = {each.label for each in found.groups[0].rates}
    assert told == {None, *"abcdefghij"}
    # Even numbers are in the first group alone.
    rates = {(each.measure, each.label): each for each in found.groups[1].rates}
    assert rates["tpr", "a"].value is None and rates["tpr", "b"].value == 1


def test_of_several_labels_a_text_each_has_its_rates() -> None:
    """And a text counts as right if all of its labels are."""
    generator = np.random.default_rng(0)
    labels = (generator.random((80, 3)) < 0.4).astype(np.float32)
    predicted = (labels > 0) ^ (generator.random(labels.shape) < 0.2)
    members = generator.random((80, 2)) < 0.5
    names = ("anger", "fear", "joy")
    found = measured(members, labels, predicted, label_names=names, positive=None)
    for group, inside in zip(found.groups, members.T):
        values = {(each.measure, each.label): each.value for each in group.rates}
        is_right = (predicted == (labels > 0)).all(axis=1)
        assert values["accuracy", None] == pytest.approx(is_right[inside].mean())
        for index, name in enumerate(names):
            given, has = predicted[inside, index], labels[inside, index] > 0
            assert values["tpr", name] == pytest.approx(given[has].mean())
            assert values["fpr", name] == pytest.approx(given[~has].mean())
            assert values["share_chosen", name] == pytest.approx(given.mean())


def test_of_many_texts_no_more_than_what_can_vary_is_dealt_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((3_000, 6)) < 0.4).astype(np.float32)
    predicted = labels > 0
    is_in = generator.random(3_000) < 0.5
    members = np.stack([is_in, ~is_in], axis=1)
    # Errors gather in a group, and only in sets of labels that hold the first one.
    chance = np.where(is_in, 0.5, 0.1) * labels[:, 0]
    predicted[:, 5] ^= generator.random(3_000) < chance
    names = tuple("abcdef")
    found = []
    for most in (3_000, 2_999):
        monkeypatch.setattr(large_sets, "MAX_DRAWN", most)
        found.append(
            measured(members, labels, predicted, label_names=names, positive=None)
        )
    few, many = found
    values = [
        [(rate.value, rate.difference) for group in each.groups for rate in group.rates]
        for each in found
    ]
    assert values[0] == values[1]
    of_few, of_many = few.gaps[0], many.gaps[0]
    assert of_few.measure == "accuracy" and of_few.is_shown and of_many.is_shown
    assert of_many.by_chance_95 == pytest.approx(of_few.by_chance_95, rel=0.15)

"""Weights under which the label does not go with the group."""

from __future__ import annotations

import time

import numpy as np
import pytest

from trainer.groups.rates import Grouping
from trainer.groups.reweighing import reweigh

NAMES = ("bad", "good")


def grouping(*members: np.ndarray) -> Grouping:
    return Grouping(
        "gender", "terms", ("female", "male")[: len(members)], np.stack(members, axis=1)
    )


def test_groups_and_labels_are_independent_and_as_frequent_as_they_were() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=2000)
    female = generator.random(2000) < np.where(labels == 1, 0.2, 0.7)
    male = generator.random(2000) < 0.3
    found = reweigh(grouping(female, male), labels, label_names=NAMES, min_texts=50)
    weights = found.weights.astype(np.float64)
    assert weights.mean() == pytest.approx(1.0, abs=1e-6)
    cells = {cell.group for cell in found.cells}
    assert cells == {"(none)", "female", "male", "female and male"}
    share = weights[labels == 1].sum() / 2000
    assert share == pytest.approx((labels == 1).mean(), abs=1e-6)
    for wanted in ((False, False), (True, False), (False, True), (True, True)):
        inside = (female == wanted[0]) & (male == wanted[1])
        assert weights[inside].sum() == pytest.approx(inside.sum(), rel=1e-6)
        of_label = weights[inside & (labels == 1)].sum() / weights[inside].sum()
        assert of_label == pytest.approx(share, abs=1e-6)


def test_weights_by_hand() -> None:
    """P(g) P(y) / P(g, y): of 8 texts, 4 of each; 3 of one pair, 1 of the other."""
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    female = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    found = reweigh(grouping(female), labels, label_names=NAMES, min_texts=1)
    assert [(c.group, c.label, c.num_texts, c.weight) for c in found.cells] == [
        ("(none)", "bad", 1, 2.0),
        ("(none)", "good", 3, pytest.approx(2 / 3)),
        ("female", "bad", 3, pytest.approx(2 / 3)),
        ("female", "good", 1, 2.0),
    ]
    assert found.weights.tolist() == pytest.approx(
        [2 / 3] * 3 + [2] + [2 / 3] * 3 + [2]
    )


def test_small_groups_are_weighed_as_one() -> None:
    """A column of many values: the rare ones together, none with a wild weight."""
    values = np.repeat(np.arange(6), (40, 40, 3, 3, 3, 3))
    members = values[:, np.newaxis] == np.arange(6)
    columns = Grouping("shop", "column", tuple("abcdef"), members)
    labels = (np.arange(92) % 3 == 0).astype(int)
    found = reweigh(columns, labels, label_names=NAMES, min_texts=30)
    assert {cell.group for cell in found.cells} == {"a", "b", "(small groups)"}
    assert sum(cell.num_texts for cell in found.cells) == 92


def test_a_group_that_lacks_a_label_leaves_the_mean_at_one() -> None:
    labels = np.array([0] * 4 + [1] * 2 + [0] * 2)
    female = np.array([1] * 4 + [0] * 4, bool)
    found = reweigh(grouping(female), labels, label_names=NAMES, min_texts=2)
    assert len(found.cells) == 3
    assert found.weights.mean() == pytest.approx(1.0)


def test_a_column_of_many_values_is_quick() -> None:
    """Each value once: nothing to weigh, said within seconds."""
    columns = Grouping("id", "column", tuple(map(str, range(4000))), np.eye(4000) > 0)
    started = time.monotonic()
    with pytest.raises(ValueError, match="column:id.*0 of 4000"):
        reweigh(columns, np.arange(4000) % 2, label_names=NAMES, min_texts=2)
    assert time.monotonic() - started < 5
    nothing = Grouping("id", "column", (), np.zeros((60, 0), bool))
    with pytest.raises(ValueError, match="column:id.*1 of 1"):
        reweigh(nothing, np.arange(60) % 2, label_names=NAMES, min_texts=2)


def test_one_group_is_refused() -> None:
    members = np.ones(60, bool)
    with pytest.raises(ValueError, match="needs two groups of at least 50.*1 of 1"):
        reweigh(grouping(members), np.arange(60) % 2, label_names=NAMES, min_texts=50)

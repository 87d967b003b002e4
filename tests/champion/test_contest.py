"""A loss on one slice is found, though the whole is not worse; chance finds none."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.champion.contest import judge, word_slices


def _answers(
    labels: np.ndarray, accuracy: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    is_right = generator.random(len(labels)) < accuracy
    answers: np.ndarray = np.where(is_right, labels, 1 - labels)
    return answers


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, 2000)


def test_a_model_beside_itself(labels: np.ndarray) -> None:
    answers = _answers(labels, np.full(2000, 0.8), np.random.default_rng(1))
    contest = judge(labels, answers, answers, margin=0.01, is_same=True)
    assert (contest.verdict, contest.num_discordant) == ("not_worse", 0)
    assert contest.difference == 0 and contest.mcnemar_p == 1
    assert contest.texts_to_settle is None
    assert contest.champion == contest.challenger


def test_a_loss_on_one_group_is_found_and_blocks(labels: np.ndarray) -> None:
    generator = np.random.default_rng(2)
    groups = np.array(["north", "south", "east", "west"])[np.arange(2000) % 4]
    champion = _answers(labels, np.full(2000, 0.8), generator)
    challenger = _answers(
        labels, np.where(groups == "south", 0.6, 0.9), np.random.default_rng(3)
    )
    contest = judge(
        labels, challenger, champion, margin=0.02, slices={"country": groups.tolist()}
    )
    assert contest.verdict in ("better", "not_worse")
    (blocking,) = contest.blocking
    assert (blocking.slice, blocking.value) == ("country", "south")
    assert blocking is contest.slices[0] and blocking.p_holm < 0.05
    small = judge(
        labels,
        challenger,
        champion,
        margin=0.02,
        slices={"country": groups.tolist()},
        min_slice=501,
    )
    assert not small.blocking and small.slices[0].is_worse


def test_of_equals_few_slices_seem_worse(labels: np.ndarray) -> None:
    """Twenty slices at once: without the correction two of three runs would warn."""
    generator = np.random.default_rng(4)
    slices = {"x": [str(each % 20) for each in range(2000)]}
    warned = 0
    for _ in range(60):
        first, second = (
            _answers(labels, np.full(2000, 0.8), generator) for _ in range(2)
        )
        contest = judge(labels, first, second, margin=0.01, slices=slices)
        warned += any(each.is_worse for each in contest.slices)
    assert warned <= 6


def test_a_slicing_of_one_value_or_of_none_is_no_slice(labels: np.ndarray) -> None:
    values = ["a"] * 1000 + [""] * 1000
    contest = judge(
        labels, labels, labels, margin=0.01, slices={"x": values, "y": ["b"] * 2000}
    )
    assert [(each.slice, each.value) for each in contest.slices] == [("x", "a")]


def test_lengths_are_told_in_words() -> None:
    texts = [" ".join(["w"] * count) for count in range(1, 101)]
    names = word_slices(texts)
    assert names[0] == "0 to 25" and names[-1] == "76 to 100"
    assert len(set(names)) == 4
    assert set(word_slices(["one word"] * 5)) == {"0 to 2"}

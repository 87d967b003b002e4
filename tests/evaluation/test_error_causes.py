"""Errors by cause: kinds of texts, and the training texts near them."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import error_causes

TOPICS = ("refund order late", "camera photo lens", "hotel room breakfast")


def draw(
    generator: np.random.Generator, num_texts: int, *, rates: tuple[float, float, float]
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Texts of three topics that lie apart, with errors at a rate a topic."""
    topic = generator.integers(3, size=num_texts)
    vectors = np.eye(3)[topic] + generator.normal(0, 0.1, (num_texts, 3))
    texts = [f"{TOPICS[each]} the a of" for each in topic.tolist()]
    return vectors, texts, generator.random(num_texts) < np.array(rates)[topic]


def test_a_kind_with_more_errors_is_found_and_named() -> None:
    generator = np.random.default_rng(0)
    vectors, texts, is_error = draw(generator, 180, rates=(0.1, 0.1, 0.5))
    found = error_causes.clusters(vectors, texts, is_error, seed=0)
    assert len(found) == 3 and sum(each.num_texts for each in found) == 180
    assert sum(each.num_errors for each in found) == is_error.sum()
    first = found[0]
    assert set(first.words) == set(TOPICS[2].split())
    assert first.is_beyond_chance and first.p_holm < 1e-3
    low, high = first.confidence_interval_95
    assert low < first.num_errors / first.num_texts < high
    assert len(first.errors) == 3 and all("hotel" in text for text in first.errors)
    assert not any(each.is_beyond_chance for each in found[1:])
    again = error_causes.clusters(vectors, texts, is_error, seed=0)
    assert again == found


def test_chance_is_seldom_called_a_cause() -> None:
    """In at most one of twenty sets of clusters."""
    generator = np.random.default_rng(1)
    num_called = 0
    for _ in range(100):
        found = error_causes.clusters(
            *draw(generator, 300, rates=(0.2, 0.2, 0.2)), seed=0
        )
        num_called += any(each.is_beyond_chance for each in found)
    assert num_called <= 10


def test_what_is_too_little_or_the_same() -> None:
    generator = np.random.default_rng(2)
    few = draw(generator, 119, rates=(0.5, 0.5, 0.5))
    assert error_causes.clusters(*few, seed=0) == ()
    vectors, _, _ = draw(generator, 150, rates=(0.0, 0.0, 0.0))
    no_errors = np.zeros(150, bool)
    alone = [f"x{index}" for index in range(150)]
    found = error_causes.clusters(vectors, alone, no_errors, seed=0)
    # No word in two texts, and no error.
    assert [each.words for each in found] == [()] * 2
    assert [each.p_holm for each in found] == [1.0] * 2


@pytest.mark.parametrize("num_others", [3, 9000])
def test_nearest_is_by_cosine(num_others: int) -> None:
    """As computed at once, over several parts; at a tie the first."""
    generator = np.random.default_rng(3)
    others = generator.normal(size=(num_others, 8)).astype(np.float32)
    vectors = np.concatenate([7 * others[-2:], generator.normal(size=(5, 8))])
    rows, cosines = error_causes.nearest(vectors, others, count=3)
    norms = [np.linalg.norm(each, axis=1) for each in (vectors, others)]
    wanted = vectors @ others.T / np.outer(*norms)
    np.testing.assert_allclose(cosines, -np.sort(-wanted, axis=1)[:, :3], atol=1e-5)
    assert rows[:2, 0].tolist() == [num_others - 2, num_others - 1]
    twice = error_causes.nearest(others[:1], np.repeat(others[:1], 4, axis=0), count=3)
    assert twice[0].tolist() == [[0, 1, 2]]

"""Where errors gather: found where there is something, claimed of nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.evaluation import error_causes
from trainer.evaluation.error_causes import cluster

KINDS = ("plain story", "trains stations", "zebra stripes", "music songs")


def grouped(
    count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of four kinds, and the kind of each: int64 [n]."""
    kinds = generator.integers(0, 4, count)
    return np.eye(6)[kinds] + generator.normal(size=(count, 6)) * 0.1, kinds


def test_finds_the_kind_that_errs_and_its_words() -> None:
    generator = np.random.default_rng(0)
    vectors, kinds = grouped(800, generator)
    texts = [f"the {KINDS[kind]} of it" for kind in kinds]
    is_error = generator.random(800) < np.where(kinds == 2, 0.35, 0.1)
    scores = np.full(800, 0.9)

    first, *others = cluster(vectors, texts, seed=0).with_errors(is_error, scores)

    assert first.stands_out
    # Eight clusters of four kinds: each is a part of one, and no other kind stands out.
    told = [each for each in (first, *others) if each.stands_out]
    assert {kind for each in told for kind in kinds[each.rows]} == {2}
    assert set(first.words[:2]) == {"zebra", "stripes"}
    assert first.num_errors == is_error[first.rows].sum()
    assert first.expected_errors == pytest.approx(is_error.mean() * len(first.rows))
    assert first.errors_by_scores == pytest.approx(0.1 * len(first.rows))
    everything = np.concatenate([each.rows for each in (first, *others)])
    assert sorted(everything) == list(range(800))
    assert is_error[first.errors].all() and len(first.errors) == 3
    again = cluster(vectors, texts, seed=0).with_errors(is_error, scores)
    np.testing.assert_array_equal(again[0].rows, first.rows)


def test_nothing_is_claimed_of_chance() -> None:
    """Errors that have nothing to do with the kinds: in one draw of twenty at most."""
    generator = np.random.default_rng(1)
    vectors, kinds = grouped(600, generator)
    clustering = cluster(vectors, [KINDS[kind] for kind in kinds], seed=0)
    assert len(clustering.members) == 6
    claimed = sum(
        clustering.with_errors(is_error, np.ones(600))[0].stands_out
        for is_error in generator.random((1000, 600)) < 0.2
    )
    # More than 72 of 1,000 at 5% are seen once in a thousand times; of none at all the
    # test would have no power. Errors are whole numbers: it is somewhat below 5%.
    assert 10 <= claimed <= 72


def test_is_tried_as_often_as_there_are_clusters() -> None:
    """Without Holm's adjustment this would be claimed."""
    generator = np.random.default_rng(2)
    vectors, kinds = grouped(1200, generator)
    is_error = np.arange(1200) % 5 == 0
    clustering = cluster(vectors, [""] * 1200, seed=0)
    found = clustering.with_errors(is_error, np.ones(1200))
    assert len(found) == 12 and found[0].words == ()
    p_value = error_causes._p_value(is_error, found[0].rows)
    assert found[0].p_value == pytest.approx(min(1.0, 12 * p_value))


@pytest.mark.parametrize(
    ("num_texts", "expected"), [(0, 0), (199, 0), (200, 2), (999, 9), (10**6, 12)]
)
def test_number_of_clusters(num_texts: int, expected: int) -> None:
    assert error_causes.num_clusters(num_texts) == expected


def test_too_few_texts_are_said_to_be() -> None:
    clustering = cluster(np.eye(3), ["a"] * 3, seed=0)
    few = clustering.with_errors(np.ones(3, bool), np.ones(3))
    said = error_causes.sentence(few, num_texts=3, num_errors=3, split="test")
    assert few == () and said.startswith("3 test texts are too few")


def test_texts_that_are_all_alike() -> None:
    same = np.ones((200, 4))
    clustering = cluster(same, ["a b"] * 200, seed=0)
    found = clustering.with_errors(np.arange(200) < 9, np.ones(200))
    assert sum(len(each.rows) for each in found) == 200
    assert not any(each.stands_out for each in found)


def test_what_is_said() -> None:
    generator = np.random.default_rng(0)
    vectors, kinds = grouped(800, generator)
    clustering = cluster(vectors, [KINDS[kind] for kind in kinds], seed=0)
    for is_error, words in (
        (kinds == 2, "err more than chance explains: "),
        (np.zeros(800, bool), "In none of 8 clusters of the test texts"),
    ):
        found = clustering.with_errors(is_error, np.ones(800))
        said = error_causes.sentence(
            found, num_texts=800, num_errors=int(is_error.sum()), split="test"
        )
        assert words in said


def test_nearest_by_the_cosine_around_the_mean() -> None:
    generator = np.random.default_rng(3)
    # Far from the origin, as those of a fine-tuned encoder: all cosines would be 1.
    among = generator.normal(size=(9000, 4)) + 100
    asked = generator.normal(size=(5, 4)) + 100
    rows, cosines = error_causes.nearest(
        asked.astype(np.float32), among.astype(np.float32), count=3
    )
    middle = among.mean(axis=0)
    wide, other = asked - middle, among - middle
    expected = (wide @ other.T) / np.outer(
        np.linalg.norm(wide, axis=1), np.linalg.norm(other, axis=1)
    )
    best = np.sort(expected, axis=1)[:, ::-1][:, :3]
    np.testing.assert_allclose(cosines, best, atol=1e-4)
    np.testing.assert_allclose(
        np.take_along_axis(expected, rows, axis=1), best, atol=1e-4
    )
    assert rows.shape == (5, 3)
    few, _ = error_causes.nearest(asked, among[:2], count=3)
    assert few.shape == (5, 2)

"""Near-duplicates are found, and nothing else; the pairs are those of all to all."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pyarrow as pa
import pytest

from trainer.data import near_duplicates
from trainer.data.near_duplicates import NearDuplicates, words_of

WORDS = [f"{first}{second}" for first in "bcdfghklmnprst" for second in "aeiou"]


def found(texts: list[str], similarity: float = 0.7) -> NearDuplicates:
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    return near_duplicates.near_duplicates(array, similarity=similarity)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 60 words that have nothing in common but their words."""
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=60)) for _ in range(count)]


def with_changes(text: str, count: int) -> str:
    """The text with so many words, far from each other, made others."""
    words = text.split()
    for place in range(count):
        words[7 + 12 * place] = f"other{place}"
    return " ".join(words)


def jaccard(one: str, other: str) -> float:
    """Of the runs of five words, in the plainest way."""
    runs = []
    for text in (one, other):
        words = words_of(text)
        length = min(5, len(words))
        runs.append({tuple(words[n : n + length]) for n in range(len(words))})
    sets = [{run for run in each if len(run) == max(map(len, each))} for each in runs]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


TEXT = random_texts(1)[0]


@pytest.mark.parametrize(
    "like",
    [
        TEXT.replace(" ", ",  ").replace("ba", "\u00adba"),
        f"<p class='x'>{TEXT.replace(' ', '<br/> ', 3)}</p>",
        f"{TEXT} https://example.org/a?b=c",
        with_changes(TEXT, 1),
        f"{TEXT} and a few more words",
    ],
)
def test_planted_ones_are_found(like: str) -> None:
    texts = [*random_texts(50, seed=1), TEXT, *random_texts(50, seed=2), like]

    result = found(texts)

    assert result.pairs.tolist() == [[50, 101]]
    assert result.similarities[0] == pytest.approx(jaccard(TEXT, like))
    assert np.flatnonzero(result.clusters == 50).tolist() == [50, 101]


def test_copies_are_of_one_cluster_and_no_pair() -> None:
    result = found([TEXT, *random_texts(3, seed=1), TEXT.upper()])

    assert result.clusters.tolist() == [0, 1, 2, 3, 0]
    assert len(result.pairs) == 0


@pytest.mark.parametrize("texts", [[], ["one"], ["", "!", "?!", "<br>"]])
def test_texts_of_no_words_are_like_nothing(texts: list[str]) -> None:
    result = found(texts)

    assert result.pairs.shape == (0, 2)
    assert result.clusters.tolist() == list(range(len(texts)))


def test_nothing_is_found_in_random_texts() -> None:
    assert len(found(random_texts(2000)).pairs) == 0


@pytest.mark.parametrize("similarity", [0.7, 0.9, 1.0])
def test_the_pairs_are_those_of_all_to_all(similarity: float) -> None:
    texts = random_texts(12)
    texts += [with_changes(text, n % 4) + "." for n, text in enumerate(texts)]
    expected = [
        [one, other]
        for one, other in itertools.combinations(range(len(texts)), 2)
        if jaccard(texts[one], texts[other]) >= similarity
    ]

    assert found(texts, similarity).pairs.tolist() == expected
    assert len(expected) > 2


def test_a_form_of_a_thousand_copies_is_one_cluster() -> None:
    """Where a band is shared by many, not every pair is looked at."""
    texts = [f"{TEXT} {number}" for number in range(600)] + random_texts(5, seed=3)

    clusters = found(texts).clusters

    assert clusters.tolist() == [0] * 600 + list(range(600, 605))


def test_clusters_do_not_depend_on_the_order_of_rows() -> None:
    texts = [with_changes(text, n) for text in random_texts(30) for n in range(4)]
    order = np.random.default_rng(0).permutation(len(texts))

    before = found(texts).clusters
    after = found([texts[row] for row in order]).clusters

    def partition(clusters: np.ndarray, rows: np.ndarray) -> set[frozenset[int]]:
        return {
            frozenset(rows[clusters == number].tolist()) for number in set(clusters)
        }

    assert partition(before, np.arange(len(texts))) == partition(after, order)
    # Neighbours are alike, and so the first and the last hang together.
    assert len(set(before)) == 30


def test_the_name_of_a_cluster_is_its_least_digest() -> None:
    digests = np.zeros([4, 32], np.uint8)
    digests[:, 0] = [3, 2, 1, 9]

    least = near_duplicates.least_digests(np.array([0, 0, 2, 0]), digests)

    assert least[:, 0].tolist() == [2, 2, 1, 2]

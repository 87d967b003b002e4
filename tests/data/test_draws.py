"""Tests of trainer/data/draws.py: properties of draws, over many seeds."""

from __future__ import annotations

import hashlib
from typing import Sequence

import numpy as np
import pytest

from trainer.data import draws

NAMES = ("bad", "good", "so-so")
SEEDS = range(60)


def digests(texts: Sequence[str]) -> np.ndarray:
    hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)


def drawn(
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    limit: int,
    seed: int,
    every_label: bool = False,
) -> list[int]:
    rows: list[int] = draws.draw(
        np.array(labels, np.int32),
        digests([text.lower() for text in texts]),
        digests(texts),
        label_names=NAMES,
        limit=limit,
        seed=seed,
        every_label=every_label,
    ).tolist()
    return rows


def rows_of(counts: Sequence[int]) -> tuple[list[str], list[int]]:
    """So many rows of each label, each of a text of its own, in random order."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(0).permutation(labels)
    return [f"text {row}" for row in range(len(labels))], labels.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_text_that_is_half_of_the_rows_is_half_of_the_draw(seed: int) -> None:
    texts = ["Same."] * 300 + [f"text {row}" for row in range(300)]
    labels = [0] * 300 + [0, 1] * 150
    rows = drawn(texts, labels, limit=20, seed=seed)
    assert len(set(rows)) == 20 and rows == sorted(rows)
    assert 5 <= sum(row < 300 for row in rows) <= 15


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("counts", [(500, 500), (900, 100), (700, 290, 10)])
def test_labels_keep_their_proportions(counts: tuple[int, ...], seed: int) -> None:
    texts, labels = rows_of(counts)
    for limit in (10, 100, 333):
        rows = drawn(texts, labels, limit=limit, seed=seed)
        assert len(rows) == limit
        found = np.bincount(np.take(labels, rows), minlength=len(counts))
        # Whole rows: of two labels, one is rounded up and the other down.
        most = 1 if len(counts) == 2 else 1.5
        assert np.abs(found - limit * np.divide(counts, 1000)).max() < most + 1e-9


def test_a_share_below_one_row_is_right_on_average() -> None:
    """Else a draw would leave out all rare labels, or hold nothing but them."""
    texts, labels = rows_of((880, 80, 40))
    found = np.zeros(3)
    for seed in range(400):
        rows = drawn(texts, labels, limit=5, seed=seed)
        found += np.bincount(np.take(labels, rows), minlength=3)
    np.testing.assert_allclose(found / 400, [4.4, 0.4, 0.2], atol=0.08)


def test_each_text_is_as_likely() -> None:
    texts, labels = rows_of((20, 20))
    found = np.zeros(40)
    for seed in range(1000):
        found[drawn(texts, labels, limit=10, seed=seed)] += 1
    # 250 ± 4 standard deviations.
    assert np.abs(found - 250).max() < 4 * np.sqrt(250 * 0.75)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_label(seed: int) -> None:
    texts, labels = rows_of((900, 99, 1))
    rows = drawn(texts, labels, limit=10, seed=seed, every_label=True)
    assert len(rows) == 10
    assert np.bincount(np.take(labels, rows), minlength=3).min() == 1
    assert len(drawn(texts, labels, limit=2, seed=seed, every_label=True)) == 2


@pytest.mark.parametrize("every_label", [False, True])
def test_a_larger_draw_holds_the_smaller(every_label: bool) -> None:
    texts, labels = rows_of((60, 30, 3))
    texts[10:20] = ["Same."] * 10
    for seed in range(10):
        before: set[int] = set()
        for limit in range(1, 94):
            rows = drawn(texts, labels, limit=limit, seed=seed, every_label=every_label)
            assert before < set(rows)
            before = set(rows)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    generator = np.random.default_rng(seed)
    texts = [f"{'Tt'[i % 2]}ext {i // 6}" for i in range(300)]
    labels = generator.integers(3, size=300)
    order = generator.permutation(300)

    def values(texts: Sequence[str], labels: np.ndarray) -> list[tuple[str, int]]:
        rows = drawn(texts, labels.tolist(), limit=40, seed=seed)
        return sorted((texts[row], int(labels[row])) for row in rows)

    shuffled = [texts[row] for row in order]
    assert values(shuffled, labels[order]) == values(texts, labels)
    assert drawn(texts, labels.tolist(), limit=40, seed=seed) != drawn(
        texts, labels.tolist(), limit=40, seed=seed + 1
    )

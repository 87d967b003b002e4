"""What is only turned is not forgotten; what is unrelated is not alike."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.kept.similarity import alikeness, neighbour_overlap


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 16))


def test_the_same_is_the_same(vectors: np.ndarray) -> None:
    assert alikeness(vectors, vectors) == 1.0
    assert neighbour_overlap(vectors, vectors) == 1.0


def test_rotation_scale_and_shift_change_nothing(vectors: np.ndarray) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    turned = 3.0 * vectors @ rotation + 5.0
    assert alikeness(vectors, turned) == pytest.approx(1.0, abs=1e-9)
    assert neighbour_overlap(vectors, turned) == 1.0


def test_one_direction_blown_up_is_a_change(vectors: np.ndarray) -> None:
    changed = vectors.copy()
    changed[:, 0] *= 30
    assert alikeness(vectors, changed) < 0.6
    assert neighbour_overlap(vectors, changed) < 0.6


def test_unrelated_ones_are_not_alike_however_wide() -> None:
    """The usual, biased estimate says 0.7 here."""
    generator = np.random.default_rng(2)
    values = [alikeness(*generator.normal(size=(2, 100, 200))) for _ in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values)) + 1e-3
    assert max(np.abs(values)) < 0.1
    overlaps = [
        neighbour_overlap(*generator.normal(size=(2, 100, 200))) for _ in range(20)
    ]
    assert np.mean(overlaps) == pytest.approx(10 / 99, abs=0.02)


def test_it_is_the_alignment_of_kornblith_where_texts_are_many() -> None:
    """For n → ∞ the bias goes: the plain formula on many texts of few numbers."""
    generator = np.random.default_rng(3)
    first = generator.normal(size=(3000, 4))
    second = first @ generator.normal(size=(4, 3)) + generator.normal(size=(3000, 3))
    a, b = first - first.mean(0), second - second.mean(0)
    plain = np.linalg.norm(a.T @ b) ** 2 / (
        np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    )
    assert alikeness(first, second) == pytest.approx(plain, abs=2e-3)


def test_vectors_all_the_same_have_no_alikeness(vectors: np.ndarray) -> None:
    assert np.isnan(alikeness(vectors, np.ones((60, 3))))

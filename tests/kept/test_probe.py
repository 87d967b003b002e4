"""A probe reads what is there, with texts that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.kept.probe import probe

N, WIDTH = 150, 8


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, N).astype(np.int32)


@pytest.fixture(scope="module")
def vectors(labels: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(1)
    centres = generator.normal(size=(3, WIDTH)) * 2
    values: np.ndarray = centres[labels] + generator.normal(size=(N, WIDTH))
    return values.astype(np.float32)


def test_it_reads_what_is_there_and_no_noise(
    vectors: np.ndarray, labels: np.ndarray
) -> None:
    probed = probe(vectors, labels, num_classes=3, seed=0)
    assert (probed.answers == labels).mean() > 0.9
    noise = np.random.default_rng(2).normal(size=(N, 100)).astype(np.float32)
    # Fitted on the texts it is asked about, a probe of 100 numbers would be right.
    assert (probe(noise, labels, num_classes=3, seed=0).answers == labels).mean() < 0.5


def test_no_text_is_answered_by_a_probe_that_has_seen_it() -> None:
    """Ten texts with a wrong label, each marked: only who has seen one gets it right."""
    generator = np.random.default_rng(4)
    labels = np.arange(N).astype(np.int32) % 2
    vectors = np.zeros((N, 12), np.float32)
    vectors[:, 0] = 2.0 * labels - 1 + generator.normal(0, 0.2, N)
    marked = np.arange(0, 100, 10)
    vectors[marked, np.arange(2, 12)] = 30.0
    wrong = labels.copy()
    wrong[marked] = 1 - wrong[marked]
    probed = probe(vectors, wrong, num_classes=2, seed=0)
    assert (probed.answers == labels)[marked].all()
    assert (probed.answers == wrong).mean() > 0.9


def test_turned_vectors_lose_the_old_probe_and_not_a_new_one(
    vectors: np.ndarray, labels: np.ndarray
) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(WIDTH, WIDTH)))
    turned = (vectors @ rotation).astype(np.float32)
    probed = probe(vectors, labels, num_classes=3, seed=0)
    again = probe(turned, labels, num_classes=3, seed=0)
    assert np.mean(again.answers == probed.answers) > 0.97
    assert np.mean(probed.ask(turned) == labels) < 0.7
    np.testing.assert_array_equal(probed.ask(vectors), probed.answers)


def test_folds_are_even_within_each_class(
    vectors: np.ndarray, labels: np.ndarray
) -> None:
    folds = probe(vectors, labels, num_classes=3, seed=0).folds
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.ptp(np.bincount(folds)) <= 1

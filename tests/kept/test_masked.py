"""A loss of words tells what is forgotten from what has only moved."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import keras
import numpy as np
import pytest

from trainer.kept import masked, measures
from trainer.kept.masked import MOST_WORDS, Guesses

NUM_TEXTS, HIDDEN, VOCABULARY = 60, 16, 40


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(VOCABULARY, HIDDEN)).astype("float32")


@pytest.fixture(scope="module")
def guesses(table: np.ndarray) -> Guesses:
    """Vectors near the embeddings of the words that stood there."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, VOCABULARY, (NUM_TEXTS, MOST_WORDS)).astype(np.int32)
    noise = generator.normal(0, 0.5, (NUM_TEXTS, MOST_WORDS, HIDDEN))
    weights = (generator.random(labels.shape) < 0.7).astype(np.float32)
    weights[3] = 0.0
    return Guesses((table[labels] + noise).astype(np.float32), labels, weights)


@pytest.fixture(scope="module")
def head(table: np.ndarray) -> Any:
    """One that compares vectors with embeddings, and does nothing else."""
    size = {"gamma": np.ones(HIDDEN, "float32"), "beta": np.zeros(HIDDEN, "float32")}
    variables = {name: keras.Variable(value) for name, value in size.items()}
    return types.SimpleNamespace(
        _intermediate_dense=types.SimpleNamespace(
            kernel=keras.Variable(np.eye(HIDDEN, dtype="float32")),
            bias=keras.Variable(np.zeros(HIDDEN, "float32")),
        ),
        _intermediate_layer_norm=types.SimpleNamespace(epsilon=1e-12, **variables),
        intermediate_activation=keras.activations.linear,
        token_embedding=types.SimpleNamespace(embeddings=keras.Variable(table)),
        _bias=keras.Variable(np.zeros(VOCABULARY, "float32")),
    )


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    return measures.halves(NUM_TEXTS, 0)


def test_it_is_the_mean_of_a_texts_masked_words(
    guesses: Guesses, head: Any, table: np.ndarray
) -> None:
    found = masked.losses(guesses, head)
    assert np.isnan(found[3]) and np.isnan(found).sum() == 1
    there = guesses.weights[0] > 0
    x = guesses.vectors[0][there].astype(np.float64)
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    logits = x @ table.T
    chosen = logits[np.arange(len(x)), guesses.labels[0][there]]
    expected = np.log(np.exp(logits).sum(1)) - chosen
    assert found[0] == pytest.approx(expected.mean(), rel=1e-5)


def test_what_did_not_move_is_mapped_nowhere(
    guesses: Guesses, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    same = masked.realigned(guesses, onto=guesses, halves=halves)
    np.testing.assert_array_equal(same.vectors, guesses.vectors)


def test_what_only_turned_comes_back_and_what_is_gone_does_not(
    guesses: Guesses, head: Any, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    generator = np.random.default_rng(2)
    rotation, _ = np.linalg.qr(generator.normal(size=(HIDDEN, HIDDEN)))
    turned = (guesses.vectors @ rotation + 1.0).astype(np.float32)
    gone = generator.normal(size=guesses.vectors.shape).astype(np.float32)

    def mean_loss(vectors: np.ndarray, *, is_realigned: bool) -> float:
        now = dataclasses.replace(guesses, vectors=vectors)
        if is_realigned:
            now = masked.realigned(now, onto=guesses, halves=halves)
        return float(np.nanmean(masked.losses(now, head)))

    before = mean_loss(guesses.vectors, is_realigned=False)
    assert mean_loss(turned, is_realigned=False) > before + 1
    assert mean_loss(turned, is_realigned=True) < before + 0.2
    assert mean_loss(gone, is_realigned=True) > before + 1


def test_no_text_is_mapped_by_itself(
    guesses: Guesses, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    """The words of one half say nothing of where it is mapped."""
    turned = dataclasses.replace(guesses, vectors=guesses.vectors[:, :, ::-1].copy())
    other = guesses.vectors.copy()
    other[halves[0]] += 1.0
    onto = dataclasses.replace(guesses, vectors=other)
    one = masked.realigned(turned, onto=guesses, halves=halves).vectors
    two = masked.realigned(turned, onto=onto, halves=halves).vectors
    np.testing.assert_array_equal(one[halves[0]], two[halves[0]])
    assert not np.allclose(one[halves[1]], two[halves[1]])


def test_the_interval_is_of_the_paired_differences() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        before = generator.normal(6, 1, 40)
        after = before + generator.normal(0.1, 0.2, 40)
        found = measures.masked_words_kept(
            before, after, after, head="checkpoint", num_tokens=400, seed=0
        )
        low, high = found.interval_95
        covered += low < 0.1 < high
        assert found.difference == pytest.approx(found.after - found.before)
    assert 0.92 < covered / 400 < 0.98


def test_guesses_without_a_head_are_no_sentence() -> None:
    values = np.linspace(6, 7, 40)
    told = {}
    heads: tuple[Any, ...] = ("checkpoint", "frequencies")
    for head in heads:
        found = measures.masked_words_kept(
            values, values + 0.2, values, head=head, num_tokens=400, seed=0
        )
        told[head] = measures.sentence((), found, None)
    assert "6.70 nats a word, 6.50 before (+0.20" in told["checkpoint"]
    assert "nats" not in told["frequencies"]

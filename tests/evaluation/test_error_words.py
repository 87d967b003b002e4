"""Words that go with errors: planted ones are found, and others hardly ever."""

from __future__ import annotations

import numpy as np
import scipy.stats

from trainer.evaluation import error_words

FILLERS = [f"w{index}" for index in range(200)]


def make_texts(generator: np.random.Generator, count: int) -> list[str]:
    return [" ".join(generator.choice(FILLERS, 20)) for _ in range(count)]


def test_a_planted_word_is_found_and_hardly_ever_another() -> None:
    num_others = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        texts = make_texts(generator, 600)
        labels = generator.integers(0, 2, 600)
        has_word = generator.random(600) < 0.1
        texts = [f"{t} Hardly!" if has else t for t, has in zip(texts, has_word)]
        is_error = generator.random(600) < np.where(has_word, 0.5, 0.1)
        found, *others = error_words.words_of_errors(texts, labels, is_error)
        assert found.word == "hardly" and found.p_value < 0.01
        assert found.num_texts == has_word.sum()
        assert found.num_errors == (has_word & is_error).sum()
        assert found.num_errors > 1.5 * found.expected_errors
        low, high = found.confidence_interval_95
        assert low < found.num_errors / found.num_texts < high
        num_others += bool(others)
    # By chance in 5% of the cases.
    assert num_others <= 3


def test_a_word_is_not_blamed_for_its_label() -> None:
    """All texts of the second label have it, and that label is often mistaken."""
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1], 300)
    texts = make_texts(generator, 600)
    texts = [f"{t} second" if label else t for t, label in zip(texts, labels)]
    is_error = generator.random(600) < np.where(labels, 0.5, 0.05)
    assert error_words.words_of_errors(texts, labels, is_error) == ()
    # Which is what a test that does not know the labels would say of it.
    assert error_words.words_of_errors(texts, np.zeros(600, int), is_error)


def test_of_one_label_it_is_fishers_exact_test() -> None:
    generator = np.random.default_rng(2)
    is_error = generator.random(60) < 0.3
    rows = np.flatnonzero(generator.random(60) < np.where(is_error, 0.6, 0.3))
    table = error_words._Tables(rows, np.zeros(60, int), is_error)
    both, with_word, errors = table.num_errors, len(rows), int(is_error.sum())
    counts = [
        [both, with_word - both],
        [errors - both, 60 - with_word - errors + both],
    ]
    expected = scipy.stats.fisher_exact(counts, alternative="greater").pvalue
    np.testing.assert_allclose(table.p_value(), expected, rtol=1e-9)
    assert expected < 0.5


def test_by_chance_next_to_nothing_is_found() -> None:
    generator = np.random.default_rng(3)
    texts = make_texts(generator, 300)
    labels = generator.integers(0, 3, 300)
    wrong = [
        bool(error_words.words_of_errors(texts, labels, generator.random(300) < 0.2))
        for _ in range(40)
    ]
    # 5% of 40 are 2; more than 5 would be by chance once in 70.
    assert sum(wrong) <= 5


def test_without_errors_or_texts_there_is_none() -> None:
    texts = make_texts(np.random.default_rng(4), 50)
    for is_error in (np.zeros(50, bool), np.ones(50, bool)):
        assert error_words.words_of_errors(texts, np.zeros(50, int), is_error) == ()
    nothing = np.zeros(0, int)
    assert error_words.words_of_errors([], nothing, nothing.astype(bool)) == ()

"""Words that give a label away are found, and honest ones are not."""

from __future__ import annotations

import numpy as np

from trainer.data.revealing import revealing_words, words_of_one_label

NAMES = ("ham", "spam")
RANDOM = np.random.default_rng(0)
WORDS = [f"word{number}" for number in range(300)]


def texts_of(count: int) -> list[str]:
    """Texts of 30 random words."""
    return [" ".join(RANDOM.choice(WORDS, 30)) for _ in range(count)]


def test_a_word_of_one_label_is_found() -> None:
    labels = np.arange(200) % 2
    texts = [
        f"{text} Unsubscribe!" if label and row % 3 else text
        for row, (text, label) in enumerate(zip(texts_of(200), labels))
    ]

    (word,) = revealing_words(texts, labels, label_names=NAMES)

    assert (word.word, word.label) == ("unsubscribe", "spam")
    assert 0.6 < word.share_of_label < 0.7


def test_words_of_both_labels_are_not() -> None:
    assert not revealing_words(texts_of(400), np.arange(400) % 2, label_names=NAMES)


def test_few_texts_say_nothing() -> None:
    labels = np.arange(40) % 2

    assert not revealing_words(
        [f"only{label}" for label in labels], labels, label_names=NAMES
    )


def test_a_label_of_nearly_all_texts_has_none() -> None:
    labels = (np.arange(400) % 20 == 0).astype(int)
    texts = [f"{text} hello" for text in texts_of(400)]

    assert not revealing_words(texts, labels, label_names=NAMES)


def test_an_artefact_in_one_text_of_ten_is_shown_and_not_doubted() -> None:
    labels = np.arange(600) % 2
    texts = [
        f"{text} xyzzy" if label and row % 10 == 1 else text
        for row, (text, label) in enumerate(zip(texts_of(600), labels))
    ]
    # Of a hundred such texts one may be of the other label.
    texts[0] += " xyzzy"

    shown = words_of_one_label(texts, labels, label_names=NAMES)

    assert [(each.word, each.label, each.num_texts) for each in shown] == [
        ("xyzzy", "spam", 60)
    ]
    assert not revealing_words(texts, labels, label_names=NAMES)

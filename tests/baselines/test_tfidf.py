"""TF-IDF with logistic regression, as scikit-learn's own pipeline gives it."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tests import tiny
from trainer.baselines import commonest, tfidf
from trainer.baselines.examples import Examples
from trainer.data.text_rows import TextRows


def given(
    **texts_and_labels: tuple[Sequence[str], Sequence[int]],
) -> tuple[Examples, dict[str, TextRows]]:
    """Splits of one pool of several chunks, every second row of it."""
    labels, rows, chunks = {}, {}, []
    start = 0
    for name, (texts, of_split) in texts_and_labels.items():
        labels[name] = np.array(of_split, np.int32)
        chunks += [pa.array([text, "not of it"], pa.large_string()) for text in texts]
        rows[name] = np.arange(start, start + 2 * len(texts), 2)
        start += 2 * len(texts)
    pool = pa.chunked_array(chunks)
    num_classes = max(int(each.max()) for each in labels.values()) + 1
    examples = Examples(
        labels=labels, num_classes=max(2, num_classes), example_weights=None, seed=0
    )
    return examples, {k: TextRows(pool, each) for k, each in rows.items()}


def sentences(count: int, seed: int) -> tuple[list[str], list[int]]:
    texts, labels = tiny.labelled_sentences(count, seed=seed)
    return texts, labels.tolist()


def test_equals_a_plain_pipeline() -> None:
    train, test = sentences(300, 0), sentences(100, 1)
    examples, texts = given(train=train, validation=sentences(100, 2), test=test)
    found = tfidf.answers(examples, texts)
    plain = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(C=found.settings["C"], max_iter=1000, tol=1e-8),
    ).fit(*train)
    np.testing.assert_allclose(
        np.exp(found.logits["test"]), plain.predict_proba(test[0]), atol=0.02
    )
    assert found.num_features == len(plain[0].vocabulary_)
    assert set(found.logits) == {"validation", "test"}


def test_hashed_words_come_near_the_exact_ones() -> None:
    examples, texts = given(
        train=sentences(900, 0), validation=sentences(200, 2), test=sentences(300, 1)
    )
    ways: list[dict[str, Any]] = [
        {},
        {"max_exact_bytes": 10},
        {"max_exact_bytes": 10, "max_exact_numbers": 10},
    ]
    accuracies = []
    for way in ways:
        found = tfidf.answers(examples, texts, **way)
        given_labels = found.logits["test"].argmax(axis=1)
        accuracies.append((given_labels == examples.labels["test"]).mean())
        assert ("words_hashed_to" in found.settings) == bool(way)
    assert min(accuracies) > max(accuracies) - 0.03 and max(accuracies) > 0.9


def test_reads_the_rows_of_the_pool_in_blocks() -> None:
    pool = pa.chunked_array(
        [pa.array([f"text {i}" for i in range(start, start + 700)], pa.large_string())
         for start in range(0, 7000, 700)]
    )  # fmt: skip
    rows = np.sort(np.random.default_rng(0).choice(7000, 3000, replace=False))
    texts = TextRows(pool, rows)
    assert list(texts) == [f"text {row}" for row in rows] and len(texts) == 3000
    assert max(map(len, texts.blocks())) < 2000
    assert texts.num_bytes == sum(len(f"text {row}") for row in rows)


CHINESE = (["这部电影很好看", "演员非常好", "真是无聊的电影", "剧情非常糟糕"] * 3, [1, 1, 0, 0] * 3)  # fmt: skip
LETTERS = (["a b", "b a", "c d", "d c"] * 3, [1, 1, 0, 0] * 3)
HINDI = (["यह फिल्म अच्छी है", "बहुत बुरी फिल्म"] * 6, [1, 0] * 6)


@pytest.mark.parametrize(
    ("texts_and_labels", "unit"),
    [(CHINESE, "characters"), (LETTERS, "characters"), (HINDI, "words")],
)
@pytest.mark.parametrize("way", [{}, {"max_exact_bytes": 1}])
def test_scripts(texts_and_labels: Any, unit: str, way: Any) -> None:
    examples, texts = given(train=texts_and_labels, test=texts_and_labels)
    found = tfidf.answers(examples, texts, **way)
    assert found.settings["read_as"] == unit
    np.testing.assert_array_equal(
        found.logits["test"].argmax(axis=1), examples.labels["test"]
    )


def test_hindi_words_are_not_cut_at_their_vowels() -> None:
    vectorizer = TfidfVectorizer(**tfidf._reading("words") | {"ngram_range": (1, 1)})
    vectorizer.fit(["यह फिल्म अच्छी है"])
    assert set(vectorizer.vocabulary_) == set("यह फिल्म अच्छी है".split())


@pytest.mark.parametrize("text", ["", "  ", "\n"])
@pytest.mark.parametrize("way", [{}, {"max_exact_bytes": -1}])
def test_texts_without_a_sign_are_the_commonest(text: str, way: Any) -> None:
    examples, texts = given(train=([text] * 8, [0, 1, 1] + [1] * 5), test=([text], [1]))
    if text == "":
        found = tfidf.answers(examples, texts, **way)
        np.testing.assert_array_equal(
            found.logits["test"], commonest.answers(examples).logits["test"]
        )
        assert "commonest" in str(found.settings["instead"])
    assert np.isfinite(tfidf.answers(examples, texts, **way).logits["test"]).all()


@pytest.mark.parametrize("count", [2, 8])
def test_few_texts_one_without_words(count: int) -> None:
    train = (["good film", "bad film", "", "!?", "good", "bad", "so", "it"][:count],
             [1, 0, 1, 0, 1, 0, 1, 0][:count])  # fmt: skip
    examples, texts = given(train=train, test=(["", "good", "bad"], [0, 1, 0]))
    logits = tfidf.answers(examples, texts).logits["test"]
    assert np.isfinite(logits).all() and logits[1].argmax() == 1

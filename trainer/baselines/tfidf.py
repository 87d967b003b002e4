"""TF-IDF of words and word pairs, with logistic regression.

    answers = tfidf.answers(examples, texts)    # TextRows by split

Up to some size the vocabulary is exact. Above it words are hashed, and what is counted
lies in a temporary folder: memory does not grow with the texts. A text in a script
without blanks between words is read as runs of one to three characters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from typing import Any, Callable, Mapping

import numpy as np

from trainer import console, storage
from trainer.baselines import commonest, logistic_regression, one_vs_rest, ridge
from trainer.baselines.examples import Answers, Examples
from trainer.baselines.logistic_regression import (
    MAX_EXACT_COEFFICIENTS,
    Chosen,
    num_outputs,
)
from trainer.baselines.one_vs_rest import ChosenEach
from trainer.data import pairs
from trainer.data.text_rows import ROWS_AT_ONCE, TextRows

TITLE = "TF-IDF with logistic regression"
RIDGE_TITLE = "TF-IDF with ridge regression"
# Training texts of more bytes than this are hashed: 30,000 reviews of IMDB.
MAX_EXACT_BYTES = 40 * 1024 * 1024
# Of fewer texts, a word of one of them is worth keeping.
_MIN_TEXTS_FOR_MIN_COUNT = 200
_MAX_HASHED_COEFFICIENTS = 1 << 24
_MIN_HASH_BITS, _MAX_HASH_BITS = 16, 22
# English has about one new word or pair for so many.
_BYTES_PER_FEATURE = 16
# As scikit-learn's words, two letters or more; and with marks that belong to letters,
# which `\w` leaves out, and which would cut Hindi words at their vowels.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u0610-\u061a\u064b-\u065f"
    "\u0900-\u0963\u0980-\u0dff"
)
_WORD = rf"\w[\w{_MARKS}]+"
# Thai, Lao, Burmese, Khmer; kana, Han.
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0002fa1f]"
)
_MIN_SHARE_WITHOUT_BLANKS = 0.2
_NUM_TEXTS_FOR_SCRIPT = 1000


def answers(
    examples: Examples,
    texts: Mapping[str, TextRows],
    *,
    max_exact_bytes: int = MAX_EXACT_BYTES,
    max_exact_numbers: int = logistic_regression.MAX_EXACT_NUMBERS,
) -> Answers:
    """Answers from the words of the texts.

    Args:
      texts: of every split of `examples`.
      max_exact_bytes: of how many bytes of training texts on words are hashed.
      max_exact_numbers: see `logistic_regression.fit`.
    """
    if examples.has_one_label:
        return _commonest(examples, "for the training texts have no other")
    with storage.scratch("trainer-tfidf") as folder, storage.naming_place(folder):
        is_exact = texts["train"].num_bytes <= max_exact_bytes
        for unit in _units(texts["train"]):
            make = _exact if is_exact else _hashed
            made = make(texts["train"], examples.num_classes, unit, folder)
            if made is not None:
                break
        else:
            return _commonest(examples, "for the training texts have no words")
        train, transform, num_features, settings = made
        features = {"train": train}
        if "validation" in texts:
            features["validation"] = _stored(
                texts["validation"], transform, folder, name="validation"
            )
        chosen = _fitted(features, examples, max_exact_numbers=max_exact_numbers)
        logits = {
            name: (
                chosen.logits(features[name])
                if name in features
                else _logits(chosen, transform, texts[name])
            )
            for name in examples.held_out
        }
    return Answers(
        title=RIDGE_TITLE if examples.are_numbers else TITLE,
        logits=logits,
        num_features=num_features,
        settings={"read_as": unit, **settings, **chosen.settings},
    )


def _fitted(
    features: Mapping[str, Any], examples: Examples, *, max_exact_numbers: int
) -> Chosen | ChosenEach | ridge.Chosen:
    """The linear model of the kind of labels."""
    if examples.are_numbers:
        return ridge.fit(features, examples, description="TF-IDF")
    several = examples.may_have_several
    chosen: Chosen | ChosenEach
    chosen = (one_vs_rest if several else logistic_regression).fit(
        features,
        examples,
        description="TF-IDF",
        max_exact_numbers=max_exact_numbers,
    )
    return chosen


def out_of_fold(
    examples: Examples, texts: TextRows, folds: np.ndarray
) -> np.ndarray | None:
    """The logits of each text by a model that was fitted on the other folds.

    How often a word occurs is counted over all texts, which tells nothing of labels.

    Args:
      examples: the labels of the texts, as "train".
      texts: all of them.
      folds: int [n], 0 to 4; copies of a text should be of one.

    Returns:
      float32 [n, classes], see `logistic_regression.out_of_fold`; None if no text has a
      word.
    """
    with storage.scratch("trainer-tfidf") as folder, storage.naming_place(folder):
        make = _exact if texts.num_bytes <= MAX_EXACT_BYTES else _hashed
        for unit in _units(texts):
            made = make(texts, examples.num_classes, unit, folder)
            if made is not None:
                return logistic_regression.out_of_fold(
                    made[0], examples, folds, description="TF-IDF"
                )
    return None


def _logits(
    chosen: Chosen | ChosenEach | ridge.Chosen,
    transform: Callable[[list[str]], Any],
    texts: TextRows,
) -> np.ndarray:
    """Without holding the features of more than a block."""
    counted = console.progress(
        texts.blocks(),
        "TF-IDF: answering",
        unit="blocks",
        total=-(-len(texts) // ROWS_AT_ONCE),
    )
    return np.concatenate([chosen.logits(transform(block)) for block in counted])


def _commonest(examples: Examples, why: str) -> Answers:
    if examples.are_numbers:
        settings = {"instead": f"{ridge.MEAN_TITLE}, {why}"}
        constant = ridge.mean(examples)
        return dataclasses.replace(
            constant, title=RIDGE_TITLE, num_features=0, settings=settings
        )
    return Answers(
        title=TITLE,
        logits=commonest.answers(examples).logits,
        num_features=0,
        settings={"instead": f"the commonest label, {why}"},
    )


def _units(texts: TextRows) -> tuple[str, ...]:
    """What to read the texts as, the best first."""
    num_letters, num_without = 0, 0
    step = max(1, len(texts) // _NUM_TEXTS_FOR_SCRIPT)
    for index, text in enumerate(texts):
        if index % step:
            continue
        num_letters += sum(map(str.isalpha, text))
        num_without += len(_WITHOUT_BLANKS.findall(text))
    if num_without > _MIN_SHARE_WITHOUT_BLANKS * num_letters:
        return ("characters",)
    # Texts of single letters or signs have no words.
    return ("words", "characters")


def _reading(unit: str) -> dict[str, Any]:
    """How scikit-learn's vectorizers shall read."""
    if unit == "characters":
        return {"analyzer": "char", "ngram_range": (1, 3)}
    return {"token_pattern": _WORD, "ngram_range": (1, 2), "preprocessor": _marked}


def _marked(text: str) -> str:
    """In lower case; a word of a pair's second text is another than in the first."""
    first, second = pairs.split(text.lower())
    return f"{first} {_WORD_START.sub(_MARK, second)}" if second else first


_WORD_START = re.compile(r"\b(?=\w)")
# A letter that no language writes at the beginning of a word.
_MARK = "\u01bb"

# Features of the training texts; of other texts; how many there are; the settings.
_Made = tuple[Any, Callable[[list[str]], Any], int, dict[str, float | int | str]]


def _exact(
    texts: TextRows, num_classes: int, unit: str, folder: pathlib.Path
) -> _Made | None:
    """With a vocabulary; None if no text has a word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    min_count = 2 if len(texts) >= _MIN_TEXTS_FOR_MIN_COUNT else 1
    vectorizer = TfidfVectorizer(
        **_reading(unit),
        sublinear_tf=True,
        min_df=min_count,
        max_features=MAX_EXACT_COEFFICIENTS // num_outputs(num_classes),
        dtype=np.float32,
    )
    counted = console.progress(texts, "TF-IDF: reading", unit="texts", total=len(texts))
    try:
        train = vectorizer.fit_transform(counted)
    except ValueError:
        # scikit-learn's only word for an empty vocabulary.
        if any(map(vectorizer.build_analyzer(), texts)) and min_count == 1:
            raise
        return None
    num_features = len(vectorizer.vocabulary_)
    return train, vectorizer.transform, num_features, {"min_count": min_count}


def _hashed(
    texts: TextRows, num_classes: int, unit: str, folder: pathlib.Path
) -> _Made | None:
    """With hashed words; None if no text has a word."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    most = _MAX_HASHED_COEFFICIENTS // num_outputs(num_classes)
    bits = (texts.num_bytes // _BYTES_PER_FEATURE).bit_length()
    bits = min(max(bits, _MIN_HASH_BITS), _MAX_HASH_BITS, most.bit_length() - 1)
    num_features = 1 << bits
    vectorizer = HashingVectorizer(
        **_reading(unit),
        n_features=num_features,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    train = _stored(texts, vectorizer.transform, folder, name=unit)
    if not train.nnz:
        return None
    num_texts = np.zeros(num_features, np.int64)
    for start in range(0, len(texts), ROWS_AT_ONCE):
        block = train[start : start + ROWS_AT_ONCE]
        num_texts += np.bincount(block.indices, minlength=num_features)
    weights = TfidfTransformer(sublinear_tf=True)
    # As scikit-learn's; and none for what only one text has.
    inverse = np.log((1 + len(texts)) / (1 + num_texts)) + 1
    weights.idf_ = np.where(num_texts > 1, inverse, 0.0).astype(np.float32)
    for start in range(0, len(texts), ROWS_AT_ONCE):
        block = train[start : start + ROWS_AT_ONCE]
        first = train.indptr[start]
        train.data[first : first + block.nnz] = weights.transform(block).data
    settings: dict[str, float | int | str] = {
        "min_count": 2,
        "words_hashed_to": num_features,
    }

    def transform(block: list[str]) -> Any:
        return weights.transform(vectorizer.transform(block))

    return train, transform, num_features, settings


def _stored(
    texts: TextRows,
    transform: Callable[[list[str]], Any],
    folder: pathlib.Path,
    *,
    name: str,
) -> Any:
    """Features of texts, a CSR matrix whose numbers are mapped from files."""
    import scipy.sparse

    lengths = [np.zeros(1, np.int64)]
    num_columns = 0
    paths = [folder / f"{name}.{part}" for part in ("indices", "values")]
    counter = console.counter(f"TF-IDF: reading {name}", unit="texts", total=len(texts))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        advance = stack.enter_context(counter)
        for block in texts.blocks():
            features = transform(block)
            num_columns = features.shape[1]
            features.indices.astype(np.int32).tofile(files[0])
            features.data.astype(np.float32).tofile(files[1])
            lengths.append(np.diff(features.indptr))
            advance(len(block))
    splits = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    indices, values = (
        np.memmap(path, dtype, mode="r+") if splits[-1] else np.empty(0, dtype)
        for path, dtype in zip(paths, (np.int32, np.float32))
    )
    return scipy.sparse.csr_matrix(
        (values, indices, splits), shape=(len(texts), num_columns), copy=False
    )

"""Whether training and test texts are alike: can a classifier tell them apart?

facts = domain_facts(rows)
facts.auc, facts.control_aucs, facts.is_shown

A two-sample test by classifier (Lopez-Paz, Oquab 2017, "Revisiting Classifier Two-Sample
Tests"): logistic regression on TF-IDF learns which split a text is of, and is asked
about texts that it did not see. As a control the same is done with the splits dealt out
anew by chance: what it finds there is none. Copies of a text are of one fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.audit.findings import DomainFacts
from trainer.data.audit.rows import Rows
from trainer.data.duplicates import first_32_bits

_MAX_TEXTS = 3000
_MIN_TEXTS = 50
_NUM_FOLDS = 3
_NUM_CONTROLS = 5
_NUM_WORDS = 15
# Of the control's spread, which five numbers know badly, and of the theory's.
_MIN_DEVIATIONS = 4.0
_MAX_FEATURES = 20_000


def domain_facts(rows: Rows) -> DomainFacts | None:
    """None where there is no test split, or too few texts to say anything."""
    names = rows.split_names
    if "test" not in names:
        return None
    sides = [_some(rows, names.index(name)) for name in ("train", "test")]
    if min(map(len, sides)) < _MIN_TEXTS:
        return None
    chosen = np.concatenate(sides)
    is_test = np.repeat([False, True], [len(side) for side in sides])
    salted = first_32_bits(_text_digests(rows, chosen), b"domain:")
    folds = salted % _NUM_FOLDS
    words, features = _features([rows.text(int(row)) for row in chosen])
    generator = np.random.default_rng(0)
    auc = _auc(features, is_test, folds)
    controls = [
        _auc(features, generator.permutation(is_test), folds)
        for _ in range(_NUM_CONTROLS)
    ]
    is_shown = auc > _border(controls, *map(len, sides))
    strongest = _words(features, is_test, words) if is_shown else ((), ())
    return DomainFacts(
        num_train_texts=len(sides[0]),
        num_test_texts=len(sides[1]),
        auc=auc,
        control_aucs=tuple(controls),
        is_shown=is_shown,
        train_words=strongest[0],
        test_words=strongest[1],
    )


def _border(controls: list[float], num_train: int, num_test: int) -> float:
    """What chance hardly reaches."""
    # Of the Mann-Whitney statistic, which the area is.
    deviation: float = ((num_train + num_test + 1) / (12 * num_train * num_test)) ** 0.5
    return max(max(controls), 0.5 + _MIN_DEVIATIONS * deviation)


def _some(rows: Rows, split: int) -> np.ndarray:
    """Rows of a split by a hash, the same in whatever order they stand."""
    of_split = np.flatnonzero(rows.split_numbers == split)
    hashes = first_32_bits(rows.pool.digests[of_split], b"some:")
    return of_split[np.argsort(hashes, kind="stable")[:_MAX_TEXTS]]


def _text_digests(rows: Rows, chosen: np.ndarray) -> np.ndarray:
    """For each row the digest of the first row of its text: uint8 [m, 32]."""
    numbers = rows.pool.text_numbers[chosen]
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    digests: np.ndarray = rows.pool.digests[chosen[first[inverse]]]
    return digests


def _features(texts: list[str]) -> tuple[np.ndarray, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True,
        min_df=2,
        max_features=_MAX_FEATURES,
        dtype=np.float32,
        # One letter is a word in Chinese.
        token_pattern=r"\w+",
    )
    try:
        features = vectorizer.fit_transform(texts)
    except ValueError:
        # No word stands in two texts.
        return np.array(["none"]), np.zeros([len(texts), 1], np.float32)
    return vectorizer.get_feature_names_out(), features


def _auc(features: Any, is_test: np.ndarray, folds: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    areas, weights = [], []
    for fold in range(_NUM_FOLDS):
        is_asked = folds == fold
        if min(map(_num_sides, (is_test[is_asked], is_test[~is_asked]))) < 2:
            continue
        model = _fitted(features[~is_asked], is_test[~is_asked])
        scores = model.decision_function(features[is_asked])
        # Fold by fold, for scores of two models cannot be compared.
        areas.append(roc_auc_score(is_test[is_asked], scores))
        weights.append(is_asked.sum())
    return float(np.average(areas, weights=weights)) if areas else 0.5


def _num_sides(is_test: np.ndarray) -> int:
    return len(np.unique(is_test))


def _fitted(features: Any, is_test: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    # As for the baselines: threads gain little, and change the last digits.
    with threadpool_limits(1):
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=300)
        return model.fit(features, is_test)


def _words(
    features: Any, is_test: np.ndarray, words: np.ndarray
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    order = np.argsort(_fitted(features, is_test).coef_[0], kind="stable")
    train, test = order[:_NUM_WORDS], order[::-1][:_NUM_WORDS]
    return tuple(words[train].tolist()), tuple(words[test].tolist())

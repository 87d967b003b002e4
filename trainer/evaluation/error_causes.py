"""Errors by cause: kinds of texts that are mistaken, and what was trained on near them.

    found = clusters(vectors, texts, is_error, seed=0)
    found[0].num_errors, found[0].words         # 31, ("refund", "order", "late")
    nearest(vectors[errors], train_vectors, count=3)    # rows, and their similarities

All held-out texts are clustered, the right ones too, and nothing of the errors goes into
it. So, if errors had nothing to do with the clusters, the number of them in one would be
hypergeometric (Fisher's exact test); p-values are adjusted for the number of clusters
(`comparisons.holm`).
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import numpy.typing as npt

from trainer.evaluation.comparisons import holm
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import ErrorCluster
from trainer.evaluation.slices import shorten_middle

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

# A cluster has so many texts on the mean: fewer would show nothing beyond chance.
_MEAN_TEXTS = 60
# More than people would read.
_MAX_CLUSTERS = 12
_NUM_WORDS = 6
_NUM_ERRORS_SHOWN = 3
_LEVEL = 0.05
# Training vectors compared at a time.
_ROWS_AT_A_TIME = 4096


def clusters(
    vectors: FloatArray,
    texts: Sequence[str],
    is_error: npt.NDArray[np.bool_],
    *,
    seed: int,
) -> tuple[ErrorCluster, ...]:
    """All clusters, those first in which more is mistaken than elsewhere.

    k-means (Lloyd 1982) of the vectors' directions, a cluster a 60 texts, two to twelve.

    Args:
      vectors: float [n, hidden], of the texts.
      texts: n texts.
      is_error: bool [n].
      seed: of the first centres.

    Returns:
      None of fewer than 120 texts.
    """
    # Heavy, and the report's alone.
    import sklearn.cluster

    num_clusters = min(len(texts) // _MEAN_TEXTS, _MAX_CLUSTERS)
    if num_clusters < 2:
        return ()
    directions = _directions(vectors)
    means = sklearn.cluster.KMeans(num_clusters, n_init=5, random_state=seed)
    numbers = means.fit_predict(directions)
    distances = np.linalg.norm(directions - means.cluster_centers_[numbers], axis=1)
    words = _words(texts, numbers, num_clusters)
    rows = [np.flatnonzero(numbers == each) for each in range(num_clusters)]
    adjusted = holm([_p_value(each, is_error) for each in rows])
    found = [
        _cluster(inside, texts, is_error, distances, words[index], adjusted[index])
        for index, inside in enumerate(rows)
    ]
    return tuple(sorted(found, key=lambda each: (each.p_holm, -each.num_errors)))


def _cluster(
    inside: IntArray,
    texts: Sequence[str],
    is_error: npt.NDArray[np.bool_],
    distances: npt.NDArray[Any],
    words: tuple[str, ...],
    p_holm: float,
) -> ErrorCluster:
    errors = inside[is_error[inside]]
    nearest_to_centre = errors[np.argsort(distances[errors], kind="stable")]
    return ErrorCluster(
        num_texts=len(inside),
        num_errors=len(errors),
        confidence_interval_95=wilson_interval(len(errors), len(inside)),
        p_holm=p_holm,
        is_beyond_chance=p_holm < _LEVEL,
        words=words,
        errors=tuple(
            shorten_middle(str(texts[row]))
            for row in nearest_to_centre[:_NUM_ERRORS_SHOWN].tolist()
        ),
    )


def _p_value(inside: IntArray, is_error: npt.NDArray[np.bool_]) -> float:
    """How likely as many errors or more are in it by chance."""
    import scipy.stats

    chance = scipy.stats.hypergeom(len(is_error), int(is_error.sum()), len(inside))
    return float(min(1.0, chance.sf(int(is_error[inside].sum()) - 1)))


def _words(
    texts: Sequence[str], numbers: IntArray, num_clusters: int
) -> list[tuple[str, ...]]:
    """Of each cluster the words whose mean TF-IDF exceeds that of the others most."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_df=0.5, min_df=2, token_pattern=r"(?u)\b\w\w+\b")
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:
        # scikit-learn's only word for an empty vocabulary: texts of no words in common.
        return [()] * num_clusters
    names = vectorizer.get_feature_names_out()
    found = []
    for number in range(num_clusters):
        inside = numbers == number
        excess = np.asarray(
            weights[inside].mean(axis=0) - weights[~inside].mean(axis=0)
        ).ravel()
        best = np.argsort(-excess, kind="stable")[:_NUM_WORDS]
        found.append(tuple(str(names[each]) for each in best if excess[each] > 0))
    return found


def nearest(
    vectors: FloatArray, others: FloatArray, *, count: int
) -> tuple[IntArray, FloatArray]:
    """The nearest of other vectors by their cosine.

    Args:
      vectors: float [n, hidden].
      others: float [m, hidden], at least `count`.

    Returns:
      int64 [n, count], rows of the others, the nearest first; float32 [n, count], their
      cosines.
    """
    asked = _directions(vectors)
    rows: IntArray = np.zeros((len(asked), 0), np.int64)
    cosines: FloatArray = np.zeros((len(asked), 0), np.float32)
    for start in range(0, len(others), _ROWS_AT_A_TIME):
        part = asked @ _directions(others[start : start + _ROWS_AT_A_TIME]).T
        here = np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)
        rows, cosines = np.hstack([rows, here]), np.hstack([cosines, part])
        # Stable: at a tie the order of the rows.
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
        rows = np.take_along_axis(rows, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return rows, cosines


def _directions(vectors: FloatArray) -> FloatArray:
    values = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12))

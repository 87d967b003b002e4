"""Where errors gather: clusters of texts with more of them, and training texts nearby.

    found = cluster(vectors, texts, seed=0).with_errors(is_error, scores)
    found[0].stands_out, found[0].words
    nearest(error_vectors, train_vectors, count=3)  # rows int64 [m, 3], cosines

All held-out texts are clustered, by vectors that know of no error. Were only the errors
clustered, or did the clusters look for them, each cluster would be full of errors by the
way it was made, and no p-value would mean what it says. As it is, a cluster that has
nothing to do with errors holds a hypergeometric number of them (Fisher's exact test), and
p-values are adjusted for the number of clusters (`comparisons.holm`).

The fine-tuned encoder puts texts where it is unsure between those where it is sure, so a
cluster may err more only because the model doubts there, and says so: beside the errors
stands what the model's own doubts come to.
"""

from __future__ import annotations

import dataclasses
from typing import Sequence

import numpy as np

from trainer.evaluation.comparisons import evenly, holm

# A cluster for every so many texts, at most so many: with fewer texts, or more clusters,
# a cluster whose errors are twice as frequent would not stand out.
TEXTS_PER_CLUSTER = 100
MAX_CLUSTERS = 12
MIN_TEXTS = 2 * TEXTS_PER_CLUSTER
NUM_NEIGHBOURS = 3
_LEVEL = 0.05
# Middles are sought among no more texts; then all are given to the nearest middle.
_MAX_FITTED = 20_000
_NUM_STARTS = 5
_NUM_WORDS = 8
_NUM_ERRORS = 3
_ROWS_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Texts that lie together.

    Attributes:
      rows: int64 [m], the nearest to the middle first.
      num_errors: of them.
      expected_errors: were errors as frequent as among all texts.
      errors_by_scores: the sum of 1 - score.
      p_value: of as many errors or more, adjusted for the number of clusters.
      words: that set its texts apart.
      errors: int64, a few rows that are errors, the nearest to the middle first.
    """

    rows: np.ndarray
    num_errors: int
    expected_errors: float
    errors_by_scores: float
    p_value: float
    words: tuple[str, ...]
    errors: np.ndarray

    @property
    def stands_out(self) -> bool:
        """Whether it errs more than chance explains."""
        return self.p_value < _LEVEL


def num_clusters(num_texts: int) -> int:
    """How many clusters texts are put into; 0: they are too few."""
    if num_texts < MIN_TEXTS:
        return 0
    return min(MAX_CLUSTERS, num_texts // TEXTS_PER_CLUSTER)


@dataclasses.dataclass(frozen=True)
class Clustering:
    """Texts in clusters, whatever a model answers to them.

    Attributes:
      members: of each cluster its rows, int64 [m], the nearest to its middle first.
      words: of each cluster those that set its texts apart.
    """

    members: tuple[np.ndarray, ...]
    words: tuple[tuple[str, ...], ...]

    def with_errors(
        self, is_error: np.ndarray, scores: np.ndarray
    ) -> tuple[Cluster, ...]:
        """All clusters, the least likely by chance first.

        Args:
          is_error: bool [n].
          scores: float [n], how sure the model is.
        """
        p_values = holm([_p_value(is_error, rows) for rows in self.members])
        found = [
            Cluster(
                rows=rows,
                num_errors=int(is_error[rows].sum()),
                expected_errors=float(is_error.mean() * len(rows)),
                errors_by_scores=float((1 - scores[rows]).sum()),
                p_value=p_value,
                words=words,
                errors=rows[is_error[rows]][:_NUM_ERRORS],
            )
            for rows, words, p_value in zip(self.members, self.words, p_values)
        ]
        # At a tie, as of several that do not err more, the higher rate.
        return tuple(
            sorted(found, key=lambda each: (each.p_value, -is_error[each.rows].mean()))
        )


def cluster(vectors: np.ndarray, texts: Sequence[str], *, seed: int) -> Clustering:
    """Puts texts into clusters; into none if they are fewer than `MIN_TEXTS`.

    Args:
      vectors: float [n, hidden].
      texts: n texts, for the words.
      seed: of k-means (Lloyd 1982), on directions from the mean.
    """
    count = num_clusters(len(texts))
    if not count:
        return Clustering((), ())
    middle = vectors.mean(axis=0, dtype=np.float64)
    members = _members(_directions(vectors, middle).astype(np.float32), count, seed)
    numbers = np.empty(len(texts), np.int64)
    for number, rows in enumerate(members):
        numbers[rows] = number
    return Clustering(tuple(members), tuple(_words(texts, numbers, len(members))))


def nearest(
    vectors: np.ndarray, among: np.ndarray, *, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of some vectors, by the cosine around their mean.

    Args:
      vectors: float [m, hidden].
      among: float [n, hidden], n at least 1; of them is the mean.

    Returns:
      Rows of `among`, int64 [m, min(count, n)], the nearest first, at a tie the first;
      their cosines, float64, in [-1, 1].
    """
    middle = among.mean(axis=0, dtype=np.float64)
    asked = _directions(vectors, middle)
    blocks = [
        asked @ _directions(among[start : start + _ROWS_AT_ONCE], middle).T
        for start in range(0, len(among), _ROWS_AT_ONCE)
    ]
    cosines = np.clip(np.concatenate(blocks, axis=1), -1, 1)
    rows = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(cosines, rows, axis=1)


def _directions(vectors: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """float64 [n, hidden], of length 1, seen from the middle.

    From the origin all vectors of a fine-tuned encoder point the same way, and their
    cosines differ in the fourth digit. What is the middle itself stays zeros.
    """
    wide = vectors - middle
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    result: np.ndarray = wide / np.where(norms > 0, norms, 1)
    return result


def _members(vectors: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """The rows of each cluster, the nearest to its middle first; none is empty."""
    # Heavy, and the report's alone.
    from sklearn.cluster import KMeans

    sample = vectors[evenly(np.arange(len(vectors)), _MAX_FITTED)]
    # Of texts that are all alike there are not so many.
    count = min(count, len(np.unique(sample, axis=0)))
    fitted = KMeans(count, n_init=_NUM_STARTS, random_state=seed).fit(sample)
    numbers = fitted.predict(vectors)
    reach = np.linalg.norm(vectors - fitted.cluster_centers_[numbers], axis=1)
    order = np.argsort(reach, kind="stable")
    members = [order[numbers[order] == number] for number in range(count)]
    return [rows for rows in members if len(rows)]


def _p_value(is_error: np.ndarray, rows: np.ndarray) -> float:
    """How likely as many errors among so many texts, or more, would be by chance."""
    import scipy.stats

    num_errors = int(is_error[rows].sum())
    likely = scipy.stats.hypergeom.sf(
        num_errors - 1, len(is_error), int(is_error.sum()), len(rows)
    )
    return float(min(1.0, likely))


def _words(
    texts: Sequence[str], numbers: np.ndarray, count: int
) -> list[tuple[str, ...]]:
    """The words of each cluster: of the highest mean TF-IDF above that of the rest.

    Args:
      numbers: int64 [n], the cluster of each text.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        token_pattern=r"\w\w+", sublinear_tf=True, min_df=3, dtype=np.float32
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:
        # No word is in three texts.
        return [()] * count
    names = vectorizer.get_feature_names_out()
    total = np.asarray(weights.sum(axis=0), np.float64).ravel()
    found = []
    for number in range(count):
        is_in = numbers == number
        inside = np.asarray(weights[is_in].sum(axis=0), np.float64).ravel()
        num_out = max(int((~is_in).sum()), 1)
        lead = inside / is_in.sum() - (total - inside) / num_out
        best = np.argsort(-lead, kind="stable")[:_NUM_WORDS]
        found.append(tuple(str(names[each]) for each in best if lead[each] > 0))
    return found


def sentence(
    found: Sequence[Cluster], *, num_texts: int, num_errors: int, split: str
) -> str:
    """What the clusters say, in a sentence."""
    if not found:
        return (
            f"{num_texts:,} {split} texts are too few to say where errors gather: it "
            f"takes {MIN_TEXTS}."
        )
    told = [each for each in found if each.stands_out]
    if not told:
        return (
            f"In none of {len(found)} clusters of the {split} texts are errors more "
            "frequent than chance explains."
        )
    texts = sum(len(each.rows) for each in told)
    errors = sum(each.num_errors for each in told)
    clusters = "cluster errs" if len(told) == 1 else "clusters err"
    return (
        f"{len(told)} of {len(found)} {clusters} more than chance explains: "
        f"{texts / num_texts:.0%} of the {split} texts, with {errors / num_errors:.0%} "
        "of the errors."
    )

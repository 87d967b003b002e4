"""Labels that may be wrong: by TF-IDF out of fold, or by a study's probabilities.

noise, suspects = by_tfidf(rows, reviewed=frozenset())
noise, suspects = by_file(rows, "studies/a/out_of_fold.parquet", reviewed=frozenset())

Texts whose label a person has reviewed (`--corrections`) are judged, and not listed
again.
"""

from __future__ import annotations

import logging

import numpy as np

from trainer.baselines import tfidf
from trainer.baselines.examples import Examples
from trainer.data import out_of_fold
from trainer.data.audit.findings import MAX_LISTED, LabelNoise, SuspectLabel
from trainer.data.audit.rows import Rows
from trainer.data.audit.wrong_labels import doubted_labels
from trainer.data.duplicates import first_32_bits
from trainer.data.text_rows import TextRows
from trainer.evaluation import slices
from trainer.tasks.predictions import Predictions

_logger = logging.getLogger(__name__)

_NUM_FOLDS = 5

Suspects = tuple[LabelNoise | None, tuple[SuspectLabel, ...]]


def by_tfidf(rows: Rows, *, reviewed: frozenset[bytes]) -> Suspects:
    """By TF-IDF with logistic regression, whose folds have the copies of a text on one
    side. None where the texts have no words, or all have one label.
    """
    pool = rows.pool
    examples = Examples(
        labels={"train": pool.labels},
        num_classes=len(rows.label_names),
        example_weights=None,
        seed=0,
    )
    if examples.has_one_label:
        return None, ()
    texts = TextRows(pool.texts, np.arange(len(pool)))
    logits = tfidf.out_of_fold(examples, texts, folds(rows))
    if logits is None:
        return None, ()
    judged = np.flatnonzero(np.isfinite(logits).all(axis=1))
    if not len(judged):
        return None, ()
    probabilities = Predictions(logits[judged]).probabilities
    return _suspects(rows, judged, probabilities, tfidf.TITLE, reviewed)


def by_file(rows: Rows, path: str, *, reviewed: frozenset[bytes]) -> Suspects:
    """By the probabilities of another model.

    Raises:
      ValueError: the file is none of this data.
    """
    judged, probabilities = out_of_fold.read(
        path, rows.pool, label_names=rows.label_names, reviewed=reviewed
    )
    return _suspects(rows, judged, probabilities, path, reviewed)


def folds(rows: Rows) -> np.ndarray:
    """int64 [n], 0 to 4, by the hash of each text: the same in whatever order."""
    numbers = rows.pool.text_numbers
    # Of the copies of a text, the one of the least digest names it.
    digests = rows.pool.digests
    order = np.lexsort((first_32_bits(digests), numbers))
    _, first, inverse = np.unique(
        numbers[order], return_index=True, return_inverse=True
    )
    result = np.empty(len(numbers), np.int64)
    hashes = first_32_bits(digests[order[first]], b"audit:") % _NUM_FOLDS
    result[order] = hashes[inverse]
    return result


def _suspects(
    rows: Rows,
    judged: np.ndarray,
    probabilities: np.ndarray,
    model: str,
    reviewed: frozenset[bytes],
) -> Suspects:
    """Of the rows `judged`, int64 [m], and float [m, classes]."""
    labels = rows.pool.labels[judged]
    doubted = doubted_labels(labels, probabilities)
    listed = [
        _suspect(rows, int(judged[n]), int(other), probabilities[n])
        for n, other in zip(doubted.rows, doubted.suggested)
        if rows.pool.digests[judged[n]].tobytes() not in reviewed
    ]
    likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, 0]
    noise = LabelNoise(
        model=model,
        num_texts=len(judged),
        accuracy=float((likeliest == labels).mean()),
        num_suspects=len(listed),
        estimated_share=doubted.estimated_share,
    )
    return noise, tuple(listed[:MAX_LISTED])


def _suspect(
    rows: Rows, row: int, suggested: int, probabilities: np.ndarray
) -> SuspectLabel:
    place = rows.facts(row)
    return SuspectLabel(
        file=place.file,
        line=place.line,
        split=place.split,
        digest=rows.pool.digests[row].tobytes().hex(),
        label=place.label,
        suggested=rows.label_names[suggested],
        score=float(probabilities[rows.pool.labels[row]]),
        suggested_probability=float(probabilities[suggested]),
        text=slices.shorten_middle(rows.text(row)),
    )

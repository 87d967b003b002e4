"""Which texts without labels would teach a model most, and the file to label them in.

    among = candidates(read_files(...), known, flag="unlabelled")
    chosen = choose(vectors, probabilities, answers, among.texts, count=100, seed=0)
    chosen.rows                         # int64 [m], the most telling first
    write("to_label.csv", chosen, among, ...)

BADGE (Ash et al. 2020, "Deep batch active learning by diverse, uncertain gradient lower
bounds"): a text stands for the gradient of its loss by the head's weights, as if the
model's own answer were right. Where the model is sure the gradient is short; where two
texts would teach the same, their gradients are alike. k-means++ (Arthur and Vassilvitskii
2007) draws gradients that are long and far apart: doubt and spread at once, without a
number that weighs the two. The origin counts as drawn before all: a text that teaches
nothing is not asked for, be it ever so unlike the others.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
from typing import Any, Sequence

import numpy as np
import pyarrow as pa

from trainer import storage
from trainer.config import MAX_UNLABELLED_TEXTS
from trainer.data import label_sets, near_duplicates
from trainer.data.duplicates import normalized_digests, numbered
from trainer.data.places import Places
from trainer.data.unlabelled import ReadTexts
from trainer.evaluation.comparisons import evenly
from trainer.messages import message

_logger = logging.getLogger(__name__)

# That of --near_duplicate_similarity.
_SIMILARITY = 0.7
# Squared distances below this share of the longest gradient's are rounding.
_LEAST_DISTANCE = 1e-9
# Beside the columns of text and label.
_COLUMNS = ("rank", "answer", "score", "why", "file", "line")


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Texts worth a label.

    Attributes:
      rows: int64 [m], in the order they were drawn: the most telling first.
      num_near_copies: texts that were drawn and left out, for one that was drawn
        before is nearly the same.
    """

    rows: np.ndarray
    num_near_copies: int


def choose(
    vectors: np.ndarray,
    probabilities: np.ndarray,
    answers: np.ndarray,
    texts: pa.ChunkedArray,
    *,
    count: int,
    seed: int,
) -> Chosen:
    """The texts to label; fewer than asked for where no more differ.

    The gradient of a text is the outer product of its vector and its residual, so a
    distance takes two products of numbers and no matrix a text.

    Args:
      vectors: float [n, hidden], what the head reads.
      probabilities: float [n, classes], calibrated.
      answers: what the model gives, int [n]; or of several labels bool [n, classes].
      texts: large_string [n].
      count: how many, at most.
      seed: of the draws.
    """
    residuals = _residuals(probabilities, answers)
    # Products of float32 would make copies look apart.
    wide = np.asarray(vectors, np.float64)
    lengths = (wide**2).sum(axis=1) * (residuals**2).sum(axis=1)
    least = _LEAST_DISTANCE * lengths.max(initial=0.0)
    distances, generator = lengths.copy(), np.random.default_rng(seed)
    rows: list[int] = []
    seen: list[frozenset[tuple[str, ...]]] = []
    num_near_copies = 0
    while len(rows) < count and distances.max(initial=0.0) > least:
        # The first is the longest, as in the authors' code.
        row = _drawn(distances, generator) if rows else int(np.argsort(-lengths)[0])
        runs = near_duplicates.runs_of(texts[row].as_py())
        if any(_are_alike(runs, other) for other in seen):
            distances[row] = 0.0
            num_near_copies += 1
            continue
        rows.append(row)
        seen.append(runs)
        products = (wide @ wide[row]) * (residuals @ residuals[row])
        new = lengths + lengths[row] - 2 * products
        distances = np.minimum(distances, np.where(new > least, new, 0.0))
    return Chosen(np.array(rows, np.int64), num_near_copies)


def _residuals(probabilities: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The loss's gradient by the logits, were the answers right: float64 [n, classes].

    The same of a cross-entropy over classes and of one for each label by itself.
    """
    residuals = np.array(probabilities, np.float64)
    if answers.ndim == 1:
        residuals[np.arange(len(answers)), answers] -= 1
    else:
        residuals -= answers
    return residuals


def _drawn(distances: np.ndarray, generator: np.random.Generator) -> int:
    """A row, by chance in proportion to its squared distance."""
    ends = np.cumsum(distances)
    # The last end itself is never drawn: random() is below 1.
    return int(np.searchsorted(ends, generator.random() * ends[-1], side="right"))


def _are_alike(first: frozenset[Any], second: frozenset[Any]) -> bool:
    """Whether Jaccard's similarity says so."""
    together = len(first | second)
    return bool(together) and len(first & second) >= _SIMILARITY * together


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Texts to choose from, each once, none with a label.

    Attributes:
      texts: large_string [n].
      places: where each was read.
      num_known: texts that were left out, for they have a label.
    """

    texts: pa.ChunkedArray
    places: Places
    num_known: int


def candidates(
    read: ReadTexts, known: np.ndarray, *, flag: str, limit: int = MAX_UNLABELLED_TEXTS
) -> Candidates:
    """Of the texts that were read those that are worth a question.

    Args:
      known: uint64 [m], as `known_numbers` gives them of texts that have a label.
      flag: that names the files, for messages.
      limit: of more texts so many are taken, evenly over all.

    Raises:
      ValueError: there are none.
    """
    digests = normalized_digests(read.texts)
    rows = np.sort(np.unique(numbered(digests), return_index=True)[1])
    is_known = np.isin(known_numbers(digests), known)
    rows, num_known = rows[~is_known[rows]], int(is_known.sum())
    if not len(rows):
        raise ValueError(
            message(
                f"--{flag} must have texts that are not among the labelled ones",
                received=f"{len(is_known):,} texts, {num_known:,} of them labelled",
                mend="name other files",
            )
        )
    if len(rows) > limit:
        _logger.warning(
            "--%s: of %s texts %s are read, drawn evenly",
            *(flag, f"{len(rows):,}", f"{limit:,}"),
        )
        rows = evenly(rows, limit)
    return Candidates(
        read.texts.take(pa.array(rows)), read.places.take(rows), num_known
    )


def known_numbers(digests: np.ndarray) -> np.ndarray:
    """uint64 [n], of digests of normal forms, uint8 [n, 32]; as exports keep them."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").reshape(-1)


def is_there(place: str) -> bool:
    """Whether the file is there: a person may have written labels into it."""
    return storage.path(place).is_file()


def check_place(place: str) -> None:
    """Tries the file to write before all work.

    Raises:
      ValueError: there is such a file.
      OSError: it cannot be written.
    """
    if is_there(place):
        raise ValueError(
            message(
                "--export_to_label must be a new file, for one that is there may hold "
                "labels of yours",
                received=place,
                mend="give another name, or move the file away",
            )
        )
    storage.check_writable(storage.path(place), is_file=True)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the file is written: so that the flags of these names read it.

    Attributes:
      text_field: of several columns the first has the whole text, for empty ones are
        left out when they are joined.
      label_field: the columns to fill in.
      escape: how quotes are written.
    """

    text_field: str
    label_field: str
    escape: str


def write(
    place: str,
    chosen: Chosen,
    among: Candidates,
    *,
    answers: Sequence[str],
    scores: np.ndarray,
    layout: Layout,
) -> None:
    """Writes the file: UTF-8, a header, and a line a text with an empty label.

    Args:
      among: n texts, of which `chosen` are rows.
      answers: what the model gives each of the n.
      scores: float [n], how sure it is.
    """
    text_names, label_names = _names(layout.text_field), _names(layout.label_field)
    asked = [*text_names, *label_names]
    is_escaped = layout.escape == "backslash"
    content = io.StringIO()
    writer = csv.DictWriter(
        content,
        [*asked, *(name for name in _COLUMNS if name not in asked)],
        extrasaction="ignore",
        lineterminator="\n",
        doublequote=not is_escaped,
        escapechar="\\" if is_escaped else None,
    )
    writer.writeheader()
    doubts = _doubts_in_words(scores, chosen.rows)
    for rank, (row, why) in enumerate(zip(chosen.rows.tolist(), doubts), 1):
        file, line = among.places.of(row)
        told = (rank, answers[row], f"{scores[row]:.4f}", why, file, line)
        writer.writerow(
            {
                **dict(zip(_COLUMNS, told, strict=True)),
                **dict.fromkeys(asked, ""),
                text_names[0]: among.texts[row].as_py(),
            }
        )
    storage.write_text(storage.path(place), content.getvalue())


def _names(field: str) -> Sequence[str]:
    return [name.strip() for name in field.split(",")]


def choose_and_write(
    place: str,
    among: Candidates,
    vectors: np.ndarray,
    probabilities: np.ndarray,
    answers: np.ndarray,
    scores: np.ndarray,
    *,
    count: int,
    seed: int,
    label_names: Sequence[str],
    layout: Layout,
) -> None:
    """The whole: chooses, writes, and says what the file holds; as of `choose`."""
    chosen = choose(
        vectors, probabilities, answers, among.texts, count=count, seed=seed
    )
    write(
        place,
        chosen,
        among,
        answers=[label_sets.name_of(each, label_names) for each in answers],
        scores=scores,
        layout=layout,
    )
    num_chosen = len(chosen.rows)
    _logger.info(
        "%s: %s texts to label%s. Left out: %s that have a label, %s near-copies of "
        "chosen ones. Fill in the column %s, and give the file to --dataset",
        place,
        f"{num_chosen:,}",
        "" if num_chosen == count else f" of {count:,} asked for: no more differ",
        f"{among.num_known:,}",
        f"{chosen.num_near_copies:,}",
        layout.label_field,
    )


def _doubts_in_words(scores: np.ndarray, rows: np.ndarray) -> list[str]:
    """For each row how the model's doubt of it stands among all that were read.

    Args:
      scores: float [n], how sure the model is of each text.
      rows: int64 [m].
    """
    count = len(scores)
    num_surer = count - np.searchsorted(np.sort(scores), scores[rows], side="right")
    return [
        f"{scores[row]:.0%} sure; surer of {num:,} of {count:,} texts"
        for row, num in zip(rows, num_surer)
    ]

"""Curves of a classifier on one split, as few points: risk-coverage, ROC, PR.

    curves.of(labels, predictions, label_names=label_names)
    # {"risk_coverage": (Curve(...),), "roc": (...), "precision_recall": (...)}

The points are thinned to what a picture can show; areas are of the whole curves, and
scikit-learn's. Of each class one sort gives all: scikit-learn, asked for each curve,
took seconds for a hundred classes. The pictures are in `figures.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from trainer.evaluation.metrics import ClassPredictions
from trainer.evaluation.schema import Curve

# Above this the classes' curves could not be told apart: their means are drawn.
MAX_CLASSES_SHOWN = 10
MAX_POINTS = 60
_DIGITS = 5
# Above this many pairs of a text and a class, scores are rounded to float32.
_MAX_SORTED = 2_000_000
_MAX_DISTINCT = 1_000_000

_Array = npt.NDArray[Any]


def of(
    labels: npt.ArrayLike, predictions: ClassPredictions, *, label_names: Sequence[str]
) -> dict[str, tuple[Curve, ...]]:
    """The curves of a split, by their names in `schema.SplitEvaluation`.

    Args:
      labels: int [n], n at least 1.
      predictions: of the same n examples.
      label_names: the classes' names, in order.
    """
    label_array = np.asarray(labels)
    predicted = predictions.predicted
    confidence = predictions.probabilities[np.arange(len(label_array)), predicted]
    return {
        "risk_coverage": _risk_curves(predicted != label_array, confidence),
        **_of_rankings(
            _rankings(label_array, predictions, label_names), len(label_names)
        ),
    }


def of_label_sets(
    labels: _Array,
    log_odds: _Array,
    is_wrong: _Array,
    confidence: _Array,
    *,
    label_names: Sequence[str],
) -> dict[str, tuple[Curve, ...]]:
    """The same where texts have any number of labels, each of which has a curve.

    Args:
      labels: bool [n, labels], n at least 1.
      log_odds: float [n, labels].
      is_wrong: bool [n], whether any of a text's labels is wrong.
      confidence: float [n], how sure the model is of all of them.
    """
    columns = zip(label_names, labels.T, log_odds.T)
    rankings = [(name, has, scores) for name, has, scores in columns]
    if len(label_names) > MAX_CLASSES_SHOWN:
        rankings = [("micro", labels.ravel(), log_odds.ravel()), *rankings]
    return {
        "risk_coverage": _risk_curves(is_wrong, confidence),
        **_of_rankings(rankings, len(label_names)),
    }


def _of_rankings(
    rankings: Iterable[tuple[str, _Array, _Array]], num_classes: int
) -> dict[str, tuple[Curve, ...]]:
    shapes: dict[str, Callable[[str, _Array, _Array], _Points]] = {
        "roc": _roc,
        "precision_recall": _precision_recall,
    }
    # What of all classes together is drawn first, and what of each.
    has_means = num_classes > MAX_CLASSES_SHOWN
    drawn: dict[str, list[Curve]] = {kind: [] for kind in shapes}
    for name, is_positive, scores in rankings:
        # Without a text of either side there is nothing to tell apart.
        if is_positive.any() and not is_positive.all():
            counts, hits = _from_the_top(is_positive, scores)
            for kind, points_of in shapes.items():
                points = points_of(name, counts, hits)
                is_of_mean = has_means and len(drawn[kind]) > 0
                drawn[kind].append(_on_grid(points) if is_of_mean else _thinned(points))
    return {
        kind: (
            tuple([*curves[:1], _macro(curves[1:])] if has_means else curves)
            if len(curves) > 1
            else tuple(curves)
        )
        for kind, curves in drawn.items()
    }


def _rankings(
    labels: _Array, predictions: ClassPredictions, label_names: Sequence[str]
) -> Iterator[tuple[str, _Array, _Array]]:
    """(name, which examples are positive, their scores) of each curve.

    Of more than `MAX_CLASSES_SHOWN` classes the first is "micro", which ranks all pairs
    of a text and a class by the class's probability.
    """
    num_classes = len(label_names)
    if num_classes > MAX_CLASSES_SHOWN:
        is_label = labels[:, np.newaxis] == np.arange(num_classes)
        # Logarithms stay apart where float32 rounds probabilities to 1.
        is_many = is_label.size > _MAX_SORTED
        scores = predictions.log_probabilities if is_many else predictions.probabilities
        yield "micro", is_label.ravel(), scores.ravel()
    # Of two classes, one curve says all.
    for index in range(1 if num_classes == 2 else 0, num_classes):
        yield label_names[index], labels == index, _scores(predictions, index)


def _scores(predictions: ClassPredictions, index: int) -> _Array:
    """What a class is ranked by, float64 [n]."""
    if predictions.probabilities.shape[1] > MAX_CLASSES_SHOWN:
        # Log-odds of a class cost as much as there are classes.
        return predictions.probabilities[:, index]
    return predictions.log_odds(index)


def _from_the_top(is_hit: _Array, scores: _Array) -> tuple[_Array, _Array]:
    """How many examples score at least so much, and how many of them are hits.

    Examples of one score are taken together: no threshold parts them.

    Returns:
      Two of int64 [distinct scores], the highest score first.
    """
    if len(scores) > _MAX_SORTED:
        return _from_the_top_of_many(is_hit, scores)
    order = np.argsort(-scores)
    is_last_of_score = np.append(np.diff(scores[order]) < 0, True)
    counts = np.flatnonzero(is_last_of_score) + 1
    return counts, np.cumsum(is_hit[order])[is_last_of_score]


def _from_the_top_of_many(is_hit: _Array, scores: _Array) -> tuple[_Array, _Array]:
    """The same of scores rounded to float32, in a third of the memory and of the time.

    Floats of one sign are in the order of their bits, read as whole numbers. So a score
    and, behind it, whether it is a hit, are one number, and sorted as one. Of more than
    a million different scores, neighbours are taken together, a million times.
    """
    below_top = np.empty(len(scores), np.float32)
    np.subtract(scores.max(), scores, out=below_top, casting="same_kind")
    keys = below_top.view(np.uint32)
    # No distance is negative: the bit of the sign is free.
    keys <<= 1
    keys |= is_hit
    keys.sort()
    positions = np.linspace(0, len(keys) - 1, _MAX_DISTINCT).astype(np.int64)
    counts = np.unique(np.searchsorted(keys, keys[positions] | 1, side="right"))
    is_hit_ranked = (keys & 1).astype(np.uint8)
    starts = np.append(0, counts[:-1])
    return counts, np.add.reduceat(is_hit_ranked, starts, dtype=np.int64).cumsum()


class _Points(NamedTuple):
    """A curve of all its points, up to a million: as arrays.

    Attributes:
      x, y: float64 [points].
      area: of the whole curve.
    """

    name: str
    x: _Array
    y: _Array
    area: float


def _roc(name: str, counts: _Array, hits: _Array) -> _Points:
    false_alarms = counts - hits
    x = np.append(0.0, false_alarms / false_alarms[-1])
    y = np.append(0.0, hits / hits[-1])
    return _Points(name, x, y, np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def _precision_recall(name: str, counts: _Array, hits: _Array) -> _Points:
    """The area is the average precision, which does not interpolate."""
    recall, precision = hits / hits[-1], hits / counts
    area = np.sum(np.diff(recall, prepend=0.0) * precision)
    # By convention it starts at a precision of 1 (scikit-learn's, too).
    return _Points(name, np.append(0.0, recall), np.append(1.0, precision), area)


def _risk_curves(is_wrong: _Array, confidence: _Array) -> tuple[Curve, ...]:
    """Errors among the surest texts, by how many these are (El-Yaniv and Wiener 2010)."""
    counts, num_errors = _from_the_top(is_wrong, confidence)
    risk = num_errors / counts
    # The mean risk over the texts, each taken to be the last one that is answered.
    area = np.average(risk, weights=np.diff(counts, prepend=0))
    return (_thinned(_Points("all texts", counts / len(is_wrong), risk, area)),)


def _on_grid(points: _Points) -> Curve:
    """At equal steps of x, not rounded: what means are made of."""
    x = np.linspace(0.0, 1.0, MAX_POINTS)
    return _curve(points.name, x, np.interp(x, points.x, points.y), area=points.area)


def _macro(curves: Sequence[Curve]) -> Curve:
    """The mean of some curves, each of which is `_on_grid`."""
    x = np.linspace(0.0, 1.0, MAX_POINTS)
    y = np.mean([curve.y for curve in curves], axis=0)
    area = np.mean([curve.area for curve in curves])
    return _thinned(_Points("macro", x, y, round(float(area), _DIGITS)))


def _curve(name: str, x: _Array, y: _Array, *, area: float) -> Curve:
    return Curve(
        name=name, x=tuple(x.tolist()), y=tuple(y.tolist()), area=round(float(area), 5)
    )


def _thinned(points: _Points) -> Curve:
    """At most `MAX_POINTS` of the points, evenly along the curve, with both ends."""
    x, y = points.x, points.y
    if len(x) > MAX_POINTS:
        # By the way along it, so that steep parts keep their shape.
        way = np.cumsum(
            np.abs(np.diff(x, prepend=0)) + np.abs(np.diff(y, prepend=y[0]))
        )
        wanted = np.linspace(way[0], way[-1], MAX_POINTS - 1)[:-1]
        chosen = np.unique(np.append(np.searchsorted(way, wanted), len(x) - 1))
        x, y = x[chosen], y[chosen]
    return _curve(
        points.name, np.round(x, _DIGITS), np.round(y, _DIGITS), area=points.area
    )

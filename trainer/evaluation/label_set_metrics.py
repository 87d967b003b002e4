"""How good a model is that gives each text any number of labels.

    values = label_set_metrics(
        labels, chosen, decisions, log_odds, label_names=("fear", "joy"),
        thresholds=(0.5, 0.3), num_resamples=1000, seed=0,
    )
    values["accuracy"], values["f1_macro"], values["label_sets"].hamming_loss

A text with its labels is so many decisions, one a label, whether the text has it. Loss,
Brier score, calibration and MCC are of all decisions together, where `metrics.py` has
them; F1, precision and recall are of each label, and means over the labels; accuracy is
of whole texts, all of whose labels must be right (subset accuracy). Definitions are those
of Tsoumakas and Katakis 2007, "Multi-label classification: an overview", and of
scikit-learn. What is undefined is None, never NaN.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from trainer.evaluation import intervals, large_sets, metrics, schema
from trainer.evaluation.classwise import NUM_CALIBRATION_BINS
from trainer.evaluation.metrics import ClassPredictions
from trainer.messages import message

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
# Rows of texts → what a model says of them, see `label_set_metrics`.
Decisions = Callable[[slice], ClassPredictions]

_ENDS = (0.025, 0.975)
# As in `metrics.py`: of fewer texts, and of labels with fewer, too little is known.
_MIN_EXAMPLES = 10
_MIN_LABEL_EXAMPLES = 5
_MAX_RARE_LABELS = 0.05
# Rows of the table of labels that stand together.
_MAX_PAIRS = 20
_AVERAGES = ("precision_macro", "recall_macro", "f1_macro")


def label_set_metrics(
    labels: npt.ArrayLike,
    chosen: npt.ArrayLike,
    decisions: Decisions,
    log_odds: npt.ArrayLike,
    *,
    label_names: Sequence[str],
    thresholds: Sequence[float],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    """All metrics of one split, by the names of `schema.SplitEvaluation`.

    Macro averages run over the labels that occur, in the data or among those chosen; an
    average precision or area over those that some texts have and some lack.

    Args:
      labels: number [n, labels], n at least 1: 1 where a text has the label.
      chosen: bool [n, labels], what the model gives.
      decisions: what the model says of some of the texts, as examples of two classes,
        text after text and label after label: 1, the text has the label.
      log_odds: float [n, labels], what labels are ranked by.
      thresholds: of the labels' probabilities.
      num_resamples: bootstrap resamples behind each interval; 0: no intervals.
      seed: of the resamples.

    Raises:
      ValueError: for no texts, or arrays that do not fit together.
    """
    has, given, scores = (
        np.asarray(labels) > 0,
        np.asarray(chosen),
        np.asarray(log_odds),
    )
    _check(has, given, scores, label_names)
    of_decisions = metrics.calibration_values(_parts(has, decisions))
    sums = _counts(has, given)
    per_label = _per_label(has, given, scores, label_names, thresholds)
    is_right = (has == given).all(axis=1)
    common = has.mean(axis=0) > 0.5
    values = {name: float(value[0]) for name, value in _of_sums(*sums).items()}
    return {
        "num_examples": len(has),
        **of_decisions,
        "mcc": values["mcc"],
        "accuracy": float(is_right.mean()),
        **{name: values[name] for name in _AVERAGES},
        "roc_auc": _mean([each.roc_auc for each in per_label.values()]),
        "majority_class_accuracy": float((has == common).all(axis=1).mean()),
        "per_class": {name: _class_scores(row) for name, row in per_label.items()},
        "confusion_matrix": (),
        "confidence_intervals_95": _intervals(
            has, given, decisions, scores, num_resamples=num_resamples, seed=seed
        ),
        "label_sets": _label_sets(has, given, values, per_label),
    }


def _parts(
    has: BoolArray, decisions: Decisions
) -> Iterator[tuple[npt.NDArray[np.int64], ClassPredictions]]:
    """Labels of decisions and what the model says, of all texts, few at a time."""
    for rows in large_sets.blocks(*has.shape):
        yield has[rows].ravel().astype(np.int64), decisions(rows)


def _class_scores(row: schema.LabelScores) -> schema.ClassScores:
    """What it has of a class's."""
    return schema.ClassScores(
        precision=row.precision, recall=row.recall, f1=row.f1, support=row.support
    )


def _label_sets(
    has: BoolArray,
    given: BoolArray,
    values: Mapping[str, float],
    per_label: Mapping[str, schema.LabelScores],
) -> schema.LabelSetScores:
    return schema.LabelSetScores(
        f1_micro=values["f1_micro"],
        hamming_loss=values["hamming_loss"],
        average_precision=_mean([e.average_precision for e in per_label.values()]),
        num_without_label=int((~has.any(axis=1)).sum()),
        num_given_none=int((~given.any(axis=1)).sum()),
        mean_num_labels=float(has.sum(axis=1).mean()),
        mean_num_given=float(given.sum(axis=1).mean()),
        per_label=per_label,
        together=_together(has, given, list(per_label)),
    )


def _check(
    has: BoolArray, given: npt.NDArray[Any], scores: Any, names: Sequence[str]
) -> None:
    wanted = (len(has), len(names))
    shapes = [has.shape, given.shape, scores.shape]
    if not len(has) or shapes != [wanted] * 3:
        raise ValueError(
            message(
                f"labels, chosen and log_odds must have the shape {list(wanted)}: a row a "
                "text, of at least one, and a column a label",
                received=", ".join(map(str, shapes)),
            )
        )


def _per_label(
    has: BoolArray,
    given: BoolArray,
    scores: FloatArray,
    label_names: Sequence[str],
    thresholds: Sequence[float],
) -> dict[str, schema.LabelScores]:
    result = {}
    for index, name in enumerate(label_names):
        true, chosen = has[:, index], given[:, index]
        right, support, count = (int(m.sum()) for m in (true & chosen, true, chosen))
        area = None
        if 0 < support < len(true):
            area = _area([(true, scores[:, index])], len(true))
        result[name] = schema.LabelScores(
            support=support,
            num_given=count,
            precision=right / count if count else None,
            recall=right / support if support else None,
            f1=2 * right / (support + count) if support + count else None,
            threshold=float(thresholds[index]),
            roc_auc=area.value if area else None,
            roc_auc_interval_95=intervals.area_interval(area) if area else None,
            average_precision=_average_precision(true, scores[:, index]),
        )
    return result


def _average_precision(has: BoolArray, scores: FloatArray) -> float | None:
    """None where all texts have the label, or none has."""
    if has.all() or not has.any():
        return None
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(has, scores))


def _area(parts: Sequence[tuple[BoolArray, FloatArray]], count: int) -> intervals.Area:
    return intervals.mean_area(parts, degrees_of_freedom=max(count - 2, 1))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _together(
    has: BoolArray, given: BoolArray, label_names: Sequence[str]
) -> tuple[schema.LabelPair, ...]:
    """The pairs of labels that most texts have both of."""
    counts, counts_given = _both_counts(has), _both_counts(given)
    found = [
        (int(counts[one, other]), one, other)
        for one, other in zip(*np.nonzero(np.triu(counts, 1)))
    ]
    found.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return tuple(
        schema.LabelPair(
            label=label_names[one],
            other=label_names[other],
            num_texts=count,
            num_expected=float(counts[one, one] * counts[other, other] / len(has)),
            num_given=int(counts_given[one, other]),
        )
        for count, one, other in found[:_MAX_PAIRS]
    )


def _both_counts(has: BoolArray) -> npt.NDArray[np.int64]:
    """How many texts have both labels of each pair, int64 [labels, labels]."""
    counts = np.zeros((has.shape[1], has.shape[1]))
    for rows in large_sets.blocks(*has.shape):
        # Float64, which BLAS multiplies; exact up to 2^53.
        some = has[rows].astype(np.float64)
        counts += some.T @ some
    return counts.astype(np.int64)


# Sums over texts, and what follows from them.


def _counts(
    has: BoolArray, given: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """`_sums` of one resample, in which each text counts once."""
    right, true, chosen = (
        each.sum(axis=0, keepdims=True).astype(np.float64)
        for each in (has & given, has, given)
    )
    return np.array([float(len(has))]), right, true, chosen


class _Drawn(NamedTuple):
    """What is resampled: texts, or groups of them.

    Attributes:
      sizes: texts of each, float64 [drawn]; None: one.
      right, true, given: of them that rightly get, have and get each label, float64
        [drawn, labels].
      columns: sums of `metrics.example_columns`, each a mean over a text's labels,
        float64 [drawn, means + bins].
    """

    sizes: FloatArray | None
    right: FloatArray
    true: FloatArray
    given: FloatArray
    columns: FloatArray

    def sums(
        self, weights: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Weights of the texts, [resamples]; and of those that rightly get, have and
        get each label, [resamples, labels]."""
        right, true, given = (
            weights @ each for each in (self.right, self.true, self.given)
        )
        return self.total(weights), right, true, given

    def total(self, weights: FloatArray) -> FloatArray:
        """Weights of the texts, [resamples]."""
        return weights.sum(axis=1) if self.sizes is None else weights @ self.sizes


def _drawn(has: BoolArray, given: BoolArray, decisions: Decisions) -> _Drawn:
    """Each text by itself."""
    right, true, chosen = (
        each.astype(np.float64) for each in (has & given, has, given)
    )
    columns = _columns(has, decisions(slice(None)))
    return _Drawn(None, right, true, chosen, columns)


def _drawn_of_many(
    has: BoolArray, given: BoolArray, decisions: Decisions, seed: int
) -> _Drawn:
    """Groups of texts, see `large_sets.py`."""
    groups = large_sets.deal(len(has), seed=seed)
    columns: FloatArray = np.zeros(())
    num_columns = len(metrics.MEANS) + NUM_CALIBRATION_BINS
    for rows in large_sets.blocks(len(has), has.shape[1] * num_columns):
        some = _columns(has[rows], decisions(rows))
        numbers = groups.numbers[rows]
        columns = columns + np.stack(
            [
                np.bincount(numbers, column, minlength=large_sets.NUM_GROUPS)
                for column in some.T
            ],
            axis=1,
        )
    right, true, chosen = (
        np.stack([groups.counts(column) for column in each.T], axis=1)
        for each in (has & given, has, given)
    )
    return _Drawn(groups.sizes, right, true, chosen, columns)


def _columns(has: BoolArray, decisions: ClassPredictions) -> FloatArray:
    """Of each text, float64 [n, means + bins], see `_Drawn.columns`."""
    columns = metrics.example_columns(has.ravel().astype(np.int64), decisions)
    return np.asarray(columns.reshape(*has.shape, -1).mean(axis=1))


def _of_sums(
    total: FloatArray, right: FloatArray, true: FloatArray, given: FloatArray
) -> dict[str, FloatArray]:
    """Metric → float64 [resamples]."""
    averages = metrics.macro_averages(right, true, given)
    all_right, all_true, all_given = (each.sum(axis=1) for each in (right, true, given))
    num_decisions = total * right.shape[1]
    spread = (
        all_true * (num_decisions - all_true) * all_given * (num_decisions - all_given)
    )
    covariance = num_decisions * all_right - all_true * all_given
    return {
        **averages,
        "f1_micro": metrics.ratio(2 * all_right, all_true + all_given),
        "hamming_loss": (all_true + all_given - 2 * all_right) / num_decisions,
        "mcc": metrics.ratio(covariance, np.sqrt(np.maximum(spread, 0.0))),
    }


# Intervals.


def _intervals(
    has: BoolArray,
    given: BoolArray,
    decisions: Decisions,
    scores: FloatArray,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, list[float]]:
    """95% intervals, by the Bayesian bootstrap over texts but for two of them.

    Accuracy has Wilson's interval, the mean area `intervals.area_interval`. For the others
    texts get random weights, as in `metrics.bootstrap_intervals`: the decisions on a text
    stay together, for they may err together. Percentiles are taken twice: of the texts as
    they are, and with some right and some wrong answers more for each label, so that an
    interval never closes where no error was seen.

    Absent, because the texts say too little: all but accuracy, for fewer than 10 texts;
    the means over labels, if fewer than 5 texts have the label, or lack it, for more than
    a 20th of the labels.

    How often they hold, in percent of 300 samples (so that 95 may be seen as 92); four
    labels, probabilities that are right, 200 resamples. Absent ones are not counted.

        n    precision recall F1 micro F1 Hamming MCC AUC loss Brier calibration accuracy
        20       97      96   94    97      99    99  97   92   92       97        95
        50       97      97   97    97      98    97  97   95   95       98        96
        100      97      93   95    95      97    97  96   93   93       97        95
        500      94      94   96    96      93    93  94   92   92       97        94
    """
    if not num_resamples:
        return {}
    is_right = (has == given).all(axis=1)
    found = {"accuracy": intervals.wilson_interval(int(is_right.sum()), len(has))}
    if len(has) >= _MIN_EXAMPLES:
        rare = np.minimum(has.sum(axis=0), (~has).sum(axis=0)) < _MIN_LABEL_EXAMPLES
        resampled = _resampled_intervals(has, given, decisions, num_resamples, seed)
        is_known = rare.mean() <= _MAX_RARE_LABELS
        found |= {
            name: ends
            for name, ends in resampled.items()
            if is_known or name not in _AVERAGES
        }
        parts = [
            (has[:, index], scores[:, index])
            for index in range(has.shape[1])
            if 0 < has[:, index].sum() < len(has)
        ]
        if is_known and parts:
            found["roc_auc"] = intervals.area_interval(_area(parts, len(has)))
    return {name: list(ends) for name, ends in found.items()}


def _resampled_intervals(
    has: BoolArray,
    given: BoolArray,
    decisions: Decisions,
    num_resamples: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    num_labels = has.shape[1]
    if large_sets.is_large(len(has)):
        drawn = _drawn_of_many(has, given, decisions, seed)
    else:
        drawn = _drawn(has, given, decisions)
    generator = np.random.default_rng(seed)
    num_drawn = len(drawn.columns)
    weights = generator.gamma(
        metrics.weight_shape(num_drawn), size=(num_resamples, num_drawn)
    )
    sums = drawn.sums(weights)
    # Of two kinds of decisions, as of two classes there: one right and one wrong of each.
    more_right, more_wrong = generator.gamma(0.5, size=(2, num_resamples, num_labels))
    total, right, true, chosen = sums
    smoothed = _of_sums(
        total + (more_right + more_wrong).mean(axis=1),
        right + more_right,
        true + more_right + more_wrong,
        chosen + more_right + more_wrong,
    )
    plain = _of_sums(*sums)
    found = {
        name: _outer_ends(plain[name], smoothed[name])
        for name in (*_AVERAGES, "f1_micro", "hamming_loss", "mcc")
    }
    shares = weights / drawn.total(weights)[:, np.newaxis]
    means = shares @ drawn.columns
    for column, name in enumerate(metrics.MEANS):
        found[name] = _outer_ends(means[:, column])
    gaps = drawn.columns[:, len(metrics.MEANS) :]
    sizes = np.ones(num_drawn) if drawn.sizes is None else drawn.sizes
    mean_gaps = gaps.sum(axis=0) / len(has)
    observed = float(np.abs(mean_gaps).sum())
    of_resamples = np.abs(shares @ gaps).sum(axis=1)
    # A mean of absolute values grows with noise: what noise alone gives is taken off.
    about_mean = gaps - sizes[:, np.newaxis] * mean_gaps
    noise = np.abs(shares @ about_mean).sum(axis=1)
    high = float(np.quantile(of_resamples, _ENDS[1])) - max(
        0.0, float(of_resamples.mean()) - observed
    )
    low = observed - float(np.quantile(noise, _ENDS[1]))
    found["expected_calibration_error"] = max(0.0, low), max(observed, high)
    return found


def _outer_ends(*resamples: FloatArray) -> tuple[float, float]:
    """The outer ones of the ends of several percentile intervals."""
    ends = np.quantile(resamples, _ENDS, axis=1)
    return float(ends[0].min()), float(ends[1].max())

"""Two models' values of the same texts, and what follows from them.

    contest = judge(labels, challenger, champion, margin=0.05, slices=slices)
    contest.verdict, contest.mae_difference, contest.slices

As `contest.py` has it of labels, by how far a value is off: of two errors the smaller is
the better, and a text counts by how much nearer one of the two is. What would be borne is
a share of the champion's mean absolute error, for no absolute loss fits every unit.
"""

from __future__ import annotations

import math
from typing import Mapping, Sequence

import numpy as np
import scipy.special

from trainer.champion.contest import masks
from trainer.champion.verdicts import settling_quantiles
from trainer.evaluation import comparisons, number_metrics
from trainer.evaluation.number_metrics import Difference
from trainer.evaluation.number_worth import number
from trainer.evaluation.schema import NumberContest, NumberSliceContest, Verdict

NUM_RESAMPLES = 1000
_LEVEL = 0.05
# Of the texts by their numbers.
_NUM_RANGES = 4


def judge(
    labels: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    margin: float,
    is_same: bool = False,
    num_left_out: int = 0,
    slices: Mapping[str, Sequence[str]] | None = None,
    min_slice: int = 50,
) -> NumberContest:
    """Compares.

    Args:
      labels: float [n], the right numbers, n at least 1; likewise what each model
        answers.
      margin: a loss that would be borne, as a share of the champion's mean absolute
        error.
      is_same: whether both gave the same values to all texts.
      slices: by name, the value of each text; "": it has none.
      min_slice: texts that a slice needs to hold the challenger back.
    """
    first, second = (_errors(labels, values) for values in (challenger, champion))
    paired = _mean(first - second)
    intervals = [
        number_metrics.number_metrics(
            labels, values, num_resamples=NUM_RESAMPLES, seed=0
        ).intervals.get("mae")
        for values in (challenger, champion)
    ]
    verdict = verdict_on(first, second, margin=margin, is_same=is_same)
    return NumberContest(
        verdict=verdict,
        margin=margin,
        num_texts=len(labels),
        num_left_out=num_left_out,
        champion=float(second.mean()),
        champion_interval_95=intervals[1],
        challenger=float(first.mean()),
        challenger_interval_95=intervals[0],
        mae_difference=paired.value,
        interval_95=paired.interval,
        num_champion_nearer=int((second < first).sum()),
        num_challenger_nearer=int((first < second).sum()),
        texts_to_settle=(
            texts_to_settle(first, second, margin=margin)
            if verdict == "undecided"
            else None
        ),
        slices=tuple(_slice_contests(first, second, slices or {}, min_slice)),
    )


def verdict_on(
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    margin: float,
    is_same: bool = False,
) -> Verdict:
    """What the 95% intervals say of the challenger.

    Args:
      challenger, champion: float [n], how far each is off.
      margin: as of `judge`.
      is_same: likewise.

    Returns:
      "better": the interval of the difference lies below 0. "not_worse": that of the
      challenger's errors less 1 + margin times the champion's does, so that the loss is
      shown to be smaller than the margin. "worse": the interval of the difference lies
      above 0. "undecided": none of these, as of fewer than 10 texts.
    """
    if is_same:
        return "not_worse"
    plain = _mean(challenger - champion)
    if plain.verdict == "better":
        return "better"
    # One interval of both means: the champion's error is itself known by these texts.
    if _mean(challenger - (1 + margin) * champion).verdict == "better":
        return "not_worse"
    return "worse" if plain.verdict == "worse" else "undecided"


def texts_to_settle(
    challenger: np.ndarray, champion: np.ndarray, *, margin: float
) -> int | None:
    """How many texts in all would end "undecided", in four of five repetitions.

    If mean and variance of the differences were as seen: (z_0.975 + z_0.8)² variance /
    mean² texts, as of Student's test of one mean (Cohen 1988, "Statistical Power Analysis
    for the Behavioral Sciences", 2), for "not worse" or for "worse", whichever takes
    fewer.

    Args:
      challenger, champion: float [n], how far each is off.

    Returns:
      None: no number would do, or one text alone says nothing of a variance.
    """
    count = len(challenger)
    if count < 2:
        return None
    needed = [
        math.ceil(settling_quantiles() ** 2 * each.var(ddof=1) / each.mean() ** 2)
        for each in ((1 + margin) * champion - challenger, challenger - champion)
        if each.mean() > 0
    ]
    # What was seen by chance may promise less than there is already.
    return max(min(needed), count + 1) if needed else None


def ranges(labels: np.ndarray) -> list[str]:
    """A name for the range that each number is in: four of about equal size.

    Args:
      labels: float [n], n at least 1.
    """
    shares = np.linspace(0, 1, _NUM_RANGES + 1)[1:-1]
    edges = np.unique(np.quantile(labels, shares, method="inverted_cdf"))
    # Nothing lies above the highest number.
    edges = edges[edges < labels.max()]
    shown = [number(edge) for edge in edges.tolist()]
    if not shown:
        return [""] * len(labels)
    names = [
        f"up to {shown[0]}",
        *(f"above {low} to {high}" for low, high in zip(shown, shown[1:])),
        f"above {shown[-1]}",
    ]
    return [names[place] for place in np.searchsorted(edges, labels).tolist()]


def _slice_contests(
    challenger: np.ndarray,
    champion: np.ndarray,
    slices: Mapping[str, Sequence[str]],
    min_slice: int,
) -> list[NumberSliceContest]:
    named = list(masks(slices))
    differences = [(challenger - champion)[mask] for _, _, mask in named]
    adjusted = comparisons.holm([_paired_p(each) for each in differences])
    found = []
    for (name, value, mask), each, p_value in zip(named, differences, adjusted):
        paired = _mean(each)
        is_worse = p_value < _LEVEL and paired.value > 0
        found.append(
            NumberSliceContest(
                slice=name,
                value=value,
                num_texts=len(each),
                champion=float(champion[mask].mean()),
                challenger=float(challenger[mask].mean()),
                mae_difference=paired.value,
                interval_95=paired.interval,
                p_holm=p_value,
                is_worse=is_worse,
                blocks=is_worse and len(each) >= min_slice,
            )
        )
    return sorted(found, key=lambda each: -each.mae_difference)


def _paired_p(differences: np.ndarray) -> float:
    """Of Student's paired test, two-sided; 1 of one text, or where none differs.

    The bootstrap of a thousand resamples has no p small enough for Holm's correction.
    """
    count = len(differences)
    if count < 2 or not differences.any():
        return 1.0
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    if not error:
        return 0.0
    score = abs(float(differences.mean())) / error
    return float(2 * scipy.special.stdtr(count - 1, -score))


def _errors(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    errors: np.ndarray = np.abs(
        np.asarray(values, np.float64) - np.asarray(labels, np.float64)
    )
    return errors


def _mean(differences: np.ndarray) -> Difference:
    return number_metrics.mean_difference(
        differences, num_resamples=NUM_RESAMPLES, seed=0
    )

"""Which of some models to take: all that are not shown to be worse, and the cheapest.

    standings = rank(candidates, metric="accuracy")
    standings[0].is_as_good, standings[0].behind_interval_95
    winner = cheapest(candidates, standings)

All models answered the same held-out texts. The best on these is ahead by luck, too, so
whoever is not shown to be worse than it counts as good, and of these the cheapest is
taken. Two models are compared on each text (paired), which tells them apart with far
fewer texts than two intervals side by side.

The interval of a difference:

- of accuracy, one seed: Tango's score interval (`evaluation/comparisons.py`);
- else, of numbers too: normal, from resampled texts (Efron 1979), the same for both models. Over
  several seeds, so much wider as first weights and order move the difference: with the
  mean square that is left when models and seeds are each taken out (the residual of a
  two-way layout, pooled over all models, for two or three seeds alone say too little),
  by Student's distribution. It holds some of the texts' chance, too: it is rather wide.

No correction is made for how many models are compared with the best: that would make
the set of the good ones larger still.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from typing import Any, Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import scipy.special

from trainer import storage
from trainer.evaluation import comparisons
from trainer.evaluation.metrics import label_metrics
from trainer.evaluation.schema import Interval
from trainer.studies import scores

FloatArray = npt.NDArray[np.float64]

_NUM_RESAMPLES = 1000
_RESAMPLES_AT_ONCE = 50
# A probability may be rounded to 0.
LEAST_PROBABILITY = 1e-12


@dataclasses.dataclass(frozen=True)
class Answered:
    """What one run's model answered of the held-out texts.

    Attributes:
      texts: where each was read.
      labels: int64 [n], the right ones; of numbers float64 [n].
      predicted: int64 [n], or float64 [n].
      losses: float64 [n], in nats; of numbers the squared distances.
    """

    texts: Sequence[tuple[str, int]]
    labels: npt.NDArray[np.int64] | FloatArray
    predicted: npt.NDArray[np.int64] | FloatArray
    losses: FloatArray


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model to choose, trained once or with several seeds.

    Attributes:
      answered: by each seed, the same seeds in the same order as of the others.
      cost: what decides among the good ones, the least first.
    """

    answered: tuple[Answered, ...]
    cost: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """A candidate beside the best one.

    Attributes:
      value: of the metric, the mean over the seeds.
      std: over the seeds (n - 1); None of a single one.
      behind: the best one's value minus this one's, turned so that above 0 is worse.
      behind_interval_95: None of the best one itself.
      is_as_good: whether it is not shown to be worse.
    """

    value: float
    std: float | None
    behind: float
    behind_interval_95: Interval | None
    is_as_good: bool


def rank(
    candidates: Sequence[Candidate], *, metric: str, num_classes: int
) -> tuple[Standing, ...]:
    """Each candidate's standing, in their order.

    Args:
      metric: "accuracy", "f1_macro", "mcc" or "loss"; of numbers "mae" or "rmse".
      num_classes: of labels.
    """
    sign = scores.METRICS[metric].sign
    values = np.array(
        [
            [_metric(each, metric, num_classes) for each in candidate.answered]
            for candidate in candidates
        ]
    )
    means = values.mean(axis=1)
    best = max(range(len(means)), key=lambda index: sign * means[index])
    spread = _seed_spread(values)
    resampled = None
    if metric != "accuracy" or values.shape[1] > 1:
        resampled = _resampled(candidates, metric, num_classes)
    standings = []
    for index, candidate in enumerate(candidates):
        behind = float(sign * (means[best] - means[index]))
        interval: Interval | None = None
        if index != best:
            interval = (
                _tango(candidates[best].answered[0], candidate.answered[0])
                if resampled is None
                else _normal(
                    behind,
                    float((resampled[:, best] - resampled[:, index]).std()),
                    spread,
                )
            )
        seeds = values[index].tolist()
        standings.append(
            Standing(
                value=float(means[index]),
                std=statistics.stdev(seeds) if len(seeds) > 1 else None,
                behind=behind,
                behind_interval_95=interval,
                is_as_good=interval is None or interval[0] <= 0,
            )
        )
    return tuple(standings)


def cheapest(candidates: Sequence[Candidate], standings: Sequence[Standing]) -> int:
    """The position of the one to take: as good as the best, and the cheapest of these.

    Of equal costs the best is taken, of equal values the first.
    """
    good = [index for index, each in enumerate(standings) if each.is_as_good]
    return min(
        good, key=lambda index: (candidates[index].cost, standings[index].behind, index)
    )


def read(place: storage.Path, label_names: Sequence[str]) -> Answered:
    """The answers that a run left, `predictions/validation.jsonl`."""
    numbers = {name: number for number, name in enumerate(label_names)}
    # Not `splitlines`: a label may hold what Unicode takes for the end of a line.
    lines = place.read_text(encoding="utf-8").split("\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    labels = np.array([numbers[row["label"]] for row in rows], np.int64)
    probabilities = np.array([row["probabilities"] for row in rows])
    right = probabilities[np.arange(len(rows)), labels]
    return Answered(
        texts=[(row["file"], row["line"]) for row in rows],
        labels=labels,
        predicted=np.array([numbers[row["answer"]] for row in rows], np.int64),
        losses=-np.log(np.maximum(right, LEAST_PROBABILITY)),
    )


def of_numbers(
    texts: Sequence[tuple[str, int]], numbers: FloatArray, values: FloatArray
) -> Answered:
    """A model's values of texts that have numbers: float64 [n] each."""
    return Answered(
        texts=texts,
        labels=numbers,
        predicted=values,
        losses=np.asarray((values - numbers) ** 2),
    )


def _metric(answered: Answered, metric: str, num_classes: int) -> float:
    ones = np.ones([1, len(answered.labels)])
    return float(_metrics(ones, answered, metric, num_classes)[0])


def _metrics(
    weights: FloatArray, answered: Answered, metric: str, num_classes: int
) -> FloatArray:
    """float64 [resamples]."""
    if metric in _MEANS:
        total = np.maximum(weights.sum(axis=1), 1)
        means = weights @ _MEANS[metric](answered) / total
        return np.asarray(np.sqrt(means) if metric == "rmse" else means)
    labels, predicted = (
        each.astype(np.int64) for each in (answered.labels, answered.predicted)
    )
    return label_metrics(weights, labels, predicted, num_classes=num_classes)[metric]


# What each text gives to a metric that is a mean over the texts, or its root.
_MEANS: Mapping[str, Callable[[Answered], FloatArray]] = {
    "loss": lambda answered: answered.losses,
    "mae": lambda answered: np.abs(answered.predicted - answered.labels),
    "rmse": lambda answered: answered.losses,
}


def _resampled(
    candidates: Sequence[Candidate], metric: str, num_classes: int
) -> FloatArray:
    """Means over the seeds on texts drawn anew: float64 [resamples, candidates]."""
    runs = [run for candidate in candidates for run in candidate.answered]
    # Where --num_eval_examples draws texts by the seed, each seed has its own.
    number = {
        text: row
        for row, text in enumerate(sorted({text for run in runs for text in run.texts}))
    }
    rows = [np.array([number[text] for text in run.texts]) for run in runs]
    generator = np.random.default_rng(0)
    shares = np.full(len(number), 1 / len(number))
    parts = []
    for _ in range(_NUM_RESAMPLES // _RESAMPLES_AT_ONCE):
        drawn = generator.multinomial(len(number), shares, _RESAMPLES_AT_ONCE)
        counts = drawn.astype(np.float64)
        values = [
            _metrics(counts[:, of_run], run, metric, num_classes)
            for run, of_run in zip(runs, rows)
        ]
        shape = (_RESAMPLES_AT_ONCE, len(candidates), -1)
        parts.append(np.stack(values, axis=1).reshape(shape).mean(axis=2))
    return np.concatenate(parts)


def _seed_spread(values: FloatArray) -> float:
    """Half the 95% interval of a difference of means, for the seeds: 0 of a single one.

    values: [candidates, seeds].
    """
    num_candidates, num_seeds = values.shape
    freedom = (num_candidates - 1) * (num_seeds - 1)
    if not freedom:
        return 0.0
    residual = (
        values
        - values.mean(axis=0)
        - values.mean(axis=1, keepdims=True)
        + values.mean()
    )
    variance = (residual**2).sum() / freedom
    student = float(scipy.special.stdtrit(freedom, 0.975))
    return student * math.sqrt(2 * variance / num_seeds)


def _normal(behind: float, std: float, spread: float) -> Interval:
    reach = math.hypot(float(scipy.special.ndtri(0.975)) * std, spread)
    return behind - reach, behind + reach


def _tango(best: Answered, other: Answered) -> Interval:
    paired = comparisons.compare(best.labels, best.predicted, other.predicted)
    return paired.interval_95

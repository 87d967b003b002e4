"""What logits of one label a text say: probabilities, and the likeliest label.

    predictions = Predictions(logits)
    predictions.probabilities, predictions.predicted

NumPy and SciPy alone, so that reports are made without TensorFlow. The label that an
export gives, thresholds included, is in `single_label_decision.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.special

from trainer.evaluation.large_sets import blocks, by_row
from trainer.messages import message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Probabilities, float64 [..., classes], of logits [..., classes]."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(scipy.special.softmax(values, axis=-1))


def _log_softmax(logits: npt.NDArray[Any]) -> FloatArray:
    values = np.asarray(logits, np.float64)
    return np.asarray(scipy.special.log_softmax(values, axis=1))


class Predictions:
    """What logits say of n examples: `metrics.ClassPredictions`.

    Args:
      logits: float [n, classes].
      predicted: int [n], the labels that are given. None: the class of the highest
        logit, at a tie the first.

    Attributes:
      predicted: the same, int64.

    Raises:
      ValueError: a logit is not finite.
    """

    def __init__(
        self, logits: npt.ArrayLike, *, predicted: IntArray | None = None
    ) -> None:
        # Of their own dtype: of a million texts float64 is made block by block.
        self._logits = np.asarray(logits)
        is_finite = np.isfinite(self._logits).all(axis=-1)
        if not is_finite.all():
            first = int(np.flatnonzero(~is_finite)[0])
            raise ValueError(
                message(
                    "logits must be finite: the training has diverged, or the weights "
                    "are damaged",
                    received=f"{self._logits[first]} for example {first}",
                )
            )
        self.predicted: IntArray = self._top if predicted is None else predicted

    @functools.cached_property
    def probabilities(self) -> FloatArray:
        """float64 [n, classes]."""
        return by_row(softmax, self._logits)

    @functools.cached_property
    def log_probabilities(self) -> FloatArray:
        """float64 [n, classes]."""
        return by_row(_log_softmax, self._logits)

    @functools.cached_property
    def runner_up(self) -> IntArray:
        """int64 [n], the most probable class besides the predicted one."""
        result = np.empty(len(self._logits), np.int64)
        for rows in blocks(*self._logits.shape):
            others = self._logits[rows].astype(np.float64)
            others[np.arange(len(others)), self.predicted[rows]] = -np.inf
            result[rows] = others.argmax(axis=-1)
        return result

    def log_odds(self, index: int) -> FloatArray:
        """log(p / (1 - p)) of class `index`, float64 [n]."""
        log_probability = self.log_probabilities[:, index]
        # 1 - p is exact where p is at most a half; else the others are added up.
        half = np.minimum(log_probability, np.log(0.5))
        log_others = np.where(
            self._top == index, self._log_others_of_top, np.log1p(-np.exp(half))
        )
        return np.asarray(log_probability - log_others)

    @functools.cached_property
    def _top(self) -> IntArray:
        """The class of the highest logit, int64 [n]."""
        return np.asarray(self._logits.argmax(axis=-1))

    @functools.cached_property
    def _log_others_of_top(self) -> FloatArray:
        """The logarithm of all probabilities but the highest, float64 [n]."""
        result = np.empty(len(self._logits))
        for rows in blocks(*self._logits.shape):
            others = self.log_probabilities[rows].copy()
            others[np.arange(len(others)), self._top[rows]] = -np.inf
            result[rows] = scipy.special.logsumexp(others, axis=1)
        return result

"""What logits of one label a text say: probabilities, and the likeliest label.

    predictions = Predictions(logits)
    predictions.probabilities, predictions.predicted

NumPy and SciPy alone, so that reports are made without TensorFlow. The label that an
export gives, thresholds included, is in `single_label_decision.py`.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.special

from trainer.messages import message

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def softmax(logits: npt.ArrayLike) -> FloatArray:
    """Probabilities, float64 [..., classes], of logits [..., classes]."""
    values = np.asarray(logits, dtype=np.float64)
    return np.asarray(scipy.special.softmax(values, axis=-1))


class Predictions:
    """What logits say of n examples: `metrics.ClassPredictions`.

    Args:
      logits: float [n, classes].

    Attributes:
      predicted: int64 [n], the class of the highest logit, at a tie the first.

    Raises:
      ValueError: a logit is not finite.
    """

    def __init__(self, logits: npt.ArrayLike) -> None:
        self._logits = np.asarray(logits, np.float64)
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
        self.predicted: IntArray = self._logits.argmax(axis=-1)

    @functools.cached_property
    def probabilities(self) -> FloatArray:
        """float64 [n, classes]."""
        return softmax(self._logits)

    @functools.cached_property
    def log_probabilities(self) -> FloatArray:
        """float64 [n, classes]."""
        return np.asarray(scipy.special.log_softmax(self._logits, axis=1))

    def log_odds(self, index: int) -> FloatArray:
        """log(p / (1 - p)) of class `index`, float64 [n]."""
        others = np.delete(self._logits, index, axis=1)
        log_others = scipy.special.logsumexp(others, axis=1)
        return np.asarray(self._logits[:, index] - log_others)

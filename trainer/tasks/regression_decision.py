"""From a model's output to a number in the user's unit, with an interval about it.

    decision = fit(labels, logits, scale=scale, coverage=0.9, split="validation")
    decision.labels(logits)             # float64 [n]: the values
    decision.half_width                 # of the interval; None: it could not be fitted

A model is trained on how many spreads a number is from the mean of the training texts'
numbers (`Scale`), so its output, one logit a text, has neither unit nor size. The value
is `logit * spread + mean`.

The interval is split conformal (Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in
a Random World", 4.1; Lei et al. 2018, "Distribution-Free Predictive Inference for
Regression", algorithm 2): of n held-out texts, the distances between value and truth are
ranked, and the ceil((n + 1) * coverage)-th is the half of its width. It holds the number
of a new text in at least that share of the cases, whatever the model and the numbers are,
if the new text is drawn as the held-out ones were. It is as wide for each text, and its
promise is of all texts together, not of each kind of them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.evaluation.intervals import conformal_rank, exact, wilson_interval
from trainer.messages import message
from trainer.tasks.task import Constants, Outputs, Scale

FloatArray = npt.NDArray[np.float64]


def scale_of(values: npt.ArrayLike) -> Scale:
    """Of the training texts' numbers.

    Raises:
      ValueError: they are all the same.
    """
    numbers = np.asarray(values, np.float64)
    mean = float(numbers.mean())
    spread = float(np.sqrt(np.mean((numbers - mean) ** 2)))
    # Of equal numbers, rounding may leave a spread of its own.
    if not spread or numbers.min() == numbers.max():
        raise ValueError(
            message(
                "the training texts of --task=regression must have different numbers",
                received=f"{numbers[0]:g} for all {len(numbers)}",
                mend="give texts with other numbers, or more of them "
                "(--num_train_examples)",
            )
        )
    return Scale(mean, spread)


@dataclasses.dataclass(frozen=True)
class RegressionDecision:
    """How a value, and an interval, follow from a logit.

    Attributes:
      scale: of the training texts' numbers.
      half_width: of the interval, in the user's unit; None: there is no interval.
      coverage: share of new texts whose number it is to hold.
      num_texts: that it was fitted on; 0: here on none.
      split: of these; "given": by --given_decision; None: it was not fitted.
      warnings: sentences on what was asked for and cannot be given.
    """

    scale: Scale = Scale()
    half_width: float | None = None
    coverage: float = 0.9
    num_texts: int = 0
    split: str | None = None
    warnings: tuple[str, ...] = ()

    gives_numbers = True
    temperature = 1.0

    def answers(
        self, logits: np.ndarray, *, label_names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """`value` of each row, and `low` and `high` where there is an interval."""
        del label_names
        return [{"value": value, **self._ends(value)} for value in self._list(logits)]

    def _list(self, logits: np.ndarray) -> list[float]:
        values: list[float] = self.labels(logits).tolist()
        return values

    def _ends(self, value: float) -> dict[str, float]:
        if self.half_width is None:
            return {}
        return {"low": value - self.half_width, "high": value + self.half_width}

    def probabilities(self, logits: np.ndarray) -> FloatArray:
        """Float64 [n, 1]: numbers have no probability, and this is their value."""
        return self.scale.values(logits)

    def calibrated(self, logits: np.ndarray) -> np.ndarray:
        """The logits."""
        return logits

    def labels(self, logits: np.ndarray) -> FloatArray:
        """Float64 [n], the values."""
        return self.choose(self.probabilities(logits))

    def choose(self, probabilities: np.ndarray) -> FloatArray:
        """Float64 [n], of what `probabilities` gives."""
        return np.asarray(probabilities, np.float64)[:, 0]

    def scores(self, probabilities: np.ndarray) -> FloatArray:
        """NaN [n]: no number is just right."""
        return np.full(len(probabilities), np.nan)

    def margins(self, probabilities: np.ndarray) -> FloatArray:
        """NaN [n]: there is no border between numbers."""
        return np.full(len(probabilities), np.nan)

    def labels_told(
        self, outputs: Mapping[str, Any], *, label_names: Sequence[str]
    ) -> FloatArray:
        """Float64 [n], the values that a signature's outputs tell."""
        del label_names
        return np.asarray(outputs["value"], np.float64)

    def is_tie(
        self, probabilities: np.ndarray, *, rounding: float
    ) -> npt.NDArray[np.bool_]:
        """Bool [n], True: any rounding gives another number, by that much."""
        del rounding
        return np.full(len(probabilities), True)

    def ensemble_logits(self, logits: Sequence[np.ndarray]) -> np.ndarray:
        """The mean of several models', which have one scale; of one, its own."""
        return logits[0] if len(logits) == 1 else np.mean(logits, axis=0)

    def quality(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
        """How often the interval holds the number, on a split; ready for JSON."""
        facts: dict[str, Any] = {"num_examples": len(labels)}
        if self.half_width is None:
            return facts
        distances = np.abs(np.asarray(labels, np.float64) - self.labels(logits))
        num_held = int((distances <= self.half_width).sum())
        return {
            **facts,
            "num_held": num_held,
            "coverage": num_held / len(labels),
            "coverage_interval_95": wilson_interval(num_held, len(labels)),
        }

    def facts(self) -> dict[str, Any]:
        """The decision itself, ready for JSON."""
        return {
            "mean": self.scale.mean,
            "spread": self.scale.spread,
            "half_width": self.half_width,
            "coverage": self.coverage,
            "num_texts": self.num_texts,
            "split": self.split,
            "warnings": list(self.warnings),
        }

    def constants(self) -> Constants:
        """What the graph holds as variables, by name."""
        found = {"value_mean": self.scale.mean, "value_spread": self.scale.spread}
        if self.half_width is not None:
            found["interval_half_width"] = self.half_width
        return found

    def graph_probabilities(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """`probabilities` in the graph: float32 [batch, 1]."""
        logits = tf.cast(logits, tf.float32)
        return logits * constants["value_spread"] + constants["value_mean"]

    def graph_ensemble_logits(self, logits: Sequence[tf.Tensor]) -> tf.Tensor:
        """`ensemble_logits` in the graph: float32 [batch, 1]."""
        return logits[0] if len(logits) == 1 else tf.add_n(logits) / len(logits)

    def graph_chosen(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """Int64 [batch], 0: there is one output."""
        del constants
        return tf.zeros(tf.shape(logits)[:1], tf.int64)

    def graph_contrast(
        self, logits: tf.Tensor, constants: Mapping[str, Any], *, chosen: tf.Tensor
    ) -> tf.Tensor:
        """Float32 [batch], the value."""
        del chosen
        return self.graph_probabilities(logits, constants)[:, 0]

    def graph_outputs(
        self,
        logits: tf.Tensor,
        constants: Mapping[str, Any],
        *,
        label_names: tf.Tensor,
    ) -> Outputs:
        """`value`, and `low` and `high` where there is an interval: float32 [batch]."""
        del label_names
        value = self.graph_probabilities(logits, constants)[:, 0]
        if self.half_width is None:
            return {"value": value}
        reach = constants["interval_half_width"]
        return {"value": value, "low": value - reach, "high": value + reach}


def fit(
    labels: npt.ArrayLike,
    logits: np.ndarray,
    *,
    scale: Scale,
    coverage: float,
    split: str,
) -> RegressionDecision:
    """With the interval that held-out texts give; a warning where they are too few.

    Args:
      labels: float [n], the numbers of these texts.
      logits: float [n, 1].
      coverage: in (0, 1).
      split: what the texts are called.
    """
    decision = RegressionDecision(scale=scale, coverage=coverage, split=split)
    numbers = np.asarray(labels, np.float64)
    distances = np.abs(numbers - decision.labels(logits))
    half_width = conformal_half_width(distances, coverage=coverage)
    decision = dataclasses.replace(
        decision, half_width=half_width, num_texts=len(numbers)
    )
    if half_width is not None:
        return decision
    needed = num_texts_needed(coverage)
    warning = message(
        f"an interval of --interval_coverage={coverage:g} takes at least {needed} "
        f"{split} texts",
        received=f"{len(numbers)}, so the model gives values without an interval",
        mend="hold out more texts (a smaller --validation_one_in), or ask for less",
    )
    return dataclasses.replace(decision, warnings=(warning,))


def conformal_half_width(distances: FloatArray, *, coverage: float) -> float | None:
    """The ceil((n + 1) * coverage)-th smallest distance; None: there are not so many.

    With n + 1 texts drawn alike, the rank of the new one's distance among all is any of
    1 to n + 1 with the same chance, so that it is among the first k in k / (n + 1) of the
    cases, at least. With n in the place of n + 1 it would be too few.

    Args:
      distances: float64 [n], not negative.
      coverage: in (0, 1).
    """
    rank = conformal_rank(len(distances), coverage=coverage)
    if rank > len(distances):
        return None
    return float(np.partition(distances, rank - 1)[rank - 1])


def num_texts_needed(coverage: float) -> int:
    """The least number of texts that an interval of this coverage can be fitted on."""
    share = exact(coverage)
    return math.ceil(share / (1 - share))

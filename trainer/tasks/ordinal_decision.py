"""The label of a text where labels have an order: the median of their probabilities.

    decision = fit(labels, logits, target_accuracy=0.95)
    decision.labels(logits)             # the least off in expectation
    decision.positions                  # (1.0, 2.0, 3.0): of stars their numbers

Of all answers the median has the least expected distance, in steps, and the most
probable one the least chance of an error. Temperature and abstaining are as those of
`single_label_decision.py`; thresholds there are none.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data import label_order
from trainer.messages import message
from trainer.tasks import single_label_decision
from trainer.tasks.single_label_decision import Decision
from trainer.tasks.task import Outputs

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class OrdinalDecision(Decision):
    """A decision that goes by the order of the labels; its thresholds are not looked at."""

    def choose(self, probabilities: npt.ArrayLike) -> IntArray:
        """Int64 [n], the medians: the first class up to which a half is reached."""
        cumulated = np.asarray(probabilities, np.float64).cumsum(axis=-1)
        chosen: IntArray = (cumulated[..., :-1] < 0.5).sum(axis=-1)
        return chosen

    def margins(self, probabilities: npt.ArrayLike) -> FloatArray:
        """Float64 [n], how far the nearest cumulated probability is from a half."""
        cumulated = np.asarray(probabilities, np.float64).cumsum(axis=-1)
        return np.asarray(np.abs(cumulated[..., :-1] - 0.5).min(axis=-1))

    def is_tie(
        self, probabilities: npt.ArrayLike, *, rounding: float
    ) -> npt.NDArray[np.bool_]:
        """Bool [n], whether probabilities off by `rounding` may give another label."""
        # So many of them are added up at most.
        reach = rounding * np.asarray(probabilities).shape[-1]
        return np.asarray(self.margins(probabilities) <= reach)

    def answers(
        self, logits: npt.ArrayLike, *, label_names: Sequence[str]
    ) -> list[dict[str, Any]]:
        """As of one label without an order, and `expected`, see `graph_outputs`."""
        places = np.array(values_of(label_names))
        return [
            {**answer, "expected": float(places @ answer["probabilities"])}
            for answer in super().answers(logits, label_names=label_names)
        ]

    def graph_chosen(
        self, logits: tf.Tensor, constants: Mapping[str, Any]
    ) -> tf.Tensor:
        """`labels` in the graph: int64 [batch]."""
        probabilities = self.graph_probabilities(logits, constants)
        cumulated = tf.cumsum(probabilities, axis=-1)[:, :-1]
        return tf.reduce_sum(tf.cast(cumulated < 0.5, tf.int64), axis=-1)

    def graph_outputs(
        self,
        logits: tf.Tensor,
        constants: Mapping[str, Any],
        *,
        label_names: tf.Tensor,
    ) -> Outputs:
        """As of one label without an order; and `expected`: float32 [batch], the mean of
        the labels under their probabilities, of labels that are no numbers of their
        positions from 0."""
        outputs = super().graph_outputs(logits, constants, label_names=label_names)
        names = [name.decode() for name in tf.get_static_value(label_names).tolist()]
        places = tf.constant(values_of(names), tf.float32)
        expected = tf.linalg.matvec(outputs["probabilities"], places)
        return {**outputs, "expected": expected}


def values_of(label_names: Sequence[str]) -> list[float]:
    """The numbers that labels are, or their positions from 0."""
    found = label_order.numbers(label_names)
    return list(map(float, range(len(label_names)))) if found is None else found


def plain(num_classes: int) -> OrdinalDecision:
    """No temperature, the median, never abstaining."""
    return _ordered(single_label_decision.plain(num_classes))


def given(numbers: Sequence[float], *, num_classes: int) -> OrdinalDecision:
    """See `single_label_decision.given`.

    Raises:
      ValueError: the thresholds are not equal: a median has none.
    """
    decision = single_label_decision.given(numbers, num_classes=num_classes)
    if max(decision.thresholds) - min(decision.thresholds) > 1e-6:
        raise ValueError(
            message(
                "--given_decision of --task=ordinal must have equal thresholds: the "
                "answer is the median, which has none",
                received=", ".join(map(str, decision.thresholds)),
                mend=f"give {1 / num_classes:.6g} for each of the {num_classes}",
            )
        )
    return _ordered(decision)


def fit(
    labels: npt.ArrayLike,
    logits: npt.ArrayLike,
    *,
    calibrate: bool,
    target_accuracy: float,
    split: str,
) -> OrdinalDecision:
    """Fits temperature and abstaining, as asked for; see `single_label_decision.fit`."""
    decision = _ordered(
        single_label_decision.fit(labels, logits, calibrate=calibrate, split=split)
    )
    if target_accuracy > 0:
        decision = single_label_decision.with_abstaining(
            decision,
            np.asarray(labels),
            np.asarray(logits, np.float64),
            target_accuracy,
        )
    return decision


def _ordered(decision: Decision) -> OrdinalDecision:
    fields = dataclasses.fields(decision)
    return OrdinalDecision(
        **{each.name: getattr(decision, each.name) for each in fields}
    )

"""How probabilities become an answer: temperature, thresholds, abstaining."""

from __future__ import annotations

import dataclasses
from typing import Mapping

from trainer.evaluation.schema.aliases import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationQuality:
    """How far probabilities are from the truth; loss in nats."""

    expected_calibration_error: float
    loss: float
    brier_score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelQuality:
    """How good the labels are that are given to all texts."""

    accuracy: float
    f1_macro: float
    mcc: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionQuality:
    """What the decision of the exported model gives on one split.

    Attributes:
      before: of the logits as they were trained.
      after: of the logits divided by the temperature.
      equal_thresholds: of the most probable labels.
      thresholds: of the labels with the thresholds.
      accuracy: with the thresholds, over all texts.
      coverage: the fraction of the texts that the model does not abstain from.
      accuracy_of_covered: None if it abstains from all.
      accuracy_of_covered_interval_95: likewise.
      accuracy_of_abstained: None if it abstains from none.
    """

    num_examples: int
    before: CalibrationQuality
    after: CalibrationQuality
    equal_thresholds: LabelQuality
    thresholds: LabelQuality
    accuracy: float
    coverage: float
    accuracy_of_covered: float | None
    accuracy_of_covered_interval_95: Interval | None
    accuracy_of_abstained: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionFacts:
    """How the exported model gets from logits to its answer.

    Attributes:
      temperature: what the logits are divided by; 1.0 if it was not fitted.
      thresholds: one a label, which sum to 1; where a text may have several labels, each
        in (0, 1) by itself.
      abstain_below: the score below which the model abstains; 0.0: never.
      split: the split all of it was fitted on; None: it was not fitted.
      warnings: sentences on what was asked for and cannot be given.
      quality: by held-out split; empty if no texts were held out.
    """

    temperature: float
    thresholds: tuple[float, ...]
    abstain_below: float
    split: str | None
    warnings: tuple[str, ...] = ()
    quality: Mapping[str, DecisionQuality]

"""Simpler models on the same texts, and the trained one beside them."""

from __future__ import annotations

import dataclasses
from typing import Literal, Mapping

from trainer.evaluation.schema.aliases import Interval
from trainer.evaluation.schema.scores import OrdinalScores


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineScores:
    """How good a simple model is on one split; as in `SplitEvaluation`."""

    num_examples: int
    loss: float
    accuracy: float
    f1_macro: float
    mcc: float
    roc_auc: float | None
    brier_score: float
    expected_calibration_error: float
    confidence_intervals_95: Mapping[str, Interval]
    ordinal: OrdinalScores | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """A simple model, trained on the same texts and measured on the same splits.

    Attributes:
      title: its name within a sentence: "TF-IDF with logistic regression".
      validation: None: there is no such split.
      test: the same.
      secs: from texts (or token ids) to its answers, all of its work together.
      peak_memory_bytes: the most that its work held beside what the run held.
      num_features: that it reads of a text at most; None: it reads none.
      settings: what was chosen, such as the strength of regularisation, and how.
    """

    title: str
    validation: BaselineScores | None
    test: BaselineScores | None
    secs: float
    peak_memory_bytes: int | None
    num_features: int | None
    settings: Mapping[str, float | int | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A text that one of two models answers right, and the other wrong.

    Attributes:
      text: shortened in its middle if it is long.
      label: the name of the label that the data gives.
      model: the name of the label that the fine-tuned model gives.
      baseline: the name of the label that the baseline gives.
      file: where the text was read.
      line: in the file, from 1.
    """

    text: str
    label: str
    model: str
    baseline: str
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The fine-tuned model beside a baseline, on the same held-out texts.

    Attributes:
      split: "test", or "validation" where there is no test split.
      num_examples: texts that both answered.
      difference: of accuracies, fine-tuned minus baseline.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided (1 where no text tells them apart).
      num_discordant: texts on which exactly one of the two is right.
      num_only_model_right: of these.
      num_only_baseline_right: of these.
      verdict: "better" or "worse" where the interval is on one side of 0.
      mae_difference: of mean distances in steps, fine-tuned minus baseline: below 0 it
        is nearer; None where labels have no order.
      mae_difference_interval_95: paired by text.
      cost_ratio: seconds of fine-tuning by seconds of the baseline.
      only_model_right: some of these texts, at most ten, evenly over the split.
      only_baseline_right: the same.
    """

    split: str
    num_examples: int
    difference: float
    interval_95: Interval
    mcnemar_p: float
    num_discordant: int
    num_only_model_right: int
    num_only_baseline_right: int
    verdict: Literal["better", "not_shown", "worse"]
    cost_ratio: float | None
    only_model_right: tuple[Disagreement, ...]
    only_baseline_right: tuple[Disagreement, ...]
    mae_difference: float | None = None
    mae_difference_interval_95: Interval | None = None

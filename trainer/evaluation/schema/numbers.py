"""The report of a run with --task=regression: what report.json holds, key by key.

Distances, values and intervals are in the unit of the user's numbers; where a loss is
named, it is in squared spreads of the training texts' numbers.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Literal, Mapping

from trainer import json_text
from trainer.evaluation.schema.aliases import Config, Environment, Interval
from trainer.evaluation.schema.data import DataFacts
from trainer.evaluation.schema.export import ExportFacts
from trainer.evaluation.schema.kept import Kept
from trainer.evaluation.schema.number_contest import NumberChallenge
from trainer.evaluation.schema.reading import from_mapping
from trainer.evaluation.schema.report import Commands, Doubt, Paths
from trainer.evaluation.schema.training import (
    PretrainingFacts,
    StartFacts,
    Timing,
    TrainingFacts,
    TrainRecord,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberLengthBin:
    """The texts of one range of lengths, in tokens before truncation.

    Attributes:
      name: the range for people, "129 to 256".
      is_truncated: whether these texts are longer than what the model reads.
      count: how many texts, at least one.
      mae: their mean absolute error.
    """

    name: str
    is_truncated: bool
    count: int
    mae: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FarValue:
    """A text whose value is far from its number.

    Attributes:
      text: shortened in its middle if it is long.
      label: the number that the data gives.
      value: the number that the model gives.
      length: in tokens, before truncation.
      file: where the text was read, as of `ConfidentError`.
      line: likewise.
    """

    text: str
    label: float
    value: float
    length: int
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberScores:
    """How far values are from numbers, on one split; see `number_metrics.py`.

    Attributes:
      num_examples: how many texts, at least one.
      loss: mean squared distance, in squared spreads of the training texts' numbers.
      mae: mean absolute error; likewise rmse, and the median.
      r2: None of fewer than 3 texts, and of numbers that are all the same.
      spearman: None there, and where all values are the same.
      pearson: likewise.
      confidence_intervals_95: by the name of the metric; of fewer than 10 texts none.
    """

    num_examples: int
    loss: float
    mae: float
    rmse: float
    r2: float | None
    spearman: float | None
    pearson: float | None
    median_absolute_error: float
    confidence_intervals_95: Mapping[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberEvaluation(NumberScores):
    """How good the model is on one split.

    Attributes:
      mean: of the numbers.
      spread: their standard deviation.
      by_length: shortest first; bins without a text are left out.
      farthest: at most ten texts, the farthest first.
      points: true number and value of texts all over the split, at most 2,000.
    """

    mean: float
    spread: float
    by_length: tuple[NumberLengthBin, ...] = ()
    farthest: tuple[FarValue, ...] = ()
    points: tuple[tuple[float, float], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberPrediction:
    """What the model says of one text.

    Attributes:
      low, high: the ends of the interval; None where none was fitted.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberSample:
    """A text, predicted before and after fine-tuning.

    Attributes:
      text: shortened in its middle if it is a long one of the data.
      before: None if the start weights were not evaluated.
      label: its number in the data; None: it is not of the data.
      why: how it came to be shown: by --sample_texts, or drawn from the held-out texts.
    """

    text: str
    before: NumberPrediction | None
    after: NumberPrediction
    label: float | None
    why: Literal["given", "lowest", "in the middle", "highest"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntervalQuality:
    """How often the interval holds the number, on one split.

    Attributes:
      num_held: texts whose number it holds; None, as the following, where there is no
        interval.
      coverage: the share of these.
      coverage_interval_95: Wilson's.
    """

    num_examples: int
    num_held: int | None = None
    coverage: float | None = None
    coverage_interval_95: Interval | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberDecision:
    """How the exported model gets from its output to a value and an interval.

    Attributes:
      mean: of the training texts' numbers: what an output of 0 stands for.
      spread: what an output of 1 adds.
      half_width: of the interval; None: there is none.
      coverage: the share of new texts whose number it is to hold.
      num_texts: that it was fitted on; 0: on none of this run.
      split: of these; "given": by --given_decision; None: it was not fitted.
      warnings: sentences on what was asked for and cannot be given.
      quality: by held-out split; empty if no texts were held out.
    """

    mean: float
    spread: float
    half_width: float | None
    coverage: float
    num_texts: int
    split: str | None
    warnings: tuple[str, ...] = ()
    quality: Mapping[str, IntervalQuality]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberBaseline:
    """A simple model, trained on the same texts; as of `BaselineFacts`."""

    title: str
    validation: NumberScores | None
    test: NumberScores | None
    secs: float
    peak_memory_bytes: int | None
    num_features: int | None
    settings: Mapping[str, float | int | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberComparison:
    """The fine-tuned model beside a baseline, on the same held-out texts.

    Attributes:
      split: "test", or "validation" where there is no test split.
      num_examples: texts that both answered.
      mae_difference: of mean absolute errors, fine-tuned minus baseline: below 0 it is
        nearer.
      interval_95: of the difference, by the bootstrap paired by text; None of fewer than
        10 texts, and without resamples.
      verdict: "better" or "worse" where the interval is on one side of 0.
      num_nearer: texts on which the fine-tuned model is nearer.
      cost_ratio: seconds of fine-tuning by seconds of the baseline.
    """

    split: str
    num_examples: int
    mae_difference: float
    interval_95: Interval | None
    verdict: Literal["better", "not_shown", "worse"]
    num_nearer: int
    cost_ratio: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberRecord:
    """An evaluation on the way, on the validation split."""

    step: int
    loss: float
    mae: float
    rmse: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberHistory:
    """The course of training, by step; as of `History`."""

    train: tuple[TrainRecord, ...]
    validation: tuple[NumberRecord, ...]
    pretraining: tuple[TrainRecord, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumbersReport:
    """All that report.json holds; what is not said here is as of `Report`."""

    title: str
    status: Literal["complete", "unpublished"]
    before: Mapping[str, NumberEvaluation]
    after: Mapping[str, NumberEvaluation]
    samples: tuple[NumberSample, ...]
    decision: NumberDecision
    training: TrainingFacts
    data: DataFacts
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    config: Config
    environment: Environment
    history: NumberHistory
    timing: Timing
    export: ExportFacts | None
    paths: Paths
    commands: Commands
    settings_in_words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, NumberBaseline] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, NumberComparison] = dataclasses.field(
        default_factory=dict
    )
    worth: str | None = None
    pretraining: PretrainingFacts | None = None
    kept: Kept | None = None
    champion: NumberChallenge | None = None
    start: StartFacts | None = None
    task: Literal["regression"] = "regression"

    def to_json(self) -> str:
        """The content of report.json, a line a value, for people too.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        content = dataclasses.asdict(self)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        return text + "\n"

    @classmethod
    def from_json(cls, text: str) -> NumbersReport:
        """The report that `to_json` wrote.

        Raises:
          ValueError: the text is not such a report.
        """
        return from_mapping(cls, json_text.parse(text))

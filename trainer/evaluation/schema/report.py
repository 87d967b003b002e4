"""The whole report of a run."""

from __future__ import annotations

import dataclasses
import json
from typing import Literal, Mapping

from trainer import json_text
from trainer.evaluation.schema.aliases import Config, Environment
from trainer.evaluation.schema.baselines import BaselineFacts, Comparison
from trainer.evaluation.schema.causes import ErrorCauses
from trainer.evaluation.schema.contest import Challenge
from trainer.evaluation.schema.data import DataFacts
from trainer.evaluation.schema.decision import DecisionFacts
from trainer.evaluation.schema.export import ExportFacts
from trainer.evaluation.schema.groups import Groups
from trainer.evaluation.schema.kept import Kept
from trainer.evaluation.schema.reading import from_mapping
from trainer.evaluation.schema.scores import SplitEvaluation
from trainer.evaluation.schema.texts import Explanation, Sample
from trainer.evaluation.schema.training import (
    History,
    PretrainingFacts,
    StartFacts,
    Timing,
    TrainingFacts,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubt:
    """What makes a result doubtful.

    Attributes:
      kind: one word for programs; `evaluation/doubts.py` has them all.
      message: a sentence with what to do about it.
    """

    kind: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the results lie.

    Attributes:
      report: the page, report.html.
      saved_model: the folder of the exported model; None: there is none yet.
      predictions: the file of the answers to a held-out split, by split.
    """

    report: str
    saved_model: str | None
    predictions: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands to copy.

    Attributes:
      predict: labels the texts of a file with the exported model; None: there is none.
    """

    predict: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that report.json holds.

    Attributes:
      title: of the page, never empty.
      status: "complete"; "unpublished" before the export, and where it is refused.
      before: by held-out split, of the start weights; empty if they were not
        evaluated or no texts were held out.
      after: by held-out split, of the exported weights.
      samples: empty if there are neither --sample_texts nor held-out texts.
      warnings: the sentences of the doubts, and of formats that were not published.
      doubts: what a user should know before trusting the result; shown wherever the
        result is.
      export: None where the status is "unpublished", and with --export=false.
      settings_in_words: by the name of a setting that was left to be chosen: what it
        stood for, "the preset's own (0.1)".
      baselines: by name, of --baselines.
      comparisons: by the name of the baseline, with the fine-tuned model.
      worth: one sentence on whether fine-tuning beats the best simple model; None:
        nothing was compared.
      kept: of general abilities; None: nothing was asked for.
      champion: the model that serves, beside the trained one; None: none was asked for,
        or there is none.
      pretraining: None without --pretrain_steps.
      start: of --init_from; None: the run began from the preset's weights.
      explanations: of --explain; empty with 0, and where no texts were held out.
      groups: None where no held-out text is in a group, and nothing was asked for.
      task: --task.
      error_causes: None without --error_causes.
    """

    title: str
    status: Literal["complete", "unpublished"]
    before: Mapping[str, SplitEvaluation]
    after: Mapping[str, SplitEvaluation]
    samples: tuple[Sample, ...]
    decision: DecisionFacts
    training: TrainingFacts
    data: DataFacts
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    config: Config
    environment: Environment
    history: History
    timing: Timing
    export: ExportFacts | None
    paths: Paths
    commands: Commands
    settings_in_words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, BaselineFacts] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    worth: str | None = None
    kept: Kept | None = None
    champion: Challenge | None = None
    pretraining: PretrainingFacts | None = None
    start: StartFacts | None = None
    explanations: tuple[Explanation, ...] = ()
    groups: Groups | None = None
    task: Literal["single_label", "multi_label", "ordinal"] = "single_label"
    error_causes: ErrorCauses | None = None

    def to_json(self) -> str:
        """The content of report.json, a line a value, for people too.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        content = dataclasses.asdict(self)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        return text + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.

        Raises:
          ValueError: the text is not such a report.
        """
        return from_mapping(cls, json_text.parse(text))

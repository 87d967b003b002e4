"""What study.json holds, key by key; types and rules as in `evaluation/schema/`.

    study = from_mapping(Study, json.loads(text))
    study.curves["fine_tuned"].points[-1].mean      # 0.873

Programs outside of this one read that file: adding a field does not break them,
renaming one does. Fractions are in [0, 1], times in seconds.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Mapping

from trainer.evaluation.schema import (
    Comparison,
    ExportFacts,
    Interval,
    NumberComparison,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run of the study.

    Attributes:
      number: from 0; its folder is runs/NNN.
      name: what sets it apart, "1,000 texts, seed 0".
      folder: within the study's, "runs/002".
      num_train_examples: that it was trained on.
      accuracy: of the fine-tuned model, on the split of the study; None of numbers.
      value: of the study's metric, likewise: the accuracy, or the mean absolute error.
      secs: wall time of the process that finished it.
      comparisons: by baseline, those of its report.
    """

    number: int
    name: str
    folder: str
    num_train_examples: int
    seed: int
    accuracy: float | None
    value: float
    secs: float
    comparisons: Mapping[str, Comparison | NumberComparison]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A metric over the runs of a study; see `estimates.py`.

    Attributes:
      values: of each run, by number.
      std: over the runs (n - 1); None of a single one.
      interval_95: of the mean, within the metric's range; likewise.
    """

    values: tuple[float, ...]
    mean: float
    std: float | None
    interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelEstimates:
    """A model over the runs of a study.

    Attributes:
      title: within a sentence.
      metrics: by name: "accuracy", "f1_macro", "mcc", "loss"; of numbers "mae", "rmse",
        "r2", "spearman". One that a run does not have is left out, as the correlation of
        values that are all the same.
    """

    title: str
    metrics: Mapping[str, Estimate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedFacts:
    """The fine-tuned model beside another, on the texts of all folds together.

    Attributes:
      difference: of accuracies, the fine-tuned model's minus the other's.
      interval_95, mcnemar_p, verdict: as in a report's `comparisons`; for the texts, and
        not for what other training texts would change.
    """

    num_examples: int
    difference: float
    interval_95: Interval
    mcnemar_p: float
    num_only_model_right: int
    num_only_baseline_right: int
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedNumbers:
    """The same of numbers.

    Attributes:
      mae_difference: of mean absolute errors, the fine-tuned model's minus the other's:
        below 0 it is nearer.
      interval_95, verdict: as of `PairedFacts`; None of fewer than 10 texts, and without
        resamples.
      num_nearer: texts on which the fine-tuned model is nearer.
    """

    num_examples: int
    mae_difference: float
    interval_95: Interval | None
    num_nearer: int
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """The answers to the texts of all folds, each by the model that held it out.

    Attributes:
      path: the file that has them, within the study's folder.
      metrics: by model, as `metrics.classification_metrics` gives them; of numbers those
        of `number_metrics`, with `confidence_intervals_95`.
      comparisons: by baseline.
      decision: temperature, thresholds and abstaining, fitted on all of them; of numbers
        the half width of the interval.
      quality: what that decision gives, on the texts that it was fitted on; as a
        report's `decision` has it for a split.
    """

    path: str
    num_examples: int
    metrics: Mapping[str, Mapping[str, Any]]
    comparisons: Mapping[str, PairedFacts | PairedNumbers]
    decision: Mapping[str, Any]
    quality: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinalFacts:
    """The run on all texts, which no text was held out to measure.

    Attributes:
      num_train_epochs: the median of the folds' best.
      saved_model: its export.
    """

    folder: str
    num_train_examples: int
    num_train_epochs: int
    saved_model: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleFacts:
    """The folds' models as one export, the mean of their probabilities.

    Attributes:
      num_models: one a fold.
      export: as in a report: the folder, and size and latency of each format.
    """

    num_models: int
    export: ExportFacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepeatedStudy:
    """All that study.json of a study of folds or of seeds holds.

    Attributes:
      study: "folds" or "seeds".
      title: of the page.
      answers: sentences, the most important one first.
      split: what the runs were measured on.
      num_examples: held-out texts, those of all folds together.
      metric: what `mean`, `std` and `interval_95` are of: "accuracy", of numbers "mae".
      models: "fine_tuned" always, and the baselines of the runs by name.
      out_of_fold: None but for folds.
      final: None where there is no such run.
      ensemble: None where there is none.
      config: the settings of the study.
      environment: versions and machine, as in a report.
    """

    study: str
    title: str
    answers: tuple[str, ...]
    split: str
    num_examples: int
    metric: str
    mean: float
    std: float | None
    interval_95: Interval | None
    models: Mapping[str, ModelEstimates]
    runs: tuple[RunFacts, ...]
    out_of_fold: OutOfFold | None
    final: FinalFacts | None
    ensemble: EnsembleFacts | None
    config: Mapping[str, Any]
    environment: Mapping[str, str]

    def to_json(self) -> str:
        """The content of study.json.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        return as_json(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """The accuracy of a model at one size; of numbers its mean absolute error.

    Attributes:
      num_runs: how many seeds are behind it.
      mean: over the seeds.
      std: over the seeds (n - 1); None of a single one.
      interval_95: of the mean, for the texts that were held out; not for the seeds.
    """

    num_train_examples: int
    num_runs: int
    mean: float
    std: float | None
    interval_95: Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What the fitted curve says of a size that was not run.

    Attributes:
      num_more: texts more than in the largest runs.
      accuracy: None of numbers.
      value: of the study's metric.
      interval_95: of the value; None without --num_bootstrap_resamples.
      gain: along the curve, from the largest size run; of accuracy what is more, of
        errors what is less.
      gain_interval_95: likewise.
    """

    num_train_examples: int
    num_more: int
    accuracy: float | None
    value: float
    interval_95: Interval | None
    gain: float
    gain_interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """error(n) = asymptote + scale n^-exponent; see `power_law.py`.

    Attributes:
      smallest_size: texts; smaller sizes were left out, as no better than guessing.
      accuracy_at_largest: on the curve, at the largest size run; None of numbers.
      value_at_largest: likewise, of the study's metric.
      forecasts: the next labels first, then twice the largest size.
    """

    asymptote: float
    scale: float
    exponent: float
    dispersion: float
    smallest_size: int
    accuracy_at_largest: float | None
    value_at_largest: float
    forecasts: tuple[Forecast, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A model's accuracy, or mean absolute error, by the number of training texts.

    Attributes:
      title: of the model, within a sentence.
      points: by size, ascending.
      fit: None where there is none.
      no_fit: why; None where there is one.
    """

    title: str
    points: tuple[Point, ...]
    fit: Fit | None
    no_fit: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """All that study.json of a learning curve holds.

    Attributes:
      study: "learning_curve".
      title: of the page.
      answers: sentences: what more labels would buy, and how the baselines compare.
      split: what all was measured on: "test", or "validation" where there is no test
        split.
      num_examples: texts of it.
      metric: what the points are of: "accuracy", of numbers "mae".
      curves: "fine_tuned" always, and the baselines of the runs by name.
      config: the settings of the study.
      environment: versions and machine, as in a report.
    """

    study: str
    title: str
    answers: tuple[str, ...]
    split: str
    num_examples: int
    metric: str
    curves: Mapping[str, Curve]
    runs: tuple[RunFacts, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, str]

    def to_json(self) -> str:
        """The content of study.json.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        largest = self.curves["fine_tuned"].points[-1]
        content = {
            **dataclasses.asdict(self),
            # As every study has them: of the largest size.
            "mean": largest.mean,
            "std": largest.std,
            "interval_95": largest.interval_95,
        }
        return as_json(content)


def as_json(content: Mapping[str, Any]) -> str:
    """The content of study.json; ValueError where a number is not finite."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

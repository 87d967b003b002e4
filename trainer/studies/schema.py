"""What study.json holds, key by key; types and rules as in `evaluation/schema.py`.

    study = from_mapping(Study, json.loads(text))
    study.curves["fine_tuned"].points[-1].mean      # 0.873

Programs outside of this one read that file: adding a field does not break them,
renaming one does. Fractions are in [0, 1], times in seconds.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Mapping

from trainer.evaluation.schema import Comparison, Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunFacts:
    """One run of the study.

    Attributes:
      number: from 0; its folder is runs/NNN.
      name: what sets it apart, "1,000 texts, seed 0".
      folder: within the study's, "runs/002".
      num_train_examples: that it was trained on.
      accuracy: of the fine-tuned model, on the split of the study.
      secs: wall time of the process that finished it.
      comparisons: by baseline, those of its report.
    """

    number: int
    name: str
    folder: str
    num_train_examples: int
    seed: int
    accuracy: float
    secs: float
    comparisons: Mapping[str, Comparison]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """The accuracy of a model at one size.

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
      interval_95: of the accuracy; None without --num_bootstrap_resamples.
      gain: of accuracy along the curve, from the largest size run.
      gain_interval_95: likewise.
    """

    num_train_examples: int
    num_more: int
    accuracy: float
    interval_95: Interval | None
    gain: float
    gain_interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """error(n) = asymptote + scale n^-exponent; see `power_law.py`.

    Attributes:
      smallest_size: texts; smaller sizes were left out, as no better than guessing.
      accuracy_at_largest: on the curve, at the largest size run.
      forecasts: the next labels first, then twice the largest size.
    """

    asymptote: float
    scale: float
    exponent: float
    dispersion: float
    smallest_size: int
    accuracy_at_largest: float
    forecasts: tuple[Forecast, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """A model's accuracy by the number of training texts.

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
      curves: "fine_tuned" always, and the baselines of the runs by name.
      config: the settings of the study.
      environment: versions and machine, as in a report.
    """

    study: str
    title: str
    answers: tuple[str, ...]
    split: str
    num_examples: int
    curves: Mapping[str, Curve]
    runs: tuple[RunFacts, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, str]

    def to_json(self) -> str:
        """The content of study.json.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        content = dataclasses.asdict(self)
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

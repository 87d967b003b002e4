"""What study.json of a sweep and of a ladder hold, key by key; rules as in `schema.py`.

    study = SweepStudy(...)
    study.to_json()

`mean`, `std` and `interval_95` are of the chosen model, on the split that was asked
once, at the end. All else is of the validation texts, by which it was chosen.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Mapping

from trainer.evaluation.schema import Interval
from trainer.studies.schema import as_json

Status = Literal["winner", "as_good", "behind", "left_out", "diverged"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChoiceRun:
    """One run of a study that chooses.

    Attributes:
      number: from 0; its folder is runs/NNN.
      name: what sets it apart.
      folder: within the study's, "runs/002".
      num_train_examples: that it was trained on.
      value: of the study's metric, on validation.
      secs: wall time of the process that finished it.
    """

    number: int
    name: str
    folder: str
    num_train_examples: int
    seed: int
    value: float
    secs: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RungFacts:
    """A trial on a share of the training texts.

    Attributes:
      value: the mean over the seeds, on validation; None where one of them diverged.
      std: over the seeds (n - 1); None of a single one.
      runs: their numbers, one a seed.
    """

    share: float
    num_train_examples: int
    value: float | None
    std: float | None
    runs: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """Some settings, and how far they came.

    Attributes:
      settings: by name.
      status: "winner"; "as_good", not shown to be worse than the best; "behind", shown
        to be; "left_out" of a rung; "diverged".
      rungs: those that it was trained on.
      behind: the best trial's value minus this one's, turned so that above 0 is worse;
        None but for the last rung.
      behind_interval_95: likewise, and None of the best one.
      cost: a measure of the training's arithmetic: texts seen, times the model's
        parameters, times the longest padded length.
      train_secs: in training steps, the mean over the seeds.
    """

    number: int
    settings: Mapping[str, Any]
    status: Status
    rungs: tuple[RungFacts, ...]
    behind: float | None
    behind_interval_95: Interval | None
    cost: float | None
    train_secs: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """How much a setting moves the metric.

    Attributes:
      importance: the share of the variance that a forest explains no longer when the
        setting is permuted among the trials; near 0: it hardly matters.
      std: over the permutations.
    """

    name: str
    importance: float
    std: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RangeTest:
    """The loss while the learning rate rises, and what follows.

    Attributes:
      learning_rates: of each step.
      losses: of each step's batch, in nats (of numbers in squared spreads), before its
        update.
      smoothed: the same, smoothed.
      low, high: the range to sweep; None where the curve suggests none.
      sentences: how they were found, and their doubt.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    low: float | None
    high: float | None
    sentences: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """What every study says that chooses one of several models.

    Attributes:
      study: "sweep" or "ladder".
      title: of the page.
      answers: sentences: what was chosen, and why.
      metric: by which was chosen: --best_metric; of numbers "mae", with
        --best_metric=loss "rmse".
      split: what the chosen model was measured on at the end: "test", or "validation"
        where there is no test split. None: nothing was trained.
      num_examples: texts of it.
      num_validation_examples: texts that the choice was made on.
      mean: the chosen model's metric; of one run.
      std: None of one run.
      interval_95: None where the report has none.
      chosen_run: the number of its run.
      flagfile: within the study's folder: makes the chosen run alone.
      config: the settings of the study.
      environment: versions and machine, as in a report.
    """

    study: str
    title: str
    answers: tuple[str, ...]
    metric: str
    split: str | None
    num_examples: int | None
    num_validation_examples: int | None
    mean: float | None
    std: float | None
    interval_95: Interval | None
    chosen_run: int | None
    flagfile: str | None
    runs: tuple[ChoiceRun, ...]
    config: Mapping[str, Any]
    environment: Mapping[str, str]

    def to_json(self) -> str:
        """The content of study.json.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        return as_json(dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepStudy(Chosen):
    """All that study.json of a sweep holds.

    Attributes:
      winner: the number of the trial that was chosen; None: nothing was trained.
      trials: by number.
      effects: the settings, the one that matters most first; empty: see `no_effects`.
      no_effects: why no effects are told; None where they are.
      range_test: None without --range_test.
    """

    winner: int | None
    trials: tuple[Trial, ...]
    effects: tuple[Effect, ...]
    no_effects: str | None
    range_test: RangeTest | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A step of the ladder: a fine-tuned model, or a simple one.

    Attributes:
      name: the preset; of a simple model its title.
      kind: "fine_tuned", "frozen", "tfidf" or "commonest"; of numbers "commonest" is the
        mean, and there is "median".
      preset: whose encoder it reads texts with; None of those that have none.
      status: as of a trial; "winner" is the smallest that is not shown to be worse.
      value: the metric on validation, the mean over the seeds.
      std: over the seeds; None of a single one.
      interval_95: of the value, of the first seed's model.
      behind: the best one's value minus this one's.
      num_parameters: 0 of what has no encoder.
      train_secs: fine-tuned models: of training steps; simple ones: of all their work.
      peak_memory_bytes: what its process held at most; of a simple model what it held
        besides. Runs made in one process hold what those before left, too.
      export_bytes: of the float32 SavedModel; None of simple models.
      latency_ms: the median of a text alone, of the same.
    """

    name: str
    kind: str
    preset: str | None
    status: Status
    value: float
    std: float | None
    interval_95: Interval | None
    behind: float
    behind_interval_95: Interval | None
    num_parameters: int
    train_secs: float
    peak_memory_bytes: int | None
    export_bytes: int | None
    latency_ms: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderStudy(Chosen):
    """All that study.json of a ladder holds.

    Attributes:
      smallest: the name of the smallest model that is not shown to be worse, simple
        ones included.
      winner: the preset of the smallest such fine-tuned model.
      models: the smallest first.
    """

    smallest: str
    winner: str
    models: tuple[Model, ...]

"""What every kind of study is made of: planned runs, finished runs, the kind itself.

    planned = learning_curve.KIND.plan(config, sources, finished)
    planned[2].name, planned[2].config.model_dir    # "1,000 texts, …", "…/runs/002"

A study is a list of ordinary runs. Each is a pure function of the base config, the
study's settings and its number, so a run gives within the study what it gives alone,
and a study that was stopped plans the same runs when it continues. A kind is asked for
its plan again after each finished run, so that later runs may follow from the results
of earlier ones. A new kind is a module with a `Kind`, and its line in `driver.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, Sequence

from trainer.config import ExperimentConfig
from trainer.data.sources import Load, Sources
from trainer.evaluation.schema import NumbersReport, Report
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
      number: from 0.
      name: for people: what sets it apart from the others.
      config: what it is alone, too.
    """

    number: int
    name: str
    config: ExperimentConfig

    @property
    def num_train_examples(self) -> int:
        """On how many texts it trains; 0: all there are."""
        return self.config.data.num_train_examples


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run with its results."""

    planned: PlannedRun
    report: Report | NumbersReport

    @property
    def of_labels(self) -> Report:
        """The report of a run whose texts have labels.

        Raises:
          TypeError: they have numbers.
        """
        if not isinstance(self.report, Report):
            raise TypeError("the run is of numbers")
        return self.report

    @property
    def of_numbers(self) -> NumbersReport:
        """The report of a run whose texts have numbers.

        Raises:
          TypeError: they have labels.
        """
        if not isinstance(self.report, NumbersReport):
            raise TypeError("the run is of labels")
        return self.report

    @property
    def num_train_examples(self) -> int:
        """On how many texts it was trained."""
        return self.report.training.num_train_examples

    @property
    def secs(self) -> float:
        """Wall time of the process that finished it, without its start."""
        timing = dataclasses.asdict(self.report.timing)
        # The steps are a part of training and validation.
        total: float = sum(
            value
            for name, value in timing.items()
            if name.endswith("_secs") and name != "train_steps_secs" and value
        )
        return total


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of study.

    Attributes:
      plan: which runs to make, as far as they are known: of the settings, the rows and
        the runs finished so far, by number. It depends on nothing else, for several
        processes ask it, each for itself. A run that it named once it names always, and
        numbers count from 0; with all runs of one batch finished it may name those of
        the next. The study is finished when all that it names are. Raises ValueError
        where the data do not allow what was asked for.
      export: publishes what is made of all runs together, of all of them by number, or
        leaves it alone where that was done; one process at a time, before `record`.
        None: nothing is.
      record: writes the results of all runs, by number, and returns the closing table.
        Any process may be the one that does, or several in turn.
      keeps_diverged: whether a run whose training diverges is one of the study's
        results (`StudyFolder.why_diverged`), and not its end. Such a run is never
        among the finished ones.
    """

    plan: Callable[
        [StudyConfig, Sources, Sequence[FinishedRun]], tuple[PlannedRun, ...]
    ]
    record: Callable[[StudyConfig, StudyFolder, Sequence[FinishedRun]], str]
    keeps_diverged: bool = False
    export: (
        Callable[[StudyConfig, StudyFolder, Sequence[FinishedRun], Load], None] | None
    ) = None

"""Makes the runs of a study, and joins their results.

    print(run(config))      # the closing table

A study that was stopped at any moment continues when it is started again: finished
runs are left alone (that their data are still the same is checked), and the run that
it was in resumes at its very step. A process makes one run after the other, and lets
go of each one's graphs at its end (`runtime/traces.py`).

Several processes may work on a study, on one machine (--num_jobs, see `jobs.py`) or on
several that share its folder: each is given the same command. Who holds the lock of a
run's folder makes it, and the lock goes with its owner (`folder_lock.py`). A process
that finds all runs in other hands waits, and takes over a run whose owner ended before
its time. All of them find the same results, and whoever comes to the end writes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from typing import Any, Iterator, Mapping, Sequence

from trainer import console, experiment, folder_lock, run_folder, storage, wording
from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.sources import Load, Sources
from trainer.evaluation import schema
from trainer.folder_lock import InUse
from trainer.messages import message
from trainer.runtime import cluster
from trainer.runtime.interruptions import TerminationSignal
from trainer.studies import (
    folds,
    jobs,
    ladder,
    learning_curve,
    seeds,
    study_folder,
    sweep,
)
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.study_config import StudyConfig

_logger = logging.getLogger(__name__)

_KINDS: Mapping[str, Kind] = {
    "learning_curve": learning_curve.KIND,
    "folds": folds.KIND,
    "seeds": seeds.KIND,
    "sweep": sweep.KIND,
    "ladder": ladder.KIND,
}
# Settings of the data that come into play when the rows have been read.
_OF_READ_ROWS = (
    *("num_train_examples", "num_eval_examples", "test_one_in", "validation_one_in"),
    *("num_folds", "fold", "max_length", "long_text", "max_windows", "window_overlap"),
    *("truncation", "num_buckets", "cache_dir", "max_cache_gb", "evaluate_test"),
)
# How often a process that has nothing to do looks whether it has.
_LOOK_EVERY_SECS = 1.0


def run(config: StudyConfig, *, load: Load = sources.load) -> str:
    """Makes all runs and writes the study's results.

    Args:
      config: the settings.
      load: reads the rows, or has read them; once for all runs.

    Returns:
      The closing table.

    Raises:
      ValueError: something the user gave does not fit; the message says what.
      FloatingPointError: the training of a run diverged; the message names it.
      Preempted: the process was told to end (SIGTERM); what was done is saved.
    """
    work = _Work(config, load=load)
    with TerminationSignal():
        work.begin()
        if config.num_jobs > 1 and work.to_do():
            with jobs.started(config) as under_way:
                for _ in under_way:
                    work.look()
            # What they did since.
            work.look()
        work.make_runs()
        work.look()
        # Where a run diverged elsewhere just now, more may follow from it.
        while work.to_do():
            work.make_runs()
            work.look()
        return work.so_far() if work.unfinished() else work.recorded()


def make_runs(config: StudyConfig) -> None:
    """What one of several jobs does: it makes runs until none is left.

    Raises:
      As `run`.
    """
    work = _Work(config, load=sources.load)
    with TerminationSignal():
        work.begin()
        work.make_runs()


class _Work:
    """What a process knows of a study, and does for it."""

    def __init__(self, config: StudyConfig, *, load: Load) -> None:
        _refuse_several_workers()
        self._config = config
        self._kind = _KINDS[config.study]
        self._load = _read_once(load)
        self._folder = study_folder.at(config.study_dir)
        self._planned: tuple[PlannedRun, ...] = ()
        # By number; of those that others made, as soon as they were seen.
        self._finished: dict[int, FinishedRun] = {}
        # Of those that diverged, how many the plan was made with.
        self._num_diverged = 0
        self._said = ""

    def begin(self) -> None:
        """Plans the first runs; only then the folder is this study's."""
        storage.check_writable(self._folder.path, is_file=False)
        self._refuse_another_study()
        self._plan()
        with self._folder.in_turn():
            # Another process may have made it one meanwhile.
            self._refuse_another_study()
            storage.write_text(self._folder.config, self._config.shared.to_json())

    def _refuse_another_study(self) -> None:
        run_folder.refuse_other_settings(
            self._folder.config, self._config.shared, flag="study_dir", holds="study"
        )

    def to_do(self) -> list[PlannedRun]:
        """Those of `unfinished` that this process may make."""
        only = self._config.only_run
        return [run for run in self.unfinished() if only in (None, run.number)]

    def unfinished(self) -> list[PlannedRun]:
        """The planned runs of which no results are seen yet, those in work included."""
        return [run for run in self._not_finished() if not self._has_diverged(run)]

    def _not_finished(self) -> list[PlannedRun]:
        return [run for run in self._planned if run.number not in self._finished]

    def make_runs(self) -> None:
        """Makes runs until none is left to make, by whomever."""
        while to_do := self.to_do():
            if not self._make_one(to_do):
                self._say_who_works(to_do)
                time.sleep(_LOOK_EVERY_SECS)
            self._plan()

    def look(self) -> None:
        """Sees what other processes have finished, and says how far all is."""
        # What is seen may plan more runs, which others may have finished, too.
        while self._sees_more():
            self._plan()
        if to_do := self.to_do():
            self._say_who_works(to_do)

    def _sees_more(self) -> bool:
        num_known = len(self._finished) + self._num_diverged
        for run in self.unfinished():
            folder = self._folder.run(run.number)
            # One that is published again has no report for a moment.
            with contextlib.suppress(FileNotFoundError):
                self._keep(run, run_folder.read_json(folder.report))
        self._num_diverged = sum(map(self._has_diverged, self._not_finished()))
        return len(self._finished) + self._num_diverged > num_known

    def so_far(self) -> str:
        """Of a process that was to make one run: what is left to others."""
        numbers = ", ".join(f"{run.number:03}" for run in self.unfinished())
        return (
            f"Run {self._config.only_run:03} is finished. The study is finished with runs "
            f"{numbers}; whoever makes the last one writes {self._folder.results}\n"
        )

    def recorded(self) -> str:
        """Exports and writes the results, and returns the closing table."""
        config, folder = self._config.shared, self._folder
        with folder.in_turn():
            finished = self._all_finished()
            if self._kind.export is not None:
                self._kind.export(config, folder, finished, self._load)
            return self._kind.record(config, folder, finished)

    def _plan(self) -> None:
        rows = self._load(self._config.data)
        self._planned = self._kind.plan(self._config.shared, rows, self._all_finished())

    def _all_finished(self) -> list[FinishedRun]:
        return [self._finished[number] for number in sorted(self._finished)]

    def _has_diverged(self, run: PlannedRun) -> bool:
        return self._folder.why_diverged(run.number) is not None

    def _make_one(self, to_do: Sequence[PlannedRun]) -> bool:
        """Makes the first run that is in no other hands; false: there is none."""
        for each in to_do:
            path = self._folder.run(each.number).path
            if folder_lock.is_held(path):
                continue
            self._say_which(each, to_do)
            storage.write_text(
                self._folder.run_flags(each.number), "".join(_flagfile(each))
            )
            try:
                self._make(each)
            except InUse:
                continue
            return True
        return False

    def _make(self, planned: PlannedRun) -> None:
        try:
            result = experiment.run(planned.config, load=self._load)
        except FloatingPointError as error:
            said = f"run {planned.number:03} of the study, {planned.name}: {error}"
            if not self._kind.keeps_diverged:
                raise FloatingPointError(said) from error
            _logger.warning("%s", said)
            storage.write_text(self._folder.diverged(planned.number), f"{error}\n")
        else:
            self._keep(planned, result.report)

    def _keep(self, planned: PlannedRun, report: Mapping[str, object]) -> None:
        kind: type[schema.Report] | type[schema.NumbersReport] = schema.Report
        if report.get("task") == "regression":
            kind = schema.NumbersReport
        self._finished[planned.number] = FinishedRun(
            planned, schema.from_mapping(kind, report)
        )

    def _say_which(self, run: PlannedRun, to_do: Sequence[PlannedRun]) -> None:
        _logger.info(
            "study: run %d of %d, %s%s",
            run.number + 1,
            len(self._planned),
            run.name,
            self._time_left(to_do),
        )

    def _say_who_works(self, to_do: Sequence[PlannedRun]) -> None:
        """Once for each state of things."""
        in_work = [
            f"{run.number:03}"
            for run in to_do
            if folder_lock.is_held(self._folder.run(run.number).path)
        ]
        said = (
            f"study: {len(self._planned) - len(to_do)} of {len(self._planned)} runs "
            f"finished; other processes make {', '.join(in_work) or 'none'}"
        )
        if said != self._said:
            self._said = said
            _logger.info("%s%s", said, self._time_left(to_do, num_jobs=len(in_work)))

    def _time_left(self, to_do: Sequence[PlannedRun], *, num_jobs: int = 1) -> str:
        left = secs_left(self._all_finished(), to_do)
        if left is None:
            return ""
        return f"; about {console.duration(left / max(1, num_jobs))} left"


def _refuse_several_workers() -> None:
    workers = cluster.find(os.environ)
    if workers is not None:
        raise ValueError(
            message(
                "each run of a study must be made by a single worker",
                received=f"an environment that names {len(workers.addresses)} workers",
                mend="start the same command on each machine without TF_CONFIG and "
                "outside of srun; they share the runs among them",
            )
        )


def _read_once(load: Load) -> Load:
    """The rows are the same for all runs, whatever each makes of them."""
    known: dict[DataConfig, Sources] = {}

    def read(config: DataConfig) -> Sources:
        defaults: dict[str, Any] = {
            field.name: field.default
            for field in dataclasses.fields(config)
            if field.name in _OF_READ_ROWS
        }
        what = dataclasses.replace(config, **defaults)
        if what not in known:
            known[what] = load(config)
        return known[what]

    return read


def _flagfile(planned: PlannedRun) -> Iterator[str]:
    """Lines that make the run alone: in its place, or to compare in another."""
    yield f"# {planned.name}. Alone, in its place within the study:\n"
    yield f"#   python -m trainer.main --flagfile={planned.config.model_dir}.flags\n"
    yield "# Anywhere else it gives the same: add --model_dir=FOLDER.\n"
    config = dataclasses.asdict(planned.config)
    for line in wording.flag_lines(config, all_of_them=False):
        yield f"{line}\n"


def secs_left(
    finished: Sequence[FinishedRun], to_do: Sequence[PlannedRun]
) -> float | None:
    """Seconds that the runs to come may take; None before the first is finished.

    Training steps take time by the text, all else by the run, as in the largest run
    so far. Runs that are finished already when a study continues tell of it, too.
    """
    if not finished:
        return None
    largest = max(finished, key=lambda run: run.num_train_examples)
    steps_secs = largest.report.timing.train_steps_secs
    secs_a_text = steps_secs / largest.num_train_examples
    secs_a_run = max(0.0, largest.secs - steps_secs)
    return sum(
        secs_a_run
        + secs_a_text * (run.num_train_examples or largest.num_train_examples)
        for run in to_do
    )

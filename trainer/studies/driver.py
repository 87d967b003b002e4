"""Makes the runs of a study, one after the other, and joins their results.

    print(run(config))      # the closing table

A study that was stopped at any moment continues when it is started again: finished
runs are left alone (that their data are still the same is checked), and the run that
it was in resumes at its very step. All runs are made in this process, which lets go of
each one's graphs at its end (`runtime/traces.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from typing import Mapping, Sequence

from trainer import console, experiment, run_folder, storage
from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.sources import Load, Sources
from trainer.evaluation import schema
from trainer.messages import message
from trainer.run_folder import RunFolder
from trainer.runtime import cluster
from trainer.runtime.interruptions import TerminationSignal
from trainer.studies import learning_curve, study_folder
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.study_config import StudyConfig

_logger = logging.getLogger(__name__)

_KINDS: Mapping[str, Kind] = {"learning_curve": learning_curve.KIND}


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
    _refuse_several_workers()
    kind = _KINDS[config.study]
    load = _read_once(load)
    with study_folder.opened(config.study_dir) as folder, TerminationSignal():
        run_folder.refuse_other_settings(
            folder.config, config, flag="study_dir", holds="study"
        )
        planned = kind.plan(config, load(config.data))
        storage.write_text(folder.config, config.to_json())
        to_do = [each for each in planned if not _is_finished(each)]
        finished: list[FinishedRun] = []
        for each in planned:
            _logger.info(
                "study: run %d of %d, %s%s",
                each.number + 1,
                len(planned),
                each.name,
                _time_left(
                    finished, [run for run in to_do if run.number >= each.number]
                ),
            )
            finished.append(_finish(each, load))
        return kind.record(config, folder, finished)


def _refuse_several_workers() -> None:
    workers = cluster.find(os.environ)
    if workers is not None:
        raise ValueError(
            message(
                "a study must run on one machine",
                received=f"an environment that names {len(workers.addresses)} workers",
                mend="start it in a process of its own, without TF_CONFIG and outside of "
                "srun",
            )
        )


def _read_once(load: Load) -> Load:
    """The rows are the same for all runs, whatever each draws of them."""

    @functools.cache
    def read(config: DataConfig) -> Sources:
        return load(config)

    return lambda config: read(dataclasses.replace(config, num_train_examples=0))


def _finish(planned: PlannedRun, load: Load) -> FinishedRun:
    try:
        result = experiment.run(planned.config, load=load)
    except FloatingPointError as error:
        raise FloatingPointError(
            f"run {planned.number:03} of the study, {planned.name}: {error}"
        ) from error
    return FinishedRun(planned, schema.from_mapping(schema.Report, result.report))


def _is_finished(planned: PlannedRun) -> bool:
    return RunFolder(storage.path(planned.config.model_dir)).is_finished


def _time_left(finished: Sequence[FinishedRun], to_do: Sequence[PlannedRun]) -> str:
    left = secs_left(finished, to_do)
    return "" if left is None else f"; about {console.duration(left)} left"


def secs_left(
    finished: Sequence[FinishedRun], to_do: Sequence[PlannedRun]
) -> float | None:
    """Seconds that the runs to come may take; None before the first is finished.

    Training steps take time by the text, all else by the run, as in the largest run
    so far. Runs that are finished already when a study continues tell of it, too.
    """
    if not finished:
        return None
    largest = max(finished, key=lambda run: run.planned.num_train_examples)
    steps_secs = largest.report.timing.train_steps_secs
    secs_a_text = steps_secs / largest.planned.num_train_examples
    secs_a_run = max(0.0, largest.secs - steps_secs)
    return sum(secs_a_run + secs_a_text * run.num_train_examples for run in to_do)

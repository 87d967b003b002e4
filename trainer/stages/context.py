"""What every stage of a run needs: the settings, the folder, the devices, the clock.

with context.started(config, folder, load) as run:
    run.config.data, run.folder.report, run.runtime.strategy
    run.stopwatch.lap("prepare_data_secs")
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Iterator

import numpy as np

from trainer import environment, storage
from trainer.config import ExperimentConfig
from trainer.data.sources import Load
from trainer.run_folder import RunFolder
from trainer.runtime import strategies, traces
from trainer.runtime.interruptions import TerminationSignal
from trainer.runtime.strategies import Runtime
from trainer.runtime.watchdog import naming_lost_workers
from trainer.stages.resolve import Resolved, resolve
from trainer.tasks import choice
from trainer.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Run:
    """A run under way.

    Attributes:
      config: the settings, as the user gave them.
      resolved: what those that are automatic stand for here.
      folder: --model_dir.
      load: reads the rows, or has read them.
      task: what a label, a loss and an answer are.
      runtime: what it computes on.
      termination: what tells the process to end.
      stopwatch: seconds of the stages.
    """

    config: ExperimentConfig
    resolved: Resolved
    folder: RunFolder
    load: Load
    task: Task
    runtime: Runtime
    termination: TerminationSignal
    stopwatch: Stopwatch


def of_texts(run: Run, labels: np.ndarray) -> Run:
    """The run, its task knowing the labels of the training texts.

    Raises:
      ValueError: nothing can be learned from them.
    """
    return dataclasses.replace(run, task=run.task.of_texts(labels))


@contextlib.contextmanager
def started(config: ExperimentConfig, folder: RunFolder, load: Load) -> Iterator[Run]:
    """Starts TensorFlow on the devices that the config asks for.

    Raises:
      ValueError: what was asked for is not there.
      OSError: a place of the run cannot be written.
      Preempted: the process was told to end (SIGTERM); what was done is saved.
      WorkerLost: another worker went away, hangs, or never came.
    """
    runtime = strategies.set_up(config.runtime, seed=config.training.seed)
    # Only now: TensorFlow's start with several workers takes SIGTERM for itself.
    with (
        traces.released(),
        TerminationSignal() as termination,
        naming_lost_workers(runtime.cluster),
        storage.naming_refusals(),
    ):
        resolved = resolve(config, runtime)
        if runtime.is_chief:
            storage.check_writable(resolved.export_folder, is_file=False)
        yield Run(
            config=config,
            resolved=resolved,
            folder=folder,
            load=load,
            task=choice.of(config.data.task),
            runtime=runtime,
            termination=termination,
            stopwatch=Stopwatch(),
        )


class Stopwatch:
    """Seconds between laps, and up to the first training step.

    Attributes:
      laps: seconds by name.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """Ends a lap; of several of one name the seconds add up."""
        now = time.monotonic()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._since
        self._since = now

    def start_training(self) -> None:
        """Notes how long the process took to come to its first training step.

        What it measured before, for comparison, is left out, and the pretraining. A
        process that has nothing left to train, for it resumes after training, has no
        such time.
        """
        if "secs_to_first_step" in self.laps:
            return
        names = ["evaluate_before_secs", "baselines_secs", "general_secs"]
        names.append("pretraining_secs")
        measured = sum(self.laps.get(name, 0.0) for name in names)
        self.laps["secs_to_first_step"] = environment.secs_since_start() - measured

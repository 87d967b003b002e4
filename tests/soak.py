"""Kills workers at random moments, many times, and compares with a run let alone.

    .venv/bin/python -m tests.soak --rounds=20

Each round starts all workers of a small real run, and sends one of them SIGKILL (one
round in four SIGTERM). In every second round the moment is drawn from all the time
that a run takes; in the others, in turn, from the time before its first state is saved
(start, reading, tokenizing, compiling) and from that after its last one (evaluation,
report, export, publication). The next round goes on with the same folder. Where a run
got to its end, its weights, optimizer, metrics and SavedModel are compared with those
of the undisturbed run, to the bit, and the next begins, on a cold cache. Takes about 25
seconds a round on 2 CPU cores. Exit code 1: something differed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import json
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np
import tensorflow as tf

from scripts.launchers import launch_local
from tests import processes, tiny
from tests.test_experiment import (
    make_config,
    weights_of,
    without_times,
)
from trainer.config import ExperimentConfig, ServingConfig

_GRACE_SECS = 90.0
_TERMINATE_ONE_IN = 4
_POLL_SECS = 0.02
_STEPS_PER_EPOCH = 22


@dataclasses.dataclass(frozen=True)
class Course:
    """When the undisturbed run did what, in seconds from its start.

    Attributes:
      prepared: its first state was saved.
      trained: its last state was saved.
      ended: its processes had ended.
    """

    prepared: float
    trained: float
    ended: float


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a worker is sent a signal.

    Attributes:
      part: of the run, as the output names it.
      secs: from the start of the processes, or from the last state on.
      is_after_training: `secs` counts from the last state on.
    """

    part: str
    secs: float
    is_after_training: bool = False

    @classmethod
    def draw(cls, course: Course, number: int, generator: random.Random) -> Moment:
        """The moment of a round, counted from 0."""
        if number % 4 == 1:
            return cls("preparation", generator.uniform(0, course.prepared))
        if number % 4 == 3:
            secs = generator.uniform(0, course.ended - course.trained)
            return cls("publication", secs, is_after_training=True)
        return cls("anywhere", generator.uniform(0, course.ended))


@dataclasses.dataclass
class Tally:
    """What a soak found.

    Attributes:
      num_killed, num_terminated: workers that were sent SIGKILL and SIGTERM.
      parts: how many signals were sent in which part of a run.
      num_too_late: rounds in which the run was over before its moment came.
      num_runs: runs that got to their end and were compared.
      codes: how often workers that were sent nothing ended with which exit code.
      differences: what was not as in the undisturbed run, in sentences.
      resumed_from: the steps that restarts went on from.
    """

    num_killed: int = 0
    num_terminated: int = 0
    parts: collections.Counter[str] = dataclasses.field(
        default_factory=collections.Counter
    )
    num_too_late: int = 0
    num_runs: int = 0
    codes: collections.Counter[int] = dataclasses.field(
        default_factory=collections.Counter
    )
    differences: list[str] = dataclasses.field(default_factory=list)
    resumed_from: list[int] = dataclasses.field(default_factory=list)


def soak(
    *,
    folder: pathlib.Path,
    rounds: int,
    num_workers: int,
    seed: int,
    num_epochs: int,
) -> Tally:
    """Disturbs runs until so many workers have been sent a signal.

    Args:
      folder: empty; what the runs leave stays in it.
      num_epochs: of each run, `_STEPS_PER_EPOCH` steps each.
    """
    generator = random.Random(seed)
    config = _config(folder, num_epochs)
    undisturbed = dataclasses.replace(config, model_dir=str(folder / "undisturbed"))
    course = _undisturbed(undisturbed, num_workers)
    _say(f"undisturbed, with {num_workers} workers: {course}")
    tally = Tally()
    run = _next_run(config, tally)
    for number in itertools.count():
        if tally.num_killed + tally.num_terminated == rounds:
            break
        tally.resumed_from.append(_latest_step(run))
        moment = Moment.draw(course, number, generator)
        codes, happened = _disturb(run, num_workers, course, moment, generator, tally)
        _say(f"{happened}: exit codes {codes}, latest step {_latest_step(run)}")
        if not any(codes):
            _compare(run, undisturbed, tally)
            run = _next_run(config, tally)
    codes = _start(run, num_workers).wait(grace_secs=_GRACE_SECS)
    assert not any(codes), f"the last run did not get to its end: {codes}"
    _compare(run, undisturbed, tally)
    return tally


def _config(folder: pathlib.Path, num_epochs: int) -> ExperimentConfig:
    return make_config(
        folder,
        tiny.write_preset(folder / "preset"),
        training={
            "num_train_epochs": num_epochs,
            "save_every_steps": 10,
            "eval_every_steps": 35,
        },
        runtime={"strategy": "auto", "cluster_timeout_secs": 60.0},
        serving=ServingConfig(),
    )


def _start(config: ExperimentConfig, num_workers: int) -> launch_local.Workers:
    return launch_local.Workers(processes.command(config), num_workers=num_workers)


def _undisturbed(config: ExperimentConfig, num_workers: int) -> Course:
    began = time.monotonic()
    workers = _start(config, num_workers)
    while not _latest_step(config) and not workers.ended:
        time.sleep(_POLL_SECS)
    prepared = time.monotonic() - began
    while not _is_trained(config) and not workers.ended:
        time.sleep(_POLL_SECS)
    trained = time.monotonic() - began
    codes = workers.wait(grace_secs=_GRACE_SECS)
    assert not any(codes), f"the undisturbed run ended with {codes}"
    return Course(prepared, trained, ended=time.monotonic() - began)


def _disturb(
    config: ExperimentConfig,
    num_workers: int,
    course: Course,
    moment: Moment,
    generator: random.Random,
    tally: Tally,
) -> tuple[list[int], str]:
    """Runs until one worker is sent a signal and all have ended."""
    victim = generator.randrange(num_workers)
    terminate = generator.randrange(_TERMINATE_ONE_IN) == 0
    signum = signal.SIGTERM if terminate else signal.SIGKILL
    is_trained = _is_trained(config)
    workers = _start(config, num_workers)
    sent = []

    def send() -> None:
        # A run that was trained before comes to its report when it is prepared.
        wait = course.prepared if moment.is_after_training and is_trained else 0.0
        while (
            moment.is_after_training and not _is_trained(config) and not workers.ended
        ):
            time.sleep(_POLL_SECS)
        time.sleep(wait + moment.secs)
        process = workers.processes[victim]
        if process.poll() is None:
            process.send_signal(signum)
            sent.append(victim)

    sender = threading.Thread(target=send)
    sender.start()
    codes = workers.wait(grace_secs=_GRACE_SECS)
    sender.join()
    place = f"{moment.part}, at {moment.secs:.1f} s"
    if not sent:
        tally.num_too_late += 1
        return codes, f"over before {place}"
    tally.num_terminated += terminate
    tally.num_killed += not terminate
    tally.parts[moment.part] += 1
    others = codes[:victim] + codes[victim + 1 :]
    tally.codes.update(others)
    if set(others) & set(launch_local.NO_RESTART):
        tally.differences.append(f"exit codes {codes}: no launcher would restart it")
    return codes, f"{signum.name} to worker {victim} ({place})"


def _compare(
    run: ExperimentConfig, undisturbed: ExperimentConfig, tally: Tally
) -> None:
    """Compares a run that got to its end."""
    expected, found = (_results(config) for config in (undisturbed, run))
    differing = [
        name
        for name in sorted(expected.keys() | found.keys())
        if name not in expected
        or name not in found
        or not np.array_equal(expected[name], found[name])
    ]
    tally.num_runs += 1
    if differing:
        tally.differences.append(f"{run.model_dir}: {', '.join(differing[:5])}")
    _say(f"{run.model_dir}: at its end, {len(differing)} of {len(expected)} differ")


def _next_run(config: ExperimentConfig, tally: Tally) -> ExperimentConfig:
    """In a folder of its own, with a cache that is empty."""
    shutil.rmtree(config.data.cache_dir, ignore_errors=True)
    folder = pathlib.Path(config.model_dir).parent / f"run-{tally.num_runs + 1}"
    return dataclasses.replace(config, model_dir=str(folder))


def _results(config: ExperimentConfig) -> dict[str, Any]:
    """All numbers of the last state, the report and the SavedModel, without times."""
    folder = pathlib.Path(config.model_dir)
    report = json.loads((folder / "report.json").read_text())
    history = {k: without_times(v) for k, v in report["history"].items()}
    told = {name: report[name] for name in ("before", "after", "samples", "training")}
    (exported,) = (folder / "export").glob("[0-9]*")
    files = sorted(str(path.relative_to(exported)) for path in exported.rglob("*"))
    return {
        **weights_of(folder),
        **told,
        **history,
        "files of the SavedModel": files,
        **_variables(exported),
    }


def _variables(exported: pathlib.Path) -> dict[str, Any]:
    """By the names that a SavedModel gives them."""
    reader = tf.train.load_checkpoint(str(exported / "variables" / "variables"))
    return {
        f"SavedModel: {name}": reader.get_tensor(name)
        for name, type_ in reader.get_variable_to_dtype_map().items()
        if type_ != tf.string
    }


def _is_trained(config: ExperimentConfig) -> bool:
    return _latest_step(config) == config.training.num_train_epochs * _STEPS_PER_EPOCH


def _latest_step(config: ExperimentConfig) -> int:
    folder = pathlib.Path(config.model_dir) / "checkpoints" / "latest"
    return max(
        (int(p.stem.removeprefix("step-")) for p in folder.glob("step-*.index")),
        default=0,
    )


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Reads the command line, soaks, and says what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--num_workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--num_epochs", type=int, default=15, help="of each run (%(default)s)"
    )
    parser.add_argument(
        "--folder", type=pathlib.Path, help="an empty one, for the runs; else temporary"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        options.folder = options.folder or pathlib.Path(temporary)
        tally = soak(**vars(options))
    print(
        f"{tally.num_killed} SIGKILL and {tally.num_terminated} SIGTERM to one of "
        f"{options.num_workers} workers ({dict(tally.parts)}), "
        f"the others' exit codes {dict(tally.codes)}, "
        f"{tally.num_runs} runs to their end, starts from steps {tally.resumed_from}: "
        f"{len(tally.differences)} differences"
    )
    for difference in tally.differences:
        print(f"  {difference}")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())

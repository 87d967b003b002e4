"""Kills workers at random moments, many times, and compares with a run let alone.

    .venv/bin/python -m tests.soak --rounds=20

Each round starts all workers of a small real run, and sends one of them SIGKILL (one
round in four SIGTERM) at a moment drawn from the whole time that a run takes: while it
starts, trains, saves, evaluates, exports. The next round goes on with the same folder;
where a run got to its end, its weights, optimizer and metrics are compared with those
of the undisturbed run, to the bit, and the next begins. Takes about 25 seconds a round
on 2 CPU cores. Exit code 1: something differed.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from typing import Any

import numpy as np


from scripts.launchers import launch_local
from tests import processes, tiny
from tests.test_experiment import (
    make_config,
    weights_of,
    without_times,
)
from trainer.config import ExperimentConfig

_GRACE_SECS = 90.0
_TERMINATE_ONE_IN = 4


@dataclasses.dataclass
class Tally:
    """What a soak found.

    Attributes:
      num_killed, num_terminated: workers that were sent SIGKILL and SIGTERM.
      num_too_late: rounds in which the run was over before its moment came.
      num_runs: runs that got to their end and were compared.
      codes: how often workers that were sent nothing ended with which exit code.
      differences: what was not as in the undisturbed run, in sentences.
      resumed_from: the steps that restarts went on from.
    """

    num_killed: int = 0
    num_terminated: int = 0
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
      num_epochs: of each run, 22 steps each.
    """
    generator = random.Random(seed)
    config = _config(folder, num_epochs)
    undisturbed = dataclasses.replace(config, model_dir=str(folder / "undisturbed"))
    began = time.monotonic()
    codes = _start(undisturbed, num_workers).wait(grace_secs=_GRACE_SECS)
    assert not any(codes), f"the undisturbed run ended with {codes}"
    duration = time.monotonic() - began
    _say(f"undisturbed: {duration:.0f} s with {num_workers} workers")
    tally = Tally()
    run = dataclasses.replace(config, model_dir=str(folder / "run-1"))
    while tally.num_killed + tally.num_terminated < rounds:
        tally.resumed_from.append(_latest_step(run))
        moment = generator.uniform(0, duration)
        codes, happened = _disturb(run, num_workers, moment, generator, tally)
        _say(f"{happened}: exit codes {codes}, latest step {_latest_step(run)}")
        if not any(codes):
            run = _compare_and_renew(run, undisturbed, tally)
    codes = _start(run, num_workers).wait(grace_secs=_GRACE_SECS)
    assert not any(codes), f"the last run did not get to its end: {codes}"
    _compare_and_renew(run, undisturbed, tally)
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
    )


def _start(config: ExperimentConfig, num_workers: int) -> launch_local.Workers:
    return launch_local.Workers(processes.command(config), num_workers=num_workers)


def _disturb(
    config: ExperimentConfig,
    num_workers: int,
    moment: float,
    generator: random.Random,
    tally: Tally,
) -> tuple[list[int], str]:
    """Runs until one worker is sent a signal and all have ended."""
    workers = _start(config, num_workers)
    victim = generator.randrange(num_workers)
    terminate = generator.randrange(_TERMINATE_ONE_IN) == 0
    signum = signal.SIGTERM if terminate else signal.SIGKILL
    sent = []

    def send() -> None:
        process = workers.processes[victim]
        if process.poll() is None:
            process.send_signal(signum)
            sent.append(victim)

    timer = threading.Timer(moment, send)
    timer.start()
    codes = workers.wait(grace_secs=_GRACE_SECS)
    timer.cancel()
    timer.join()
    if not sent:
        tally.num_too_late += 1
        return codes, f"over before {moment:.1f} s"
    tally.num_terminated += terminate
    tally.num_killed += not terminate
    others = codes[:victim] + codes[victim + 1 :]
    tally.codes.update(others)
    if set(others) & set(launch_local.NO_RESTART):
        tally.differences.append(f"exit codes {codes}: no launcher would restart it")
    return codes, f"{signum.name} to worker {victim} at {moment:.1f} s"


def _compare_and_renew(
    run: ExperimentConfig,
    undisturbed: ExperimentConfig,
    tally: Tally,
) -> ExperimentConfig:
    """Compares a run that got to its end, and gives the next one."""
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
    name = f"run-{tally.num_runs + 1}"
    folder = pathlib.Path(run.model_dir).parent / name
    return dataclasses.replace(run, model_dir=str(folder))


def _results(config: ExperimentConfig) -> dict[str, Any]:
    """All numbers of the last state, and the report's, without times."""
    folder = pathlib.Path(config.model_dir)
    report = json.loads((folder / "report.json").read_text())
    history = {k: without_times(v) for k, v in report["history"].items()}
    told = {name: report[name] for name in ("before", "after", "samples", "training")}
    return {**weights_of(folder), **told, **history}


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
        f"{options.num_workers} workers, the others' exit codes {dict(tally.codes)}, "
        f"{tally.num_runs} runs to their end, starts from steps {tally.resumed_from}: "
        f"{len(tally.differences)} differences"
    )
    for difference in tally.differences:
        print(f"  {difference}")
    return 1 if tally.differences else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs as processes of their own, as users start them: alone, or as several workers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from typing import Callable, Mapping, Sequence

from trainer.config import ExperimentConfig, settings
from trainer.runtime import addresses

Process = subprocess.Popen[bytes]
TIMEOUT_SECS = 900


def command(config: ExperimentConfig, *more: str) -> list[str]:
    """The command line of a run, every setting a flag."""
    values = {k: v for k, v in settings(config).items() if k != "sample_texts"}
    flags = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    ]
    return [sys.executable, "-m", "trainer.main", *flags, *more]


def start(config: ExperimentConfig, *more: str, **environment: str) -> Process:
    """Starts a run; its output is read by `finish`."""
    return _start(command(config, *more), environment)


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> Process:
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )


def start_workers(
    configs: Sequence[ExperimentConfig], *more: str, **environment: str
) -> list[Process]:
    """Starts one worker a config, on loopback; the first is the chief."""
    return start_commands([command(each, *more) for each in configs], **environment)


def start_commands(
    commands: Sequence[Sequence[str]], **environment: str
) -> list[Process]:
    """The same of any programs."""
    ports = addresses.free_ports(len(commands))
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    tasks = [{"type": "worker", "index": index} for index in range(len(commands))]
    return [
        _start(
            arguments,
            environment | {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})},
        )
        for arguments, task in zip(commands, tasks)
    ]


def finish(processes: Sequence[Process], *, returncode: int = 0) -> list[str]:
    """Waits for all, checks how they ended, and gives what they printed."""
    outputs = [p.communicate(timeout=TIMEOUT_SECS)[0].decode() for p in processes]
    for process, output in zip(processes, outputs):
        assert process.returncode == returncode, output
    return outputs


def signal_when(process: Process, happened: Callable[[], bool], signum: int) -> None:
    """Sends a signal as soon as something is so, while the process still runs."""
    deadline = time.monotonic() + TIMEOUT_SECS
    while not happened():
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    process.send_signal(signum)


def kill_when(process: Process, happened: Callable[[], bool]) -> None:
    """SIGKILL, as soon as something is so; waits for the end."""
    signal_when(process, happened, signal.SIGKILL)
    process.communicate()


def replaced(
    config: ExperimentConfig, section: str, **values: object
) -> ExperimentConfig:
    """The config with some settings of a section changed."""
    changed = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **{section: changed})

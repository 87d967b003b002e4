"""Starts a run's workers on this machine, and all of them again when one is lost.

    python scripts/launchers/launch_local.py --num_workers=2 -- \
        python -m trainer.main --flagfile=configs/quickstart.flags --model_dir=runs/two

For trying and testing what is meant for several machines: the workers share this
machine's devices (its GPUs alone need no launcher, only --strategy=mirrored). A line
of worker 1 comes out as "[1] line"; the launcher's own words go to standard error.

What follows from the workers' exit codes (trainer/exit_codes.py):

    0 from all            finished: 0
    2, 3 or 130 from one  a restart would not help: the same
    anything else         all are started again, up to --max_restarts times; after
                          that 75 where every failure was a 75, else 1

SIGTERM and Ctrl-C go to all workers as SIGTERM, at which they save together and
leave; the launcher then ends with 75, or 130.

Parts of an input that is answered, each by a process of its own, which is started again
by itself; when all are answered, they are joined:

    python scripts/launchers/launch_local.py --num_shards=8 --num_gpus=8 -- \
        python -m trainer.predict --saved_model=runs/a/export --input=a.csv --output=a.jsonl

A part that ends with 2, a mistake, does not stop the others, and nothing is joined.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import itertools
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import Callable, Sequence

from trainer import exit_codes
from trainer.runtime import addresses

NO_RESTART = (
    exit_codes.USER_ERROR,
    exit_codes.DIVERGED,
    exit_codes.INTERRUPTED,
)
# What a worker that was sent SIGTERM late has left until SIGKILL.
TERMINATION_SECS = 10.0
# A process that a worker left behind may hold its output open for ever.
_OUTPUT_SECS = 5.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Stop:
    """A request to end, made by a signal; wakes whoever waits for workers.

    Attributes:
      signum: the signal's number; None: there was none.
      events: gets an item whenever there may be something to do. A SimpleQueue, for
        a signal handler may put into it even while the same thread takes from it.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.events: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._others: list[Stop] = []

    def request(self, signum: int, _: object = None) -> None:
        """Asks for the end; can be a signal's handler."""
        self.signum = signum
        self.events.put(None)
        for other in self._others:
            other.request(signum)

    def another(self) -> Stop:
        """One for who waits for other workers, which is requested with this one."""
        self._others.append(Stop())
        return self._others[-1]


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of an input, which a process answers by itself.

    Attributes:
      index: from 0, of `count`.
      gpu: the only one that the process sees, from 0; None: all that this one sees.
    """

    index: int
    count: int
    gpu: int | None = None

    def environments(self) -> list[dict[str, str]]:
        """The variables of its process."""
        gpus = {} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": str(self.gpu)}
        return [{"PYTHONUNBUFFERED": "1", **os.environ, **gpus}]


class Workers:
    """The processes of one attempt, each told by TF_CONFIG who it is.

        workers = Workers(["python", "-m", "trainer.main", ...], num_workers=2)
        workers.processes[1].kill()
        codes = workers.wait(grace_secs=60)

    To be made in a thread that outlives them: they end when it ends, so that none
    runs on unseen after its launcher was killed.

    Attributes:
      processes: by the worker's index.
      ended: indices of the workers that ended, in that order.
    """

    # All write to one output.
    _output_lock = threading.Lock()

    def __init__(
        self,
        command: Sequence[str],
        *,
        num_workers: int,
        stop: Stop | None = None,
        part: Part | None = None,
    ) -> None:
        self._stop, self._part = stop or Stop(), part
        self._output = open(1, "wb", closefd=False)
        self.ended: list[int] = []
        variables = part.environments() if part else environments(num_workers)
        # Before the first thread: a fork copies locks as threads hold them.
        self.processes = [_start(command, each) for each in variables]
        self._readers = [
            threading.Thread(target=self._pass_on, args=(index,), daemon=True)
            for index in range(num_workers)
        ]
        waiters = [
            threading.Thread(target=self._report_end, args=(index,), daemon=True)
            for index in range(num_workers)
        ]
        for thread in self._readers + waiters:
            thread.start()

    def wait(self, *, grace_secs: float) -> list[int]:
        """Waits for all to end, and gives their exit codes by index.

        Once one has failed, the others have `grace_secs` to end by themselves; then
        comes SIGTERM, and at last SIGKILL. When a stop is requested, SIGTERM comes at
        once, and SIGKILL after `grace_secs`.

        Returns:
          Popen's return codes: -9 is a death by SIGKILL.
        """
        self._wait_until(lambda: self._has_failure() or self._is_stopped())
        self._wait_until(self._is_stopped, secs=grace_secs)
        self._send(signal.SIGTERM)
        secs = grace_secs if self._is_stopped() else TERMINATION_SECS
        self._wait_until(lambda: False, secs=secs)
        self._send(signal.SIGKILL)
        self._wait_until(lambda: False)
        for reader in self._readers:
            reader.join(_OUTPUT_SECS)
        return [process.wait() for process in self.processes]

    def _is_stopped(self) -> bool:
        return self._stop.signum is not None

    def _has_failure(self) -> bool:
        return any(self.processes[index].returncode for index in self.ended)

    def _wait_until(
        self, happened: Callable[[], bool], *, secs: float = math.inf
    ) -> None:
        """Waits until it happened, all workers have ended, or the time is over."""
        deadline = time.monotonic() + secs
        while len(self.ended) < len(self.processes) and not happened():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            with contextlib.suppress(queue.Empty):
                # The queue takes no infinite time.
                self._stop.events.get(timeout=min(left, 60.0))

    def _send(self, signum: int) -> None:
        """Signals those that still run, with the processes they started."""
        for index, process in enumerate(self.processes):
            if index not in self.ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signum)

    def _pass_on(self, index: int) -> None:
        pipe = self.processes[index].stdout
        assert pipe is not None
        with pipe:
            number = self._part.index if self._part else index
            for line in pipe:
                line = b"[%d] %s\n" % (number, line.rstrip(b"\n"))
                # Where nobody reads the launcher's output any more, the worker's is
                # still taken: a full pipe would halt it.
                with self._output_lock, contextlib.suppress(OSError):
                    self._output.write(line)
                    self._output.flush()

    def _report_end(self, index: int) -> None:
        self.processes[index].wait()
        self.ended.append(index)
        self._stop.events.put(None)


def environments(num_workers: int) -> list[dict[str, str]]:
    """The variables of each worker: this process's own, and who it is."""
    others = ("SLURM_", "TRAINER_", "JOB_COMPLETION_INDEX")
    # These would contradict TF_CONFIG, in an allocation or a pod.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    workers = [f"localhost:{port}" for port in addresses.free_ports(num_workers)]
    return [
        {
            # Else a worker's last lines would stay in it while it waits.
            "PYTHONUNBUFFERED": "1",
            **inherited,
            "TF_CONFIG": json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": index},
                }
            ),
        }
        for index in range(num_workers)
    ]


def launch(
    command: Sequence[str],
    *,
    num_workers: int,
    max_restarts: int,
    grace_secs: float,
    stop: Stop,
    part: Part | None = None,
) -> int:
    """Runs the command to its end, through all restarts, and gives the exit code."""
    is_temporary = True
    for restart in itertools.count(1):
        # With ports of its own: those of the last attempt may not be free yet.
        workers = Workers(command, num_workers=num_workers, stop=stop, part=part)
        codes = workers.wait(grace_secs=grace_secs)
        if not any(codes):
            return 0
        what = describe(codes, workers.ended, part=part)
        final = [codes[i] for i in workers.ended if codes[i] in NO_RESTART]
        if final:
            _say(f"{what}; a restart would not help")
            return final[0]
        if stop.signum is not None:
            _say(f"{what}; stopped, the same command goes on")
            return (
                exit_codes.INTERRUPTED
                if stop.signum == signal.SIGINT
                else exit_codes.RESTART
            )
        is_temporary = is_temporary and set(codes) <= {0, exit_codes.RESTART}
        if restart > max_restarts:
            break
        _say(f"{what}; restart {restart} of {max_restarts}")
    _say(f"{what}; given up after {max_restarts} restarts (--max_restarts)")
    return exit_codes.RESTART if is_temporary else 1


def launch_parts(
    command: Sequence[str],
    *,
    num_shards: int,
    num_at_once: int,
    num_gpus: int,
    max_restarts: int,
    grace_secs: float,
    stop: Stop,
) -> int:
    """Answers all parts and joins them where all are answered; gives the exit code.

    Args:
      num_at_once: how many processes run at a time.
      num_gpus: each process sees one of so many; 0: all of them.
    """
    stops = [stop.another() for _ in range(num_shards)]
    slots: queue.SimpleQueue[int] = queue.SimpleQueue()
    for slot in range(num_at_once):
        slots.put(slot)

    def answer(index: int) -> int:
        slot = slots.get()
        try:
            if stop.signum is not None:
                return exit_codes.RESTART
            return launch(
                [*command, f"--shard={index}/{num_shards}"],
                num_workers=1,
                max_restarts=max_restarts,
                grace_secs=grace_secs,
                stop=stops[index],
                part=Part(index, num_shards, slot % num_gpus if num_gpus else None),
            )
        finally:
            slots.put(slot)

    with concurrent.futures.ThreadPoolExecutor(num_at_once) as pool:
        codes = list(pool.map(answer, range(num_shards)))
    failed = [str(index) for index, code in enumerate(codes) if code]
    if not failed:
        code = subprocess.run([*command, "--join"], check=False).returncode
        return code if code >= 0 else 1
    _say(f"not joined: parts {', '.join(failed)} of {num_shards} are not answered")
    final = [code for code in codes if code in NO_RESTART]
    is_temporary = set(codes) <= {0, exit_codes.RESTART}
    return final[0] if final else exit_codes.RESTART if is_temporary else 1


def describe(
    codes: Sequence[int], ended: Sequence[int], *, part: Part | None = None
) -> str:
    """The failures in words, the first one first."""
    signals = {each.value: each.name for each in signal.Signals}
    who = f"part {part.index}/{part.count}" if part else "worker {}"
    return ", ".join(
        (
            f"{who.format(index)} ended with exit code {codes[index]}"
            if codes[index] > 0
            else f"{who.format(index)} was ended by "
            f"{signals.get(-codes[index], codes[index])}"
        )
        for index in ended
        if codes[index]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, launches, and gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if value is not None and not least <= value < math.inf:
            parser.error(f"--{name} must be at least {least}. Received: {value}")
    if (options.num_workers is None) == (options.num_shards is None):
        parser.error("one of --num_workers and --num_shards is required, and one alone")
    if options.num_shards is None and (options.num_at_once or options.num_gpus):
        parser.error("--num_at_once and --num_gpus are for --num_shards")
    stop = Stop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop.request)
    try:
        return _launched(options, stop)
    except (FileNotFoundError, PermissionError) as error:
        parser.error(f"the command must be a program that can be run: {error}")


_LEAST = {
    "num_workers": 1,
    "num_shards": 1,
    "num_at_once": 1,
    "num_gpus": 0,
    "max_restarts": 0,
    "grace_secs": 0,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Starts a run's workers on this machine, all again when one is "
        "lost; or the parts of an input that is answered, each again by itself."
    )
    parser.add_argument("--num_workers", type=int, help="of a run")
    parser.add_argument("--num_shards", type=int, help="parts of an input")
    parser.add_argument(
        "--num_at_once",
        type=int,
        help="how many parts are answered at a time (as many as GPUs, or all)",
    )
    parser.add_argument(
        "--num_gpus",
        type=int,
        default=0,
        help="GPUs of which each part sees one; 0: every part sees all (%(default)s)",
    )
    parser.add_argument(
        "--max_restarts",
        type=int,
        default=10,
        help="over the whole run, or of each part (%(default)s)",
    )
    parser.add_argument(
        "--grace_secs",
        type=float,
        default=60.0,
        help="what workers have to end by themselves once one has failed (%(default)s)",
    )
    parser.add_argument("command", nargs="+", help="after --: the command of a worker")
    return parser


def _launched(options: argparse.Namespace, stop: Stop) -> int:
    """The exit code of what the options ask for."""
    if options.num_shards is None:
        return launch(
            options.command,
            num_workers=options.num_workers,
            max_restarts=options.max_restarts,
            grace_secs=options.grace_secs,
            stop=stop,
        )
    at_once = options.num_at_once or options.num_gpus or options.num_shards
    return launch_parts(
        options.command,
        num_shards=options.num_shards,
        num_at_once=min(at_once, options.num_shards),
        num_gpus=options.num_gpus,
        max_restarts=options.max_restarts,
        grace_secs=options.grace_secs,
        stop=stop,
    )


def _start(
    command: Sequence[str], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A terminal's Ctrl-C reaches the launcher alone, which passes it on.
        start_new_session=True,
        preexec_fn=_end_with_launcher,
    )


def _end_with_launcher() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _say(text: str) -> None:
    print(f"launch_local: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

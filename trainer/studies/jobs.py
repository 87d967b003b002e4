"""Several processes of this machine that work on one study: --num_jobs.

    with jobs.started(config) as under_way:
        for _ in under_way:         # until all jobs have ended
            ...

Each job is a process that makes runs until none is left (`job.py`). It ends with the
process that started it, however that ends: its standard input is a pipe that nobody
else holds open, and at the end of that it asks itself to end, as by SIGTERM. What jobs
say comes out here, with their numbers. What one of them cannot do, this process ends
by: with the same words and the same exit code. Where one is killed, the others take
over its run.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from typing import IO, Iterator, Sequence, cast

from trainer import exit_codes
from trainer.runtime.interruptions import Preempted
from trainer.study_config import StudyConfig

_logger = logging.getLogger(__name__)

_LOOK_EVERY_SECS = 1.0
# A job that is told to end saves its run first.
_SECS_TO_SAVE = 60.0
_ERROR = "error: "


class _Job:
    """One process, and what it says."""

    def __init__(self, number: int, config: StudyConfig) -> None:
        self.number = number
        self.error = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trainer.studies.job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        # Pipes, as was asked for.
        self._stdin = cast(IO[bytes], self.process.stdin)
        self._stderr = cast(IO[bytes], self.process.stderr)
        self._thread = threading.Thread(target=self._relay, daemon=True)
        self._thread.start()
        with contextlib.suppress(BrokenPipeError):  # It has ended: its code says why.
            self._stdin.write(config.to_json().encode())
            self._stdin.write(b"\n")
            self._stdin.flush()

    def _relay(self) -> None:
        for line in self._stderr:
            text = line.decode(errors="replace").rstrip("\n")
            if text.startswith(_ERROR):
                self.error = text.removeprefix(_ERROR)
            else:
                print(f"[job {self.number}] {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Lets go of a process that has ended, when all that it said is said."""
        self._thread.join()
        self._stderr.close()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()


@contextlib.contextmanager
def started(config: StudyConfig) -> Iterator[Iterator[None]]:
    """Starts the jobs; gives a turn now and then until all have ended.

    Jobs that still run at the end of the block are told to end, and waited for.

    Raises (with the turns):
      ValueError: a job ended because of something the user gave.
      FloatingPointError: the training of a run diverged.
      Preempted: all jobs were told to end.
      RuntimeError: all jobs were killed, or one failed otherwise.
    """
    jobs: list[_Job] = []
    try:
        for number in range(1, config.num_jobs + 1):
            jobs.append(_Job(number, config))
        yield _turns(jobs)
    finally:
        _end(jobs)


def _turns(jobs: Sequence[_Job]) -> Iterator[None]:
    running = list(jobs)
    while running:
        yield
        time.sleep(_LOOK_EVERY_SECS)
        for job in [job for job in running if job.process.poll() is not None]:
            running.remove(job)
            job.close()
            _check(job, is_last=not running)


def _check(job: _Job, *, is_last: bool) -> None:
    """Raises what a job ended by, unless the others can do its work."""
    code = job.process.returncode
    if code == 0:
        return
    if code == exit_codes.USER_ERROR:
        raise ValueError(job.error)
    if code == exit_codes.DIVERGED:
        raise FloatingPointError(job.error)
    if code == exit_codes.INTERRUPTED:
        raise KeyboardInterrupt
    if code == exit_codes.RESTART and is_last:
        raise Preempted("all jobs were told to end (SIGTERM)")
    if code > 0 and code != exit_codes.RESTART:
        raise RuntimeError(f"job {job.number} failed with exit code {code}")
    if is_last:
        raise RuntimeError(
            f"job {job.number}, the last one, was ended by signal {-code}; if memory ran "
            "out, give a smaller --num_jobs"
        )
    _logger.warning(
        "job %d was ended (%s); the others take over its run",
        job.number,
        f"exit code {code}" if code > 0 else f"signal {-code}",
    )


def _end(jobs: Sequence[_Job]) -> None:
    running = [job for job in jobs if job.process.poll() is None]
    try:
        for job in running:
            job.process.terminate()
        deadline = time.monotonic() + _SECS_TO_SAVE
        for job in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        # Told to end once more, or too slow: its run loses some steps, and no more.
        for job in running:
            job.process.kill()
            job.process.wait()
            job.close()

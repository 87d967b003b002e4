"""No worker waits for ever: who did not come or hangs is noticed, and named.

    wait_for_workers(cluster, timeout_secs=600)
    configure_heartbeats(cluster, timeout_secs=600)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    watchdog = Watchdog(cluster, timeout_secs=600)
    with naming_lost_workers(cluster), watchdog.watching("all workers to train"):
        watchdog.beat("a training step")    # before each

TensorFlow itself notices a process that is frozen, and mostly one that is gone (the
heartbeats of its coordination service), and ends the others' collective operations;
`naming_lost_workers` turns its errors into sentences. What it waits for without end,
a worker that never comes or one whose process lives but does not get on, ends here:
a thread sees that the process itself did not get on for the time allowed, asks who
lags behind, says so, and ends the process.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import threading
import time
import traceback
from typing import Any, Callable, Iterable, Iterator, TypeVar

import tensorflow as tf

# Not public, but what MultiWorkerMirroredStrategy goes by where it is set before.
from tensorflow.python.eager import context

from trainer.messages import message
from trainer import console, exit_codes
from trainer.runtime import addresses
from trainer.runtime.addresses import Answer
from trainer.runtime.cluster import Cluster
from trainer.runtime.interruptions import WorkerLost

Result = TypeVar("Result")

# A process that sends no heartbeat for so long is taken for dead.
_HEARTBEAT_TIMEOUT_SECS = 30.0
# How often workers are called, and how long a call may take.
_CALL_SECS = 3.0
# How soon one that has not come yet is called again.
_RETRY_SECS = 0.5
# Time for all to have said where they are, before the first of them leaves.
_ROLL_CALL_SECS = 10.0
# What tells of no progress (a download, sorting) may take so many times as long as is
# allowed from one sign of progress to the next.
_TIMES_BETWEEN_TASKS = 10
_MAX_REASON = 200
# Who ends because a third is lost looks, to those that were connected with it, as if it
# were the one.
_PERHAPS_FOR_ANOTHER = "it may have stopped for another, which its log then names"
_TASK = re.compile(r"/job:worker(?:/replica:0)?/task:([0-9]+)")
_CALLED = re.compile(r"remote target (/job:worker/replica:0/task:[0-9]+)")


def configure_heartbeats(cluster: Cluster, *, timeout_secs: float) -> None:
    """Limits how long TensorFlow takes to notice a dead or frozen process.

    To be called before the strategy is made.
    """
    # Here, for its place changes from version to version; on a TPU it is not needed.
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2

    # Before the watchdog, which knows less of a frozen process.
    heartbeat_secs = min(timeout_secs / 2, _HEARTBEAT_TIMEOUT_SECS)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=_milliseconds(timeout_secs),
        heartbeat_timeout_in_ms=_milliseconds(heartbeat_secs),
        shutdown_barrier_timeout_in_ms=_milliseconds(heartbeat_secs),
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(
                name="worker", num_tasks=cluster.num_workers
            )
        ],
    )


def wait_for_workers(cluster: Cluster, *, timeout_secs: float) -> None:
    """Returns when all workers have started; to be called before TensorFlow's start.

    Each listens at its address and calls the others. TensorFlow's own start waits
    without end for some of those that do not come, names none of them, and holds the
    interpreter's lock meanwhile, so that no thread of ours could.

    Raises:
      WorkerLost: some did not come in time; they are named.
      ValueError: something else listens at this worker's address.
    """
    _, port = addresses.host_and_port(cluster.addresses[cluster.index])
    try:
        listener = addresses.listener(port, backlog=cluster.num_workers)
    except OSError as error:
        raise ValueError(
            message(
                f"worker {cluster.index} must be able to listen at port {port}",
                received=error,
                mend="is another run on this machine? Give each its own ports",
            )
        ) from error
    absent = set(range(cluster.num_workers)) - {cluster.index}
    deadline = time.monotonic() + timeout_secs
    with listener:
        while absent and time.monotonic() < deadline:
            absent -= set(_answering(cluster, absent, Answer.LISTENS))
            time.sleep(_RETRY_SECS if absent else 0.0)
    if absent:
        raise WorkerLost(
            f"{_names(cluster, absent)} did not come within {timeout_secs:g} s "
            "(--cluster_timeout_secs)"
        )


@contextlib.contextmanager
def naming_lost_workers(cluster: Cluster | None) -> Iterator[None]:
    """Raises WorkerLost for those of TensorFlow's errors that say another one left."""
    try:
        yield
    except tf.errors.OpError as error:
        if cluster is None or not _is_of_the_cluster(error):
            raise
        raise WorkerLost(_lost_message(str(error.message), cluster)) from error


def _is_of_the_cluster(error: tf.errors.OpError) -> bool:
    kinds = (
        tf.errors.UnavailableError,
        tf.errors.DeadlineExceededError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
        tf.errors.FailedPreconditionError,
    )
    words = ("Collective", "CoordinationService", "/job:worker")
    return isinstance(error, kinds) and any(w in str(error.message) for w in words)


def _lost_message(text: str, cluster: Cluster) -> str:
    """What TensorFlow says of a loss, in our words."""
    # Most telling first: whose heartbeats ended, who was called, who is mentioned.
    # Heartbeats go to worker 0; one who noticed that it is gone may have told us.
    unhealthy = text.partition("unhealthy")[2]
    chief = "/job:worker/task:0" * ("CoordinationService/Heartbeat" in text)
    parts = (unhealthy, chief, *_CALLED.findall(text), text)
    tasks = [{int(i) for i in _TASK.findall(part)} - {cluster.index} for part in parts]
    indices = next((others for others in tasks if others), set())
    reason = text.split("Collective ops is aborted by: ")[-1].strip().split("\n")[0]
    who = _names(cluster, indices) or "another worker"
    said = f"{who} went away or hangs ({reason[:_MAX_REASON]})"
    # The chief alone is told whose heartbeats ended, and tells the others of it.
    return said if unhealthy else f"{said}; {_PERHAPS_FOR_ANOTHER}"


def _names(cluster: Cluster, indices: Iterable[int]) -> str:
    return ", ".join(
        f"worker {index} ({cluster.addresses[index]})"
        for index in sorted(indices)
        if index < cluster.num_workers
    )


class Watchdog:
    """Ends this process when it does not get on, for it waits for another one.

    Args:
      cluster: None: there is no other, and nothing is watched.
      timeout_secs: how long may pass from one beat to the next.
    """

    def __init__(self, cluster: Cluster | None, *, timeout_secs: float) -> None:
        self._timeout_secs = timeout_secs
        self._beats = 0
        self._waiting_for = ""
        self._since = math.inf
        self._limit_secs = math.inf
        self._times = 1
        self._is_watching = self._is_alone = False
        if cluster is not None:
            thread = threading.Thread(target=self._watch, args=(cluster,), daemon=True)
            thread.start()

    def beat(self, waiting_for: str, *, times: int = 1) -> None:
        """Says that the process gets on, and what it comes to next.

        Every worker must call it at the same places. Without effect outside of
        `watching`.

        Args:
          times: how often there is to be done, until the next beat, what may take as
            long as is allowed.
        """
        # First of all: before it is known what comes, it is not late.
        self._since = time.monotonic()
        self._beats += 1
        self._waiting_for = waiting_for
        self._times = times

    @contextlib.contextmanager
    def watching(self, waiting_for: str, *, patiently: bool = False) -> Iterator[None]:
        """Watches from the first beat, which this is, to the end of the block.

        Args:
          patiently: whether it may take any time, as long as all are alive.
        """
        self._limit_secs = math.inf if patiently else self._timeout_secs
        self.beat(waiting_for)
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False

    @contextlib.contextmanager
    def working(self, on: str) -> Iterator[None]:
        """Watches this process by itself, in work that takes each its own time.

        The others wait for it patiently, so it is itself that has to end where it does
        not get on: with a task of `console`, or, between these, for much longer.

        Args:
          on: what it is at, "reading and tokenizing the texts".
        """
        self._is_alone = True
        try:
            with self.watching(on), console.heard_by(self._get_on):
                self._get_on(False)
                yield
        finally:
            self._is_alone = False

    def _get_on(self, is_in_a_task: bool) -> None:
        """Less than a beat, which the workers compare: each does this as it comes."""
        self._since = time.monotonic()
        self._times = 1 if is_in_a_task else _TIMES_BETWEEN_TASKS

    def watched(
        self, step: Callable[..., Result], waiting_for: str
    ) -> Callable[..., Result]:
        """The same function, each call of which is a beat."""

        def beat_and_do(*args: Any, **kwargs: Any) -> Result:
            self.beat(waiting_for)
            return step(*args, **kwargs)

        return beat_and_do

    def _watch(self, cluster: Cluster) -> None:
        gone: set[int] = set()
        while True:
            time.sleep(min(_CALL_SECS, self._timeout_secs / 4))
            before, beats, since = gone, self._beats, self._since
            gone = _who_is_gone(cluster) if self._is_late(_CALL_SECS) else set()
            blame = ""
            # Found twice: one lost call is no proof, and all may be leaving.
            if gone & before:
                blame = f"{_names(cluster, gone & before)} went away"
                if not cluster.is_chief:
                    blame += f"; {_PERHAPS_FOR_ANOTHER}"
            elif self._is_late(self._times * self._limit_secs):
                own = f"{_names(cluster, [cluster.index])}, this one, hangs"
                blame = own if self._is_alone else _who_lags(cluster, beats)
            # It may have got on after all.
            if blame and self._since == since and self._is_watching:
                return self._give_up(blame)

    def _is_late(self, limit_secs: float) -> bool:
        return self._is_watching and time.monotonic() - self._since > limit_secs

    def _give_up(self, blame: str) -> None:
        """Says who is waited for, and ends the process."""
        sys.stdout.flush()
        doing = "was at" if self._is_alone else "waited for"
        sys.stderr.write(
            f"stopped: {blame}; {doing} {self._waiting_for} (at most "
            f"{self._times * self._timeout_secs:g} s by --cluster_timeout_secs="
            f"{self._timeout_secs:g}); start all workers "
            f"again to resume. This worker was at {_place_of_main_thread()}\n"
        )
        sys.stderr.flush()
        # From this thread: the main one waits in TensorFlow.
        os._exit(exit_codes.RESTART)


def _who_is_gone(cluster: Cluster) -> set[int]:
    """Those at whose addresses nothing listens any more: their machines say so.

    A name that cannot be looked up, a network that is away for a while, an answer that
    does not come prove nothing. Of a worker that is lost with its machine, TensorFlow's
    heartbeats tell.

    Where a process dies without a word, TensorFlow tells only those that were just
    then reading from it. The chief calls all, all call the chief: so the others know
    of a death by the chief's end, if not before.
    """
    called = range(1, cluster.num_workers) if cluster.is_chief else [0]
    return set(_answering(cluster, called, Answer.REFUSED))


def _answering(
    cluster: Cluster, called: Iterable[int], expected: Answer
) -> Iterator[int]:
    for index in called:
        answer = addresses.call(cluster.addresses[index], timeout_secs=_CALL_SECS)
        if answer is expected:
            yield index


def _who_lags(cluster: Cluster, beats: int) -> str:
    """Roll call: each tells the others how far it is, those behind are named."""
    deadline = time.monotonic() + _ROLL_CALL_SECS
    key = "trainer/roll_call/{}"
    # TensorFlow's calls give the interpreter free, but may themselves hang.
    counts: dict[int, int] = {cluster.index: beats}

    def ask(index: int) -> None:
        with contextlib.suppress(tf.errors.OpError):
            answer = context.context().get_config_key_value(
                key.format(index), _milliseconds(_ROLL_CALL_SECS)
            )
            counts[index] = int(answer)

    def tell() -> None:
        with contextlib.suppress(tf.errors.OpError):
            context.context().set_config_key_value(
                key.format(cluster.index), str(beats)
            )

    others = set(range(cluster.num_workers)) - {cluster.index}
    threads = [threading.Thread(target=tell, daemon=True)]
    threads += [threading.Thread(target=ask, args=(i,), daemon=True) for i in others]
    for thread in threads:
        thread.start()
    # All of it, even if all have answered: others may still want to ask.
    time.sleep(max(0.0, deadline - time.monotonic()))
    silent = others - counts.keys()
    if silent:
        # Worker 0 keeps what they tell.
        silent = {0} if 0 in silent else silent
        return f"{_names(cluster, silent)} does not answer; {_PERHAPS_FOR_ANOTHER}"
    behind = {index for index, count in counts.items() if count < max(counts.values())}
    if behind:
        return f"{_names(cluster, behind)} hangs"
    return "all workers wait for each other; is the network between them whole?"


def _place_of_main_thread() -> str:
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return " < ".join(
        f"{entry.name} ({entry.filename}:{entry.lineno})"
        for entry in reversed(traceback.extract_stack(frame)[-4:])
    )


def _milliseconds(secs: float) -> int:
    return max(1, round(secs * 1000))

"""No worker waits for ever: who did not come or hangs is found out, and named.

    watchdog = Watchdog(cluster, timeout_secs=600)
    with watchdog.watching("all workers to start"):
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        ...
        watchdog.beat("training step 12")

TensorFlow itself notices a process that is gone or frozen (the heartbeats of its
coordination service, see `configure_heartbeats`) and ends the others' collective
operations; `naming_lost_workers` turns its errors into sentences. What it waits for
without end, a worker that never comes or one whose process lives but does not get on,
ends here: a thread sees that the process itself did not get on for the time allowed,
asks who lags behind, says so, and ends the process.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import threading
import time
import traceback
from typing import Any, Callable, Iterator, TypeVar

import tensorflow as tf

# Not public, but what MultiWorkerMirroredStrategy goes by where it is set before.
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from trainer import exit_codes
from trainer.training.cluster import Cluster
from trainer.training.interruptions import WorkerLost

Result = TypeVar("Result")

# A process that sends no heartbeat for so long is taken for dead.
_HEARTBEAT_TIMEOUT_SECS = 30.0
# TensorFlow's own limit to the start comes after ours, which names who is missing.
_REGISTER_TIMEOUT_FACTOR = 2.0
_PROBE_SECS = 3.0
# Time for all to have said where they are, before the first of them leaves.
_ROLL_CALL_SECS = 10.0
_TASK = re.compile(r"/job:worker(?:/replica:0)?/task:([0-9]+)")


def configure_heartbeats(cluster: Cluster, *, timeout_secs: float) -> None:
    """Limits how long TensorFlow takes to notice a dead or frozen process.

    To be called before the strategy is made.
    """
    # Before the watchdog, which knows less of a frozen process.
    heartbeat_secs = min(timeout_secs / 2, _HEARTBEAT_TIMEOUT_SECS)
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=_milliseconds(
            timeout_secs * _REGISTER_TIMEOUT_FACTOR
        ),
        heartbeat_timeout_in_ms=_milliseconds(heartbeat_secs),
        shutdown_barrier_timeout_in_ms=_milliseconds(heartbeat_secs),
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(
                name="worker", num_tasks=cluster.num_workers
            )
        ],
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
    indices = {int(index) for index in _TASK.findall(text)} - {cluster.index}
    if not indices and "CoordinationService" in text:
        indices = {0}
    reason = text.split("Collective ops is aborted by: ")[-1].strip().split("\n")[0]
    if not indices:
        return f"another worker went away ({reason})"
    return f"{_names(cluster, indices)} went away or hangs ({reason})"


def _names(cluster: Cluster, indices: Any) -> str:
    return ", ".join(
        f"worker {index} ({cluster.addresses[index]})"
        for index in sorted(indices)
        if index < cluster.num_workers
    )


class Watchdog:
    """Ends this process when it does not get on, for it waits for another one.

    Args:
      cluster: None: there is no other, and nothing is watched.
      timeout_secs: how long a beat may take.
      leave: ends the process, from a thread.
    """

    def __init__(
        self,
        cluster: Cluster | None,
        *,
        timeout_secs: float,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._cluster = cluster
        self._timeout_secs = timeout_secs
        self._leave = leave
        self._beats = 0
        self._waiting_for = ""
        self._is_watching = False
        self._since: float | None = None
        if cluster is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def beat(self, waiting_for: str) -> None:
        """Says that the process gets on, and what it comes to next.

        Every worker must call it at the same places. Without effect outside of
        `watching`.
        """
        self._beats += 1
        self._waiting_for = waiting_for
        self._since = time.monotonic() if self._is_watching else None

    @contextlib.contextmanager
    def watching(self, waiting_for: str) -> Iterator[None]:
        """Watches from the first beat, which this is, to the end of the block."""
        self._is_watching = True
        self.beat(waiting_for)
        try:
            yield
        finally:
            self._is_watching = False
            self._since = None

    def watched(
        self, step: Callable[..., Result], waiting_for: str
    ) -> Callable[..., Result]:
        """The same function, each call of which is a beat."""

        def beat_and_do(*args: Any, **kwargs: Any) -> Result:
            self.beat(waiting_for)
            return step(*args, **kwargs)

        return beat_and_do

    def _watch(self) -> None:
        while True:
            since = self._since
            if since is None:
                time.sleep(min(1.0, self._timeout_secs / 10))
                continue
            left = since + self._timeout_secs - time.monotonic()
            if left <= 0:
                return self._give_up()
            time.sleep(min(left, 1.0))

    def _give_up(self) -> None:
        """Asks who lags behind, says so, and ends the process."""
        assert self._cluster is not None
        beats, waiting_for = self._beats, self._waiting_for
        if beats == 1:
            blame = _who_did_not_come(self._cluster)
        else:
            blame = _who_lags(self._cluster, beats)
        if self._beats != beats:
            # It got on after all.
            return self._watch()
        sys.stderr.write(
            f"error: waited {self._timeout_secs:g} s for {waiting_for}: {blame}; "
            "start all workers again, or give them longer with "
            f"--cluster_timeout_secs. This worker is at {_place_of_main_thread()}\n"
        )
        sys.stdout.flush()
        sys.stderr.flush()
        self._leave(exit_codes.RESTART)


def _who_did_not_come(cluster: Cluster) -> str:
    """The workers whose server does not listen: before it, none can be asked."""
    absent = [
        index
        for index in range(cluster.num_workers)
        if index != cluster.index and not _listens(cluster.addresses[index])
    ]
    if absent:
        return f"{_names(cluster, absent)} did not come"
    return "all workers' ports are open, but not all of them got here"


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECS):
            return True
    except OSError:
        return False


def _who_lags(cluster: Cluster, beats: int) -> str:
    """Roll call: each tells the others how far it is, those behind are named."""
    deadline = time.monotonic() + _ROLL_CALL_SECS
    key = "trainer/roll_call/{}"
    # TensorFlow's calls give the interpreter free, but may themselves hang.
    found: dict[int, int] = {cluster.index: beats}

    def ask(index: int) -> None:
        with contextlib.suppress(tf.errors.OpError):
            answer = context.context().get_config_key_value(
                key.format(index), _milliseconds(_ROLL_CALL_SECS)
            )
            found[index] = int(answer)

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
    silent = others - found.keys()
    if silent:
        # Worker 0 keeps what they tell.
        silent = {0} if 0 in silent else silent
        return f"{_names(cluster, silent)} does not answer"
    behind = {index for index, count in found.items() if count < max(found.values())}
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

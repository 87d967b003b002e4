"""Workers that do not come, die, freeze or hang: the others end, and name them.

Real processes with TensorFlow's real collective operations, without a model.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Callable

import pytest
import tensorflow as tf

from tests.test_experiment import make_config
from trainer import console, exit_codes
from trainer.runtime import addresses
from trainer.runtime import cluster as clusters
from trainer.runtime import watchdog
from trainer.runtime.interruptions import WorkerLost

_TIMEOUT_SECS = 8

# A worker that adds up numbers with the others, for ever. After `hang_at` steps it
# writes its file and, where it is told to, gets on no more.
_WORKER = """
import os, pathlib, sys, time
import trainer
from trainer import flags
from trainer.config import RuntimeConfig
from trainer.runtime import strategies
from trainer.runtime.watchdog import naming_lost_workers

ready, hangs = pathlib.Path(sys.argv[1]), sys.argv[2] == "hangs"

def main():
    config = RuntimeConfig(cluster_timeout_secs=float(sys.argv[3]))
    runtime = strategies.set_up(config, seed=0)
    with naming_lost_workers(runtime.cluster):
        with runtime.watchdog.watching("all workers to add"):
            for step in range(100_000):
                runtime.watchdog.beat("a step")
                runtime.wait_for_all()
                if step == 20:
                    ready.touch()
                if step == 20 and hangs:
                    time.sleep(1000)

try:
    main()
except flags.WorkerLost as error:
    sys.stderr.write(f"stopped: {error}")
    flags._exit_now(flags.exit_codes.RESTART)
"""


def start_workers(
    folder: pathlib.Path,
    indices: list[int],
    *,
    hanging: int | None = None,
    host: str = "localhost",
) -> tuple[list[str], dict[int, Any]]:
    """Starts some of three workers; returns all addresses and the processes."""
    workers = [f"{host}:{port}" for port in addresses.free_ports(3)]
    started = {}
    for index in indices:
        task = {"type": "worker", "index": index}
        content = {"cluster": {"worker": workers}, "task": task}
        how = "hangs" if index == hanging else "works"
        arguments = [str(folder / f"ready-{index}"), how, str(_TIMEOUT_SECS)]
        started[index] = subprocess.Popen(
            [sys.executable, "-c", _WORKER, *arguments],
            env=os.environ | {"TF_CONFIG": json.dumps(content)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    return workers, started


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "lost", "host"),
    [
        ("absent", 0, "localhost"),
        ("killed", 0, "localhost"),
        ("killed", 1, "[::1]"),
        ("frozen", 0, "localhost"),
        ("frozen", 1, "localhost"),
        ("hangs", 1, "localhost"),
    ],
)
def test_the_others_end_and_name_it(
    how: str, lost: int, host: str, tmp_path: pathlib.Path
) -> None:
    started = [i for i in range(3) if how != "absent" or i != lost]
    hanging = lost if how == "hangs" else None
    names, workers = start_workers(tmp_path, started, hanging=hanging, host=host)
    try:
        if how != "absent":
            wait_until(lambda: len(list(tmp_path.glob("ready-*"))) == 3)
        if how in ("killed", "frozen"):
            workers[lost].send_signal(
                signal.SIGKILL if how == "killed" else signal.SIGSTOP
            )
        outputs = {}
        for index in sorted({0, 1, 2} - {lost}):
            outputs[index] = workers[index].communicate(timeout=120)[0].decode()
            assert workers[index].returncode == exit_codes.RESTART, outputs[index]
    finally:
        for worker in workers.values():
            worker.kill()
    named = [
        re.search(
            rf"stopped: [^;]*worker {lost} \({re.escape(names[lost])}\) "
            r"(went away|does not answer|hangs|did not come)",
            output,
        )
        for output in outputs.values()
    ]
    # Who only sees another one leave, because that one noticed first, names that one,
    # and says that it may have stopped for another.
    assert any(named), outputs
    assert all(
        match or watchdog._PERHAPS_FOR_ANOTHER in output
        for match, output in zip(named, outputs.values())
    ), outputs
    assert not any("Traceback" in output for output in outputs.values())


CLUSTER = clusters.Cluster(("a:1", "b:2", "c:3"), 2, "TF_CONFIG: a test")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "Collective ops is aborted by: Error reported from /job:worker/task:0: The "
            "following tasks are unhealthy (stopped sending heartbeats):\n"
            "/job:worker/replica:0/task:1\nThe tasks have crashed.",
            "worker 1 (b:2) went away or hangs (Error reported",
        ),
        (
            "Collective ops is aborted by: Connection reset\nAdditional GRPC error from "
            "remote target /job:worker/replica:0/task:0 while calling RecvBuf, of "
            "/job:worker/replica:0/task:1 and /job:worker/replica:0/task:2",
            "worker 0 (a:1) went away or hangs (Connection reset)",
        ),
        (
            "Collective ops is aborted by: Deadline Exceeded\n\nRPC: "
            "/tensorflow.CoordinationService/Heartbeat",
            "worker 0 (a:1) went away or hangs (Deadline Exceeded)",
        ),
        (
            "Collective ops is aborted by: Deadline Exceeded\n\nRPC: "
            "/tensorflow.CoordinationService/Heartbeat\nAdditional GRPC error from "
            "remote target /job:worker/replica:0/task:1 while calling RecvBuf",
            "worker 0 (a:1) went away or hangs (Deadline Exceeded)",
        ),
        (
            "Collective ops is aborted by: something else",
            "another worker went away or hangs (something else)",
        ),
    ],
)
def test_errors_of_tensorflow_in_our_words(text: str, named: str) -> None:
    with pytest.raises(WorkerLost, match=re.escape(named)):
        with watchdog.naming_lost_workers(CLUSTER):
            raise tf.errors.UnavailableError(None, None, text)


@pytest.mark.parametrize(
    ("cluster", "error"),
    [
        (None, tf.errors.UnavailableError(None, None, "Collective ops is aborted")),
        (CLUSTER, tf.errors.InvalidArgumentError(None, None, "/job:worker/task:1")),
        (CLUSTER, tf.errors.InternalError(None, None, "a kernel is broken")),
        (CLUSTER, KeyError("x")),
    ],
)
def test_other_errors_stay_what_they_are(cluster: Any, error: Exception) -> None:
    with pytest.raises(type(error)):
        with watchdog.naming_lost_workers(cluster):
            raise error


def test_a_beat_covers_what_is_done_several_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As compiling a length, once for each of the replicas of a process."""
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    chief, own = (f"localhost:{port}" for port in addresses.free_ports(2))
    cluster = clusters.Cluster((chief, own), 1, "TF_CONFIG: a test")
    dog = watchdog.Watchdog(cluster, timeout_secs=0.3)
    with dog.working("compiling"):
        dog.beat("compiling the train step", times=8)
        assert not ended.wait(1.2), capsys.readouterr().err
        assert ended.wait(20), "it hangs, and nobody notices"
    said = capsys.readouterr().err
    assert "(at most 2.4 s by --cluster_timeout_secs=0.3)" in said


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_port_in_use_is_named(host: str) -> None:
    (port,) = addresses.free_ports(1)
    cluster = clusters.Cluster((f"{host}:{port}", "b:2"), 0, "TF_CONFIG: a test")
    with socket.create_server(("", port)):
        with pytest.raises(
            ValueError, match=rf"listen at port {port}\. Received: .*in use"
        ):
            watchdog.wait_for_workers(cluster, timeout_secs=1)


def test_who_works_is_ended_when_it_gets_on_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By itself, for the others wait patiently; as long as it does, it may go on."""
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", end)
    chief, own = (f"localhost:{port}" for port in addresses.free_ports(2))
    cluster = clusters.Cluster((chief, own), 1, "TF_CONFIG: a test")
    dog = watchdog.Watchdog(cluster, timeout_secs=0.4)
    with dog.working("reading and tokenizing the texts"):
        # Not in a task that says how it gets on, it has ten times as long.
        assert not ended.wait(1.0), capsys.readouterr().err
        with console.counter("tokenizing", unit="texts") as advance:
            until = time.monotonic() + 1.2
            while time.monotonic() < until:
                assert not ended.wait(0.05), capsys.readouterr().err
                advance(1)
            assert ended.wait(20), "it hangs, and nobody notices"
    assert codes == [exit_codes.RESTART]
    said = capsys.readouterr().err
    assert f"stopped: worker 1 ({own}), this one, hangs; was at reading and" in said


# Prepares the data of a run, with what reads it taking as long as it is told.
_PREPARING = """
import pathlib, sys, time
import trainer
from trainer import console, flags, run_folder
from trainer.config import ExperimentConfig
from trainer.data import sources
from trainer.runtime import watchdog
from trainer.runtime.interruptions import WorkerLost
from trainer.stages import context, prepare

watchdog._ROLL_CALL_SECS = 1.0
config = ExperimentConfig.from_json(pathlib.Path(sys.argv[1]).read_text())

def load(data):
    for _ in console.progress(range(int(sys.argv[2])), "reading", unit="rows"):
        time.sleep(0.1)
    return sources.load(data)

try:
    with run_folder.opened(config.model_dir, is_chief=False) as folder:
        with context.started(config, folder, load) as run:
            prepare.run(run)
            print("prepared", flush=True)
            run.runtime.wait_for_all()
except WorkerLost as error:
    sys.stderr.write(f"stopped: {error}")
flags._exit_now(0)
"""


@pytest.mark.slow
def test_a_worker_that_prepares_for_long_is_waited_for(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """As one with a cold cache among others with a warm one: three limits long."""
    config = make_config(
        tmp_path,
        tiny_preset,
        runtime={"strategy": "auto", "cluster_timeout_secs": 5.0},
    )
    file = tmp_path / "config.json"
    file.write_text(config.to_json())
    names = [f"localhost:{port}" for port in addresses.free_ports(2)]
    workers = []
    for index, num_rows in enumerate(("0", "150")):
        task = {"type": "worker", "index": index}
        content = {"cluster": {"worker": names}, "task": task}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", _PREPARING, str(file), num_rows],
                env=os.environ | {"TF_CONFIG": json.dumps(content)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
    try:
        outputs = [worker.communicate(timeout=180)[0].decode() for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert all("prepared" in output for output in outputs), outputs


def test_who_does_not_come_is_named() -> None:
    here, there, nobody = addresses.free_ports(3)
    names = tuple(f"localhost:{port}" for port in (here, there, nobody))
    cluster = clusters.Cluster(names, 0, "TF_CONFIG: a test")
    with socket.create_server(("", there)):
        with pytest.raises(WorkerLost) as error:
            watchdog.wait_for_workers(cluster, timeout_secs=0.5)
    message = str(error.value)
    assert message.startswith(
        f"worker 2 (localhost:{nobody}) did not come within 0.5 s"
    )
    assert "worker 1" not in message


def test_workers_meet_whose_addresses_are_of_ipv6() -> None:
    here, there = (f"[::1]:{port}" for port in addresses.free_ports(2))
    clusters_of_both = [
        clusters.Cluster((here, there), index, "TF_CONFIG: a test") for index in (0, 1)
    ]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(watchdog.wait_for_workers, each, timeout_secs=3)
            for each in clusters_of_both
        ]
        # The one that is served first leaves at once, and the other looks in vain.
        assert next(concurrent.futures.as_completed(waiting)).exception() is None


def test_only_who_refuses_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup or a network that fails for a while says nothing of a worker."""
    refusing, listening = addresses.free_ports(2)
    names = ("a:1", f"localhost:{refusing}", f"localhost:{listening}")
    cluster = clusters.Cluster((*names, "no-such-name.invalid:9"), 0, "TF_CONFIG: a")
    with addresses.listener(listening):
        assert watchdog._who_is_gone(cluster) == {1}

        def fails(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure")

        monkeypatch.setattr(socket, "getaddrinfo", fails)
        assert watchdog._who_is_gone(cluster) == set()

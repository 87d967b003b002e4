"""Connects to a TPU, or says within a given time why not.

    strategy = connect("grpc://10.0.0.2:8470", timeout_secs=600)

TensorFlow itself waits for a TPU that does not answer for minutes, without a word,
and cannot be interrupted. So addresses are first tried with plain sockets, and
TensorFlow then connects in a thread of its own, which is left behind if it does not
come back: it ends with the process.
"""

from __future__ import annotations

import concurrent.futures
import logging
import socket
import threading
import time
import urllib.parse

import tensorflow as tf

from trainer.messages import message

_logger = logging.getLogger(__name__)

_LOCAL = "local"
_GRPC = "grpc://"
_RETRY_SECS = 0.5

Connection = concurrent.futures.Future[tf.distribute.TPUStrategy]


def connect(tpu: str, *, timeout_secs: float) -> tf.distribute.TPUStrategy:
    """Initializes a TPU, which must be nobody else's.

    Args:
      tpu: a TPU's name; grpc://HOST:PORT, several of them with commas between; or
        "local": the cores of this machine.
      timeout_secs: how long to wait for it, all in all.

    Returns:
      A strategy with a replica on each core of all the TPU's hosts.

    Raises:
      ValueError: there is no such TPU, or it does not answer in time.
    """
    deadline = time.monotonic() + timeout_secs
    _logger.info("waiting for the TPU %s, %g seconds at most", tpu, timeout_secs)
    if tpu.startswith(_GRPC):
        _wait_for_listeners(tpu, deadline=deadline)
    connection = Connection()
    # A daemon: the interpreter does not wait for it at its end.
    threading.Thread(target=_initialize, args=(tpu, connection), daemon=True).start()
    # A moment is left even if all of it was needed until somebody listened.
    left = max(1.0, deadline - time.monotonic())
    concurrent.futures.wait([connection], timeout=left)
    if not connection.done():
        listens = ", though something listens there" * tpu.startswith(_GRPC)
        raise ValueError(
            message(
                f"--tpu={tpu}: expected a TPU that answers",
                received=f"no answer in {timeout_secs:g} s{listens}",
                mend=f"{_advice(tpu)}, or give it longer with --cluster_timeout_secs",
            )
        )
    error = connection.exception()
    if error is not None:
        lines = str(error).strip().splitlines() or ["no message"]
        raise ValueError(
            message(
                f"--tpu={tpu}: expected a TPU",
                received=f"{type(error).__name__}: {lines[0]}",
                mend=_advice(tpu),
            )
        ) from error
    return connection.result()


def _wait_for_listeners(tpu: str, *, deadline: float) -> None:
    """Raises ValueError where nothing listens at the deadline.

    What is not there yet may be starting, the name of its machine included.
    """
    started = time.monotonic()
    # All are read before the first is waited for.
    places = [(address, *_host_and_port(address)) for address in tpu.split(",")]
    for address, host, port in places:
        while True:
            left = max(0.1, deadline - time.monotonic())
            try:
                socket.create_connection((host, port), timeout=left).close()
                break
            except OSError as error:
                seen = str(error)
            if time.monotonic() + _RETRY_SECS > deadline:
                raise ValueError(
                    message(
                        f"--tpu={tpu}: expected a TPU at {address.removeprefix(_GRPC)}",
                        received=(
                            f"nothing that listens there in {deadline - started:.3g} s"
                            f" ({seen})"
                        ),
                        mend=(
                            "check the address, and that the TPU runs, or give it"
                            " longer with --cluster_timeout_secs"
                        ),
                    )
                )
            time.sleep(_RETRY_SECS)


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urllib.parse.urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not address.startswith(_GRPC) or not host or not port:
        raise ValueError(message(f"--tpu must be {_GRPC}HOST:PORT", received=address))
    return host, port


def _initialize(tpu: str, connection: Connection) -> None:
    """Sets the strategy, or what went wrong."""
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        # What is the host's work stays on this machine: a TPU's own host has neither
        # the tokenizer's operations nor this machine's files.
        tf.config.experimental_connect_to_cluster(
            resolver, make_master_device_default=False
        )
        tf.tpu.experimental.initialize_tpu_system(resolver)
        connection.set_result(tf.distribute.TPUStrategy(resolver))
    except Exception as error:
        # Of many kinds, from the network's to TensorFlow's; `connect` reports it.
        connection.set_exception(error)


def _advice(tpu: str) -> str:
    if tpu == _LOCAL:
        return (
            "use it on a TPU VM, with a TensorFlow that is built for TPUs (the "
            "package tensorflow-tpu), or name the TPU of another machine"
        )
    if tpu.startswith(_GRPC):
        return (
            "check that a TPU's server runs there, with this version of TensorFlow, "
            "and that nobody else uses it"
        )
    return (
        "check the name, which is looked up in this machine's Google Cloud project, "
        f"or give {_GRPC}HOST:PORT"
    )

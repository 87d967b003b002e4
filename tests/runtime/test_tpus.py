"""TPUs: up to where one would answer, and what one would be given."""

from __future__ import annotations

import collections
import pathlib
import re
import socket
import subprocess
import sys
import time
from typing import Any, Iterator

import keras
import pytest
import tensorflow as tf

from tests import absent_tpu, processes, tiny
from tests.training.test_steps import make_classifier
from trainer.config import RuntimeConfig
from trainer.data import batches, plans
from trainer.runtime import addresses, strategies, tpus


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No TF_CONFIG to begin with; Keras's policy as it was at the end."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    policy = keras.mixed_precision.dtype_policy()
    yield
    keras.mixed_precision.set_dtype_policy(policy)


@pytest.mark.parametrize("strategy", ["auto", "tpu"])
def test_nobody_listens(strategy: Any) -> None:
    (port,) = addresses.free_ports(1)
    config = RuntimeConfig(
        strategy=strategy, tpu=f"grpc://localhost:{port}", cluster_timeout_secs=1
    )
    started = time.monotonic()
    with pytest.raises(ValueError) as error:
        strategies.set_up(config, seed=0)
    assert time.monotonic() - started < 3
    message = str(error.value)
    assert f"--tpu=grpc://localhost:{port}: expected a TPU at localhost:" in message
    assert "in 1 s" in message and "refused" in message
    assert "--cluster_timeout_secs" in message


def test_a_tpu_that_is_starting_is_waited_for() -> None:
    """And one of two that listens is not enough."""
    with socket.create_server(("localhost", 0)) as server:
        listening = server.getsockname()[1]
        (silent,) = addresses.free_ports(1)
        tpu = f"grpc://localhost:{listening},grpc://localhost:{silent}"
        started = time.monotonic()
        with pytest.raises(
            ValueError, match=rf"expected a TPU at localhost:{silent}\. "
        ):
            tpus.connect(tpu, timeout_secs=1.5)
        assert time.monotonic() - started > 0.9, "it was not tried again"


def test_host_without_an_address() -> None:
    with pytest.raises(ValueError, match="at no-such-host.invalid:8470.*not known"):
        tpus.connect("grpc://no-such-host.invalid:8470", timeout_secs=1)


@pytest.mark.parametrize(
    "tpu", ["grpc://", "grpc://a", "grpc://a:b", "grpc://:1", "grpc://a:1,b:2"]
)
def test_address_that_is_none(tpu: str) -> None:
    with pytest.raises(ValueError, match="--tpu must be grpc://HOST:PORT. Received: "):
        tpus.connect(tpu, timeout_secs=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"jit_compile": "off"}, "--jit_compile=off is not for a TPU.*tpu=local"),
        ({"num_virtual_devices": 2}, "--num_virtual_devices is for --strategy=mirr"),
    ],
)
def test_settings_that_a_tpu_cannot_follow(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        strategies.set_up(RuntimeConfig(tpu="local", **settings), seed=0)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}',
    )
    with pytest.raises(ValueError, match="--tpu=local is driven by one.*TF_CONFIG.* 2"):
        strategies.set_up(RuntimeConfig(tpu="local"), seed=0)


def answering(monkeypatch: pytest.MonkeyPatch, cores: absent_tpu.Cores) -> None:
    """Lets TensorFlow find a TPU of these cores, whichever is asked for."""
    resolvers = tf.distribute.cluster_resolver
    resolver = absent_tpu.Resolver(cores)
    monkeypatch.setattr(resolvers, "TPUClusterResolver", lambda tpu: resolver)
    nothing = lambda *args, **kwargs: None  # noqa: E731
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", nothing)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", nothing)


@pytest.mark.parametrize(
    ("settings", "precision"),
    [
        ({}, "mixed_bfloat16: --precision=auto on a TPU"),
        ({"jit_compile": "on"}, "mixed_bfloat16: --precision=auto on a TPU"),
        ({"precision": "float32"}, "float32: --precision=float32"),
    ],
)
def test_what_is_chosen_for_a_tpu(
    settings: dict[str, Any], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, absent_tpu.Cores("worker", num_hosts=2, cores_per_host=4))
    runtime = strategies.set_up(RuntimeConfig(tpu="pod", **settings), seed=0)
    assert isinstance(runtime.strategy, tf.distribute.TPUStrategy)
    assert runtime.num_replicas == 8 and runtime.is_chief
    assert runtime.fusion == "whole"
    assert runtime.reasons == (
        "TPU of 8 cores on 2 hosts: --strategy=auto, --tpu=pod",
        precision,
        "XLA on: a TPU's strategy compiles the whole step itself",
    )
    assert runtime.precision == keras.mixed_precision.dtype_policy().name
    assert runtime.precision == precision.split(":")[0]


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_steps_can_be_handed_to_a_tpu(
    accumulation_steps: int, tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """Everything up to it is real: variables, batches, and the strategy's tracing."""
    cores = absent_tpu.Cores("localhost", num_hosts=1, cores_per_host=4)
    strategy = absent_tpu.stand_in(cores)
    with strategies.precision("mixed_bfloat16"):
        classifier = make_classifier(strategy, tiny_preset, dropout=0.1)
    texts, labels = tiny.labelled_sentences(8)
    feeder = batches.BatchFeeder(
        tiny.tokenize(texts, tmp_path), labels, (64,), strategy
    )
    plan = plans.plan_evaluation(feeder_lengths(feeder), (64,), batch_size=8)
    feed = feeder(plan)
    ((_, batch),) = feed
    assert [part.shape for part in batch.inputs.token_ids.values] == [(2, 64)] * 4

    train_step = tiny.make_train_step(
        classifier,
        strategy,
        clip_norm=1.0,
        seed=0,
        accumulation_steps=accumulation_steps,
        steps_per_call=2,
    )
    found = operations(train_step._one.get_concrete_function(batch, tf.constant(0)))
    num_variables = len(classifier.trainable_variables)
    assert found["CrossReplicaSum"] == num_variables
    assert found["While"] == (accumulation_steps > 1)
    # Of a weight and its two moments.
    assert found["ResourceApplyAdam"] == num_variables

    # Nothing in it but the steps runs on a TPU, and no Python on its hosts.
    several = operations(
        train_step._many.get_concrete_function(
            feed.pipelines, tf.constant([0, 0]), tf.constant(2), tf.constant(0)
        )
    )
    assert several["CrossReplicaSum"] == num_variables
    assert several["While"] == 1 + (accumulation_steps > 1)
    assert not {"PyFunc", "EagerPyFunc", "PyFuncStateless"} & several.keys()

    predict_step = tiny.make_predict_step(classifier, strategy)
    found = operations(predict_step._run.get_concrete_function(batch))
    assert found["TPUReplicateMetadata"] == 1 and not found["CrossReplicaSum"]


def feeder_lengths(feeder: batches.BatchFeeder) -> Any:
    """The lengths of the texts it feeds, in tokens."""
    splits = feeder._row_splits.numpy()
    return splits[1:] - splits[:-1]


def operations(function: Any) -> collections.Counter[str]:
    """How many of which there are in a function and in those it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return collections.Counter(node.op for node in nodes)


@pytest.mark.slow
def test_two_hosts(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.training.two_hosts", tiny_preset, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT_SECS,
    )
    assert result.stdout.endswith("done\n"), result.stderr


def run_main(tpu: str, folder: pathlib.Path) -> tuple[str, float]:
    """The program's error on a TPU that is not there, and how long it took."""
    # Rows are read before TensorFlow is started.
    reviews = folder.parent / "reviews.csv"
    tiny.write_reviews(reviews, count=40)
    settings = {
        "model_dir": folder,
        "dataset": f"files:{reviews}",
        "preset": "none",
        "strategy": "tpu",
        "tpu": tpu,
        "cluster_timeout_secs": 2,
    }
    started = time.monotonic()
    result = subprocess.run(
        [
            *(sys.executable, "-m", "trainer.main"),
            *(f"--{name}={value}" for name, value in settings.items()),
        ],
        capture_output=True,
        text=True,
        timeout=processes.TIMEOUT_SECS,
    )
    secs = time.monotonic() - started
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr and not folder.exists()
    return result.stderr.splitlines()[-1], secs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tpu", "words"),
    [
        (
            "grpc://localhost:{free}",
            "expected a TPU at localhost:{free}. Received: nothing that listens there in 2 s",
        ),
        (
            "grpc://localhost:{silent}",
            "no answer in 2 s, though something listens",
        ),
        ("local", "expected a TPU. Received: NotFoundError: TPUs not found .*TPU VM"),
        ("no-such-tpu", "expected a TPU.*; check the name"),
    ],
    ids=["nobody", "silent", "local", "name"],
)
def test_the_program_ends_with_a_sentence(
    tpu: str, words: str, tmp_path: pathlib.Path
) -> None:
    """Also where TensorFlow itself hangs in a thread."""
    with socket.create_server(("localhost", 0)) as server:
        ports = dict(silent=server.getsockname()[1], free=addresses.free_ports(1)[0])
        message, secs = run_main(tpu.format(**ports), tmp_path / "run")
    expected = f"error: --tpu={tpu}: ".format(**ports)
    assert message.startswith(expected)
    assert re.search(words.format(**ports), message)
    assert secs < 60, "TensorFlow itself waits for longer"

"""What a run computes on: what is chosen, why, and what is refused."""

from __future__ import annotations

import contextlib
import faulthandler
import json
from typing import Any, Iterator

import keras
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from trainer.config import RuntimeConfig
from trainer.runtime import addresses, strategies
from trainer.runtime.cluster import Cluster

pytestmark = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")),
    reason="the choices below are those of a machine without GPUs",
)


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No TF_CONFIG to begin with; Keras's policy as it was at the end."""
    monkeypatch.delenv("TF_CONFIG", raising=False)
    policy = keras.mixed_precision.dtype_policy()
    yield
    keras.mixed_precision.set_dtype_policy(policy)


@pytest.mark.parametrize(
    ("settings", "num_replicas", "reason"),
    [
        ({}, 1, "one device: --strategy=auto, 1 CPU device"),
        ({"strategy": "one_device"}, 1, "one device: --strategy=one_device, 1 CPU"),
        ({"strategy": "mirrored"}, 1, "mirrored on 1 CPU device: --strategy=mirrored"),
        ({"num_virtual_devices": 2}, 2, "mirrored on 2 CPU devices: --strategy=auto"),
        (
            {"num_virtual_devices": 4, "strategy": "mirrored"},
            4,
            "mirrored on 4 CPU devices: --strategy=mirrored, 4 CPU devices",
        ),
    ],
)
def test_strategy(settings: dict[str, Any], num_replicas: int, reason: str) -> None:
    runtime = strategies.set_up(RuntimeConfig(**settings), seed=0)
    assert runtime.num_replicas == num_replicas
    assert runtime.strategy.num_replicas_in_sync == num_replicas
    assert runtime.reasons[0].startswith(reason)
    is_mirrored = isinstance(runtime.strategy, tf.distribute.MirroredStrategy)
    assert is_mirrored == reason.startswith("mirrored")
    if not is_mirrored:
        assert runtime.strategy is tf.distribute.get_strategy()


@pytest.mark.parametrize("fails", [False, True])
def test_the_limit_of_tensorflows_start_follows_the_flag(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many GPUs it takes minutes; and it is a limit of the start alone."""
    limits: list[Any] = []

    def start(**_: object) -> tf.distribute.Strategy:
        limits.append("start")
        if fails:
            raise tf.errors.InternalError(None, None, "a peer cannot be reached")
        return tf.distribute.get_strategy()

    monkeypatch.setattr(
        faulthandler, "dump_traceback_later", lambda secs, exit: limits.append(secs)
    )
    monkeypatch.setattr(
        faulthandler, "cancel_dump_traceback_later", lambda: limits.append("no limit")
    )
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", start)
    # Another strategy of this process must not take its workers for those.
    monkeypatch.setattr(
        context.context(), "configure_coordination_service", lambda **_: None
    )
    own, other = (f"localhost:{port}" for port in addresses.free_ports(2))
    cluster = Cluster((own, other), 0, "TF_CONFIG: a test")
    config = RuntimeConfig(cluster_timeout_secs=1800)
    _, port = addresses.host_and_port(other)
    with addresses.listener(port), contextlib.suppress(tf.errors.InternalError):
        monkeypatch.setenv("TF_CONFIG", "")
        strategies._multi_worker(config, cluster)
    assert limits == [1800, "start", "no limit"]


def test_multi_worker_without_workers_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG, Slurm .*srun.* or Kubernetes"):
        strategies.set_up(RuntimeConfig(strategy="multi_worker"), seed=0)


@pytest.mark.parametrize(
    ("cluster", "num_workers"),
    [
        ({"worker": ["a:1", "b:1"]}, 2),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, 3),
    ],
)
@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_strategy_of_one_process_among_several_is_refused(
    strategy: Any,
    cluster: dict[str, list[str]],
    num_workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They would train apart, and write over each other's files."""
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ValueError, match=f"TF_CONFIG.* names {num_workers}: they"):
        strategies.set_up(RuntimeConfig(strategy=strategy), seed=0)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_tf_config_of_one_worker_is_fine(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", content)
    assert strategies.set_up(RuntimeConfig(), seed=0).num_replicas == 1


@pytest.mark.parametrize(
    ("asked_for", "precision", "reason"),
    [
        ("auto", "float32", "float32: --precision=auto on a CPU"),
        ("float32", "float32", "float32: --precision=float32"),
        ("mixed_bfloat16", "mixed_bfloat16", "mixed_bfloat16: --precision=mixed"),
    ],
)
def test_precision(asked_for: Any, precision: str, reason: str) -> None:
    runtime = strategies.set_up(RuntimeConfig(precision=asked_for), seed=0)
    assert runtime.precision == precision
    assert runtime.reasons[1].startswith(reason)
    assert keras.mixed_precision.dtype_policy().name == precision
    layer = keras.layers.Dense(1)
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    assert layer.variable_dtype == "float32"


@pytest.mark.parametrize(
    ("asked_for", "fusion", "reason"),
    [
        ("auto", "pieces", "XLA between matrix products: --jit_compile=auto on a CPU"),
        ("on", "whole", "XLA on: --jit_compile=on; compiled steps are not kept: this"),
        ("off", "none", "XLA off: --jit_compile=off"),
    ],
)
def test_jit_compile(asked_for: Any, fusion: str, reason: str) -> None:
    runtime = strategies.set_up(RuntimeConfig(jit_compile=asked_for), seed=0)
    assert runtime.fusion == fusion
    assert runtime.reasons[2].startswith(reason)


def test_seed() -> None:
    def draw(seed: int) -> float:
        strategies.set_up(RuntimeConfig(), seed=seed)
        return float(keras.ops.sum(keras.layers.Dense(1)(tf.ones([1, 7]))))

    assert draw(3) == draw(3) != draw(4)


def test_too_many_virtual_devices_for_a_process_that_has_started() -> None:
    with pytest.raises(ValueError) as error:
        strategies.set_up(RuntimeConfig(num_virtual_devices=5), seed=0)
    message = str(error.value)
    assert "--num_virtual_devices=5" in message
    assert "started with 4 logical CPU devices" in message
    assert "new process" in message


def test_precision_is_put_back() -> None:
    keras.mixed_precision.set_dtype_policy("float32")
    with strategies.precision("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        with strategies.precision("float32"):
            assert keras.layers.Dense(1).compute_dtype == "float32"
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_precision_is_put_back_after_an_error() -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    with pytest.raises(ZeroDivisionError):
        with strategies.precision("float32"):
            raise ZeroDivisionError
    assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("batch_size", "num_replicas"), [(1, 1), (7, 1), (2, 2), (32, 4)]
)
def test_batch_sizes_that_can_be_shared(batch_size: int, num_replicas: int) -> None:
    strategies.check_batch_size("a", batch_size, num_replicas=num_replicas)


@pytest.mark.parametrize(
    ("batch_size", "num_replicas", "advice"),
    [(7, 2, "try 6 or 8"), (33, 4, "try 32 or 36"), (3, 4, "try 4"), (1, 2, "try 2")],
)
def test_batch_sizes_that_cannot(
    batch_size: int, num_replicas: int, advice: str
) -> None:
    with pytest.raises(ValueError) as error:
        strategies.check_batch_size(
            "global_batch_size", batch_size, num_replicas=num_replicas
        )
    message = str(error.value)
    assert message.startswith("--global_batch_size must be a multiple of the number")
    assert f"replicas, {num_replicas}." in message
    assert f"Received: global_batch_size={batch_size}; " in message
    assert message.endswith(advice)


def test_batch_size_must_be_shared_among_parts_too() -> None:
    strategies.check_batch_size("b", 24, num_replicas=2, num_parts=4)
    with pytest.raises(ValueError, match="2 × 4. Received: b=20; try 16 or 24"):
        strategies.check_batch_size("b", 20, num_replicas=2, num_parts=4)

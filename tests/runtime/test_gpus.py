"""Shares of GPUs' memory, asked of a TensorFlow that is told of GPUs it does not have."""

from __future__ import annotations

import logging
import pathlib
from typing import Any

import pytest
import tensorflow as tf

from trainer import predict, serve
from trainer.config import PredictConfig, RuntimeConfig, ServeConfig
from trainer.runtime import gpus, strategies

NAMES = ("/physical_device:GPU:0", "/physical_device:GPU:1")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What TensorFlow is told, of which GPU."""
    devices = {name: tf.config.PhysicalDevice(name, "GPU") for name in NAMES}
    calls: list[tuple[Any, ...]] = []
    list_devices = tf.config.list_physical_devices

    def list_all(kind: str | None = None) -> Any:
        return list(devices.values()) if kind == "GPU" else list_devices(kind)

    def set_growth(gpu: Any, enable: bool) -> None:
        calls.append(("growth", gpu.name, enable))

    def set_logical(gpu: Any, logical: Any) -> None:
        if gpu.device_type == "GPU":
            calls.append(("limit", gpu.name, [part.memory_limit for part in logical]))

    get_logical = tf.config.get_logical_device_configuration
    monkeypatch.setattr(tf.config, "list_physical_devices", list_all)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_growth)
    monkeypatch.setattr(tf.config, "set_logical_device_configuration", set_logical)
    monkeypatch.setattr(
        tf.config,
        "get_logical_device_configuration",
        lambda gpu: None if gpu.name in NAMES else get_logical(gpu),
    )
    return calls


def test_memory_grows_on_all_gpus(told: list[tuple[Any, ...]]) -> None:
    gpus.grow()
    assert told == [("growth", name, True) for name in NAMES]


@pytest.mark.parametrize("growth", [True, False])
def test_a_run_takes_what_it_needs(growth: bool, told: list[tuple[Any, ...]]) -> None:
    """Set before the strategy is made, at which TensorFlow starts."""
    config = RuntimeConfig(gpu_memory_growth=growth, precision="float32")
    strategies.set_up(config, seed=0)
    assert told == [("growth", name, True) for name in NAMES] * growth


@pytest.mark.parametrize(
    ("memory_mib", "expected"), [(512, ("limit", [512])), (0, ("growth", True))]
)
def test_predict_and_serve_take_a_share(
    memory_mib: int,
    expected: tuple[str, Any],
    told: list[tuple[Any, ...]],
    tmp_path: pathlib.Path,
) -> None:
    kind, value = expected
    (tmp_path / "a.txt").write_text("A good film.\n")
    # Before it is loaded, and after all that needs no TensorFlow.
    damaged = tmp_path / "no_model" / "saved_model.pb"
    damaged.parent.mkdir()
    damaged.touch()
    folder = str(damaged.parent)
    with pytest.raises(ValueError, match="no_model"):
        predict.main(
            PredictConfig(
                saved_model=folder,
                input=str(tmp_path / "a.txt"),
                gpu_memory_mib=memory_mib,
            )
        )
    with pytest.raises(ValueError, match="no_model"):
        serve.main(ServeConfig(saved_model=folder, gpu_memory_mib=memory_mib))
    assert told == [(kind, name, value) for name in NAMES] * 2


def test_the_share_is_a_small_one_unless_it_is_said() -> None:
    for config in (
        PredictConfig(saved_model="a", input="a.txt"),
        ServeConfig(saved_model="a"),
    ):
        assert config.gpu_memory_mib == 4096


def test_a_gpu_that_is_split_already_stays_so(
    told: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tf.config.LogicalDeviceConfiguration(memory_limit=1000)
    monkeypatch.setattr(
        tf.config,
        "get_logical_device_configuration",
        lambda gpu: [half, half] if gpu.name == NAMES[0] else None,
    )
    gpus.grow()
    assert told == [("growth", NAMES[1], True)]


def test_too_late_is_a_warning(
    told: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError(
            "Physical devices cannot be modified after being initialized"
        )

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", refuse)
    with caplog.at_level(logging.WARNING, logger=gpus.__name__):
        gpus.grow()
    for name, line in zip(NAMES, caplog.messages, strict=True):
        assert name in line and "cannot be modified" in line

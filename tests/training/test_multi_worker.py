"""Several worker processes on loopback compute what one device computes."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import processes
from tests.test_experiment import make_config, weights_of

SETTINGS: dict[str, Any] = dict(
    model={"dropout": 0.0},
    optimizer={"clip_norm": 0.5, "weight_decay": 0.1},
    training={
        "num_train_epochs": 4,
        "eval_every_steps": 9,
        "early_stopping_patience": 3,
        "accumulation_steps": 2,
    },
)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> Any:
    """A run in one process, to compare with: its config."""
    folder = tmp_path_factory.mktemp("one_device")
    config = make_config(folder, tiny_preset, **SETTINGS)
    processes.finish([processes.start(config)])
    return config


def several(config: Any, folder: pathlib.Path) -> Any:
    """The same run for several workers, in another folder."""
    config = processes.replaced(config, "runtime", strategy="auto")
    return dataclasses.replace(config, model_dir=str(folder / "run"))


def read(config: Any, name: str) -> Any:
    return json.loads((pathlib.Path(config.model_dir) / name).read_text())


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [2, 4])
def test_workers_equal_one_device(
    num_workers: int, one_device: Any, tmp_path: pathlib.Path
) -> None:
    """Through clipping, decay, accumulation, uneven batches, evaluation, stopping."""
    config = several(one_device, tmp_path)
    outputs = processes.finish(processes.start_workers([config] * num_workers))
    one = weights_of(pathlib.Path(one_device.model_dir))
    other = weights_of(pathlib.Path(config.model_dir))
    assert one.keys() == other.keys()
    differences = sorted(np.abs(one[name] - other[name]).max() for name in one)
    # The gradient of a key's bias is 0 but for rounding, which Adam blows up: the two
    # layers' key biases and their moments are let off more lightly.
    assert differences[-7] < 5e-5 and differences[-1] < 5e-4
    reports = [read(c, "report.json") for c in (one_device, config)]
    for split in ("validation", "test"):
        losses = [report["after"][split]["loss"] for report in reports]
        counts = [report["after"][split]["num_examples"] for report in reports]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
        assert counts[0] == counts[1]
    assert reports[0]["training"] == reports[1]["training"]
    assert f"worker 0 of {num_workers}" in outputs[0]
    assert "step 10/" in outputs[0] and "step 10/" not in outputs[1]


@pytest.mark.slow
def test_worker_with_other_flags_or_data_is_refused(
    one_device: Any, tmp_path: pathlib.Path
) -> None:
    config = several(one_device, tmp_path)
    other = processes.replaced(config, "optimizer", learning_rate=1e-3)
    other = processes.replaced(other, "data", num_train_examples=64)
    workers = processes.start_workers([config, other])
    for output in processes.finish(workers, returncode=2):
        assert "different from the chief: worker 1 (localhost:" in output
        for name in ("--learning_rate", "--num_train_examples", "the train split"):
            assert name in output
        assert "the test split" not in output
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_killed_worker_and_restarted_job_equal_undisturbed(
    one_device: Any, tmp_path: pathlib.Path
) -> None:
    """SIGKILL of one worker ends the other; both started again go on, to the bit."""
    config = processes.replaced(
        several(one_device, tmp_path), "training", save_every_steps=5
    )
    config = processes.replaced(config, "model", dropout=0.1)
    undisturbed = dataclasses.replace(config, model_dir=str(tmp_path / "undisturbed"))
    processes.finish(processes.start_workers([undisturbed] * 2))

    metrics = tmp_path / "run" / "metrics.jsonl"
    chief, worker = processes.start_workers([config] * 2)
    processes.kill_when(
        worker, lambda: metrics.is_file() and '"step": 20' in metrics.read_text()
    )
    chief.communicate(timeout=120)
    assert chief.returncode != 0
    outputs = processes.finish(processes.start_workers([config] * 2))
    assert all("going on from step" in output for output in outputs)
    one, other = (weights_of(tmp_path / name) for name in ("undisturbed", "run"))
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)

"""Several worker processes on loopback compute what one device computes."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
import re
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests import processes, tiny
from tests.test_experiment import make_config, weights_of
from trainer import exit_codes
from trainer.config import LabellingConfig
from trainer.stages import measure

SETTINGS: dict[str, Any] = dict(
    # Not from the head of the frozen encoder: its solver turns rounding into
    # differences of 1e-3, which grow as these few texts are learned.
    model={"dropout": 0.0},
    optimizer={"clip_norm": 0.5, "weight_decay": 0.1},
    training={
        "num_train_epochs": 4,
        "eval_every_steps": 9,
        "early_stopping_patience": 3,
        "accumulation_steps": 2,
    },
    baselines=("commonest", "tfidf", "frozen"),
)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory, tiny_preset: str) -> Any:
    """A run in one process, to compare with: its config."""
    folder = tmp_path_factory.mktemp("one_device")
    texts, _ = tiny.labelled_sentences(20, seed=6)
    (folder / "new.txt").write_text("\n".join(texts) + "\n")
    asked = LabellingConfig(
        error_causes=True,
        export_to_label=str(folder / "to_label.csv"),
        unlabelled=f"files:{folder}/new.txt",
        num_to_label=20,
    )
    config = make_config(folder, tiny_preset, **SETTINGS, labelling=asked)
    processes.finish([processes.start(config)])
    return config


def several(config: Any, folder: pathlib.Path) -> Any:
    """The same run for several workers, in another folder."""
    config = processes.replaced(config, "runtime", strategy="auto")
    if config.labelling.export_to_label:
        place = str(folder / "to_label.csv")
        config = processes.replaced(config, "labelling", export_to_label=place)
    return dataclasses.replace(config, model_dir=str(folder / "run"))


def read(config: Any, name: str) -> Any:
    return json.loads((pathlib.Path(config.model_dir) / name).read_text())


def frozen_head(config: Any) -> list[Any]:
    """What --head_start=frozen would begin with: kernel and bias."""
    kept = read(config, "baselines/frozen.json")
    return [measure.unpacked(part) for part in kept["answers"]["head"]]


def _scores_to_label(config: Any) -> dict[str, float]:
    """Of the texts of --export_to_label."""
    with open(config.labelling.export_to_label, newline="") as file:
        return {row["text"]: float(row["score"]) for row in csv.DictReader(file)}


def assert_close_weights(one: Any, other: Any) -> None:
    """Weights, optimizer and all, to rounding."""
    numbers = [weights_of(pathlib.Path(config.model_dir)) for config in (one, other)]
    assert numbers[0].keys() == numbers[1].keys()
    differences = sorted(
        np.abs(numbers[0][k] - numbers[1][k]).max() for k in numbers[0]
    )
    # The gradient of a key's bias is 0 but for rounding, which Adam blows up: the two
    # layers' key biases and their moments are let off more lightly.
    assert differences[-7] < 5e-5 and differences[-1] < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [4])
def test_workers_equal_one_device(
    num_workers: int, one_device: Any, tmp_path: pathlib.Path
) -> None:
    """Through clipping, decay, accumulation, uneven batches, evaluation, stopping."""
    config = several(one_device, tmp_path)
    outputs = processes.finish(processes.start_workers([config] * num_workers))
    assert_close_weights(one_device, config)
    for one, other in zip(frozen_head(one_device), frozen_head(config), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    reports = [read(c, "report.json") for c in (one_device, config)]
    for split in ("validation", "test"):
        losses = [report["after"][split]["loss"] for report in reports]
        counts = [report["after"][split]["num_examples"] for report in reports]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
        assert counts[0] == counts[1]
        for name in SETTINGS["baselines"]:
            one, other = (report["baselines"][name][split] for report in reports)
            assert one["accuracy"] == other["accuracy"]
            assert one["loss"] == pytest.approx(other["loss"], abs=1e-4)
    assert reports[0]["training"] == reports[1]["training"]
    one, other = (_scores_to_label(c) for c in (one_device, config))
    together = one.keys() & other.keys()
    # Sure as the model is, rounding decides which of the others are drawn.
    assert len(together) >= 3
    for text in together:
        assert one[text] == pytest.approx(other[text], abs=2e-3)
    counted = [report["error_causes"]["num_train_texts"] for report in reports]
    assert counted[0] == counted[1] > 100
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
        assert "other than the chief's: worker 1 (localhost:" in output
        for name in ("--learning_rate", "--num_train_examples", "the train split"):
            assert name in output
        assert "the test split" not in output
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_preempted_and_restarted_on_other_numbers_of_workers(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """SIGTERM to one of two workers, then to the one there is, then two again."""
    one_device = make_config(
        tmp_path,
        tiny_preset,
        model={"dropout": 0.0},
        training={"num_train_epochs": 4},
        model_dir=str(tmp_path / "one_device"),
    )
    processes.finish([processes.start(one_device)])
    config = several(one_device, tmp_path)
    folder = tmp_path / "run"
    metrics = folder / "metrics.jsonl"
    saved_at = []
    # Not just before an evaluation (every 22 steps), during which it leaves at once.
    for num_workers, step in ((2, 30), (1, 50)):
        workers = processes.start_workers([config] * num_workers)
        processes.signal_when(
            workers[-1],
            lambda: metrics.is_file() and f'"step": {step}' in metrics.read_text(),
            signal.SIGTERM,
        )
        outputs = processes.finish(workers, returncode=exit_codes.RESTART)
        saved = [re.findall(r"told to end: saved at step (\d+)", o) for o in outputs]
        assert saved[0] and saved == [saved[0]] * num_workers, outputs
        saved_at.append(int(saved[0][0]))
        assert saved_at[-1] >= step
        assert (folder / f"checkpoints/latest/step-{saved_at[-1]}.index").is_file()
    outputs = processes.finish(processes.start_workers([config] * 2))
    assert all(f"resuming from step {saved_at[-1]} " in output for output in outputs)
    assert_close_weights(one_device, config)
    reports = [read(c, "report.json") for c in (one_device, config)]
    assert reports[0]["training"] == reports[1]["training"]
    steps = [
        [record["step"] for record in report["history"]["train"]] for report in reports
    ]
    assert steps[0] == steps[1]


@pytest.mark.slow
def test_killed_at_random_moments_equals_undisturbed(tmp_path: pathlib.Path) -> None:
    """Two rounds of what tests/soak.py does many of."""
    command = [sys.executable, "-m", "tests.soak", "--rounds=2", "--num_epochs=4"]
    output = subprocess.run(
        [*command, f"--folder={tmp_path}"],
        check=True,
        stdout=subprocess.PIPE,
        timeout=processes.TIMEOUT_SECS,
    ).stdout.decode()
    assert re.search(r"(2 SIGKILL and 0|1 SIGKILL and 1) SIGTERM", output), output
    # Two runs where a moment came after the first one's end.
    assert re.search(r"[1-9] runs to their end.*: 0 differences", output), output

"""What is equal of runs that are disturbed or shared out, whatever the task."""

from __future__ import annotations

import os
import pathlib
import signal
import threading
from typing import Protocol

import numpy as np
import pytest

from tests.test_experiment import assert_equal_weights, weights_of
from trainer import experiment
from trainer.config import ExperimentConfig
from trainer.runtime.interruptions import Preempted


class Made(Protocol):
    """Makes the config of a short run that saves early, in a folder of this name."""

    def __call__(self, name: str, **changes: object) -> ExperimentConfig: ...


def ended_at_its_first_checkpoint(folder: pathlib.Path) -> threading.Thread:
    """A thread that ends this process's run once, as a cluster does."""

    def watch() -> None:
        patience = threading.Event()
        for _ in range(3000):
            if any(folder.glob("checkpoints/latest/*.index")):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            patience.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def assert_same_when_killed_and_on_two_replicas(
    made: Made, folder: pathlib.Path
) -> None:
    """To the bit when killed; of two replicas weights to 2e-4 and the test loss.

    Args:
      made: of runs in folders of `folder`.
    """
    killed = made("killed")
    watching = ended_at_its_first_checkpoint(folder / "killed")
    with pytest.raises(Preempted):
        experiment.run(killed)
    watching.join()
    experiment.run(killed)
    whole = experiment.run(made("whole")).report
    assert_equal_weights(folder / "whole", folder / "killed")

    still = {"model": {"dropout": 0.0}}
    one = experiment.run(made("one", **still)).report
    runtime = {"strategy": "mirrored", "num_virtual_devices": 2}
    two = experiment.run(made("two", runtime=runtime, **still)).report
    weights = [weights_of(folder / name) for name in ("one", "two")]
    difference = max(np.abs(weights[0][n] - weights[1][n]).max() for n in weights[0])
    assert difference < 2e-4
    losses = [each["after"]["test"]["loss"] for each in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert whole["after"]["test"]["loss"] != losses[0]

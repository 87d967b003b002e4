"""Runs of all techniques on one worker of several, one after the other.

    TF_CONFIG=... python -m tests.technique_workers FOLDER PRESET

One process for all of them, since TensorFlow starts several workers once a process. The
last worker has less memory than the others: --accumulation_steps=auto is the same for all.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import pathlib
import sys

from tests.test_experiment import make_config
from tests.test_techniques import TECHNIQUES, technique
from trainer import experiment
from trainer.forecast import workload
from trainer.forecast.workload import Workload
from trainer.runtime import cluster, strategies

NUM_PARTS = 4


def main(folder: pathlib.Path, preset: str) -> None:
    logging.basicConfig(level=logging.INFO)
    found = cluster.find(os.environ)
    assert found is not None
    if found.index == found.num_workers - 1:
        _leave_room_for_parts()
    # A process can make the strategy once.
    strategies.set_up = functools.cache(strategies.set_up)
    for name in TECHNIQUES:
        changes = technique(name, training={"accumulation_steps": "auto"})
        model_dir = str(folder / name)
        runtime = {"strategy": "multi_worker"}
        experiment.run(
            make_config(folder, preset, model_dir=model_dir, runtime=runtime, **changes)
        )


def _leave_room_for_parts() -> None:
    """Has no more memory than so many parts need."""
    fewest = workload.fewest_parts

    def with_little(workload: Workload, limit_bytes: int | None) -> int | None:
        in_parts = dataclasses.replace(workload, num_parts=NUM_PARTS)
        return fewest(workload, in_parts.total_bytes())

    workload.fewest_parts = with_little


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])

"""What a run of numbers left of its answers, read back from its folder.

answered = number_files.read(run, "test")
np.abs(answered.values - answered.numbers)      # how far off each text is
number_files.of_baseline(run, "tfidf", "test")  # float64 [n], in the same order
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Sequence

import numpy as np
import numpy.typing as npt

from trainer import run_folder, storage
from trainer.run_folder import RunFolder
from trainer.stages import measure
from trainer.studies.plan import FinishedRun
from trainer.tasks.task import Scale

FloatArray = npt.NDArray[np.float64]


class Answered(NamedTuple):
    """The held-out texts of a split, in its order.

    Attributes:
      places: file and line where each was read.
      numbers: float64 [n], the right ones.
      values: float64 [n], the model's.
      low, high: the ends of their intervals; None where there is none.
    """

    places: Sequence[tuple[str, int]]
    numbers: FloatArray
    values: FloatArray
    low: Sequence[float | None]
    high: Sequence[float | None]

    @property
    def errors(self) -> FloatArray:
        """Float64 [n], how far off the values are."""
        return np.asarray(np.abs(self.values - self.numbers))


def read(run: FinishedRun, split: str) -> Answered:
    """What the run's model answered, `predictions/SPLIT.jsonl`."""
    path = _folder(run).predictions(split)
    # Not `splitlines`: a name may have one of its many ends of line.
    lines = path.read_text(encoding="utf-8").split("\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
    return Answered(
        places=[(row["file"], row["line"]) for row in rows],
        numbers=np.array([row["label"] for row in rows], np.float64),
        values=np.array([row["answer"] for row in rows], np.float64),
        low=[row.get("low") for row in rows],
        high=[row.get("high") for row in rows],
    )


def of_baseline(run: FinishedRun, name: str, split: str) -> FloatArray | None:
    """A simple model's values of the same texts, float64 [n]; None: it has none."""
    if name not in run.report.baselines:
        return None
    recorded = run_folder.read_kept(_folder(run).baseline(name))
    if recorded is None:
        return None
    logits = measure.unpacked(recorded["answers"]["logits"].get(split))
    if logits is None:
        return None
    decision = run.of_numbers.decision
    return Scale(decision.mean, decision.spread).values(logits)[:, 0]


def _folder(run: FinishedRun) -> RunFolder:
    return RunFolder(storage.path(run.planned.config.model_dir))

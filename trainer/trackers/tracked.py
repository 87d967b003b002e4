"""What every tracker is told of a run.

tracked = TrackedRun(name="runs/a", settings={"seed": 0}, metrics={"test_accuracy": 0.9}, ...)
"""

from __future__ import annotations

import dataclasses
from typing import Mapping

from trainer import storage


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """A finished run.

    Attributes:
      name: --model_dir.
      settings: those that change the result, by name; lists as in a flagfile.
      metrics: by split and name: "test_accuracy".
      logs: the folder of its numbers for TensorBoard.
      files: the report, as a page and as JSON.
      saved_model: the folder of its export.
    """

    name: str
    settings: Mapping[str, bool | int | float | str]
    metrics: Mapping[str, float]
    logs: storage.Path
    files: tuple[storage.Path, ...]
    saved_model: str

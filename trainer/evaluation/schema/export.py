"""What was exported, format by format, and how it was checked."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatFacts:
    """One format of the export, as it was measured.

    Attributes:
      format: "float32", "int8" and so on.
      bytes: of all its files.
      latency_ms: the median time of a text alone, in milliseconds.
      texts_per_sec: in batches.
      num_texts: held-out texts behind `accuracy`.
      accuracy: None of a model that gives numbers.
      mae: mean absolute error there, in the unit of the numbers; None of labels.
      value_shift: how far the values there are from the trained model's, on the mean, in
        that unit; None of labels.
      max_difference: the farthest that a probability is from the trained model's; of a
        model that gives numbers, the farthest value, in spreads of the training texts'.
      num_other_labels: texts that get another label than from the trained model, ties
        not counted.
      num_ties: texts that get another label too, but whose best two labels were as
        near to each other as rounding may move a probability.
      accuracy_drop: how far `accuracy` is below that of float32; None for float32.
      path: of the folder; None if the format was refused.
    """

    format: str
    bytes: int
    latency_ms: float
    texts_per_sec: float
    num_texts: int
    accuracy: float | None
    max_difference: float
    num_other_labels: int
    num_ties: int = 0
    accuracy_drop: float | None = None
    mae: float | None = None
    value_shift: float | None = None
    status: Literal["published", "refused"]
    path: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFacts:
    """What was exported.

    Attributes:
      path: of the float32 SavedModel.
      num_parity_texts: texts on which it was compared with the trained model.
      parity_max_difference: the largest difference of a probability among them.
      formats: float32 first.
      status: whether it serves: "promoted"; or "held".
      status_reason: why.
    """

    path: str
    version: int
    status: str = "promoted"
    status_reason: str = ""
    num_parity_texts: int
    parity_max_difference: float
    formats: tuple[FormatFacts, ...]

"""Rows of a run's pool as a report names them: file, line, class, split.

rows = Rows(pool, splits, ("bad", "good"))
rows.facts(17)      # RowFacts(file="a.csv", line=19, label="good", split="test")
"""

from __future__ import annotations

from typing import Mapping

import numpy as np

from trainer.data import label_sets
from trainer.data.audit.findings import RowFacts
from trainer.data.splits import Pool, Split


class Rows:
    """The rows of a pool.

    Args:
      pool: all of them.
      splits: each row is in one.
      label_names: the classes in order.

    Attributes:
      classes: int [n], each row's label, set of labels or number, among the
        `class_names`.
      class_names: of these.
      split_numbers: int64 [n], positions in `split_names`.
      split_names: of the splits, in their order.
    """

    def __init__(
        self, pool: Pool, splits: Mapping[str, Split], label_names: tuple[str, ...]
    ) -> None:
        self.pool, self.label_names = pool, label_names
        self.classes, self.class_names = label_sets.told_apart(pool.labels, label_names)
        self.split_names = tuple(splits)
        self.split_numbers = np.zeros(len(pool), np.int64)
        for number, split in enumerate(splits.values()):
            self.split_numbers[split.rows] = number

    def facts(self, row: int) -> RowFacts:
        """A row, as it is named."""
        file, line = self.pool.places.of(row)
        return RowFacts(
            file=file,
            line=line,
            label=self.class_names[self.classes[row]],
            split=self.split_names[self.split_numbers[row]],
        )

    def text(self, row: int) -> str:
        """The text of a row."""
        return str(self.pool.texts[row])

"""Labelled texts in memory: what was read for one split, before any is split off.

dataset.texts[0], dataset.labels[0], dataset.places.of(0)
dataset.filter(is_wanted)
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from trainer.data.places import Places


@dataclasses.dataclass(frozen=True)
class TextDataset:
    """Labelled texts.

    Attributes:
      texts: large_string [n].
      labels: int32 [n], positions in `label_names`; where a text may have several,
        float32 [n, labels], 1 where it has the label (`label_sets.py`).
      label_names: the classes in order.
      places: where each row comes from.
      groups: large_string [n], the values of --group_field, empty where it is
        missing; None without one.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    label_names: tuple[str, ...]
    places: Places
    groups: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def filter(self, is_wanted: np.ndarray) -> TextDataset:
        """Some rows, in their order, copied chunk by chunk. is_wanted: bool [n]."""
        return dataclasses.replace(
            self,
            texts=self.texts.filter(pa.array(is_wanted)),
            labels=self.labels[is_wanted],
            places=self.places.filter(is_wanted),
            groups=self.groups and self.groups.filter(pa.array(is_wanted)),
        )

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
class Digests:
    """What tells texts apart, where it was made when they were read.

    Attributes:
      contents: uint8 [n, 32], of the texts as they are.
      normal_forms: uint8 [n, 32], of their normal forms (`duplicates.py`).
    """

    contents: np.ndarray
    normal_forms: np.ndarray


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
      digests: of the texts; None: they are not made yet.
    """

    texts: pa.ChunkedArray
    labels: np.ndarray
    label_names: tuple[str, ...]
    places: Places
    groups: pa.ChunkedArray | None = None
    digests: Digests | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def filter(self, is_wanted: np.ndarray) -> TextDataset:
        """Some rows, in their order, copied chunk by chunk. is_wanted: bool [n]."""
        digests = self.digests and Digests(
            self.digests.contents[is_wanted], self.digests.normal_forms[is_wanted]
        )
        texts = self.texts.filter(pa.array(is_wanted))
        return self.with_texts(texts, digests, is_wanted=is_wanted)

    def with_texts(
        self,
        texts: pa.ChunkedArray,
        digests: Digests | None,
        *,
        is_wanted: np.ndarray,
    ) -> TextDataset:
        """The same rows as of `filter`, whose texts, and their digests, are there."""
        return dataclasses.replace(
            self,
            texts=texts,
            labels=self.labels[is_wanted],
            places=self.places.filter(is_wanted),
            groups=self.groups and self.groups.filter(pa.array(is_wanted)),
            digests=digests,
        )

"""Where rows come from: a file and a line for each, of millions of them.

places = Places(("a.csv", "b.csv"), np.array([0, 1]), np.array([2, 2]))
places.of(1)  # ("b.csv", 2)
"""

from __future__ import annotations

import dataclasses
from typing import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Places:
    """A place a row.

    Attributes:
      files: names of the files.
      file_numbers: int32 [n], positions in `files`.
      lines: int64 [n], from 1: as `Row.line`.
    """

    files: tuple[str, ...]
    file_numbers: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.lines)

    def of(self, row: int) -> tuple[str, int]:
        """File and line of a row."""
        return self.files[self.file_numbers[row]], int(self.lines[row])

    def take(self, rows: np.ndarray) -> Places:
        """Some rows, in the order given. rows: int64 [m]."""
        return Places(self.files, self.file_numbers[rows], self.lines[rows])

    def filter(self, is_wanted: np.ndarray) -> Places:
        """Some rows, in their order. is_wanted: bool [n]."""
        return Places(self.files, self.file_numbers[is_wanted], self.lines[is_wanted])


def unknown(num_rows: int) -> Places:
    """Places of rows that come from no file: a file without a name, numbered."""
    numbers = np.arange(1, num_rows + 1, dtype=np.int64)
    return Places(("",), np.zeros(num_rows, np.int32), numbers)


def joined(parts: Sequence[Places]) -> Places:
    """The rows of all parts, one part after the other."""
    if len(parts) == 1:
        # Mapped from the disk, where they are: not copied.
        return parts[0]
    starts = np.cumsum([0, *(len(part.files) for part in parts)])
    return Places(
        tuple(file for part in parts for file in part.files),
        np.concatenate(
            [part.file_numbers + start for part, start in zip(parts, starts)]
        ).astype(np.int32),
        np.concatenate([part.lines for part in parts]),
    )

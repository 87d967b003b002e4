"""Some texts of a table, of which few at a time are copied.

    texts = TextRows(pool.texts, splits["train"].rows)
    len(texts)
    for text in texts: ...              # Python's strings
    for block in texts.arrow_blocks(): ...

Arrow's own `take` copies all that are asked for, and first joins the table: of texts on
disk that is as much memory as the file has bytes. Here what was read of the disk is given
back on the way.
"""

from __future__ import annotations

from typing import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data import texts_on_disk
from trainer.data.strings import taken

ROWS_AT_ONCE = 1024
_BYTES_BETWEEN_RELEASES = 2**26


class TextRows:
    """Some texts of a table in the order of their rows.

    Args:
      texts: large_string [n].
      rows: int64 [m]; quickest where they ascend.
    """

    def __init__(self, texts: pa.ChunkedArray, rows: np.ndarray) -> None:
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self) -> Iterator[list[str]]:
        """The texts, about a thousand at a time."""
        for block in self.arrow_blocks():
            yield block.to_pylist()

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks():
            yield from block

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of all texts together."""
        return sum(
            pc.sum(pc.binary_length(block)).as_py() for block in self.arrow_blocks()
        )

    def arrow_blocks(self) -> Iterator[pa.ChunkedArray]:
        """The texts, large_string, about a thousand at a time."""
        num_bytes = 0
        for start in range(0, len(self._rows), ROWS_AT_ONCE):
            rows = self._rows[start : start + ROWS_AT_ONCE]
            first, last = int(rows.min()), int(rows.max())
            # Of the chunks around them alone: a large table has thousands.
            near = self._texts.slice(first, last - first + 1)
            yield taken(near, rows - first)
            # With a page the kernel maps those around it.
            num_bytes += near.nbytes
            if num_bytes >= _BYTES_BETWEEN_RELEASES:
                texts_on_disk.release()
                num_bytes = 0

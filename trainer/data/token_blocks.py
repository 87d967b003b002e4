"""Blocks of token ids that are finished, on disk until all are: a kill keeps them.

    finished = FinishedBlocks(pathlib.Path("/cache/tokens/5d41.blocks"))
    for block in finished:          # what an earlier process has done
        ...
    finished.append(block)
    finished.remove()               # when what they were for is there

A preparation that is killed again and again gets on all the same, a block at a time.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import shutil
import zipfile
from typing import Iterator, NamedTuple, Sequence

import numpy as np

from trainer import storage


class Block(NamedTuple):
    """Token ids of n texts, back to back.

    Attributes:
      token_ids: uint16 or int32 [sum of lengths].
      lengths: int64 [n], in tokens after truncation.
      full_lengths: int32 [n], before it.
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    full_lengths: np.ndarray

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """One block of all their texts."""
        return cls(*(np.concatenate(arrays) for arrays in zip(*blocks)))

    @property
    def is_whole(self) -> bool:
        """Whether its parts fit together."""
        return len(self.lengths) == len(self.full_lengths) and len(
            self.token_ids
        ) == int(self.lengths.sum())


class FinishedBlocks:
    """The blocks from the first text on, in order.

    Several processes may do the same at once: each writes what is the same.

    Args:
      folder: made when the first is written.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._count = 0

    def __iter__(self) -> Iterator[Block]:
        """Those that are there, up to the first that is missing or damaged."""
        while (block := self._read(self._count)) is not None:
            self._count += 1
            yield block

    def append(self, block: Block) -> None:
        """Keeps one more."""
        content = io.BytesIO()
        np.savez(content, **block._asdict())
        # Another process that is ready may have removed the folder.
        with contextlib.suppress(FileNotFoundError):
            storage.write_bytes(self._file(self._count), content.getvalue())
        self._count += 1

    def remove(self) -> None:
        """Removes all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, index: int) -> pathlib.Path:
        return self._folder / f"{index:06}.npz"

    def _read(self, index: int) -> Block | None:
        try:
            # The format has checksums, which are verified.
            with self._file(index).open("rb") as file, np.load(file) as arrays:
                block = Block(**arrays)
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return block if block.is_whole else None

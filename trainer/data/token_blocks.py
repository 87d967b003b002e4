"""Blocks of token ids on disk: made by many processes, each by one, kept by a kill.

    blocks = TokenBlocks(storage.path("/cache/tokens/5d41.blocks"), num_texts=25_000)
    for index in blocks.missing():
        with blocks.claimed(index) as is_ours:
            if is_ours:
                blocks.write(index, block)      # of texts.slice(*blocks.rows(index))
    blocks.read(0)
    blocks.remove()                 # when what they were for is there

Which texts a block has follows from its number alone, and what it holds from its texts:
so it does not matter who makes it. A claim is a lock that goes with its process. Where
there are no locks (gs://) two may make the same block, which costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import random
import shutil
import zipfile
from typing import Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from trainer import locks, storage

# What a kill can cost: a second or two of work.
TEXTS_PER_BLOCK = 1024


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

    def is_whole(self, num_texts: int) -> bool:
        """Whether its parts fit together, and to so many texts."""
        return len(self.lengths) == len(self.full_lengths) == num_texts and len(
            self.token_ids
        ) == int(self.lengths.sum())


class TokenBlocks:
    """The blocks of some texts, each in a file.

    Args:
      folder: made when the first is claimed or written.
      num_texts: how many texts there are.
    """

    def __init__(self, folder: storage.Path, *, num_texts: int) -> None:
        self._folder = folder
        self._num_texts = num_texts

    def __len__(self) -> int:
        return -(-self._num_texts // TEXTS_PER_BLOCK)

    def rows(self, index: int) -> tuple[int, int]:
        """The first text of a block, and how many it has."""
        start = index * TEXTS_PER_BLOCK
        return start, min(TEXTS_PER_BLOCK, self._num_texts - start)

    def num_texts(self, indices: Iterable[int]) -> int:
        """How many texts these blocks have."""
        return sum(self.rows(index)[1] for index in indices)

    def is_there(self, index: int) -> bool:
        """Whether a block was written; whether it is whole is seen when it is read."""
        return self._file(index).is_file()

    def missing(self) -> list[int]:
        """The blocks that are not there, in the order in which to make them."""
        there = set()
        if self._folder.is_dir():
            there = {file.name for file in self._folder.iterdir()}
        indices = [i for i in range(len(self)) if self._file(i).name not in there]
        if not isinstance(self._folder, pathlib.Path):
            # Without claims, or all processes would make the same at once.
            random.shuffle(indices)
        return indices

    @contextlib.contextmanager
    def claimed(self, index: int | None) -> Iterator[bool]:
        """Keeps other processes from making a block; false: one of them makes it.

        Args:
          index: of the block; None: what is made of all blocks.
        """
        if not isinstance(self._folder, pathlib.Path):
            yield True
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        name = "whole" if index is None else f"{index:06}"
        with locks.claimed(self._folder / f"{name}.lock") as is_ours:
            yield is_ours

    def write(self, index: int, block: Block) -> None:
        """Keeps a block."""
        content = io.BytesIO()
        np.savez(content, **block._asdict())
        # Another process that is ready may have removed the folder.
        with contextlib.suppress(FileNotFoundError):
            storage.write_bytes(self._file(index), content.getvalue())

    def read(self, index: int) -> Block | None:
        """A block; None: it is not there, or damaged, and then removed."""
        file = self._file(index)
        if not file.is_file():
            return None
        try:
            with file.open("rb") as stream:
                content = io.BytesIO(stream.read())
            # The format has checksums, which are verified.
            with np.load(content) as arrays:
                block = Block(**arrays)
            if block.is_whole(self.rows(index)[1]):
                return block
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
            pass
        storage.remove(file)
        return None

    def remove(self) -> None:
        """Removes all of them, where they are on this machine's file systems."""
        if isinstance(self._folder, pathlib.Path):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, index: int) -> storage.Path:
        return self._folder / f"{index:06}.npz"

"""Texts that do not fit the memory: in an Arrow file, of which the kernel maps pages.

    texts = Spilled(folder / "texts.arrow")     # used as `strings.Strings` is
    texts.append("A fine film.")
    texts.joined()                              # large_string [n], mapped from the file
    release()                                   # the pages read so far may go

A mapped page can be given back at any time, for the file has it. The kernel does so when
memory is short; who reads all texts, one after the other, gives back what is behind it,
so that as much as the whole file is never counted as the process's own.
"""

from __future__ import annotations

import mmap
import os
import pathlib
import sys
import weakref
from typing import Any

import numpy as np
import pyarrow as pa

from trainer import storage
from trainer.data.strings import Strings

# Texts of a record batch in the file: of few, each costs more than its texts.
_BATCH_BYTES = 2**22
_SCHEMA = pa.schema({"texts": pa.large_string()})
# All that are mapped, as the kernel knows them: only they may be given back.
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


class Spilled(Strings):
    """A column of strings in a file that is written as they come.

    Errors of the system (a full disk) are OSError, with the file's name.
    """

    def __init__(self, place: pathlib.Path) -> None:
        super().__init__()
        self._place = place
        # Arrow's own, which is closed with the process or when nobody holds it.
        self._file = pa.OSFile(str(place), "wb")
        self._writer = pa.ipc.new_file(self._file, _SCHEMA)
        self._num_bytes = 0

    def _add_chunk(self, chunk: pa.Array) -> None:
        super()._add_chunk(chunk)
        self._num_bytes += chunk.nbytes
        if self._num_bytes >= _BATCH_BYTES:
            self._write()

    def _write(self) -> None:
        """Writes what has come since."""
        if not self._chunks:
            return
        texts = pa.concat_arrays(self._chunks)
        try:
            self._writer.write_batch(pa.record_batch([texts], schema=_SCHEMA))
        except OSError as error:
            # Arrow's message has all its calls in it.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, reason, str(self._place)) from error
        self._chunks.clear()
        self._num_bytes = 0

    def joined(self) -> pa.ChunkedArray:
        """All of them, mapped from the file: large_string [n]."""
        self._end_chunk()
        self._write()
        self._writer.close()
        self._file.close()
        return mapped(self._place)


def mapped(place: pathlib.Path, *, owner: object = None) -> pa.ChunkedArray:
    """The strings of a file that `Spilled` wrote: large_string [n].

    Args:
      owner: what is to live as long as the strings do.

    Raises:
      ValueError: it is no such file.
    """
    with place.open("rb") as file:
        pages = _Pages(file.fileno(), 0, access=mmap.ACCESS_READ)
    pages.owner = owner
    _maps.add(pages)
    try:
        with pa.ipc.open_file(pa.py_buffer(pages)) as reader:
            if reader.schema != _SCHEMA:
                raise ValueError(f"{place} has columns {reader.schema.names}")
            texts: pa.ChunkedArray = reader.read_all().column(0)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{place}: {error}") from error
    return texts


class _Pages(mmap.mmap):
    """A mapped file.

    Attributes:
      owner: what lives as long.
    """

    owner: object = None


def release() -> None:
    """Gives back the pages of all mapped files; they are read again when asked for."""
    for pages in list(_maps):
        pages.madvise(mmap.MADV_DONTNEED)


def array(place: pathlib.Path, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array in a new .npy file, to be written to."""
    if not np.prod(shape):
        # Nothing can be mapped of it.
        np.save(place, np.empty(shape, dtype))
        return np.empty(shape, dtype)
    with storage.naming_place(place):
        made = np.lib.format.open_memmap(place, "w+", dtype, shape)
        # Memory that is written to a disk that is full ends a process without a word.
        if sys.platform == "linux":
            with place.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, place.stat().st_size)
    return _noted(made)


def _noted(array: np.memmap) -> np.ndarray:
    """The same, whose pages can be given back."""
    _maps.add(getattr(array, "_mmap"))
    return array


def read_array(place: pathlib.Path) -> np.ndarray:
    """The array of a .npy file, mapped where it is not empty."""
    try:
        found = np.load(place, mmap_mode="r", allow_pickle=False)
    except ValueError:
        empty: np.ndarray = np.load(place, allow_pickle=False)
        if empty.size:
            raise
        return empty
    return _noted(found)

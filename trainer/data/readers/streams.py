"""Streams made of chunks of bytes, and the reverse.

stream = stream_of(iter([b"text,", b"label\\n"]))
stream.read(7)  # b"text,la"
next(chunks_of(stream))  # b"bel\\n"
"""

from __future__ import annotations

import io
from typing import BinaryIO, Iterator

CHUNK_BYTES = 2**20


def chunks_of(stream: BinaryIO | io.BufferedIOBase) -> Iterator[bytes]:
    """The rest of a stream; none of the chunks is empty."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def stream_of(chunks: Iterator[bytes]) -> BinaryIO:
    """A stream that is read once, from its start; no chunk is made before its time."""
    return io.BufferedReader(_Chunks(chunks))


class _Chunks(io.RawIOBase):
    """What `io` needs to make a stream of."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        room = memoryview(buffer)  # type: ignore[arg-type]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        length = min(len(room), len(self._rest))
        room[:length], self._rest = self._rest[:length], self._rest[length:]
        return length

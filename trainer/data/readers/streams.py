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
    if isinstance(stream, _ChunkStream):
        yield from stream.rest()
        return
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def stream_of(chunks: Iterator[bytes]) -> BinaryIO:
    """A stream that is read once, from its start; no chunk is made before its time."""
    return _ChunkStream(chunks)


class _ChunkStream(io.BufferedReader):
    """A stream of chunks, of which the rest can be had as it is, not copied."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._source = _Chunks(chunks)
        super().__init__(self._source)

    def rest(self) -> Iterator[bytes]:
        """What is left; nothing else is to be read meanwhile."""
        # What the buffer has read ahead comes first.
        ahead = self.read(len(self.peek()))
        if ahead:
            yield ahead
        yield from self._source.rest()


class _Chunks(io.RawIOBase):
    """What `io` needs to make a stream of."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def rest(self) -> Iterator[bytes]:
        """What no buffer has read."""
        if self._rest:
            rest, self._rest = bytes(self._rest), memoryview(b"")
            yield rest
        yield from filter(None, self._chunks)

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

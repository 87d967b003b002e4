"""Streams of chunks: all bytes, in order, and not copied where they need not be."""

from __future__ import annotations

import io

import pytest

from trainer.data.readers.streams import chunks_of, stream_of

CHUNKS = [b"text,label\n", b"", b"a" * 20_000, b"b" * 50_000, b"c"]


@pytest.mark.parametrize("num_read", [0, 1, 11, 5_000, 30_000, 70_011, 70_012, 80_000])
def test_the_rest_comes_after_what_was_read(num_read: int) -> None:
    stream = stream_of(iter(CHUNKS))
    head = stream.read(num_read)
    rest = list(chunks_of(stream))
    assert head + b"".join(rest) == b"".join(CHUNKS)
    assert len(head) == min(num_read, 70_012) and b"" not in rest
    assert stream.read() == b"" and not list(chunks_of(stream))


def test_chunks_that_nobody_read_are_handed_on_as_they_are() -> None:
    stream = stream_of(iter(CHUNKS))
    stream.read(100)
    rest = list(chunks_of(stream))
    assert any(each is CHUNKS[3] for each in rest)


def test_any_other_stream_is_read_in_chunks() -> None:
    content = b"x" * (2**20 + 5)
    assert [len(each) for each in chunks_of(io.BytesIO(content))] == [2**20, 5]

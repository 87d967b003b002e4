"""Some texts of a table, without a copy of all of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.duplicates import content_digests, normalized_digests
from trainer.data.text_rows import ROWS_AT_ONCE, TextRows


def table(num_texts: int) -> pa.ChunkedArray:
    """Texts of several hundred bytes in chunks of uneven sizes."""
    texts = [f"Text {number} " * (number % 50 + 20) for number in range(num_texts)]
    bounds = [0, 1, num_texts // 3, num_texts // 3, num_texts - 7, num_texts]
    chunks = [texts[start:end] for start, end in zip(bounds, bounds[1:])]
    return pa.chunked_array(chunks, pa.large_string())


@pytest.mark.parametrize("order", ["ascending", "mixed", "few", "none"])
def test_they_are_what_arrow_takes(order: str) -> None:
    texts = table(3 * ROWS_AT_ONCE)
    generator = np.random.default_rng(0)
    mixed = generator.integers(0, len(texts), 2 * ROWS_AT_ONCE + 5)
    rows = {"ascending": np.sort(mixed), "few": mixed[:3], "none": mixed[:0]}.get(
        order, mixed
    )
    expected = texts.take(pa.array(rows))
    found = TextRows(texts, rows)
    assert list(found) == expected.to_pylist()
    assert len(found) == len(rows)
    for digests in (content_digests, normalized_digests):
        assert np.array_equal(digests(found), digests(expected))


def test_no_more_than_a_block_is_held() -> None:
    texts = table(20 * ROWS_AT_ONCE)
    before = pa.total_allocated_bytes()
    held = [
        pa.total_allocated_bytes() - before
        for _ in TextRows(texts, np.arange(0, len(texts), 2)).arrow_blocks()
    ]
    assert len(held) == 10
    assert 0 < max(held) < texts.nbytes / 5

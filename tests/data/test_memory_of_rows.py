"""What a row of a large data set costs in memory, whatever its text is."""

from __future__ import annotations

import tracemalloc
from typing import Callable

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import DataConfig
from trainer.data import splits
from trainer.data.audit import copies
from trainer.data.audit.rows import Rows
from trainer.data.places import Places
from trainer.data.sources import Sources
from trainer.data.splits import Pool, Split
from trainer.data.text_dataset import Digests, TextDataset

NUM_ROWS = 200_000
LABEL_NAMES = ("bad", "good", "rare")
CONFIG = DataConfig(dataset="files:rows.csv")


@pytest.fixture(scope="module", name="read")
def fixture_read() -> Sources:
    """Rows as they are mapped from the disk: one in ten is a copy, five are rare."""
    generator = np.random.default_rng(0)
    contents = generator.integers(0, 256, (NUM_ROWS, 32), np.uint8)
    originals = generator.integers(0, NUM_ROWS, NUM_ROWS // 10)
    contents[generator.permutation(NUM_ROWS)[: len(originals)]] = contents[originals]
    labels = generator.integers(0, 2, NUM_ROWS).astype(np.int32)
    labels[generator.permutation(NUM_ROWS)[:5]] = 2
    files = np.zeros(NUM_ROWS, np.int32)
    texts = pa.chunked_array([pa.repeat(pa.scalar("", pa.large_string()), NUM_ROWS)])
    data = TextDataset(
        texts,
        labels,
        LABEL_NAMES,
        Places(("rows.csv",), files, np.arange(NUM_ROWS)),
        digests=Digests(contents, contents),
    )
    return Sources({"train": data}, LABEL_NAMES, facts={})


def bytes_a_row(work: Callable[[], object]) -> float:
    """The most that it holds at once, result and all."""
    tracemalloc.start()
    made = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del made
    return peak / NUM_ROWS


def divided(read: Sources) -> tuple[Pool, dict[str, Split]]:
    return splits.make_splits(read, config=CONFIG, seed=0)


def test_splitting(read: Sources) -> None:
    assert bytes_a_row(lambda: divided(read)) < 55
    pool, parts = divided(read)
    labels = pool.labels[parts["train"].rows]
    assert np.bincount(labels)[2] == 5, "rare ones all stay"


def test_what_is_told_of_the_splits(read: Sources) -> None:
    pool, parts = divided(read)
    assert bytes_a_row(lambda: splits.fingerprint(pool, parts)) < 30
    assert bytes_a_row(lambda: splits.facts(pool, parts, LABEL_NAMES)) < 60


def test_looking_for_copies(read: Sources) -> None:
    pool, parts = divided(read)
    rows = Rows(pool, parts, LABEL_NAMES)
    # One in ten is a copy: arrays of these, and no array for any other.
    assert bytes_a_row(lambda: copies._groups(pool.text_numbers)) < 70
    assert bytes_a_row(lambda: copies.small_classes(rows)) < 60
    assert copies.small_classes(rows) == {"rare": 5}

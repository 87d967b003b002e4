"""One, two or four workers prepare the same data: the same to the byte, whoever does what.

Threads stand for workers: a claim keeps out whoever has opened it besides.
"""

from __future__ import annotations

import hashlib
import pathlib
import threading
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests import tiny
from trainer.config import DataConfig
from trainer.data import kept_sources, plans, sources, splits, tokens
from trainer.data.readers import line_blocks
from trainer.data.token_blocks import TEXTS_PER_BLOCK

NUM_ROWS = 3 * TEXTS_PER_BLOCK + 300
WINDOW = 16
# Traced once.
ENCODER = tokens.TextEncoder(tiny.VOCABULARY, window_length=WINDOW)


class Prepared(NamedTuple):
    """Of one worker, digests of all that it would train on."""

    splits: str
    tokens: str
    plan: str


@pytest.fixture(name="path")
def _path(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Rows of several blocks for each reader of them, some of which are copies."""
    monkeypatch.setattr(kept_sources, "LEAST_BYTES", 1)
    monkeypatch.setattr(line_blocks, "_BUFFER_BYTES", 2**14)
    texts, labels = tiny.labelled_sentences(NUM_ROWS)
    texts = [f"{text} {row % (NUM_ROWS - 50)}" for row, text in enumerate(texts)]
    path = tmp_path / "rows.csv"
    tiny.write_csv(path, texts, [f"class {label}" for label in labels])
    return path


def hashed(*arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def prepare(
    path: pathlib.Path, cache_dir: pathlib.Path, start: threading.Barrier
) -> Prepared:
    """What a worker does before its first step."""
    config = DataConfig(dataset=f"files:{path}", cache_dir=str(cache_dir))
    start.wait()
    read = sources.load(config)
    pool, parts = splits.make_splits(read, config=config, seed=3)
    made = tokens.encode_texts(
        pool.texts, ENCODER, digests=pool.digests, cache_dir=config.cache_dir
    )
    rows = parts["train"].rows
    buckets = plans.choose_bucket_lengths(
        made.lengths[rows], num_buckets=3, window_length=WINDOW
    )
    plan = plans.TrainingPlan(
        made.lengths[rows],
        buckets,
        seed=3,
        batch_size=8,
        num_epochs=2,
        # As of large data: nothing is listed, an epoch is computed in parts.
        most_listed_rows=0,
        places_at_once=40 * 8,
    )
    step, steps = 0, []
    while step < plan.total_steps:
        end = plan.end_of_part(step)
        part = plan.from_step(step, num_steps=end - step)
        steps.append(hashed(part.rows, part.buckets))
        step = end
    assert len(steps) > 10
    return Prepared(
        splits=hashed(
            pool.labels,
            pool.digests,
            pool.text_numbers,
            pool.places.lines,
            *(part.rows for part in parts.values()),
        ),
        tokens=hashed(made.token_ids, made.row_splits, made.full_lengths),
        plan=hashlib.sha256(" ".join(steps).encode()).hexdigest(),
    )


def files_of(cache_dir: pathlib.Path) -> dict[str, str]:
    """All files of a cache, by their names."""
    return {
        str(place.relative_to(cache_dir)): hashlib.sha256(
            place.read_bytes()
        ).hexdigest()
        for place in sorted(cache_dir.rglob("*"))
        if place.is_file()
    }


def prepared_by(
    num_workers: int, path: pathlib.Path, cache_dir: pathlib.Path
) -> set[Prepared]:
    """What so many workers have, that begin at one time with one cache."""
    start = threading.Barrier(num_workers)
    with futures.ThreadPoolExecutor(num_workers) as pool:
        found = [
            pool.submit(prepare, path, cache_dir, start) for _ in range(num_workers)
        ]
    return {each.result() for each in found}


def test_one_two_and_four_workers_have_the_same_to_the_byte(
    path: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    alone = prepared_by(1, path, tmp_path / "1")
    assert len(alone) == 1
    files = files_of(tmp_path / "1")
    names = {pathlib.Path(name).name for name in files}
    assert {"token_ids.bin", "train.texts", "train.contents.npy"} <= names
    for num_workers in (2, 4):
        cache_dir = tmp_path / str(num_workers)
        assert prepared_by(num_workers, path, cache_dir) == alone
        assert files_of(cache_dir) == files
    # And who comes later with a cache that is there already.
    assert prepared_by(1, path, tmp_path / "4") == alone

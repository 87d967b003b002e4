"""What all of the benchmark's contestants share, in whichever environment they run.

    texts, labels = benchmark_contestant.read_rows(spec["sample"])
    benchmark_contestant.main({"predict.mine": predict}, device_facts)

A contestant is a function from a spec, which `benchmark.py` writes, to numbers by
their names. Needs NumPy alone.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import resource
import statistics
import time
from typing import Any, Callable, Mapping, Sequence

import numpy as np

Spec = Mapping[str, Any]
Found = dict[str, Any]
# The rows of a batch, and the length that they are padded to.
Batch = tuple[np.ndarray, int]

_WARM_UP_TEXTS = 3


def main(
    contestants: Mapping[str, Callable[[Spec], Found]], facts: Callable[[], Found]
) -> None:
    """Measures the contestant of the command line, and prints a line of JSON.

    Args:
      facts: gives, afterwards, the device's kind and the peak of its memory.
    """
    parser = argparse.ArgumentParser(description="Measures one contestant, once.")
    parser.add_argument("--contestant", choices=contestants, required=True)
    parser.add_argument("--spec", type=pathlib.Path, required=True)
    options = parser.parse_args()
    spec = json.loads(options.spec.read_text(encoding="utf-8"))
    found = contestants[options.contestant](spec) | facts()
    print(json.dumps(found | {"peak_host_memory_bytes": _peak_host_memory()}))


def _peak_host_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    # Not getrusage's where Linux tells: that starts from what the benchmark itself held
    # when it started this process, TensorFlow included. psutil has no peak on Linux.
    status = pathlib.Path("/proc/self/status")
    told = re.search(
        r"VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else ""
    )
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(told[1] if told else usage)


def read_rows(path: str) -> tuple[list[str], np.ndarray]:
    """Texts and labels, int64 [n], of a JSON Lines file."""
    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [row["text"] for row in rows], np.array([row["label"] for row in rows])


def bucketed_batches(
    lengths: np.ndarray, bucket_lengths: Sequence[int], *, batch_size: int
) -> list[Batch]:
    """Batches as this program forms them: what a bucket has over goes to the next.

    Args:
      lengths: of the rows, in tokens; their number a multiple of the batch size.
    """
    generator = np.random.default_rng(0)
    bucket_of_row = np.searchsorted(bucket_lengths, lengths)
    batches: list[Batch] = []
    waiting = np.empty(0, np.int64)
    for bucket, length in enumerate(bucket_lengths):
        members = generator.permutation(np.flatnonzero(bucket_of_row == bucket))
        waiting = np.concatenate([waiting, members])
        num_full = len(waiting) // batch_size * batch_size
        full, waiting = waiting[:num_full], waiting[num_full:]
        batches += [(rows, length) for rows in full.reshape(-1, batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]


def time_predictions(
    predict: Callable[[list[str]], Any], texts: Sequence[str], spec: Spec
) -> Found:
    """Latency of a text at a time, then throughput of batches.

    Args:
      predict: waits for its results, on the host.
    """
    for text in texts[:_WARM_UP_TEXTS]:
        predict([text])
    latencies = []
    for text in texts[: spec["num_latency_texts"]]:
        start = time.perf_counter()
        predict([text])
        latencies.append(time.perf_counter() - start)
    size = spec["predict_batch_size"]
    texts = list(texts[: spec["num_predict_batches"] * size])
    predict(texts[:size])
    start = time.perf_counter()
    for first in range(0, len(texts), size):
        predict(texts[first : first + size])
    secs = time.perf_counter() - start
    return {
        "latency_ms": 1e3 * statistics.median(latencies),
        "latency_ms_95th_percentile": 1e3 * float(np.percentile(latencies, 95)),
        "texts_per_sec": len(texts) / secs,
    }

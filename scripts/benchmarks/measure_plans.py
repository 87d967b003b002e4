"""Measures what the plan of many rows takes: memory, and seconds at any step.

    python -m scripts.benchmarks.measure_plans --num_rows=10000000 --num_epochs=3

Prints a Markdown table. Lengths are drawn from a log-normal law of 20 to 60 words; that
they are others changes which batches there are, and nothing else of what is measured.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from typing import Callable, Iterator

import numpy as np

from trainer.data import plans

_BUCKET_LENGTHS = (16, 32, 48, 64, 96, 128)
_MEAN_LOG_LENGTH, _DEVIATION = 3.5, 0.6


def _lengths(num_rows: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    drawn = generator.lognormal(_MEAN_LOG_LENGTH, _DEVIATION, num_rows)
    return np.clip(drawn, 2, _BUCKET_LENGTHS[-1]).astype(np.int32)


def _made(
    lengths: np.ndarray, *, num_epochs: int, batch_size: int
) -> plans.TrainingPlan:
    return plans.TrainingPlan(
        lengths, _BUCKET_LENGTHS, seed=0, batch_size=batch_size, num_epochs=num_epochs
    )


def _traced(action: Callable[[], object]) -> tuple[float, float, float]:
    """Megabytes kept and at most, and seconds, of an action whose result is kept."""
    tracemalloc.start()
    start = time.perf_counter()
    result = action()
    secs = time.perf_counter() - start
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return kept / 1e6, peak / 1e6, secs


def rows(*, num_rows: int, num_epochs: int, batch_size: int) -> Iterator[str]:
    """The lines of the table."""
    lengths = _lengths(num_rows)
    settings = {"num_epochs": num_epochs, "batch_size": batch_size}
    plan = _made(lengths, **settings)
    part = plan.end_of_part(0)
    actions: dict[str, Callable[[], object]] = {
        "the plan": lambda: _made(lengths, **settings),
        "its first 100 steps": lambda: plan.from_step(0, num_steps=100),
        "its last 100 steps": lambda: plan.from_step(
            plan.total_steps - 100, num_steps=100
        ),
        f"a part of {part:,} steps": lambda: plan.from_step(0, num_steps=part),
    }
    yield "| | MB kept | MB at most | seconds |"
    yield "| --- | ---: | ---: | ---: |"
    for name, action in actions.items():
        kept, peak, secs = _traced(action)
        yield f"| {name} | {kept:,.1f} | {peak:,.1f} | {secs:.3f} |"
    yield ""
    yield f"{plan.total_steps:,} steps of {batch_size} of {num_rows:,} rows."


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--num_rows", type=int, default=10_000_000)
    parser.add_argument("--num_epochs", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=32)
    for line in rows(**vars(parser.parse_args())):
        print(line)


if __name__ == "__main__":
    main()

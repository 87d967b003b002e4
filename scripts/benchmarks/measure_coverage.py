"""How often the 95% intervals of large held-out splits hold, by simulation.

    .venv/bin/python -m scripts.benchmarks.measure_coverage --cases=ordinal,multi_label \\
        --num_samples=300 --num_texts=70000 --output=coverage.json

Of more than 65,536 texts a bootstrap draws groups of them (`evaluation/large_sets.py`).
Samples are drawn from a law that is known; what a metric is worth there is measured on a
sample of --num_truth texts. Counted is in how many samples the interval of a metric holds
that. By chance alone 95 percent of 300 samples may be seen as 92 to 97. A case ends early
at --time_limit seconds of the processor, and says how many samples it has. Prints JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from scripts.benchmarks import measure_evaluation

CASES = ("ordinal", "multi_label")
_SEED = 0
_NUM_CLASSES = 5
# From rare ones to frequent ones.
_LABEL_BIASES = np.linspace(-4.0, 0.0, 6)
_NOISE = 0.8

_Drawn = tuple[np.ndarray, np.ndarray]


def _ordinal(generator: np.random.Generator, num_texts: int) -> _Drawn:
    """Labels int64 [n] in an order, some rarer; logits float32 [n, 5], too sure."""
    shares = 1 / np.arange(1, _NUM_CLASSES + 1)
    places = np.arange(_NUM_CLASSES)
    labels = generator.choice(_NUM_CLASSES, num_texts, p=shares / shares.sum())
    seen = labels + _NOISE * generator.standard_normal(num_texts)
    logits = -((seen[:, np.newaxis] - places) ** 2)
    return labels, logits.astype(np.float32)


def _multi_label(generator: np.random.Generator, num_texts: int) -> _Drawn:
    """Labels float32 [n, 6]; logits float32 [n, 6] that go together within a text."""
    num_labels = len(_LABEL_BIASES)
    shared = generator.standard_normal((num_texts, 1), np.float32)
    own = generator.standard_normal((num_texts, num_labels), np.float32)
    logits = _LABEL_BIASES.astype(np.float32) + 1.5 * shared + 1.5 * own
    chance = 1 / (1 + np.exp(-logits))
    has = generator.random((num_texts, num_labels), np.float32) < chance
    return has.astype(np.float32), logits


_LAWS = {"ordinal": _ordinal, "multi_label": _multi_label}


def _report(case: str, drawn: _Drawn, *, num_resamples: int, seed: int) -> Any:
    """The report of a split, as a run makes it."""
    from trainer.data import places

    task = measure_evaluation._task(case)
    labels, logits = drawn
    names = tuple(f"label {index}" for index in range(logits.shape[1]))
    return task.scoring.report(
        labels,
        logits,
        decision=task.plain_decision(len(names)),
        label_names=names,
        # Without words: what errors have in common takes longer than all else.
        texts=[""] * len(labels),
        lengths=np.full(len(labels), 10),
        places=places.unknown(len(labels)),
        longest_text=512,
        num_resamples=num_resamples,
        seed=seed,
    )


def _values(report: Any) -> dict[str, float]:
    """The metrics by name, those of an order and of sets of labels among them."""
    facts = dataclasses.asdict(report)
    found = dict(facts)
    for more in ("ordinal", "label_sets"):
        found |= facts[more] or {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _intervals(report: Any) -> Iterator[tuple[str, Sequence[float]]]:
    facts = dataclasses.asdict(report)
    for part in (facts, facts["ordinal"] or {}, facts["label_sets"] or {}):
        for name, ends in part.get("confidence_intervals_95", {}).items():
            if ends is not None:
                yield name, ends


def measure_case(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """In how many of how many samples each interval holds."""
    generator = np.random.default_rng(_SEED)
    truth = _values(
        _report(
            case,
            _LAWS[case](generator, options.num_truth),
            num_resamples=0,
            seed=_SEED,
        )
    )
    held: dict[str, int] = {}
    seen: dict[str, int] = {}
    start, num_samples = time.process_time(), 0
    while (
        num_samples < options.num_samples
        and time.process_time() - start < options.time_limit
    ):
        report = _report(
            case,
            _LAWS[case](generator, options.num_texts),
            num_resamples=options.num_resamples,
            seed=num_samples,
        )
        for name, (low, high) in _intervals(report):
            seen[name] = seen.get(name, 0) + 1
            held[name] = held.get(name, 0) + int(low <= truth[name] <= high)
        num_samples += 1
    return {
        "case": case,
        "num_samples": num_samples,
        "num_texts": options.num_texts,
        "num_resamples": options.num_resamples,
        "processor_secs": round(time.process_time() - start, 1),
        "percent_held": {
            name: round(100 * held[name] / count, 1) for name, count in seen.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, simulates, and prints how often intervals hold."""
    options = _parse(arguments)
    results: list[Mapping[str, Any]] = []
    for case in options.cases:
        results.append(measure_case(case, options))
        print(json.dumps(results[-1]), flush=True)
    if options.output:
        text = json.dumps({"results": results}, indent=2) + "\n"
        options.output.write_text(text, encoding="utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Counts how often intervals hold.")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--num_samples", type=int, default=300)
    parser.add_argument("--num_texts", type=int, default=70_000)
    parser.add_argument("--num_truth", type=int, default=2_000_000)
    parser.add_argument("--num_resamples", type=int, default=200)
    parser.add_argument("--time_limit", type=float, default=600.0, help="s, of a case")
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args(arguments)
    options.cases = options.cases.split(",")
    if unknown := set(options.cases) - set(CASES):
        parser.error(
            f"--cases must be among {', '.join(CASES)}. Received: "
            f"{', '.join(sorted(unknown))}"
        )
    for name in ("num_samples", "num_texts", "num_truth", "num_resamples"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())

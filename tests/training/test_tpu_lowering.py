"""The very steps of a run, lowered by XLA ahead of time, have nothing a TPU refuses.

There is no TPU where these tests run. What a TPU's compiler gets can be looked at all
the same: the step of a replica as one XLA module, forward pass, backward pass, sums
over replicas, clipping and update, for each padded length. The checks are stricter
than that compiler, which takes sizes with a bound, and doubles, too, at a price.
`tests/reference/compile_for_tpu.py` gives it the same modules, without a TPU.
"""

from __future__ import annotations

import functools
import os
import pathlib
import types
from typing import Any, Callable, Iterator

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops
from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2
from tensorflow.python.eager.polymorphic_function import compiler_ir
from tensorflow.python.framework import kernels

from tests import tiny
from tests.test_experiment import make_config
from trainer.config import ExperimentConfig
from trainer.data import batches
from trainer.modeling import classifier as classifiers
from trainer.modeling import optimizers, presets
from trainer.runtime import strategies, traces
from trainer.stages import build, prepare
from trainer.tasks.single_label import SingleLabel
from trainer.training.steps import PredictStep, TrainStep

# What the steps are made of today, none of which talks to a host, has a size that
# depends on values, or is left to a library. All of it is in
# https://openxla.org/xla/operation_semantics and was compiled for a TPU by
# tests/reference/compile_for_tpu.py; run that again before adding to this.
OPCODES = frozenset("""
    abs add all-reduce and bitcast-convert broadcast call compare concatenate constant
    convert copy cosine divide dot dynamic-slice dynamic-update-slice exponential
    floor gather get-tuple-element iota log maximum minimum multiply negate or pad parameter
    power reduce remainder reshape rng-bit-generator rsqrt scatter select shift-left
    shift-right-logical slice sqrt subtract tanh transpose tuple while xor
    """.split())
# 64-bit integers are the optimizer's count of steps and the dropout's keys; a TPU has
# them in two halves. 64-bit floats it would have to emulate.
TYPES = frozenset("PRED S32 S64 U8 U32 U64 BF16 F32 TUPLE".split())
GRAPH_TYPES = (
    *(tf.bool, tf.uint8, tf.int32, tf.int64, tf.uint32, tf.uint64),
    *(tf.bfloat16, tf.float32),
)
NUM_REPLICAS = 4
# Where set, the lowered modules are left in this folder, for compile_for_tpu.py.
DUMP_FOLDER = os.environ.get("LOWERED_MODULES_DIR", "")


def lower(
    function: Callable[..., Any], *specs: tf.TensorSpec
) -> tuple[tf.Graph, hlo_pb2.HloModuleProto]:
    """The function's graph, and what XLA makes of it."""
    compiled = tf.function(function, autograph=False, jit_compile=True)
    traced = compiled.get_concrete_function(*specs)
    # As `compiled.experimental_get_compiler_ir` does, which would trace it once more.
    generate = compiler_ir.from_concrete_function(traced)
    module = hlo_pb2.HloModuleProto()
    module.ParseFromString(generate(stage="hlo_serialized"))
    return traced.graph, module


def instructions(
    module: hlo_pb2.HloModuleProto,
) -> Iterator[hlo_pb2.HloInstructionProto]:
    """Those of all computations of a module."""
    for computation in module.computations:
        yield from computation.instructions


def refused_in_module(module: hlo_pb2.HloModuleProto) -> set[str]:
    """What of a lowered module is none of OPCODES, TYPES, or of static shape."""
    refused = set()
    for instruction in instructions(module):
        if instruction.opcode not in OPCODES:
            refused.add(instruction.opcode)
        for shape in leaves(instruction.shape):
            type_name = xla_data_pb2.PrimitiveType.Name(shape.element_type)
            if type_name not in TYPES:
                refused.add(type_name)
            if any(shape.is_dynamic_dimension) or min(shape.dimensions, default=0) < 0:
                refused.add("dynamic dimension")
    return refused


def leaves(shape: xla_data_pb2.ShapeProto) -> Iterator[xla_data_pb2.ShapeProto]:
    """A shape, and those that a tuple is made of."""
    yield shape
    for part in shape.tuple_shapes:
        yield from leaves(part)


@functools.cache
def is_known_to_xla(operation: str) -> bool:
    """Whether it can be lowered. To be asked when something has been lowered."""
    registered = kernels.get_registered_kernels_for_op(operation).kernel
    return "XLA_CPU_JIT" in {kernel.device_type for kernel in registered}


def refused_in_graph(graph: tf.Graph) -> set[str]:
    """What of TensorFlow's graph, its functions too, XLA cannot or should not have."""
    refused = set()
    for operation in graph.get_operations():
        if operation.type == "Placeholder":
            continue
        if not is_known_to_xla(operation.type):
            refused.add(operation.type)
        for tensor in operation.outputs:
            if tensor.dtype not in (*GRAPH_TYPES, tf.resource):
                refused.add(tensor.dtype.name)
            # That one's output is gone when the graph has been lowered.
            elif operation.type != "BroadcastGradientArgs":
                if not tensor.shape.is_fully_defined():
                    refused.add(f"{operation.type} of shape {tensor.shape}")
    for function in graph._functions.values():
        refused |= refused_in_graph(function.graph)
    return refused


def check(
    name: str, function: Callable[..., Any], *specs: tf.TensorSpec
) -> hlo_pb2.HloModuleProto:
    """Lowers a function, and asserts that nothing in it would be refused."""
    graph, module = lower(function, *specs)
    assert refused_in_module(module) == set(), name
    assert refused_in_graph(graph) == set(), name
    if DUMP_FOLDER:
        path = pathlib.Path(DUMP_FOLDER) / f"{name}.hlo.pb"
        path.write_bytes(module.SerializeToString())
    return module


class OneOfSeveral(tf.distribute.ReplicaContext):
    """What a step sees of TPUStrategy: one program for all replicas.

    Which of them it is comes as a tensor, and sums over replicas are within it.
    """

    def all_reduce(self, reduce_op: Any, value: Any, options: Any = None) -> Any:
        """The sum over all replicas, of each tensor in `value`."""
        assert reduce_op == tf.distribute.ReduceOp.SUM
        return tf.nest.map_structure(
            lambda tensor: gen_xla_ops.xla_all_reduce(
                tensor, [list(range(NUM_REPLICAS))], "Add", "CrossReplica"
            ),
            value,
        )


def on_replica(step: TrainStep | PredictStep) -> Callable[..., Any]:
    """What a replica computes, of its number and its batch as separate tensors."""

    def compute(replica: tf.Tensor, *batch: tf.Tensor) -> Any:
        with OneOfSeveral(tf.distribute.get_strategy(), replica):
            specs = batch_specs(1, 1)
            return step._replica_step(tf.nest.pack_sequence_as(specs, batch))

    return compute


def batch_specs(batch_size: int, length: int) -> batches.Batch:
    """What `lower` needs to know of a batch."""
    return batches.Batch(
        inputs=batches.Inputs(
            token_ids=tf.TensorSpec([batch_size, length], tf.int32),
            num_tokens=tf.TensorSpec([batch_size], tf.int32),
        ),
        targets=tf.TensorSpec([batch_size], tf.int32),
        weights=tf.TensorSpec([batch_size], tf.float32),
    )


def check_steps(
    name: str,
    config: ExperimentConfig,
    classifier: keras.Model,
    specs: batches.Batch,
    *,
    is_mixed: bool,
) -> None:
    """Checks train and predict step on batches of these shapes."""
    strategy = tf.distribute.get_strategy()
    num_parts = config.training.accumulation_steps
    assert isinstance(num_parts, int)
    train_step = tiny.make_train_step(
        classifier,
        strategy,
        clip_norm=config.optimizer.clip_norm,
        seed=config.training.seed,
        accumulation_steps=num_parts,
        fusion="whole",
    )
    replica = tf.TensorSpec([], tf.int32)
    module = check(
        f"{name}_train", on_replica(train_step), replica, *tf.nest.flatten(specs)
    )
    # All of it is there: dropout, parts, sums over replicas, update of variables.
    opcodes = [instruction.opcode for instruction in instructions(module)]
    num_variables = len(classifier.trainable_variables)
    assert "rng-bit-generator" in opcodes
    assert ("while" in opcodes) == (num_parts > 1)
    assert opcodes.count("all-reduce") == num_variables
    num_updated = len(module.input_output_alias.entries)
    assert num_updated >= 3 * num_variables + 1, "weights, two moments each, the step"
    assert_precision(module, is_mixed=is_mixed)

    predict_step = tiny.make_predict_step(classifier, strategy)
    module = check(
        f"{name}_predict", on_replica(predict_step), replica, *tf.nest.flatten(specs)
    )
    assert not module.input_output_alias.entries
    assert_precision(module, is_mixed=is_mixed)


def assert_precision(module: hlo_pb2.HloModuleProto, *, is_mixed: bool) -> None:
    """Mixed: matrix products in bfloat16, but for the head's few."""
    products = [
        xla_data_pb2.PrimitiveType.Name(instruction.shape.element_type)
        for instruction in instructions(module)
        if instruction.opcode == "dot"
    ]
    assert set(products) == ({"BF16", "F32"} if is_mixed else {"F32"})
    if is_mixed:
        assert products.count("F32") <= 3, "of the head: forward, and two gradients"


@pytest.fixture
def dtype_policy(request: pytest.FixtureRequest) -> Iterator[str]:
    """The precision policy of this name."""
    with strategies.precision(request.param):
        yield request.param


@pytest.mark.parametrize(
    ("dtype_policy", "accumulation_steps", "pooling", "kind"),
    [
        ("mixed_bfloat16", 1, "first", "tiny_preset"),
        ("mixed_bfloat16", 2, "mean", "tiny_hugging_face"),
        pytest.param("float32", 1, "mean", "tiny_preset", marks=pytest.mark.slow),
        pytest.param(
            "float32", 2, "first", "tiny_hugging_face", marks=pytest.mark.slow
        ),
    ],
    indirect=["dtype_policy"],
)
def test_steps_of_a_run(
    dtype_policy: str,
    accumulation_steps: int,
    pooling: str,
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: pathlib.Path,
) -> None:
    """Made as a run makes them, at each length that its data has.

    KerasHub's presets and Hugging Face's differ in the activation.
    """
    folder = request.getfixturevalue(kind)
    config = make_config(
        tmp_path,
        folder,
        model=dict(pooling=pooling, dropout=0.1),
        training=dict(accumulation_steps=accumulation_steps),
    )
    preset = presets.load_preset(folder)
    data = prepare.make_material(config.data, config.training, preset)
    run: Any = types.SimpleNamespace(
        config=config,
        resolved=types.SimpleNamespace(dropout=config.model.dropout),
        task=SingleLabel(),
    )
    classifier, _ = build.make_classifier(run, data)
    feeder = batches.BatchFeeder(
        data.tokens,
        data.texts.pool.labels,
        data.bucket_lengths,
        tf.distribute.get_strategy(),
        rows=data.splits["train"].rows,
    )
    rows, alone = data.plan.from_step(0).rows, tf.distribute.InputContext()
    assert len(data.bucket_lengths) == 2
    for length in data.bucket_lengths:
        # What the pipeline promises: on a TPU it has to be static, too.
        specs = feeder._pipeline(rows, length, alone).element_spec
        name = f"tiny_{dtype_policy}_{accumulation_steps}_{length}"
        is_mixed = dtype_policy == "mixed_bfloat16"
        check_steps(name, config, classifier, specs, is_mixed=is_mixed)


class RandomBertBase(presets.Preset):
    """BERT-base's dimensions with random weights, which no test has to fetch."""

    def make_backbone(self, *, dropout: float | None = None) -> keras.Model:
        """As google-bert/bert-base-uncased, see its config.json."""
        assert dropout is not None
        return keras_nlp.models.BertBackbone(
            vocabulary_size=30522,
            # Its twelve are alike; to lower them all takes half as much memory again.
            num_layers=4,
            num_heads=12,
            hidden_dim=768,
            intermediate_dim=3072,
            dropout=dropout,
        )


@pytest.mark.slow
@pytest.mark.parametrize("dtype_policy", ["mixed_bfloat16"], indirect=True)
def test_steps_of_bert_base(
    dtype_policy: str, tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    config = make_config(tmp_path, tiny_preset)
    preset = RandomBertBase("base", "base", (), True, None, None)
    classifier = classifiers.build_classifier(
        preset, num_classes=2, pooling="first", dropout=0.1, seed=0
    )
    optimizer = optimizers.build_optimizer(config.optimizer, total_steps=100)
    optimizers.exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    tiny.compile_classifier(classifier, optimizer)
    for length in (128, 512):
        specs = batch_specs(8, length)
        with traces.released():
            check_steps(f"base_{length}", config, classifier, specs, is_mixed=True)


MATRIX = tf.TensorSpec([4, 8], tf.float32)
REFUSED: dict[str, tuple[Callable[[tf.Tensor], Any], str]] = {
    "where": (lambda x: tf.where(x > 0), "Where of shape (None, 2)"),
    "unique": (lambda x: tf.unique(x[0])[0], "Unique of shape (None,)"),
    "boolean_mask": (lambda x: tf.boolean_mask(x, x > 0), "dynamic dimension"),
    "dynamic_size": (lambda x: tf.where(x > 0), "set-dimension-size"),
    "double": (lambda x: tf.cast(x, tf.float64), "F64"),
    "double_in_graph": (lambda x: tf.cast(x, tf.float64), "float64"),
    "complex": (lambda x: tf.signal.rfft(x), "C64"),
    "custom_call": (
        lambda x: gen_xla_ops.xla_custom_call([x], "nobody", "", x.dtype, x.shape),
        "custom-call",
    ),
    "unseeded": (lambda x: x + tf.random.uniform([8]), "rng"),
    "in_a_loop": (
        lambda x: tf.while_loop(
            lambda i, _: i < 3,
            lambda i, y: (i + 1, y + tf.cast(tf.shape(tf.where(y > 0))[0], tf.float32)),
            (0, x),
        ),
        "Where of shape (None, 2)",
    ),
}


@pytest.mark.parametrize("function, expected", REFUSED.values(), ids=REFUSED)
def test_checker_refuses(function: Callable[[tf.Tensor], Any], expected: str) -> None:
    graph, module = lower(function, MATRIX)
    assert expected in refused_in_module(module) | refused_in_graph(graph)


NOT_LOWERED: dict[str, tuple[Callable[[tf.Tensor], Any], str]] = {
    "python": (lambda x: tf.py_function(np.sin, [x], tf.float32), "EagerPyFunc"),
    "numpy": (lambda x: tf.numpy_function(np.sin, [x], tf.float32), "PyFunc"),
    "string": (lambda x: tf.strings.length(tf.strings.as_string(x)), "AsString"),
    "print": (lambda x: (tf.print(x), x)[1], "StringFormat"),
    "shape_of_values": (lambda x: tf.range(tf.cast(x[0, 0], tf.int32)), "Range"),
}


@pytest.mark.parametrize("function, name", NOT_LOWERED.values(), ids=NOT_LOWERED)
def test_xla_itself_refuses(function: Callable[[tf.Tensor], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        lower(function, MATRIX)


def test_shape_that_is_not_static_is_refused() -> None:
    with pytest.raises(ValueError, match="static input shape"):
        lower(tf.square, tf.TensorSpec([None, 8], tf.float32))


def test_checker_lets_pass_what_is_static() -> None:
    check("softmax", lambda x: tf.nn.softmax(x @ tf.transpose(x)), MATRIX)

"""The operations that an export may have: a SavedModel is a program.

    check(folder)       # ValueError, if one of its ops is not on the list

What is on the list neither reads nor writes files but the variables', calls no Python
and depends on no chance; and TensorFlow Serving has it. An op that an export has not
used before is refused until somebody has looked at it, and has put it here. This module
does without TensorFlow, so that a folder is checked before that is loaded.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, AbstractSet, Any, Iterable, Iterator

from trainer.messages import message
from trainer.serving import versions

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

# TensorFlow Serving 2.12 to 2.19 hold TensorFlow Text 2.12.1, 2.20 holds 2.20.0
# (tensorflow_serving/workspace.bzl): the `ops_lib` of both has these.
TEXT_OPS = frozenset({"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"})

# TensorFlow's own. Two that do the same in different ways are both here, so that a
# change in TensorFlow's Python does not stop an export.
_CORE = {
    "what a graph is made of": (
        """Const Identity IdentityN NoOp Placeholder
        PartitionedCall StatefulPartitionedCall StopGradient"""
    ),
    "conditions and loops": (
        "Assert Case If StatelessCase StatelessIf StatelessWhile While"
    ),
    "what a loop gathers": (
        """TensorListConcatV2 TensorListFromTensor TensorListGetItem
        TensorListReserve TensorListSetItem TensorListStack"""
    ),
    "variables": (
        """AssignVariableOp DisableCopyOnRead ReadVariableOp ResourceGather VarHandleOp"""
    ),
    "reading the variables' files": (
        """MergeV2Checkpoints RestoreV2 SaveV2
        ShardedFilename"""
    ),
    "strings": (
        """ParseExampleV2 RegexFullMatch RegexReplace StaticRegexFullMatch
        StaticRegexReplace StringJoin StringLength StringLower StringSplitV2
        UnicodeTranscode"""
    ),
    "rows of different lengths": (
        """Cumsum DenseBincount RaggedGather RaggedRange
        RaggedTensorToTensor SegmentMax SegmentMean SegmentSum UnsortedSegmentMax
        UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum"""
    ),
    "finding": (
        """ArgMax ArgMin Bincount Bucketize LowerBound TopKV2 Unique UniqueV2
        UpperBound Where"""
    ),
    "taking, placing and joining": (
        """BroadcastArgs BroadcastTo ConcatV2
        DynamicPartition DynamicStitch ExpandDims Fill GatherNd GatherV2 OnesLike Pack
        Pad PadV2 ParallelDynamicStitch Range Rank Reshape ReverseV2 ScatterNd Select
        SelectV2 Shape ShapeN Size Slice Split SplitV Squeeze StridedSlice
        TensorScatterAdd TensorScatterUpdate Tile Transpose Unpack ZerosLike"""
    ),
    "comparison": (
        """All Any Equal Greater GreaterEqual IsFinite IsNan Less LessEqual
        LogicalAnd LogicalNot LogicalOr NotEqual"""
    ),
    "arithmetic": (
        """Abs Add AddN AddV2 BatchMatMulV2 BatchMatMulV3 BiasAdd Cast Ceil
        ClipByValue DivNoNan Einsum Erf Erfc Exp Floor FloorDiv FloorMod Log Log1p
        LogSoftmax MatMul Max Maximum Mean Min Minimum Mul Neg Pow Prod RealDiv
        Reciprocal Relu Round Rsqrt Sigmoid Sign Softmax Softplus Sqrt Square
        SquaredDifference Sub Sum Tanh Xdivy"""
    ),
}
CORE_OPS = frozenset[str]().union(*(names.split() for names in _CORE.values()))
ALLOWED_OPS = CORE_OPS | TEXT_OPS

# Why an op is not on the list, where that is known: the first pattern that matches.
_REASONS = {
    "PyFunc": "calls Python, which a server does not run",
    "^Xla": "needs XLA, which TensorFlow Serving switches off by default",
    "^TFText>RoundRobin": (
        "TensorFlow Serving up to 2.19 does not hold it, see "
        "tensorflow/serving#2267; truncate otherwise"
    ),
    "Grad$|GradientArgs$": (
        "serves training; save with "
        "tf.saved_model.SaveOptions(experimental_custom_gradients=False)"
    ),
    "^Stateless.*Random|^Random|Multinomial": "an answer must not depend on chance",
    "^(Read|Write|Matching)File": "reads or writes files that do not move along",
}
_UNKNOWN = (
    "nobody has looked whether TensorFlow Serving holds it: look, and then add it to "
    "trainer/serving/allowed_ops.py"
)
# Other files that TensorFlow reads a graph from.
_OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")
_MEND = "use it only if you trust where it is from, or export again"
# Of a SavedModel's messages the fields that lead to ops: name, number, the message
# within, and whether there are many (tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, and
# tensorflow/core/framework/graph.proto, function.proto, op_def.proto, node_def.proto).
_FIELDS: dict[str, list[tuple[str, int, str, bool]]] = {
    "SavedModel": [("meta_graphs", 2, "MetaGraphDef", True)],
    "MetaGraphDef": [("graph_def", 2, "GraphDef", False)],
    "GraphDef": [
        ("node", 1, "NodeDef", True),
        ("library", 2, "FunctionDefLibrary", False),
    ],
    "FunctionDefLibrary": [("function", 1, "FunctionDef", True)],
    "FunctionDef": [("signature", 1, "OpDef", False), ("node_def", 3, "NodeDef", True)],
    "OpDef": [("name", 1, "", False)],
    "NodeDef": [("op", 2, "", False)],
}


def check(saved_model: Path) -> None:
    """Checks the ops of a SavedModel, those of its functions too.

    Raises:
      ValueError: it has others, all of which are named, or is no SavedModel.
    """
    from google.protobuf.message import DecodeError

    place = saved_model / versions.SAVED_MODEL
    with place.open("rb") as file:
        content = file.read()
    problems = [
        f"the file {name}, which is a graph too"
        for name in _OTHER_GRAPHS
        if (saved_model / name).is_file()
    ]
    try:
        graphs = _saved_model_class().FromString(content).meta_graphs
    except DecodeError as error:
        raise ValueError(
            message(
                "expected a SavedModel", place=str(place), received=error, mend=_MEND
            )
        ) from error
    for meta_graph in graphs:
        ops = list(_ops(meta_graph.graph_def))
        functions = {f.signature.name for f in meta_graph.graph_def.library.function}
        problems += named(ops, ALLOWED_OPS | functions)
    if problems:
        raise ValueError(
            message(
                "a SavedModel is a program, and may have those operations alone that "
                "an export has",
                place=str(place),
                received="; ".join(problems),
                mend=_MEND,
            )
        )


def named(ops: Iterable[tuple[str, str]], allowed: AbstractSet[str]) -> list[str]:
    """The ops that are not allowed, each with a function that has it, and why.

    Args:
      ops: functions ("": outside of all) and names of ops.
      allowed: names of ops, and of the graph's functions, which can be ops too.
    """
    places: dict[str, str] = {}
    for function, op in ops:
        if op not in allowed:
            places.setdefault(op, function or "the outer graph")
    return [
        f"the op {op} in {place} ({_reason(op)})"
        for op, place in sorted(places.items())
    ]


def _reason(op: str) -> str:
    matching = (why for pattern, why in _REASONS.items() if re.search(pattern, op))
    return next(matching, _UNKNOWN)


def _ops(graph: Any) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        yield "", node.op
    for function in graph.library.function:
        for node in function.node_def:
            yield function.signature.name, node.op


@functools.cache
def _saved_model_class() -> Any:
    """A class of messages that reads `_FIELDS` alone, as TensorFlow's own would."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="ops.proto", package="ops", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message_name, fields in _FIELDS.items():
        described = file.message_type.add(name=message_name)
        for name, number, within, is_many in fields:
            described.field.add(
                name=name,
                number=number,
                label=kinds.LABEL_REPEATED if is_many else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_MESSAGE if within else kinds.TYPE_STRING,
                type_name=f".ops.{within}" if within else None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    described_model = pool.FindMessageTypeByName("ops.SavedModel")
    return message_factory.GetMessageClass(described_model)

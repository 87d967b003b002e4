"""What of a SavedModel a model server that is taken as it is would not run.

    check("/runs/imdb/export/1")    # ValueError, if it needs more than such a server has

The server is TensorFlow Serving: TensorFlow's own ops, and those of TensorFlow Text
that it is linked with (tensorflow_serving/model_servers/BUILD,
SUPPORTED_TENSORFLOW_OPS). An op that an export has not used before is refused until
somebody has looked whether that server has it, and has put it on the list.

    check_ops(folder)   # the same of ops alone, without TensorFlow

A SavedModel is a program, and may read files and call Python. What is on the list does
not, so one of unknown origin is checked by it before TensorFlow loads it.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
from typing import TYPE_CHECKING, AbstractSet, Any, Iterator

from trainer.config import EXPLAIN_SIGNATURE
from trainer.messages import message
from trainer.serving import versions

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

# TensorFlow Serving 2.12 to 2.19 hold TensorFlow Text 2.12.1, 2.20 holds 2.20.0
# (tensorflow_serving/workspace.bzl): the `ops_lib` of both has these.
WORD_PIECE_OPS = frozenset({"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"})
SENTENCE_PIECE_OPS = frozenset(
    {
        "SentencepieceOp",
        "SentencepieceTokenizeOp",
        "SentencepieceTokenizeWithOffsetsOp",
    }
)
TEXT_OPS = WORD_PIECE_OPS | SENTENCE_PIECE_OPS

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
        StringToHashBucketFast Substr UnicodeDecode UnicodeDecodeWithOffsets
        UnicodeEncode UnicodeTranscode"""
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
# What `explain` takes gradients with: TensorFlow's own ops too, of the same libraries
# as those that they are the gradients of (tensorflow/core/kernels). Elsewhere they serve
# training alone.
GRADIENT_OPS = frozenset(
    (
        "BiasAddGrad BroadcastGradientArgs InvertPermutation ReluGrad RsqrtGrad "
        "StridedSliceGrad TanhGrad"
    ).split()
)

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
    "trainer/serving/stock_ops.py"
)
# Other files that TensorFlow reads a graph from.
_OTHER_GRAPHS = ("saved_model.cpb", "saved_model.pbtxt")
# What tf.Module and tf.saved_model.save make themselves.
_PLAIN_OBJECTS = frozenset(
    {
        "_generic_user_object",
        "signature_map",
        "trackable_dict_wrapper",
        "trackable_list_wrapper",
        "trackable_tuple_wrapper",
    }
)
_MEND = "use it only if you trust where it is from, or export again"
# Of a SavedModel's messages the fields that lead to ops: name, number, the message
# within, and whether there are many (tensorflow/core/protobuf/saved_model.proto and
# meta_graph.proto; tensorflow/core/framework/graph.proto, function.proto, op_def.proto
# and node_def.proto).
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


def read(saved_model: pathlib.Path) -> Any:
    """The SavedModel's graph, signatures and objects, as a MetaGraphDef.

    Raises:
      ValueError: there is not exactly one, as tf.saved_model.save writes it.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel.FromString(
        (saved_model / "saved_model.pb").read_bytes()
    )
    if len(content.meta_graphs) != 1:
        raise ValueError(
            message(
                f"{saved_model}: expected one graph",
                received=len(content.meta_graphs),
            )
        )
    return content.meta_graphs[0]


def check(
    saved_model: pathlib.Path, *, allowed: AbstractSet[str] = ALLOWED_OPS
) -> None:
    """Checks that a stock server can load and run it, wherever the folder lies.

    Args:
      allowed: the names of the ops that it may have; one with the signature `explain`
        may have those of gradients as well.

    Raises:
      ValueError: it cannot. All ops, files and objects that stand in the way are
        named.
    """
    graph = read(saved_model)
    if EXPLAIN_SIGNATURE in graph.signature_def:
        allowed = allowed | GRADIENT_OPS
    problems = [
        *_foreign_ops(graph, allowed),
        *_compiled_functions(graph),
        *_absolute_paths(graph),
        *_custom_objects(graph),
    ]
    if problems:
        raise ValueError(
            "the SavedModel must run on a TensorFlow Serving as it is published, with "
            f"nothing else. Received: {saved_model}, which has " + "; ".join(problems)
        )


def check_ops(saved_model: Path) -> None:
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
    for graph in graphs:
        problems += _foreign_ops(graph, ALLOWED_OPS | GRADIENT_OPS)
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


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    """All nodes, each with the name of its function; "" outside of functions.

    Functions do not nest: what is within a function's loop is a function of its own.
    """
    for node in graph.graph_def.node:
        yield "", node
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield function.signature.name, node


def _foreign_ops(graph: Any, allowed: AbstractSet[str]) -> list[str]:
    """The ops that are not allowed, each with a function that has it, and why."""
    # A function can be called by a node that has its name for an op.
    functions = {f.signature.name for f in graph.graph_def.library.function}
    places: dict[str, str] = {}
    for function, node in _nodes(graph):
        if node.op not in allowed and node.op not in functions:
            places.setdefault(node.op, function or "the outer graph")
    return [
        f"the op {op} in {place} ({_reason(op)})"
        for op, place in sorted(places.items())
    ]


def _reason(op: str) -> str:
    matching = (why for pattern, why in _REASONS.items() if re.search(pattern, op))
    return next(matching, _UNKNOWN)


def _compiled_functions(graph: Any) -> list[str]:
    """Functions with jit_compile=True: TensorFlow Serving's main.cc switches XLA off."""
    compiled = [
        function.signature.name
        for function in graph.graph_def.library.function
        if function.attr["_XlaMustCompile"].b
    ]
    compiled += [n.name for _, n in _nodes(graph) if n.attr["_XlaMustCompile"].b]
    return [f"{name}, to be compiled by XLA" for name in sorted(set(compiled))]


def _absolute_paths(graph: Any) -> list[str]:
    """Of files beside the graph, and in constants of a single string."""
    import tensorflow as tf

    names = [asset.filename for asset in graph.asset_file_def]
    for _, node in _nodes(graph):
        tensor = node.attr["value"].tensor
        if tensor.dtype == tf.string.as_datatype_enum and not tensor.tensor_shape.dim:
            names += [value.decode("utf-8", "replace") for value in tensor.string_val]
    return [f"the path {name}" for name in sorted(set(names)) if _is_absolute(name)]


def _is_absolute(name: str) -> bool:
    return (
        os.path.isabs(name) or re.match("[A-Za-z][A-Za-z0-9+.-]*://", name) is not None
    )


def _custom_objects(graph: Any) -> list[str]:
    """Objects that are loaded as what they were only where their class is registered."""
    names = set()
    for node in graph.object_graph_def.nodes:
        if node.WhichOneof("kind") == "user_object":
            names.add(node.user_object.identifier)
        names.update({node.registered_name, node.registered_saver})
    foreign = {name for name in names if name and not name.startswith("tf.")}
    return [f"the object {name}" for name in sorted(foreign - _PLAIN_OBJECTS)]


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

"""What of a SavedModel a model server that is taken as it is would not run.

    check("/runs/imdb/export/1")    # ValueError, if it needs more than such a server has

The server is TensorFlow Serving: TensorFlow's own ops, and those of TensorFlow Text
that it is linked with (tensorflow_serving/model_servers/BUILD,
SUPPORTED_TENSORFLOW_OPS). An op that an export has not used before is refused until
somebody has looked whether that server has it, and has put it on the list.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import Any, Iterator

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trainer.messages import message

# TensorFlow Serving 2.12 to 2.19 hold TensorFlow Text 2.12.1, 2.20 holds 2.20.0
# (tensorflow_serving/workspace.bzl): the `ops_lib` of both has these.
TEXT_OPS = frozenset({"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"})

# TensorFlow's own. Two that do the same in different ways are both here, so that a
# change in TensorFlow's Python does not stop an export.
_CORE_OPS = {
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
    "variables": "AssignVariableOp DisableCopyOnRead ReadVariableOp VarHandleOp",
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
        """Abs AddN AddV2 BatchMatMulV2 BatchMatMulV3 BiasAdd Cast Ceil
        ClipByValue DivNoNan Einsum Erf Erfc Exp Floor FloorDiv FloorMod Log Log1p
        LogSoftmax MatMul Max Maximum Mean Min Minimum Mul Neg Pow Prod RealDiv
        Reciprocal Relu Round Rsqrt Sigmoid Sign Softmax Softplus Sqrt Square
        SquaredDifference Sub Sum Tanh Xdivy"""
    ),
}
ALLOWED_OPS = TEXT_OPS.union(*(names.split() for names in _CORE_OPS.values()))

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


def read(saved_model: pathlib.Path) -> Any:
    """The SavedModel's graph, signatures and objects, as a MetaGraphDef.

    Raises:
      ValueError: there is not exactly one, as tf.saved_model.save writes it.
    """
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


def check(saved_model: pathlib.Path) -> None:
    """Checks that a stock server can load and run it, wherever the folder lies.

    Raises:
      ValueError: it cannot. All ops, files and objects that stand in the way are
        named.
    """
    graph = read(saved_model)
    problems = [
        *_foreign_ops(graph),
        *_compiled_functions(graph),
        *_absolute_paths(graph),
        *_custom_objects(graph),
    ]
    if problems:
        raise ValueError(
            "the SavedModel must run on a TensorFlow Serving as it is published, with "
            f"nothing else. Received: {saved_model}, which has " + "; ".join(problems)
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


def _foreign_ops(graph: Any) -> list[str]:
    # A function can be called by a node that has its name for an op.
    functions = {f.signature.name for f in graph.graph_def.library.function}
    places: dict[str, str] = {}
    for function, node in _nodes(graph):
        if node.op not in ALLOWED_OPS and node.op not in functions:
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

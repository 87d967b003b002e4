"""What of a SavedModel a model server that is taken as it is would not run.

    check("/runs/imdb/export/1")    # ValueError, if it needs more than such a server has

The server is TensorFlow Serving: TensorFlow's own ops, and those of TensorFlow Text
that it is linked with (tensorflow_serving/model_servers/BUILD,
SUPPORTED_TENSORFLOW_OPS). The list of ops is in `allowed_ops.py`.
"""

from __future__ import annotations

import os
import pathlib
import re
from typing import AbstractSet, Any, Iterator

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from trainer.messages import message
from trainer.serving import allowed_ops

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


def check(
    saved_model: pathlib.Path, *, allowed: AbstractSet[str] = allowed_ops.ALLOWED_OPS
) -> None:
    """Checks that a stock server can load and run it, wherever the folder lies.

    Args:
      allowed: the names of the ops that it may have.

    Raises:
      ValueError: it cannot. All ops, files and objects that stand in the way are
        named.
    """
    graph = read(saved_model)
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
    ops = [(function, node.op) for function, node in _nodes(graph)]
    functions = {f.signature.name for f in graph.graph_def.library.function}
    return allowed_ops.named(ops, allowed | functions)


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

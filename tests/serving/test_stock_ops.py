"""What a stock server has: the list, what is found missing, and a process without us."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import registration

from tests.serving import tiny_export
from trainer.serving import stock_ops

TEXTS = ["a good film.", "", "so very dull " * 30, "caf\u00e9 \u4f60\u597d"]


@pytest.fixture(scope="module")
def saved_model(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    return tiny_export.save(tiny_hugging_face, tmp_path_factory.mktemp("stock") / "1")


def save(
    python: Callable[[tf.Tensor], tf.Tensor], folder: pathlib.Path, **options: Any
) -> pathlib.Path:
    """A SavedModel of a function of float32 [n]."""
    module = tf.Module()
    module.serve = tf.function(
        python, input_signature=[tf.TensorSpec([None], tf.float32)], **options
    )
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def test_a_stock_server_has_all_that_an_export_needs(saved_model: pathlib.Path) -> None:
    stock_ops.check(saved_model)
    nodes = stock_ops._nodes(stock_ops.read(saved_model))
    assert stock_ops.WORD_PIECE_OPS < {node.op for _, node in nodes}


@tf.function
def in_python(x: tf.Tensor) -> tf.Tensor:
    return tf.py_function(lambda y: y + 1, [x], tf.float32)


def python_deep_down(x: tf.Tensor) -> tf.Tensor:
    """A Python function within a function within a condition within a loop."""
    for _ in tf.range(3):
        if tf.reduce_sum(x) > 0:
            x = tf.ensure_shape(in_python(x), [None])
    return x


@tf.function(jit_compile=True)
def compiled(x: tf.Tensor) -> tf.Tensor:
    return x * 2


def compiled_in_a_loop(x: tf.Tensor) -> tf.Tensor:
    for _ in tf.range(3):
        x = tf.ensure_shape(compiled(x), [None])
    return x


def trimmed_in_turns(x: tf.Tensor) -> tf.Tensor:
    rows = tf.RaggedTensor.from_row_lengths(x, [tf.size(x)])
    return tf_text.RoundRobinTrimmer(3).trim([rows, rows])[0].flat_values


def read_from_a_file(x: tf.Tensor) -> tf.Tensor:
    size = tf.strings.length(tf.io.read_file(tf.constant("/data/vocab.txt")))
    return x * tf.cast(size, tf.float32)


@tf.custom_gradient
def with_a_gradient(x: tf.Tensor) -> Any:
    y = tf.tanh(x)
    return y, lambda gradient: tf.raw_ops.TanhGrad(y=y, dy=gradient)


FORBIDDEN: dict[str, tuple[Callable[[tf.Tensor], tf.Tensor], list[str]]] = {
    "python": (python_deep_down, ["EagerPyFunc in __inference_in_python", "Python"]),
    "xla": (compiled_in_a_loop, ["__inference_compiled_", "to be compiled by XLA"]),
    "trimmer": (trimmed_in_turns, ["TFText>RoundRobinTrim", "serving#2267"]),
    "file": (read_from_a_file, ["op ReadFile", "the path /data/vocab.txt"]),
    "gradient": (with_a_gradient, ["TanhGrad", "experimental_custom_gradients=False"]),
    "chance": (
        lambda x: x * tf.random.uniform([]),
        ["RandomUniform", "depend on chance"],
    ),
    "new": (tf.math.lgamma, ["the op Lgamma", "look, and then add it"]),
}


@pytest.mark.parametrize(("python", "words"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_a_server_lacks_is_named(
    python: Callable[[tf.Tensor], tf.Tensor], words: list[str], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match="must run on a TensorFlow Serving") as error:
        stock_ops.check(save(python, tmp_path))
    for word in words:
        assert word in str(error.value)


def test_all_that_is_lacking_is_named_at_once(tmp_path: pathlib.Path) -> None:
    def both(x: tf.Tensor) -> tf.Tensor:
        return python_deep_down(x) + compiled_in_a_loop(tf.math.lgamma(x))

    with pytest.raises(ValueError) as error:
        stock_ops.check(save(both, tmp_path))
    for word in ("EagerPyFunc", "Lgamma", "XLA"):
        assert word in str(error.value)


def test_constants_that_only_look_like_paths_are_fine(tmp_path: pathlib.Path) -> None:
    def names(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"x": x, "label": tf.constant(["/", "/r/films", "and/or"]), "and": "a/b"}

    stock_ops.check(save(names, tmp_path))


def test_verified_without_tensorflow_alike(
    saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The check that needs no TensorFlow finds what the other finds, and no more."""
    stock_ops.check_ops(saved_model)

    def deep_down(x: tf.Tensor) -> tf.Tensor:
        return python_deep_down(x) + read_from_a_file(tf.math.lgamma(x))

    path = save(deep_down, tmp_path / "1")
    with pytest.raises(ValueError, match="a SavedModel is a program") as found:
        stock_ops.check_ops(path)
    with pytest.raises(ValueError) as expected:
        stock_ops.check(path)
    named, others = (
        set(re.findall(r"the op \w+ in \w+ \([^)]*\)", str(error.value)))
        for error in (found, expected)
    )
    assert named == others
    for op in ("EagerPyFunc", "Lgamma", "ReadFile"):
        assert f"the op {op} in " in str(named)


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt"])
def test_a_graph_beside_the_graph_is_named(
    name: str, saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """TensorFlow would read it in the place of the one that is checked."""
    shutil.copytree(saved_model, tmp_path / "1")
    (tmp_path / "1" / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"the file {name}, which is a graph too"):
        stock_ops.check_ops(tmp_path / "1")


def test_a_name_in_two_parts_hides_no_op(tmp_path: pathlib.Path) -> None:
    """Protocol buffers merge what is there twice; so the second name is the name."""
    graph = saved_model_pb2.SavedModel()
    library = graph.meta_graphs.add().graph_def.library
    library.function.add().node_def.add(name="n", op="ReadFile")
    names = b"".join(
        b"\x0a" + bytes([len(part)]) + part
        for part in (b"\x0a\x04Read", b"\x0a\x04File")
    )
    # The function, put into the library, the graph, the meta graph and the model.
    function = names + library.function[0].SerializeToString()
    for tag in (0x0A, 0x12, 0x12, 0x12):
        function = bytes([tag, len(function)]) + function
    (tmp_path / "saved_model.pb").write_bytes(function)
    with pytest.raises(ValueError, match="the op ReadFile in File"):
        stock_ops.check_ops(tmp_path)


def test_what_is_no_saved_model_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(ValueError, match="expected a SavedModel"):
        stock_ops.check_ops(tmp_path)


@registration.register_serializable(package="tests")
class Registered(tf.Module):
    """What only a process with this class loads as what it was."""


def test_a_custom_object_is_named(tmp_path: pathlib.Path) -> None:
    tf.saved_model.save(Registered(), str(tmp_path))
    with pytest.raises(ValueError, match="the object tests.Registered"):
        stock_ops.check(tmp_path)


_STRANGER = """
import importlib.util, json, pathlib, sys
# Not there, as far as any import can tell.
sys.modules.update(dict.fromkeys(["keras", "keras_hub", "keras_nlp", "trainer"]))
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

request = json.load(sys.stdin)
foreign = [op for op in request["ops"] if op_def_registry.get(op) is None]
# The ops of TensorFlow Text, without its Python, which needs Keras.
text_ops = pathlib.Path(importlib.util.find_spec("tensorflow_text").origin).parent
for name in ("_fast_wordpiece_tokenizer.so", "_normalize_ops.so"):
    tf.load_op_library(str(text_ops / "python" / "ops" / name))
signatures = tf.saved_model.load(request["path"]).signatures
answers = {
    name: {
        key: output.numpy().astype(str if output.dtype == tf.string else float).tolist()
        for key, output in signature(tf.constant(request["texts"])).items()
    }
    for name, signature in signatures.items()
    if name in ("serving_default", "embed")
}
print(json.dumps({"foreign": foreign, "answers": answers}))
"""


@pytest.mark.slow
def test_ops_and_answers_in_a_process_that_knows_nothing_of_this_program(
    saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Moved away, with an empty environment, no Keras, and two op libraries."""
    loaded = tf.saved_model.load(str(saved_model))
    expected = {
        name: loaded.signatures[name](tf.constant(TEXTS))
        for name in ("serving_default", "embed")
    }
    moved = tmp_path / "another place" / "7"
    moved.parent.mkdir()
    shutil.move(saved_model, moved)
    request = {
        "path": str(moved),
        "ops": sorted(stock_ops.ALLOWED_OPS),
        "texts": TEXTS,
    }
    result = subprocess.run(
        [sys.executable, "-I", "-c", _STRANGER],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd="/",
        env={},
    )
    shutil.move(moved, saved_model)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    # All others on the list are TensorFlow's own.
    assert set(answer["foreign"]) == stock_ops.TEXT_OPS
    for name, outputs in expected.items():
        found = answer["answers"][name]
        assert found.keys() == outputs.keys()
        for key, value in outputs.items():
            if value.dtype == tf.string:
                assert found[key] == [label.decode() for label in value.numpy()]
            else:
                np.testing.assert_allclose(found[key], value, atol=1e-6)

"""An export in a program that nobody here wrote: TensorFlow.js, on TensorFlow's C API.

`tests/reference/tfjs/install.sh` installs it. It reads SavedModels by its own code, and
runs them in TensorFlow's C++, as TensorFlow Serving does, without TensorFlow's Python.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any, Sequence

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.serving import tiny_export
from trainer.serving import formats

INSTALLED = "BERT_TRAINER_TFJS"
ASK = pathlib.Path(__file__).parents[1] / "reference" / "tfjs" / "ask.js"
TEXTS = [*tiny.labelled_sentences(5)[0], "caf\u00e9, na\u00efve!", "", "bad " * 100]
# Of one window, so that token ids can be sent.
SHORT = [text for text in TEXTS if len(text.split()) < tiny_export.MAX_LENGTH - 4]
TIMEOUT_SECS = 300.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        INSTALLED not in os.environ,
        reason=f"{INSTALLED} names no folder of tests/reference/tfjs/install.sh",
    ),
]


@pytest.fixture(scope="module")
def folder(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """With a SavedModel in each of two formats."""
    path = tmp_path_factory.mktemp("foreign")
    for name in ("float32", "tokens"):
        (path / name).mkdir()
        formats.write(name, path / name, tiny_export.make_source(tiny_hugging_face))
    return path


def ask(questions: Sequence[dict[str, Any]], *, with_text: bool) -> list[Any]:
    """What TensorFlow.js answers.

    Args:
      with_text: whether it has the operations of TensorFlow Text.
    """
    spec = importlib.util.find_spec("tensorflow_text")
    assert spec is not None and spec.origin is not None
    ops = pathlib.Path(spec.origin).parent / "python" / "ops"
    libraries = [
        str(ops / name)
        for name in ("_fast_wordpiece_tokenizer.so", "_normalize_ops.so")
        if with_text
    ]
    result = subprocess.run(
        ["node", str(ASK), os.environ[INSTALLED]],
        input=json.dumps({"libraries": libraries, "questions": list(questions)}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
    )
    assert result.returncode == 0, result.stderr
    answers: list[Any] = json.loads(result.stdout.splitlines()[-1])
    return answers


def strings(values: Sequence[bytes]) -> dict[str, Any]:
    return {"strings": [base64.b64encode(value).decode() for value in values]}


def token_inputs() -> dict[str, np.ndarray]:
    rows = tiny_export.make_encoder()(tf.constant(SHORT)).token_ids
    token_ids = rows.to_tensor().numpy()
    mask = tf.sequence_mask(rows.row_lengths(), dtype=tf.int32).numpy()
    return {
        "token_ids": token_ids,
        "padding_mask": mask,
        "segment_ids": np.zeros_like(token_ids),
    }


def inputs_of(signature: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same for TensorFlow's Python and for TensorFlow.js."""
    if signature == "tokens":
        arrays = token_inputs()
        lists = {name: {"integers": a.tolist()} for name, a in arrays.items()}
        return arrays, lists
    values = {
        "tf_example": [tiny_export.example(text) for text in TEXTS],
        "classify": [tiny_export.example(text) for text in TEXTS],
    }.get(signature, [text.encode() for text in TEXTS])
    name = {"tf_example": "examples", "classify": "inputs"}.get(signature, "text")
    return {name: np.array(values, object)}, {name: strings(values)}


def assert_same(found: dict[str, Any], expected: dict[str, tf.Tensor]) -> None:
    assert found.keys() == expected.keys(), found
    for name, output in expected.items():
        assert found[name]["shape"] == output.shape.as_list()
        values = np.array(found[name]["values"]).reshape(output.shape)
        if output.dtype == tf.string:
            wanted = [value.decode() for value in output.numpy().ravel()]
            assert values.ravel().tolist() == wanted
        else:
            np.testing.assert_allclose(
                values.astype(float), output.numpy().astype(float), atol=1e-6
            )


def test_every_signature_gives_the_same_answers(folder: pathlib.Path) -> None:
    path = str(folder / "float32")
    signatures = tf.saved_model.load(path).signatures
    names = sorted(signatures)
    inputs = {name: inputs_of(name) for name in names}
    answers = ask(
        [
            {"path": path, "signature": name, "inputs": inputs[name][1]}
            for name in names
        ],
        with_text=True,
    )
    assert {"serving_default", "tf_example", "tokens"} < set(names)
    for name, found in zip(names, answers, strict=True):
        asked = {key: tf.constant(value) for key, value in inputs[name][0].items()}
        assert_same(found, signatures[name](**asked))


def test_only_the_format_tokens_does_without_tensorflow_text(
    folder: pathlib.Path,
) -> None:
    arrays, lists = inputs_of("tokens")
    refused, *answers = ask(
        [
            {"path": str(folder / name), "signature": signature, "inputs": lists}
            for name, signature in (
                ("float32", "tokens"),
                ("tokens", "tokens"),
                ("tokens", "serving_default"),
            )
        ],
        with_text=False,
    )
    assert "NormalizeUTF8" in refused["error"]
    asked = {key: tf.constant(value) for key, value in arrays.items()}
    signatures = tf.saved_model.load(str(folder / "float32")).signatures
    for found in answers:
        assert_same(found, signatures["tokens"](**asked))


def test_what_the_graph_refuses_is_refused_there_too(folder: pathlib.Path) -> None:
    """Checks in the graph, not in TensorFlow's Python."""
    _, lists = inputs_of("tokens")
    rows = lists["token_ids"]["integers"]
    ones = [[1] * len(row) for row in rows]
    answers = ask(
        [
            {
                "path": str(folder / "tokens"),
                "signature": "tokens",
                "inputs": {**lists, name: {"integers": values}},
            }
            for name, values in (
                ("padding_mask", ones[:1]),
                ("padding_mask", [[5] * len(row) for row in rows]),
                ("segment_ids", [[2] * len(row) for row in rows]),
                ("token_ids", [[10_000] * len(row) for row in rows]),
            )
        ],
        with_text=False,
    )
    for found, words in zip(
        answers,
        (
            "must be of one shape",
            "padding_mask must be in 0 to 1",
            "segment_ids must be in 0 to 1",
            "token_ids must be in 0 to",
        ),
        strict=True,
    ):
        assert words in found["error"]

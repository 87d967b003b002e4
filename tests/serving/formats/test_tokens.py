"""The SavedModel that reads token ids: what it needs, and what it answers."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer

from tests import tiny
from tests.serving import tiny_export
from tests.serving.tiny_export import LABELS
from trainer.serving import formats, stock_ops

TEXTS = [*tiny.labelled_sentences(9)[0], "caf\u00e9!", "", "so very dull " * 40]


@pytest.fixture(scope="module")
def folder(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    path = tmp_path_factory.mktemp("tokens")
    formats.write("tokens", path, tiny_export.make_source(tiny_hugging_face))
    return path


@pytest.fixture(scope="module")
def expected(tiny_hugging_face: str) -> np.ndarray:
    """[texts, classes], by KerasHub's layers."""
    source = tiny_export.make_source(tiny_hugging_face)
    logits = tiny_export.logits_in_memory(source, TEXTS)
    return source.decision.probabilities(logits)


def test_it_has_no_operations_of_tensorflow_text(folder: pathlib.Path) -> None:
    stock_ops.check(folder, allowed=stock_ops.CORE_OPS)
    signatures = tf.saved_model.load(str(folder)).signatures
    assert set(signatures) == {"serving_default", "tokens"}


_STRANGER = """
import json, sys
import tensorflow as tf
assert "tensorflow_text" not in sys.modules
request = json.load(sys.stdin)
# Without this program or TensorFlow Text; nor does it look into the folder.
asked = {name: tf.constant(rows, tf.int32) for name, rows in request["inputs"].items()}
signatures = tf.saved_model.load(request["path"]).signatures
answer = signatures["serving_default"](**asked)
print(json.dumps([answer["probabilities"].numpy().tolist(),
                  [label.decode() for label in answer["label"].numpy()]]))
"""


@pytest.mark.slow
def test_a_process_without_tensorflow_text_gives_the_answers(
    folder: pathlib.Path, expected: np.ndarray, tiny_hugging_face: str
) -> None:
    """Its ids made by Hugging Face's tokenizers, of the file that lies beside."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]"))
    rows = tokenizer.encode_batch(TEXTS)
    inputs = {
        "token_ids": [row.ids for row in rows],
        "padding_mask": [row.attention_mask for row in rows],
        "segment_ids": [row.type_ids for row in rows],
    }
    result = subprocess.run(
        [sys.executable, "-I", "-c", _STRANGER],
        input=json.dumps({"path": str(folder), "inputs": inputs}),
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert result.returncode == 0, result.stderr
    probabilities, labels = json.loads(result.stdout.splitlines()[-1])
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    decision = tiny_export.make_source(tiny_hugging_face).decision
    assert labels == [LABELS[index] for index in decision.choose(expected)]


def test_reader_asks_what_was_written(
    folder: pathlib.Path, expected: np.ndarray, tiny_hugging_face: str
) -> None:
    source = tiny_export.make_source(tiny_hugging_face)
    answers = formats.reader("tokens", folder, source)(TEXTS)
    np.testing.assert_allclose(answers.probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(answers.labels, source.decision.choose(expected))


def test_of_windows_it_reads_the_first(
    tiny_hugging_face: str, tmp_path: pathlib.Path
) -> None:
    source = tiny_export.make_source(tiny_hugging_face, max_windows=3)
    formats.write("tokens", tmp_path, source)
    first = "bad " * (tiny_export.MAX_LENGTH - 2)
    long, short = formats.reader("tokens", tmp_path, source)(
        [first + "good " * 60, first]
    ).probabilities
    np.testing.assert_allclose(long, short, atol=1e-6)

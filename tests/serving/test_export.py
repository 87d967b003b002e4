"""The SavedModel: what it takes and gives, when it is published, what it needs."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any, Sequence

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests import tiny
from trainer.data.tokens import TextEncoder
from trainer.modeling.classifier import build_classifier, model_inputs
from trainer.modeling.presets import load_preset
from trainer.serving import export as export_lib
from trainer.serving import predictor

MAX_LENGTH = 32
# Neither sorted nor ASCII, so that their order and bytes are seen to be kept.
LABELS = ("pas bon", "bon", "tr\u00e8s bon")
TEXTS = (*tiny.labelled_sentences(30)[0], "", "caf\u00e9, na\u00efve!", "bad " * 100)
# The only ones that a server has to be built with; all others are TensorFlow's own.
TEXT_OPS = {"FastWordpieceTokenizeWithOffsets", "NormalizeUTF8"}


@dataclasses.dataclass(frozen=True)
class Served:
    """A classifier, and its SavedModel, which is not where it was published."""

    classifier: keras.Model
    path: pathlib.Path
    signature: Any

    def __call__(self, *texts: str | bytes) -> np.ndarray:
        """Probabilities [texts, classes]."""
        result: np.ndarray = self.outputs(texts)["probabilities"]
        return result

    def outputs(self, texts: Sequence[str | bytes]) -> dict[str, np.ndarray]:
        found = self.signature(text=tf.constant(list(texts), tf.string))
        return {name: value.numpy() for name, value in found.items()}


def make_encoder() -> TextEncoder:
    return TextEncoder(tiny.VOCABULARY, lowercase=True, max_length=MAX_LENGTH)


def make_classifier(preset: str, pooling: Any) -> keras.Model:
    """Three classes, and a head that is sure enough for differences to show."""
    model = build_classifier(
        load_preset(preset),
        num_classes=len(LABELS),
        pooling=pooling,
        dropout=0.0,
        seed=0,
    )
    head = model.get_layer("logits")
    head.kernel.assign(np.random.default_rng(1).normal(0, 1, head.kernel.shape))
    return model


def in_memory(model: keras.Model, texts: Sequence[str]) -> np.ndarray:
    """The classifier's probabilities [texts, classes], padded to the full length."""
    ids = make_encoder()(tf.constant(texts)).token_ids
    padded = ids.to_tensor(shape=[None, MAX_LENGTH])
    logits = model(model_inputs(padded, ids.row_lengths())).numpy()
    return scipy.special.softmax(logits.astype(np.float64), axis=1)


def publish(
    model: keras.Model,
    folder: pathlib.Path,
    *,
    texts: Sequence[str] = TEXTS[:3],
    expected: np.ndarray | None = None,
) -> export_lib.Export:
    """Exports, checked on `texts`; `expected`: other than the right probabilities."""
    return export_lib.export(
        model,
        make_encoder(),
        LABELS,
        folder,
        check_texts=texts,
        expected_probabilities=(
            in_memory(model, texts) if expected is None else expected
        ),
    )


@pytest.fixture(scope="module", params=["first", "mean"])
def served(
    request: pytest.FixtureRequest,
    tiny_hugging_face: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Served:
    """For both poolings; the folder is moved away before it is loaded."""
    model = make_classifier(tiny_hugging_face, request.param)
    folder = tmp_path_factory.mktemp("export")
    published = publish(model, folder / "here")
    path = folder / "moved" / "5"
    path.parent.mkdir()
    shutil.move(published.path, path)
    loaded = tf.saved_model.load(str(path))
    # The signature does not keep the model alive by itself.
    signature = loaded.signatures["serving_default"]
    signature.loaded = loaded
    return Served(model, path, signature)


def test_signature(served: Served) -> None:
    assert list(served.signature.loaded.signatures) == ["serving_default"]
    positional, named = served.signature.structured_input_signature
    assert positional == ()
    assert named == {"text": tf.TensorSpec([None], tf.string, name="text")}
    outputs = {
        name: (spec.dtype, spec.shape.as_list())
        for name, spec in served.signature.structured_outputs.items()
    }
    assert outputs == {
        "label": (tf.string, [None]),
        "score": (tf.float32, [None]),
        "probabilities": (tf.float32, [None, len(LABELS)]),
    }


def test_probabilities_are_those_in_memory(served: Served) -> None:
    expected = in_memory(served.classifier, TEXTS)
    np.testing.assert_allclose(served(*TEXTS), expected, atol=1e-6)
    assert np.ptp(expected, axis=0).min() > 0.01, "all texts are alike to the model"


def test_label_and_score_follow_from_the_probabilities(served: Served) -> None:
    outputs = served.outputs(TEXTS)
    best = outputs["probabilities"].argmax(axis=1)
    labels = [label.decode() for label in outputs["label"]]
    assert labels == [LABELS[index] for index in best]
    np.testing.assert_array_equal(
        outputs["score"], outputs["probabilities"].max(axis=1)
    )
    assert len(set(labels)) > 1


@pytest.mark.parametrize("size", [0, 1, 2, 33])
def test_any_batch_size(size: int, served: Served) -> None:
    outputs = served.outputs(TEXTS[:size])
    assert outputs["label"].shape == outputs["score"].shape == (size,)
    assert outputs["probabilities"].shape == (size, len(LABELS))
    expected = served(*TEXTS)[:size]
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-6)


def test_length_of_the_others_does_not_matter(served: Served) -> None:
    together = served("good", "so very dull " * 100, "")
    for row, text in enumerate(["good", "so very dull " * 100, ""]):
        np.testing.assert_allclose(together[[row]], served(text), atol=1e-6)


def test_truncated_as_in_training(served: Served) -> None:
    kept = "bad " * (MAX_LENGTH - 2)
    np.testing.assert_allclose(served(kept + "good wonderful"), served(kept), atol=1e-6)
    shorter = "bad " * (MAX_LENGTH - 3)
    assert np.abs(served(shorter + "good") - served(kept)).max() > 1e-3


HOSTILE: dict[str, tuple[bytes, str]] = {
    # What is sent, and a text that is read the same way.
    "empty": (b"", ""),
    "blanks": (b" \t\n\xe3\x80\x80", ""),
    "not_utf8": (b"a \xff\xfe\x80 fi\xc3lm", "a film"),
    "only_not_utf8": (b"\xff\xfe\xfd", ""),
    "cut_character": ("good caf\u00e9".encode()[:-1], "good caf"),
    "surrogate": (b"good \xed\xa0\x80 film", "good film"),
    "nul": (b"go\0od", "good"),
    "special_tokens": (b"[SEP] [CLS]", "[ SEP ] [ CLS ]"),
    "long_text": (b"good " * 200_000, "good " * MAX_LENGTH),
    "long_word": (b"g" * 1_000_000, "\u4e00"),
    "long_garbage": (b"\xff" * 1_000_000 + b" good", "good"),
}


@pytest.mark.parametrize(("sent", "read"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_answered_and_harm_no_others(
    sent: bytes, read: str, served: Served
) -> None:
    found = served("a good film", sent, "so dull.")
    expected = in_memory(served.classifier, ["a good film", read, "so dull."])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(served(sent), expected[1:2], atol=1e-6)


def test_predictor_reads_it(served: Served) -> None:
    predictions = predictor.load(str(served.path))(["a good film", ""])
    expected = in_memory(served.classifier, ["a good film", ""])
    for prediction, row in zip(predictions, expected, strict=True):
        assert prediction["label"] == LABELS[int(row.argmax())]
        assert prediction["score"] == pytest.approx(row.max(), abs=1e-6)
        assert prediction["probabilities"] == pytest.approx(row.tolist(), abs=1e-6)


def test_each_weight_is_written_once(served: Served) -> None:
    variables = served.path / "variables"
    (data,) = variables.glob("variables.data-*")
    num_bytes = sum(variable.numpy().nbytes for variable in served.classifier.variables)
    # Besides the weights there is the graph of objects, 6 KB.
    assert num_bytes < data.stat().st_size < num_bytes + 10_000
    saved = [
        tuple(shape)
        for name, shape in tf.train.list_variables(str(variables / "variables"))
        if name.endswith("VARIABLE_VALUE")
    ]
    expected = [tuple(variable.shape) for variable in served.classifier.variables]
    assert sorted(saved) == sorted(expected)


def ops_of(saved_model: pathlib.Path) -> set[str]:
    """The ops of all graphs, and of all functions that they call."""
    content = saved_model_pb2.SavedModel()
    content.ParseFromString((saved_model / "saved_model.pb").read_bytes())
    nodes = [node for graph in content.meta_graphs for node in graph.graph_def.node]
    for graph in content.meta_graphs:
        for function in graph.graph_def.library.function:
            nodes.extend(function.node_def)
    return {node.op for node in nodes}


def test_ops_run_on_any_server(served: Served) -> None:
    """Which of them are not TensorFlow's is tested in a process without the others."""
    ops = ops_of(served.path)
    assert TEXT_OPS < ops, "the functions were not looked into"
    for op in ops:
        for unfit in ("PyFunc", "RoundRobinTrim", "Xla", "Nccl", "Collective"):
            assert unfit not in op


_STRANGER = """
import json, sys
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

request = json.load(sys.stdin)
foreign = [op for op in request["ops"] if op_def_registry.get(op) is None]
import tensorflow_text

serve = tf.saved_model.load(request["path"]).signatures["serving_default"]
texts = [bytes.fromhex(text) for text in request["texts"]]
outputs = serve(text=tf.constant(texts, tf.string))
print(json.dumps({
    "foreign": foreign,
    "labels": [label.decode() for label in outputs["label"].numpy()],
    "probabilities": outputs["probabilities"].numpy().tolist(),
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
}))
"""


@pytest.mark.slow
def test_a_process_that_knows_nothing_of_this_program(served: Served) -> None:
    """With TensorFlow and TensorFlow Text alone it gives the same numbers."""
    texts = [text.encode() for text in TEXTS] + [b"\xff good"]
    request = {
        "path": str(served.path),
        "ops": sorted(ops_of(served.path)),
        "texts": [text.hex() for text in texts],
    }
    result = subprocess.run(
        [sys.executable, "-I", "-c", _STRANGER],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert set(answer["foreign"]) == TEXT_OPS
    assert not {"trainer", "keras_hub", "keras_nlp"} & set(answer["modules"])
    expected = served.outputs(texts)
    np.testing.assert_allclose(
        answer["probabilities"], expected["probabilities"], atol=1e-6
    )
    assert answer["labels"] == [label.decode() for label in expected["label"]]


@pytest.fixture(scope="module")
def classifier(tiny_hugging_face: str) -> keras.Model:
    return make_classifier(tiny_hugging_face, "first")


@pytest.mark.slow
def test_versions_go_up(classifier: keras.Model, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "not" / "there"
    first = publish(classifier, folder)
    assert (first.version, first.path) == (1, str(folder / "1"))
    assert first.num_parity_texts == 3
    assert 0 <= first.parity_max_difference < 1e-6
    # A gap stays a gap; numbers are not words; other names are none.
    for name in ("9", "10", "latest", "11.old", ".12.tmp-x"):
        (folder / name).mkdir()
    second = publish(classifier, folder)
    assert (second.version, second.path) == (11, str(folder / "11"))
    shutil.rmtree(folder / "10")
    assert publish(classifier, folder).version == 12
    assert sorted(os.listdir(folder)) == sorted(
        ["1", "9", "11", "12", "latest", "11.old", ".12.tmp-x"]
    )


@pytest.mark.parametrize("change", [0.25, -2e-5, float("nan")])
def test_nothing_is_published_that_differs(
    change: float, classifier: keras.Model, tmp_path: pathlib.Path
) -> None:
    expected = in_memory(classifier, TEXTS[:3])
    expected[1, 0] += change
    folder = tmp_path / "export"
    (folder / "4").mkdir(parents=True)
    with pytest.raises(ValueError, match="was not published") as error:
        publish(classifier, folder, expected=expected)
    found = re.search("a difference of ([^ ]+) among 3 texts", str(error.value))
    assert found
    # To the rounding of the probabilities themselves.
    difference = pytest.approx(abs(change), abs=1e-6, nan_ok=True)
    assert float(found[1]) == difference
    assert os.listdir(folder) == ["4"]


def test_all_texts_are_checked(classifier: keras.Model, tmp_path: pathlib.Path) -> None:
    """Also the last of several batches."""
    expected = in_memory(classifier, TEXTS)
    expected[-1, 2] += 0.5
    with pytest.raises(ValueError, match=f"0.5 among {len(TEXTS)} texts"):
        publish(classifier, tmp_path, texts=TEXTS, expected=expected)
    assert os.listdir(tmp_path) == []

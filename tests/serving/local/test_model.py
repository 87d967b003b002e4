"""The loaded model: its warm-up requests, and what it says of classes."""

from __future__ import annotations

import base64
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from starlette import testclient
from tensorflow_serving.apis import prediction_log_pb2

from tests.serving import tiny_export
from trainer.serving import predictor, warmup
from trainer.serving.local import server
from trainer.serving.local.model import Model

TIMEOUT_SECS = 120.0


class Counter(tf.Module):
    """Says how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def count(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.Assert(tf.reduce_all(text != "fail"), ["told to fail"])
        return {"calls": self.calls.assign_add(1) + tf.zeros_like(text, tf.int32)}


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    counter = Counter()
    tf.saved_model.save(counter, str(tmp_path / "1"), counter.count)
    return tmp_path / "1"


def write_requests(
    folder: pathlib.Path, *values: Any, signature: str = "serving_default"
) -> None:
    place = folder / warmup.FILE
    place.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(place)) as writer:
        for value in values:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.signature_name = signature
            request.inputs["text"].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())


def calls(model: Model) -> int:
    """After one more."""
    answer = model.predict("", {"text": np.array([b"a"], object)})
    return int(answer["calls"][0])


def test_warm_up_asks_what_lies_beside_the_model(folder: pathlib.Path) -> None:
    model = Model(folder, "counter")
    assert model.warm_up(folder) == 0 and calls(model) == 1
    write_requests(folder, ["a"], ["a", "b"], ["c"])
    assert model.warm_up(folder) == 3 and calls(model) == 5


def cut(folder: pathlib.Path) -> None:
    place = folder / warmup.FILE
    place.write_bytes(place.read_bytes()[:-1])


BAD: dict[str, tuple[Any, str]] = {
    "graph": (lambda folder: write_requests(folder, ["a"], ["fail"]), "told to fail"),
    "shape": (lambda folder: write_requests(folder, "a"), "must have the shape"),
    "type": (lambda folder: write_requests(folder, [1]), "Received: "),
    "signature": (
        lambda folder: write_requests(folder, ["a"], signature="other"),
        "must be one of serving_default",
    ),
    "no_log": (
        lambda folder: tf.io.TFRecordWriter(str(folder / warmup.FILE)).write(b"\xff"),
        "Error parsing message",
    ),
    "cut": (cut, "truncated record"),
}


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_requests_that_cannot_be_answered_are_named(
    change: Any, words: str, folder: pathlib.Path
) -> None:
    write_requests(folder, ["a"])
    change(folder)
    with pytest.raises(ValueError, match="must answer the warm-up requests") as error:
        Model(folder, "counter").warm_up(folder)
    assert words in str(error.value) and str(folder) in str(error.value)


@pytest.mark.slow
def test_a_model_that_cannot_be_warmed_up_is_not_served(folder: pathlib.Path) -> None:
    """Nor does TensorFlow Serving serve it."""
    write_requests(folder, ["a"], ["fail"])
    process = subprocess.run(
        [sys.executable, "-m", "trainer.serve", f"--saved_model={folder}", "--port=0"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECS,
    )
    assert (process.returncode, process.stdout) == (2, "")
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"error: {folder}") and "told to fail" in last
    assert "Traceback" not in process.stderr


@pytest.fixture(scope="module")
def export(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """The folder of a real one."""
    return tiny_export.save(tiny_hugging_face, tmp_path_factory.mktemp("real") / "1")


@pytest.fixture(scope="module")
def client(export: pathlib.Path) -> testclient.TestClient:
    app = server.make_app(
        Model(export, "tiny"), max_request_bytes=10_000, max_batch_size=4
    )
    return testclient.TestClient(app)


def test_classify_as_tensorflow_serving_answers_it(
    client: testclient.TestClient,
) -> None:
    texts = ["a good film", "so dull"]
    rows = client.post("/v1/models/tiny:predict", json={"instances": texts}).json()[
        "predictions"
    ]
    expected = [
        [
            [label, score]
            for label, score in zip(tiny_export.LABELS, row["probabilities"])
        ]
        for row in rows
    ]
    good, dull = ({"text": text} for text in texts)
    for examples in (
        {"examples": [good, dull]},
        {"examples": [{"text": [texts[0]], "n": [1, True], "x": 0.5, "": []}, dull]},
        {"examples": [{"text": {"b64": "YSBnb29kIGZpbG0="}}, dull]},
        {"context": good, "examples": [{}, dull]},
    ):
        answer = client.post(
            "/v1/models/tiny:classify", json={"signature_name": "classify", **examples}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"results": expected}
    # Of a name that an example has twice the last counts, other than elsewhere.
    twice = b'{"signature_name": "classify", "examples": [{"text": "x", "text": "so dull"}]}'
    answer = client.post("/v1/models/tiny:classify", content=twice)
    # Alone it may be rounded otherwise than beside another.
    (alone,) = answer.json()["results"]
    for (label, score), (expected_label, expected_score) in zip(alone, expected[1]):
        assert label == expected_label
        assert score == pytest.approx(expected_score, rel=1e-5)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"examples": [{"text": "a"}]},
            "must be one for :classify, classify. Received",
        ),
        ({"signature_name": "embed", "examples": [{"text": "a"}]}, "one for :classify"),
        ({"signature_name": "none", "examples": [{"text": "a"}]}, "must be one of"),
        ({"signature_name": "classify"}, "at least one example. Received: None"),
        ({"signature_name": "classify", "examples": []}, "at least one example"),
        ({"signature_name": "classify", "examples": ["a"]}, "an object of features"),
        ({"signature_name": "classify", "examples": [{"text": None}]}, "all alike"),
        ({"signature_name": "classify", "examples": [{"text": [1, 0.5]}]}, "all alike"),
        ({"signature_name": "classify", "examples": [{"text": [["a"]]}]}, "all alike"),
        ({"signature_name": "classify", "examples": [{"text": 2**63}]}, "all alike"),
        (
            {"signature_name": "classify", "examples": [{"text": {"b": 1}}]},
            "hold strings",
        ),
        ({"signature_name": "classify", "examples": [{}]}, "Feature: text"),
        ({"signature_name": "classify", "examples": [{"text": 1}]}, "Key: text"),
        ({"signature_name": "classify", "examples": [{"text": "a"}] * 5}, "at most 4"),
    ],
)
def test_what_cannot_be_classified(
    client: testclient.TestClient, request_: Any, words: str
) -> None:
    answer = client.post("/v1/models/tiny:classify", json=request_)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_no_signature_is_for_regress(client: testclient.TestClient) -> None:
    answer = client.post("/v1/models/tiny:regress", json={"examples": [{"text": "a"}]})
    assert answer.status_code == 400
    assert "Received: :regress" in answer.json()["error"]


def test_predict_asks_a_signature_for_classify_too(
    client: testclient.TestClient,
) -> None:
    encoded = base64.b64encode(tiny_export.example("a good film")).decode()
    answer = client.post(
        "/v1/models/tiny:predict",
        json={"signature_name": "classify", "instances": [{"b64": encoded}]},
    )
    (row,) = answer.json()["predictions"]
    assert row["classes"] == list(tiny_export.LABELS)


def test_predictor_asks_a_signature_for_classify_too(export: pathlib.Path) -> None:
    (found,) = predictor.load(str(export), signature="classify")(["a good film"])
    (expected,) = predictor.load(str(export))(["a good film"])
    assert found["classes"] == list(tiny_export.LABELS)
    assert found["scores"] == pytest.approx(expected["probabilities"])


def test_batches_are_as_large_as_the_batching_parameters_say(
    tmp_path: pathlib.Path,
) -> None:
    export = tmp_path / "export"
    (export / "int8" / "1").mkdir(parents=True)
    for version in (export / "1", export / "int8" / "1"):
        assert server.max_batch_size(-1, version) == 64
    place = export / warmup.BATCHING_FILE
    place.write_text(warmup.batching_parameters([1, 8, 24]), encoding="utf-8")
    for version in (export / "1", export / "int8" / "1"):
        assert server.max_batch_size(-1, version) == 24
        assert server.max_batch_size(100, version) == 100
    place.write_text("# max_batch_size { value: 5 }\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have a max_batch_size"):
        server.max_batch_size(-1, export / "1")

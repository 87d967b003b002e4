"""The loaded model: its warm-up requests, and what it says of classes."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from trainer.config import ServeConfig
from trainer.serving import warmup
from trainer.serving.local import server
from trainer.serving.local.model import Model


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
def test_a_model_that_cannot_be_warmed_up_is_not_served(
    change: Any, words: str, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does TensorFlow Serving."""
    write_requests(folder, ["a"])
    change(folder)
    with pytest.raises(ValueError, match="must answer the warm-up requests") as error:
        server.run(ServeConfig(saved_model=str(folder), port=0))
    assert words in str(error.value) and str(folder) in str(error.value)
    assert "is served" not in capsys.readouterr().out


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

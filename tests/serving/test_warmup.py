"""Warm-up requests: what they hold, that they run; and the batching settings."""

from __future__ import annotations

import collections
import pathlib
from typing import Any
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import text_format, wrappers_pb2

from tests.serving import tiny_export
from trainer.serving import warmup

BUCKET_LENGTHS = (16, 24, 32)
BATCH_SIZES = (1, 2, 5)
# Each with a row in each bucket, and two more batches in the shortest.
SHAPES = [(16, 1), (24, 1), (32, 1), (16, 2), (16, 5)]
SIGNATURES = [
    "classify",
    "classify_text",
    "embed",
    "serving_default",
    "tf_example",
    "tokens",
]
ENCODER = tiny_export.make_encoder()


def write(saved_model: pathlib.Path, **changes: object) -> int:
    arguments: Any = {
        "model_name": "imdb",
        "encoder": ENCODER,
        "bucket_lengths": BUCKET_LENGTHS,
        "batch_sizes": BATCH_SIZES,
        **changes,
    }
    return warmup.write(saved_model, **arguments)


@pytest.fixture(scope="module")
def saved_model(
    tiny_hugging_face: str, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    path = tiny_export.save(tiny_hugging_face, tmp_path_factory.mktemp("warm") / "1")
    assert write(path) == len(SIGNATURES) * len(SHAPES)
    return path


@pytest.fixture(scope="module")
def inputs(saved_model: pathlib.Path) -> dict[str, list[dict[str, np.ndarray]]]:
    """Of each signature, the inputs of its requests."""
    found = collections.defaultdict(list)
    for request in warmup.read(saved_model):
        assert request.model_spec.name == "imdb"
        assert not request.model_spec.HasField("version")
        assert not request.model_spec.version_label
        values = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        found[request.model_spec.signature_name].append(values)
    return found


def shape_of(texts: np.ndarray) -> tuple[int, int]:
    """Tokens of the longest text, number of texts."""
    token_ids = ENCODER(tf.constant(texts)).token_ids
    return int(token_ids.bounding_shape(axis=1)), len(texts)


@pytest.mark.parametrize("signature", ["serving_default", "classify_text", "embed"])
def test_texts_land_in_their_buckets(signature: str, inputs: dict[str, Any]) -> None:
    assert [shape_of(value["text"]) for value in inputs[signature]] == SHAPES


def test_examples_land_in_their_buckets(inputs: dict[str, Any]) -> None:
    features = {"text": tf.io.FixedLenFeature([], tf.string)}
    for signature, key in (("tf_example", "examples"), ("classify", "inputs")):
        for value, shape in zip(inputs[signature], SHAPES, strict=True):
            parsed = tf.io.parse_example(value[key], features)
            assert shape_of(parsed["text"].numpy()) == shape


def test_tokens_are_those_of_the_texts(inputs: dict[str, Any]) -> None:
    for value, texts in zip(inputs["tokens"], inputs["embed"], strict=True):
        expected = ENCODER(tf.constant(texts["text"])).token_ids.to_tensor()
        np.testing.assert_array_equal(value["token_ids"], expected)
        np.testing.assert_array_equal(value["padding_mask"], np.ones_like(expected))
        np.testing.assert_array_equal(value["segment_ids"], np.zeros_like(expected))
        assert {array.dtype for array in value.values()} == {np.dtype(np.int32)}


def test_requests_run(saved_model: pathlib.Path) -> None:
    """All of them, through the signatures that they name."""
    assert tiny_export.replay(saved_model) == len(SIGNATURES) * len(SHAPES)


def test_a_request_that_the_model_refuses_is_an_error(
    saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """So that a replay before publishing says something."""
    module = tf.Module()
    module.serve = tf.function(
        lambda text: {"n": tf.ensure_shape(text, [1])},
        input_signature=[tiny_export.TEXT],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    assert write(tmp_path, batch_sizes=[1]) == 3
    tiny_export.replay(tmp_path)
    assert write(tmp_path) == 5
    with pytest.raises(tf.errors.InvalidArgumentError):
        tiny_export.replay(tmp_path)


def test_windows_have_a_bucket_of_their_own(
    saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    encoder = tiny_export.make_encoder(max_windows=3)
    for length in (32, 64, 96):
        text = warmup.text_of_length(encoder, length)
        assert encoder(tf.constant([text])).token_ids.row_lengths() == [length]
    # No tokens can be sent of a text of several windows.
    copy = tmp_path / "1"
    copy.mkdir()
    (copy / "saved_model.pb").write_bytes((saved_model / "saved_model.pb").read_bytes())
    write(copy, encoder=encoder, bucket_lengths=[16, 32, 64], batch_sizes=[1])
    names = [request.model_spec.signature_name for request in warmup.read(copy)]
    assert names == sorted(SIGNATURES * 3)[:-1]


BAD: dict[str, tuple[dict[str, object], str]] = {
    "bucket": ({"bucket_lengths": [16, 40]}, "bucket of 40, .* 32 tokens"),
    "too_short": ({"bucket_lengths": [1]}, "bucket of 1, .* 2 tokens"),
    "too_many": ({"batch_sizes": range(1, 200)}, "at most 1000 .* 6 signatures"),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_warmed_up_is_refused(
    changes: dict[str, object], words: str, saved_model: pathlib.Path
) -> None:
    before = (saved_model / warmup.FILE).read_bytes()
    with pytest.raises(ValueError, match=words):
        write(saved_model, **changes)
    assert (saved_model / warmup.FILE).read_bytes() == before


def test_as_many_requests_as_a_server_takes(
    saved_model: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "saved_model.pb").write_bytes(
        (saved_model / "saved_model.pb").read_bytes()
    )
    # 166 for each of six signatures.
    assert write(tmp_path, bucket_lengths=[4], batch_sizes=range(1, 167)) == 996
    assert len(warmup.read(tmp_path)) == 996
    with pytest.raises(ValueError, match="at most 1000"):
        write(tmp_path, bucket_lengths=[4], batch_sizes=range(1, 168))


def test_an_unknown_input_is_refused(tmp_path: pathlib.Path) -> None:
    module = tf.Module()
    module.serve = tf.function(
        lambda image: {"n": image},
        input_signature=[tf.TensorSpec([None], name="image")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve)
    with pytest.raises(ValueError, match="the signature serving_default with image"):
        write(tmp_path)
    assert not (tmp_path / warmup.FILE).exists()


def parse_as_the_server_does(text: str) -> dict[str, object]:
    """By the fields of tensorflow_serving's BatchingParameters.

    tensorflow-serving-api does not hold session_bundle_config.proto: these are its
    names, numbers and types.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    message = file.message_type.add(name="BatchingParameters")
    field = descriptor_pb2.FieldDescriptorProto
    for number, name, wrapper in [
        (1, "max_batch_size", "Int64Value"),
        (2, "batch_timeout_micros", "Int64Value"),
        (3, "max_enqueued_batches", "Int64Value"),
        (4, "num_batch_threads", "Int64Value"),
        (5, "thread_pool_name", "StringValue"),
        (8, "enable_large_batch_splitting", "BoolValue"),
        (9, "max_execution_batch_size", "Int64Value"),
    ]:
        message.field.add(
            name=name,
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
            label=field.LABEL_OPTIONAL,
        )
    message.field.add(
        name="allowed_batch_sizes",
        number=6,
        type=field.TYPE_INT64,
        label=field.LABEL_REPEATED,
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=7,
        type=field.TYPE_BOOL,
        label=field.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    parsed = message_factory.GetMessageClass(descriptor)()
    text_format.Parse(text, parsed)
    return {
        field.name: list(value) if field.name == "allowed_batch_sizes" else value.value
        for field, value in parsed.ListFields()
    }


def test_batching_parameters_are_read_by_a_server() -> None:
    found = parse_as_the_server_does(warmup.batching_parameters(BATCH_SIZES))
    assert found == {
        "max_batch_size": 5,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 100,
        "allowed_batch_sizes": [1, 2, 5],
    }


@pytest.mark.parametrize("sizes", [[], [0, 1], [1, 4, 4], [4, 1]])
def test_batch_sizes_that_a_server_refuses(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Received: {sizes}")):
        warmup.batching_parameters(sizes)


@pytest.mark.slow
def test_training_does_not_import_the_servers_messages() -> None:
    command = "import sys, trainer.serving.warmup; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "trainer.serving.warmup" in modules
    assert "tensorflow_serving" not in modules

"""Warm-up requests and batching settings for TensorFlow Serving.

    warmup.write(
        saved_model, model_name="imdb", encoder=encoder,
        bucket_lengths=[64, 256, 512], batch_sizes=[1, 8, 32],
    )
    storage.write_text(
        folder / warmup.BATCHING_FILE, warmup.batching_parameters([1, 8, 32])
    )

A server runs the requests when it loads the model, before it takes others, so that no
user waits for what the first call of a shape costs. They lie where it looks for them
(tensorflow_serving/g3doc/saved_model_warmup.md).
"""

from __future__ import annotations

import bisect
import pathlib
import re
from typing import Any, Sequence

import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.config import EXPLAIN_SIGNATURE
from trainer.messages import message
from trainer.data.tokens import TextEncoder
from trainer.serving import stock_ops

FILE = "assets.extra/tf_serving_warmup_requests"
BATCHING_FILE = "batching_parameters.txt"
# A server does not load a model with more (WarmupConsts::kMaxNumRecords).
MAX_REQUESTS = 1000
_INITIALIZER = "__saved_model_init_op"

_BATCHING_PARAMETERS = """\
# How TensorFlow Serving joins requests into batches (BatchingParameters in
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto):
#   tensorflow_model_server --enable_batching --batching_parameters_file=THIS_FILE ...
#
# A request of more texts than this is refused.
max_batch_size {{ value: {max_batch_size} }}
# The sizes that the warm-up requests have; a batch is filled up to the next of them.
{allowed_batch_sizes}
# A free thread takes what there is without waiting, the start that TensorFlow Serving
# advises on CPUs. On a GPU try several thousand.
batch_timeout_micros {{ value: 0 }}
# When so many wait, a request is refused, rather than answered very late.
max_enqueued_batches {{ value: 100 }}
# num_batch_threads is left out: as many as the server has cores.
#
# pad_variable_length_inputs is left out, and must be: it pads with a tensor's first
# value (batching_util.cc), which would make of padding_mask's 0 a 1. So requests to
# the signature `tokens` have to be of one length; those of texts do not.
"""


def write(
    saved_model: pathlib.Path,
    *,
    model_name: str,
    encoder: TextEncoder,
    bucket_lengths: Sequence[int],
    batch_sizes: Sequence[int],
) -> int:
    """Writes the requests that a server runs before it serves the model.

    They go to every signature: one text for each bucket, and a batch of each size in
    the shortest bucket. To `explain`, which takes a hundred times as long, goes one.

    Args:
      model_name: what the server calls the model; it does not look at it here.
      encoder: as it is in the graph.
      bucket_lengths: padded lengths in tokens, those of several windows included.
      batch_sizes: numbers of texts.

    Returns:
      How many requests.

    Raises:
      ValueError: there is a signature or a bucket for which no request can be made, or
        there are more requests than a server takes.
    """
    signatures = _signatures(saved_model)
    lengths = sorted(set(bucket_lengths))
    shapes = [(length, 1) for length in lengths]
    shapes += [(lengths[0], size) for size in sorted({*batch_sizes} - {1})]
    if len(signatures) * len(shapes) > MAX_REQUESTS:
        raise ValueError(
            message(
                f"a server takes at most {MAX_REQUESTS} warm-up requests",
                received=(
                    f"{len(signatures)} signatures, {len(bucket_lengths)} bucket"
                    f" lengths and {len(batch_sizes)} batch sizes"
                ),
                mend="use fewer of these",
            )
        )
    rows = {length: _row(encoder, length) for length in lengths}
    requests = [
        _request(model_name, name, inputs, rows[length], batch_size=size)
        for name, inputs in sorted(signatures.items())
        for length, size in (shapes[:1] if name == EXPLAIN_SIGNATURE else shapes)
        # Of a text of several windows there are no tokens to send.
        if "token_ids" not in inputs or "token_ids" in rows[length]
    ]
    path = saved_model / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            writer.write(_log(request).SerializeToString(deterministic=True))
    return len(requests)


def read(saved_model: storage.Path) -> list[Any]:
    """The requests, as PredictRequest messages."""
    from tensorflow_serving.apis import prediction_log_pb2

    records = tf.data.TFRecordDataset(str(saved_model / FILE))
    return [
        prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        for record in records.as_numpy_iterator()
    ]


def batching_parameters(batch_sizes: Sequence[int]) -> str:
    """The text of a batching_parameters.txt that allows these sizes of batches.

    Raises:
      ValueError: they do not increase from 1 or more.
    """
    sizes = list(batch_sizes)
    if not sizes or sizes != sorted(set(sizes)) or sizes[0] < 1:
        raise ValueError(
            message("batch sizes must increase, from 1 or more", received=batch_sizes)
        )
    return _BATCHING_PARAMETERS.format(
        max_batch_size=sizes[-1],
        allowed_batch_sizes="\n".join(f"allowed_batch_sizes: {n}" for n in sizes),
    )


def max_batch_size(parameters: str) -> int | None:
    """The largest batch that the text of a batching_parameters.txt allows.

    Returns:
      None: it does not say.
    """
    match = re.search(r"(?m)^\s*max_batch_size\s*:?\s*\{\s*value:\s*(\d+)", parameters)
    return int(match[1]) if match else None


def text_of_length(encoder: TextEncoder, length: int) -> str:
    """A text that becomes `length` tokens: [CLS], [SEP] and all windows included.

    Raises:
      ValueError: there is none.
    """
    # A word of one letter is one token of any vocabulary.
    num_words = bisect.bisect_left(
        range(length), length, key=lambda n: len(_token_ids(encoder, _words(n)))
    )
    text = _words(num_words)
    num_tokens = len(_token_ids(encoder, text))
    if num_tokens != length:
        raise ValueError(
            message(
                "a bucket must be of a length that a text can have, at most"
                f" {encoder.window_length} tokens, or that of several windows",
                received=(
                    f"a bucket of {length}, where the nearest text has {num_tokens} tokens"
                ),
            )
        )
    return text


def _words(count: int) -> str:
    return " ".join(["a"] * count)


def _token_ids(encoder: TextEncoder, text: str | bytes) -> np.ndarray:
    """int32 [tokens]."""
    ids: np.ndarray = encoder(tf.constant([text])).token_ids.flat_values.numpy()
    return ids


def _signatures(saved_model: pathlib.Path) -> dict[str, dict[str, int]]:
    """The data type of each input of each signature."""
    return {
        name: {key: tensor.dtype for key, tensor in signature.inputs.items()}
        for name, signature in stock_ops.read(saved_model).signature_def.items()
        if name != _INITIALIZER
    }


def _row(encoder: TextEncoder, length: int) -> dict[str, np.ndarray]:
    """Of each input that a signature can have, a batch of one: the same text's."""
    text = text_of_length(encoder, length).encode()
    values = {"text": text, "text_pair": b""} if encoder.reads_pairs else {"text": text}
    features = tf.train.Features(
        feature={
            name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
            for name, value in values.items()
        }
    )
    example = tf.train.Example(features=features).SerializeToString()
    examples = np.array([example], object)
    row = {
        **{name: np.array([value], object) for name, value in values.items()},
        "examples": examples,
        # TensorFlow Serving predicts by a signature for Classify, too.
        tf.saved_model.CLASSIFY_INPUTS: examples,
    }
    if length <= encoder.window_length:
        token_ids = _token_ids(encoder, text)[np.newaxis]
        row["token_ids"] = token_ids
        row["padding_mask"] = np.ones_like(token_ids)
        row["segment_ids"] = np.zeros_like(token_ids)
    return row


def _request(
    model_name: str,
    signature: str,
    inputs: dict[str, int],
    row: dict[str, np.ndarray],
    *,
    batch_size: int,
) -> Any:
    from tensorflow_serving.apis import predict_pb2

    unknown = sorted(set(inputs) - set(row))
    if unknown:
        raise ValueError(
            message(
                f"warm-up requests can be made for the inputs {', '.join(row)}",
                received=f"the signature {signature} with {', '.join(unknown)}",
            )
        )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, dtype in inputs.items():
        values = np.repeat(row[name], batch_size, axis=0)
        tensor = tf.make_tensor_proto(values, dtype=tf.dtypes.as_dtype(dtype))
        request.inputs[name].CopyFrom(tensor)
    return request


def _log(request: Any) -> Any:
    from tensorflow_serving.apis import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log

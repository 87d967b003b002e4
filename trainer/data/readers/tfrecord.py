"""Reads TFRecord files of tf.train.Examples, the features their columns.

    rows = read_rows("train.tfrecord", text_field="text", label_field="label")

They are what the exported model's signature `tf_example` takes: a bytes feature with
the text, and here one with the label, bytes or int64. A file may be packed with gzip.
The line of a record is its number, from 1. TensorFlow is imported only here.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO, Iterator

from trainer.data.readers.records import Records, requested
from trainer.data.readers.request import Block, Record, Request
from trainer.data.readers.rows import BadFileError, BadRow

# Its third byte, the method, tells it from the length of a first record.
_GZIP_MAGIC = b"\x1f\x8b\x08"


def read(
    stream: BinaryIO, /, *, head: bytes, request: Request
) -> Iterator[Record | BadRow | Block]:
    """One record an example. A `Reader`.

    Raises:
      BadFileError: the stream is no file; a record is damaged, which hides where the
        next one begins.
    """
    del stream  # TensorFlow opens the file by its name.
    if not os.path.isfile(request.file):
        raise BadFileError(
            request.file,
            rule="expected a TFRecord file",
            received="a stream",
            mend="give the file's path",
        )
    compression = "GZIP" if head.startswith(_GZIP_MAGIC) else ""
    request.on_settled("TFRecords of tf.train.Examples")
    yield from requested(_examples(request.file, compression), request)


def _examples(file: str, compression: str) -> Records:
    """Each record's number and its features."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    try:
        dataset = tf.data.TFRecordDataset(file, compression)
        for number, serialized in enumerate(dataset.as_numpy_iterator(), start=1):
            try:
                example = tf.train.Example.FromString(serialized)
            except DecodeError:
                yield BadRow(
                    file,
                    number,
                    rule="expected a tf.train.Example",
                    received=f"a record of {len(serialized)} bytes that is none",
                    mend="leave it out when the file is written",
                )
            else:
                features = example.features.feature
                yield number, {name: _value(features[name]) for name in features}
    except tf.errors.OpError as error:
        raise BadFileError(
            file,
            line=number + 1,
            rule=f"expected a whole TFRecord file (record {number + 1})",
            received=f"one that is damaged, cut short or no TFRecord: {error.message}",
            mend="write or copy it again",
        ) from error


def _value(feature: Any) -> object:
    """A feature's only value, or the list of them; None of none."""
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    values = [_text(value) if kind == "bytes_list" else value for value in values]
    return values[0] if len(values) == 1 else values or None


def _text(value: bytes) -> str | bytes:
    """A string where it is UTF-8; `reading.py` says what is wrong with any other."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value

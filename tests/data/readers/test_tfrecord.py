"""TFRecords: features of examples, packed files, damaged records."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import pytest
import tensorflow as tf

from tests.data.readers.files import cases, check_bad_file, read, summary
from trainer.data.readers.rows import BadRow, Row


def example(**features: Any) -> bytes:
    """A serialized tf.train.Example; strings as bytes, numbers as int64."""
    kinds = {bytes: "bytes_list", int: "int64_list", float: "float_list"}
    lists = {
        bytes: tf.train.BytesList,
        int: tf.train.Int64List,
        float: tf.train.FloatList,
    }
    message = tf.train.Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kind = type(values[0]) if values else bytes
        feature = tf.train.Feature(**{kinds[kind]: lists[kind](value=values)})
        message.features.feature[name].CopyFrom(feature)
    serialized: bytes = message.SerializeToString()
    return serialized


def written(
    folder: pathlib.Path, *records: bytes, name: str = "a.tfrecord", packing: str = ""
) -> str:
    path = str(folder / name)
    with tf.io.TFRecordWriter(path, packing) as writer:
        for record in records:
            writer.write(record)
    return path


GOOD = example(text="é".encode(), label=1)


@pytest.mark.parametrize("packing", ["", "GZIP"])
def test_rows_and_their_numbers(tmp_path: pathlib.Path, packing: str) -> None:
    # The length of the second begins as a gzip archive does.
    long = example(text=b"a" * (0x8B1F - 34), label=b"pos")
    records = [GOOD, long, example(text=b"b", label=2.0)]
    for name in ("a.tfrecord", "a.tfrecord.gz", "a.tfrecord-00000-of-00001"):
        path = written(tmp_path, *records, name=name, packing=packing)
        rows = summary(read(path, file_format="tfrecord"))
        assert [row[::2] for row in rows] == [(1, 1), (2, "pos"), (3, 2)]
        assert rows[0][1] == "é"


def test_first_length_that_looks_like_gzip(tmp_path: pathlib.Path) -> None:
    text = b"a" * 0x8B1F
    while len(example(text=text, label=1)) > 0x8B1F:
        text = text[1:]
    path = written(tmp_path, example(text=text, label=1))
    with open(path, "rb") as file:
        assert file.read(2) == b"\x1f\x8b"
    assert summary(read(path)) == [(1, text.decode(), 1)]


def test_several_texts_and_a_dotted_name(tmp_path: pathlib.Path) -> None:
    features = {"title": b"T", "body": b"B", "a.b": b"x"}
    path = written(tmp_path, example(**features), example(body=b"B", **{"a.b": b"y"}))
    assert summary(read(path, text_field="title,body", label_field="a.b")) == [
        (1, "T B", "x"),
        (2, "B", "y"),
    ]


BAD_RECORDS = {
    # id: record 2, words
    "no_example": (b"\xff", "expected a tf.train.Example", "a record of 1 bytes"),
    "no_text": (example(texts=b"a", label=1), "one key 'text'", "mean 'texts'?"),
    "empty_list": (example(text=[], label=1), "expected a text. Received: none"),
    "two_texts": (example(text=[b"a", b"b"], label=1), "Received: a list"),
    "no_utf8": (example(text=b"a\xff", label=1), "byte 0xFF at byte 2 of the value"),
}


@cases("record, words", BAD_RECORDS)
def test_bad_record_is_named_and_the_others_survive(
    tmp_path: pathlib.Path, record: bytes, words: tuple[str, ...]
) -> None:
    path = written(tmp_path, GOOD, record, GOOD)
    first, bad, last = read(path)
    assert isinstance(first, Row) and isinstance(last, Row)
    assert isinstance(bad, BadRow) and str(bad).startswith(f"{path}:2: expected ")
    for word in words:
        assert word in str(bad)


def test_damaged_record_is_named_by_its_number(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, GOOD, GOOD, GOOD)
    content = pathlib.Path(path).read_bytes()
    size = len(content) // 3
    for damaged in (
        content[:-1],
        content[: 2 * size + 14] + b"\xff" + content[2 * size + 15 :],
    ):
        pathlib.Path(path).write_bytes(damaged)
        check_bad_file(path, words=[f"{path}:3: ", "(record 3)", "damaged"])
    pathlib.Path(path).write_bytes(b"text,label\na,1\n" * 3)
    check_bad_file(path, words=["(record 1)", "no TFRecord"])
    pathlib.Path(path).write_bytes(b"")
    check_bad_file(path, words=["at least one row"])


def test_stream_is_refused() -> None:
    check_bad_file_of_stream = pytest.raises(ValueError, match="give the file's path")
    with check_bad_file_of_stream:
        read(io.BytesIO(b"a"), file_format="tfrecord")

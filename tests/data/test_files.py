"""Files as a data set: empty ones among them, classes that they name, TFRecords."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.datasets import classes, load
from trainer.data.sources import Sources

HEADER = "text,label\n"
CASE = "tests/testdata/cases/one-shard-is-empty"


def settled(sources: Sources) -> list[str]:
    return [file["settled"] for file in sources.facts["splits"]["train"]["files"]]


def test_case_of_an_empty_shard() -> None:
    sources = load(f"files:{CASE}/*.csv")
    assert len(sources.splits["train"]) == 8
    assert f"{CASE}/part-2.csv: left out, it has no rows" in settled(sources)[2]


@pytest.mark.parametrize(
    "name, settings, names",
    [
        ("array-of-objects.json", {}, ("negative", "positive")),
        ("label-list-of-one.jsonl", {}, ("negative", "positive")),
        (
            "label-object-of-scores.jsonl",
            {"label_field": "cats"},
            ("NEGATIVE", "POSITIVE"),
        ),
    ],
)
def test_case_of_labels(
    name: str, settings: dict[str, str], names: tuple[str, ...]
) -> None:
    sources = load(f"files:tests/testdata/cases/{name}", **settings)
    assert sources.label_names == names
    assert np.bincount(sources.splits["train"].labels).tolist() == [4, 4]


EMPTY = {
    "no_bytes.csv": "",
    "header.csv": HEADER,
    "blank.jsonl": "\n",
    "array.json": "[]",
    "no_bytes.parquet": "",
}


@pytest.mark.parametrize("name, content", EMPTY.items(), ids=EMPTY)
def test_empty_file_among_others(
    tmp_path: pathlib.Path, name: str, content: str
) -> None:
    for number in (1, 3):
        (tmp_path / f"{number}.csv").write_text(HEADER + f"a{number},{number}\n")
    empty = tmp_path / name
    empty.write_text(content)
    for position in (0, 2):
        files = [f"{tmp_path}/1.csv", f"{tmp_path}/3.csv"]
        files.insert(position, str(empty))
        sources = load(f"files:{','.join(files)}")
        train = sources.splits["train"]
        assert train.texts.to_pylist() == ["a1", "a3"]
        assert train.places.of(1) == (f"{tmp_path}/3.csv", 2)
        assert "left out" in settled(sources)[files.index(str(empty))]
    with pytest.raises(ValueError, match="expected at least one row"):
        load(f"files:{empty}")


def test_all_empty_is_refused(tmp_path: pathlib.Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(HEADER)
    with pytest.raises(ValueError, match="a.csv: expected at least one row"):
        load(f"files:{tmp_path}/*.csv")


def parquet(path: pathlib.Path, labels: list[int], *names: str) -> str:
    table = pa.table({"text": [f"{path} {label}" for label in labels], "label": labels})
    if names:
        label = {"names": list(names), "_type": "ClassLabel"}
        info = json.dumps({"info": {"features": {"label": label}}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path)
    return f"files:{path}"


def test_classes_that_parquet_files_name(tmp_path: pathlib.Path) -> None:
    names = ("World", "Sports", "Business")
    train = parquet(tmp_path / "0.parquet", [2, 0, 1], *names)
    test = parquet(tmp_path / "1.parquet", [1], *names)
    sources = load(train, test_dataset=test)
    assert sources.label_names == names
    assert classes(sources.splits["train"]) == ["Business", "World", "Sports"]
    assert classes(sources.splits["test"]) == ["Sports"]
    assert len(load(f"files:{tmp_path}/*.parquet").splits["train"]) == 4
    renamed = load(train, label_names=("w", "s", "b"))
    assert classes(renamed.splits["train"]) == ["b", "w", "s"]
    # As with tfds:, the same names in another order are another order.
    assert load(train, label_names=names[::-1]).label_names == names[::-1]

    parquet(tmp_path / "1.parquet", [1], *names[::-1])
    with pytest.raises(ValueError, match="Business, Sports, World in .*1.parquet"):
        load(f"files:{tmp_path}/*.parquet")


def test_several_text_columns_of_a_table(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('title,body,label,"title,body"\nT,B,1,x\n,B,0,y\n" ",,0,z\n')
    sources = load(f"files:{path}", text_field="title, body", bad_rows="skip")
    assert sources.splits["train"].texts.to_pylist() == ["T B", "B"]
    assert sources.facts["splits"]["train"]["num_skipped_rows"] == 1
    whole = load(f"files:{path}", text_field="title,body")
    assert whole.splits["train"].texts.to_pylist() == ["x", "y", "z"]
    with pytest.raises(ValueError, match="one column 'titel'.*mean 'title'"):
        load(f"files:{path}", text_field="titel,body")


def test_tfrecords(tmp_path: pathlib.Path) -> None:
    import tensorflow as tf

    for number, label in enumerate([b"neg", b"pos"]):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{number}")) as writer:
            example = tf.train.Example()
            example.features.feature["text"].bytes_list.value.append(b"a")
            example.features.feature["label"].bytes_list.value.append(label)
            writer.write(example.SerializeToString())
    sources = load(f"tfrecord:{tmp_path}/part-*")
    assert classes(sources.splits["train"]) == ["neg", "pos"]
    path = (tmp_path / "part-0").rename(tmp_path / "a.tfrecord")
    with pytest.raises(ValueError, match=f"give tfrecord:{path}"):
        load(f"files:{path}")

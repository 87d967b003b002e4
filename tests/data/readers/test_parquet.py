"""Parquet: types of columns, strings that are no UTF-8, damaged files."""

from __future__ import annotations

import io
import json
import pathlib
import random
import subprocess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.readers.files import (
    HEADER,
    Content,
    cases,
    check_bad_file,
    check_bad_row,
    read,
    summary,
    written,
)
from trainer.data.readers import parquet
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadFileError, BadRow, Row

GOOD_FILES = {
    # id: columns, rows
    "parquet": (
        {"label": [1, 0], "id": [7, 8], "text": ["a", "b"]},
        (1, "a", 1),
        (2, "b", 0),
    ),
    "parquet_floats": (
        {"text": ["a", "b"], "label": [1.0, None]},
        (1, "a", 1.0),
        (2, "b", None),
    ),
    "parquet_categories": (
        {"text": ["a"], "label": pa.array(["pos"]).dictionary_encode()},
        (1, "a", "pos"),
    ),
    "parquet_binary": (
        {"text": [b"\xc3\xa9", b"\xe9"], "label": [1, 1]},
        (1, "é", 1),
        (2, None),
    ),
}


@cases("content, expected", GOOD_FILES)
def test_rows_and_their_numbers(
    tmp_path: pathlib.Path, content: Content, expected: tuple[tuple[Any, ...], ...]
) -> None:
    assert summary(read(written(tmp_path, "a.parquet", content))) == list(expected)


NESTED = {
    "data": [{"title": "T", "text": "a"}, {"title": None, "text": "b"}],
    "marks": [[{"label": "x"}], [{"label": "y"}, {"label": "z"}]],
    "data.dotted": ["c", "d"],
}


def test_paths_and_several_texts(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.parquet", NESTED)
    label = {"label_field": "marks.0.label"}
    assert summary(read(path, text_field="data.title,data.text", **label)) == [
        (1, "T a", "x"),
        (2, "b", "y"),
    ]
    assert summary(read(path, text_field="data.dotted", **label))[1] == (2, "d", "y")
    bad, good = read(path, text_field="data.text", label_field="marks.1.label")
    assert isinstance(bad, BadRow) and isinstance(good, Row)
    assert "at least 2 elements in 'marks'. Received: 1" in str(bad)


@pytest.mark.parametrize(
    "text_field, words",
    [
        ("dta.text", "one column 'dta'"),
        ("data.txt", "one key 'txt' in 'data'. Received: keys 'title', 'text' (did"),
        ("data.title,body", "one column 'body'"),
    ],
)
def test_step_that_is_not_there_is_named(
    tmp_path: pathlib.Path, text_field: str, words: str
) -> None:
    path = written(tmp_path, "a.parquet", NESTED)
    check_bad_file(path, words=[words], text_field=text_field, label_field=None)


def with_classes(column: str, names: list[str], labels: list[Any]) -> pa.Table:
    """A table as Hugging Face's `datasets` writes it: its metadata names classes."""
    feature: Any = {"names": names, "_type": "ClassLabel"}
    if column == "marks":
        feature = {"feature": feature, "_type": "List"}
    features = {"text": {"dtype": "string", "_type": "Value"}, column: feature}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": ["a"] * len(labels), column: labels})
    return table.replace_schema_metadata(metadata)


def test_names_of_numbered_classes_are_the_files_own(tmp_path: pathlib.Path) -> None:
    names = ["World", "1", "Business"]
    path = written(tmp_path, "a.parquet", with_classes("label", names, [2, 0, 1, -1]))
    first, *others, bad = read(path)
    assert isinstance(first, Row) and first.label == "Business"
    assert [str(row.label) for row in others if isinstance(row, Row)] == ["World", "1"]
    assert isinstance(bad, BadRow) and "a label from 0 to 2. Received: -1" in str(bad)
    assert parquet.class_names(path, "label") == tuple(names)

    path = written(tmp_path, "b.parquet", with_classes("marks", names, [[2], [0]]))
    assert parquet.class_names(path, "marks.0") == tuple(names)
    rows = summary(read(path, label_field="marks.0"))
    assert [label for _, _, label in rows] == ["Business", "World"]


def test_classes_of_pandas_are_its_categories_that_occur(
    tmp_path: pathlib.Path,
) -> None:
    labels = pa.DictionaryArray.from_arrays([2, 0, 2, None], ["low", "mid", "high"])
    table = pa.table({"text": list("abcd"), "label": labels})
    plain = written(tmp_path, "plain.parquet", table)
    assert parquet.class_names(plain, "label") == ()
    columns = [{"name": "label", "pandas_type": "categorical"}]
    table = table.replace_schema_metadata({"pandas": json.dumps({"columns": columns})})
    path = written(tmp_path, "a.parquet", table)
    assert parquet.class_names(path, "label") == ("low", "high")


@pytest.mark.parametrize("content", [b"", b"a,b", {"text": ["a"], "label": [1]}])
def test_file_that_names_no_classes(tmp_path: pathlib.Path, content: Content) -> None:
    path = written(tmp_path, "a.parquet", content)
    assert parquet.class_names(path, "label") == ()


def test_string_that_is_no_utf8_is_named_and_the_others_survive(
    tmp_path: pathlib.Path,
) -> None:
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (0, 5, 7, 11))
    strings = pa.py_buffer(b"firsta\xfflast")
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.py_buffer(offsets), strings]
    )
    path = written(tmp_path, "a.parquet", {"text": texts, "label": [1, 1, 0]})
    check_bad_row(path, line=2, words=["byte 0xFF at byte 2 of the value"])


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"] * 100, "label": [1] * 100}), sink)
    return sink.getvalue()


BAD_FILES = {
    # id: content, words
    "missing_column_parquet": (
        {"texts": ["a"], "label": [1]},
        "did you mean 'texts'?",
    ),
    "doubled_column_parquet": (
        pa.Table.from_arrays([pa.array(["a"])] * 3, ["text", "label", "label"]),
        "one column 'label'",
        "2 of that name",
    ),
    "empty_parquet": (b"", "at least one row", "0 bytes"),
    "no_parquet_rows": (
        pa.schema([("text", pa.string()), ("label", pa.int64())]).empty_table(),
        "at least one row",
    ),
    "csv_in_parquet": (HEADER + b"a,1\n", "a whole Parquet file"),
    "truncated_parquet": (parquet_bytes()[:-40], "cut short"),
    "damaged_parquet": (
        parquet_bytes()[:4] + b"\xff" * 40 + parquet_bytes()[44:],
        "damaged",
    ),
}


@cases("content, words", BAD_FILES)
def test_bad_file_is_refused(
    tmp_path: pathlib.Path, content: Content, words: tuple[str, ...]
) -> None:
    check_bad_file(written(tmp_path, "a.parquet", content), words=words)


def test_parquet_from_a_pipe_is_refused(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.parquet", {"text": ["a"], "label": [1]})
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        with pytest.raises(BadFileError, match="Received: a stream"):
            read(process.stdout, file_format="parquet")  # type: ignore[arg-type]


class Counting(io.BytesIO):
    """A file that knows how many bytes were read of it."""

    num_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.num_read += len(content)
        return content


def of_ten_groups(num_rows: int) -> bytes:
    """Texts that do not pack well, in ten row groups, one row of which is bad."""
    generator = random.Random(0)
    texts: list[str | None] = [
        generator.randbytes(2_000).hex() for _ in range(num_rows)
    ]
    texts[-2] = None
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), stream, row_group_size=num_rows // 10)
    return stream.getvalue()


@pytest.mark.parametrize("first_row", [0, 1, 19, 20, 30, 199, 200, 250])
def test_rows_from_one_on_are_those_of_all(first_row: int) -> None:
    content = of_ten_groups(200)

    def rows(first_row: int) -> list[Row | BadRow]:
        found = read_rows(
            io.BytesIO(content),
            text_field="text",
            label_field=None,
            file_format="parquet",
            first_row=first_row,
        )
        return list(found)

    expected = rows(0)
    assert len(expected) == 200 and isinstance(expected[-2], BadRow)
    assert rows(first_row) == expected[first_row:]


def test_row_groups_before_are_not_read() -> None:
    def num_read(first_row: int) -> int:
        stream = Counting(of_ten_groups(1_000))
        rows = read_rows(
            stream,
            text_field="text",
            label_field=None,
            file_format="parquet",
            first_row=first_row,
        )
        assert len(list(rows)) == 1_000 - first_row
        return stream.num_read

    assert num_read(900) < num_read(0) / 4

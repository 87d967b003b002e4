"""Answers as lines of JSON, as CSV and as Parquet, without a model."""

from __future__ import annotations

import csv
import io
import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.serving import answers
from trainer.serving.answers import Layout, Output

LAYOUT = Layout(
    start=("id",),
    outputs={
        "label": Output("string", ()),
        "score": Output("float32", ()),
        "probabilities": Output("float32", (2,)),
        "abstain": Output("bool", ()),
    },
    has_error=True,
    class_names=("so, so", "good"),
)
NOTHING = {"label": None, "score": None, "probabilities": None, "abstain": None}
HOSTILE = 'a "quoted", new\nline\r\té'


def answer(start: Any = "1", **changes: Any) -> dict[str, Any]:
    said = {"label": "good", "score": 0.75, "probabilities": [0.25, 0.75]}
    return {"id": start, **said, "abstain": False, "error": None, **changes}


ANSWERS = [answer(), answer(None, **NOTHING, error="a.csv:3: expected a text")]


def lines(name: str, layout: Layout, rows: Any) -> list[str]:
    writer = answers.make_writer(answers.format_of(name), layout)
    return [*writer.header, *map(writer.line, rows)]


def parquet(folder: pathlib.Path, layout: Layout, rows: Any) -> Any:
    text = "".join(f"{line}\n" for line in lines("a.parquet", layout, rows))
    (folder / "lines").write_text(text, encoding="utf-8")
    answers.write_parquet(folder / "lines", folder / "table")
    return pq.read_table(folder / "table")


@pytest.mark.parametrize("name", ["a.jsonl", "a", "-", "a.out", "/dev/null"])
def test_json_lines(name: str) -> None:
    assert lines(name, LAYOUT, ANSWERS) == [json.dumps(each) for each in ANSWERS]


def test_csv() -> None:
    assert lines("a.csv", LAYOUT, ANSWERS) == [
        'id,label,score,"probability_so, so",probability_good,abstain,error',
        "1,good,0.75,0.25,0.75,false,",
        ",,,,,,a.csv:3: expected a text",
    ]


@pytest.mark.parametrize(
    "value, expected",
    [
        (HOSTILE, HOSTILE),
        ("a\nb", "a\nb"),
        ("a\rb", "a\rb"),
        (None, ""),
        ([1, "é"], '[1, "\\u00e9"]'),
        (True, "true"),
    ],
)
def test_csv_is_read_as_it_was_meant(value: Any, expected: str) -> None:
    text = "\n".join(lines("a.CSV", LAYOUT, [answer(value)])) + "\n"
    header, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert len(header) == len(row) and row[0] == expected


@pytest.mark.parametrize(
    "names, shape, expected",
    [
        ((), (2,), ["probability_0", "probability_1"]),
        (("a", "b", "c"), (2,), ["probability_0", "probability_1"]),
        (("a", "b"), (None,), ["probability_a", "probability_b"]),
    ],
)
def test_classes_without_a_name_are_numbered(
    names: Any, shape: Any, expected: Any
) -> None:
    layout = Layout((), {"probabilities": Output("float32", shape)}, False, names)
    row = {"probabilities": [0.5, 0.5]}
    assert lines("a.csv", layout, [row]) == [",".join(expected), "0.5,0.5"]


LISTS = {
    "vector": ("embedding", (4,), ()),
    "unknown": ("embedding", None, ()),
    "matrix": ("probabilities", (2, 2), ("a", "b")),
    "nobody_knows_how_many": ("probabilities", (None,), ()),
}


@pytest.mark.parametrize("name, shape, classes", LISTS.values(), ids=LISTS)
def test_lists_have_no_place_in_csv(name: str, shape: Any, classes: Any) -> None:
    layout = Layout((), {name: Output("float32", shape)}, False, classes)
    with pytest.raises(ValueError, match=f"{name}, a list a text, for .csv"):
        lines("a.csv", layout, [])
    # The mend.
    assert lines("a.jsonl", layout, []) == [] and lines("a.parquet", layout, [])


@pytest.mark.parametrize(
    "name, start, clashing",
    [
        ("a.jsonl", ("id", "label"), "label"),
        ("a.csv", ("probability_good",), "probability_good"),
        ("a.jsonl", ("probability_good",), None),
        ("a.csv", ("probabilities",), None),
        ("a.parquet", ("error", "score"), "error, score"),
        ("a.jsonl", ("file", "line", "line"), "line"),
    ],
)
def test_kept_fields_called_like_parts_of_the_answer_are_refused(
    name: str, start: Any, clashing: str | None
) -> None:
    layout = Layout(start, LAYOUT.outputs, True, LAYOUT.class_names)
    if clashing is None:
        lines(name, layout, [])
        return
    with pytest.raises(ValueError, match=f"Received: {clashing}; rename the column"):
        lines(name, layout, [])


@pytest.mark.parametrize("name", ["a.tsv", "a.XLSX", "a.csv.gz", "a.jsonl.zst"])
def test_endings_of_other_formats_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="end in .jsonl, .csv or .parquet"):
        answers.format_of(name)


def test_parquet_has_the_types_of_the_signature(tmp_path: pathlib.Path) -> None:
    table = parquet(tmp_path, LAYOUT, ANSWERS)
    assert table.to_pylist() == ANSWERS
    assert table.schema == pa.schema(
        [
            ("id", pa.string()),
            ("label", pa.string()),
            ("score", pa.float32()),
            ("probabilities", pa.list_(pa.float32())),
            ("abstain", pa.bool_()),
            ("error", pa.string()),
        ]
    )
    # Of no rows, too.
    assert parquet(tmp_path, LAYOUT, []).schema == table.schema


OUTPUTS = {
    "bfloat16": (Output("bfloat16", (2,)), [1.5, 2.5], pa.list_(pa.float32())),
    "float64": (Output("float64", ()), 0.1, pa.float64()),
    "int32": (Output("int32", ()), 7, pa.int32()),
    "strings": (Output("string", (None,)), ["a", "é"], pa.list_(pa.string())),
    "matrix": (
        Output("float32", (1, 2)),
        [[0.5, 1.5]],
        pa.list_(pa.list_(pa.float32())),
    ),
    "unknown": (Output("float32", None), 0.5, pa.float64()),
}


@pytest.mark.parametrize("output, value, expected", OUTPUTS.values(), ids=OUTPUTS)
def test_parquet_of_any_output(
    output: Output, value: Any, expected: Any, tmp_path: pathlib.Path
) -> None:
    table = parquet(tmp_path, Layout((), {"x": output}, False, ()), [{"x": value}])
    assert table.schema.field("x").type == expected
    assert table.to_pylist() == [{"x": value}]


KEPT = {
    "strings": (["a", None, "é"], pa.string(), ["a", None, "é"]),
    "integers": ([1, None, 2**62], pa.int64(), [1, None, 2**62]),
    "numbers": ([1, 0.5], pa.float64(), [1.0, 0.5]),
    "booleans": ([True, False], pa.bool_(), [True, False]),
    "nothing": ([None, None], pa.string(), [None, None]),
    # No digit is lost.
    "too_long_for_double": ([2**60 + 1, 0.5], pa.string(), [str(2**60 + 1), "0.5"]),
    "too_long_for_int64": ([2**70, -(2**63)], pa.string(), [str(2**70), str(-(2**63))]),
    "mixed": (["a", 1, True], pa.string(), ["a", "1", "true"]),
    "boolean_and_number": ([True, 1], pa.string(), ["true", "1"]),
    "nested": ([[1], {"a": "b"}], pa.string(), ["[1]", '{"a": "b"}']),
}


@pytest.mark.parametrize("values, expected, found", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("row_group_bytes", [1, 2**24])
def test_kept_fields_have_the_type_of_all_their_values(
    values: Any,
    expected: Any,
    found: Any,
    row_group_bytes: int,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(answers, "_ROW_GROUP_BYTES", row_group_bytes)
    layout = Layout(("id",), {}, False, ())
    table = parquet(tmp_path, layout, [{"id": value} for value in values])
    assert table.schema.field("id").type == expected
    assert table.column("id").to_pylist() == found
    num_groups = pq.ParquetFile(tmp_path / "table").num_row_groups
    assert num_groups == (len(values) if row_group_bytes == 1 else 1)

"""Rows of the input as questions: places, kept fields, rows that cannot be used."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import os
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import PredictConfig
from trainer.serving import questions
from trainer.serving.questions import Question


def read(name: str, **settings: Any) -> list[Question]:
    config = PredictConfig(saved_model="unused", input=name, **settings)
    return list(questions.read(config))


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The current folder, with shards in another order than that of their names."""
    for name, content in {
        "part-2.csv": "id,text\n3,c\n",
        "part-1.csv": 'id,text\n1,"a\nb"\n2,b\n',
        "x.jsonl": '{"id": 7, "text": "x"}\n',
        "a[1].csv": "id,text\n8,bracket\n",
        "one,two.csv": "id,text\n9,comma\n",
        "{a,b} [1]/a.csv": "id,text\n9,folder\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


PLACES = {
    "glob": ("part-*.csv", [("part-1.csv", 2), ("part-1.csv", 4), ("part-2.csv", 2)]),
    "list": ("x.jsonl, part-2.csv", [("x.jsonl", 1), ("part-2.csv", 2)]),
    "list_of_globs": ("x.*,*-2.csv", [("x.jsonl", 1), ("part-2.csv", 2)]),
    "each_once": ("part-2.csv,part-2.*", [("part-2.csv", 2)]),
    "glob_in_a_folder": ("{a,b} [1]/*", [("{a,b} [1]/a.csv", 2)]),
    "list_with_commas": ("one,two.csv,x.*", [("one,two.csv", 2), ("x.jsonl", 1)]),
    "glob_of_one": ("*.jsonl", [("x.jsonl", 1)]),
    # Files, whatever is in their names.
    "file": ("part-2.csv", [None]),
    "brackets": ("a[1].csv", [None]),
    "comma": ("one,two.csv", [None]),
}


@pytest.mark.parametrize("name, expected", PLACES.values(), ids=PLACES)
def test_rows_of_several_files_have_a_place(
    folder: pathlib.Path, name: str, expected: Any
) -> None:
    found = [question.start for question in read(name)]
    assert found == [
        {} if place is None else dict(zip(("file", "line"), place))
        for place in expected
    ]
    config = PredictConfig(saved_model="a", input=name, keep_fields=("id",))
    first, *_ = questions.read(config)
    assert questions.fields(config) == tuple(first.start)


def test_one_of_several_shards_may_be_without_rows(folder: pathlib.Path) -> None:
    """Named alone, or where none has a row, it is a mistake."""
    (folder / "part-3.csv").write_text("id,text\n")
    (folder / "part-0.csv").write_text("")
    assert [question.text for question in read("part-*.csv")] == ["a\nb", "b", "c"]
    for name in ("part-3.csv", "part-0.csv,part-3.csv"):
        with pytest.raises(
            ValueError, match="part-[03].csv: expected at least one row"
        ):
            read(name)


def test_a_file_that_is_not_there_is_named(folder: pathlib.Path) -> None:
    for name in ("part-*.tsv", "part-1.csv,part-3.csv"):
        with pytest.raises(ValueError, match="no match among") as error:
            read(name)
        assert ("part-*.tsv" if "*" in name else "part-3.csv") in str(error.value)


KEPT = {
    "string": ("é", "é"),
    "empty": ("", ""),
    "number": (3, 3),
    "long": (2**70, 2**70),
    "float": (0.5, 0.5),
    "nan": (math.nan, None),
    "null": (None, None),
    "true": (True, True),
    "object": ({"a": [1, math.nan]}, {"a": [1, None]}),
    "date": (datetime.date(2024, 1, 31), "2024-01-31"),
    "time": (datetime.datetime(2024, 1, 31, 1, 2), "2024-01-31T01:02:00"),
    "decimal": (decimal.Decimal("1.10"), "1.10"),
    "bytes": (b"\xc3\xa9", "é"),
}


@pytest.mark.parametrize("value, expected", KEPT.values(), ids=KEPT)
def test_kept_values_as_json_has_them(value: Any, expected: Any) -> None:
    found = questions._plain(value)
    assert found == expected and type(found) is type(expected)
    json.dumps(found, allow_nan=False)


def test_kept_fields_keep_their_order_and_types(folder: pathlib.Path) -> None:
    (found,) = read("x.jsonl", keep_fields=("text", "id"))
    assert list(found.start.items()) == [("text", "x"), ("id", 7)]
    # All values of a CSV are strings, so that 007 stays what it is.
    (found,) = read("part-2.csv", keep_fields=("id",))
    assert found == Question("c", {"id": "3"})


def test_a_text_file_has_the_text_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\n")
    (found,) = read(str(path), keep_fields=("text",))
    assert found == Question("a", {"text": "a"})
    with pytest.raises(ValueError, match="columns 'id'. Received: a text a line"):
        read(str(path), keep_fields=("id",))


def test_a_missing_column_is_named(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="'idd'.*did you mean 'id'"):
        read("part-1.csv", keep_fields=("idd",))


BAD = {
    # What is known of a bad row is kept.
    "null": ('{"id": 1, "text": null}', {"id": 1}, "expected a text. Received: none"),
    "surrogate": ('{"id": 1, "text": "\\ud800"}', {"id": 1}, "half a surrogate pair"),
    "kept": ('{"id": "\\ud800", "text": "a"}', {"id": None}, "in the kept field 'id'"),
    "no_json": ("{", {"id": None}, "JSON"),
}


@pytest.mark.parametrize("row, start, words", BAD.values(), ids=BAD)
def test_bad_rows_stop_or_stay_in_their_place(
    tmp_path: pathlib.Path, row: str, start: Any, words: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"id": 0, "text": "a"}}\n{row}\n{{"id": 2, "text": "c"}}\n')
    first, bad, last = read(str(path), keep_fields=("id",), bad_rows="null")
    assert (first, last) == (Question("a", {"id": 0}), Question("c", {"id": 2}))
    assert bad.text is None and bad.start == start and bad.error is not None
    assert bad.error.startswith(f"{path}:2: expected") and words in bad.error
    with pytest.raises(ValueError, match="a.jsonl:2: ") as error:
        read(str(path), keep_fields=("id",))
    assert words in str(error.value) and "--bad_rows=null" in str(error.value)


def test_bad_rows_of_tables(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,a\n2,b,c\n3,"d\n4,e\n')
    found = read(str(path), keep_fields=("id",), bad_rows="null")
    assert [(each.text, each.start["id"]) for each in found] == [
        ("a", "1"),
        (None, None),
        (None, None),
        ("e", "4"),
    ]
    table = pa.table({"text": ["a", None], "when": [datetime.date(2024, 5, 6)] * 2})
    pq.write_table(table, tmp_path / "a.parquet")
    settings: Any = {"keep_fields": ("when",), "bad_rows": "null"}
    found = read(str(tmp_path / "a.parquet"), **settings)
    assert [each.start for each in found] == [{"when": "2024-05-06"}] * 2
    assert [each.text for each in found] == ["a", None]


def test_the_key_has_all_that_decides_an_answer() -> None:
    different = [
        Question("a", {}),
        Question("b", {}),
        Question(None, {}, "a"),
        Question(None, {}, "b"),
        Question("a", {"id": 1}),
        Question("a", {"id": "1"}),
        Question("a", {"file": "a", "line": 1}),
    ]
    assert len({question.key for question in different}) == len(different)


def test_column_names_given_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="each column once.*Received: id,id"):
        PredictConfig(saved_model="a", input="b", keep_fields=("id", "id"))


def test_the_home_folder_may_be_named(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(os.sep)
    assert [question.text for question in read("~/part-2.csv")] == ["c"]
    assert [question.text for question in read("~/part-2.*")] == ["c"]

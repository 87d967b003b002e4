"""Training and predicting read the same texts of the same files."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import Row

ROWS: list[dict[str, Any]] = [
    {"title": "T", "body": "a", "label": "x"},
    {"title": None, "body": "b", "label": "y"},
    {"title": "", "body": "c, d", "label": "y"},
]
CSV = 'title,body,label\nT,a,x\n,b,y\n,"c, d",y\n'
NESTED = [{"data": row, "label": row["label"]} for row in ROWS]
ONE_LINE = {"text_field": "text"}
TWO = {"text_field": "title,body"}
PATHS = {"text_field": "data.title, data.body"}

FILES: dict[str, tuple[dict[str, str], str]] = {
    "a.csv": (TWO, CSV),
    "a.tsv": (TWO, "title\tbody\tlabel\nT\ta\tx\n\tb\ty\n\tc, d\ty\n"),
    "a.jsonl": (TWO, "\n".join(map(json.dumps, ROWS))),
    "array.json": (TWO, json.dumps(ROWS)),
    "key.json": (TWO, json.dumps({"data": ROWS})),
    "paths.json": (PATHS, json.dumps(NESTED)),
    "fasttext.txt": (ONE_LINE, "__label__x T a\n__label__y b\n__label__y c, d\n"),
}


@pytest.mark.parametrize("name", [*FILES, "a.parquet", "paths.parquet"])
def test_same_texts(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        fields, rows = (PATHS, NESTED) if "paths" in name else (TWO, ROWS)
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        fields, content = FILES[name]
        path.write_text(content)
    text_field = fields["text_field"]
    config = DataConfig(dataset=f"files:{path}", text_field=text_field)
    trained = sources.load(config)
    predicted = read_rows(str(path), text_field=text_field, label_field=None)
    expected = ["T a", "b", "c, d"]
    assert trained.splits["train"].texts.to_pylist() == expected
    assert [row.text for row in predicted if isinstance(row, Row)] == expected

"""Files in the shape of those that people brought to public threads: tables.

Each is read as it should be; what is refused names a mend, and with it is read.
"""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.data.datasets import classes, load

CASES = pathlib.Path(__file__).parent.parent / "testdata" / "cases"

READ = {
    # file: settings, number of rows, the first text, words of the sentence
    "semicolons-decimal-comma-locale.csv": (
        {},
        8,
        "The lamp works well so far, really",
        "separated by ';', columns id, text, label; not used: id",
    ),
    "space-after-comma.csv": (
        {},
        8,
        "The lamp works well so far, twice",
        "columns label, text",
    ),
    "stray-quote-closed-rows-later.tsv": (
        {},
        7,
        "The lamp works well so far",
        "separated by tabs",
    ),
    "table.csv.gz": ({}, 8, "The lamp works well so far", "gzip"),
    "text-pair.csv": (
        {"text_field": "premise"},
        8,
        "The lamp works well so far",
        "not used: hypothesis",
    ),
    "encoding-cp1252.csv": (
        {"encoding": "cp1252"},
        8,
        "The lamp works well so far – “très” déçu",
        "cp1252",
    ),
    "quotes-escaped-by-backslash.csv": (
        {"escape": "backslash"},
        8,
        'They call it "best", The lamp works well so far',
        "separated by ','",
    ),
    "no-header-six-columns-label-0-4.csv": (
        {"column_names": ("label", "id", "date", "query", "user", "text")},
        8,
        "The lamp works well so far",
        "without a header",
    ),
}


@pytest.mark.parametrize(
    "name, settings, num_rows, text, words",
    [(name, *row) for name, row in READ.items()],
    ids=READ,
)
def test_case_is_read(
    name: str, settings: dict[str, Any], num_rows: int, text: str, words: str
) -> None:
    read = load(f"files:{CASES / name}", **settings)
    rows = read.splits["train"]
    assert len(rows) == num_rows
    assert rows.texts[0].as_py() == text
    names = {"text-pair.csv": 3}
    assert len(set(classes(rows))) == names.get(name, 2)
    # No text has swallowed another row.
    assert not any(label in str(rows.texts) for label in ("positive", "negative"))
    (file,) = read.facts["splits"]["train"]["files"]
    assert words in file["settled"]


REFUSED = {
    "encoding-cp1252.csv": (":2: expected UTF-8", "très", "--encoding=cp1252"),
    "quotes-escaped-by-backslash.csv": ("a backslash", "--escape=backslash"),
    "no-header-six-columns-label-0-4.csv": ("no header?", "--column_names="),
    "text-pair.csv": ("'premise', 'hypothesis', 'label'", "--text_field"),
}


@pytest.mark.parametrize("bad_rows", ["error", "skip"])
@pytest.mark.parametrize("name, words", REFUSED.items(), ids=REFUSED)
def test_case_is_refused_in_one_message_that_names_the_mend(
    name: str, words: tuple[str, ...], bad_rows: str
) -> None:
    with pytest.raises(ValueError) as error:
        load(f"files:{CASES / name}", bad_rows=bad_rows)
    for word in words:
        assert word in str(error.value)
    assert "skip" not in str(error.value) and "\n" not in str(error.value)

"""Rows that are read together are those that are read one by one, in every respect."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any, Callable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data.readers import delimited, json_rows, line_blocks, parquet
from trainer.data.readers.reading import read_blocks, read_rows
from trainer.data.readers.request import Request
from trainer.data.readers.rows import BadRow, Row, Rows

NUM_ROWS = 400
CLEAN = "text,label\n" + "".join(
    f'"A fine, ""very"" fine {("film", "café")[row % 2]} {row}.",{row % 2}\n'
    for row in range(NUM_ROWS)
)


def seen(rows: Iterator[Row | BadRow | Rows], log: list[Any]) -> tuple[int, list[Any]]:
    """How many rows came together, and all that was told, in its order."""
    num_together = 0
    try:
        for row in rows:
            if isinstance(row, Rows):
                num_together += len(row)
                log.extend(row.one_by_one())
            else:
                log.append(row)
    except ValueError as error:
        log.append(f"{type(error).__name__}: {error}")
    # To Python 1 and True are one.
    return num_together, [repr(each) for each in log]


def both(path: pathlib.Path, **how: Any) -> tuple[int, list[Any], list[Any]]:
    """What comes together and one by one; and how many rows of it came together."""
    together_log: list[Any] = []
    keep, where = how.get("keep", ()), how.get("where") or {}
    request = Request(
        str(path),
        text_field="text",
        label_field="label",
        kept_fields=keep,
        where=where,
        column_names=how.get("column_names", ()),
        escape=how.get("escape", "auto"),
        on_blank_line=lambda line: together_log.append(f"blank {line}"),
        on_settled=together_log.append,
    )
    num_together, together = seen(read_blocks(path, request), together_log)
    log: list[Any] = []
    rows = read_rows(
        path,
        text_field="text",
        label_field="label",
        on_blank_line=lambda line: log.append(f"blank {line}"),
        on_settled=log.append,
        **how,
    )
    _, one_by_one = seen(rows, log)
    return num_together, together, one_by_one


def write(path: pathlib.Path, content: str | bytes) -> pathlib.Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def with_line(line: str | bytes, *, at: int = 200, clean: str = CLEAN) -> bytes:
    """A clean file with a line in it that is not, so that clean rows are around it."""
    lines = clean.encode().splitlines(keepends=True)
    lines.insert(at, line.encode() if isinstance(line, str) else line)
    return b"".join(lines)


LINES_OF_CSV: dict[str, str | bytes] = {
    "blank": "\n",
    "blank with return": "\r\n",
    "white space": "   \n",
    "two lines": '"A film\nof two lines, 7",1\n',
    "a blank line in quotes": '"A film\n\nafter a blank line",1\n',
    "a swallowed row": '"A quote that opens\nGood,1\nBad,0\nGood",1\n',
    "quote within": 'A so-called "film",1\n',
    "quote at the end": 'Six feet 6",1\n',
    "quotes parted": '"A film" indeed,1\n',
    "quotes apart": '"A film"x"",1\n',
    "open quote": '"A film,1\n',
    "lone quote": '",1\n',
    "doubled quotes alone": '"""",1\n',
    "backslash": '"A \\"film\\" here",1\n',
    "too few": "A film\n",
    "too many": "A film,so,1\n",
    "too many in quotes": '"A film","so",1\n',
    "header": "text,label\n",
    "header in quotes": '"text", label \n',
    "label of the header's name": "A film,label\n",
    "no text": ",1\n",
    "empty quotes": '"",1\n',
    "invisible text": "\u200b\u200b,1\n",
    "text of dots": "...,1\n",
    "zero-width, then a text": "\u200bA film,1\n",
    "no label": "A film,\n",
    "null words": "nan,NA\n",
    "other label": "A film,2.0\n",
    "leading zero": "A film,01\n",
    "return": "A film,1\r\n",
    "return in quotes": '"A film\r\nof two lines",1\r\n',
    "lone return": "A film,1\rAnother,0\n",
    "return at the end of a quote": '"A film",1\r\n',
    "NUL": "A fi\0lm,1\n",
    "not UTF-8": b"A caf\xe9,1\n",
    "not UTF-8 in a label": b"A cafe,\xe9\n",
    "surrogate": b"A film \xed\xa0\x80,1\n",
    "accents": "A café, naïve,1\n",
    "accents in quotes": '"A café, naïve",1\n',
    "mark of UTF-8": "\ufeffA film,1\n",
    "mark in quotes": '\ufeff"A film",1\n',
    "pair": "A film\ue01fand another,1\n",
    "line separator": "A film\u2028of two lines,1\n",
    "next line": "A film\x85of two lines,1\n",
    "form feed": "A film\f,1\n",
    "blanks around": "  A film  , 1 \n",
    "tab": "A film\t,1\n",
}


@pytest.mark.parametrize("name", LINES_OF_CSV)
def test_a_line_among_clean_ones_is_read_alike(
    tmp_path: pathlib.Path, name: str
) -> None:
    path = write(tmp_path / "a.csv", with_line(LINES_OF_CSV[name]))
    num_together, together, one_by_one = both(path)
    assert together == one_by_one
    # The header is followed by the lines that settle how the table is written.
    if name not in ("a swallowed row", "open quote", "backslash", "pair"):
        assert num_together >= 100


SEPARATED = {
    "semicolons": ";",
    "bars": "|",
    "tabs": "\t",
}


@pytest.mark.parametrize("name", SEPARATED)
@pytest.mark.parametrize("is_quoted", [False, True])
def test_other_separators(tmp_path: pathlib.Path, name: str, is_quoted: bool) -> None:
    sign, quote = SEPARATED[name], '"' if is_quoted else ""
    rows = [f"{quote}A film, {row}{quote}{sign}{row % 2}\n" for row in range(1600)]
    text = f"text{sign}label\n" + "".join(rows)
    path = write(tmp_path / "a.csv", text)
    num_together, together, one_by_one = both(path)
    assert together == one_by_one
    assert num_together >= 100 and len(one_by_one) == 1601


@pytest.mark.parametrize("late", ['"Quoted"\t1\n', 'A 6" film\t1\n', '"\t1\n'])
def test_quotes_that_come_late_in_tsv(tmp_path: pathlib.Path, late: str) -> None:
    rows = [f"A film {row}\t{row % 2}\n" for row in range(NUM_ROWS)]
    rows.insert(300, late)
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + "".join(rows))
    num_together, together, one_by_one = both(path)
    assert together == one_by_one
    assert num_together > 50


TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "returns": (CLEAN.replace("\n", "\r\n"), {}),
    "lone returns": (CLEAN.replace("\n", "\r"), {}),
    "mark of UTF-8": ("\ufeff" + CLEAN, {}),
    "no last line end": (CLEAN[:-1], {}),
    "no header": (CLEAN.partition("\n")[2], {"column_names": ("text", "label")}),
    "escapes": (CLEAN, {"escape": "backslash"}),
    "blanks before labels": (CLEAN.replace('",', '", '), {}),
    "blanks skipped": (CLEAN.replace("text,", "text, "), {}),
    "more columns": (
        CLEAN.replace("label\n", "label,author\n").replace("0\n", "0,Ann\n"),
        {"keep": ("author",)},
    ),
    "some rows wanted": (
        "".join(f"{line},{line[-1]}\n" for line in CLEAN.splitlines()),
        {"where": {"l": "1"}},
    ),
    "sep line": ("sep=,\n" + CLEAN, {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_whole_tables(tmp_path: pathlib.Path, name: str) -> None:
    content, how = TABLES[name]
    path = write(tmp_path / "a.csv", content)
    num_together, together, one_by_one = both(path, **how)
    assert together == one_by_one
    is_by_row = name in ("lone returns", "escapes", "blanks skipped", "more columns")
    assert (num_together > 50) == (not is_by_row), num_together


@pytest.mark.parametrize("seed", range(60))
def test_lines_of_any_kind_in_any_order(
    tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    # Small buffers, so that lines are cut between them.
    monkeypatch.setattr(line_blocks, "_BUFFER_BYTES", draw.choice([40, 700, 5_000]))
    monkeypatch.setattr(line_blocks, "MIN_LINES", draw.choice([1, 2, 8]))
    odd = [
        line if isinstance(line, bytes) else line.encode()
        for line in LINES_OF_CSV.values()
    ]
    lines = CLEAN.encode().splitlines(keepends=True)[1:150]
    for _ in range(draw.choice([1, 5, 40])):
        lines.insert(draw.randrange(len(lines)), draw.choice(odd))
    path = write(tmp_path / "a.csv", b"text,label\n" + b"".join(lines))
    _, together, one_by_one = both(path)
    assert together == one_by_one


@pytest.mark.parametrize("seed", range(60))
def test_signs_in_any_order(
    tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(line_blocks, "_BUFFER_BYTES", draw.choice([30, 400]))
    monkeypatch.setattr(line_blocks, "MIN_LINES", 1)
    monkeypatch.setattr(delimited.dialects, "_SAMPLE_LINES", 2)
    ending = draw.choice([".csv", ".tsv"])
    sign = "," if ending == ".csv" else "\t"
    parts = ['"', sign, "\n", f"a{sign}1\n", f'"b"{sign}0\n', "c", '""', "\r\n", "é"]
    body = "".join(draw.choice(parts) for _ in range(150))
    head = f"text{sign}label\na{sign}1\nb{sign}0\n"
    path = write(tmp_path / f"a{ending}", head + body)
    _, together, one_by_one = both(path)
    assert together == one_by_one

"""Rows that are read together are those that are read one by one, in every respect."""

from __future__ import annotations

import json
import pathlib
import random
from typing import Any, Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data.readers import dialects, json_blocks, line_blocks, parquet
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
    if "BadFileError" in one_by_one[-1]:
        # Of a file that cannot be used, how far it was read is of no account.
        return num_together, together[-1:], one_by_one[-1:]
    return num_together, together, one_by_one


def write(path: pathlib.Path, content: str | bytes) -> pathlib.Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def with_line(line: str | bytes, *, at: int = 300, clean: str = CLEAN) -> bytes:
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
    # Lines that settle how the table is written come one by one.
    monkeypatch.setattr(dialects, "_SAMPLE_LINES", 2)
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
    monkeypatch.setattr(dialects, "_SAMPLE_LINES", 2)
    ending = draw.choice([".csv", ".tsv"])
    sign = "," if ending == ".csv" else "\t"
    parts = ['"', sign, "\n", f"a{sign}1\n", f'"b"{sign}0\n', "c", '""', "\r\n", "é"]
    body = "".join(draw.choice(parts) for _ in range(150))
    head = f"text{sign}label\na{sign}1\nb{sign}0\n"
    path = write(tmp_path / f"a{ending}", head + body)
    _, together, one_by_one = both(path)
    assert together == one_by_one


JSON = "".join(
    json.dumps({"id": row, "text": f'A "fine" café {row}.', "label": "ab"[row % 2]})
    + "\n"
    for row in range(NUM_ROWS)
)
LINES_OF_JSON: dict[str, str | bytes] = {
    "blank": "\n",
    "blanks around": '  {"text": "A", "label": "a"}  \n',
    "two in a line": '{"text": "A", "label": "a"} {"text": "B", "label": "b"}\n',
    "over lines": '{"text": "A",\n"label": "a"}\n',
    "an object within, over lines": '{"text": "A", "o": {}\n, "label": "a"}\n',
    "comma after": '{"text": "A", "label": "a"},\n',
    "comma within": '{"text": "A", "label": "a",}\n',
    "no object": "[1]\n",
    "broken": '{"text": "A", "label": \n',
    "single quotes": "{'text': 'A', 'label': 'a'}\n",
    "not closed": '{"text": "A, "label": "a"}\n',
    "text missing": '{"label": "a"}\n',
    "label missing": '{"text": "A"}\n',
    "text null": '{"text": null, "label": "a"}\n',
    "label null": '{"text": "A", "label": null}\n',
    "label a number": '{"text": "A", "label": 1}\n',
    "label a fraction": '{"text": "A", "label": 1.0}\n',
    "label with an exponent": '{"text": "A", "label": 1e0}\n',
    "label true": '{"text": "A", "label": true}\n',
    "label a list": '{"text": "A", "label": ["a"]}\n',
    "label an object": '{"text": "A", "label": {"a": 1}}\n',
    "label a date": '{"text": "A", "label": "2020-01-01"}\n',
    "label a long number": '{"text": "A", "label": 123456789012345678901}\n',
    "text a number": '{"text": 1, "label": "a"}\n',
    "text empty": '{"text": "", "label": "a"}\n',
    "text invisible": '{"text": "\\u200b", "label": "a"}\n',
    "text doubled": '{"text": "A", "text": "B", "label": "a"}\n',
    "label doubled": '{"text": "A", "label": "a", "label": "a"}\n',
    "other doubled": '{"text": "A", "label": "a", "o": 1, "o": 2}\n',
    "escapes": '{"text": "A\\n\\t\\"\\/\\u00e9", "label": "a"}\n',
    "escaped NUL": '{"text": "A\\u0000", "label": "a"}\n',
    "NUL": '{"text": "A\0", "label": "a"}\n',
    "tab": '{"text": "A\t", "label": "a"}\n',
    "surrogate pair": '{"text": "A\\ud83d\\ude00", "label": "a"}\n',
    "half a surrogate pair": '{"text": "A\\ud83d", "label": "a"}\n',
    "NaN": '{"text": "A", "label": NaN}\n',
    "other NaN": '{"text": "A", "label": "a", "o": NaN}\n',
    "other -NaN": '{"text": "A", "label": "a", "o": -NaN}\n',
    "other - NaN": '{"text": "A", "label": "a", "o": - NaN}\n',
    "other Inf": '{"text": "A", "label": "a", "o": Inf}\n',
    "other infinite": '{"text": "A", "label": "a", "o": -Infinity}\n',
    "other leading zero": '{"text": "A", "label": "a", "o": 01}\n',
    "other plus": '{"text": "A", "label": "a", "o": +1}\n',
    "other without digits": '{"text": "A", "label": "a", "o": 1.}\n',
    "other huge": '{"text": "A", "label": "a", "o": 1e999}\n',
    "other bad escape": '{"text": "A", "label": "a", "o": "\\x"}\n',
    "deep": '{"text": "A", "label": "a", "o": ' + "[" * 2000 + "]" * 2000 + "}\n",
    "not UTF-8": b'{"text": "A caf\xe9", "label": "a"}\n',
    "not UTF-8 in another": b'{"text": "A", "label": "a", "o": "\xe9"}\n',
    "returns": '{"text": "A", "label": "a"}\r\n',
    "lone return": '{"text": "A", "label": "a"}\r{"text": "B", "label": "b"}\n',
    "comment": '{"text": "A", "label": "a"} // so\n',
    "pair": '{"text": "A\ue01fB", "label": "a"}\n',
    "escaped pair": '{"text": "A\\ue01fB", "label": "a"}\n',
    "escaped key": '{"te\\u0078t": "A", "label": "a"}\n',
    "escaped key doubled": '{"te\\u0078t": "A", "text": "B", "label": "a"}\n',
}


@pytest.mark.parametrize("name", LINES_OF_JSON)
def test_an_object_among_clean_ones_is_read_alike(
    tmp_path: pathlib.Path, name: str
) -> None:
    content = with_line(LINES_OF_JSON[name], clean=JSON)
    num_together, together, one_by_one = both(write(tmp_path / "a.jsonl", content))
    assert together == one_by_one
    # Few letters beyond ASCII are UTF-8 here, so that the whole file is refused.
    if "not UTF-8" not in name:
        assert num_together >= 100 and len(one_by_one) > 200


@pytest.mark.parametrize("seed", range(60))
def test_objects_of_any_kind_in_any_order(
    tmp_path: pathlib.Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(json_blocks, "_CHARACTERS", draw.choice([300, 3_000]))
    monkeypatch.setattr(json_blocks, "MIN_LINES", 2)
    lines = JSON.encode().splitlines(keepends=True)[:100]
    odd = [
        line if isinstance(line, bytes) else line.encode()
        for line in LINES_OF_JSON.values()
    ]
    for _ in range(draw.choice([1, 10, 60])):
        lines.insert(draw.randrange(1, len(lines)), draw.choice(odd))
    path = write(tmp_path / "a.jsonl", b"".join(lines))
    _, together, one_by_one = both(path)
    assert together == one_by_one


@pytest.mark.parametrize("value", ["1", "true", '"2020-01-01"', "1.5", "[]", "01"])
def test_labels_of_one_type(tmp_path: pathlib.Path, value: str) -> None:
    text = f'{{"text": "A", "label": {value}}}\n' * NUM_ROWS
    path = write(tmp_path / "a.jsonl", text)
    num_together, together, one_by_one = both(path)
    assert together == one_by_one
    assert (num_together > 0) == (value in ("1", "true", '"2020-01-01"'))


def _columns(odd_text: Any = "B", odd_label: Any = "b") -> tuple[list[Any], list[Any]]:
    return ["A"] * 300 + [odd_text] + ["A"] * 300, ["a"] * 300 + [odd_label] + [
        "b"
    ] * 300


BAD_UTF8 = pa.array([b"A", b"\xe9"]).view(pa.string())
TABLES_OF_PARQUET: dict[str, tuple[Any, Any]] = {
    "strings": _columns(),
    "a text missing": _columns(odd_text=None),
    "a label missing": _columns(odd_label=None),
    "a text empty": _columns(odd_text=""),
    "a text blank": _columns(odd_text=" \u200b"),
    "a NUL": _columns(odd_text="A\0"),
    "a pair": _columns(odd_text="A\ue01fB"),
    "not UTF-8": (BAD_UTF8, pa.array(["a", "b"])),
    "not UTF-8 in a label": (pa.array(["A", "B"]), BAD_UTF8),
    "numbers": (["A", "B"], [1, 0]),
    "small numbers": (["A", "B"], pa.array([1, 0], pa.uint8())),
    "fractions": (["A", "B"], [1.0, 0.0]),
    "truths": (["A", "B"], [True, False]),
    "large strings": (pa.array(["A", "B"], pa.large_string()), ["a", "b"]),
    "categories": (["A", "B"], pa.array(["a", "b"]).dictionary_encode()),
    "texts as categories": (pa.array(["A", "A"]).dictionary_encode(), ["a", "b"]),
    "bytes": ([b"A", b"B"], ["a", "b"]),
    "lists": (["A", "B"], [["a"], ["b"]]),
    "numbers as texts": ([1, 2], ["a", "b"]),
}
ROWS_OF_PARQUET = {
    *("strings", "a text empty", "a text blank", "numbers", "small numbers", "truths"),
    *("large strings", "categories"),
}


@pytest.mark.parametrize("name", TABLES_OF_PARQUET)
def test_parquet(tmp_path: pathlib.Path, name: str) -> None:
    texts, labels = TABLES_OF_PARQUET[name]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    num_together, together, one_by_one = both(path)
    assert together == one_by_one
    assert (num_together > 0) == (name in ROWS_OF_PARQUET)


@pytest.mark.parametrize("numbers", [[0, 1, 1], [0, 2, 1]])
def test_named_numbers_of_parquet(tmp_path: pathlib.Path, numbers: list[int]) -> None:
    feature = {"label": {"names": ["neg", "pos"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    table = pa.table({"text": ["A", "B", "C"], "label": numbers})
    path = tmp_path / "a.parquet"
    pq.write_table(table.replace_schema_metadata(metadata), path)
    num_together, together, one_by_one = both(path)
    assert together == one_by_one and "'pos'" in str(together)
    assert num_together == (0 if 2 in numbers else 3)


def test_parquet_comes_in_batches_whatever_the_row_groups(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_BATCH_ROWS", 7)
    monkeypatch.setattr(parquet, "_BLOCK_BYTES", 1)
    texts, labels = _columns(odd_text="")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "label": labels}), path, row_group_size=50)
    num_together, together, one_by_one = both(path)
    assert together == one_by_one and num_together == 600

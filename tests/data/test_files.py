"""Every way a file of rows can be right or wrong, one line of a table each."""

import csv
import gzip
import io
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.data import files
from trainer.data.files import BadFileError, BadRow, Row, expand, read_rows

HEADER = b"text,label\n"
LONG_TEXT = "word " * 500_000


def read(path, **arguments):
    arguments = {"text_field": "text", "label_field": "label"} | arguments
    return list(read_rows(path, **arguments))


def written(folder, name, content):
    path = folder / name
    if isinstance(content, dict):
        content = pa.table(content)
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content)
    return str(path)


def summary(rows):
    """Rows as tuples; a bad row as its line, with `None` for a text."""
    return [
        (row.line, None) if isinstance(row, BadRow) else (row.line, row.text, row.label)
        for row in rows
    ]


GOOD_FILES = {
    "csv": ("a.csv", HEADER + b"good,1\nbad,0\n", [(2, "good", "1"), (3, "bad", "0")]),
    "no_last_line_end": ("a.csv", HEADER + b"good,1", [(2, "good", "1")]),
    "other_column_first": ("a.csv", b"id,label,text\n7,1,good\n", [(2, "good", "1")]),
    "unused_column_twice": ("a.csv", b"text,,label,\na,,1,\n", [(2, "a", "1")]),
    "ending_in_capitals": ("A.CSV", HEADER + b"good,1\n", [(2, "good", "1")]),
    "tsv": ("a.tsv", b"text\tlabel\na, b\tpos\n", [(2, "a, b", "pos")]),
    "jsonl": (
        "a.jsonl",
        b'{"text": "a", "label": "pos"}\n{"label": 2.0, "text": "\\u00e9", "x": [1]}\n',
        [(1, "a", "pos"), (2, "é", 2)],
    ),
    "parquet": (
        "a.parquet",
        {"label": [1, 0], "id": [7, 8], "text": ["a", "b"]},
        [(1, "a", 1), (2, "b", 0)],
    ),
    "parquet_floats": (
        "a.parquet",
        {"text": ["a", "b"], "label": [1.0, None]},
        [(1, "a", 1), (2, None)],
    ),
    "parquet_categories": (
        "a.parquet",
        {"text": ["a"], "label": pa.array(["pos"]).dictionary_encode()},
        [(1, "a", "pos")],
    ),
    "parquet_binary": (
        "a.parquet",
        {"text": [b"\xc3\xa9", b"\xe9"], "label": [1, 1]},
        [(1, "é", 1), (2, None)],
    ),
    "quoted": ("a.csv", HEADER + b'"a ""b"", c",1\n', [(2, 'a "b", c', "1")]),
    "quoted_newlines": (
        "a.csv",
        HEADER + b'"a\nb\r\n\nc",1\nd,0\n',
        [(2, "a\nb\r\n\nc", "1"), (6, "d", "0")],
    ),
    "byte_order_mark": (
        "a.csv",
        b"\xef\xbb\xbf" + HEADER + b"a,1\n",
        [(2, "a", "1")],
    ),
    "byte_order_mark_before_quote": (
        "a.csv",
        b'\xef\xbb\xbf"text","label"\na,1\n',
        [(2, "a", "1")],
    ),
    "crlf": (
        "a.csv",
        b"text,label\r\na,1\r\nb,0\r\n",
        [(2, "a", "1"), (3, "b", "0")],
    ),
    "lone_cr": ("a.csv", b"text,label\ra,1\rb,0\r", [(2, "a", "1"), (3, "b", "0")]),
    "other_unicode_line_ends_are_text": (
        "a.jsonl",
        '{"text": "a\u2028b\x85c", "label": 1}\n'.encode(),
        [(1, "a\u2028b\x85c", 1)],
    ),
    "blank_lines": (
        "a.csv",
        b"\n" + HEADER + b"\n\na,1\n\r\n",
        [(5, "a", "1")],
    ),
    "blank_json_lines": (
        "a.jsonl",
        b'\n{"text": "a", "label": 1}\n\n',
        [(2, "a", 1)],
    ),
    "long_csv_text": (
        "a.csv",
        HEADER + LONG_TEXT.encode() + b",1\n",
        [(2, LONG_TEXT, "1")],
    ),
    "long_json_text": (
        "a.jsonl",
        json.dumps({"text": LONG_TEXT, "label": 1}).encode(),
        [(1, LONG_TEXT, 1)],
    ),
}


@pytest.mark.parametrize("name, content, expected", GOOD_FILES.values(), ids=GOOD_FILES)
def test_rows_and_their_lines(tmp_path, name, content, expected):
    assert summary(read(written(tmp_path, name, content))) == expected


def csv_rows(*lines):
    return HEADER + b"first,1\n" + b"".join(lines) + b"last,0\n"


def json_rows(*lines):
    first, last = b'{"text": "first", "label": 1}\n', b'{"text": "last", "label": 0}\n'
    return first + b"".join(line + b"\n" for line in lines) + last


# Name, content, line of the bad row, words of its message. The rows "first" and
# "last" around it must survive.
BAD_ROWS = {
    "too_few_fields": ("a.csv", csv_rows(b"a\n"), 3, "expected 2 fields", "found 1"),
    "too_many_fields": ("a.csv", csv_rows(b"a,b,1\n"), 3, "found 3", "quotes"),
    "white_space_line": ("a.csv", csv_rows(b"  \n"), 3, "expected 2 fields"),
    "header_again": ("a.csv", csv_rows(HEADER), 3, "the header once more"),
    "empty_text": ("a.csv", csv_rows(b",1\n"), 3, "expected a text", "an empty one"),
    "blank_text": ("a.csv", csv_rows(b" \t,1\n"), 3, "white space only"),
    "null_text": ("a.jsonl", json_rows(b'{"text": null, "label": 1}'), 2, "found none"),
    "number_as_text": ("a.jsonl", json_rows(b'{"text": 5, "label": 1}'), 2, "int 5"),
    "object_as_text": (
        "a.jsonl",
        json_rows(b'{"text": {"a": 1}, "label": 1}'),
        2,
        "an object {'a': 1}",
    ),
    "empty_label": ("a.csv", csv_rows(b"a,\n"), 3, "expected a label", "an empty one"),
    "blank_label": ("a.csv", csv_rows(b"a, \n"), 3, "white space only: ' '"),
    "null_label": ("a.jsonl", json_rows(b'{"text": "a", "label": null}'), 2, "none"),
    "nan_label": ("a.jsonl", json_rows(b'{"text": "a", "label": NaN}'), 2, "none"),
    "boolean_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": true}'),
        2,
        "a boolean True",
        "--label_field",
    ),
    "fraction_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": 0.5}'),
        2,
        "float 0.5",
    ),
    "infinite_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": 1e999}'),
        2,
        "float inf",
    ),
    "list_label": ("a.jsonl", json_rows(b'{"text": "a", "label": [1]}'), 2, "a list"),
    "invalid_utf8": ("a.csv", csv_rows(b"caf\xe9,1\n"), 3, "byte 0xE9 at byte 4"),
    "invalid_utf8_in_quotes": (
        "a.csv",
        csv_rows(b'"a\nb\xff,\nc",1\n'),
        4,
        "byte 0xFF at byte 2",
    ),
    "invalid_utf8_json": (
        "a.jsonl",
        json_rows(b'{"text": "\xff", "label": 1}'),
        2,
        "byte 0xFF at byte 11",
    ),
    "nul_byte": ("a.csv", csv_rows(b"a\0b,1\n"), 3, "a NUL byte at byte 2"),
    "nul_in_json": (
        "a.jsonl",
        json_rows(b'{"text": "ab\\u0000", "label": 1}'),
        2,
        "a NUL character at character 3",
    ),
    "lone_surrogate": (
        "a.jsonl",
        json_rows(b'{"text": "ab\\ud800", "label": 1}'),
        2,
        "half a surrogate pair",
        "character 3",
    ),
    "lone_surrogate_label": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": "\\udc00"}'),
        2,
        "half a surrogate pair",
    ),
    "broken_json": ("a.jsonl", json_rows(b'{"text": "a",'), 2, "no valid JSON"),
    "deep_json": ("a.jsonl", json_rows(b'{"a":' * 100_000), 2, "no valid JSON"),
    "json_list": ("a.jsonl", json_rows(b'["a", 1]'), 2, "found a list"),
    "missing_key": (
        "a.jsonl",
        json_rows(b'{"Text": "a", "label": 1}'),
        2,
        "one key 'text'",
        "keys 'Text', 'label'",
        "did you mean 'Text'?",
        "--text_field",
    ),
    "doubled_key": (
        "a.jsonl",
        json_rows(b'{"text": "a", "label": 1, "label": 0}'),
        2,
        "one key 'label'",
        "2 of that name",
    ),
    "text_after_quote": (
        "a.csv",
        csv_rows(b'"a" b,1\n'),
        3,
        "quote opened in line 3",
    ),
    "parquet_no_utf8": (
        "a.parquet",
        {
            "text": pa.Array.from_buffers(
                pa.string(),
                3,
                [
                    None,
                    pa.py_buffer(
                        b"".join(n.to_bytes(4, "little") for n in (0, 5, 7, 11))
                    ),
                    pa.py_buffer(b"firsta\xfflast"),
                ],
            ),
            "label": [1, 1, 0],
        },
        2,
        "byte 0xFF at byte 2 of the value",
    ),
}


@pytest.mark.parametrize(
    "name, content, line, words",
    [(a, b, c, d) for a, b, c, *d in BAD_ROWS.values()],
    ids=BAD_ROWS,
)
def test_bad_row_is_named_and_the_others_survive(tmp_path, name, content, line, words):
    path = written(tmp_path, name, content)

    first, bad, last = read(path)

    assert (first.text, last.text) == ("first", "last")
    assert isinstance(bad, BadRow) and bad.line == line
    assert str(bad).startswith(f"{path}:{line}: expected ")
    for word in words:
        assert word in str(bad)


def test_unclosed_quote_costs_one_row_and_names_its_line(tmp_path):
    content = csv_rows(b'"a\nb",1\n', b'c,"1\n', b"d,1\n")

    rows = read(written(tmp_path, "a.csv", content))

    assert summary(rows) == [
        (2, "first", "1"),
        (3, "a\nb", "1"),
        (5, None),
        (6, "d", "1"),
        (7, "last", "0"),
    ]
    assert "a quote opened in line 5" in str(rows[2])


OPEN_QUOTES = {
    # id: record from line 2 on, line of the quote
    "never_closed": (b'"a\nb,1\n', 2),
    "second_field": (b'"a\nb","1\n""c,0\n', 3),
    "third_field": (b'a 5" b,"x\ny","1\nc,0\n', 3),
    "closed_by_the_next_quote": (b'"a,1\nb,0\n"c,""\nd",1\n', 2),
    "closed_by_itself": (b'"a\nb" c,1\n', 2),
}


@pytest.mark.parametrize("record, line", OPEN_QUOTES.values(), ids=OPEN_QUOTES)
def test_line_where_a_broken_quote_opened(tmp_path, record, line):
    bad = read(written(tmp_path, "a.csv", HEADER + record))[0]
    assert isinstance(bad, BadRow) and bad.line == 2
    assert f"a quote opened in line {line}," in bad.found


def test_quote_is_looked_at_as_strictly_after_a_broken_row(tmp_path):
    broken = b'"a" b,1\n'
    rows = read(written(tmp_path, "a.csv", csv_rows(broken, broken)))
    assert [row.line for row in rows if isinstance(row, BadRow)] == [3, 4]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 1000])
def test_lines_are_the_same_however_the_file_is_cut(tmp_path, monkeypatch, chunk_bytes):
    monkeypatch.setattr(files, "_CHUNK_BYTES", chunk_bytes)
    content = "text,label\r\n\r\né,1\r\n\n\rb,0".encode()
    rows = read(written(tmp_path, "a.csv", content))
    assert summary(rows) == [(3, "é", "1"), (6, "b", "0")]


def test_field_over_the_limit_is_an_open_quote(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_CSV_FIELD_CHARACTERS", 1000)
    before = csv.field_size_limit()
    path = written(tmp_path, "a.csv", HEADER + b'"a\n' + b"b,1\n" * 1000)
    try:
        bad, *good = read(path)
    finally:
        csv.field_size_limit(before)

    assert "quote opened in line 2" in str(bad) and "1000" in str(bad)
    assert len(good) == 1000


TEXT = {"label_field": None}
PARQUET = {"text": ["a"], "label": [1]}


def parquet_bytes():
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["a"] * 100, "label": [1] * 100}), sink)
    return sink.getvalue()


BAD_FILES = {
    "missing_column": (
        "a.csv",
        b"Text,label\na,1\n",
        {},
        ":1: expected one column 'text'",
        "columns 'Text', 'label' (did you mean 'Text'?)",
        "--text_field",
    ),
    "missing_label_column": ("a.csv", b"text,y\na,1\n", {}, "'label'", "--label_field"),
    "missing_where_column": (
        "a.csv",
        HEADER + b"a,1\n",
        {"where": {"source": "imdb"}},
        "one column 'source'",
    ),
    "no_header": ("a.csv", b"a good film,1\n", {}, "columns 'a good film', '1'"),
    "missing_column_parquet": (
        "a.parquet",
        {"texts": ["a"], "label": [1]},
        {},
        "did you mean 'texts'?",
    ),
    "doubled_column": ("a.csv", b"text,label,text\na,1,b\n", {}, "2 of that name"),
    "doubled_column_parquet": (
        "a.parquet",
        pa.Table.from_arrays([pa.array(["a"])] * 3, ["text", "label", "label"]),
        {},
        "one column 'label'",
        "2 of that name",
    ),
    "empty_csv": ("a.csv", b"", {}, "at least one row", "0 bytes"),
    "empty_jsonl": ("a.jsonl", b"", {}, "at least one row"),
    "empty_parquet": ("a.parquet", b"", {}, "a whole Parquet file"),
    "header_only": ("a.csv", HEADER, {}, "at least one row", "found none"),
    "no_parquet_rows": (
        "a.parquet",
        pa.schema([("text", pa.string()), ("label", pa.int64())]).empty_table(),
        {},
        "at least one row",
    ),
    "blank_header_line_only": ("a.csv", b"\n\n", {}, "at least one row"),
    "utf16": ("a.csv", "text,label\n".encode("utf-16"), {}, "UTF-16", "as UTF-8"),
    "header_no_utf8": ("a.csv", b"text,caf\xe9\n", {}, ":1: expected a header", "0xE9"),
    "header_open_quote": ("a.csv", b'"text,label\na,1\n', {}, ":1: expected a header"),
    "parquet_in_csv": ("a.csv", PARQUET, {}, "a Parquet file", ".parquet"),
    "gzip_in_csv": ("a.csv", gzip.compress(HEADER), {}, "a gzip archive", "unpack"),
    "zip_in_jsonl": ("a.jsonl", b"PK\x03\x04", {}, "a zip archive"),
    "gzip_in_text": ("a.txt", gzip.compress(HEADER), TEXT, "a gzip archive"),
    "json_in_csv": (
        "a.csv",
        b'{"text": "a", "label": 1}\n',
        {},
        "found JSON",
        ".jsonl",
    ),
    "json_array_in_csv": ("a.csv", b"[\n", {}, "found JSON"),
    "csv_in_jsonl": ("a.jsonl", HEADER + b"a,1\n", {}, "'text,label'", ".csv"),
    "array_in_jsonl": ("a.jsonl", b'[{"text": "a"}]', {}, "a JSON array", "own"),
    "tabs_in_csv": ("a.csv", b"text\tlabel\na\t1\n", {}, "by tabs", ".tsv"),
    "semicolons_in_csv": ("a.csv", b"text;label\na;1\n", {}, "by semicolons"),
    "commas_in_tsv": ("a.tsv", HEADER + b"a,1\n", {}, "by commas", ".csv"),
    "csv_in_parquet": ("a.parquet", HEADER + b"a,1\n", {}, "a whole Parquet file"),
    "truncated_parquet": ("a.parquet", parquet_bytes()[:-40], {}, "cut short"),
    "damaged_parquet": (
        "a.parquet",
        parquet_bytes()[:4] + b"\xff" * 40 + parquet_bytes()[44:],
        {},
        "damaged",
    ),
    "unknown_ending": ("a.xlsx", b"", {}, "ending in .csv", "found .xlsx"),
    "no_ending": ("a", b"", {}, "found no ending"),
    "unknown_format": ("a.csv", b"", {"file_format": "xml"}, "format 'xml'"),
    "text_has_no_labels": ("a.txt", b"a\n", {}, "expected texts with labels"),
}


@pytest.mark.parametrize(
    "name, content, arguments, words",
    [(a, b, c, d) for a, b, c, *d in BAD_FILES.values()],
    ids=BAD_FILES,
)
def test_bad_file_is_refused(tmp_path, name, content, arguments, words):
    path = written(tmp_path, name, content)

    with pytest.raises(BadFileError) as error:
        read(path, **arguments)

    assert str(error.value).startswith(path)
    for word in words:
        assert word in str(error.value)


def test_folder_missing_file_and_unreadable_file(tmp_path):
    written(tmp_path, "reviews.csv", HEADER)
    for name, words in {
        "": ["found a folder", "*.csv"],
        "review.csv": ["did you mean 'reviews.csv'?"],
        "away/reviews.csv": [f"no folder {tmp_path}/away"],
        "reviews.csv/a.csv": ["no folder"] if sys.platform == "win32" else ["found"],
    }.items():
        with pytest.raises(BadFileError) as error:
            read(str(tmp_path / name))
        for word in words:
            assert word in str(error.value)


TEXT_LINES = {
    "lines": (b"a\nb\n", [(1, "a", None), (2, "b", None)]),
    "empty_and_blank": (b"\n \r\nc", [(1, "", None), (2, " ", None), (3, "c", None)]),
    "lone_cr": (b"a\rb\r", [(1, "a", None), (2, "b", None)]),
    "byte_order_mark": (b"\xef\xbb\xbfa\n", [(1, "a", None)]),
    "commas_and_quotes": (b'a, "b\n', [(1, 'a, "b', None)]),
    "invalid": (b"a\n\xff\nc\n", [(1, "a", None), (2, None), (3, "c", None)]),
    "empty_file": (b"", []),
}


@pytest.mark.parametrize("content, expected", TEXT_LINES.values(), ids=TEXT_LINES)
def test_text_lines_each_count(tmp_path, content, expected):
    path = written(tmp_path, "a.txt", content)
    assert summary(read(path, label_field=None, allow_empty_text=True)) == expected


def test_empty_text_is_bad_unless_allowed(tmp_path):
    path = written(tmp_path, "a.txt", b"a\n\n")
    assert summary(read(path, label_field=None)) == [(1, "a", None), (2, None)]


def test_without_label_field_labels_are_not_looked_at(tmp_path):
    path = written(tmp_path, "a.csv", b"text,label\na,\n")
    assert read(path, label_field=None) == [Row("a", None, 2)]


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_where_keeps_rows_of_one_value(tmp_path, file_format):
    table = {"text": ["a", "", "c"], "label": [1, 0, 0], "source": ["x", "y", "x"]}
    rows = [dict(zip(table, row)) for row in zip(*table.values())]
    lines = {
        "csv": "text,label,source\na,1,x\n,0,y\nc,0,x\n".encode(),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "parquet": table | {"source": [b"x", b"y", b"x"]},
    }
    path = written(tmp_path, f"a.{file_format}", lines[file_format])
    assert [row.text for row in read(path, where={"source": "x"})] == ["a", "c"]


def test_blank_lines_are_told(tmp_path):
    path = written(tmp_path, "a.csv", b"\n" + HEADER + b"\na,1\n\n")
    lines = []
    read(path, on_blank_line=lines.append)
    assert lines == [1, 3, 5]


def test_stream_is_read_like_a_file_and_left_open():
    stream = io.BytesIO(HEADER + b"a,1\n")
    assert summary(read(stream, file_format="csv")) == [(2, "a", "1")]
    assert not stream.closed


def test_parquet_from_a_pipe_is_refused(tmp_path):
    path = written(tmp_path, "a.parquet", PARQUET)
    with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as process:
        with pytest.raises(BadFileError, match="found a stream"):
            read(process.stdout, file_format="parquet")


def test_rows_come_before_the_file_is_read_to_its_end():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            line = b"a,1\n" if self.started else HEADER
            self.started = True
            buffer[: len(line)] = line
            return len(line)

        started = False

    rows = read_rows(
        io.BufferedReader(Endless()),
        text_field="text",
        label_field="label",
        file_format="csv",
    )
    assert [next(rows).line for _ in range(3)] == [2, 3, 4]


def test_expand(tmp_path):
    for name in ("b.csv", "a.csv", "c.tsv", "d[1].csv"):
        written(tmp_path, name, b"")
    (tmp_path / "deep").mkdir()
    written(tmp_path / "deep", "e.csv", b"")

    def names(pattern):
        found = expand(str(tmp_path / pattern))
        return [path[len(str(tmp_path)) + 1 :] for path in found]

    assert names("a.csv") == ["a.csv"]
    assert names("[ab].csv") == ["a.csv", "b.csv"]
    assert names("d[1].csv") == ["d[1].csv"]
    assert names("**/*.csv") == ["a.csv", "b.csv", "d[1].csv", "deep/e.csv"]


def test_expand_names_what_was_looked_for(tmp_path):
    written(tmp_path, "reviews.csv", b"")
    with pytest.raises(BadFileError) as error:
        expand(str(tmp_path / "revews.csv"))
    assert "revews.csv" in str(error.value)
    assert "did you mean 'reviews.csv'?" in str(error.value)


def test_imports_neither_tensorflow_nor_pyarrow():
    command = "import sys, trainer.data.files; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"tensorflow", "keras", "pyarrow", "numpy"} & set(modules)

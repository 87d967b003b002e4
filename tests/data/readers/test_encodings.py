"""Encodings: what is read, what is asked for by name, and what is damage."""

from __future__ import annotations

import codecs
import pathlib

import pytest

from tests.data.readers.files import (
    HEADER,
    cases,
    check_bad_file,
    read,
    summary,
    written,
)
from trainer.data.readers import opening, streams
from trainer.data.readers.encodings import likely_encodings
from trainer.data.readers.rows import BadRow

FRENCH = "text,label\ntrès déçu,0\nça va,1\n"
FRENCH_ROWS = [(2, "très déçu", "0"), (3, "ça va", "1")]
CHINESE = "text,label\n很好,1\n"

MARKED = {
    # id: the file's bytes, the encoding in the sentence
    "utf8": (FRENCH.encode(), "UTF-8"),
    "utf8_mark": (FRENCH.encode("utf-8-sig"), "UTF-8 (by its byte-order mark)"),
    "utf16": (FRENCH.encode("utf-16"), "UTF-16 (by its byte-order mark)"),
    "utf16_be": (
        codecs.BOM_UTF16_BE + FRENCH.encode("utf-16-be"),
        "UTF-16 (by its byte-order mark)",
    ),
    "utf16_le_unmarked": (FRENCH.encode("utf-16-le"), "UTF-16 (by its zero bytes)"),
    "utf16_be_unmarked": (FRENCH.encode("utf-16-be"), "UTF-16 (by its zero bytes)"),
    "utf32": (FRENCH.encode("utf-32"), "UTF-32 (by its byte-order mark)"),
}


@pytest.mark.parametrize("chunk_bytes", [1, 3, 2**20])
@cases("content, words", MARKED)
def test_encoding_that_the_bytes_tell(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    chunk_bytes: int,
    content: bytes,
    words: tuple[str],
) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    settled: list[str] = []
    path = written(tmp_path, "a.csv", content)
    assert summary(read(path, on_settled=settled.append)) == FRENCH_ROWS
    (sentence,) = settled
    assert sentence.startswith(f"{path}: {words[0]}, separated by ','")


@pytest.mark.parametrize(
    "encoding", ["cp1252", "latin-1", "cp1250", "mac_roman", "utf-16-le", "utf-7"]
)
def test_encoding_that_is_named(tmp_path: pathlib.Path, encoding: str) -> None:
    text = "text,label\n" + "déjà dit,0\n".replace("à", "á")
    path = written(tmp_path, "a.csv", text.encode(encoding))
    assert summary(read(path, encoding=encoding)) == [(2, "déjá dit", "0")]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_every_text_format_has_an_encoding(tmp_path: pathlib.Path, name: str) -> None:
    content = {
        "a.csv": "text,label\ntrès,0\n",
        "a.jsonl": '{"text": "très", "label": "0"}\n',
        "a.txt": "très\n",
    }[name]
    path = written(tmp_path, name, content.encode("cp1252"))
    label = {"label_field": None} if name == "a.txt" else {}
    assert [row[1] for row in summary(read(path, encoding="cp1252", **label))] == [
        "très"
    ]
    check_bad_file(path, words=["--encoding=cp1252", "très"], **label)


def test_file_that_is_no_utf8_is_one_message_whose_mend_mends(
    tmp_path: pathlib.Path,
) -> None:
    path = written(tmp_path, "a.csv", FRENCH.encode("cp1252"))
    check_bad_file(
        path,
        words=[":2: expected UTF-8", "byte 0xE8 at byte 3", "cp1252 it reads 'très dé"],
    )
    assert summary(read(path, encoding="cp1252")) == FRENCH_ROWS


LIKELY = {
    # encoding: a text that it alone makes sense of, or first
    "cp1252": "The lamp – “très” déçu, schöne Grüße",
    "mac_roman": "très déçu, ça va déjà été",
    "cp1251": "Привет, как дела? Это хорошо",
    "koi8-r": "Привет, как дела? Это хорошо",
    "cp1253": "Καλό προϊόν, μου αρέσει",
    "cp1250": "Příliš žluťoučký kůň úpěl",
    "cp932": "これはとても良い製品です。最高",
    "gb18030": "这个产品很好，我喜欢",
    "big5": "這個產品很好，我喜歡",
}


@pytest.mark.parametrize("encoding, text", LIKELY.items(), ids=LIKELY)
def test_likely_encoding_comes_first(encoding: str, text: str) -> None:
    assert likely_encodings(text.encode(encoding))[0][0] == encoding


@pytest.mark.parametrize("encoding, text", [("cp1254", "çok teşekkürler")])
def test_other_readings_are_shown(encoding: str, text: str) -> None:
    assert dict(likely_encodings(text.encode(encoding)))[encoding] == text


DAMAGED = {
    # id: lines before the damage, the damaged line
    "among_accents": ("für mich\ngrün\nschöne Grüße\n".encode(), b"caf\xe9"),
    "in_the_middle_of_a_character": (b"plain\n", b"caf\xc3"),
    "no_letter": (b"plain\n", b"a\x81b"),
    "in_a_long_text": (b"plain\n", "日本語のテキスト".encode() + b"\xe6\x97"),
}


@cases("before, damaged", DAMAGED)
def test_damaged_line_of_a_file_in_utf8_is_a_bad_row(
    tmp_path: pathlib.Path, before: bytes, damaged: tuple[bytes]
) -> None:
    content = before + damaged[0] + b"\nlast\n"
    rows = read(written(tmp_path, "a.txt", content), label_field=None)
    *_, bad, last = rows
    assert isinstance(bad, BadRow) and bad.line == content.count(b"\n") - 1
    assert summary([last]) == [(content.count(b"\n"), "last", None)]


def test_utf8_that_is_named_makes_bad_rows_of_what_is_not(
    tmp_path: pathlib.Path,
) -> None:
    path = written(tmp_path, "a.csv", FRENCH.encode("cp1252"))
    assert summary(read(path, encoding="utf-8")) == [(2, None), (3, None)]


BAD_FILES = {
    # id: content, encoding, words
    "utf8_read_as_other": (FRENCH.encode(), "cp1252", "UTF-8 ('très déçu", "leave"),
    "other_mark": (FRENCH.encode("utf-16"), "cp1252", "byte-order mark", "leave"),
    "not_of_it": (HEADER + b"a,1\ncaf\x81,1\n", "cp1252", ":3: expected cp1252"),
    "not_of_it_many_bytes": (
        CHINESE.encode("gb18030") + b"\xff\xff\n",
        "gb18030",
        ":3: expected gb18030",
    ),
    "no_mark": (
        FRENCH.encode("utf-16-le"),
        "UTF16",
        "UTF16 with a byte-order mark",
        "--encoding=utf-16-le or utf-16-be",
    ),
    "cut_short": (FRENCH.encode("utf-16")[:-1], "utf-16", ":3: expected utf-16"),
}


@cases("content, encoding, words", BAD_FILES)
def test_file_that_is_not_in_the_encoding_that_is_named(
    tmp_path: pathlib.Path, content: bytes, encoding: str, words: tuple[str, ...]
) -> None:
    path = written(tmp_path, "a.csv", content)
    check_bad_file(path, words=words, encoding=encoding)


def test_parquet_has_no_other_encoding(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, "a.parquet", {"text": ["a"], "label": [1]})
    check_bad_file(path, words=["leave --encoding away"], encoding="cp1252")
    assert read(path, encoding="auto")


@pytest.mark.parametrize("chunk_bytes", [1, 4, 11])
def test_line_numbers_count_every_line_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(streams, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(opening, "HEAD_BYTES", chunk_bytes)
    content = b"text,label\r\na,1\r\n\rb,0\nc,1\ntr\xe8s,0\n"
    check_bad_file(written(tmp_path, "a.csv", content), words=[":6: expected UTF-8"])

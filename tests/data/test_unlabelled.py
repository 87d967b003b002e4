"""Texts without labels: which are read, and which are left out."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import DataConfig
from trainer.data import unlabelled
from trainer.data.duplicates import normalized_digests
from trainer.data.unlabelled import Unlabelled


def digests_of(*texts: str) -> np.ndarray:
    """Of the normal forms: uint8 [n, 32]."""
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    return normalized_digests(array)


def read(
    *files: pathlib.Path, held_out: tuple[str, ...] = (), **settings: Any
) -> Unlabelled:
    """The texts of some files."""
    spec = "files:" + ",".join(map(str, files))
    return unlabelled.of_files(
        spec,
        DataConfig(dataset="files:a.csv", **settings),
        held_out=digests_of(*held_out) if held_out else np.empty([0, 32], np.uint8),
    )


def texts_of(read: Unlabelled) -> list[str]:
    """Those that are to be used."""
    result: list[str] = read.texts.take(read.rows).to_pylist()
    return result


def test_files_of_several_formats(tmp_path: pathlib.Path) -> None:
    """Whose labels, if they have some, are not looked at."""
    lines, table, objects = (tmp_path / f"u{end}" for end in (".txt", ".csv", ".jsonl"))
    lines.write_text("one\n\n  \ntwo\n")
    table.write_text("id;text\n1;three\n2;\n")
    objects.write_text('{"text": "four", "label": "?"}\n')
    # Named for the table of the labelled texts, which others have no use for.
    found = read(lines, table, objects)
    assert texts_of(found) == ["one", "two", "three", "four"]
    assert (found.facts.num_read, found.facts.num_blank) == (7, 3)
    assert read(lines, column_names=("label", "text")).facts.num_read == 4
    assert found.fingerprint() == read(lines, table, objects).fingerprint()
    assert found.fingerprint() != read(lines, table).fingerprint()


def test_held_out_texts_are_left_out_in_any_writing(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.txt"
    file.write_text("A fine  film.\nAnother one.\na FINE film.\n")
    found = read(file, held_out=("a fine film.", "unheard of"))
    assert texts_of(found) == ["Another one."]
    assert (found.facts.num_read, found.facts.num_held_out) == (3, 2)


def test_none_left_is_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.txt"
    file.write_text("A fine film.\n\n")
    expected = (
        "--pretrain_steps must have texts to read. Received: none of 2 from "
        f"files:{file}: 1 are validation or test texts, 1 are blank; name other texts"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        read(file, held_out=("a fine film.",))


def test_bad_rows_are_named_or_counted(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.jsonl"
    file.write_text('{"text": "one"}\n{"text": 7}\n')
    with pytest.raises(
        ValueError, match=r"(?s)1 bad row of --pretrain_dataset.*u.jsonl:2"
    ):
        read(file)
    found = read(file, bad_rows="skip")
    assert texts_of(found) == ["one"] and found.facts.num_skipped == 1


def test_other_schemes_are_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "u.txt"
    file.write_text("one\n")
    for spec, words in (
        ("tfds:imdb", "files:PATHS_OR_GLOBS. Received: 'tfds:imdb'"),
        (str(file), f"did you mean files:{file}"),
        ("files:", "files:PATHS_OR_GLOBS"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            unlabelled.of_files(
                spec,
                DataConfig(dataset="files:a.csv"),
                held_out=np.empty([0, 32], np.uint8),
            )
    with pytest.raises(ValueError, match="expected a file of this name"):
        read(tmp_path / "none.txt")

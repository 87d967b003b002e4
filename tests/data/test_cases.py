"""Everyday files, in the shape in which people bring them, and what is made of each.

A file that is refused names a mend, and the mend mends: its flags stand beside it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Mapping

import pytest

from trainer.config import DataConfig
from trainer.data import sources

CASES = pathlib.Path(__file__).parent.parent / "testdata" / "cases"
BOTH = {"negative": 4, "positive": 4}


@dataclasses.dataclass(frozen=True)
class Read:
    """What is read of a case.

    Attributes:
      counts: rows by class, the classes in order.
      settled: words that the sentences on the files, and the notes, hold.
    """

    counts: Mapping[str, int]
    settled: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Refused:
    """What the message of a refused case holds, and the settings that it asks for.

    Attributes:
      words: all in the message.
      absent: words that would lead astray.
      mend: settings that the message names; with them the case is read.
      then: what is read then.
    """

    words: tuple[str, ...]
    absent: tuple[str, ...] = ()
    mend: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    then: Read | None = None


CASE_TABLE: Mapping[str, tuple[Mapping[str, Any], Read | Refused]] = {
    "array-of-objects.json": ({}, Read(BOTH)),
    "encoding-cp1252.csv": (
        {},
        Refused(
            ("cp1252", "--encoding=cp1252"),
            absent=("--bad_rows=skip",),
            mend={"encoding": "cp1252"},
            then=Read(BOTH, ("cp1252",)),
        ),
    ),
    "folder:folder-per-class/train": (
        {},
        Read({"neg": 3, "pos": 3}, ("unsup",)),
    ),
    "label-boolean.jsonl": ({}, Read({"False": 4, "True": 4})),
    "label-list-of-one.jsonl": ({}, Read(BOTH)),
    "label-multihot-list-as-string.csv": (
        {"label_field": "labels"},
        Refused(("several labels a text need --task=multi_label",)),
    ),
    "label-object-of-scores.jsonl": (
        {"label_field": "cats"},
        Read({"NEGATIVE": 4, "POSITIVE": 4}),
    ),
    "label-with-zero-width-space.csv": ({}, Read(BOTH)),
    "label-word-for-missing.csv": (
        {},
        Refused(
            (
                "nan",
                "N/A",
                "missing",
                ":4",
                ":8",
                "--bad_rows=skip",
                "--label_names",
            ),
            mend={"bad_rows": "skip"},
            then=Read({"negative": 4, "positive": 2}),
        ),
    ),
    "labels-from-1-with-names.csv": (
        {
            "label_field": "Class Index",
            "text_field": "Description",
            "label_names": ("World", "Sports", "Business", "Sci/Tech"),
        },
        Refused(
            ("1=World",),
            absent=("--bad_rows=skip",),
            mend={
                "label_names": ("1=World", "2=Sports", "3=Business", "4=Sci/Tech"),
            },
            then=Read({"World": 2, "Sports": 2, "Business": 2, "Sci/Tech": 2}),
        ),
    ),
    "labels-int-in-one-shard-float-in-other/*.csv": ({}, Read({"0": 4, "1": 4})),
    "no-header-six-columns-label-0-4.csv": (
        {},
        Refused(
            ("header", "--column_names"),
            mend={
                "column_names": ("label", "id", "date", "query", "user", "text"),
                "label_names": ("0=negative", "4=positive"),
            },
            then=Read(BOTH),
        ),
    ),
    "one-json-object-over-lines.jsonl": ({}, Read({"negative": 1, "positive": 2})),
    "one-shard-is-empty/*.csv": (
        {},
        Read(BOTH, ("part-2.csv",)),
    ),
    "quotes-escaped-by-backslash.csv": ({}, Refused(("backslash",))),
    "semicolons-decimal-comma-locale.csv": ({}, Read(BOTH, ("';'",))),
    "space-after-comma.csv": ({}, Read(BOTH)),
    "stray-quote-closed-rows-later.tsv": ({}, Read({"negative": 3, "positive": 4})),
    "table.csv.gz": ({}, Read(BOTH)),
    "text-pair.csv": (
        {"text_field": "premise"},
        Read({"contradiction": 2, "entailment": 3, "neutral": 3}, ("hypothesis",)),
    ),
}


def load(case: str, settings: Mapping[str, Any]) -> sources.Sources:
    """Reads a case by its name."""
    scheme, _, name = case.rpartition(":")
    dataset = f"{scheme or 'files'}:{CASES / name}"
    return sources.load(DataConfig(dataset=dataset, **settings))


def check(read: sources.Sources, right: Read) -> None:
    """Counts and sentences are those that are right."""
    labels = read.splits["train"].labels
    counts = {
        name: int((labels == number).sum())
        for number, name in enumerate(read.label_names)
    }
    assert counts == dict(right.counts)
    assert list(counts) == list(right.counts)
    files = read.facts["splits"]["train"]["files"]
    said = " ".join([*(file["settled"] for file in files), *read.facts["notes"]])
    for words in right.settled:
        assert words in said


@pytest.mark.parametrize("case", CASE_TABLE)
def test_a_case(case: str) -> None:
    settings, right = CASE_TABLE[case]
    if isinstance(right, Read):
        check(load(case, settings), right)
        return
    with pytest.raises(ValueError) as refused:
        load(case, settings)
    message = str(refused.value)
    for words in right.words:
        assert words in message
    for words in right.absent:
        assert words not in message
    if right.then:
        check(load(case, {**settings, **right.mend}), right.then)


def test_texts_are_whole() -> None:
    """No text lost a quote, a comma or an accent, and none swallowed a row."""
    spaced = load("space-after-comma.csv", {}).splits["train"].texts.to_pylist()
    assert spaced[0] == "The lamp works well so far, twice"
    accents = load("encoding-cp1252.csv", {"encoding": "cp1252"}).splits["train"]
    assert "“très” déçu" in accents.texts[0].as_py()
    stray = load("stray-quote-closed-rows-later.tsv", {}).splits["train"]
    assert not any("positive" in text for text in stray.texts.to_pylist())
    assert stray.texts[2].as_py().endswith("Great screen for the price")


def test_every_case_is_in_the_table() -> None:
    named = {name.rpartition(":")[2].split("/")[0] for name in CASE_TABLE}
    # Of `trainer.predict`, tested there.
    assert {path.name for path in CASES.iterdir()} == named | {"predict-keep-id.csv"}

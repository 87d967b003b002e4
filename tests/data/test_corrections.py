"""--corrections: reviewed labels, applied to the texts that they are of and no others."""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import pytest

from tests.data import datasets
from trainer.data.sources import Sources

ROWS = [
    ("fine", "good"),
    ("dull", "good"),
    ("poor", "bad"),
    ("dull", "good"),
    ("x", "bad"),
]


def correction(text: str, label: str, verdict: str, **more: Any) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"digest": digest, "label": label, "verdict": verdict, **more}


def write(folder: pathlib.Path, *lines: Any) -> str:
    path = folder / "corrections.jsonl"
    text = "".join(
        f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines
    )
    path.write_text(text, encoding="utf-8")
    return str(path)


def load(folder: pathlib.Path, *lines: Any, rows: Any = ROWS) -> Sources:
    dataset = datasets.written(folder, "a", *rows)
    return datasets.load(dataset, corrections=write(folder, *lines))


def rows_of(read: Sources) -> list[tuple[str, str]]:
    data = read.splits["train"]
    return list(zip(data.texts.to_pylist(), datasets.classes(data)))


def test_labels_are_changed_and_rows_dropped(tmp_path: pathlib.Path) -> None:
    read = load(
        tmp_path,
        correction("dull", "good", "relabel", new_label="bad", file="a", line=9),
        correction("x", "bad", "drop"),
        "",
        correction("fine", "good", "keep"),
    )

    assert rows_of(read) == [
        ("fine", "good"),
        ("dull", "bad"),
        ("poor", "bad"),
        ("dull", "bad"),
    ]
    assert [read.splits["train"].places.of(row)[1] for row in range(4)] == [1, 2, 3, 4]
    facts = read.facts["corrections"]
    assert (
        facts.pop("sha256")
        == hashlib.sha256((tmp_path / "corrections.jsonl").read_bytes()).hexdigest()
    )
    assert facts == {
        "file": str(tmp_path / "corrections.jsonl"),
        "num_kept": 1,
        "num_relabelled": 1,
        "num_dropped": 1,
    }
    assert read.facts["splits"]["train"]["num_rows"] == 4
    assert len(read.reviewed) == 3


def test_lines_may_move(tmp_path: pathlib.Path) -> None:
    lines = [correction("dull", "good", "relabel", new_label="bad", file="a", line=2)]

    read = load(tmp_path, *lines, rows=ROWS[::-1])

    assert sorted(set(rows_of(read))) == [
        ("dull", "bad"),
        ("fine", "good"),
        ("poor", "bad"),
        ("x", "bad"),
    ]


def test_of_a_text_with_two_labels_the_one_that_was_reviewed(
    tmp_path: pathlib.Path,
) -> None:
    rows = [*ROWS, ("fine", "bad")]

    read = load(tmp_path, correction("fine", "bad", "drop"), rows=rows)

    assert rows_of(read) == ROWS


GOOD = correction("dull", "good", "relabel", new_label="bad")


@pytest.mark.parametrize(
    ("lines", "line", "words", "mended"),
    [
        (["{"], 1, "a JSON object a line", []),
        (["[1]"], 1, "digest must be the SHA-256", []),
        ([GOOD | {"digest": "abc"}], 1, "64 digits", [GOOD]),
        ([GOOD, GOOD], 2, "one line a text", [GOOD]),
        ([GOOD | {"verdict": "delete"}], 1, "keep, relabel, drop", [GOOD]),
        ([GOOD | {"new_label": "Bad"}], 1, "did you mean 'bad'", [GOOD]),
        ([GOOD | {"label": "fine"}], 1, "one of the classes bad, good", [GOOD]),
        ([GOOD | {"newlabel": "bad"}], 1, "did you mean 'new_label'", [GOOD]),
        ([GOOD | {"verdict": "keep"}], 1, "for the verdict relabel", [GOOD]),
        (["", correction("none", "bad", "drop")], 2, "that the data hold", []),
        ([correction("fine", "bad", "drop")], 1, "is 'good' by now", []),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: pathlib.Path, lines: list[Any], line: int, words: str, mended: list[Any]
) -> None:
    with pytest.raises(ValueError) as refused:
        load(tmp_path, *lines)

    assert f"corrections.jsonl:{line}: " in str(refused.value)
    assert words in str(refused.value)
    # As the message says.
    load(tmp_path, *mended)


def test_a_file_that_is_not_there(tmp_path: pathlib.Path) -> None:
    dataset = datasets.written(tmp_path, "a", *ROWS)
    with pytest.raises(ValueError, match="must be a file"):
        datasets.load(dataset, corrections=str(tmp_path / "none.jsonl"))


def test_a_split_keeps_a_row(tmp_path: pathlib.Path) -> None:
    lines = [correction(text, label, "drop") for text, label in dict.fromkeys(ROWS)]
    with pytest.raises(ValueError, match="must have rows that can be used"):
        load(tmp_path, *lines)

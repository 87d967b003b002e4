"""Which texts are worth a label, and that the file of them is read as it is."""

from __future__ import annotations

import csv
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.duplicates import normalized_digests
from trainer.data.places import Places
from trainer.data.unlabelled import ReadTexts
from trainer.evaluation import to_label
from trainer.evaluation.to_label import Candidates, Chosen, Layout

WORDS = "alder birch cedar elm fir gorse hazel ivy juniper kauri larch maple".split()


def strings(texts: list[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.large_string())])


def unlike(count: int) -> pa.ChunkedArray:
    """Texts that share no run of words."""
    return strings([f"{WORDS[i % 12]} {i} {WORDS[i // 12 % 12]}" for i in range(count)])


def places_of(count: int) -> Places:
    return Places(("new.txt",), np.zeros(count, np.int32), np.arange(1, count + 1))


def badge(gradients: np.ndarray, count: int, seed: int) -> list[int]:
    """Ash et al.'s choice, of gradients as they stand, with the origin drawn before."""
    generator = np.random.default_rng(seed)
    rows = [int(np.argmax((gradients**2).sum(axis=1)))]
    while len(rows) < count:
        drawn = np.concatenate([np.zeros_like(gradients[:1]), gradients[rows]])
        apart = ((gradients[:, None] - drawn) ** 2).sum(axis=2).min(axis=1)
        ends = np.cumsum(apart)
        rows.append(int((ends <= generator.random() * ends[-1]).sum()))
    return rows


@pytest.mark.parametrize("several", [False, True], ids=["one_label", "several"])
def test_choice_is_that_of_gradients_by_the_head(several: bool) -> None:
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(90, 5)).astype(np.float32)
    logits = generator.normal(size=(90, 3)) * 2
    if several:
        probabilities = 1 / (1 + np.exp(-logits))
        answers = probabilities >= 0.5
        targets = answers.astype(float)
    else:
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        answers = probabilities.argmax(axis=1)
        targets = np.eye(3)[answers]
    residuals = probabilities - targets
    gradients = (residuals[:, :, None] * vectors[:, None, :]).reshape(90, -1)

    chosen = to_label.choose(
        vectors, probabilities, answers, unlike(90), count=25, seed=4
    )

    assert chosen.rows.tolist() == badge(gradients.astype(np.float64), 25, seed=4)
    assert chosen.num_near_copies == 0


def test_doubt_and_spread() -> None:
    """Three kinds of texts in doubt, one of them a hundred times as frequent."""
    directions = np.repeat(np.eye(4), [200, 200, 2, 2], axis=0)
    doubt = np.repeat([0.001, 0.45, 0.45, 0.45], [200, 200, 2, 2])
    noise = np.random.default_rng(0).normal(size=(404, 4)) * 0.01
    chosen = to_label.choose(
        directions + noise,
        np.stack([1 - doubt, doubt], axis=1),
        np.zeros(404, np.int64),
        unlike(404),
        count=3,
        seed=0,
    )
    kinds = [int(np.repeat(range(4), [200, 200, 2, 2])[row]) for row in chosen.rows]
    # By doubt alone it would be the second kind; by chance the first two.
    assert sorted(kinds) == [1, 2, 3]


def test_copies_teach_once() -> None:
    story = "one fine day the bear went over the hill to see what he could see"
    texts = [f"{story} {end}" for end in ("", "there", "then")] + ["gorse", "hazel"]
    vectors = np.array([[1, 0], [1, 0.3], [1, 0.6], [0, 1], [0, 1]], np.float32)
    chosen = to_label.choose(
        vectors,
        np.full((5, 2), 0.5),
        np.zeros(5, np.int64),
        strings(texts),
        count=5,
        seed=0,
    )
    # Of the last two the vectors are the same: nothing tells what the second would teach.
    assert sorted(min(row, 3) for row in chosen.rows if row > 2) == [3]
    assert len(chosen.rows) == 2 and chosen.num_near_copies == 2


def test_a_model_without_doubt_asks_nothing_twice() -> None:
    sure = np.tile([1.0, 0.0], (6, 1))
    chosen = to_label.choose(
        np.eye(6), sure, np.zeros(6, np.int64), unlike(6), count=3, seed=0
    )
    assert len(chosen.rows) == 0


def test_candidates_are_new_and_each_once(caplog: Any) -> None:
    texts = strings(["Good film.", "good  FILM.", "Bad film.", "elm", "fir", "ivy"])
    read = ReadTexts(texts, places_of(6), 0, 0)
    known = to_label.known_numbers(normalized_digests(strings(["BAD film."])))
    found = to_label.candidates(read, known, flag="unlabelled")
    assert found.texts.to_pylist() == ["Good film.", "elm", "fir", "ivy"]
    assert found.places.lines.tolist() == [1, 4, 5, 6] and found.num_known == 1
    few = to_label.candidates(read, known, flag="unlabelled", limit=2)
    assert few.texts.to_pylist() == ["Good film.", "ivy"]
    assert "of 4 texts 2 are read" in caplog.text
    everything = to_label.known_numbers(normalized_digests(texts))
    with pytest.raises(ValueError, match="--unlabelled must .* 6 texts, 6 of them"):
        to_label.candidates(read, everything, flag="unlabelled")


HARD = [
    'He said "no" \\ twice',
    'ends in \\"',
    "two\nlines, and, commas",
    "=1+1",
    "naïve 🎬",
]
READ_BY: dict[str, dict[str, Any]] = {
    "as_it_is": {},
    "backslashes": {"escape": "backslash"},
    "doubled": {"escape": "doubled"},
    "other_columns": {"text_field": "review", "label_field": "score"},
    "several_columns": {"text_field": "title,body"},
    "tags": {"task": "multi_label", "label_separator": "|"},
    "a_column_a_label": {"task": "multi_label", "label_field": "bad,good"},
}


@pytest.mark.parametrize("settings", READ_BY.values(), ids=READ_BY)
def test_filled_in_it_is_read_as_it_is(
    settings: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    place = tmp_path / "to_label.csv"
    config = DataConfig(dataset=f"files:{place}", test_one_in=0, **settings)
    is_escaped = config.escape == "backslash"
    to_label.write(
        str(place),
        Chosen(np.array([3, 0, 4, 1, 2]), 0),
        Candidates(strings(HARD), places_of(5), 0),
        answers=["good"] * 5,
        scores=np.linspace(0.5, 0.9, 5),
        layout=Layout(config.text_field, config.label_field, config.escape),
    )
    style: dict[str, Any] = (
        {"doublequote": False, "escapechar": "\\"} if is_escaped else {}
    )
    with open(place, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, **style))
    labels = [name.strip() for name in config.label_field.split(",")]
    assert all(row[name] == "" for row in rows for name in labels)
    for number, row in enumerate(rows):
        row |= dict.fromkeys(labels, str(number % 2) if len(labels) > 1 else "good")
        if len(labels) == 1 and number % 2:
            row[labels[0]] = "bad"
    with open(place, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **style)
        writer.writeheader()
        writer.writerows(rows)

    read = sources.load(config).splits["train"].texts.to_pylist()

    assert read == [HARD[row] for row in (3, 0, 4, 1, 2)]
    if labels == ["label"]:
        assert [row["file"] for row in rows] == ["new.txt"] * 5
        assert [row["line"] for row in rows] == ["4", "1", "5", "2", "3"]
        assert rows[0]["why"] == "80% sure; surer of 1 of 5 texts"
        assert rows[0]["rank"] == "1" and rows[0]["answer"] == "good"


def test_labels_that_are_there_are_not_written_over(tmp_path: pathlib.Path) -> None:
    place = tmp_path / "mine.csv"
    place.write_text("text,label\nfine,good\n")
    with pytest.raises(ValueError, match="must be a new file"):
        to_label.check_place(str(place))
    to_label.check_place(str(tmp_path / "new.csv"))
    with pytest.raises(OSError):
        to_label.check_place("/proc/new.csv")

"""Tests of trainer/data/held_out.py: rare labels, and how little an added row moves."""

from __future__ import annotations

import hashlib
import csv
import pathlib
import shlex
from typing import Sequence

import numpy as np
import pytest

from tests.data.datasets import load, written
from trainer.config import DataConfig
from trainer.data import held_out, splits
from trainer.data.held_out import MIN_TRAIN_TEXTS

ONE_IN = {"test": 3, "validation": 3}


def digests(texts: Sequence[str]) -> np.ndarray:
    hashes = [hashlib.sha256(text.encode()).digest() for text in texts]
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)


def sides(
    texts: Sequence[str], labels: Sequence[int], units: Sequence[str] | None = None
) -> list[str]:
    """The split of each row."""
    shares = held_out.by_unit(
        digests(units or texts), digests(texts), np.array(labels, np.int32), ONE_IN
    )
    together = np.stack(list(shares.values()))
    assert (together.sum(axis=0) == 1).all()
    return [list(shares)[number] for number in together.argmax(axis=0)]


def num_train_texts(
    texts: Sequence[str], labels: Sequence[int], found: Sequence[str]
) -> dict[int, int]:
    """Different training texts by label."""
    pairs = {(x, y) for x, y, side in zip(texts, labels, found) if side == "train"}
    return {label: sum(y == label for _, y in pairs) for label in set(labels)}


def random_rows(seed: int) -> tuple[list[str], list[int]]:
    """Rows of labels of all sizes, some texts with copies, some with two labels."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 6, 8, 20, 80])
    texts = [f"{seed} {i}" for i in generator.integers(200, size=len(labels))]
    return texts, labels.tolist()


@pytest.mark.parametrize("seed", range(60))
def test_a_label_keeps_its_first_texts(seed: int) -> None:
    texts, labels = random_rows(seed)
    found = sides(texts, labels)
    kept = num_train_texts(texts, labels, found)
    for label, number in kept.items():
        num_texts = len({x for x, y in zip(texts, labels) if y == label})
        assert number >= min(MIN_TRAIN_TEXTS, num_texts)
    assert {"test", "validation"} < set(found)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_returns_that_is_not_needed(seed: int) -> None:
    """Without a label that needs it, the hash alone decides."""
    texts, labels = random_rows(seed)
    needing = []
    by_hash = ["train"] * len(texts)
    for row, digest in enumerate(digests(texts)):
        salted = hashlib.sha256(b"validation:" + digest.tobytes()).hexdigest()
        if int(digest.tobytes().hex()[:8], 16) % 3 == 0:
            by_hash[row] = "test"
        elif int(salted[:8], 16) % 3 == 0:
            by_hash[row] = "validation"
    left = num_train_texts(texts, labels, by_hash)
    needing = [label for label, number in left.items() if number < MIN_TRAIN_TEXTS]
    texts_of_needing = {x for x, y in zip(texts, labels) if y in needing}
    for text, was, side in zip(texts, by_hash, sides(texts, labels)):
        assert side == was or (side == "train" and text in texts_of_needing)


@pytest.mark.parametrize("seed", range(40))
def test_an_added_row_moves_one_text_of_its_label_at_most(seed: int) -> None:
    labels = [0] * 40 + [1] * (seed % 12 + 1)
    texts = [f"{seed} {row}" for row in range(len(labels))]
    before = sides(texts, labels)
    for number in range(10):
        after = sides([*texts, f"new {number}"], [*labels, 1])[:-1]
        moved = [row for row, pair in enumerate(zip(before, after)) if len({*pair}) > 1]
        assert len(moved) <= 1 and all(labels[row] == 1 for row in moved)
        # To a label that has enough, nothing happens.
        assert sides([*texts, f"new {number}"], [*labels, 0])[:-1] == before


@pytest.mark.parametrize("seed", range(40))
def test_rare_labels_keep_whole_groups(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = [0] * 60 + [1] * 12 + [2] * 3
    texts = [f"{seed} {row}" for row in range(75)]
    units = [f"group {seed} {i}" for i in generator.integers(15, size=75)]
    found = sides(texts, labels, units)
    assert len(set(zip(units, found))) == len(set(units))
    kept = num_train_texts(texts, labels, found)
    assert kept[0] >= 5 and kept[1] >= 5 and kept[2] == 3


def test_the_order_of_rows_does_not_matter() -> None:
    texts, labels = random_rows(3)
    found = sides(texts, labels)
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = sides([texts[i] for i in order], [labels[i] for i in order])
    assert shuffled == [found[i] for i in order]


def splits_of(dataset: str, **settings: object) -> dict[str, splits.Split]:
    read = load(dataset, **settings)
    config = DataConfig(dataset=dataset, **settings)  # type: ignore[arg-type]
    return splits.make_splits(read, config=config, seed=0)[1]


ROWS = [(f"text {row}", ("a", "b")[row % 2]) for row in range(100)]


def test_a_label_of_one_text_is_refused_and_the_mend_mends(
    tmp_path: pathlib.Path,
) -> None:
    dataset = written(tmp_path, "rows", *ROWS, ("Typo.", "bb"), (" typo. ", "bb"))
    with pytest.raises(ValueError) as caught:
        splits_of(dataset)
    assert str(caught.value) == (
        "each label must have at least two different texts, one to train on and one "
        f"to hold out. Received: a single text of 'bb' ({tmp_path}/rows.jsonl:101); "
        "add texts of that label, mend it, or take the row out; or leave it out with "
        "--label_names=a,b --bad_rows=skip"
    )
    mended = splits_of(dataset, label_names=("a", "b"), bad_rows="skip")
    assert sum(map(len, mended.values())) == 100
    # Nothing is shared out: there is nothing to lose.
    assert list(splits_of(dataset, test_one_in=0, validation_one_in=0)) == ["train"]
    more = written(tmp_path, "more", *ROWS, ("Typo.", "bb"), ("Another.", "bb"))
    assert len(splits_of(more)) == 3


def test_the_mend_of_a_lone_label_can_be_copied_into_a_shell(
    tmp_path: pathlib.Path,
) -> None:
    names = ("so, so", "it's")
    rows = [(text, {"a": names[0], "b": names[1]}[label]) for text, label in ROWS]
    dataset = written(tmp_path, "rows", *rows, ("Typo.", "bb"))
    with pytest.raises(ValueError) as caught:
        splits_of(dataset)
    mend = str(caught.value).partition("leave it out with ")[2]
    flag, skip = shlex.split(mend)
    assert skip == "--bad_rows=skip"
    (found,) = csv.reader([flag.removeprefix("--label_names=")])
    assert set(found) == set(names)
    mended = splits_of(dataset, label_names=tuple(found), bad_rows="skip")
    assert sum(map(len, mended.values())) == len(ROWS)


@pytest.mark.parametrize(
    "rows, settings",
    [
        # Where names are given, a label may be a position among them.
        ([*ROWS, ("c", "c")], dict(label_names=("a", "b", "c"))),
        # One label would be left.
        ([*ROWS[::2], ("c", "c")], {}),
        # The flag renames by "=".
        ([*ROWS, ("c", "c"), ("d", "d=e"), ("e", "d=e")], {}),
    ],
    ids=["named", "two", "equals sign"],
)
def test_no_mend_that_does_not_mend(
    rows: list[tuple[str, str]], settings: dict[str, object], tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match="'c'.*take the row out$"):
        splits_of(written(tmp_path, "rows", *rows), **settings)


def test_many_labels_of_one_text_are_counted(tmp_path: pathlib.Path) -> None:
    rows = [(f"lone {row}", f"c{row}") for row in range(9)]
    with pytest.raises(ValueError, match=r"'c4' \(.*:105\), \.\.\.; add"):
        splits_of(written(tmp_path, "rows", *ROWS, *rows))

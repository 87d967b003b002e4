"""Tests of trainer/data/folds.py, and of the splits of a fold in splits.py."""

from __future__ import annotations

import re
from typing import Any, Sequence

import numpy as np
import pyarrow as pa
import pytest

from trainer.config import DataConfig
from trainer.data import places, splits
from trainer.data.sources import Sources, TextDataset
from trainer.stages import prepare

NUM_FOLDS = 5


def sources(
    texts: Sequence[str],
    labels: Sequence[int],
    groups: Sequence[str] | None = None,
    **others: Sources,
) -> Sources:
    """Texts of the labels "a", "b", ... ; `others`: splits that are brought along."""
    names = tuple("abcdefgh"[: max(2, max(labels) + 1)])
    data = TextDataset(
        texts=pa.chunked_array([pa.array(texts, pa.large_string())]),
        labels=np.array(labels, np.int32),
        label_names=names,
        places=places.unknown(len(texts)),
        groups=groups and pa.chunked_array([pa.array(groups, pa.large_string())]),
    )
    brought = {name: each.splits["train"] for name, each in others.items()}
    return Sources({"train": data} | brought, names, {"notes": [], "splits": {}})


def numbered_texts(count: int, *, start: int = 0) -> list[str]:
    return [f"text number {number}" for number in range(start, start + count)]


def config(**changes: Any) -> DataConfig:
    return DataConfig(dataset="files:a.csv", **{"num_folds": NUM_FOLDS} | changes)


LABELS = [0] * 60 + [1] * 33 + [2] * 7
TEXTS = numbered_texts(len(LABELS))


def test_each_fold_has_its_share_of_each_label() -> None:
    folds = splits.folds_of(sources(TEXTS, LABELS), config())
    assert np.ptp(np.bincount(folds, minlength=NUM_FOLDS)) <= 1
    for label in range(3):
        counts = np.bincount(folds[np.array(LABELS) == label], minlength=NUM_FOLDS)
        assert np.ptp(counts) <= 1


def test_the_order_of_the_rows_is_no_matter() -> None:
    order = np.random.default_rng(0).permutation(len(TEXTS))
    folds = splits.folds_of(sources(TEXTS, LABELS), config())
    shuffled = splits.folds_of(
        sources([TEXTS[row] for row in order], [LABELS[row] for row in order]),
        config(),
    )
    np.testing.assert_array_equal(shuffled, folds[order])


def test_the_hash_deals_and_not_the_text() -> None:
    """Texts in their alphabet are in no order of folds."""
    folds = splits.folds_of(sources(sorted(TEXTS), [0] * 50 + [1] * 50), config())
    steps = np.diff(folds) % NUM_FOLDS
    assert len(np.unique(steps)) == NUM_FOLDS


def test_copies_are_on_one_side_and_a_text_of_two_labels_is_dealt_once() -> None:
    copies = [f"  {text.upper()}" for text in TEXTS[:20]]
    labels = [*LABELS, *[1] * 20]
    folds = splits.folds_of(sources([*TEXTS, *copies], labels), config())
    np.testing.assert_array_equal(folds[len(TEXTS) :], folds[:20])
    # The shares count texts, not rows.
    assert np.ptp(np.bincount(folds[: len(TEXTS)], minlength=NUM_FOLDS)) <= 1


def test_groups_are_on_one_side() -> None:
    groups = [f"film {number % 23}" for number in range(len(TEXTS))]
    folds = splits.folds_of(sources(TEXTS, LABELS, groups), config(group_field="film"))
    of_group: dict[str, set[int]] = {}
    for group, fold in zip(groups, folds.tolist()):
        of_group.setdefault(group, set()).add(fold)
    assert all(len(folds) == 1 for folds in of_group.values())
    assert {fold for folds in of_group.values() for fold in folds} == set(range(5))


def test_the_splits_of_all_folds() -> None:
    """Each row is in one test split, and never beside it in training or validation."""
    tested = np.zeros(len(TEXTS), int)
    for fold in range(NUM_FOLDS):
        pool, parts = splits.make_splits(
            sources(TEXTS, LABELS), config=config(fold=fold), seed=0
        )
        assert set(parts) == {"train", "validation", "test"}
        rows = np.concatenate([part.rows for part in parts.values()])
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(TEXTS)))
        assert 0 < len(parts["validation"]) < len(parts["test"])
        tested[parts["test"].rows] += 1
        assert pool.texts[0].as_py() == TEXTS[0]
    assert (tested == 1).all()


def test_validation_is_the_share_that_the_hash_says() -> None:
    """The same texts as without folds, but for those of the fold and of few labels."""
    texts, labels = numbered_texts(400), [0, 1] * 200
    _, plain = splits.make_splits(
        sources(texts, labels), config=DataConfig(dataset="files:a.csv", test_one_in=0),
        seed=0,
    )  # fmt: skip
    _, parts = splits.make_splits(sources(texts, labels), config=config(fold=2), seed=0)
    expected = np.setdiff1d(plain["validation"].rows, parts["test"].rows)
    np.testing.assert_array_equal(parts["validation"].rows, expected)


def test_what_is_brought_along() -> None:
    """A validation set is used for all folds; a test set is no fold, and said so."""
    held_out = sources(numbered_texts(9, start=900), [0, 1, 2] * 3)
    read = sources(TEXTS, LABELS, validation=held_out, test=held_out)
    pool, parts = splits.make_splits(read, config=config(fold=0), seed=0)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [80, 9, 20]
    assert len(pool) == 109
    texts = prepare.read_texts(config(fold=0), seed=0, load=lambda _: read)
    assert texts.source_facts["notes"] == [
        "test is fold 0 of 5 (from 0)",
        "the test set that the data set brings along is left out: it is no fold",
    ]


def test_fewer_texts_of_a_label_than_folds_are_named() -> None:
    with pytest.raises(ValueError, match="--num_folds=8 different texts") as caught:
        splits.folds_of(sources(TEXTS, LABELS), config(num_folds=8))
    assert "Received: 7 of 'c'; give --num_folds=7 or less" in str(caught.value)
    splits.folds_of(sources(TEXTS, LABELS), config(num_folds=7))


def test_a_fold_that_leaves_no_validation_is_named_before_any_run() -> None:
    read = sources(TEXTS[:60], LABELS[:30] + [1] * 30)
    with pytest.raises(ValueError, match="validation split must have") as caught:
        splits.folds_of(read, config(validation_one_in=1000))
    assert "--num_folds=5 --fold=0 and --validation_one_in=1000" in str(caught.value)
    splits.folds_of(read, config(validation_one_in=0))


@pytest.mark.parametrize(
    ("groups", "rule", "mend"),
    [
        (["one"] * 100, "Received: 1 group; name another column", {}),
        (["x", "y", "z", "x"] * 25, "Received: 3 groups; give --num_folds=3 or less",
         {"num_folds": 3}),
        ([f"{n % 10}" if n < 93 else "last" for n in range(100)],
         "at least two groups of --group_field=film, for those of one fold are not "
         "trained on. Received: 1 of 'c'", {}),
    ],
)  # fmt: skip
def test_groups_that_make_no_folds_are_named(
    groups: list[str], rule: str, mend: dict[str, int]
) -> None:
    read = sources(TEXTS, LABELS, groups)
    with pytest.raises(ValueError, match=re.escape(rule)):
        splits.folds_of(read, config(group_field="film", validation_one_in=0))
    if mend:
        splits.folds_of(read, config(group_field="film", validation_one_in=0, **mend))


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"num_folds": 1}, "--num_folds must be 0 (no folds) or at least 2"),
        ({"fold": 5}, "--fold must be from 0 to 4, the last of --num_folds"),
        ({"fold": -2}, "--fold must be from 0 to 4"),
        ({"num_folds": 0, "fold": 0}, "--fold is for --num_folds"),
    ],
)
def test_folds_that_cannot_be_are_named(changes: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=re.escape(rule)):
        config(**changes)

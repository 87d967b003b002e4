"""--split_near_duplicates=together: what hangs together is on one side of every split."""

from __future__ import annotations

import importlib.util
import pathlib

import numpy as np
import pyarrow as pa
import pytest

from tests.data.test_near_duplicates import random_texts, with_changes
from trainer.config import DataConfig, SplitNearDuplicates
from trainer.data import clusters, places, splits
from trainer.data.duplicates import content_digests
from trainer.data.sources import Sources
from trainer.data.text_dataset import TextDataset

# 120 families of a text and three that are ever less like it.
FAMILIES = [[with_changes(text, n) for n in range(4)] for text in random_texts(120)]
TEXTS = [text for family in FAMILIES for text in family]


def dataset(texts: list[str], groups: list[str] | None = None) -> TextDataset:
    labels = np.arange(len(texts), dtype=np.int32) % 2
    names = None if groups is None else pa.chunked_array([groups], pa.large_string())
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    return TextDataset(array, labels, ("a", "b"), places.unknown(len(texts)), names)


def sides(
    texts: list[str],
    folder: pathlib.Path,
    groups: list[str] | None = None,
    mode: SplitNearDuplicates = "together",
) -> dict[str, str]:
    """The split of each text."""
    pool, parts = splits.make_splits(
        Sources({"train": dataset(texts, groups)}, ("a", "b"), {}),
        config=DataConfig(split_near_duplicates=mode, cache_dir=str(folder)),
        seed=0,
    )
    return {
        str(pool.texts[int(row)]): name
        for name, split in parts.items()
        for row in split.rows
    }


def test_families_are_on_one_side(tmp_path: pathlib.Path) -> None:
    together = sides(TEXTS, tmp_path, mode="together")
    alone = sides(TEXTS, tmp_path, mode="alone")

    assert all(len({together[text] for text in family}) == 1 for family in FAMILIES)
    assert any(len({alone[text] for text in family}) > 1 for family in FAMILIES)
    assert set(together.values()) == {"train", "validation", "test"}


def test_the_order_of_rows_does_not_matter(tmp_path: pathlib.Path) -> None:
    order = np.random.default_rng(1).permutation(len(TEXTS))

    shuffled = sides([TEXTS[row] for row in order], tmp_path)

    assert shuffled == sides(TEXTS, tmp_path)


def test_a_row_added_moves_its_own_cluster_alone(tmp_path: pathlib.Path) -> None:
    before = sides(TEXTS, tmp_path)
    for number, family in enumerate(FAMILIES[:3]):
        after = sides([*TEXTS, f"{family[0]} and {number}"], tmp_path)

        moved = {text for text in TEXTS if before[text] != after[text]}
        assert moved <= set(family)


def test_groups_and_clusters_tie_each_other(tmp_path: pathlib.Path) -> None:
    # A writer for the first texts of families 0 and 1, another for those of 2 and 3 ...
    groups = [
        f"writer {number // 2}" if text == family[0] else ""
        for number, family in enumerate(FAMILIES)
        for text in family
    ]

    found = sides(TEXTS, tmp_path, groups)

    for number in range(0, len(FAMILIES), 2):
        families = FAMILIES[number] + FAMILIES[number + 1]
        assert len({found[text] for text in families}) == 1


def test_they_are_kept_and_found_again(tmp_path: pathlib.Path) -> None:
    texts = dataset(TEXTS).texts
    config = DataConfig(cache_dir=str(tmp_path), split_near_duplicates="together")
    digests = content_digests(texts)
    first = clusters.of_texts(texts, digests, config)
    (entry,) = (tmp_path / "near_duplicates").glob("[0-9a-f]*")
    written = {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}

    second = clusters.of_texts(texts, digests, config)

    assert np.array_equal(first, second)
    assert written == {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}


def test_without_the_extra_the_mend_is_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "rensa" else find(name),
    )

    with pytest.raises(ValueError, match=r"together needs .*'\.\[audit\]'"):
        sides(TEXTS, tmp_path)

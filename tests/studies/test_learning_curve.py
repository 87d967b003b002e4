"""Tests of trainer/studies/learning_curve.py: which sizes, nested, and which cannot be."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any

import numpy as np
import pytest

from tests import tiny
from trainer.config import DataConfig, ModelConfig
from trainer.data import sources, splits
from trainer.studies import learning_curve
from trainer.study_config import StudyConfig


def make_config(path: pathlib.Path, **changes: Any) -> StudyConfig:
    """A study on 200 reviews; `changes` of the study or of its data."""
    file = path / "reviews.csv"
    if not file.is_file():
        tiny.write_reviews(file, count=200)
    names = {field.name for field in dataclasses.fields(DataConfig)}
    data = {name: changes.pop(name) for name in list(changes) if name in names}
    return StudyConfig(
        study_dir="studies/a",
        data=DataConfig(dataset=f"files:{file}", **data),
        model=ModelConfig(preset="tiny"),
        **changes,
    )


def plan(config: StudyConfig) -> list[tuple[int, int]]:
    """Size and seed of the runs."""
    planned = learning_curve.plan(config, sources.load(config.data))
    assert [run.number for run in planned] == list(range(len(planned)))
    return [(run.num_train_examples, run.config.training.seed) for run in planned]


@pytest.mark.parametrize(
    ("num_available", "wanted", "num_labels", "expected"),
    [
        (20_085, 0, 2, (100, 300, 1000, 3000, 10_000, 20_085)),
        (20_085, 2000, 2, (100, 300, 1000, 2000)),
        (20_085, 50_000, 2, (100, 300, 1000, 3000, 10_000, 20_085)),
        # 3,000 texts are hardly fewer.
        (3500, 0, 2, (100, 300, 1000, 3500)),
        (3750, 0, 2, (100, 300, 1000, 3000, 3750)),
        (1000, 0, 2, (100, 300, 1000)),
        (60, 0, 2, (60,)),
        (5000, 0, 150, (300, 1000, 3000, 5000)),
    ],
)
def test_automatic_sizes(
    num_available: int,
    wanted: int,
    num_labels: int,
    expected: tuple[int, ...],
    tmp_path: pathlib.Path,
) -> None:
    config = make_config(tmp_path, num_train_examples=wanted)
    found = learning_curve.sizes_of(
        config, num_available=num_available, num_labels=num_labels
    )
    assert found == expected


def test_every_size_is_run_with_every_seed(tmp_path: pathlib.Path) -> None:
    config = make_config(tmp_path, train_sizes=("20", "50"), seeds=("3", "1"))
    assert plan(config) == [(20, 3), (20, 1), (50, 3), (50, 1)]


def test_shares_are_nested_and_held_out_texts_the_same(tmp_path: pathlib.Path) -> None:
    config = make_config(tmp_path, train_sizes=("10", "30", "90"), num_eval_examples=15)
    planned = learning_curve.plan(config, sources.load(config.data))
    drawn = []
    for run in planned:
        pool, parts = splits.make_splits(
            sources.load(run.config.data), config=run.config.data, seed=0
        )
        texts = np.array(pool.texts.to_pylist())
        drawn.append({name: set(texts[s.rows]) for name, s in parts.items()})
    small, middle, large = drawn
    assert small["train"] < middle["train"] < large["train"]
    for name in ("test", "validation"):
        assert small[name] == middle[name] == large[name]
        assert not small[name] & large["train"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"train_sizes": ("20", "5000")}, "at most the number of training texts"),
        ({"train_sizes": ("1", "20")}, "at least the number of labels, 2"),
        ({"train_sizes": ("1",)}, "at least the number of labels, 2"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_named(
    changes: dict[str, Any], rule: str, tmp_path: pathlib.Path
) -> None:
    config = make_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=re.escape(rule)) as caught:
        plan(config)
    # What it says to do.
    mend = re.search(r"give --train_sizes=([\d,]*\d)", str(caught.value))
    if mend:
        mended = dataclasses.replace(config, train_sizes=tuple(mend[1].split(",")))
        assert plan(mended)
    assert "leave --train_sizes out" in str(caught.value)
    assert plan(dataclasses.replace(config, train_sizes=()))


def test_a_curve_without_held_out_texts_is_refused(tmp_path: pathlib.Path) -> None:
    config = make_config(tmp_path, test_one_in=0, validation_one_in=0)
    with pytest.raises(ValueError, match="needs held-out texts") as caught:
        plan(config)
    assert "set --test_one_in=5" in str(caught.value)
    assert plan(make_config(tmp_path, test_one_in=5, validation_one_in=0))
    # Validation alone will do.
    assert plan(make_config(tmp_path, test_one_in=0))

"""Each rule doubts from its limit on, not before, and says what to do."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping

import pytest

from tests.evaluation.tiny_report import tiny_report
from trainer.evaluation import doubts
from trainer.evaluation.schema import Doubt


def kinds(found: Iterable[Doubt]) -> list[str]:
    """Of these doubts, whose messages all say what to do."""
    listed = list(found)
    for doubt in listed:
        assert any(sign in doubt.message for sign in (";", ": ", "?")), doubt.message
    return [doubt.kind for doubt in listed]


def facts(counts: Mapping[str, int], **changes: Any) -> dict[str, Any]:
    """Of a training split of these labels, and held-out ones that are large enough."""
    train = {
        "num_examples": sum(counts.values()),
        "class_counts": dict(counts),
        "num_duplicates": 0,
    }
    held_out = {**train, "num_examples": 100, "class_counts": {"a": 50, "b": 50}}
    splits = {"train": train, "validation": held_out, "test": held_out}
    return {"num_contradicting_texts": 0, "splits": splits, **changes}


@pytest.mark.parametrize(
    ("counts", "changes", "expected"),
    [
        ({"a": 100, "b": 21}, {}, []),
        ({"a": 105, "b": 21}, {}, ["imbalance"]),
        ({"a": 20, "b": 20}, {}, []),
        ({"a": 20, "b": 19}, {}, ["few_texts_of_class"]),
        ({"a": 60, "b": 40, "c": 0}, {}, ["absent_class"]),
        ({"a": 60, "b": 40}, {"num_contradicting_texts": 1}, ["contradicting_labels"]),
        ({"a": 60, "b": 40}, {"num_test_texts_in_train": 2}, ["overlap"]),
        ({"a": 60, "b": 40}, {"num_test_groups_in_validation": 2}, ["overlap"]),
    ],
)
def test_splits(
    counts: Mapping[str, int], changes: Mapping[str, Any], expected: list[str]
) -> None:
    assert kinds(doubts.of_splits(facts(counts, **changes))) == expected


@pytest.mark.parametrize(("count", "is_doubted"), [(100, False), (99, True)])
def test_small_held_out_splits(count: int, is_doubted: bool) -> None:
    sound = facts({"a": 60, "b": 40})
    sound["splits"]["test"] = {**sound["splits"]["test"], "num_examples": count}

    assert kinds(doubts.of_splits(sound)) == ["few_test_texts"] * is_doubted
    del sound["splits"]["validation"]
    assert kinds(doubts.of_splits(sound))[0] == "few_validation_texts"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"unknown_fraction": 0.05, "truncated_fraction": 0.2}, []),
        ({"unknown_fraction": 0.051}, ["unknown_tokens"]),
        ({"truncated_fraction": 0.21}, ["texts_cut"]),
        ({"num_unknown_texts": 1}, ["unknown_texts"]),
    ],
)
def test_tokens(changes: Mapping[str, Any], expected: list[str]) -> None:
    sound = {"unknown_fraction": 0.0, "truncated_fraction": 0.0, "num_unknown_texts": 0}

    assert kinds(doubts.of_tokens({"train": {**sound, **changes}})) == expected


@pytest.mark.parametrize(
    ("steps", "batch_size", "expected"),
    [(50, 100, []), (49, 100, ["few_steps"]), (50, 101, ["large_batch"]), (50, 0, [])],
)
def test_training(steps: int, batch_size: int, expected: list[str]) -> None:
    found = doubts.of_training(
        total_steps=steps, global_batch_size=batch_size, num_train_examples=100
    )

    assert kinds(found) == expected


@pytest.mark.parametrize(
    ("low", "is_doubted"), [(0.61, False), (0.6, True), (0.5, True)]
)
def test_a_result_is_compared_with_the_commonest_label(
    low: float, is_doubted: bool
) -> None:
    """By the lower end of its interval, or itself where it has none."""
    measured = dataclasses.replace(
        tiny_report().after["test"],
        accuracy=low,
        majority_class_accuracy=0.6,
        confidence_intervals_95={},
    )
    with_interval = dataclasses.replace(
        measured, accuracy=0.7, confidence_intervals_95={"accuracy": (low, 0.8)}
    )
    for evaluation in (measured, with_interval):
        expected = ["no_better_than_commonest"] * is_doubted
        assert kinds(doubts.of_result({"test": evaluation})) == expected
    assert kinds(doubts.of_result({})) == []


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [
        (100, 50, []),
        (101, 50, ["short_draw"]),
        # "At most": one of the two splits may well have fewer.
        (100, 51, []),
        (100, 70, []),
        (100, 71, ["short_draw"] * 2),
        (0, 0, []),
    ],
)
def test_draws_beyond_what_there_is(
    train: int, held_out: int, expected: list[str]
) -> None:
    available = {"train": 100, "validation": 50, "test": 70}
    splits = {name: {"num_available": count} for name, count in available.items()}
    limits = {"train": train, "validation": held_out, "test": held_out}
    assert kinds(doubts.of_draws(splits, limits)) == expected

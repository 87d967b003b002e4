"""Tests of trainer/data/class_weights.py."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from trainer.data.class_weights import class_weights

NAMES = ("bad", "good", "so:so")


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_none_leaves_all_as_it_is() -> None:
    assert class_weights(("none",), labels_of(1, 2, 3), NAMES) is None


@pytest.mark.parametrize("counts", [(10, 10, 10), (1, 5, 94), (700, 20, 3)])
def test_balanced_is_scikit_learns(counts: tuple[int, ...]) -> None:
    labels = labels_of(*counts)
    weights = class_weights(("balanced",), labels, NAMES)
    assert weights is not None and tuple(weights) == NAMES
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(list(weights.values()), expected)


def test_a_label_without_examples_takes_no_part() -> None:
    weights = class_weights(("balanced",), labels_of(3, 1, 0), NAMES)
    assert weights is not None
    np.testing.assert_allclose([weights["bad"], weights["good"]], [4 / 6, 4 / 2])


@pytest.mark.parametrize("seed", range(20))
def test_the_mean_over_the_examples_is_1(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, size=200, p=(0.9, 0.07, 0.03))
    for setting in (("balanced",), ("bad:0.1", "so:so:30"), ("good:1e6",)):
        weights = class_weights(setting, labels, NAMES)
        assert weights is not None
        mean = np.mean([weights[NAMES[label]] for label in labels])
        np.testing.assert_allclose(mean, 1)


def test_named_weights_keep_their_ratios() -> None:
    weights = class_weights((" good:4", "so:so:0.5"), labels_of(2, 2, 2), NAMES)
    assert weights is not None
    np.testing.assert_allclose(np.array(list(weights.values())) * 5.5 / 3, [1, 4, 0.5])


def test_unknown_label() -> None:
    with pytest.raises(ValueError) as caught:
        class_weights(("godo:2",), labels_of(1, 1, 1), NAMES)
    assert str(caught.value) == (
        "--class_weights must name labels of the data set (bad, good, so:so). "
        "Received: 'godo' (did you mean 'good'?)"
    )

"""Ridge regression beside its closed form, on dense and on sparse features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from trainer.baselines import ridge
from trainer.baselines.examples import Examples


def closed_form(features: np.ndarray, numbers: np.ndarray, alpha: float) -> np.ndarray:
    """Coefficients and, last, the intercept, which is not penalised."""
    whole = np.column_stack([features, np.ones(len(features))])
    penalty = alpha * np.eye(whole.shape[1])
    penalty[-1, -1] = 0
    found: np.ndarray = np.linalg.solve(whole.T @ whole + penalty, whole.T @ numbers)
    return found


def made(count: int, *, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(0.3, 1, (count, 8)) * (
        generator.random((count, 8)) < 0.5
    )
    numbers = features @ np.linspace(-1, 1, 8) + 0.7 + generator.normal(0, noise, count)
    return features.astype(np.float32), numbers.astype(np.float32)


def examples_of(**labels: np.ndarray) -> Examples:
    return Examples(labels=labels, num_classes=1, example_weights=None, seed=0)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("has_validation", [True, False])
def test_as_the_closed_form(kind: str, has_validation: bool) -> None:
    convert: Any = scipy.sparse.csr_matrix if kind == "sparse" else np.asarray
    train, numbers = made(150, seed=0, noise=0.5)
    judged, truth = made(80, seed=1, noise=0.5)
    name = "validation" if has_validation else "test"
    features = {"train": convert(train), name: convert(judged)}
    chosen = ridge.fit(
        features, examples_of(train=numbers, **{name: truth}), description="tiny"
    )
    alpha = float(chosen.settings["alpha"])
    expected = closed_form(train.astype(float), numbers.astype(float), alpha)
    np.testing.assert_allclose(chosen.coefficients, expected[:-1], atol=2e-3)
    assert chosen.intercept == pytest.approx(expected[-1], abs=2e-3)
    found = chosen.logits(convert(judged))
    assert found.shape == (80, 1) and found.dtype == np.float32
    told = chosen.settings["alpha_chosen_on"]
    assert (told == "validation") == has_validation


def test_the_alpha_is_the_best_on_validation() -> None:
    """Where nothing can be learned, the largest; where all can, a small one."""
    train, numbers = made(60, seed=0, noise=0.01)
    judged, truth = made(60, seed=1, noise=0.01)
    noise = np.random.default_rng(5).normal(size=60).astype(np.float32)
    learned = ridge.fit(
        {"train": train, "validation": judged},
        examples_of(train=numbers, validation=truth),
        description="tiny",
    )
    nothing = ridge.fit(
        {"train": train, "validation": judged},
        examples_of(train=noise, validation=np.zeros(60, np.float32)),
        description="tiny",
    )
    small, large = (float(each.settings["alpha"]) for each in (learned, nothing))
    assert small < 0.1 and large == max(ridge._DENSE_ALPHAS) * 60


def test_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    train, numbers = made(100, seed=0, noise=0.5)
    examples = examples_of(train=numbers, test=numbers)
    whole = ridge.fit({"train": train}, examples, description="tiny")
    monkeypatch.setattr(ridge, "_ROWS_AT_ONCE", 7)
    parts = ridge.fit({"train": train}, examples, description="tiny")
    np.testing.assert_allclose(whole.coefficients, parts.coefficients, rtol=1e-9)
    np.testing.assert_allclose(whole.logits(train), parts.logits(train), rtol=1e-6)


def test_constants() -> None:
    numbers = np.array([0.0, 1.0, 8.0], np.float32)
    examples = examples_of(train=numbers, test=np.zeros(2, np.float32))
    assert ridge.mean(examples).logits["test"].tolist() == [[3.0], [3.0]]
    assert ridge.median(examples).logits["test"].tolist() == [[1.0], [1.0]]


def test_two_texts_are_enough_to_fit() -> None:
    train, numbers = made(2, seed=0, noise=0.1)
    examples = examples_of(train=numbers, test=numbers)
    chosen = ridge.fit({"train": train}, examples, description="tiny")
    assert np.isfinite(chosen.logits(train)).all()

"""Logistic regression on few and on many features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression

from trainer.baselines import commonest, frozen, logistic_regression
from trainer.baselines.examples import Examples


def drawn(
    *, num_classes: int, sizes: dict[str, int], width: int = 6, seed: int = 0
) -> tuple[dict[str, np.ndarray], Examples]:
    """Vectors around a place for each class, and their labels."""
    generator = np.random.default_rng(seed)
    places = generator.normal(size=(num_classes, width))
    labels = {
        name: np.resize(np.arange(num_classes), size).astype(np.int32)
        for name, size in sizes.items()
    }
    vectors = {
        name: (places[each] + generator.normal(size=(len(each), width))).astype("f4")
        for name, each in labels.items()
    }
    examples = Examples(
        labels=labels, num_classes=num_classes, example_weights=None, seed=0
    )
    return vectors, examples


def fit(vectors: Any, examples: Examples, **settings: Any) -> Any:
    features = {k: v for k, v in vectors.items() if k != "test"}
    return logistic_regression.fit(features, examples, description="test", **settings)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("validation", [0, 90])
def test_equals_scikit_learn(num_classes: int, validation: int) -> None:
    sizes = {"train": 120, "validation": validation, "test": 30}
    vectors, examples = drawn(
        num_classes=num_classes, sizes={k: v for k, v in sizes.items() if v}
    )
    chosen = fit(vectors, examples)
    plain = LogisticRegression(C=chosen.settings["C"], max_iter=1000, tol=1e-8)
    plain.fit(vectors["train"], examples.labels["train"])
    found = np.exp(chosen.logits(vectors["test"]))
    np.testing.assert_allclose(found, plain.predict_proba(vectors["test"]), atol=5e-3)
    assert found.dtype == np.float32
    on = "validation" if validation else "5 folds within training"
    assert chosen.settings["chosen_on"] == on


def test_strength_is_the_best_of_the_grid() -> None:
    sizes = {"train": 60, "validation": 200, "test": 10}
    vectors, examples = drawn(num_classes=2, sizes=sizes)
    chosen = fit(vectors, examples)

    def loss(strength: float) -> float:
        plain = LogisticRegression(C=strength, max_iter=1000, tol=1e-7)
        plain.fit(vectors["train"], examples.labels["train"])
        shares = plain.predict_proba(vectors["validation"])
        right = shares[np.arange(200), examples.labels["validation"]]
        return float(-np.log(right).mean())

    grid = 10.0 ** np.arange(-4, 4.5, 0.5)
    assert loss(chosen.settings["C"]) <= min(map(loss, grid)) + 1e-4


def test_weights_count_as_copies() -> None:
    vectors, examples = drawn(
        num_classes=2, sizes={"train": 40, "validation": 40, "test": 20}
    )
    times = np.where(examples.labels["train"] == 1, 3, 1)
    copied = {**vectors, "train": np.repeat(vectors["train"], times, axis=0)}
    labels = {**examples.labels, "train": np.repeat(examples.labels["train"], times)}
    weighted = Examples(
        labels=examples.labels,
        num_classes=2,
        example_weights=times.astype(np.float32),
        seed=0,
    )
    more = Examples(labels=labels, num_classes=2, example_weights=None, seed=0)
    one, other = fit(vectors, weighted), fit(copied, more)
    assert one.settings["C"] == other.settings["C"]
    np.testing.assert_allclose(
        one.logits(vectors["test"]), other.logits(vectors["test"]), atol=0.02
    )
    plain = fit(vectors, examples).logits(vectors["test"])
    assert (one.logits(vectors["test"])[:, 1] > plain[:, 1]).mean() > 0.9


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix])
def test_blocks_come_near_the_exact_way(num_classes: int, make: Any) -> None:
    sizes = {"train": 6000, "validation": 500, "test": 1000}
    vectors, examples = drawn(num_classes=num_classes, sizes=sizes)
    made = {name: make(each) for name, each in vectors.items()}
    exact = fit(made, examples)
    blocks = fit(made, examples, max_exact_numbers=10)
    assert exact.settings["solver"] == "L-BFGS" != blocks.settings["solver"]
    one, other = (np.exp(each.logits(made["test"])) for each in (exact, blocks))
    right = examples.labels["test"]
    accuracies = [(each.argmax(axis=1) == right).mean() for each in (one, other)]
    assert accuracies[0] > 0.6 and abs(accuracies[0] - accuracies[1]) < 0.03


@pytest.mark.parametrize("num_classes", [2, 3, 100])
@pytest.mark.parametrize("num_each", [1, 4])
@pytest.mark.parametrize("validation", [0, 5])
def test_edges_have_finite_logits(
    num_classes: int, num_each: int, validation: int
) -> None:
    sizes = {"train": num_classes * num_each, "validation": validation, "test": 7}
    vectors, examples = drawn(
        num_classes=num_classes, sizes={k: v for k, v in sizes.items() if v}
    )
    logits = frozen.answers(examples, vectors).logits["test"]
    assert logits.shape == (7, num_classes) and np.isfinite(logits).all()


def test_a_label_without_a_training_text() -> None:
    vectors, examples = drawn(num_classes=3, sizes={"train": 30, "test": 30})
    seen = examples.labels["train"] < 2
    labels = {**examples.labels, "train": examples.labels["train"][seen]}
    vectors["train"] = vectors["train"][seen]
    few = Examples(labels=labels, num_classes=3, example_weights=None, seed=0)
    shares = np.exp(frozen.answers(few, vectors).logits["test"])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    # Half a text beside twenty.
    np.testing.assert_allclose(shares[:, 2], 0.5 / 20.5, atol=1e-6)


def test_one_label_alone_is_the_commonest() -> None:
    vectors, examples = drawn(num_classes=2, sizes={"train": 8, "test": 5})
    labels = {**examples.labels, "train": np.ones(8, np.int32)}
    one = Examples(labels=labels, num_classes=2, example_weights=None, seed=0)
    found = frozen.answers(one, vectors)
    np.testing.assert_array_equal(
        found.logits["test"], commonest.answers(one).logits["test"]
    )
    assert "commonest" in str(found.settings["instead"])


def test_commonest_gives_the_shares_of_training() -> None:
    labels = {
        "train": np.array([1, 1, 1, 0], np.int32),
        "test": np.array([0, 1], np.int32),
    }
    examples = Examples(labels=labels, num_classes=2, example_weights=None, seed=0)
    found = np.exp(commonest.answers(examples).logits["test"])
    np.testing.assert_allclose(found, [[0.25, 0.75]] * 2, atol=1e-6)


def test_vectors_of_another_scale_are_answered_alike() -> None:
    vectors, examples = drawn(
        num_classes=2, sizes={"train": 60, "validation": 60, "test": 20}
    )
    shift = np.array([1e-3, 1, 1e3, 1, 1, 7], np.float32)
    scaled = {name: each * 50 + shift for name, each in vectors.items()}
    one = frozen.answers(examples, vectors).logits["test"]
    other = frozen.answers(examples, scaled).logits["test"]
    np.testing.assert_allclose(one, other, atol=0.02)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_rounding_of_the_vectors_moves_the_head_as_little(num_classes: int) -> None:
    sizes = {"train": 90, "validation": 60}
    vectors, examples = drawn(num_classes=num_classes, sizes=sizes, width=60)
    generator = np.random.default_rng(1)
    rounded = {
        name: (each * (1 + 1e-7 * generator.normal(size=each.shape))).astype("f4")
        for name, each in vectors.items()
    }
    heads = [frozen.answers(examples, each).head for each in (vectors, rounded)]
    kernel, other = (head.kernel for head in heads if head is not None)
    np.testing.assert_allclose(other, kernel, rtol=0, atol=2e-5 * np.abs(kernel).max())


def test_the_head_gives_the_answers() -> None:
    vectors, examples = drawn(
        num_classes=3, sizes={"train": 60, "validation": 60, "test": 20}
    )
    given = vectors["test"] * 50 + 3
    found = frozen.answers(
        examples, {name: each * 50 + 3 for name, each in vectors.items()}
    )
    assert found.head is not None
    logits = given @ found.head.kernel + found.head.bias
    expected = found.logits["test"]
    np.testing.assert_allclose(
        logits - logits[:, :1], expected - expected[:, :1], atol=1e-3
    )

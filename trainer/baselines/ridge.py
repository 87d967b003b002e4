"""Ridge regression, for the simple models of numbers: linear in texts, bounded in memory.

    chosen = fit(features, examples, description="TF-IDF")
    chosen.logits(features["test"])             # float32 [n, 1], in spreads
    chosen.settings["alpha"]

Least squares with a penalty of `alpha` on the squared coefficients (Hoerl and Kennard
1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems"), the intercept
free. The alpha is the one of the least squared error on validation; without a validation
split, on a fifth of the training texts, and then all of them are fitted.

Dense features are gone through once, block by block, for their products; after that an
alpha costs nothing that depends on the number of texts. Sparse ones are solved by
scikit-learn's conjugate gradients, whose steps pass over them.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, Callable, Iterator, Mapping

import numpy as np

from trainer.baselines.examples import Answers, Examples

_logger = logging.getLogger(__name__)

MEAN_TITLE = "the training mean"
MEDIAN_TITLE = "the training median"
# Of TF-IDF rows, of length 1.
_SPARSE_ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
# Of dense features of variance 1, times the number of texts.
_DENSE_ALPHAS = tuple(10.0**power for power in range(-6, 2))
_MAX_STEPS = 200
_PRECISION = 1e-4
_ROWS_AT_ONCE = 4096
_ONE_IN = 5


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A fitted model.

    Attributes:
      coefficients: float64 [features].
      intercept: of the same unit as the numbers that were fitted.
      settings: the alpha, and what it was chosen by.
    """

    coefficients: np.ndarray
    intercept: float
    settings: Mapping[str, float | int | str]

    def logits(self, features: Any) -> np.ndarray:
        """Float32 [n, 1]. features: sparse or dense [n, features]."""
        blocks = [
            np.asarray(features[start : start + _ROWS_AT_ONCE] @ self.coefficients)
            for start in range(0, features.shape[0], _ROWS_AT_ONCE)
        ]
        values = np.concatenate(blocks) + self.intercept
        return values.astype(np.float32)[:, np.newaxis]

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel, float64 [features, 1], and bias, float64 [1]."""
        return self.coefficients[:, np.newaxis], np.array([self.intercept])


# Coefficients and intercept of an alpha.
_Solver = Callable[[float], tuple[np.ndarray, float]]


def mean(examples: Examples) -> Answers:
    """The mean of the training texts' numbers, for every text."""
    return _constant(examples, float(examples.labels["train"].mean()), MEAN_TITLE)


def median(examples: Examples) -> Answers:
    """Their median, of all constants the one of the least mean absolute error."""
    value = float(np.median(examples.labels["train"]))
    return _constant(examples, value, MEDIAN_TITLE)


def _constant(examples: Examples, value: float, title: str) -> Answers:
    return Answers(
        title=title,
        logits={
            name: np.full((len(examples.labels[name]), 1), value, np.float32)
            for name in examples.held_out
        },
        num_features=None,
        settings={},
    )


def fit(features: Mapping[str, Any], examples: Examples, *, description: str) -> Chosen:
    """Fits the training texts, and chooses the alpha.

    Args:
      features: of "train", and of "validation" where there is such a split: sparse, or
        dense in memory or mapped, [n, features].
      examples: whose labels are numbers, float [n].
      description: for the log.
    """
    train, numbers = features["train"], examples.labels["train"].astype(np.float64)
    alphas, solver = _ways(train)
    if "validation" in features:
        solve = solver(train, numbers)
        judged, truth = features["validation"], examples.labels["validation"]
        chosen_on = "validation"
        alpha = _best(solve, alphas, judged, truth)
    else:
        fitted, held = _parted(len(numbers), examples.seed)
        alpha = _best(
            solver(train[fitted], numbers[fitted]), alphas, train[held], numbers[held]
        )
        solve, chosen_on = solver(train, numbers), "a fifth of the training texts"
    coefficients, intercept = solve(alpha)
    _logger.info("%s: ridge regression with alpha %g", description, alpha)
    settings: dict[str, float | int | str] = {
        "alpha": alpha,
        "alpha_chosen_on": chosen_on,
    }
    return Chosen(coefficients, intercept, settings)


def _ways(train: Any) -> tuple[tuple[float, ...], Callable[[Any, np.ndarray], _Solver]]:
    if isinstance(train, np.ndarray):
        return tuple(each * len(train) for each in _DENSE_ALPHAS), _dense
    return _SPARSE_ALPHAS, _sparse


def _best(
    solve: _Solver, alphas: tuple[float, ...], judged: Any, truth: np.ndarray
) -> float:
    """The alpha of the least squared error; of equal ones the largest."""

    def error(alpha: float) -> float:
        values = Chosen(*solve(alpha), {}).logits(judged)[:, 0]
        return float(np.mean((values - truth) ** 2))

    return min(reversed(alphas), key=error)


def _parted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit, and a fifth to choose by: int64, ascending; each at least one."""
    order = np.random.default_rng(seed).permutation(count)
    num_held = min(max(1, count // _ONE_IN), count - 1) or 1
    held, fitted = order[:num_held], order[num_held:]
    # A single text is both.
    return np.sort(fitted if len(fitted) else held), np.sort(held)


def _dense(features: np.ndarray, numbers: np.ndarray) -> _Solver:
    """By the eigenvectors of the products, of which there are features squared."""
    width, count = features.shape[1], len(numbers)
    middle, centre = np.zeros(width), float(numbers.mean())
    for _, block in _blocks(features):
        middle += block.sum(axis=0) / count
    products, with_numbers = np.zeros((width, width)), np.zeros(width)
    for start, block in _blocks(features):
        centred = block - middle
        products += centred.T @ centred
        with_numbers += centred.T @ (numbers[start : start + len(block)] - centre)
    values, vectors = np.linalg.eigh(products)
    turned = vectors.T @ with_numbers

    def solve(alpha: float) -> tuple[np.ndarray, float]:
        coefficients = vectors @ (turned / (np.maximum(values, 0.0) + alpha))
        return coefficients, centre - float(middle @ coefficients)

    return solve


def _blocks(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(features), _ROWS_AT_ONCE):
        yield start, np.asarray(features[start : start + _ROWS_AT_ONCE], np.float64)


def _sparse(features: Any, numbers: np.ndarray) -> _Solver:
    from sklearn.linear_model import Ridge

    def solve(alpha: float) -> tuple[np.ndarray, float]:
        model = Ridge(
            alpha=alpha, solver="sparse_cg", max_iter=_MAX_STEPS, tol=_PRECISION
        )
        model.fit(features, numbers.astype(features.dtype))
        return np.asarray(model.coef_, np.float64), float(model.intercept_)

    return solve

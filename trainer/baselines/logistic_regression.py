"""Logistic regression on features of texts, few or a million.

    chosen = fit(features, examples)            # rows by split: "train", "validation"
    chosen.logits(features_of_test)             # float32 [n, classes]
    chosen.settings                             # {"C": 30.0, "chosen_on": "validation"}

scikit-learn's solvers: L-BFGS where the features are few enough to be gone through a
hundred times; averaged stochastic gradient descent (Xu 2011, "Towards Optimal One Pass
Large Scale Learning with Averaged Stochastic Gradient Descent") over blocks of rows in
random order above that. Features may be mapped from disk: a block is in memory.

The strength of regularisation is chosen by the loss, not by the accuracy, which of a
few hundred texts says too little: on validation, or by folds within training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from typing import Any, Callable, Iterator, Mapping, NamedTuple

import numpy as np

from trainer import console
from trainer.baselines.examples import Examples
from trainer.tasks.predictions import Predictions

# C of scikit-learn: the weight of the summed loss beside half the squared norm. Tried
# upwards, until the loss rises; then the values halfway to the neighbours of the best.
_DECADES = tuple(10.0**exponent for exponent in range(-4, 5))
_HALF_DECADE = 10**0.5
# Numbers that training goes through at each of L-BFGS's steps: 128 MiB of float32.
MAX_EXACT_NUMBERS = 1 << 25
# It holds about twenty numbers for each coefficient: 320 MiB of float64.
MAX_EXACT_COEFFICIENTS = 1 << 21
_MAX_EXACT_STEPS = 300
# Of the mean loss's gradient. scikit-learn's 1e-4 ends too early from a warm start.
_TOLERANCE = 1e-6
# Newton's steps go on to the solution itself: two machines that round the features
# otherwise find the same one to 1e-5, where L-BFGS's differ by up to 1e-2. Their matrix
# of second derivatives has the square of so many numbers: 32 MiB of float64.
_MAX_NEWTON_COEFFICIENTS = 1 << 11
_NEWTON_TOLERANCE = 1e-9
_MAX_NEWTON_STEPS = 100
_NUM_PASSES = 5
_NUM_FOLDS = 5
_ROWS_AT_ONCE = 4096


class Model(NamedTuple):
    """A fitted model.

    Attributes:
      estimator: of scikit-learn.
      examples: it was fitted on.
    """

    estimator: Any
    examples: Examples

    def logits(self, features: Any) -> np.ndarray:
        """float32 [n, classes], of features [n, m], a block after the other.

        A label without a training text has its share by `Examples.log_shares`.
        """
        num_rows = features.shape[0]
        shares = self.examples.log_shares()
        logits = np.tile(shares, (num_rows, 1))
        classes = self.estimator.classes_
        log_seen = np.log(np.exp(shares[classes]).sum())
        for start in range(0, num_rows, _ROWS_AT_ONCE):
            block = features[start : start + _ROWS_AT_ONCE]
            probabilities = self.estimator.predict_proba(block).astype(np.float64)
            # One may be rounded to 0.
            least = np.finfo(np.float32).tiny
            logits[start : start + _ROWS_AT_ONCE, classes] = log_seen + np.log(
                np.maximum(probabilities, least)
            )
        return logits.astype(np.float32)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """The same as weights: float64 [features, classes], and [classes] to add.

        A label without a training text is as likely as `Examples.log_shares` says,
        next to the mean of the others.
        """
        coefficients, intercepts = self.estimator.coef_, self.estimator.intercept_
        if len(coefficients) == 1:
            # Of two labels scikit-learn keeps the second one's lead alone.
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        kernel = np.zeros((coefficients.shape[1], self.examples.num_classes))
        bias = self.examples.log_shares()
        classes = self.estimator.classes_
        kernel[:, classes] = coefficients.T
        bias[classes] = intercepts + bias[classes].mean() - intercepts.mean()
        return kernel, bias


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The model of the best strength.

    Attributes:
      model: fitted on all training texts.
      settings: the strength, and how it was chosen.
    """

    model: Model
    settings: Mapping[str, float | int | str]

    def logits(self, features: Any) -> np.ndarray:
        """float32 [n, classes]; see `Model.logits`."""
        return self.model.logits(features)

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Model.linear`."""
        return self.model.linear()


def fit(
    features: Mapping[str, Any],
    examples: Examples,
    *,
    description: str,
    max_exact_numbers: int = MAX_EXACT_NUMBERS,
    is_settled: bool = False,
) -> Chosen:
    """Chooses C, and fits all training texts with it.

    Args:
      features: number [n, m], dense or CSR, in memory or mapped: of "train", and of
        "validation" where there is any.
      examples: their labels, of two classes at least.
      description: what the progress line calls the model.
      max_exact_numbers: of how many training features on stochastic gradient descent
        takes the place of L-BFGS.
      is_settled: whether Newton's method ends in float64 what L-BFGS has begun, where
        the coefficients are few enough.
    """
    train = features["train"]
    fit_one = _solver(train, examples, max_exact_numbers)
    is_exact = fit_one is _fit_exact
    rows = np.arange(len(examples.labels["train"]))
    with _fitting(description) as advance:
        if "validation" in features:
            best, model = _by_validation(fit_one, features, examples, rows, advance)
            how = "validation"
        else:
            folds = np.random.default_rng(examples.seed).permutation(rows) % _NUM_FOLDS
            best, _ = _by_folds(fit_one, train, examples, folds, advance)
            model = fit_one(train, rows, examples, best, None)
            how = f"{_NUM_FOLDS} folds within training"
        num_coefficients = examples.num_classes * train.shape[1]
        if is_exact and is_settled and num_coefficients <= _MAX_NEWTON_COEFFICIENTS:
            model = _fit_exact(
                train.astype(np.float64), rows, examples, best, model, by_newton=True
            )
            advance(1)
    solver = "L-BFGS" if is_exact else "averaged stochastic gradient descent"
    return Chosen(model, {"C": best, "chosen_on": how, "solver": solver})


def out_of_fold(
    features: Any, examples: Examples, folds: np.ndarray, *, description: str
) -> np.ndarray:
    """The logits of each training text by a model that was not fitted on its fold.

    The strength is the one with the least loss over all folds: one number of all the
    texts, which tells next to nothing of any one.

    Args:
      features: number [n, m], dense or CSR.
      examples: the labels of "train".
      folds: int [n], from 0 on.
      description: what the progress line calls the model.

    Returns:
      float32 [n, classes]; NaN for a fold without which one label alone is left.
    """
    fit_one = _solver(features, examples, MAX_EXACT_NUMBERS)
    with _fitting(description) as advance:
        return _by_folds(fit_one, features, examples, folds, advance)[1]


def _solver(train: Any, examples: Examples, max_exact_numbers: int) -> _FitOne:
    num_numbers = int(train.nnz if hasattr(train, "nnz") else train.size)
    num_coefficients = num_outputs(examples.num_classes) * train.shape[1]
    is_exact = (
        num_numbers <= max_exact_numbers and num_coefficients <= MAX_EXACT_COEFFICIENTS
    )
    return _fit_exact if is_exact else _fit_in_blocks


@contextlib.contextmanager
def _fitting(description: str) -> Iterator[Callable[[int], object]]:
    """A progress line, and one thread."""
    from threadpoolctl import threadpool_limits

    # Threads of the linear algebra gain little here, change the last digits, and on a
    # busy machine wait for each other: seven times the processor's time was seen.
    limited = threadpool_limits(1)
    counter = console.counter(f"{description}: fits", unit="fits")
    with limited, counter as advance:
        yield advance


def num_outputs(num_classes: int) -> int:
    """How many coefficients a feature has: two classes share one."""
    return 1 if num_classes == 2 else num_classes


# (features, rows to fit, examples, C, a model to begin from) → the model.
_FitOne = Callable[[Any, np.ndarray, Examples, float, "Model | None"], Model]


def _by_validation(
    fit_one: _FitOne,
    features: Mapping[str, Any],
    examples: Examples,
    rows: np.ndarray,
    advance: Callable[[int], object],
) -> tuple[float, Model]:
    """The strength with the least loss on validation, and its model."""
    models: dict[float, Model] = {}
    last: Model | None = None

    def loss(strength: float) -> float:
        nonlocal last
        last = fit_one(features["train"], rows, examples, strength, last)
        models[strength] = last
        advance(1)
        return _loss(last, features["validation"], examples.labels["validation"])

    best = _least(loss)
    return best, models[best]


def _by_folds(
    fit_one: _FitOne,
    train: Any,
    examples: Examples,
    folds: np.ndarray,
    advance: Callable[[int], object],
) -> tuple[float, np.ndarray]:
    """The strength with the least loss over the folds, and its logits out of fold.

    Args:
      folds: int [n], of each training text, from 0 on.
    """
    labels, rows = examples.labels["train"], np.arange(len(folds))
    splits = [
        (rows[folds != fold], rows[folds == fold])
        for fold in range(_NUM_FOLDS)
        # Of eight texts, a fold may be empty or leave one label alone to learn.
        if (folds == fold).any() and len(np.unique(labels[folds != fold])) > 1
    ]
    logits: dict[float, np.ndarray] = {}
    last: list[Model | None] = [None] * len(splits)

    def loss(strength: float) -> float:
        total = 0.0
        logits[strength] = np.full([len(rows), examples.num_classes], np.nan, "f4")
        for index, (fitted, left_out) in enumerate(splits):
            model = fit_one(train, fitted, examples, strength, last[index])
            last[index] = model
            given = model.logits(train[left_out])
            logits[strength][left_out] = given
            total += len(left_out) * _loss_of(given, labels[left_out])
            advance(1)
        return total

    best = _least(loss) if splits else 1.0
    if not splits:
        loss(best)
    return best, logits[best]


def _least(loss: Callable[[float], float]) -> float:
    """The strength of least loss, for a loss that first falls and then rises."""
    losses: dict[float, float] = {}
    for strength in _DECADES:
        losses[strength] = loss(strength)
        if losses[strength] > min(losses.values()):
            break
    best = min(losses, key=losses.__getitem__)
    for strength in (best / _HALF_DECADE, best * _HALF_DECADE):
        losses[strength] = loss(strength)
    return min(losses, key=losses.__getitem__)


def _loss(model: Model, features: Any, labels: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats."""
    return _loss_of(model.logits(features), labels)


def _loss_of(logits: np.ndarray, labels: np.ndarray) -> float:
    log_probabilities = Predictions(logits).log_probabilities
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def _weights(examples: Examples, rows: np.ndarray) -> np.ndarray | None:
    weights = examples.example_weights
    return None if weights is None else weights[rows]


def _fit_exact(
    train: Any,
    rows: np.ndarray,
    examples: Examples,
    strength: float,
    start: Model | None,
    *,
    by_newton: bool = False,
) -> Model:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(
        C=strength,
        solver="newton-cholesky" if by_newton else "lbfgs",
        max_iter=_MAX_NEWTON_STEPS if by_newton else _MAX_EXACT_STEPS,
        tol=_NEWTON_TOLERANCE if by_newton else _TOLERANCE,
        warm_start=True,
    )
    if start is not None:
        # The next stronger one is near: a third of the steps.
        estimator.coef_ = start.estimator.coef_.astype(train.dtype)
        estimator.intercept_ = start.estimator.intercept_.astype(train.dtype)
        estimator.classes_ = start.estimator.classes_
    chosen = train if len(rows) == train.shape[0] else train[rows]
    with warnings.catch_warnings():
        # With next to no regularisation the minimum is far; how far, is of no matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Nobody needs to guess whether labels are classes: here they are.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        estimator.fit(
            chosen,
            examples.labels["train"][rows],
            sample_weight=_weights(examples, rows),
        )
    return Model(estimator, examples)


def _fit_in_blocks(
    train: Any,
    rows: np.ndarray,
    examples: Examples,
    strength: float,
    start: Model | None,
) -> Model:
    """Averaged stochastic gradient descent; it always begins anew."""
    from sklearn.linear_model import SGDClassifier

    labels = examples.labels["train"]
    estimator = SGDClassifier(
        loss="log_loss",
        alpha=1 / (strength * len(rows)),
        # From the second pass on.
        average=len(rows),
        random_state=examples.seed,
    )
    classes = np.unique(labels[rows])
    generator = np.random.default_rng(examples.seed)
    for block in _blocks(rows, generator):
        estimator.partial_fit(
            train[block],
            labels[block],
            classes=classes,
            sample_weight=_weights(examples, block),
        )
    return Model(estimator, examples)


def _blocks(rows: np.ndarray, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Random rows, as often as there are passes.

    Sorted within a block, which is shuffled by the solver: so a file is read forwards.
    """
    for _ in range(_NUM_PASSES):
        order = generator.permutation(rows)
        for first in range(0, len(order), _ROWS_AT_ONCE):
            yield np.sort(order[first : first + _ROWS_AT_ONCE])

"""Cross-validation of classifiers so simple that their true accuracy is known.

    scores, truth = simulate("one_feature", num_texts=100, num_folds=5, num_studies=1000)

Made so are the figures in the docstring of `trainer/studies/estimates.py`.
"""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

import numpy as np
import scipy.special


class _Rule(NamedTuple):
    """A text x is of the second class where x · direction > bias."""

    direction: np.ndarray
    bias: float


class _Learner(NamedTuple):
    """How it learns, and where the second class's centre is; the first's is opposite."""

    learn: Callable[[np.ndarray, np.ndarray], _Rule]
    centre: np.ndarray


def _nearest_centroid(ahead: np.ndarray, behind: np.ndarray) -> _Rule:
    return _Rule(ahead - behind, float((ahead @ ahead - behind @ behind) / 2))


def _one_feature(ahead: np.ndarray, behind: np.ndarray) -> _Rule:
    """The feature whose means are the farthest apart: another text, another feature."""
    best = np.abs(ahead - behind).argmax()
    direction = np.zeros(len(ahead))
    direction[best] = np.sign(ahead[best] - behind[best])
    return _Rule(direction, float(direction @ (ahead + behind) / 2))


_LEARNERS: Mapping[str, _Learner] = {
    "nearest_centroid": _Learner(_nearest_centroid, np.eye(10)[0]),
    "one_feature": _Learner(_one_feature, np.array([0.6, 0.5, 0.4] + [0.0] * 17)),
}


def _draw(
    generator: np.random.Generator, count: int, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As many texts, of both classes in turn: vectors [count, d], signs [count]."""
    signs = np.tile([-1.0, 1.0], count // 2)
    vectors = generator.normal(size=(len(signs), len(centre)))
    return vectors + signs[:, np.newaxis] * centre, signs


def _learned(learner: _Learner, vectors: np.ndarray, signs: np.ndarray) -> _Rule:
    return learner.learn(
        vectors[signs > 0].mean(axis=0), vectors[signs < 0].mean(axis=0)
    )


def _true_accuracy(rule: _Rule, centre: np.ndarray) -> float:
    """On new texts, exactly."""
    middle, norm = rule.direction @ centre, np.linalg.norm(rule.direction)
    ends = np.array([middle - rule.bias, middle + rule.bias]) / norm
    return float(scipy.special.ndtr(ends).mean())


def simulate(
    name: str, *, num_texts: int, num_folds: int, num_studies: int, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Accuracies [studies, folds], and the mean true one of as many training texts."""
    learner, generator = _LEARNERS[name], np.random.default_rng(seed)
    num_trained = num_texts * (num_folds - 1) // num_folds
    rules = [
        _learned(learner, *_draw(generator, num_trained, learner.centre))
        for _ in range(3000)
    ]
    truth = np.mean([_true_accuracy(rule, learner.centre) for rule in rules])
    # Dealt out within each class, whose texts stand in turn.
    folds = np.arange(num_texts) // 2 % num_folds
    scores = np.empty((num_studies, num_folds))
    for study in range(num_studies):
        vectors, signs = _draw(generator, num_texts, learner.centre)
        for fold in range(num_folds):
            is_out = folds == fold
            rule = _learned(learner, vectors[~is_out], signs[~is_out])
            answers = np.sign(vectors[is_out] @ rule.direction - rule.bias)
            scores[study, fold] = (answers == signs[is_out]).mean()
    return scores, float(truth)

"""A linear probe: what logistic regression can read off an encoder's vectors.

    probed = probe(vectors, labels, num_classes=5, seed=0)
    probed.answers                          # int32 [n], each by a probe not fitted on it
    (probed.answers == labels).mean()
    asked = probed.ask(vectors_after)       # the same probes, of other vectors

Alain and Bengio 2017, "Understanding intermediate layers using linear classifier
probes". Each text is answered by a probe that was fitted on other texts: five folds,
within class. A probe that is fitted again to changed vectors tells what can still be
read off them; the old probe, asked about them, tells what moved as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trainer.baselines import logistic_regression
from trainer.baselines.examples import Examples
from trainer.tasks.predictions import Predictions

NUM_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Probed:
    """Probes, each of its fold, and what they answer.

    Attributes:
      answers: int32 [n], of the vectors that they were fitted on the others of.
      folds: int64 [n], the fold that each text is in.
      probes: by fold: the model, and what is subtracted from vectors and what they
        are divided by first.
    """

    answers: np.ndarray
    folds: np.ndarray
    probes: tuple[tuple[logistic_regression.Chosen, np.ndarray, float], ...]

    def ask(self, vectors: np.ndarray) -> np.ndarray:
        """int32 [n], of other vectors [n, m] of the same texts."""
        answers = np.empty(len(vectors), np.int32)
        for fold, (model, mean, scale) in enumerate(self.probes):
            is_asked = self.folds == fold
            if is_asked.any():
                logits = model.logits((vectors[is_asked] - mean) / scale)
                answers[is_asked] = Predictions(logits).predicted
        return answers


def probe(
    vectors: np.ndarray, labels: np.ndarray, *, num_classes: int, seed: int
) -> Probed:
    """Fits probes, and asks each about the fold that it has not seen.

    Args:
      vectors: float32 [n, m].
      labels: int32 [n], of two classes at least, with two texts each at least.
      seed: of the folds.
    """
    folds = _folds(labels, seed)
    probes = []
    for fold in range(NUM_FOLDS):
        is_train = folds != fold
        train = vectors[is_train].astype(np.float64)
        mean, scale = train.mean(axis=0), float(np.sqrt(train.var(axis=0).mean()))
        scale = scale or 1.0
        fitted = logistic_regression.fit(
            {"train": ((train - mean) / scale).astype(np.float32)},
            Examples(
                labels={"train": labels[is_train]},
                num_classes=num_classes,
                example_weights=None,
                seed=seed,
            ),
            description=f"probe {fold + 1} of {NUM_FOLDS}",
        )
        probes.append((fitted, mean, scale))
    unasked = Probed(np.empty(0, np.int32), folds, tuple(probes))
    return dataclasses.replace(unasked, answers=unasked.ask(vectors))


def _folds(labels: np.ndarray, seed: int) -> np.ndarray:
    """int64 [n]: each class is dealt to the folds in random order."""
    generator = np.random.default_rng(seed)
    folds = np.empty(len(labels), np.int64)
    dealt = 0
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        # Small classes must not all begin at the first fold.
        folds[rows] = (dealt + np.arange(len(rows))) % NUM_FOLDS
        dealt += len(rows)
    return folds

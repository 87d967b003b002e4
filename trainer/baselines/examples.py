"""What every simple model is given, and what it gives.

    examples = Examples(labels, num_classes=2, example_weights=None, seed=0)
    answers = commonest.answers(examples)
    answers.logits["test"]                      # float32 [n, classes]

A baseline learns from the labels of "train", may choose its settings on those of
"validation", and answers every held-out split.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping

import numpy as np

# What a label without a training text counts, that its loss be finite.
_UNSEEN_COUNT = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """The labels of a run's texts.

    Attributes:
      labels: int32 [n], of "train" and of each held-out split.
      num_classes: how many labels there are.
      example_weights: float32 [n], what each training text weighs; None: all the same.
      seed: of everything that is drawn.
    """

    labels: Mapping[str, np.ndarray]
    num_classes: int
    example_weights: np.ndarray | None
    seed: int

    @property
    def held_out(self) -> tuple[str, ...]:
        """The splits to answer."""
        return tuple(name for name in self.labels if name != "train")

    @property
    def has_one_label(self) -> bool:
        """Whether all training texts have the same label: nothing can be learned."""
        return len(np.unique(self.labels["train"])) == 1

    def log_shares(self) -> np.ndarray:
        """Logarithm of each label's share of the training texts, float64 [classes]."""
        counts = np.bincount(self.labels["train"], minlength=self.num_classes)
        counted = np.maximum(counts, _UNSEEN_COUNT)
        log_shares: np.ndarray = np.log(counted / counted.sum())
        return log_shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a baseline says of the held-out texts.

    Attributes:
      title: its name within a sentence.
      logits: float32 [n, classes], of each held-out split.
      num_features: that it reads of a text at most; None: it reads none.
      settings: what was chosen, and how.
    """

    title: str
    logits: Mapping[str, np.ndarray]
    num_features: int | None
    settings: Mapping[str, float | int | str]

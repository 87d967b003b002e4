"""What every simple model is given, and what it gives.

    examples = Examples(labels, num_classes=2, example_weights=None, seed=0)
    answers = commonest.answers(examples)
    answers.logits["test"]                      # float32 [n, classes]

A baseline learns from the labels of "train", may choose its settings on those of
"validation", and answers every held-out split.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping, NamedTuple

import numpy as np

from trainer.data import label_sets

# What a label without a training text counts, that its loss be finite.
_UNSEEN_COUNT = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """The labels of a run's texts.

    Attributes:
      labels: int32 [n], of "train" and of each held-out split; where a text may have
        several, float32 [n, labels] of 0 and 1; where it has a number, float32 [n], in
        spreads from the mean of the training texts.
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
    def may_have_several(self) -> bool:
        """Whether a text may have several labels."""
        return self.labels["train"].ndim > 1

    @property
    def are_numbers(self) -> bool:
        """Whether texts have numbers instead of labels."""
        return label_sets.are_numbers(self.labels["train"])

    @property
    def has_one_label(self) -> bool:
        """Whether all training texts have the same label, or labels: nothing can be
        learned."""
        return label_sets.num_kinds(self.labels["train"]) == 1

    def of_label(self, index: int) -> Examples:
        """Of several labels a text one: class 1 has it, class 0 lacks it."""
        return dataclasses.replace(
            self,
            labels={
                name: each[:, index].astype(np.int32)
                for name, each in self.labels.items()
            },
            num_classes=2,
        )

    def log_odds(self) -> np.ndarray:
        """Of each label's share of the training texts, where a text may have several:
        float64 [labels]."""
        labels = self.labels["train"]
        count = np.clip(labels.sum(axis=0), _UNSEEN_COUNT, len(labels) - _UNSEEN_COUNT)
        log_odds: np.ndarray = np.log(count / (len(labels) - count))
        return log_odds

    def log_shares(self) -> np.ndarray:
        """Logarithm of each label's share of the training texts, float64 [classes]."""
        counts = np.bincount(self.labels["train"], minlength=self.num_classes)
        counted = np.maximum(counts, _UNSEEN_COUNT)
        log_shares: np.ndarray = np.log(counted / counted.sum())
        return log_shares


class Head(NamedTuple):
    """A linear classifier of vectors: logits = vectors @ kernel + bias.

    Attributes:
      kernel: float32 [features, classes].
      bias: float32 [classes].
    """

    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    """What a baseline says of the held-out texts.

    Attributes:
      title: its name within a sentence.
      logits: float32 [n, classes], of each held-out split.
      num_features: that it reads of a text at most; None: it reads none.
      settings: what was chosen, and how.
      head: that gives the answers, where it reads the encoder's vectors.
    """

    title: str
    logits: Mapping[str, np.ndarray]
    num_features: int | None
    settings: Mapping[str, float | int | str]
    head: Head | None = None

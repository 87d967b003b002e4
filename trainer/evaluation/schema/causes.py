"""Where errors gather, and the training texts beside them."""

from __future__ import annotations

import dataclasses

from trainer.evaluation.schema.aliases import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOutError:
    """A held-out text with a wrong answer.

    Attributes:
      text: its ends, where it is long.
      label: in the data.
      predicted: what the model gives.
      score: how sure it is.
      file: where the text was read.
      line: in the file, from 1.
    """

    text: str
    label: str
    predicted: str
    score: float
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorCluster:
    """Held-out texts that the encoder holds for alike.

    Attributes:
      num_texts: in it, right and wrong.
      num_errors: of them.
      confidence_interval_95: of the share of errors (Wilson).
      expected_errors: were errors as frequent as among all texts.
      errors_by_scores: what the model's own doubts come to: the sum of 1 - score.
      p_value: how likely as many errors or more would be by chance, adjusted for the
        number of clusters.
      stands_out: whether that is below 5%.
      words: that set its texts apart from the rest, most of all first.
      errors: the nearest to its middle.
    """

    num_texts: int
    num_errors: int
    confidence_interval_95: Interval
    expected_errors: float
    errors_by_scores: float
    p_value: float
    stands_out: bool
    words: tuple[str, ...]
    errors: tuple[HeldOutError, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainNeighbour:
    """A training text near another text.

    Attributes:
      text: its ends, where it is long.
      label: in the data.
      similarity: cosine of the two vectors, in [-1, 1].
      file: where the text was read.
      line: in the file, from 1.
    """

    text: str
    label: str
    similarity: float
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorNeighbours:
    """An error, and what the model learnt beside it.

    Attributes:
      error: one of the surest.
      neighbours: the nearest training texts, the nearest first.
    """

    error: HeldOutError
    neighbours: tuple[TrainNeighbour, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorCauses:
    """Errors by cause.

    Attributes:
      sentence: what was found, for people.
      split: of the texts.
      num_texts: held-out texts, all of them in a cluster.
      num_errors: of them.
      clusters: the least likely by chance first; empty where the texts are too few.
      neighbours: of the surest errors, surest first.
      num_train_texts: training texts that were searched.
      num_train_available: of so many.
    """

    sentence: str
    split: str
    num_texts: int
    num_errors: int
    clusters: tuple[ErrorCluster, ...]
    neighbours: tuple[ErrorNeighbours, ...]
    num_train_texts: int
    num_train_available: int

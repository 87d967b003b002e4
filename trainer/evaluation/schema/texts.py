"""Single texts in the report: what was predicted of them, and why."""

from __future__ import annotations

import dataclasses

from trainer.evaluation.schema.aliases import SampleChoice


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of one text.

    Attributes:
      label: the name of the label that is given.
      score: its probability.
      probabilities: of all labels, in their order.
      expected: the mean of the labels under these, where labels have an order, of
        labels that are no numbers of their positions from 0; else None.
    """

    label: str
    score: float
    probabilities: tuple[float, ...]
    expected: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A text, predicted before and after fine-tuning.

    Attributes:
      text: shortened in its middle if it is a long one of the data.
      before: None if the start weights were not evaluated.
      label: the name of its label in the data; None: it is not of the data.
      why: how it came to be shown: by --sample_texts, or drawn from the held-out texts.
    """

    text: str
    before: Prediction | None
    after: Prediction
    label: str | None
    why: SampleChoice


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedWord:
    """A word, and how far it moved the answer.

    Attributes:
      begin, end: in bytes of the text's UTF-8.
      attribution: above 0 towards the label that was given, below it away from it.
    """

    begin: int
    end: int
    attribution: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """A held-out text, with the words that moved the answer to it.

    Attributes:
      text: whole.
      label: the name of its label in the data.
      predicted: the name of the label that the model gives, or of all.
      explained: of these the one that is explained; of several the most probable.
      score: the probability of what is given.
      why: how it came to be shown.
      words: those that are read, in the text's order.
      difference: what the logits speak for the label, less what they do where each
        token is [MASK]; of two classes in log-odds. The words add up to it, but for
        `completeness_gap`.
      file: where the text was read, as of `ConfidentError`.
      line: likewise.
    """

    text: str
    label: str
    predicted: str
    explained: str
    score: float
    why: SampleChoice
    words: tuple[ExplainedWord, ...]
    difference: float
    completeness_gap: float
    file: str
    line: int

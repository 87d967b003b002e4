"""A challenger beside a champion."""

from __future__ import annotations

import dataclasses

from trainer.evaluation.schema.aliases import Interval, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceContest:
    """The two models on the texts of a slice.

    Attributes:
      slice: what the texts have in common: "label", "words", or a column.
      value: of it.
      difference: of accuracies, challenger minus champion.
      p_holm: McNemar's exact p, corrected for the number of slices.
      is_worse: whether a loss is shown.
      blocks: whether it holds the challenger back: it is worse, and large enough.
    """

    slice: str
    value: str
    num_texts: int
    champion: float
    challenger: float
    difference: float
    interval_95: Interval
    p_holm: float
    is_worse: bool
    blocks: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """The two models on the same texts.

    Attributes:
      verdict: of all texts.
      margin: a loss that would be borne.
      num_texts: that both answered, and neither was trained or chosen on.
      num_left_out: texts that one of them was.
      champion: accuracy.
      champion_interval_95: Wilson's; likewise of the challenger.
      difference: of accuracies, challenger minus champion.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided.
      num_discordant: texts on which exactly one of them is right.
      num_only_champion_right: of these.
      num_only_challenger_right: of these.
      texts_to_settle: how many texts would probably end "undecided"; None: it is settled,
        or none would.
      slices: those that lose most first.
    """

    verdict: Verdict
    margin: float
    num_texts: int
    num_left_out: int
    champion: float
    champion_interval_95: Interval
    challenger: float
    challenger_interval_95: Interval
    difference: float
    interval_95: Interval
    mcnemar_p: float
    num_discordant: int
    num_only_champion_right: int
    num_only_challenger_right: int
    texts_to_settle: int | None
    slices: tuple[SliceContest, ...]

    @property
    def blocking(self) -> tuple[SliceContest, ...]:
        """The slices that hold the challenger back."""
        return tuple(each for each in self.slices if each.blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Challenge(Contest):
    """The trained model, as the challenger, beside the one that serves.

    Attributes:
      path: of the champion's version.
      sentence: the verdict in words.
      split: whose texts both answered, but for those that the champion has seen.
    """

    path: str
    sentence: str
    split: str

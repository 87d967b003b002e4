"""A challenger beside a champion where both give numbers: distances, not accuracies.

All distances are in the unit of the user's numbers, and of two the smaller is the better.
"""

from __future__ import annotations

import dataclasses

from trainer.evaluation.schema.aliases import Interval, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberSliceContest:
    """The two models on the texts of a slice.

    Attributes:
      slice: what the texts have in common: "number", "words", or a column.
      value: of it; of "number" and "words" a range.
      champion: mean absolute error; likewise of the challenger.
      mae_difference: challenger minus champion: above 0 the challenger is farther off.
      interval_95: of the difference, by the bootstrap paired by text; None of fewer than
        10 texts.
      p_holm: of Student's paired test, two-sided, corrected for the number of slices.
      is_worse: whether a loss is shown.
      blocks: whether it holds the challenger back: it is worse, and large enough.
    """

    slice: str
    value: str
    num_texts: int
    champion: float
    challenger: float
    mae_difference: float
    interval_95: Interval | None
    p_holm: float
    is_worse: bool
    blocks: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberContest:
    """The two models on the same texts.

    Attributes:
      verdict: of all texts.
      margin: a loss that would be borne, as a share of the champion's mean absolute error.
      num_texts: that both answered, and neither was trained or chosen on.
      num_left_out: texts that one of them was.
      champion: mean absolute error; likewise of the challenger.
      champion_interval_95: by the bootstrap over texts; None of fewer than 10 texts.
      mae_difference: challenger minus champion: below 0 the challenger is nearer.
      interval_95: of the difference, by the bootstrap paired by text; None of fewer than
        10 texts.
      num_champion_nearer: texts on which it is.
      num_challenger_nearer: likewise.
      texts_to_settle: how many texts would probably end "undecided"; None: it is settled,
        or none would.
      slices: those that lose most first.
    """

    verdict: Verdict
    margin: float
    num_texts: int
    num_left_out: int
    champion: float
    champion_interval_95: Interval | None
    challenger: float
    challenger_interval_95: Interval | None
    mae_difference: float
    interval_95: Interval | None
    num_champion_nearer: int
    num_challenger_nearer: int
    texts_to_settle: int | None
    slices: tuple[NumberSliceContest, ...]

    @property
    def blocking(self) -> tuple[NumberSliceContest, ...]:
        """The slices that hold the challenger back."""
        return tuple(each for each in self.slices if each.blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberChallenge(NumberContest):
    """The trained model, as the challenger, beside the one that serves; as `Challenge`."""

    path: str
    sentence: str
    split: str

"""How the answers differ between groups of texts, and when words are swapped."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.evaluation.schema.aliases import GroupRateName, Interval, SliceGapName


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupRate:
    """A rate of one group of texts.

    Attributes:
      measure: "tpr": of the texts that have the label, how many are given it; "fpr": of
        those that have it not; "share_chosen": of all.
      label: that the rate is of; None for the accuracy.
      value: None where the group has no text that the rate is of.
      num_texts: that it is of.
      interval_95: Wilson's; None where the value is.
      difference: to the same rate of all other texts; None where one of the two is.
      difference_interval_95: by bootstrap over texts; None without resamples.
    """

    measure: GroupRateName
    label: str | None
    value: float | None
    num_texts: int
    interval_95: Interval | None
    difference: float | None
    difference_interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceGroup:
    """The texts that mention a group, or have a value in a column.

    Attributes:
      is_judged: whether they are --min_slice or more.
    """

    name: str
    num_texts: int
    is_judged: bool
    rates: tuple[GroupRate, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceGap:
    """The largest rate less the smallest, of the groups that are judged.

    Attributes:
      measure: as of `GroupRate`; or "equalized_odds", the larger of the gaps of TPR and
        FPR.
      value: 0 or more: it is above 0 by chance alone.
      largest: the group with the largest rate.
      smallest: the one with the smallest.
      interval_95: by bootstrap over texts; None without resamples.
      by_chance_95: 95% of the gaps stay below this where the texts of each label are
        dealt out to the groups anew; None without resamples.
      p_holm: how often such a gap is as large, by Holm for all gaps of the run.
      is_shown: whether that is below 0.05.
    """

    measure: SliceGapName
    label: str | None
    value: float
    largest: str
    smallest: str
    interval_95: Interval | None
    by_chance_95: float | None
    p_holm: float | None
    is_shown: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSlices:
    """The held-out texts, by the groups of one kind.

    Attributes:
      kind: of --group_terms, or a column of --slice_fields.
      source: a text may mention several groups; in a column it has one value.
      num_without: texts of no group.
      num_left_out: groups that are not shown, being the smallest of many.
      gaps: of rates that two groups at least have that are judged.
    """

    kind: str
    source: Literal["terms", "column"]
    num_without: int
    num_left_out: int
    groups: tuple[SliceGroup, ...]
    gaps: tuple[SliceGap, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """What becomes of the answers when words of texts are swapped.

    Attributes:
      num_available: held-out texts that have such a word.
      num_texts: drawn of these; those that a swap leaves as they are do not count.
      words_per_text: how many words are swapped in one, on the mean; None without texts.
      mean_change: of the probability, without its sign; None without texts.
      mean_change_interval_95: Student's; None of fewer than two texts.
      num_flips: texts that get another label.
      flips: the share of these; None without texts.
      flips_interval_95: Wilson's.
      accuracy_before: of the texts as they are; None without texts.
      accuracy_after: of the swapped ones.
    """

    num_available: int
    num_texts: int
    words_per_text: float | None
    mean_change: float | None
    mean_change_interval_95: Interval | None
    num_flips: int
    flips: float | None
    flips_interval_95: Interval | None
    accuracy_before: float | None
    accuracy_after: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignedGap:
    """How much more probable the class is with a group's words than with others.

    Attributes:
      num_pairs: of texts, or of sentences, that differ in the group alone.
      mean: of the differences of the probability; None without pairs.
      interval_95: Student's; None of fewer than two pairs.
    """

    group: str
    num_pairs: int
    mean: float | None
    interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemplateGroup:
    """What the model says of neutral sentences about a group.

    Attributes:
      mean: of the probability of the class.
      share_chosen: of the sentences that are given it.
    """

    group: str
    num_texts: int
    mean: float
    lowest: float
    highest: float
    share_chosen: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemplateFacts:
    """Neutral sentences that differ in the group alone; they are nobody's texts.

    Attributes:
      sentences: with "{term}" where the group's words are put.
      gap: the largest mean less the smallest.
      floor: the mean distance between two wordings of one sentence with one word.
      signed: of each group to the others, sentence by sentence.
    """

    sentences: tuple[str, ...]
    groups: tuple[TemplateGroup, ...]
    gap: float
    floor: float
    signed: tuple[SignedGap, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Held-out texts with the words of one group put for those of another.

    Attributes:
      kind: whose words were swapped.
      changes: in the answers.
      num_approximate: of the texts, those with a word that has several partners, as
        "her" has "his" and "him".
      signed: by group, of the texts that mention no other group of the swap.
      is_beyond_floor: whether the mean change is shown to be larger than that of
        harmless synonyms: their intervals do not meet. None: one of the two is not
        measured.
      templates: None where there are none, or no class to look at.
    """

    kind: str
    changes: Changes
    num_approximate: int
    signed: tuple[SignedGap, ...]
    is_beyond_floor: bool | None
    templates: TemplateFacts | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """A sentence that is added to texts, and what it must not do.

    Attributes:
      sentence: that is added.
      place: where.
      must_not: "lower" or "raise" the probability of the positive class.
      num_wrong: texts in which it does, by more than a hundredth.
      wrong: the share of these; None without texts.
      wrong_interval_95: Wilson's.
      mean_change: of the probability, with its sign; None without texts.
    """

    sentence: str
    place: Literal["beginning", "end"]
    must_not: Literal["lower", "raise"]
    num_texts: int
    num_wrong: int
    wrong: float | None
    wrong_interval_95: Interval | None
    mean_change: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    """The trained model on groups of held-out texts. What is fair it does not say.

    Attributes:
      sentence: the result.
      split: of the texts.
      positive_label: the class that is looked at; None: of many classes each one's
        rates, and the probability of a text's own label.
      min_slice: texts that a group must have to be judged.
      num_labels_left_out: classes whose rates are not looked at, being the rarest.
      slices: by kind and column; empty where no text is in a group.
      counterfactuals: of --counterfactuals.
      floor: the same of harmless synonyms; None without --counterfactuals.
      directions: of --counterfactuals=direction.
      num_predictions: that all of it cost.
    """

    sentence: str
    split: str
    positive_label: str | None
    min_slice: int
    num_labels_left_out: int
    slices: tuple[GroupSlices, ...]
    counterfactuals: tuple[Counterfactual, ...]
    floor: Changes | None
    directions: tuple[Direction, ...]
    num_predictions: int

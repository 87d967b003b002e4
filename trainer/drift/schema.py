"""What a drift report holds: the JSON beside the page, field by field.

    json.dumps(dataclasses.asdict(facts))       # facts: DriftFacts

A value of None says that it could not be measured; `too_little` then says why.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

Interval = tuple[float, float]
MeasureName = Literal["answers", "scores", "lengths", "unknown_tokens", "domain"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """One way to hold new texts against the reference.

    Attributes:
      name: of what.
      title: the same in words.
      size: how far apart the two are. Of "domain" the area under the ROC curve of a
        classifier that tells them apart, 0.5: not at all. Of the others the total
        variation distance, the share of the new texts that would have to be otherwise
        for the shares to be the same: 0 to 1.
      chance_size: what the size is on average where nothing has drifted.
      chance_high: what it then exceeds one time in twenty.
      p_value: of a permutation test: how often chance alone gives as much.
      adjusted_p_value: the same by Holm's method, for several measures are looked at.
      is_drifted: whether it is at most the level.
      too_little: why nothing could be measured; "" where it could be.
      num_reference, num_new: texts that were held against each other.
    """

    name: MeasureName
    title: str
    size: float | None
    chance_size: float | None
    chance_high: float | None
    p_value: float | None
    adjusted_p_value: float | None
    is_drifted: bool | None
    too_little: str
    num_reference: int
    num_new: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Histogram:
    """Texts by bin.

    Attributes:
      name: of the measure.
      bins: the bins' names.
      reference: texts of the reference by bin.
      new: new texts by bin.
    """

    name: MeasureName
    bins: tuple[str, ...]
    reference: tuple[int, ...]
    new: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelShare:
    """One label's share of the texts.

    Attributes:
      label: its name.
      train: its share of the training texts.
      held_out: its share of the reference's held-out texts.
      answered_held_out: how often the model answers it there.
      answered_new: how often the model answers it to the new texts.
      estimated_new: its share of the new texts as the answers say it, corrected for the
        model's confusions; None: cannot be estimated.
      interval_95: of the estimate.
    """

    label: str
    train: float
    held_out: float
    answered_held_out: float
    answered_new: float
    estimated_new: float | None
    interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DriftFacts:
    """New texts beside the reference of an export.

    Attributes:
      sentence: the verdict.
      is_drifted: whether a measure says so; None: none could be measured.
      level: of reports on texts that have not drifted, at most this share says so.
      model: folder of the export.
      held_out: the split of the reference's answers and vectors; "train": nothing was
        held out, and scores of trained texts are too sure.
      num_read: new texts there were.
      num_texts: how many of them were drawn and asked.
      measures: all, in a fixed order.
      histograms: of those that have bins.
      unknown_tokens: shares of the tokens read, of the training texts and of the new.
      label_shares: by label.
      no_label_shares: why label shares cannot be estimated; "" where they can be.
      most_unlike: new texts that the domain classifier is surest of, where it finds
        drift.
    """

    sentence: str
    is_drifted: bool | None
    level: float
    model: str
    held_out: str
    num_read: int
    num_texts: int
    measures: tuple[Measure, ...]
    histograms: tuple[Histogram, ...]
    unknown_tokens: tuple[float | None, float | None]
    label_shares: tuple[LabelShare, ...]
    no_label_shares: str
    most_unlike: tuple[str, ...]

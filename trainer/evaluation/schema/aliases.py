"""Short names of types that several parts of the report share."""

from __future__ import annotations

from typing import Any, Literal, Mapping

# The low and the high end of a 95% confidence interval.
Interval = tuple[float, float]
# Of a challenger beside a champion; see `champion/verdicts.py`.
Verdict = Literal["better", "not_worse", "undecided", "worse"]
# Of a group of texts; see `GroupRate`.
GroupRateName = Literal["accuracy", "tpr", "fpr", "share_chosen"]
# Of the gap of such a rate between groups; see `SliceGap`.
SliceGapName = Literal["accuracy", "tpr", "fpr", "share_chosen", "equalized_odds"]
# Why a text is shown as a sample.
SampleChoice = Literal["given", "surest right", "surest wrong", "nearest to the border"]
# Facts by name: versions of Python and packages, "system", "processor",
# "num_processors", and "chosen", sentences on what was chosen automatically. Not a
# dataclass, because names of packages hold hyphens.
Environment = Mapping[str, str]
# The settings as `dataclasses.asdict` of the run's config gives them.
Config = Mapping[str, Any]

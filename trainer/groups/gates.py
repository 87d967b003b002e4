"""What holds a version back for the sake of groups: --max_slice_gap and --max_flips.

broken(groups, config.serving)      # ["the accuracy on texts ...; --max_slice_gap ..."]
"""

from __future__ import annotations

from typing import Iterator

from trainer.config import ServingConfig
from trainer.evaluation import group_sentences
from trainer.evaluation.points import points
from trainer.evaluation.schema import Groups

# Not the share chosen, which follows the labels of the texts as well.
_GATED = ("accuracy", "tpr", "fpr")


def broken(groups: Groups, config: ServingConfig) -> list[str]:
    """Each limit that is shown to be broken, in words without values of columns."""
    return [
        *_gaps(groups, config.max_slice_gap),
        *_flips(groups, config.max_flips),
    ]


def _gaps(groups: Groups, limit: float) -> Iterator[str]:
    for kind in groups.slices:
        for gap in kind.gaps:
            is_larger = gap.interval_95 is not None and gap.interval_95[0] > limit
            if limit and gap.measure in _GATED and gap.is_shown and is_larger:
                said = group_sentences.gap(
                    kind, gap, names_groups=kind.source == "terms"
                )
                yield f"{said}; --max_slice_gap allows {points(limit)}"


def _flips(groups: Groups, limit: float) -> Iterator[str]:
    for each in groups.counterfactuals:
        interval = each.changes.flips_interval_95
        if limit and interval is not None and interval[0] > limit:
            yield f"{group_sentences.flips(each)}; --max_flips allows {limit:.1%}"

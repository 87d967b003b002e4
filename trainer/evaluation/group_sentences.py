"""What was measured on groups of texts, in words.

    summary(slices, counterfactuals, floor)     # the report's `groups.sentence`
    gap(slices[0], slices[0].gaps[0])           # "the accuracy on texts that ..."
    public(groups)                              # for the model card, without values of columns

None of them says what is fair: a gap may come from the texts, from the labels or from the
model, and whom it wrongs is for people to judge.
"""

from __future__ import annotations

from typing import Iterator, Mapping, Sequence

from trainer.evaluation.points import points, signed_points
from trainer.evaluation.schema import (
    Changes,
    Counterfactual,
    Groups,
    GroupSlices,
    SignedGap,
    SliceGap,
    TemplateFacts,
)

_MEASURES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "share_chosen": "share chosen",
    "equalized_odds": "true or false positive rate",
}


def measure(name: str, label: str | None) -> str:
    """A rate for people: "true positive rate of good"."""
    return _MEASURES[name] + (f" of {label}" if label is not None else "")


def summary(
    slices: Sequence[GroupSlices],
    counterfactuals: Sequence[Counterfactual],
    floor: Changes | None,
) -> str:
    """The result in a sentence or two, with full stops."""
    parts = []
    gaps = [each for kind in slices for each in kind.gaps]
    if gaps:
        shown = sum(each.is_shown for each in gaps)
        parts.append(
            f"Of {_counted(len(gaps), 'gap')} between groups of texts"
            f" {shown or 'none'} {'are' if shown > 1 else 'is'} larger than chance gives."
        )
    elif slices:
        parts.append("No two groups of a kind have texts enough to be judged.")
    if counterfactuals:
        beyond = [each.kind for each in counterfactuals if each.is_beyond_floor]
        named = ", ".join(beyond) or "none of the kinds"
        than = "harmless synonyms"
        if floor is not None and floor.mean_change is not None:
            than += f" ({points(floor.mean_change, 2)} points of probability)"
        parts.append(f"Swapped words move the answers more than {than} for {named}.")
        apart = [
            each.kind
            for each in counterfactuals
            if each.templates is not None and beyond_wording(each.templates)
        ]
        if any(each.templates is not None for each in counterfactuals):
            parts.append(
                "Neutral sentences lie farther apart by group than by wording for"
                f" {', '.join(apart) or 'none of them'}."
            )
    return " ".join(parts)


def gap(kind: GroupSlices, found: SliceGap, *, names_groups: bool = True) -> str:
    """A gap in words.

    Args:
      names_groups: whether the groups are named; values of a column need not be anybody's
        to publish.
    """
    among = f" ({found.largest} above {found.smallest})" if names_groups else ""
    what = "mention" if kind.source == "terms" else "differ in"
    said = (
        f"the {measure(found.measure, found.label)} on texts that {what} {kind.kind}"
        f" differs by {points(found.value)} points between groups{among}"
    )
    if found.interval_95 is not None:
        said += f", {_interval(found.interval_95)}"
    if found.by_chance_95 is not None:
        said += f"; by chance 95% of such gaps are below {points(found.by_chance_95)}"
    return said


def flips(found: Counterfactual) -> str:
    """How many texts get another label, in words."""
    changes = found.changes
    if changes.flips is None or changes.flips_interval_95 is None:
        return f"no held-out text has words of {found.kind} to swap"
    low, high = changes.flips_interval_95
    return (
        f"{changes.flips:.1%} ({low:.1%} to {high:.1%}) of {changes.num_texts:,} texts"
        f" get another label when words of {found.kind} are swapped"
    )


def signed(found: SignedGap) -> str:
    """A signed gap in words: "female +0.3 points (0.1 to 0.5)"."""
    if found.mean is None:
        return f"{found.group} –"
    said = f"{found.group} {signed_points(found.mean)} points"
    if found.interval_95 is not None:
        said += f" ({' to '.join(map(signed_points, found.interval_95))})"
    return said


def excluding_zero(found: Counterfactual) -> list[SignedGap]:
    """The groups whose words make the class more or less probable, by the interval."""
    return [
        each
        for each in found.signed
        if each.interval_95 is not None
        and (each.interval_95[0] > 0 or each.interval_95[1] < 0)
    ]


def beyond_wording(templates: TemplateFacts) -> list[SignedGap]:
    """The groups whose sentences are told apart by more than two wordings of one are."""
    return [
        each
        for each in templates.signed
        if each.interval_95 is not None
        and (
            each.interval_95[0] > templates.floor
            or each.interval_95[1] < -templates.floor
        )
    ]


def public(groups: Groups) -> list[str]:
    """Sentences for a manifest and a model card: no text, no value of a column."""
    return [*_of_slices(groups), *_of_counterfactuals(groups)]


def _of_slices(groups: Groups) -> Iterator[str]:
    for kind in groups.slices:
        if not kind.gaps:
            count = len(kind.groups)
            yield (
                f"{kind.kind}: {_counted(count, 'group')} in the texts, and no two of"
                f" {groups.min_slice} texts or more to judge"
            )
            continue
        shown = [each for each in kind.gaps if each.is_shown]
        largest = max(shown or kind.gaps, key=lambda each: each.value)
        said = gap(kind, largest, names_groups=kind.source == "terms")
        end = "beyond chance" if shown else "no gap of this kind is beyond chance"
        yield f"{kind.kind}: {said}; {end}"


def _of_counterfactuals(groups: Groups) -> Iterator[str]:
    floor = groups.floor
    for each in groups.counterfactuals:
        said = f"{each.kind}: {flips(each)}"
        if floor is not None and floor.flips is not None:
            said += f", {floor.flips:.1%} of {floor.num_texts:,} for harmless synonyms"
        if each.templates is not None:
            said += (
                f"; neutral sentences lie {points(each.templates.gap)} points of"
                f" probability apart by group ({points(each.templates.floor)} by wording)"
            )
        yield said


def _interval(ends: tuple[float, float]) -> str:
    return f"95% interval {points(ends[0])} to {points(ends[1])}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"

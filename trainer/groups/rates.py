"""How good a model is on groups of texts, and how far the groups lie apart.

    grouping = Grouping("gender", "terms", ("female", "male"), members)
    found = slices([grouping], labels, predicted, label_names=names, looked_at=looked_at)
    found[0].groups[0].rates, found[0].gaps

A rate that has no texts is None, never 0. All is counted from tables of texts by label,
answer, and the groups that they are in. A bootstrap over texts draws such a table anew
(multinomial). A gap of largest less smallest is above 0 by chance alone, and so is its
interval: what tells is how large it is where the texts of each label are dealt out to the
groups anew, with the answers as they are (a permutation within labels).
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Iterator, Literal, Sequence

import numpy as np

from trainer.data import label_sets
from trainer.evaluation import large_sets
from trainer.evaluation.comparisons import holm
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.schema import (
    GroupRate,
    GroupRateName,
    GroupSlices,
    Interval,
    SliceGap,
    SliceGapName,
    SliceGroup,
)

_LEVEL = 0.05
# Of a column of names or numbers.
_MAX_GROUPS = 30
# Of classes, one after the other against the rest.
_MAX_LABELS = 10
# Without the accuracy, the rates of a label, in the order of `_ratios`.
_OF_LABEL: tuple[GroupRateName, ...] = ("tpr", "fpr", "share_chosen")


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Groups that texts are in.

    Attributes:
      name: of the kind, or of the column.
      groups: names.
      members: bool [n, groups].
    """

    name: str
    source: Literal["terms", "column"]
    groups: tuple[str, ...]
    members: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class LookedAt:
    """What is looked at, and how.

    Attributes:
      label_names: the classes in order.
      positive: the class whose rates are looked at; None: the commonest ones'.
      min_slice: texts that a group needs to be judged.
      num_resamples: of the bootstrap; 0: no intervals, and nothing is shown.
      seed: of all draws.
    """

    label_names: Sequence[str]
    positive: int | None
    min_slice: int
    num_resamples: int
    seed: int


@dataclasses.dataclass(frozen=True)
class _Rates:
    """Rates of one label, or the accuracy, of each group and of the rest of the texts.

    Attributes:
      measures: names.
      label: that they are of; None for the accuracy.
      numerators: float64 [measures, groups], whole numbers.
      denominators: likewise.
      values: float64 [measures, groups]; NaN: no texts.
      rest: the same of the texts outside of the group.
      resampled: float64 [resamples, measures, groups].
      resampled_rest: likewise.
      dealt: float64 [permutations, measures, groups].
    """

    measures: tuple[GroupRateName, ...]
    label: str | None
    numerators: np.ndarray
    denominators: np.ndarray
    values: np.ndarray
    rest: np.ndarray
    resampled: np.ndarray
    resampled_rest: np.ndarray
    dealt: np.ndarray


def slices(
    groupings: Sequence[Grouping],
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    looked_at: LookedAt,
) -> tuple[GroupSlices, ...]:
    """The rates and gaps of all groupings that have texts.

    Args:
      labels: the right ones, of at least one text; see `label_sets.pairs`.
      predicted: likewise, what the model gives.
    """
    present = [each for each in groupings if each.members.any()]
    kept = [_largest(each) for each in present]
    classes, _ = labels_looked_at(labels, looked_at)
    # Even the smallest p-value, times the number of gaps, must be able to be small.
    num_gaps = len(kept) * (1 + (1 + len(_OF_LABEL)) * len(classes))
    num_dealt = looked_at.num_resamples and max(
        looked_at.num_resamples, round(2 * num_gaps / _LEVEL)
    )
    measured = [
        list(_rates(grouping, labels, predicted, classes, looked_at, num_dealt))
        for grouping in kept
    ]
    found = [
        list(_gaps(grouping, rates, looked_at.min_slice))
        for grouping, rates in zip(kept, measured)
    ]
    tested = [gap.p_holm for each in found for gap in each if gap.p_holm is not None]
    adjusted = iter(holm(tested))
    return tuple(
        GroupSlices(
            kind=grouping.name,
            source=grouping.source,
            num_without=int((~original.members.any(axis=1)).sum()),
            num_left_out=len(original.groups) - len(grouping.groups),
            groups=tuple(_slice_groups(grouping, rates, looked_at.min_slice)),
            gaps=tuple(
                gap if gap.p_holm is None else _adjusted(gap, next(adjusted))
                for gap in gaps
            ),
        )
        for original, grouping, rates, gaps in zip(present, kept, measured, found)
    )


def labels_looked_at(
    labels: np.ndarray, looked_at: LookedAt
) -> tuple[tuple[int, ...], int]:
    """The classes whose rates are looked at, and how many are not."""
    if looked_at.positive is not None:
        return (looked_at.positive,), 0
    num_classes = len(looked_at.label_names)
    counts = label_sets.counts(labels, num_classes)
    commonest = np.argsort(-counts, kind="stable")[:_MAX_LABELS]
    return tuple(sorted(commonest.tolist())), max(0, num_classes - _MAX_LABELS)


def _largest(grouping: Grouping) -> Grouping:
    """With the largest groups alone, of those that have texts, in their order."""
    counts = grouping.members.sum(axis=0)
    chosen = np.sort(np.argsort(-counts, kind="stable")[:_MAX_GROUPS])
    chosen = chosen[counts[chosen] > 0]
    return dataclasses.replace(
        grouping,
        groups=tuple(grouping.groups[index] for index in chosen),
        members=grouping.members[:, chosen],
    )


def _rates(
    grouping: Grouping,
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[int],
    looked_at: LookedAt,
    num_dealt: int,
) -> Iterator[_Rates]:
    """The accuracy, and the rates of each class."""
    generator = np.random.default_rng(looked_at.seed)
    patterns, pattern_of = _patterns(grouping.members)

    def rates(
        strata: np.ndarray,
        outcomes: np.ndarray,
        measures: tuple[GroupRateName, ...],
        label: str | None,
    ) -> _Rates:
        cells = outcomes.astype(int) * len(patterns) + pattern_of
        tables, fixed = _tables(strata, outcomes, cells, len(patterns))
        # The accuracy does not ask which label it was.
        table = tables
        if label is None:
            table = tables.sum(axis=0, keepdims=True) + fixed
        # Float64, which BLAS multiplies: exact up to 2**53.
        inside = patterns.astype(np.float64)
        numerators, denominators = _ratios(*_by_group(table, inside), measures)
        resampled = _resampled(table, looked_at.num_resamples, generator)
        is_many = large_sets.is_large(len(strata))
        hits = _dealt_hits(tables, inside, num_dealt, generator, is_many=is_many)
        dealt = _dealt(
            hits, table, inside, fixed, count=num_dealt, is_of_all=label is None
        )
        outside = 1 - inside
        return _Rates(
            measures,
            label,
            numerators,
            denominators,
            values=_divided(numerators, denominators),
            rest=_divided(*_ratios(*_by_group(table, outside), measures)),
            resampled=_divided(*_ratios(*_by_group(resampled, inside), measures)),
            resampled_rest=_divided(*_ratios(*_by_group(resampled, outside), measures)),
            dealt=_divided(*_ratios(*dealt, measures)),
        )

    strata, _ = label_sets.classes_of(labels, looked_at.label_names)
    is_right = label_sets.is_right(labels, predicted)
    yield rates(strata, is_right, ("accuracy",), None)
    for index in classes:
        is_of_class = label_sets.having(labels, index).astype(np.int64)
        yield rates(
            is_of_class,
            label_sets.having(predicted, index),
            _OF_LABEL,
            looked_at.label_names[index],
        )


def _patterns(members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, in order, and the position of each row's among them."""
    # One string of bytes a row is sorted in a tenth of the time of so many columns.
    packed = np.packbits(members, axis=1)
    rows = np.ascontiguousarray(packed).view(f"S{packed.shape[1]}").ravel()
    _, firsts, numbers = np.unique(rows, return_index=True, return_inverse=True)
    return members[firsts], numbers.reshape(-1)


def _by_group(tables: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many texts have the outcome, and how many there are, by label and group.

    Args:
      tables: int [..., labels, 2, patterns]: texts by label, by outcome, and by pattern,
        which is the groups that they are in.
      inside: float64 [patterns, groups], 1 where a text of the pattern is counted.

    Returns:
      Two of float64 [..., labels, groups].
    """
    hits = tables[..., 1, :] @ inside
    return hits, hits + tables[..., 0, :] @ inside


def _ratios(
    hits: np.ndarray, totals: np.ndarray, measures: Sequence[GroupRateName]
) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of rates, each float64 [..., measures, groups].

    Args:
      hits: as of `_by_group`. Of a class the labels are two: another one, and this one.
      totals: likewise.
    """
    if tuple(measures) == ("accuracy",):
        return hits.sum(axis=-2)[..., None, :], totals.sum(axis=-2)[..., None, :]

    def rows(counts: np.ndarray) -> np.ndarray:
        everything = counts.sum(axis=-2)
        # Of a class that no text has, there is no row.
        has_class = counts.shape[-2] > 1
        of_class = counts[..., 1, :] if has_class else np.zeros_like(everything)
        return np.stack([of_class, counts[..., 0, :], everything], axis=-2)

    return rows(hits), rows(totals)


def _divided(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numerators / denominators)


def _resampled(
    table: np.ndarray, count: int, generator: np.random.Generator
) -> np.ndarray:
    """int64 [count, *table]: as many texts, drawn with replacement."""
    total = int(table.sum())
    drawn = generator.multinomial(total, table.ravel() / total, size=count)
    return drawn.reshape(count, *table.shape)


def _tables(
    strata: np.ndarray, outcomes: np.ndarray, cells: np.ndarray, num_patterns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Texts by label, outcome and pattern; and those whose outcomes cannot be dealt out.

    Of many texts with sets of labels, most sets are of texts that all have one outcome,
    which is theirs however they are dealt out. They are counted together.

    Args:
      strata: int [n], labels, or sets of them.
      outcomes: bool [n].
      cells: int [n], outcome and pattern.

    Returns:
      int64 [labels, 2, patterns], of labels with both outcomes alone if the texts are
      many; int64 [2, patterns], of all others.
    """
    num_cells = 2 * num_patterns
    fixed = np.zeros((2, num_patterns), np.int64)
    if large_sets.is_large(len(strata)) and strata.max() > 1:
        counts = np.bincount(strata)
        hits = np.bincount(strata[outcomes], minlength=len(counts))
        numbers = np.cumsum((hits > 0) & (hits < counts)) - 1
        is_dealt = ((hits > 0) & (hits < counts))[strata]
        fixed = np.bincount(cells[~is_dealt], minlength=num_cells).reshape(2, -1)
        strata, cells = numbers[strata[is_dealt]], cells[is_dealt]
    num_strata = int(strata.max()) + 1 if len(strata) else 0
    tables = np.bincount(strata * num_cells + cells, minlength=num_strata * num_cells)
    return tables.reshape(num_strata, 2, num_patterns), fixed


def _dealt_hits(
    tables: np.ndarray,
    inside: np.ndarray,
    count: int,
    generator: np.random.Generator,
    *,
    is_many: bool,
) -> Iterator[np.ndarray]:
    """Of each label float64 [count, groups]: hits where its texts are dealt out anew.

    How many hits each pattern has, of so many in all, is multivariate hypergeometric, as
    a shuffle of the texts makes it.
    """
    for counts in tables:
        # Of thousands of labels, most have few texts, and these few patterns.
        present = np.flatnonzero(counts.any(axis=0) | (not is_many))
        counts = counts[:, present]
        yield generator.multivariate_hypergeometric(
            counts.sum(axis=0), int(counts[1].sum()), size=count
        ) @ inside[present]


def _dealt(
    hits: Iterator[np.ndarray],
    table: np.ndarray,
    inside: np.ndarray,
    fixed: np.ndarray,
    *,
    count: int,
    is_of_all: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """What `_by_group` gives where the texts of each label are dealt out anew.

    Args:
      hits: of each label, float64 [count, groups].
      fixed: int64 [2, patterns], texts that are not dealt out.
      is_of_all: whether the labels are added up, one after the other.

    Returns:
      Two of float64 [count, labels, groups]; of all labels, [count, 1, groups].
    """
    _, totals = _by_group(table, inside)
    if is_of_all:
        found = np.zeros((count, 1, inside.shape[1])) + fixed[1] @ inside
        for of_label in hits:
            found[:, 0] += of_label
    else:
        found = np.stack(list(hits), axis=-2)
    return found, np.broadcast_to(totals, (count, *totals.shape))


def _slice_groups(
    grouping: Grouping, measured: Sequence[_Rates], min_slice: int
) -> Iterator[SliceGroup]:
    for index, name in enumerate(grouping.groups):
        count = int(grouping.members[:, index].sum())
        yield SliceGroup(
            name=name,
            num_texts=count,
            is_judged=count >= min_slice,
            rates=tuple(
                _group_rate(rates, row, index)
                for rates in measured
                for row in range(len(rates.measures))
            ),
        )


def _group_rate(rates: _Rates, row: int, group: int) -> GroupRate:
    count = int(rates.denominators[row, group])
    hits = int(rates.numerators[row, group])
    difference = float(rates.values[row, group] - rates.rest[row, group])
    resampled = rates.resampled[:, row, group] - rates.resampled_rest[:, row, group]
    has_rest = not np.isnan(difference)
    return GroupRate(
        measure=rates.measures[row],
        label=rates.label,
        value=hits / count if count else None,
        num_texts=count,
        interval_95=wilson_interval(hits, count) if count else None,
        difference=difference if has_rest else None,
        difference_interval_95=_interval(resampled) if has_rest else None,
    )


def _gaps(
    grouping: Grouping, measured: Sequence[_Rates], min_slice: int
) -> Iterator[SliceGap]:
    """Of each rate; and of TPR and FPR together. `p_holm` is not yet adjusted."""
    is_judged = grouping.members.sum(axis=0) >= min_slice
    for rates in measured:
        odds = []
        for row, measure in enumerate(rates.measures):
            compared = np.flatnonzero(is_judged & ~np.isnan(rates.values[row]))
            if len(compared) < 2:
                continue
            values = rates.values[row, compared].tolist()
            names = [grouping.groups[index] for index in compared]
            gap = _Gap(
                value=max(values) - min(values),
                largest=names[values.index(max(values))],
                smallest=names[values.index(min(values))],
                resampled=_spread(rates.resampled[:, row, compared]),
                dealt=_spread(rates.dealt[:, row, compared]),
            )
            if measure in ("tpr", "fpr"):
                odds.append(gap)
            yield gap.facts(measure, rates.label)
        if len(odds) == 2:
            yield _larger(*odds).facts("equalized_odds", rates.label)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Gap:
    """A gap beside those of resamples and of texts dealt out by chance: float64 [m]."""

    value: float
    largest: str
    smallest: str
    resampled: np.ndarray
    dealt: np.ndarray

    def facts(self, measure: SliceGapName, label: str | None) -> SliceGap:
        dealt = self.dealt[~np.isnan(self.dealt)]
        by_chance, p_value = None, None
        if len(dealt):
            by_chance = float(np.quantile(dealt, 1 - _LEVEL))
            # Rounding must not make the same table another gap.
            num_as_large = int((dealt >= self.value - 1e-12).sum())
            p_value = (1 + num_as_large) / (1 + len(dealt))
        return SliceGap(
            measure=measure,
            label=label,
            value=self.value,
            largest=self.largest,
            smallest=self.smallest,
            interval_95=_interval(self.resampled),
            by_chance_95=by_chance,
            p_holm=p_value,
            is_shown=False,
        )


def _larger(one: _Gap, other: _Gap) -> _Gap:
    """Of two the larger one; likewise in each resample."""
    return dataclasses.replace(
        one if one.value >= other.value else other,
        resampled=np.fmax(one.resampled, other.resampled),
        dealt=np.fmax(one.dealt, other.dealt),
    )


def _adjusted(gap: SliceGap, p_value: float) -> SliceGap:
    return dataclasses.replace(gap, p_holm=p_value, is_shown=p_value < _LEVEL)


def _spread(values: np.ndarray) -> np.ndarray:
    """float64 [m]: largest less smallest of each row [m, groups], without NaN."""
    with warnings.catch_warnings():
        # Of rows that are NaN throughout, which give NaN.
        warnings.filterwarnings("ignore", message="All-NaN", category=RuntimeWarning)
        spread: np.ndarray = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    return spread


def _interval(resampled: np.ndarray) -> Interval | None:
    """The middle 95% of resamples (percentile bootstrap); None without any."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975]).tolist()
    return low, high

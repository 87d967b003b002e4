"""How far a model's answers move when a text's groups are swapped, and nothing else.

    asked = Asked(texts=texts, labels=labels, ask=ask, choose=choose, positive=1, ...)
    floor, found = changes_of(asked, lexicon.floor)[0], of_kind(asked, lexicon, "gender")

Any change of words moves a probability a little. So the same is measured of harmless
synonyms, film and movie: the floor, beside which every other number is to be read.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Callable, Literal, Mapping, Sequence

import numpy as np

from trainer.evaluation.intervals import mean_interval, wilson_interval
from trainer.evaluation.schema import (
    Changes,
    Counterfactual,
    Direction,
    SignedGap,
    TemplateFacts,
    TemplateGroup,
)
from trainer.groups.lexicon import Kind, Lexicon, Templates
from trainer.groups.swaps import Swap, drawn_pair, swapped

# A probability that moves less than that has not moved.
_MOVED = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """Who is asked about which texts.

    Attributes:
      texts: n held-out texts.
      labels: int [n], the right ones.
      ask: texts → float64 [m, classes], probabilities.
      choose: probabilities [m, classes] → int [m], the labels that the model gives.
      positive: the class whose probability is looked at; None: each text's own label's.
      limit: most texts of a kind; 0: all.
      seed: draws them, and with what each is swapped.
    """

    texts: Sequence[str]
    labels: np.ndarray
    ask: Callable[[Sequence[str]], np.ndarray]
    choose: Callable[[np.ndarray], np.ndarray]
    positive: int | None
    limit: int
    seed: int


@dataclasses.dataclass(frozen=True)
class _Swapped:
    """A text that a swap changes.

    Attributes:
      row: of the text.
      swap: what became of it.
      gone: the group whose words it had, if of the pair it had no other; else None.
      come: the group whose words it has now; likewise.
    """

    row: int
    swap: Swap
    gone: str | None
    come: str | None


def of_kind(
    asked: Asked, lexicon: Lexicon, name: str, *, floor: Changes
) -> Counterfactual:
    """The swaps of a kind in texts, and its sentences.

    Args:
      name: of a kind of the lexicon.
      floor: what synonyms change.
    """
    kind = lexicon.kinds[name]
    changes, drawn, differences = changes_of(asked, kind)
    pairs: dict[str, list[float]] = {group: [] for group in kind.groups}
    for each, difference in zip(drawn, differences.tolist()):
        if each.gone is not None and each.come is not None:
            pairs[each.come].append(difference)
            pairs[each.gone].append(-difference)
    templates = lexicon.templates.get(name)
    has_class = templates is not None and asked.positive is not None
    return Counterfactual(
        kind=name,
        changes=changes,
        num_approximate=sum(each.swap.num_approximate > 0 for each in drawn),
        signed=tuple(_signed(group, values) for group, values in pairs.items()),
        is_beyond_floor=_is_beyond(changes, floor),
        templates=_templates(asked, templates) if templates and has_class else None,
    )


def changes_of(asked: Asked, kind: Kind) -> tuple[Changes, list[_Swapped], np.ndarray]:
    """What swapping the words of a kind changes.

    Returns:
      The changes; the texts that were swapped; and float64 [m], how much more probable
      the class is in each of them than before.
    """
    available, drawn = _draw(asked, kind)
    rows = np.array([each.row for each in drawn], np.int64)
    before, after = _both(
        asked,
        [asked.texts[row] for row in rows.tolist()],
        [each.swap.text for each in drawn],
    )
    labels = asked.labels[rows]
    classes = labels if asked.positive is None else np.full_like(labels, asked.positive)
    at = np.arange(len(rows)), classes
    differences = after[at] - before[at]
    chosen = [asked.choose(before), asked.choose(after)]
    num_flips = int((chosen[0] != chosen[1]).sum())
    mean, interval = mean_interval(np.abs(differences).tolist())
    count = len(drawn)
    words = [each.swap.num_words for each in drawn]
    changes = Changes(
        num_available=available,
        num_texts=count,
        words_per_text=sum(words) / count if count else None,
        mean_change=mean,
        mean_change_interval_95=interval,
        num_flips=num_flips,
        flips=num_flips / count if count else None,
        flips_interval_95=wilson_interval(num_flips, count) if count else None,
        accuracy_before=float((chosen[0] == labels).mean()) if count else None,
        accuracy_after=float((chosen[1] == labels).mean()) if count else None,
    )
    return changes, drawn, differences


def directions(
    asked: Asked, lexicon: Lexicon, *, place: Literal["beginning", "end"]
) -> tuple[Direction, ...]:
    """Praise must not lower the positive class's probability, nor blame raise it.

    Args:
      asked: with a positive class.
      place: where the model reads what is added: not where long texts are cut.
    """
    generator = np.random.default_rng(asked.seed)
    rows = _chosen(np.arange(len(asked.texts)), asked.limit, generator)
    texts = [asked.texts[row] for row in rows.tolist()]
    before = asked.ask(texts)[:, asked.positive]
    found = []
    wanted: tuple[tuple[str, Literal["lower", "raise"], int], ...] = (
        (lexicon.praise, "lower", -1),
        (lexicon.blame, "raise", 1),
    )
    for sentence, must_not, sign in wanted:
        added = [
            f"{sentence} {text}" if place == "beginning" else f"{text} {sentence}"
            for text in texts
        ]
        change = asked.ask(added)[:, asked.positive] - before
        num_wrong, count = int((sign * change > _MOVED).sum()), len(texts)
        found.append(
            Direction(
                sentence=sentence,
                place=place,
                must_not=must_not,
                num_texts=count,
                num_wrong=num_wrong,
                wrong=num_wrong / count if count else None,
                wrong_interval_95=wilson_interval(num_wrong, count) if count else None,
                mean_change=float(change.mean()) if count else None,
            )
        )
    return tuple(found)


def _draw(asked: Asked, kind: Kind) -> tuple[int, list[_Swapped]]:
    """How many texts a swap changes, and a draw of them, swapped."""
    generator = np.random.default_rng(asked.seed)
    mentioned = [kind.members(text) for text in asked.texts]
    rows = np.flatnonzero([bool(groups) for groups in mentioned])
    found = []
    # With what each is swapped depends on all, and not on the draw.
    for row in rows.tolist():
        one, other = drawn_pair(kind, mentioned[row], generator)
        swap = swapped(asked.texts[row], kind, (one, other))
        if swap.text != asked.texts[row]:
            is_alone = other not in mentioned[row]
            found.append(
                _Swapped(row, swap, *((one, other) if is_alone else (None, None)))
            )
    chosen = _chosen(np.arange(len(found)), asked.limit, generator)
    return len(found), [found[index] for index in chosen.tolist()]


def _chosen(rows: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    """Of the rows `limit` at most, in their order; 0: all."""
    if not limit or len(rows) <= limit:
        return rows
    return np.sort(generator.choice(rows, limit, replace=False))


def _both(
    asked: Asked, before: Sequence[str], after: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Asked together, so that both are computed alike."""
    probabilities = asked.ask([*before, *after])
    return probabilities[: len(before)], probabilities[len(before) :]


def _signed(group: str, values: Sequence[float]) -> SignedGap:
    mean, interval = mean_interval(values)
    return SignedGap(
        group=group, num_pairs=len(values), mean=mean, interval_95=interval
    )


def _is_beyond(changes: Changes, floor: Changes) -> bool | None:
    """Whether the interval of the mean change lies above the floor's."""
    mine, synonyms = changes.mean_change_interval_95, floor.mean_change_interval_95
    if mine is None or synonyms is None:
        return None
    return mine[0] > synonyms[1]


def _templates(asked: Asked, templates: Templates) -> TemplateFacts:
    """What the model says of the sentences of a kind."""
    sentences = list(itertools.chain.from_iterable(templates.sentences))
    places = [
        (group, term, sentence)
        for group, terms in templates.terms.items()
        for term in terms
        for sentence in sentences
    ]
    answered = asked.ask([each.replace("{term}", term) for _, term, each in places])
    values = answered[:, asked.positive].tolist()
    is_chosen = (asked.choose(answered) == asked.positive).tolist()
    by_place = dict(zip(places, values))
    groups = tuple(
        _template_group(
            group,
            [value for value, each in zip(values, places) if each[0] == group],
            [chosen for chosen, each in zip(is_chosen, places) if each[0] == group],
        )
        for group in templates.terms
    )
    means = [each.mean for each in groups]
    wordings = [
        abs(by_place[group, term, first] - by_place[group, term, other])
        for group, terms in templates.terms.items()
        for term in terms
        for first, other in templates.sentences
    ]
    return TemplateFacts(
        sentences=tuple(sentences),
        groups=groups,
        gap=max(means) - min(means),
        floor=sum(wordings) / len(wordings),
        signed=_signed_by_sentence(templates, sentences, by_place),
    )


def _template_group(
    group: str, values: Sequence[float], is_chosen: Sequence[bool]
) -> TemplateGroup:
    return TemplateGroup(
        group=group,
        num_texts=len(values),
        mean=sum(values) / len(values),
        lowest=min(values),
        highest=max(values),
        share_chosen=sum(is_chosen) / len(is_chosen),
    )


def _signed_by_sentence(
    templates: Templates,
    sentences: Sequence[str],
    by_place: Mapping[tuple[str, str, str], float],
) -> tuple[SignedGap, ...]:
    """Of each group to the mean of the others, in each sentence."""

    def mean_of(group: str, sentence: str) -> float:
        terms = templates.terms[group]
        return sum(by_place[group, term, sentence] for term in terms) / len(terms)

    return tuple(
        _signed(
            group,
            [
                mean_of(group, sentence)
                - float(
                    np.mean(
                        [
                            mean_of(other, sentence)
                            for other in templates.terms
                            if other != group
                        ]
                    )
                )
                for sentence in sentences
            ],
        )
        for group in templates.terms
    )

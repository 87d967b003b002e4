"""Swapped words, and what a classifier that looks at one word gives of them."""

from __future__ import annotations

import dataclasses
from typing import Sequence

import numpy as np
import pytest

from trainer.evaluation.intervals import mean_interval
from trainer.groups import lexicon
from trainer.groups.counterfactuals import (
    Asked,
    changes_of,
    directions,
    of_kind,
)
from trainer.groups.swaps import approximate, swapped

OWN = lexicon.own()
GENDER = OWN.kinds["gender"]
PAIR = ("female", "male")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("She saw a film.", "He saw a film."),
        ("HER mother, the Actress", "HIS father, the Actor"),
        ("The king met men and Boys", "The king met women and Girls"),
        ("The theme", "The theme"),
    ],
)
def test_a_swap_keeps_case_and_all_else(text: str, expected: str) -> None:
    assert swapped(text, GENDER, PAIR).text == expected


@pytest.mark.parametrize("name", [*OWN.kinds, "floor"])
def test_a_swap_of_one_to_one_pairs_is_its_own_inverse(name: str) -> None:
    kind = OWN.floor if name == "floor" else OWN.kinds[name]
    groups = list(kind.groups)
    for pair in zip(groups, groups[1:]):
        doubtful = approximate(kind, pair)
        paired = list(zip(*(kind.groups[group] for group in pair)))
        terms = [term for each in paired for term in each]
        text = " ".join(
            f"{term}, {term.upper()}! ({term[:1].upper()}{term[1:]})"
            for term in terms
            if term.lower() not in doubtful
        )
        once = swapped(text, kind, pair)
        assert once.text != text and once.num_approximate == 0
        assert swapped(once.text, kind, pair).text == text


def test_her_is_said_to_be_approximate() -> None:
    assert approximate(GENDER, PAIR) == {"her", "hers", "his", "him"}
    found = swapped("I saw her and her wife.", GENDER, PAIR)
    assert (found.text, found.num_words) == ("I saw his and his husband.", 3)
    assert found.num_approximate == 2


TEXTS = [
    *("she is good", "he is good", "she and he left", "a film"),
    *("the girl", "the boys", "his film", "a movie"),
]
LABELS = np.array([1, 1, 0, 0, 1, 0, 0, 1])


def by_words(**weights: float) -> Asked:
    """Asks a classifier whose P(second class) is 0.5, and more by word."""

    def ask(texts: Sequence[str]) -> np.ndarray:
        positive = np.array(
            [0.5 + sum(weights.get(word, 0.0) for word in t.split()) for t in texts]
        )
        return np.stack([1 - positive, positive], axis=1).reshape(len(texts), 2)

    return Asked(
        texts=TEXTS,
        labels=LABELS,
        ask=ask,
        choose=lambda probabilities: (probabilities[:, 1] > 0.5).astype(int),
        positive=1,
        limit=0,
        seed=0,
    )


def test_one_word_moves_the_answers_by_exactly_its_weight() -> None:
    asked = by_words(she=0.2, movie=0.1)
    floor, _, _ = changes_of(asked, OWN.floor)
    # "a film" and "his film" gain it, "a movie" loses it.
    assert (floor.num_texts, floor.num_flips) == (3, 3)
    assert floor.mean_change == pytest.approx(0.1)
    found = of_kind(asked, OWN, "gender", floor=floor)
    changes = found.changes
    assert (changes.num_available, changes.num_texts) == (6, 6)
    # "she is good" and "he is good"; "she and he left" has it after as before.
    assert changes.mean_change == pytest.approx((0.2 + 0.2) / 6)
    assert changes.num_flips == 2
    signed = {each.group: each for each in found.signed}
    # Without the text that mentions both.
    assert signed["female"].num_pairs == signed["male"].num_pairs == 5
    assert signed["female"].mean == pytest.approx((0.2 + 0.2) / 5)
    assert signed["male"].mean == pytest.approx(-(0.2 + 0.2) / 5)
    assert found.num_approximate == 1
    assert found.is_beyond_floor is False


def test_sentences_show_exactly_the_words_weight_and_wording_is_the_floor() -> None:
    asked = by_words(Emily=0.3, human=0.12)
    floor, _, _ = changes_of(asked, OWN.floor)
    templates = of_kind(asked, OWN, "names", floor=floor).templates
    assert templates is not None
    female, male = templates.groups
    # One of six names; and one of six sentences is of a human being.
    assert female.mean == pytest.approx(0.5 + 0.3 / 6 + 0.12 / 6)
    assert male.mean == pytest.approx(0.5 + 0.12 / 6)
    assert templates.gap == pytest.approx(0.3 / 6)
    assert templates.floor == pytest.approx(0.12 / 3)
    assert templates.signed[0].mean == pytest.approx(0.3 / 6)
    assert female.highest == pytest.approx(0.5 + 0.3 + 0.12)


def test_a_gap_beyond_the_floor_is_told_and_one_within_it_is_not() -> None:
    texts = [f"{word} is here, a film {n}" for n in range(40) for word in ("she", "he")]
    for weight, is_beyond in ((0.2, True), (0.01, False), (0.0, False)):
        asked = dataclasses.replace(
            by_words(she=weight, movie=0.02), texts=texts, labels=np.ones(80, int)
        )
        floor, _, _ = changes_of(asked, OWN.floor)
        found = of_kind(asked, OWN, "gender", floor=floor)
        assert found.is_beyond_floor is is_beyond


def test_texts_are_drawn_and_those_without_terms_do_not_count() -> None:
    asked = dataclasses.replace(by_words(), limit=4)
    changes, drawn, _ = changes_of(asked, GENDER)
    assert (changes.num_available, changes.num_texts) == (6, 4)
    assert not {each.row for each in drawn} & {3, 7}
    again = changes_of(asked, GENDER)[1]
    assert [each.row for each in drawn] == [each.row for each in again]
    nothing, _, _ = changes_of(asked, OWN.kinds["religion"])
    assert nothing.num_texts == 0
    assert nothing.mean_change is nothing.flips is nothing.accuracy_before is None
    assert nothing.words_per_text is None and nothing.flips_interval_95 is None


def test_praise_that_lowers_the_probability_is_wrong() -> None:
    praise, blame = directions(by_words(loved=-0.1, hated=-0.1), OWN, place="end")
    assert (praise.must_not, praise.num_wrong, praise.wrong) == ("lower", 8, 1.0)
    assert praise.mean_change == pytest.approx(-0.1)
    assert (blame.must_not, blame.num_wrong) == ("raise", 0)


def test_many_classes_are_looked_at_by_the_texts_own_label() -> None:
    asked = dataclasses.replace(by_words(she=0.2), positive=None)
    floor, _, _ = changes_of(asked, OWN.floor)
    found = of_kind(asked, OWN, "gender", floor=floor)
    assert found.templates is None
    # Both texts with one of the words have the second label.
    assert found.signed[0].mean == pytest.approx((0.2 + 0.2) / 5)


def test_mean_interval_is_students() -> None:
    assert mean_interval([]) == (None, None)
    assert mean_interval([0.3]) == (0.3, None)
    mean, interval = mean_interval([1.0, 2.0, 3.0])
    # 4.302652730 standard errors of 1 / sqrt(3).
    assert mean == 2.0 and interval is not None
    assert interval[1] - 2.0 == pytest.approx(4.302652730 / 3**0.5)

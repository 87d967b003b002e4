"""What mentions a group; and files of terms that are none."""

from __future__ import annotations

import json
import pathlib
import re

import numpy as np
import pyarrow as pa
import pytest

from trainer.data.text_rows import TextRows
from trainer.groups import lexicon, mentions
from trainer.groups.lexicon import Kind

OWN = lexicon.own()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("She left.", {"female"}),
        ("HE and his MOTHER", {"male", "female"}),
        ("The theme of the shed", set()),
        ("\N{LATIN SMALL LETTER LONG S}he", set()),
        ("", set()),
    ],
)
def test_terms_are_whole_words_in_any_case(text: str, expected: set[str]) -> None:
    assert OWN.kinds["gender"].members(text) == expected


def test_a_capital_is_matched_as_written_or_in_capitals() -> None:
    kind = Kind("k", {"name": ("Will", "Mary Ann"), "other": ("polish",)})
    assert kind.members("he will polish") == {"other"}
    assert kind.members("Will left") == kind.members("WILL") == {"name"}
    assert kind.members("MARY ANN, Mary") == {"name"}


def test_the_own_lexicon_has_each_term_once_and_pairs_of_equal_case() -> None:
    """What a user's file is refused for, and what a swap must be to be its own inverse."""
    terms = {
        name: {group: list(terms) for group, terms in kind.groups.items()}
        for name, kind in {**OWN.kinds, "floor": OWN.floor}.items()
    }
    assert not list(lexicon._faults(terms))
    for kind in [*OWN.kinds.values(), OWN.floor]:
        lower = {term == term.lower() for each in kind.groups.values() for term in each}
        assert len(lower) == 1, kind.name
    for name, templates in OWN.templates.items():
        assert set(templates.terms) == set(OWN.kinds[name].groups)
        for sentence in (each for pair in templates.sentences for each in pair):
            assert sentence.count("{term}") == 1


def test_a_users_file_takes_the_place_of_the_own_words(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "terms.json"
    path.write_text('{"team": {"red": ["reds"], "blue": ["blues"]}}')
    found = lexicon.load(str(path))
    assert found is not None and list(found.kinds) == ["team"]
    assert found.kinds["team"].members("The Blues won") == {"blue"}
    assert found.floor == OWN.floor and not found.templates
    assert lexicon.load("none") is None


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "must be JSON in UTF-8"),
        ("{", "must be JSON in UTF-8"),
        ("[]", "the whole must be an object of kinds, at least one. Received: []"),
        ('{"g": {"a": ["x"]}}', "g must be an object of groups, at least two"),
        ('{"g": {"a": "x", "b": ["y"]}}', "g.a must be a list of terms, .* 'x'"),
        ('{"g": {"a": ["x"], "b": []}}', "g.b must be a list of terms, .*: []"),
        ('{"g": {"a": ["x"], "b": [3]}}', r"g.b[0] must be a word .*: 3"),
        ('{"g": {"a": ["x"], "b": ["y", " z"]}}', r"g.b[1] must be a word .* ' z'"),
        ('{"g": {"a": ["x"], "b": ["!"]}}', r"g.b[0] must be a word"),
        ('{"g": {"a": ["x"], "b": ["X"]}}', r"g.b[0] must be .* one group: a has it"),
    ],
)
def test_a_malformed_file_is_named_by_path_and_key(
    tmp_path: pathlib.Path, content: str | None, words: str
) -> None:
    path = tmp_path / "terms.json"
    if content is not None:
        path.write_text(content)
    pattern = re.escape(words).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern) as raised:
        lexicon.load(str(path))
    assert str(path) in str(raised.value)
    assert 'as in {"gender"' in str(raised.value)


def test_mentions_by_label_with_an_odds_ratio() -> None:
    texts = pa.chunked_array([["she is here", "She left", "he", "a film", "a plot"]])
    rows = TextRows(texts, np.arange(5))
    found = mentions.groupings(rows, {"gender": OWN.kinds["gender"]})
    assert found[0].members.tolist() == [
        *([[True, False]] * 2),
        [False, True],
        *([[False, False]] * 2),
    ]
    labels = np.array([1, 1, 0, 1, 0])
    female, male = mentions.by_label(found, labels, label_names=("bad", "good"))
    assert (female.group, female.label) == ("female", "good")
    assert (female.num_texts, female.num_of_label) == (2, 2)
    assert (female.num_rest, female.num_rest_of_label) == (3, 1)
    # (2.5 / 0.5) / (1.5 / 2.5)
    assert female.odds_ratio == pytest.approx(25 / 3)
    low, high = female.interval_95
    assert low < 1 < high and low * high == pytest.approx(female.odds_ratio**2)
    assert male.odds_ratio == pytest.approx((0.5 / 1.5) / (3.5 / 1.5))


def test_a_column_makes_a_group_a_value() -> None:
    found = mentions.of_column("country", ["UK", "", "US", "UK"])
    assert found.groups == ("UK", "US")
    assert found.members.sum(axis=0).tolist() == [2, 1]
    assert not found.members[1].any()
    json.dumps(found.groups)

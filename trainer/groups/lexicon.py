"""The words by which a text mentions a group, and sentences to ask a model about.

    lexicon = load("own")                           # or a user's FILE.json
    lexicon.kinds["gender"].groups["female"]        # ("she", "her", ...)
    lexicon.kinds["gender"].members("She left.")    # frozenset({"female"})

A term with a capital is found as it is written, or in capitals; another one in any case.
Terms are whole words. The nth term of a group is the one that the nth of another group is
swapped with (`swaps.py`). The own list, `lexicon.json`, is English and short: what it does
not name, it does not find.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from typing import Any, Iterator, Mapping

from trainer import json_text, storage
from trainer.config import NO_TERMS, OWN_TERMS
from trainer.messages import message, shown

_OWN = pathlib.Path(__file__).parent / "lexicon.json"
_WORD = re.compile(r"\w+")
_EXAMPLE = 'as in {"gender": {"female": ["she"], "male": ["he"]}}'


@dataclasses.dataclass(frozen=True)
class Kind:
    """Groups of one kind, such as gender.

    Attributes:
      name: of the kind.
      groups: the terms of each group; those of one place in several groups belong
        together, and a term may stand in several places of its group.
    """

    name: str
    groups: Mapping[str, tuple[str, ...]]

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Finds each term of any group, the longest where several begin."""
        terms = {term for each in self.groups.values() for term in each}
        ordered = sorted(terms, key=lambda term: (-len(term), term))
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(_term_pattern, ordered))})(?!\w)")

    @functools.cached_property
    def first_words(self) -> frozenset[str]:
        """In lower case, of all terms: a text without any of them has no term."""
        return frozenset(
            _WORD.findall(term.lower())[0]
            for terms in self.groups.values()
            for term in terms
        )

    @functools.cached_property
    def group_of(self) -> Mapping[str, str]:
        """The group of each term, by the term in lower case."""
        return {
            term.lower(): group
            for group, terms in self.groups.items()
            for term in terms
        }

    def members(self, text: str) -> frozenset[str]:
        """The groups that a text mentions."""
        # "\N{LATIN SMALL LETTER LONG S}he" is found as "she", and no key.
        words = (found.group().lower() for found in self.pattern.finditer(text))
        return frozenset(self.group_of[word] for word in words if word in self.group_of)


@dataclasses.dataclass(frozen=True)
class Templates:
    """Neutral sentences about each group of a kind.

    Attributes:
      sentences: pairs of two wordings that say the same, with "{term}" in each.
      terms: what is put there, by group.
    """

    sentences: tuple[tuple[str, str], ...]
    terms: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Lexicon:
    """All words and sentences.

    Attributes:
      kinds: by name.
      templates: by the name of the kind; a user's kinds have none.
      floor: synonyms, as a kind of two groups.
      praise: a sentence that speaks for the positive class of sentiment.
      blame: one that speaks against it.
    """

    kinds: Mapping[str, Kind]
    templates: Mapping[str, Templates]
    floor: Kind
    praise: str
    blame: str


def words_of(text: str) -> frozenset[str]:
    """The different words of a text, in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def load(name: str) -> Lexicon | None:
    """The lexicon of --group_terms; None for `none`.

    Raises:
      ValueError: the file is no such lexicon; the message names the key.
    """
    if name == NO_TERMS:
        return None
    return (
        own()
        if name == OWN_TERMS
        else dataclasses.replace(own(), kinds=_kinds(_users(name)), templates={})
    )


def own() -> Lexicon:
    """The packaged one."""
    content = json_text.parse(_OWN.read_text(encoding="utf-8"))
    return Lexicon(
        kinds=_kinds(content["terms"]),
        templates={
            kind: Templates(
                sentences=tuple((first, other) for first, other in each["sentences"]),
                terms={group: tuple(terms) for group, terms in each["terms"].items()},
            )
            for kind, each in content["templates"].items()
        },
        floor=Kind(
            "floor", {key: tuple(each) for key, each in content["floor"].items()}
        ),
        praise=content["direction"]["praise"],
        blame=content["direction"]["blame"],
    )


def _kinds(content: Mapping[str, Any]) -> dict[str, Kind]:
    return {
        kind: Kind(kind, {group: tuple(terms) for group, terms in groups.items()})
        for kind, groups in content.items()
    }


def _users(name: str) -> Mapping[str, Any]:
    """What a user's file holds.

    Raises:
      ValueError: it is not there, or not as it should be.
    """
    place = f"--group_terms={name}"
    try:
        content = json_text.parse(storage.path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            message(
                "the file must be JSON in UTF-8",
                received=str(error),
                mend=_EXAMPLE,
                place=place,
            )
        ) from error
    for path, rule, received in _faults(content):
        raise ValueError(
            message(
                f"{path} must be {rule}",
                received=shown(received),
                mend=_EXAMPLE,
                place=place,
            )
        )
    kinds: Mapping[str, Any] = content
    return kinds


def _faults(content: Any) -> Iterator[tuple[str, str, Any]]:
    """Each with the path of a key, what should be there, and what is."""
    if not isinstance(content, dict) or not content:
        yield "the whole", "an object of kinds, at least one", content
        return
    for kind, groups in content.items():
        if not isinstance(groups, dict) or len(groups) < 2:
            yield kind, "an object of groups, at least two", groups
            continue
        group_of: dict[str, str] = {}
        for group, terms in groups.items():
            path = f"{kind}.{group}"
            if not isinstance(terms, list) or not terms:
                yield path, "a list of terms, at least one", terms
                continue
            for number, term in enumerate(terms):
                if not isinstance(term, str) or not _is_term(term):
                    rule = "a word or several, without blanks around"
                    yield f"{path}[{number}]", rule, term
                elif group_of.setdefault(term.lower(), group) != group:
                    rule = f"a term of one group: {group_of[term.lower()]} has it"
                    yield f"{path}[{number}]", rule, term


def _is_term(term: str) -> bool:
    return bool(_WORD.match(term)) and term == term.strip()


def _term_pattern(term: str) -> str:
    if term == term.lower():
        return f"(?i:{re.escape(term)})"
    return f"(?:{re.escape(term)}|{re.escape(term.upper())})"

"""Which number the class of a row's label gets.

    discovered = DiscoveredLabels()
    codes = [discovered.encode(row, file="reviews.csv") for row in rows]
    discovered.faults(codes, label_field="label")  # sentences: what looks like a mistake
    names, new_codes = discovered.in_order()

    known = discovered.named()
    known.encode(row, file="test.csv")  # a position in `known.names`, or a `BadValue`

    known = named_labels(("0=negative", "4=positive"))
    known.names  # ("negative", "positive")

A label passes three steps. `label_forms.label_of` gives a raw value its one form. A
numbering, `NamedLabels` or `DiscoveredLabels`, gives it the number of its class. At
last `faults` doubts the labels as a whole (`label_faults.py`). Reading rows is left to
`trainer.data.readers`, what a model makes of the numbers to others.
"""

from __future__ import annotations

import re
from typing import Callable, Iterable, Mapping, Protocol, Sequence

import numpy as np

from trainer.config import label_pair
from trainer.data import label_faults
from trainer.data.characters import visible
from trainer.data.label_faults import MAX_CLASSES, Occurrence, names_flag, plain
from trainer.data.label_forms import (
    Label,
    is_missing_word,
    is_whole_number,
    label_of,
)
from trainer.data.readers.rows import BadValue, Row
from trainer.messages import did_you_mean, message, shown

# Of more, a column of ids or scores, each row would be remembered.
_MAX_VERDICTS = 10_000
# So many distinct labels are no column of labels, however many rows follow.
_MAX_DISCOVERED = 10 * MAX_CLASSES
_MAX_NAMES_SHOWN = 20
_MAX_NOTES = 10
_MAX_SPELLINGS = 3

_BOOLEANS = {"false": "False", "true": "True"}
_WHOLE_WITH_COMMA = re.compile(r"[+-]?\d{1,30},0+")


class LabelNumbering(Protocol):
    """Gives the label of a row the number of its class, from 0."""

    def encode(self, row: Row, *, file: str) -> int | BadValue:
        """The number, or why there is none. `file`: where the row comes from."""

    @property
    def is_hopeless(self) -> bool:
        """Whether so much is wrong already that further rows change nothing."""


class _Verdicts:
    """What was said of each raw label, so that a million rows are judged once."""

    def __init__(self) -> None:
        self._by_value: dict[tuple[type, object], int | BadValue] = {}

    def of(
        self, row: Row, file: str, judge: Callable[[Row, str], int | BadValue]
    ) -> int | BadValue:
        """The verdict on the row's label, from memory if it is there."""
        # To Python 1, 1.0 and True are the same key.
        key = (type(row.label), row.label)
        try:
            return self._by_value[key]
        except KeyError:
            is_hashable = True
        except TypeError:
            is_hashable = False
        verdict = judge(row, file)
        if is_hashable and len(self._by_value) < _MAX_VERDICTS:
            self._by_value[key] = verdict
        return verdict


class NamedLabels:
    """Numbers labels by names that are known before the rows are read.

    Attributes:
      names: the classes in order; the number of a class is its position.
    """

    is_hopeless = False

    def __init__(
        self,
        names: tuple[str, ...],
        meanings: Mapping[str, int],
        *,
        has_positions: bool = False,
        are_chosen: bool = True,
    ):
        """Makes a numbering.

        Args:
          names: the classes in order.
          meanings: label, in any spelling, and number of its class.
          has_positions: whether a label may also be the number of its class.
          are_chosen: whether the user named these classes, so that none is doubted.

        Raises:
          ValueError: two classes have labels that are the same.
        """
        self.names = names
        self._meanings = meanings
        self._has_positions = has_positions
        self._are_chosen = are_chosen
        self._codes: dict[str, int] = {}
        if has_positions:
            self._codes = {str(code): code for code in range(len(names))}
        for label, code in self._meanings.items():
            other = self._codes.setdefault(_key(label), code)
            if other != code:
                raise ValueError(
                    message(
                        "the labels of two classes must be different ones",
                        received=f"{label!r} for {names[other]!r} and {names[code]!r}",
                        mend="name each label once in --label_names",
                    )
                )
        self._verdicts = _Verdicts()
        # Label → FILE:LINE of the first row that has it.
        self._first_seen: dict[str, str] = {}

    def encode(self, row: Row, *, file: str) -> int | BadValue:
        """The number of the row's class, or what is wrong with its label."""
        return self._verdicts.of(row, file, self._judge)

    def faults(self, codes: np.ndarray, *, label_field: str) -> list[str]:
        """What looks like a mistake in all labels encoded so far: sentences.

        Args:
          codes: int32 [n], the numbers of all rows.
          label_field: the column they come from, for the message.
        """
        if found := self._wrong_positions():
            return [found]
        if self._are_chosen:
            return []
        counts = np.bincount(codes, minlength=len(self.names)).tolist()
        labels: dict[str, Occurrence] = {}
        for label, place in self._first_seen.items():
            code = self._codes.get(_without_case_of_booleans(label))
            if code is not None:
                labels.setdefault(self.names[code], Occurrence(counts[code], place))
        return label_faults.find(labels, label_field=label_field)

    def _wrong_positions(self) -> str:
        """A sentence where the numbers that rows have are no positions, or empty.

        Labels that count from 1, or leave numbers out, would get the names of others.
        """
        count = len(self.names)
        from_1 = list(range(1, count + 1))
        seen = sorted(map(int, filter(is_whole_number, self._first_seen)))
        are_names = any(_key(name) in self._first_seen for name in self._meanings)
        if not self._has_positions or are_names or not seen:
            return ""
        if seen[0] == 0 and seen[-1] < count:
            return ""
        if set(seen) <= set(from_1):
            numbers = from_1
        elif len(seen) == count:
            numbers = seen
        else:
            return ""
        mend = f"give {self._flag_of(numbers)}"
        if seen[-1] < count and numbers == from_1:
            from_0 = self._flag_of(range(count))
            mend += f" if they count from 1, or {from_0} if from 0"
        return message(
            "labels must be those of --label_names, or positions from 0",
            received=f"the labels are {_range(seen)} for {count} names, {seen[0]} first "
            f"in {self._first_seen[str(seen[0])]}",
            mend=mend,
        )

    def _flag_of(self, numbers: Iterable[int]) -> str:
        return names_flag(f"{n}={name}" for n, name in zip(numbers, self.names))

    def _judge(self, row: Row, file: str) -> int | BadValue:
        try:
            label = label_of(row.label).name
        except BadValue as bad_value:
            return bad_value
        if len(self._first_seen) < _MAX_DISCOVERED:
            self._first_seen.setdefault(label, f"{file}:{row.line}")
        is_missing = is_missing_word(label)
        code = self._codes.get(_without_case_of_booleans(label))
        # A data set may name "nan" as a class without that anybody meant it.
        if code is not None and (self._are_chosen or not is_missing):
            return code
        return _missing(label) if is_missing else self._unknown(label)

    def _unknown(self, label: str) -> BadValue:
        known = list(self._meanings)
        listed = ", ".join(known[:_MAX_NAMES_SHOWN])
        listed += ", ..." if len(known) > _MAX_NAMES_SHOWN else ""
        positions = f", or 0 to {len(self.names) - 1}" if self._has_positions else ""
        return BadValue(
            rule=f"expected a label of {listed}{positions}",
            received=f"{shown(label)}{did_you_mean(label, known)}",
            mend=f"mend the label, or give it a class: {self._way_to_add(label)}",
        )

    def _way_to_add(self, label: str) -> str:
        """How --label_names gives a class to one label more."""
        # A number of its own in the list would end the rule of positions.
        if self._has_positions and is_whole_number(label):
            return "say in --label_names what each number means, as NUMBER=CLASS"
        alike = [
            code
            for known, code in self._meanings.items()
            if plain(known) == plain(label)
        ]
        new = f"{label}={self.names[alike[0]] if alike else 'CLASS'}"
        if len(self._meanings) > _MAX_NAMES_SHOWN:
            return f"add {new} to --label_names"
        pairs = [(known, self.names[code]) for known, code in self._meanings.items()]
        entries = [
            name if known == name else f"{known}={name}" for known, name in pairs
        ]
        return names_flag((*entries, new))


class DiscoveredLabels:
    """Numbers labels as they come, and remembers where each came first.

    The order of the rows decides these numbers. `in_order` gives the final ones,
    which depend on the set of labels alone.
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        # Label → FILE:LINE of the first row that has it.
        self._first_seen: dict[str, str] = {}
        # Label → how its rows spell it.
        self._spellings: dict[str, list[str]] = {}
        self._verdicts = _Verdicts()

    @property
    def is_hopeless(self) -> bool:
        """Whether there are far too many different labels."""
        return len(self._codes) > _MAX_DISCOVERED

    def encode(self, row: Row, *, file: str) -> int | BadValue:
        """The preliminary number of the row's class, a new one for a new label."""
        return self._verdicts.of(row, file, self._judge)

    def in_order(self) -> tuple[tuple[str, ...], list[int]]:
        """The names of the classes in order, and by preliminary number the final one.

        The order is that of the integers where all labels are some, else that of the
        strings, so "9" comes before "10".
        """
        name_of = _united(self._codes)
        are_integers = all(map(is_whole_number, name_of.values()))
        names = sorted(set(name_of.values()), key=int if are_integers else None)
        positions = {name: position for position, name in enumerate(names)}
        return tuple(names), [positions[name_of[label]] for label in self._codes]

    def named(self) -> NamedLabels:
        """The same classes, for rows that are read later.

        A position means nothing to who has not named the classes: "1" in a later split
        is another label, not the second class.
        """
        names, new_codes = self.in_order()
        meanings = {name: code for code, name in enumerate(names)}
        for label, code in zip(self._codes, new_codes):
            if _key(label) != _key(names[code]):
                meanings[label] = code
        return NamedLabels(names, meanings)

    def faults(self, codes: np.ndarray, *, label_field: str) -> list[str]:
        """What looks like a mistake in the labels as a whole: sentences.

        Args:
          codes: int32 [n], the preliminary numbers of all rows.
          label_field: the column they come from, for the message.
        """
        counts = np.bincount(codes, minlength=len(self._codes)).tolist()
        name_of = _united(self._codes)
        found: dict[str, Occurrence] = {}
        for label, count in zip(self._codes, counts):
            name = name_of[label]
            earlier = found.get(name, Occurrence(0, self._first_seen[label]))
            found[name] = Occurrence(earlier.count + count, earlier.place)
        return label_faults.find(found, label_field=label_field)

    def notes(self) -> list[str]:
        """Which spellings were united, in sentences."""
        names, new_codes = self.in_order()
        spellings: dict[str, list[str]] = {}
        for (label, code), new_code in zip(self._codes.items(), new_codes):
            spellings.setdefault(names[new_code], []).extend(self._spellings[label])
        notes = [
            f"the labels {', '.join(spelled[:_MAX_SPELLINGS])} are one class: {name}"
            for name, spelled in spellings.items()
            if len(spelled) > 1
        ]
        return notes[:_MAX_NOTES]

    def _judge(self, row: Row, file: str) -> int | BadValue:
        try:
            label = label_of(row.label)
        except BadValue as bad_value:
            return bad_value
        if is_missing_word(label.name):
            return _missing(label.name)
        for name in (label.name, *label.others):
            if name not in self._codes:
                self._codes[name] = len(self._codes)
                self._first_seen[name] = f"{file}:{row.line}"
                self._spellings[name] = []
        self._remember_spelling(label, row.label)
        return self._codes[label.name]

    def _remember_spelling(self, label: Label, value: object) -> None:
        spellings = self._spellings[label.name]
        is_plain = isinstance(value, (str, int, float))
        if is_plain and len(spellings) < _MAX_SPELLINGS:
            if shown(value) not in spellings:
                spellings.append(shown(value))


def named_labels(
    entries: Sequence[str], *, own_names: Sequence[str] = (), source: str = ""
) -> NamedLabels:
    """The numbering that --label_names asks for.

    Args:
      entries: of --label_names, NAME or LABEL=NAME. Empty: the data set's own names.
      own_names: the classes that the data set itself names, in its order. Entries that
        are other names rename them, one by one. Without entries they are doubted, as
        labels that are found are.
      source: what names them so, for the message.

    Raises:
      ValueError: a label is given to two classes; the number of names does not fit.
    """
    own_names = list(map(_form, own_names))
    pairs = list(map(label_pair, entries)) or [(name, name) for name in own_names]
    names = tuple(dict.fromkeys(name for _, name in pairs))
    meanings = {label: names.index(name) for label, name in pairs}
    if not meanings.keys() >= set(own_names):
        meanings |= _renamed(own_names, pairs, meanings, source)
    own_codes = [meanings.get(name) for name in own_names]
    return NamedLabels(
        names,
        meanings,
        # Where names or labels are numbers, "1" could be meant either way: as itself.
        has_positions=any(label == name for label, name in pairs)
        and not any(map(is_whole_number, meanings))
        and own_codes == list(range(len(own_codes))),
        are_chosen=bool(entries),
    )


def _renamed(
    own_names: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    meanings: Mapping[str, int],
    source: str,
) -> dict[str, int]:
    """By the data set's own names of its classes, the number of the class meant."""
    if any(label != name for label, name in pairs):
        numbered = {name: str(code) for code, name in enumerate(own_names)}
        return {
            name: meanings[number]
            for name, number in numbered.items()
            if name not in meanings and number in meanings
        }
    if len(pairs) != len(own_names):
        raise ValueError(
            message(
                f"--label_names must name the {len(own_names)} classes of {source} "
                f"({', '.join(own_names[:_MAX_NAMES_SHOWN])})",
                received=", ".join(name for name, _ in pairs),
                mend="give one name a class, in this order",
            )
        )
    return {name: code for code, name in enumerate(own_names)}


def _form(label: str) -> str:
    """The form of a label that somebody named, so that it is one in any case."""
    try:
        return label_of(label).name
    except BadValue:
        return visible(label)


def _key(label: str) -> str:
    """What the labels of rows are compared with."""
    return _without_case_of_booleans(_form(label))


def _without_case_of_booleans(form: str) -> str:
    return _BOOLEANS.get(form.casefold(), form)


def _united(forms: Iterable[str]) -> dict[str, str]:
    """Form of each label → name of its class, for what only the whole set decides.

    "true" and "TRUE" are one class. Its name is "True" where there is no other class,
    or more than one spelling; else it is as spelled. "1,0" is 1 where all labels are
    such numbers with a decimal comma; else it may be two labels.
    """
    forms = list(forms)
    if all(map(_WHOLE_WITH_COMMA.fullmatch, forms)):
        return {form: label_of(form.replace(",", ".")).name for form in forms}
    name_of = {form: form for form in forms}
    booleans = [form for form in forms if form.casefold() in _BOOLEANS]
    for key, name in _BOOLEANS.items():
        spellings = [form for form in booleans if form.casefold() == key]
        if len(booleans) == len(forms) or len(spellings) > 1:
            name_of |= dict.fromkeys(spellings, name)
    return name_of


def _missing(label: str) -> BadValue:
    return BadValue(
        rule="expected a label; words such as nan, NULL, N/A and ? usually mean a missing "
        "label",
        received=shown(label),
        mend="leave such rows out with --bad_rows=skip, or name it beside the other "
        "labels in --label_names to keep it as a class",
    )


def _range(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: "1 to 4", or "0, 4"."""
    if len(numbers) > 1 and numbers[-1] - numbers[0] + 1 == len(numbers):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:_MAX_NAMES_SHOWN]))

"""What labels each text has, where it may have any number of them.

    sets = LabelSets(DiscoveredLabels(), separator="|")
    codes = [sets.encode(row, file="posts.csv") for row in rows]    # a number a set
    sets.matrix(codes)          # float32 [n, labels], 1 where a text has the label

    rows, labels = pairs(matrix)        # int64 [m] each: text 0 has label 2, and so on
    numbers, names = classes_of(matrix, ("joy", "fear"))    # ("no label", "fear + joy")
    is_right(matrix, chosen)            # bool [n]: all labels of a text are right

A set of labels is a list, a string of them joined by the separator, or scores by label:
a text has the labels that score `LEAST_SCORE` or more. Columns of 0 and 1 are such
scores. A list of 0 and 1 has a place for each of --label_names. An empty list is a text
without a label. One label within a set is what `labels.py` says, number and all.

The functions at the end take labels of all kinds of task, int [n], float [n, labels],
and numbers instead of labels, float [n], so that who counts, draws or compares need not
ask which. Numbers are of one class to who counts or draws, the only one there is.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Mapping, Sequence

import numpy as np

from trainer.data.label_forms import label_and_score, label_of, parsed
from trainer.data.labels import DiscoveredLabels, NamedLabels
from trainer.data.readers.rows import BadValue, Row, type_shown
from trainer.messages import shown

# Of a score by label, as where a sigmoid is read without a threshold of its own.
LEAST_SCORE = 0.5
NO_LABEL = "no label"
_JOINED_BY = " + "
_YES = {"true": 1.0, "false": 0.0}
_MAX_VERDICTS = 10_000


class LabelSets:
    """Numbers sets of labels as they come: a `LabelNumbering`.

    Args:
      labels: numbers the single labels.
      separator: what joins labels in a string; "": nothing does.
    """

    def __init__(
        self, labels: NamedLabels | DiscoveredLabels, *, separator: str
    ) -> None:
        self._labels, self._separator = labels, separator
        # Set, by the numbers of its labels → its own number.
        self._numbers: dict[tuple[int, ...], int] = {}
        self._verdicts: dict[str, int | BadValue] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The labels in order."""
        if isinstance(self._labels, NamedLabels):
            return self._labels.names
        return self._labels.in_order()[0]

    @property
    def is_hopeless(self) -> bool:
        """Whether there are far too many different labels."""
        return self._labels.is_hopeless

    def encode(self, row: Row, *, file: str) -> int | BadValue:
        """The number of the row's set of labels, or what is wrong with it."""
        # By what it looks like: lists are no keys, and to Python 1 and True are one.
        key = repr(row.label)
        if key in self._verdicts:
            return self._verdicts[key]
        try:
            chosen = self._chosen(row, file)
            verdict: int | BadValue = self._numbers.setdefault(
                tuple(sorted(chosen)), len(self._numbers)
            )
        except BadValue as bad_value:
            verdict = bad_value
        if len(self._verdicts) < _MAX_VERDICTS:
            self._verdicts[key] = verdict
        return verdict

    def matrix(self, codes: Sequence[int] | np.ndarray) -> np.ndarray:
        """Float32 [n, labels], 1 where a text has the label, in the order of `names`.

        Args:
          codes: int [n], as `encode` gave them.
        """
        columns = self._columns()
        sets = np.zeros([max(len(self._numbers), 1), len(self.names)], np.float32)
        for labels, number in self._numbers.items():
            sets[number, [columns[label] for label in labels]] = 1
        result: np.ndarray = sets[np.asarray(codes, np.int64)]
        return result

    def faults(self, codes: np.ndarray, *, label_field: str) -> list[str]:
        """What looks like a mistake in the labels as a whole: sentences.

        Args:
          codes: int [n], the numbers of all rows.
          label_field: the column they come from, for the message.
        """
        counts = np.bincount(codes, minlength=len(self._numbers))
        each = [
            np.repeat(np.array(labels, np.int32), counts[number])
            for labels, number in self._numbers.items()
        ]
        found = np.concatenate([np.empty(0, np.int32), *each])
        return self._labels.faults(found, label_field=label_field)

    def notes(self, codes: np.ndarray) -> list[str]:
        """How labels were understood, in sentences."""
        notes = []
        if isinstance(self._labels, DiscoveredLabels):
            notes += self._labels.notes()
        number = self._numbers.get(())
        count = int((codes == number).sum()) if number is not None else 0
        if count:
            notes.append(f"{count:,} of the {len(codes):,} training rows have no label")
        return notes

    def named(self) -> LabelSets:
        """The same labels, for rows that are read later."""
        labels = self._labels
        if isinstance(labels, DiscoveredLabels):
            labels = labels.named()
        return LabelSets(labels, separator=self._separator)

    def _columns(self) -> Sequence[int]:
        """By the number of a label, its place in `names`."""
        if isinstance(self._labels, NamedLabels):
            return range(len(self._labels.names))
        return self._labels.in_order()[1]

    def _chosen(self, row: Row, file: str) -> set[int]:
        """The numbers of the row's labels; raises BadValue."""
        value = self._opened(row.label)
        if isinstance(value, Mapping):
            scores = {key: _score(key, score) for key, score in value.items()}
        elif _is_multi_hot(value):
            scores = self._by_place(value)
        else:
            return {self._number(each, row, file) for each in value}
        numbers = {key: self._number(key, row, file) for key in scores}
        return {numbers[key] for key, score in scores.items() if score >= LEAST_SCORE}

    def _number(self, label: object, row: Row, file: str) -> int:
        code = self._labels.encode(dataclasses.replace(row, label=label), file=file)
        if isinstance(code, BadValue):
            raise code
        return code

    def _opened(self, value: object) -> Mapping[Any, object] | list[Any]:
        """The labels, or the scores, that a raw value holds."""
        if isinstance(value, (np.generic, np.ndarray)):
            value = value.tolist()
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        if isinstance(value, str):
            value = self._opened_string(value)
        if value is None or isinstance(value, float) and math.isnan(value):
            raise BadValue(
                rule="expected the labels of the text",
                received=f"none ({value})",
                mend="write an empty list, [], where it has no label, or remove the row",
            )
        if isinstance(value, Mapping):
            pair = label_and_score(value)
            return dict([pair]) if pair else value
        if isinstance(value, (list, tuple, set)):
            pairs = [
                label_and_score(each) for each in value if isinstance(each, Mapping)
            ]
            if pairs and len(pairs) == len(value) and all(pairs):
                return dict(filter(None, pairs))
            # As JSON's own types, of which each is one label.
            return [label_of(each).name for each in value] if pairs else list(value)
        return [value]

    def _opened_string(self, value: str) -> object:
        name = value.strip()
        values = parsed(name) if name[:1] in ("[", "{", "(") else None
        if values is not None:
            return values
        if not self._separator:
            return value
        parts = [part.strip() for part in value.split(self._separator)]
        return [part for part in parts if part]

    def _by_place(self, values: Sequence[object]) -> dict[Any, float]:
        """Of 0 and 1 in the order of the names."""
        names = self._labels.names if isinstance(self._labels, NamedLabels) else ()
        if len(names) != len(values):
            known = f"{len(names)} names" if names else "no --label_names"
            raise BadValue(
                rule="expected in a list of 0 and 1 a place for each of --label_names",
                received=f"{len(values)} places and {known}: {shown(list(values))}",
                mend="name the labels in the order of the places with --label_names",
            )
        return {name: float(_flag(value)) for name, value in zip(names, values)}


def _flag(value: object) -> float:
    return _YES.get(str(value).casefold(), 0.0) or float(label_of(value).name == "1")


def _is_multi_hot(values: Sequence[object]) -> bool:
    """Whether a list of several values holds 0 and 1 alone."""
    if len(values) < 2:
        return False
    if all(isinstance(value, bool) for value in values):
        return True
    words = {str(value).strip() for value in values}
    return words <= {"0", "1", "0.0", "1.0"}


def _score(key: object, score: object) -> float:
    """The score of a label, in [0, 1]; raises BadValue."""
    if isinstance(score, (np.generic, bytes)):
        score = score.item() if isinstance(score, np.generic) else score.decode()
    if isinstance(score, str):
        word = score.strip().casefold()
        score = _YES.get(word, word)
    try:
        number = float(score) if isinstance(score, (str, int, float)) else math.nan
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise BadValue(
            rule=f"expected for the label {shown(str(key))} 0 or 1, or a score between",
            received=type_shown(score),
            mend="write it so, or name the columns of the labels with --label_field",
        )
    return number


# For labels of all kinds of task.


def are_numbers(labels: Any) -> bool:
    """Whether texts have numbers instead of labels: float [n], or one of them."""
    values = np.asarray(labels)
    return values.ndim < 2 and values.dtype.kind == "f"


def pairs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each text with each label that it has: the texts' rows, the labels, int64 [m].

    Args:
      labels: int [n], positions; or float [n, labels], 1 where a text has the label;
        or float [n], numbers.
    """
    if are_numbers(labels):
        return np.arange(len(labels)), np.zeros(len(labels), np.int64)
    if labels.ndim == 1:
        return np.arange(len(labels)), labels.astype(np.int64)
    rows, columns = np.nonzero(labels)
    return rows, columns


def num_labels(labels: np.ndarray) -> int:
    """How many labels there are at least. labels: as of `pairs`."""
    if labels.ndim > 1:
        return int(labels.shape[1])
    return 1 if are_numbers(labels) else int(labels.max(initial=0)) + 1


def counts(labels: np.ndarray, num_labels: int) -> np.ndarray:
    """How many texts have each label, int64 [labels]. labels: as of `pairs`."""
    return np.bincount(pairs(labels)[1], minlength=num_labels)


def classes_of(
    labels: np.ndarray, label_names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """A class for each text: its label, or the set of its labels.

    Args:
      labels: as of `pairs`.

    Returns:
      Positions in the names, int [n]; and the names.
    """
    if are_numbers(labels):
        return np.zeros(len(labels), np.int64), tuple(label_names)
    if labels.ndim == 1:
        return labels, tuple(label_names)
    sets, numbers = np.unique(labels > 0, axis=0, return_inverse=True)
    return numbers.reshape(-1), tuple(name_of(each, label_names) for each in sets)


def name_of(label: Any, label_names: Sequence[str]) -> str:
    """A text's label, or all of its labels, in words.

    Args:
      label: a position; or number or bool [labels], not 0 where it has the label; or
        the number that a text has instead.
    """
    if np.ndim(label) == 0 and are_numbers(label):
        return f"{float(label):.6g}"
    if np.ndim(label) == 0:
        return label_names[int(label)]
    return _JOINED_BY.join(listed(label, label_names)) or NO_LABEL


def listed(label: Any, label_names: Sequence[str]) -> list[str]:
    """The names of a text's labels. label: number or bool [labels]."""
    return [label_names[index] for index in np.flatnonzero(label).tolist()]


def as_json(label: Any, label_names: Sequence[str]) -> str | list[str] | float:
    """A text's label; or the list of its labels; or its number. label: as of `name_of`."""
    if np.ndim(label) == 0 and are_numbers(label):
        return float(label)
    if np.ndim(label) == 0:
        return label_names[int(label)]
    return listed(label, label_names)


def kinds(labels: np.ndarray) -> np.ndarray:
    """Int64 [n], equal where labels, sets of them or numbers are; see `pairs`."""
    if labels.ndim == 1 and not are_numbers(labels):
        return labels.astype(np.int64)
    inverse = np.unique(labels, axis=0, return_inverse=True)[1]
    return np.asarray(inverse, np.int64).reshape(-1)


def told_apart(
    labels: np.ndarray, label_names: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `classes_of`, but each different number is a class of its own."""
    if not are_numbers(labels):
        return classes_of(labels, label_names)
    different, inverse = np.unique(labels, return_inverse=True)
    return inverse.reshape(-1), tuple(name_of(each, label_names) for each in different)


def having(labels: np.ndarray, label: int) -> np.ndarray:
    """Bool [n], whether a text has a label. labels: as of `pairs`."""
    if are_numbers(labels):
        return np.full(len(labels), label == 0)
    result: np.ndarray = labels == label if labels.ndim == 1 else labels[:, label] > 0
    return result


def is_right(labels: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Bool [n], whether a text's label is right, or all of its labels are.

    Args:
      labels, given: as of `pairs`, both of one kind.
    """
    is_same = np.equal(labels, given)
    result: np.ndarray = is_same if is_same.ndim == 1 else is_same.all(axis=1)
    return result


def num_kinds(labels: np.ndarray) -> int:
    """How many different labels, sets of them or numbers texts have; see `pairs`."""
    return len(np.unique(labels, axis=0))

"""What looks like a mistake in the labels of a data set, seen as a whole.

    find({"pos": Occurrence(9, "a.csv:2"), "Pos": Occurrence(1, "a.csv:7")}, ...)
    # ["labels must differ by more than case, ... Received: 'pos' (9 rows, ..."]

Each message names the labels, how many rows have them and the first of these rows, and
a flag that lets the run continue. What is wrong with a label alone is left to
`label_forms.py`.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import shlex
from collections import Counter, defaultdict
from typing import Iterable, Mapping, Sequence

from trainer.data.label_forms import SEVERAL_LABELS, is_fraction, is_whole_number
from trainer.messages import message, shown

MAX_CLASSES = 1000

# With fewer, each row may well have a label of its own.
_MIN_ROWS_TO_DOUBT_LABELS = 20
_MAX_SHOWN = 3
# Longer flags help nobody.
_MAX_NAMES_IN_FLAG = 20

# What may join labels in a string; `;` and `|` hardly stand within a name.
_SIGNS = ";|,/+& "
_BETWEEN_WORDS = re.compile(r"(?<=\w)[\s_\-‐‑–]+(?=\w)")
_AT_THE_ENDS = " .,;:!\"'`’“”_()[]"
# Of Cyrillic, to the letters of Latin that look the same.
_LOOK_ALIKES = str.maketrans("асеорхуіјѕ", "aceopxyijs")
_FRACTION_WITH_COMMA = re.compile(r"[+-]?\d+,\d+")
# Words for no and yes. Two pairs of them in one column are two files' conventions.
_NO_AND_YES = (
    ("0", "1"),
    ("f", "t"),
    ("n", "y"),
    ("no", "yes"),
    ("false", "true"),
    ("off", "on"),
    ("neg", "pos"),
    ("negative", "positive"),
)


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """How many rows have a label, and FILE:LINE of the first of them."""

    count: int
    place: str


Labels = Mapping[str, Occurrence]


def find(labels: Labels, *, label_field: str) -> list[str]:
    """Everything that looks like a mistake, in sentences for the user.

    Args:
      labels: each label of the training rows.
      label_field: the column they come from, for the message.
    """
    if not labels:
        return []
    joined = _joined(labels)
    fractions = [label for label in labels if is_fraction(label)]
    if all(map(_FRACTION_WITH_COMMA.fullmatch, labels)):
        fractions = [label for label in labels if not re.fullmatch(r".*,0+", label)]
    # A column of scores, or of several labels, has many different values as well.
    if 2 * len(joined) > len(labels):
        return [_several(joined, labels)]
    if fractions:
        return [_fractions(fractions, labels)]
    if _are_too_many(labels):
        return [_too_many(labels, label_field)]
    found = [_several(joined, labels)] if joined else []
    found += _alike(labels)
    return found + (_two_conventions(labels) if not found else [])


def names_flag(entries: Iterable[str]) -> str:
    """--label_names of these entries, as a shell and then the flag read them."""
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(list(entries))
    return shlex.quote(f"--label_names={row.getvalue()}")


def _are_too_many(labels: Labels) -> bool:
    num_rows = sum(found.count for found in labels.values())
    is_mostly_distinct = len(labels) > num_rows / 2
    return len(labels) > MAX_CLASSES or (
        is_mostly_distinct and num_rows >= _MIN_ROWS_TO_DOUBT_LABELS
    )


def _too_many(labels: Labels, label_field: str) -> str:
    """The column of ids or of texts, taken for that of the labels."""
    num_rows = sum(found.count for found in labels.values())
    examples = ", ".join(shown(label) for label in list(labels)[:_MAX_SHOWN])
    return message(
        f"{label_field!r} must be a column of labels: they occur often, "
        f"and there are at most {MAX_CLASSES} of them",
        received=f"{len(labels)} different ones in {num_rows} rows ({examples}, ...)",
        mend="name the right column with --label_field",
    )


def _fractions(fractions: Sequence[str], labels: Labels) -> str:
    """A column of scores."""
    return message(
        "labels must be classes, and numbers among them whole ones",
        received=f"{_some(fractions, labels)}, as a column of scores has them",
        mend="write a column of classes, such as negative below 3 and positive from 3, "
        f"and name it with --label_field{_or_keep(labels)}",
    )


def _or_keep(labels: Labels) -> str:
    """How the labels stay the classes that they are."""
    if len(labels) > _MAX_NAMES_IN_FLAG:
        return ", or name every label in --label_names to keep it as a class"
    return f", or keep each as a class with {names_flag(labels)}"


def _joined(labels: Labels) -> list[str]:
    """Labels that are several ones, joined by a sign: "a;b"."""
    found: dict[str, None] = {}
    for sign in _SIGNS:
        parts_of = {label: _parts(label, sign) for label in labels}
        in_labels = Counter(part for parts in parts_of.values() for part in set(parts))
        for label, parts in parts_of.items():
            elsewhere = [in_labels[part] > 1 for part in parts]
            # Other signs may be of a name: "New York, USA" beside "Boston, USA".
            is_joined = any(elsewhere) if sign in ";|" else all(elsewhere)
            if len(parts) > 1 and is_joined:
                found[label] = None
    return list(found)


def _parts(label: str, sign: str) -> list[str]:
    parts = [part.strip() for part in label.split(sign) if part.strip()]
    # Blanks are of many names: "not toxic" beside "toxic". "1 0 1" is none.
    is_name = sign == " " and not all(map(is_whole_number, parts))
    return [label] if is_name else parts


def _several(joined: Sequence[str], labels: Labels) -> str:
    single = [label for label in labels if label not in joined]
    sign = max(_SIGNS, key=lambda each: sum(each in label for label in joined))
    flag = shlex.quote(f"--label_separator={sign}")
    mend = (
        f"give --task=multi_label {flag} if a text may have several; or choose one for "
    )
    mend += "each text"
    if len(single) > 1 and len(labels) <= _MAX_NAMES_IN_FLAG:
        mend += f", or leave these rows out with {names_flag(single)} --bad_rows=skip"
    return message(
        f"expected one label, not several that are joined: {SEVERAL_LABELS}",
        received=_some(joined, labels),
        mend=mend + _or_keep(labels),
    )


def _alike(labels: Labels) -> list[str]:
    """One class under two spellings, which would halve it silently."""
    groups = defaultdict(list)
    for label in labels:
        groups[plain(label)].append(label)
    alike = [group for group in groups.values() if len(group) > 1]
    if not alike:
        return []
    mend = "write them alike"
    if len(labels) <= _MAX_NAMES_IN_FLAG:
        entries = []
        for group in groups.values():
            # The most frequent spelling is probably the right one.
            name = max(group, key=lambda label: labels[label].count)
            entries += [
                label if label == name else f"{label}={name}" for label in group
            ]
        mend += f", or make them one class with {names_flag(entries)}"
    received = [
        " and ".join(_named(label, labels) for label in group) for group in alike
    ]
    return [
        message(
            "labels must differ by more than case, white space, hyphens and signs at "
            "their ends",
            received="; ".join(received[:_MAX_SHOWN])
            + ("; ..." if len(received) > _MAX_SHOWN else ""),
            mend=mend + _or_keep(labels),
        )
    ]


def plain(label: str) -> str:
    """A label without what people write now in one way and now in another."""
    if label.isdecimal():
        return label.lstrip("0") or "0"
    lower = label.casefold().translate(_LOOK_ALIKES)
    return _BETWEEN_WORDS.sub("", lower.strip(_AT_THE_ENDS)) or label


def _two_conventions(labels: Labels) -> list[str]:
    """Files that say no and yes in different words: 0 and 1, false and true."""
    meanings = {
        word: meaning for pair in _NO_AND_YES for meaning, word in enumerate(pair)
    }
    found = [meanings.get(label.casefold()) for label in labels]
    if None in found or len(labels) < 3:
        return []
    entries = [f"{label}={meaning}" for label, meaning in zip(labels, found)]
    return [
        message(
            "labels must say no and yes in one pair of words",
            received=_some(list(labels), labels),
            mend=f"write them alike, or make them two classes with {names_flag(entries)}"
            f"{_or_keep(labels)}",
        )
    ]


def _some(chosen: Sequence[str], labels: Labels) -> str:
    """The first of some labels, each with its rows, and how many more there are."""
    listed = ", ".join(_named(label, labels) for label in chosen[:_MAX_SHOWN])
    num_more = len(chosen) - _MAX_SHOWN
    return f"{listed} and {num_more} more" if num_more > 0 else listed


def _named(label: str, labels: Labels) -> str:
    found = labels[label]
    rows = "1 row" if found.count == 1 else f"{found.count} rows"
    return f"{shown(label)} ({rows}, first {found.place})"

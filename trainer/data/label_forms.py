"""One form for a label, whatever its type and its spelling in a file.

    label_of("１.0 ").name  # "1"
    label_of(b"positive").name  # "positive"
    label_of('["positive"]').name  # "positive"
    label_of({"POSITIVE": 0.9, "NEGATIVE": 0.1})  # Label("POSITIVE", ("NEGATIVE",))

Labels are the same where their names are. This is what is united here, because it
cannot mean two things:

- strings: as `characters.visible` has them, without quotes around the whole;
- numbers: 1, 1.0, "1", "1.0", "+1" and "1e0" are "1". "01" is a code and stays;
- a list of one element is the element, a list in a string is the list;
- of scores by class, the class of the highest score.

Whether labels are alike otherwise ("Positive", "positive") is left to
`label_faults.py`: that is doubted, not united.
"""

from __future__ import annotations

import ast
import dataclasses
import decimal
import json
import math
import numbers
import re
from typing import Any, Collection, Mapping, Sequence

import numpy as np

from trainer.data.characters import visible
from trainer.data.readers.rows import (
    BadValue,
    check_not_blank,
    check_unicode,
    type_shown,
)
from trainer.messages import shown

SEVERAL_LABELS = "several labels a text need --task=multi_label"

# Kept short on purpose: "unknown", "other" and "neutral" are classes of many data sets.
MISSING_WORDS = frozenset(
    "nan null none n/a na n.a. #n/a #na <na> (null) \\n nat nil undefined missing - -- "
    "? ?? ??? .".split()
)

# Bounded, so that "1e999999" does not become a million digits. No leading zeros.
_NUMBER = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d{0,29})(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,2})?"
)
# How typesetting writes a minus.
_MINUS = str.maketrans("\u2212\u2013", "--")
_QUOTES = {'"': '"', "'": "'", "`": "`", "“": "”", "‘": "’", "«": "»", "„": "“"}
_SCORE_KEYS = ("score", "confidence", "probability")
# A longer string is no label; parsing it would only cost time.
_MAX_PARSED_CHARACTERS = 10_000
# Nor one of lists in lists so deep, whatever a version of Python can parse.
_MAX_PARSED_DEPTH = 100
# As NumPy prints arrays: [0 1 0], ['a' 'b'].
_NUMPY_LIST = re.compile(
    r"""\[\s*[-+.\deE]+(\s+[-+.\deE]+)+\s*\]|\[.*['"]\s+['"].*\]"""
)
_LIST_OF_WORDS = re.compile(r"\[[^\[\]]*,[^\[\]]*\]")


@dataclasses.dataclass(frozen=True)
class Label:
    """What a raw value says.

    Attributes:
      name: the label in its one form.
      others: further classes that the value names without choosing them.
    """

    name: str
    others: tuple[str, ...] = ()


def label_of(value: object) -> Label:
    """The label that a raw value says.

    Args:
      value: a string, bytes of UTF-8, a number, a boolean, a list of one of these,
        scores by class, or {"label": ..., "score": ...}, one or a list of them; NumPy's
        scalars and arrays too.

    Raises:
      BadValue: it is missing, blank, several labels, of another type, or no Unicode.
    """
    value = _unpacked(value)
    if isinstance(value, Mapping):
        return _highest(value)
    if isinstance(value, (list, tuple, set)):
        return _only(list(value))
    if isinstance(value, bool):
        return Label(str(value))
    if isinstance(value, (numbers.Real, decimal.Decimal)) and math.isfinite(value):
        return Label(_number_name(decimal.Decimal(str(value))))
    string = check_unicode(
        value, rule="expected a label (a word or a number)", flag="label_field"
    )
    return _of_string(string)


def _unpacked(value: object) -> object:
    """What lists of one hold, however deep; without recursion, which has an end."""
    while True:
        if isinstance(value, (np.generic, np.ndarray)):
            value = value.tolist()
        if not isinstance(value, (list, tuple, set)) or len(value) != 1:
            return value
        (value,) = value


def is_missing_word(name: str) -> bool:
    """Whether a label is a word that programs write where there is no value."""
    return name.casefold().translate(_MINUS) in MISSING_WORDS


def is_whole_number(name: str) -> bool:
    """Whether the name of a label is an integer: "10", not "010"."""
    return bool(re.fullmatch(r"0|-?[1-9]\d*", name))


def is_fraction(name: str) -> bool:
    """Whether the name of a label is a number that is not whole: "0.5"."""
    return bool(_NUMBER.fullmatch(name)) and not is_whole_number(name)


def _of_string(string: str) -> Label:
    check_not_blank(string, rule="expected a label")
    name = _unquoted(visible(string))
    check_not_blank(name, rule="expected a label")
    if name[0] in "[{(":
        values = parsed(name)
        if values is not None:
            return label_of(values)
    number = name.translate(_MINUS)
    if _NUMBER.fullmatch(number):
        name = _number_name(decimal.Decimal(number))
    return Label(name)


def _unquoted(string: str) -> str:
    """Without a pair of quotes around the whole, that CSV as TSV leaves."""
    end, inner = _QUOTES.get(string[0], ""), string[1:-1]
    is_quoted = len(string) > 1 and string[-1] == end and end not in inner
    return inner.strip() if is_quoted else string


def _number_name(number: decimal.Decimal) -> str:
    """A whole number as an integer, another one without zeros at its end."""
    if number == number.to_integral_value():
        return str(int(number))
    return format(number, "f").rstrip("0")


def parsed(string: str) -> Mapping[Any, Any] | Collection[Any] | None:
    """The list or object that a string spells, in JSON, Python or NumPy's way."""
    if len(string) > _MAX_PARSED_CHARACTERS or _depth(string) > _MAX_PARSED_DEPTH:
        return None
    # To Python, ['a' 'b'] is a list of the one string "ab".
    is_printed_array = _NUMPY_LIST.fullmatch(string)
    for parse in () if is_printed_array else (json.loads, ast.literal_eval):
        try:
            values = parse(string)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return values if isinstance(values, (list, dict, tuple, set)) else None
    if is_printed_array or _LIST_OF_WORDS.fullmatch(string):
        return [word.strip("'\"") for word in re.split(r"[\s,]+", string[1:-1])]
    return None


def _depth(string: str) -> int:
    """How many brackets are open at once, at most; those in quotes count as well."""
    depth = deepest = 0
    for bracket in re.findall(r"[][{}()]", string):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    return deepest


def _only(values: Sequence[object]) -> Label:
    """The label of a list of one, or of a list of scored labels."""
    if not values:
        raise BadValue(
            rule="expected a label",
            received="an empty list",
            mend="fill it in or remove the row",
        )
    scored = [label_and_score(value) for value in values if isinstance(value, Mapping)]
    if len(scored) < len(values) or None in scored:
        raise BadValue(
            rule=f"expected one label: {SEVERAL_LABELS}",
            received=type_shown(list(values)),
            mend="give --task=multi_label if a text may have several; or choose one, or "
            "name another column with --label_field",
        )
    return _highest({label: score for label, score in filter(None, scored)})


def label_and_score(value: Mapping[Any, object]) -> tuple[str, object] | None:
    """Label and score of {"label": ..., "score": ...}, or None for another object."""
    for key in _SCORE_KEYS:
        if value.keys() == {"label", key}:
            label = _unpacked(value["label"])
            # An object is none, and one in another would have no end.
            if not isinstance(label, Mapping):
                return label_of(label).name, value[key]
    return None


def _highest(scores: Mapping[Any, object]) -> Label:
    """The class of the highest score.

    Raises:
      BadValue: these are no scores, or they leave the class open.
    """
    if scored := label_and_score(scores):
        return Label(scored[0])
    rule = "expected a label, or a score for each class with one highest"
    mend = "mend the scores or remove the row"
    values: dict[str, float] = {}
    for key, score in scores.items():
        if not isinstance(score, (int, float)) or not math.isfinite(score):
            raise BadValue(
                rule=rule,
                received=type_shown(dict(scores)),
                mend="write it so, or name another column or a part of this one with "
                "--label_field",
            )
        values[label_of(key).name] = float(score)
    best = [name for name, score in values.items() if score == max(values.values())]
    if len(best) != 1:
        received = f"the same for {', '.join(map(shown, best))}" if best else "no score"
        raise BadValue(rule=rule, received=received, mend=mend)
    # One class that is not it: {"POSITIVE": 0.0}.
    if len(values) == 1 and values[best[0]] < 0.5:
        received = f"only {values[best[0]]:g} for {best[0]!r}"
        raise BadValue(rule=rule, received=received, mend=mend)
    return Label(best[0], tuple(name for name in values if name != best[0]))

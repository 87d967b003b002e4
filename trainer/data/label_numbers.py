"""The numbers that texts have instead of labels: prices, ratings, scores.

    numbers = LabelNumbers()
    codes = [numbers.encode(row, file="prices.csv") for row in rows]   # a code a number
    numbers.values(codes)           # float64 [n]

    number_of(" 1.5e3 ")            # 1500.0
    number_of("1,234")              # BadValue: a comma may mean two things

A number is what JSON has as one, or a string of digits with at most one decimal point
and an exponent, in quotes or not. Nothing is guessed: a comma parts thousands here and
decimals there, "12 kg" has a unit, "5/10" is a fraction or a date. Each is named, with
what to write instead.
"""

from __future__ import annotations

import decimal
import math
import numbers
import re
from typing import Sequence

import numpy as np

from trainer.data.characters import visible
from trainer.data.label_forms import is_missing_word
from trainer.data.readers.rows import BadValue, Row, type_shown
from trainer.messages import shown

# The answers of an exported model are float32, whose largest number is 3.4e38; a
# squared distance has to fit float64 besides.
LARGEST = 1e30
# Of so few different whole numbers, each this often, an order of labels may be meant.
_MAX_ORDERED = 10
_MIN_ROWS_OF_ORDERED = 5
_MAX_VERDICTS = 10_000

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WITH_COMMA = re.compile(r"[+-]?\d[\d.,]*,[\d.,]*\d", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)
# What begins or ends with a number and says more: a unit, a currency, another number.
_WITH_MORE = re.compile(r"\D{0,8}[+-]?\d[\d.,]*\s*\D{1,12}|\D{1,8}\d[\d.,]*", re.ASCII)
# How typesetting writes a minus.
_MINUS = str.maketrans("\u2212\u2013", "--")
_QUOTES = "\"'`"
_RULE = "expected a number, as in 12, -0.5 or 1.5e3"


class LabelNumbers:
    """Numbers the numbers of rows as they come: a `LabelNumbering`.

    A code stands for each different number, so that rows are collected as those of
    classes are.
    """

    is_hopeless = False
    names = ("value",)

    def __init__(self) -> None:
        self._codes: dict[float, int] = {}
        self._verdicts: dict[str, int | BadValue] = {}

    def encode(self, row: Row, *, file: str) -> int | BadValue:
        """The code of the row's number, or what is wrong with it."""
        # By what it looks like: to Python 1 and True are one key.
        key = repr(row.label)
        if key in self._verdicts:
            return self._verdicts[key]
        try:
            number = number_of(row.label)
            verdict: int | BadValue = self._codes.setdefault(number, len(self._codes))
        except BadValue as bad_value:
            verdict = bad_value
        if len(self._verdicts) < _MAX_VERDICTS:
            self._verdicts[key] = verdict
        return verdict

    def values(self, codes: Sequence[int] | np.ndarray) -> np.ndarray:
        """The numbers of rows: float64 [n]. codes: int [n], as `encode` gave them."""
        known = np.array([*self._codes, math.nan], np.float64)
        found: np.ndarray = known[np.asarray(codes, np.int64)]
        return found

    def named(self) -> LabelNumbers:
        """For the rows of another split, whose codes are their own."""
        return LabelNumbers()


def number_of(value: object) -> float:
    """The number that a raw value says: finite, and at most `LARGEST` by size.

    Args:
      value: a number, a string or bytes of UTF-8, a list of one of these.

    Raises:
      BadValue: it says none, or more than a number.
    """
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return number_of(value[0])
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if value is None:
        raise _missing("none")
    if isinstance(value, str):
        return _of_string(value)
    is_number = isinstance(value, (numbers.Real, decimal.Decimal))
    if isinstance(value, bool) or not is_number:
        raise BadValue(
            rule=_RULE,
            received=type_shown(value),
            mend="write a number, or name its column with --label_field",
        )
    number = float(value)  # type: ignore[arg-type]
    return _checked(number, str(value))


def _of_string(string: str) -> float:
    word = visible(string)
    if len(word) > 1 and word[0] in _QUOTES and word[-1] == word[0]:
        word = word[1:-1].strip()
    if not word or is_missing_word(word):
        raise _missing(shown(string) if word else "an empty field")
    word = word.translate(_MINUS)
    if _NUMBER.fullmatch(word):
        return _checked(float(word), word)
    if _INFINITE.fullmatch(word):
        raise _not_finite(word)
    raise BadValue(rule=_RULE, received=shown(string), mend=_mend(word))


def _checked(number: float, word: str) -> float:
    if math.isnan(number):
        raise _missing(word)
    if math.isinf(number):
        raise _not_finite(word)
    if abs(number) > LARGEST:
        raise BadValue(
            rule=f"expected a number of at most {LARGEST:g} by size",
            received=word,
            mend="give all of them in a larger unit, as millions, or their logarithms",
        )
    # One zero, for a set of numbers has no two.
    return number + 0.0


def _mend(word: str) -> str:
    if _WITH_COMMA.fullmatch(word):
        return (
            "write it with a decimal point and without marks between thousands: a comma "
            "means one here and the other there, so none is guessed"
        )
    if "/" in word or ":" in word:
        return "write the value alone, as 5 or 0.5 for 5/10, of one scale in all rows"
    if word.endswith("%"):
        return "write the number alone, without %"
    if _WITH_MORE.fullmatch(word):
        return "write the number alone, in one unit for all rows"
    return (
        "mend the number or leave such rows out with --bad_rows=skip; words as labels "
        "need --task=single_label"
    )


def _missing(received: str) -> BadValue:
    return BadValue(
        rule=f"{_RULE}; words such as nan, NULL, N/A and ? mean that it is missing",
        received=received,
        mend="fill it in, or leave such rows out with --bad_rows=skip",
    )


def _not_finite(word: str) -> BadValue:
    return BadValue(
        rule=f"{_RULE}, that is finite",
        received=word,
        mend="mend it, or leave such rows out with --bad_rows=skip",
    )


def notes(values: np.ndarray) -> list[str]:
    """What a user should know of the training rows' numbers: sentences.

    Args:
      values: float64 [n].
    """
    different = np.unique(values)
    is_few = len(different) <= _MAX_ORDERED
    if not is_few or (different != np.round(different)).any():
        return []
    if len(values) < _MIN_ROWS_OF_ORDERED * len(different):
        return []
    listed = ", ".join(f"{value:g}" for value in different)
    return [
        f"the numbers are {len(different)} whole ones ({listed}): --task=ordinal, whose "
        "answer is one of them, with a probability for each, may fit better"
    ]

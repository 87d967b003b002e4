"""Finds a value in nested records by a path, as `annotations.0.label`.

    record = {"annotations": [{"label": "positive"}]}
    lookup(record, "annotations.0.label")  # "positive"; raises BadValue

A step is a key of an object, or a position in a list, from 0. A key that itself holds
a dot wins over the path: of several keys that the path begins with, the longest.
"""

from __future__ import annotations

from typing import Mapping, NoReturn

from trainer.data.readers.rows import BadValue, type_shown
from trainer.messages import did_you_mean, shown


class AbsentValue(BadValue):
    """There is nothing at the path; the record may be good without it."""


class DoubledKeys(dict[str, object]):
    """An object that had a key more than once; its last values, as Python takes them.

    Attributes:
      counts: key → how many times, of those that are doubled.
    """

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(pairs)
        keys = [key for key, _ in pairs]
        self.counts = {key: keys.count(key) for key in self if keys.count(key) > 1}


def lookup(record: object, path: str, *, mend: str) -> object:
    """The value at a path.

    Args:
      record: objects (mappings) and lists of any depth.
      path: keys and positions, joined by dots.
      mend: what to do where it leads nowhere.

    Raises:
      AbsentValue: a step is not there. The message names it.
      BadValue: a key on the path is there more than once.
    """
    value, rest = record, path
    while rest:
        taken = path[: len(path) - len(rest)].rstrip(".")
        if isinstance(value, dict):
            step = longest_key(value, rest)
            if step is None:
                _refuse_key(value, rest, taken=taken, path=path, mend=mend)
            _refuse_doubled(value, step)
            value = value[step]
        else:
            step = rest.partition(".")[0]
            value = _element(value, step, taken=taken, mend=mend)
        rest = rest[len(step) + 1 :]
    if isinstance(value, DoubledKeys):
        _refuse_doubled(value, next(iter(value.counts)))
    return value


def longest_key(value: Mapping[str, object], rest: str) -> str | None:
    """The longest of an object's keys that the rest of a path begins with."""
    if rest in value:
        return rest
    steps = rest.split(".")
    candidates = (".".join(steps[:end]) for end in range(len(steps) - 1, 0, -1))
    return next((step for step in candidates if step in value), None)


def _refuse_key(
    value: Mapping[str, object], rest: str, *, taken: str, path: str, mend: str
) -> NoReturn:
    step = rest.partition(".")[0]
    place = f" in {taken!r}" if taken else ""
    whole = f" for {path!r}" if step != path and not taken else ""
    keys = list(value)
    raise AbsentValue(
        rule=f"expected one key {step!r}{place}{whole}",
        received=f"keys {named(keys)}{did_you_mean(step, keys)}" if keys else "none",
        mend=mend,
    )


def _refuse_doubled(value: Mapping[str, object], step: str) -> None:
    if isinstance(value, DoubledKeys) and step in value.counts:
        raise BadValue(
            rule=f"expected one key {step!r}",
            received=f"{value.counts[step]} of that name",
            mend="remove all but one",
        )


def _element(value: object, step: str, *, taken: str, mend: str) -> object:
    if not isinstance(value, list):
        raise AbsentValue(
            rule=f"expected an object or a list in {taken!r}, to take {step!r} of",
            received="none" if value is None else type_shown(value),
            mend="fill it in, or remove the row" if value is None else mend,
        )
    if not step.isascii() or not step.isdigit():
        raise AbsentValue(
            rule=f"expected a position in the list {taken!r} (0 is the first)",
            received=repr(step),
            mend=mend,
        )
    if int(step) >= len(value):
        raise AbsentValue(
            rule=f"expected at least {int(step) + 1} elements in {taken!r}",
            received=str(len(value)),
            mend="fill it in, or remove the row",
        )
    return value[int(step)]


def named(names: list[str]) -> str:
    """The first 20 names of columns or keys, quoted, for a message."""
    return ", ".join(map(shown, names[:20]))

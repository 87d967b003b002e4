"""The settings that a sweep tries: --sweep=NAME=VALUES, read and checked.

    axes = parse(("learning_rate=log:1e-5:2e-4", "num_train_epochs=2,3,4"))
    axes[0].at(0.5)     # 4.472e-05
    axes[1].at(0.5)     # 3

An axis is a run's setting with what it may be: a range, whose numbers are as likely on
a line or as likely on a logarithmic one, or a list. Where in an axis a trial is, is a
number in [0, 1) that others draw (`studies/sweep_draws.py`).
"""

from __future__ import annotations

import csv
import dataclasses
import math
import typing
from typing import Any, Literal, Mapping, Sequence

from trainer.config import ExperimentConfig, sections
from trainer.messages import did_you_mean, message

# A whole number, a float, a name, a truth or a tuple of names.
Value = Any
Scale = Literal["log", "linear", "choices"]

_HOW = (
    "write --sweep=NAME=log:LOW:HIGH, --sweep=NAME=linear:LOW:HIGH or "
    "--sweep=NAME=VALUE,VALUE"
)
_SIGNIFICANT_DIGITS = 4
_SAME_TEXTS = "trials must be compared on the same texts and labels"
_NO_WEIGHTS = "it changes no weights"
# Settings that a run may not change when it is resumed, and that no sweep tries: why.
_NOT_SWEPT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *("dataset", "validation_dataset", "test_dataset", "text_field"),
            *("label_field", "group_field", "encoding", "column_names", "escape"),
            *("task", "label_separator"),
            *("label_names", "bad_rows", "test_one_in", "validation_one_in"),
            *("num_eval_examples", "evaluate_test", "num_folds", "fold"),
        ),
        _SAME_TEXTS,
    ),
    "num_train_examples": "what more texts give is no choice between settings",
    "seed": "it is luck, and no choice",
    "best_metric": "trials are ranked by it",
    "sample_texts": _NO_WEIGHTS,
    "num_before_examples": _NO_WEIGHTS,
}
_INSTEAD: Mapping[str, str] = {
    "num_train_examples": "use --rungs for growing shares of the texts, or "
    "--study=learning_curve",
    "seed": "give --seeds=0,1,2, with which the best trials are repeated",
}


@dataclasses.dataclass(frozen=True)
class Axis:
    """One setting with what it may be.

    Attributes:
      name: of the setting.
      scale: of a range, "log" or "linear"; "choices" of a list.
      values: the two ends of the range, or the list.
    """

    name: str
    scale: Scale
    values: tuple[Value, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.scale != "choices" and isinstance(self.values[0], int)

    @property
    def num_values(self) -> float:
        """How many different ones there are; infinite for a range of floats."""
        if self.scale == "choices":
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.is_whole else math.inf

    def at(self, place: float) -> Value:
        """The value at a place in [0, 1).

        Of whole numbers both ends have room. Others have four significant digits, so
        that a flagfile shows what was tried.
        """
        if self.scale == "choices":
            return self.values[int(place * len(self.values))]
        low, high = self.values
        end = high + 1 if self.is_whole else high
        number = (
            low * (end / low) ** place
            if self.scale == "log"
            else low + place * (end - low)
        )
        if self.is_whole:
            return min(math.floor(number), high)
        return min(max(float(f"{number:.{_SIGNIFICANT_DIGITS}g}"), low), high)

    def place_of(self, value: Value) -> float:
        """Where on the axis a value is, in [0, 1]: for pictures and for forests."""
        if self.scale == "choices":
            return self.values.index(value) / max(len(self.values) - 1, 1)
        low, high = self.values
        if self.scale == "log":
            return math.log(value / low) / math.log(high / low)
        return float((value - low) / (high - low))


def parse(entries: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of --sweep, in its order.

    Raises:
      ValueError: an entry is no axis, or two are of one setting; the message says how
        to write it.
    """
    axes = tuple(map(_axis, entries))
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        together = ",".join(
            entry.partition("=")[2].strip()
            for entry in entries
            if entry.partition("=")[0].strip() == twice
        )
        is_list = all(axis.scale == "choices" for axis in axes if axis.name == twice)
        raise ValueError(
            message(
                "--sweep must name each setting once",
                received=f"{twice} {names.count(twice)} times",
                mend=(
                    f"give --sweep={twice}={together}"
                    if is_list
                    else "give one of them alone"
                ),
            )
        )
    return axes


def _axis(entry: str) -> Axis:
    name, equals, values = (part.strip() for part in entry.partition("="))
    if not (name and equals and values):
        raise ValueError(
            message(
                "--sweep must say which setting takes which values",
                received=repr(entry),
                mend=_HOW,
            )
        )
    name = name.lstrip("-")
    hint = _hint(name)
    scale, colon, ends = values.partition(":")
    if colon and scale in ("log", "linear"):
        # The comparison tells mypy which of the two it is.
        return _range(name, "log" if scale == "log" else "linear", ends, hint)
    choices = _cells(values)
    parsed = tuple(_value(name, choice, hint) for choice in choices)
    if len(set(parsed)) < len(parsed) or len(parsed) < 2:
        different = ",".join(dict.fromkeys(choices))
        raise ValueError(
            message(
                f"--sweep={name}=VALUES must be two different values or more",
                received=values,
                mend=(
                    f"give --sweep={name}={different}"
                    if len(set(parsed)) > 1
                    else f"add another one, or give --{name}={different} outside of "
                    "the sweep"
                ),
            )
        )
    return Axis(name, "choices", parsed)


def _hint(name: str) -> Any:
    """The type of a setting that can be swept.

    Raises:
      ValueError: there is none of this name, or no sweep may try it.
    """
    hints: dict[str, Any] = {}
    fields: dict[str, dataclasses.Field[Any]] = {}
    for config_class in (ExperimentConfig, *sections(ExperimentConfig).values()):
        hints |= typing.get_type_hints(config_class)
        fields |= {field.name: field for field in dataclasses.fields(config_class)}
    known = {name: field for name, field in fields.items() if "help" in field.metadata}
    swept = [name for name, field in known.items() if not _why_not(name, field)]
    if name not in known:
        raise ValueError(
            message(
                "--sweep must name a setting of a run",
                received=f"{name}{did_you_mean(name, swept)}",
                mend="python -m trainer.main --help shows all of them",
            )
        )
    if why := _why_not(name, known[name]):
        raise ValueError(
            message(
                f"--{name} cannot be swept: {why}",
                received=f"--sweep={name}=...",
                mend=_INSTEAD.get(name, f"give --{name} once, for all trials"),
            )
        )
    return hints[name]


def _why_not(name: str, field: dataclasses.Field[Any]) -> str:
    """Why no sweep tries a setting; "" where one may."""
    if name in _NOT_SWEPT:
        return _NOT_SWEPT[name]
    return _NO_WEIGHTS if field.metadata["may_change"] else ""


def _range(name: str, scale: Scale, ends: str, hint: Any) -> Axis:
    if hint not in (int, float):
        raise ValueError(
            message(
                f"--sweep={name} must be a list: the setting is no number",
                received=f"{scale}:{ends}",
                mend=f"write --sweep={name}=VALUE,VALUE",
            )
        )
    parts = ends.split(":")
    if len(parts) != 2:
        raise ValueError(
            message(
                "a range of --sweep must have two ends",
                received=f"{name}={scale}:{ends}",
                mend=f"write --sweep={name}={scale}:LOW:HIGH",
            )
        )
    low, high = (_value(name, part, hint) for part in parts)
    least = "LOW above 0 and " if scale == "log" else ""
    is_finite = math.isfinite(low) and math.isfinite(high)
    if not (is_finite and low < high and (scale == "linear" or low > 0)):
        is_turned = is_finite and high < low and (scale == "linear" or high > 0)
        mend = f"write --sweep={name}=linear:LOW:HIGH, or another LOW"
        if is_turned:
            mend = f"give --sweep={name}={scale}:{parts[1]}:{parts[0]}"
        elif low == high:
            mend = f"give --{name}={parts[0]} outside of the sweep, or another end"
        raise ValueError(
            message(
                f"a range of --sweep must have {least}LOW below HIGH",
                received=f"{name}={scale}:{ends}",
                mend=mend,
            )
        )
    return Axis(name, scale, (low, high))


def _value(name: str, text: str, hint: Any) -> Value:
    """One value in the flag's own syntax.

    Raises:
      ValueError: it is none of the setting.
    """
    text = text.strip()
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if text not in choices:
            raise ValueError(_refusal(name, text, f"one of {', '.join(choices)}"))
        return text
    if typing.get_origin(hint) is tuple:
        return tuple(_cells(text))
    if hint is bool:
        if text not in ("true", "false"):
            raise ValueError(_refusal(name, text, "true or false"))
        return text == "true"
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            kind = "a whole number" if hint is int else "a number"
            raise ValueError(_refusal(name, text, kind)) from None
    return text


def _refusal(name: str, text: str, what: str) -> str:
    return message(
        f"each value of --sweep={name} must be {what}",
        received=repr(text),
        mend=_HOW if what.startswith("a ") else "",
    )


def _cells(text: str) -> list[str]:
    """Values separated by commas; one that has commas itself stands in quotes."""
    return next(csv.reader([text], skipinitialspace=True))


def flag_value(value: Value) -> str:
    """A value as its flag takes it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)

"""How a setting is declared, what holds for several of them, and what is made of all."""

from __future__ import annotations

import dataclasses
import encodings.aliases
import functools
import typing
from typing import Any, Callable, Literal, Mapping

from trainer.messages import did_you_mean, message

Escape = Literal["auto", "doubled", "backslash"]
# The guide's own two sentences, tried before and after fine-tuning on its data.
GUIDE_SENTENCES = (
    "The movie was absolutely wonderful, full of joy.",
    "The movie was terrible and boring.",
)
# Those of Hugging Face's libraries, whose classifier reads the first token of one BERT.
FIRST_TOKEN_FORMATS = ("huggingface", "peft")
# The one that says which words moved an answer, with --export_explain.
EXPLAIN_SIGNATURE = "explain"


def setting(
    default: Any, help: str, *, may_change: bool = False, repeated: bool = False
) -> Any:
    """Declares one field.

    Args:
      default: the value when nothing is given.
      help: what it means, with its unit and its sentinel values.
      may_change: whether a run may be resumed with another value: true for what
        cannot change the weights (beyond rounding).
      repeated: whether a tuple's flag is given once per value, rather than once
        with its values separated by commas.
    """
    metadata = {"help": help, "may_change": may_change, "repeated": repeated}
    return dataclasses.field(default=default, metadata=metadata)


ENCODING_HELP = (
    "Encoding of text files: utf-8, cp1252, utf-16 or any other that Python knows. "
    "`auto`: UTF-8, or what a byte-order mark or zero bytes tell; a file that is "
    "neither is refused, with how it would read in the likely ones."
)
TEXT_FIELD_HELP = (
    "Name of the column, key or feature with the text. Several, as in `title,body`, are "
    "joined in this order by a blank; of these, empty ones are left out. In JSON and "
    "Parquet a name may be a path, as in `data.text`."
)
COLUMN_NAMES_HELP = (
    "Names of the columns of a CSV or TSV file without a header, in order, separated "
    "by commas; its first row is data then. Empty: the first row has the names."
)
ESCAPE_HELP = (
    "How CSV and TSV write a quote within a quoted field: `doubled` (spreadsheets, "
    "pandas) or by a `backslash` before it (MySQL, Spark). `auto`: doubled, and a file "
    "with backslashes is refused, with this flag named."
)


def require(condition: bool, rule: str, *, received: object, mend: str = "") -> None:
    if not condition:
        raise ValueError(message(rule, received=received, mend=mend))


# A study makes many configs, and each asks.
_hints: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)


def require_choices(config: Any) -> None:
    """Raises ValueError when a `Literal` field holds none of its choices."""
    for name, hint in _hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            value, choices = getattr(config, name), typing.get_args(hint)
            require(
                value in choices,
                f"--{name} must be one of {', '.join(choices)}",
                received=f"{name}={value!r}",
            )


def require_at_least(config: Any, minimum: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(
            value >= minimum,
            f"--{name} must be at least {minimum}",
            received=f"{name}={value}",
        )


def require_encoding(name: str) -> None:
    if name == "auto":
        return
    try:
        # A codec that is no encoding of text, such as base64, is a LookupError too.
        "".encode(name)
    except (LookupError, ValueError):
        known = {alias.replace("_", "-") for alias in encodings.aliases.aliases}
        mend = f"give one that Python knows{did_you_mean(name, known)}, or auto"
        rule = "--encoding must be an encoding of text"
        raise ValueError(message(rule, received=repr(name), mend=mend)) from None


def require_columns(names: tuple[str, ...]) -> None:
    require(
        all(map(str.strip, names)) and len(set(names)) == len(names),
        "--column_names must be different names, separated by commas",
        received=",".join(names),
        mend="give every column a name, also one that is not used",
    )


def require_margin(margin: float) -> None:
    require(
        0 <= margin < 1,
        "--promote_margin must be a fraction from 0 to below 1",
        received=str(margin),
        mend="give 0.01 for a point",
    )


MARGIN = 0.01
MARGIN_HELP = (
    "A loss of accuracy that would be borne, as a fraction: within it a model is not worse. "
    "With --task=regression a share of the champion's mean absolute error."
)
MIN_SLICE = 50
MIN_SLICE_HELP = (
    "Texts that a slice (a label, a range of numbers, a length, a group) must have to hold "
    "a challenger back, and a group to be judged in the report; a smaller one can only "
    "warn, or is listed."
)
# The packaged lexicon, and none, in --group_terms.
OWN_TERMS, NO_TERMS = "own", "none"


def require_names(flag: str, names: tuple[str, ...], what: str) -> None:
    require(
        all(map(str.strip, names)) and len(set(names)) == len(names),
        f"--{flag} must name {what} once each, separated by commas",
        received=",".join(names),
    )


def require_to_label(place: str) -> None:
    require(
        not place or place.endswith(".csv"),
        "--export_to_label must be a file that ends with .csv",
        received=place,
    )


SLICE_FIELDS_MEANING = "separated by commas; a row without a value is in no slice."


def sections(config_class: type) -> dict[str, type]:
    """The nested dataclasses of a config class, by field name."""
    hints = _hints(config_class)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(config_class)
        if dataclasses.is_dataclass(hints[field.name])
    }


def settings(config: Any) -> dict[str, Any]:
    """Setting name → value, those of the sections included."""
    nested = sections(type(config))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values |= settings(value) if field.name in nested else {field.name: value}
    return values


def from_mapping(config_class: type, values: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    require(
        not unknown,
        f"a config must have the settings of {config_class.__name__}",
        received=f"unknown ones, {unknown}",
        mend="was it written by another version?",
    )
    nested = sections(config_class)
    arguments = {
        name: (
            from_mapping(nested[name], value)
            if name in nested
            else tuple(value) if isinstance(value, list) else value
        )
        for name, value in values.items()
    }
    return config_class(**arguments)

"""JSON back into the types of the report, with the place of what does not fit."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import types
import typing
from typing import Any, Callable, Literal, Mapping, TypeVar

from trainer.messages import message, shown

_T = TypeVar("_T")


def from_mapping(kind: type[_T], values: Mapping[str, Any], *, place: str = "") -> _T:
    """A dataclass of this module, from a dict of its keys.

    A value may be what JSON gives for it or be of the field's type already. A key that
    is not given takes the field's default.

    Args:
      kind: the dataclass.
      values: by the names of its fields.
      place: what an error calls the whole; the name of the dataclass if empty.

    Raises:
      ValueError: a key is missing or unknown, or a value has the wrong type; the
        message names the key by its path.
    """
    result: _T = _convert(values, kind, place or kind.__name__)
    return result


def _convert(value: Any, kind: Any, place: str) -> Any:
    """The value as `kind`, of the types that this module's fields have."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return value if _is_instance(value, kind) else _fields(value, kind, place)
    convert = _CONVERTERS.get(typing.get_origin(kind))
    if convert:
        return convert(value, typing.get_args(kind), place)
    # JSON writes 1.0 as 1 in other languages. A bool is an int to Python alone.
    kinds = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kinds):
        raise _wrong(value, kind.__name__, place)
    return value


def _is_instance(value: Any, kind: Any) -> bool:
    return isinstance(value, kind)


# Of thousands of records of a history, each would evaluate its annotations anew.
@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fields(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(value, f"an object with the keys of {kind.__name__}", place)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    missing = [
        name
        for name, field in fields.items()
        if name not in value
        and field.default is field.default_factory is dataclasses.MISSING
    ]
    unknown = [name for name in value if name not in fields]
    if missing or unknown:
        raise ValueError(
            message(
                f"the keys must be those of {kind.__name__}",
                received=f"without {missing}, and with {unknown} besides",
                mend="use the version of the program that wrote it",
                place=place,
            )
        )
    kinds = _types(kind)
    return kind(
        **{
            name: _convert(item, kinds[name], f"{place}.{name}")
            for name, item in value.items()
        }
    )


def _mapping(value: Any, arguments: tuple[Any, ...], place: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", place)
    _, kind = arguments
    return {
        _convert(name, str, f"{place}, a key"): _convert(item, kind, f"{place}.{name}")
        for name, item in value.items()
    }


def _tuple(value: Any, arguments: tuple[Any, ...], place: str) -> tuple[Any, ...]:
    is_of_any_length = arguments[-1] is ...
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, "an array", place)
    if not is_of_any_length and len(value) != len(arguments):
        raise _wrong(value, f"an array of {len(arguments)} values", place)
    kinds = arguments[:1] * len(value) if is_of_any_length else arguments
    return tuple(
        _convert(item, kind, f"{place}[{index}]")
        for index, (item, kind) in enumerate(zip(value, kinds))
    )


def _union(value: Any, arguments: tuple[Any, ...], place: str) -> Any:
    """Unions are of types and None, plain ones or dataclasses that differ in keys."""
    kinds = [kind for kind in arguments if kind is not types.NoneType]
    if value is None and len(kinds) < len(arguments):
        return None
    # A whole number is a float too, so the type that it has goes first.
    exact = [kind for kind in kinds if type(value) is kind or _has_keys(value, kind)]
    return _convert(value, (exact or kinds)[0], place)


def _has_keys(value: Any, kind: Any) -> bool:
    """Whether an object has the keys of a dataclass and no others."""
    if not dataclasses.is_dataclass(kind) or not isinstance(value, Mapping):
        return False
    return set(value) == {field.name for field in dataclasses.fields(kind)}


def _literal(value: Any, arguments: tuple[Any, ...], place: str) -> Any:
    if value not in arguments:
        raise _wrong(value, f"one of {', '.join(map(repr, arguments))}", place)
    return value


_CONVERTERS: Mapping[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    collections.abc.Mapping: _mapping,
    tuple: _tuple,
    types.UnionType: _union,
    # What `|` makes of a type that `typing` defines, such as Mapping.
    typing.Union: _union,
    Literal: _literal,
}


def _wrong(value: Any, expected: str, place: str) -> ValueError:
    return ValueError(
        message(
            f"the value must be {expected}",
            received=shown(value),
            mend="use the version of the program that wrote it",
            place=place,
        )
    )

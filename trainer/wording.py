"""Settings as people read them: sentinels in words, and flagfiles to copy.

    meaning("dropout", -1.0)                # "the preset's own"
    meaning("dropout", 0.1)                 # "", it says so itself
    flag_lines(asdict(config), all_of_them=False)   # ["--model_dir=runs/a", ...]

What a sentinel stands for is said once, in the help of its setting in `config/`:
"-1: the preset's own." What it came to in a run, `stages/resolve.py` says.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import re
from typing import Any, Iterator, Mapping

from trainer.config import ExperimentConfig, sections


@functools.cache
def fields(config_class: type = ExperimentConfig) -> dict[str, dataclasses.Field[Any]]:
    """All settings by name, those of the sections included."""
    nested = sections(config_class)
    found: dict[str, dataclasses.Field[Any]] = {}
    for field in dataclasses.fields(config_class):
        section = nested.get(field.name)
        found |= fields(section) if section else {field.name: field}
    return found


def meaning(name: str, value: object) -> str:
    """What a setting's help says that a value stands for; "" for a plain value."""
    field = fields().get(name)
    return meaning_in(field.metadata["help"], value) if field else ""


def meaning_in(help_text: str, value: object) -> str:
    """The same for a help text, which says "0: all of them." or "Empty: none."."""
    if isinstance(value, bool) or value is None:
        return ""
    is_empty = value in ("", (), [])
    sentinel = (
        "Empty"
        if is_empty
        else f"{value:g}" if isinstance(value, (int, float)) else str(value)
    )
    pattern = rf"(?:^|\s){re.escape(sentinel)}: (.+?)\.(?:\s|$)"
    found = re.search(pattern, help_text)
    return found[1] if found else ""


def flag_lines(
    config: Mapping[str, Any],
    *,
    all_of_them: bool,
    config_class: type = ExperimentConfig,
) -> list[str]:
    """The lines of a flagfile.

    Args:
      config: settings as `dataclasses.asdict` of a config gives them, or as its JSON
        does.
      all_of_them: also those that are at their defaults.
      config_class: of the config.
    """
    values: dict[str, Any] = {}
    for name, value in config.items():
        values |= value if isinstance(value, Mapping) else {name: value}
    return [
        line
        for name, field in fields(config_class).items()
        if name in values
        and (all_of_them or _plain(values[name]) != _plain(field.default))
        for line in _lines_of(field, _plain(values[name]))
    ]


def _plain(value: Any) -> Any:
    """JSON knows no tuples."""
    return list(value) if isinstance(value, tuple) else value


def _lines_of(field: dataclasses.Field[Any], value: Any) -> Iterator[str]:
    repeats = value if field.metadata["repeated"] else [value]
    for each in repeats:
        text = _as_csv(each) if isinstance(each, list) else str(each)
        if text != text.strip() or len(text.splitlines()) > 1:
            yield f"# --{field.name} is left out: no flagfile holds its blanks or lines"
        else:
            yield f"--{field.name}={text}"


def _as_csv(values: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()

"""Jinja2 as this program uses it: a template that asks for what is not there fails.

templates = environment(pathlib.Path(__file__).parent, autoescape=True)
templates.get_template("report.html.jinja").render(report=values)
"""

from __future__ import annotations

import pathlib
from typing import Any

import jinja2


class _Missing(jinja2.StrictUndefined):
    """A value that is not there; any use of it raises UndefinedError with its name."""

    def __format__(self, specification: str) -> str:
        # StrictUndefined forgets f-strings: Python's own error does not say which
        # value it was.
        return str(self)


def environment(*folders: pathlib.Path, **options: Any) -> jinja2.Environment:
    """The templates of folders; lines that hold nothing but a tag leave no trace.

    Args:
      folders: where a template is looked for, one after the other.
      options: more of `jinja2.Environment`'s. `autoescape` is for the caller to
        decide: on for HTML.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=_Missing,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )

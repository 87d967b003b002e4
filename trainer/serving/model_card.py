"""The model card: what a model is for, how good it is, how to call it, in Markdown.

    text = render(facts)    # those of the manifest

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". The
words are in `model_card.md.jinja`; what a run cannot know, such as who may use the
model for what, the card asks for in so many words.
"""

from __future__ import annotations

import pathlib
from typing import Any, Mapping

import jinja2

# What the server calls the model in the card's examples and the warm-up requests.
MODEL_NAME = "classifier"


def render(facts: Mapping[str, Any]) -> str:
    """The card of one format of one version.

    Args:
      facts: of the manifest: `title`, `version`, `format`, `created`, `config`, `data`,
        `metrics`, `constants` and so on; what is not there is left out.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        # Not HTML: a label or a file's name is put in as it is, on one line.
        autoescape=False,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=_percent, cell=_cell, shape=_shape)
    template = environment.get_template("model_card.md.jinja")
    return template.render(facts, model_name=MODEL_NAME)


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None else "–"


def _cell(value: Any) -> str:
    """A text that fits a cell of a table, whatever is in it."""
    line = " ".join(str(value).split())
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _shape(sizes: list[int | None]) -> str:
    """[None, 2] → "[batch, 2]"."""
    names = ["batch", "length"]
    return (
        f"[{', '.join(names[i] if n is None else str(n) for i, n in enumerate(sizes))}]"
    )

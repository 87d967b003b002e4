"""The model card: what a model is for, how good it is, how to call it, in Markdown.

    text = render(facts)    # what the manifest holds

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". The
words are in `model_card.md.jinja`. What a run cannot know, such as who may use the
model for what, the card tells its owner to write.
"""

from __future__ import annotations

import pathlib
from typing import Any, Mapping

from trainer import templates

# What the server calls the model in the card's examples and the warm-up requests.
MODEL_NAME = "classifier"


def render(facts: Mapping[str, Any]) -> str:
    """The card of one format of one version.

    Args:
      facts: what the format's manifest holds; other keys than these do no harm.

        Of the run: `title`; `config`, its settings as a dict; `data`, of which
        `splits` with `num_examples` and `class_counts`; `warnings`; `metrics`, split →
        `num_examples`, `confidence_intervals_95` and the metrics that are defined on
        it, empty if no texts were held out; `decision_split`, where the decision was
        fitted, None if nowhere; `decision_measured_on`, a split, and
        `decision_quality`, the keys of `schema.DecisionQuality` on it, None if no
        texts were held out;
        `checked_on`, the split of the texts that the format was measured on.

        Of the version: `version`; `created`, a time in ISO 8601; `constants`, of which
        `labels`, `temperature`, `decision_thresholds` and `abstain_below`;
        `git_revision`, None if unknown; `packages`, name → version.

        Of the format: `format`, `bytes`, `latency_ms`, `texts_per_sec`, `num_texts`,
        `accuracy`, `max_difference`, as in `schema.FormatFacts`; and, of a SavedModel
        alone, `signatures`, name → `inputs` and `outputs`, tensor → `dtype`, `shape`.

    Raises:
      jinja2.UndefinedError: a key is missing.
    """
    environment = templates.environment(
        pathlib.Path(__file__).parent,
        # Not HTML: a label or the name of a file is put in as it is, on one line.
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=_percent, cell=_cell, shape=_shape)
    template = environment.get_template("model_card.md.jinja")
    return template.render({"signatures": {}, **facts}, model_name=MODEL_NAME)


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None else "–"


def _cell(value: Any) -> str:
    """Text for a cell of a Markdown table: on one line, its markup escaped."""
    line = " ".join(str(value).split())
    return line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _shape(sizes: list[int | None]) -> str:
    """[None, 2] → "[batch, 2]". None: any size."""
    # The axes of any size are the first two, in all signatures.
    names = ("batch", "length")
    words = [names[i] if size is None else str(size) for i, size in enumerate(sizes)]
    return f"[{', '.join(words)}]"

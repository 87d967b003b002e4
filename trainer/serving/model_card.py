"""The model card: what a model is for, how good it is, how to call it, in Markdown.

    text = render(facts)    # what the manifest holds

The sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". The
words are in `model_card.md.jinja`, of a model of numbers in `number_card.md.jinja`, what
hubs read is in `hub_metadata.py`. What a run
cannot know, such as who may use the model for what, the card tells its owner to write.
"""

from __future__ import annotations

import functools
import pathlib
import re
from typing import Any, Mapping

import jinja2

from trainer import templates, wording
from trainer.evaluation import doubts, number_worth, worth
from trainer.serving import hub_metadata

# What the server calls the model in the card's examples and the warm-up requests.
MODEL_NAME = "classifier"
# The settings that made the weights what they are, in the order of the table.
_HYPERPARAMETERS = (
    *("preset", "pooling", "dropout", "max_length", "long_text", "max_windows"),
    *("window_overlap", "truncation", "num_train_epochs", "global_batch_size"),
    *("tokens_per_batch", "accumulation_steps", "learning_rate", "schedule"),
    *("num_warmup_steps", "warmup_fraction", "weight_decay", "clip_norm"),
    *(
        "pretrain_steps",
        "label_smoothing",
        "focal_gamma",
        "class_weights",
        "early_stopping_patience",
        "best_metric",
    ),
    *("precision", "seed"),
)

_CARD = "model_card.md.jinja"
# What facts may leave out.
_ABSENT: Mapping[str, Any] = {
    "task": "single_label",
    "signatures": {},
    "samples": [],
    "settings_in_words": {},
    "worth": None,
    "baselines": {},
    "comparisons": {},
    "ensemble": (),
    "kept": None,
    "groups": (),
    "start": None,
    "champion": None,
    "lora_init_sha256": None,
    "pretraining": None,
}


def render(facts: Mapping[str, Any]) -> str:
    """The card of one format of one version.

    Args:
      facts: what the format's manifest holds; other keys than these do no harm.

        Of the run: `title`; `config`, its settings as a dict; `data`, of which
        `splits` with `num_examples` and `class_counts`; `doubts`, as `schema.Doubt`;
        `metrics`, split →
        `num_examples`, `confidence_intervals_95` and the metrics that are defined on
        it, empty if no texts were held out; `decision_split`, where the decision was
    fitted, None if nowhere; `decision_measured_on`, a split, and
    `decision_quality`, the keys of `schema.DecisionQuality` on it, None if no
    texts were held out; `checked_on`, the split of the texts that the format was
    measured on. And where there are any: `settings_in_words`; `samples`, texts
    that may be shown to everybody, with `label` and `score`; `worth`, the sentence of
    `evaluation/worth.py`, with `baselines` and `comparisons`, by name, the keys of
    `schema.BaselineFacts` and `schema.Comparison`; `pretraining`, the keys of
    `schema.PretrainingFacts`; `ensemble`, of several models a mapping each; `kept`, a
    sentence on the encoder's general abilities; `groups`, sentences on groups of texts;
    `champion`, one on the model that
    served before; `start`, the keys of `schema.StartFacts`; `lora_init_sha256`, of the
    adapter that training began with.

        Of the version: `version`; `task`, where it is not one label a text (then
        `metrics` have `label_sets`, too); `created`, a time in ISO 8601; `constants`, of
        which `labels`, `temperature`, `decision_thresholds` and, of one label a text,
        `abstain_below`;
        `git_revision`, None if unknown; `packages`, name → version.

        Of the format: `format`, `bytes`, `latency_ms`, `texts_per_sec`, `num_texts`,
        `accuracy`, `max_difference`, as in `schema.FormatFacts`; and, of a SavedModel
        alone, `signatures`, name → `inputs` and `outputs`, tensor → `dtype`, `shape`.

    Raises:
      jinja2.UndefinedError: a key is missing.
    """
    known = {**_ABSENT, **facts}
    template = _template(
        "number_card.md.jinja" if known["task"] == "regression" else _CARD
    )
    if known["worth"]:
        # It says the same.
        told = doubts.NO_BETTER_THAN_COMMONEST
        known["doubts"] = [each for each in known["doubts"] if each["kind"] != told]
    body = template.render(
        known, model_name=MODEL_NAME, hyperparameters=_hyperparameters(known)
    )
    return hub_metadata.head(facts) + "\n" + body


@functools.cache
def _template(name: str) -> jinja2.Template:
    environment = templates.environment(
        pathlib.Path(__file__).parent,
        # Not HTML: the filters `text` and `code` escape for Markdown.
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        percent=_percent,
        text=_text,
        code=_code,
        shape=_shape,
        points=worth.points,
        signed_points=worth.signed_points,
        number=number_worth.number,
    )
    return environment.get_template(name)


def _hyperparameters(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each, sentinels in words."""
    values: dict[str, Any] = {}
    # A missing config is the template's to name.
    for value in facts.get("config", {}).values():
        values |= value if isinstance(value, Mapping) else {}
    chosen = facts["settings_in_words"]
    return [
        (name, chosen.get(name) or wording.meaning(name, values[name]) or values[name])
        for name in _HYPERPARAMETERS
        if name in values
    ]


def _percent(share: float | None) -> str:
    return f"{share:.1%}" if share is not None else "–"


def _text(value: Any) -> str:
    """Text that Markdown shows as it is: on one line, its markup escaped."""
    line = " ".join(str(value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;")
    # An underscore within a word is none of Markdown's.
    line = re.sub(r"[\\`*~\[\]|]|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)
    # At its start: a heading, a quote, a list.
    return re.sub(r"^(\d*)(#+(?=\s)|>|[-+](?=\s)|(?<=\d)[.)](?=\s))", r"\1\\\2", line)


def _code(value: Any) -> str:
    """Text as a code span, outside of tables: nothing in it is markup."""
    line = " ".join(str(value).split())
    if "`" not in line:
        return f"`{line}`"
    # A fence is longer than what it holds (CommonMark 6.1).
    fence = "`" * (1 + max(map(len, re.findall("`+", line))))
    return f"{fence} {line} {fence}"


def _shape(sizes: list[int | None]) -> str:
    """[None, 2] → "[batch, 2]". None: any size."""
    # The axes of any size are the first two, in all signatures.
    names = ("batch", "length")
    words = [names[i] if size is None else str(size) for i, size in enumerate(sizes)]
    return f"[{', '.join(words)}]"

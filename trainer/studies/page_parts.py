"""What the pages of all studies share: templates, colours, the flagfile.

template = templates_of_studies().get_template("study.html.jinja")
template.render(study=study, flagfile=flagfile(study.config), ...)
"""

from __future__ import annotations

import pathlib
from typing import Any, Mapping

import jinja2

from trainer import console, templates, wording
from trainer.studies import answers, scores
from trainer.study_config import StudyConfig

# By the name of the model: its name where there is little room, colour and marker. The
# colours are those of `evaluation/figures.py`; grey for what learns nothing.
STYLES: Mapping[str, tuple[str, str, str]] = {
    "fine_tuned": ("fine-tuning", "#0072B2", "o"),
    "tfidf": ("TF-IDF", "#D55E00", "s"),
    "frozen": ("frozen encoder", "#009E73", "^"),
    "median": ("median", "#CC79A7", "D"),
    "commonest": ("commonest label", "#767676", "v"),
}


def short_title(name: str, metric: str) -> str:
    """A model's name where there is little room; of numbers "commonest" is the mean.

    Args:
      name: of `STYLES`.
      metric: of the study.
    """
    if name == "commonest" and scores.METRICS[metric].has_unit:
        return "mean"
    return STYLES[name][0]


def templates_of_studies() -> jinja2.Environment:
    """The templates beside this module, in the style of a run's report."""
    here = pathlib.Path(__file__).parent
    environment = templates.environment(
        here, here.parent / "evaluation", autoescape=True
    )
    environment.filters.update(
        percent=answers.percent, duration=console.duration, start=capitalized
    )
    return environment


def flagfile(config: Mapping[str, Any]) -> str:
    """The settings of a study that are not at their defaults, as a flagfile."""
    lines = wording.flag_lines(config, all_of_them=False, config_class=StudyConfig)
    return "\n".join(lines)


def capitalized(text: str) -> str:
    """The text as a sentence or a heading begins."""
    return text[:1].upper() + text[1:]

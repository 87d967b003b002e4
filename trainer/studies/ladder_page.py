"""A ladder of models for people: a page, and the closing table.

    storage.write_text(folder.page, render_html(study))
    print(summary(study))

Its words are in `ladder.html.jinja`; what it shares with a sweep's page is in
`sweep_page.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer import console
from trainer.evaluation import figures
from trainer.evaluation.figures import Picture
from trainer.messages import filled
from trainer.studies import page_parts, sweep_page
from trainer.evaluation.figures import BLUE, GREY, ORANGE
from trainer.studies.scores import METRICS
from trainer.studies.sweep_page import STATUS_WORDS
from trainer.studies.sweep_schema import LadderStudy, Model

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

_NAME_COLUMNS = 40


def render_html(study: LadderStudy) -> str:
    """The page of a ladder, one HTML file that needs no other."""
    return (
        sweep_page.environment(study)
        .get_template("ladder.html.jinja")
        .render(
            study=study,
            metric=METRICS[study.metric].title,
            picture=_picture(study),
            status_words={**STATUS_WORDS, "winner": "the smallest not shown worse"},
            flagfile=page_parts.flagfile(study.config),
        )
    )


def summary(study: LadderStudy) -> str:
    """The closing table: the models, the smallest first, and the answers."""
    metric = METRICS[study.metric]
    lines = [
        f"{page_parts.capitalized(metric.title)} on {study.num_validation_examples:,} "
        "validation texts",
        f"{'Model':<{_NAME_COLUMNS}}{metric.short:>9}{'training':>12}{'export':>10}"
        f"{'a text':>9}",
        *(_line(model, study.metric) for model in study.models),
        "",
        *(filled(answer) for answer in study.answers),
    ]
    return "\n".join(lines) + "\n"


def _line(model: Model, metric: str) -> str:
    # What is not fine-tuned keeps its word before a path that is cut.
    word = "frozen: " if model.kind == "frozen" and model.preset else ""
    name = model.preset or model.name
    num_columns = _NAME_COLUMNS - 2 - len(word)
    if len(name) > num_columns:
        # Of a path the end tells more.
        name = f"…{name[-num_columns + 1 :]}"
    name = word + name
    size = f"{model.export_bytes / 1e6:.1f} MB" if model.export_bytes else ""
    latency = f"{model.latency_ms:.1f} ms" if model.latency_ms is not None else ""
    return (
        f"{name:<{_NAME_COLUMNS}}{METRICS[metric].shown(model.value):>9}"
        f"{console.duration(model.train_secs):>12}{size:>10}{latency:>9}"
        f"  {STATUS_WORDS[model.status] if model.status != 'winner' else 'smallest good'}"
    )


def _picture(study: LadderStudy) -> Picture:
    metric = METRICS[study.metric]
    ends = ", ".join(
        f"{model.name} {metric.shown(model.value)} after " f"{model.train_secs:.3g} s"
        for model in study.models
    )
    return figures.picture(
        f"{page_parts.capitalized(metric.title)} on validation by seconds of training",
        f"{ends}.",
        lambda figure: _draw(figure, study),
        height=3.6,
    )


def _draw(figure: MatplotlibFigure, study: LadderStudy) -> None:
    axes = figure.add_subplot()
    for number, model in enumerate(study.models, 1):
        color = BLUE if model.kind == "fine_tuned" else GREY
        low, high = model.interval_95 or (model.value, model.value)
        errors: Any = [
            [max(0.0, model.value - low)],
            [max(0.0, high - model.value)],
        ]
        # What takes no time has no place on a logarithmic axis.
        secs = max(model.train_secs, 1e-3)
        axes.errorbar(
            [secs],
            [model.value],
            yerr=errors,
            color=ORANGE if model.status == "winner" else color,
            marker="o" if model.kind == "fine_tuned" else "s",
            capsize=3,
            linestyle="none",
        )
        axes.annotate(
            str(number),
            (secs, model.value),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xscale("log")
    axes.set(xlabel="training, seconds", ylabel=METRICS[study.metric].title)

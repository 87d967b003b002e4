"""A study of folds or of seeds for people: a page, its picture, the closing table.

    storage.write_text(folder.page, render_html(study))
    print(summary(study))

As the page of a learning curve (`page.py`), with which it shares style and parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.evaluation import figures
from trainer.messages import filled
from trainer.studies import page_parts, scores
from trainer.studies.page_parts import STYLES, capitalized, short_title
from trainer.studies.schema import ModelEstimates, RepeatedStudy
from trainer.studies.scores import Metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# Between the models' marks of one run, in runs.
_ASIDE = 0.1
# What varies between the runs, and where the interval comes from.
_WORDS = {
    "folds": (
        "fold",
        "It allows for the training texts that the folds share (Nadeau and Bengio 2003).",
    ),
    "seeds": (
        "seed",
        "It is about other seeds on these same held-out texts; other texts would move "
        "the figures, too, as the reports of the runs say.",
    ),
}


def render_html(study: RepeatedStudy) -> str:
    """The page of a study, one HTML file that needs no other."""
    template = page_parts.templates_of_studies().get_template("repeated.html.jinja")
    one, of_the_interval = _WORDS[study.study]
    metric = scores.METRICS[study.metric]
    return template.render(
        study=study,
        metric=metric,
        one=one,
        of_the_interval=of_the_interval,
        picture=figures.picture(
            f"{capitalized(metric.title)} by {one}, and the means with their 95% "
            "intervals",
            _alternative(study),
            lambda figure: _draw(figure, study),
            height=3.6,
        ),
        metrics=_metrics(study),
        shown=_shown,
        flagfile=page_parts.flagfile(study.config),
    )


def summary(study: RepeatedStudy) -> str:
    """The closing table: the metrics of each model, and the answers."""
    one, _ = _WORDS[study.study]
    count = len(study.runs)
    lines = [
        f"Mean over {count} {one}s (95% interval) ± standard deviation, on "
        f"{study.num_examples:,} {study.split} texts",
        _row("", [short_title(name, study.metric) for name in study.models]),
    ]
    for metric in _metrics(study):
        cells = [_shown(metric, model) for model in study.models.values()]
        lines.append(_row(metric.short, cells))
    wrapped = [filled(answer) for answer in study.answers]
    return "\n".join([*lines, "", *wrapped]) + "\n"


def _row(first: str, cells: list[str]) -> str:
    return (f"{first:<10}  " + "".join(f"{cell:<30}" for cell in cells)).rstrip()


def _metrics(study: RepeatedStudy) -> tuple[Metric, ...]:
    of_numbers = study.metric == scores.MAE.name
    return scores.shown_of("regression" if of_numbers else "single_label")


def _shown(metric: Metric, model: ModelEstimates) -> str:
    """ "87.9% (86.8 to 88.9) ±0.8"; of what is no share and has no unit "0.412 ±0.020"."""
    estimate = model.metrics.get(metric.name)
    if estimate is None:
        return "–"
    spread = f" ±{metric.spread(estimate.std)}" if estimate.std is not None else ""
    has_ends = metric.is_share or metric.has_unit
    ends = estimate.interval_95 if has_ends else None
    return metric.with_interval(estimate.mean, ends) + spread


def _alternative(study: RepeatedStudy) -> str:
    metric = scores.METRICS[study.metric]
    ends = [
        f"{model.title} {metric.shown(min(values))} to {metric.shown(max(values))}"
        for model in study.models.values()
        if (values := model.metrics[study.metric].values)
    ]
    title = capitalized(metric.title)
    return f"{title} of {len(study.runs)} runs: {'; '.join(ends)}."


def _draw(figure: MatplotlibFigure, study: RepeatedStudy) -> None:
    axes = figure.add_subplot()
    metric = scores.METRICS[study.metric]
    numbers = [run.number for run in study.runs]
    for position, (name, model) in enumerate(study.models.items()):
        _, color, marker = STYLES[name]
        estimate = model.metrics[study.metric]
        # Side by side, or one would hide another that is as good.
        aside = _ASIDE * (position - (len(study.models) - 1) / 2)
        axes.plot(
            [number + aside for number in numbers],
            [metric.factor * value for value in estimate.values],
            color=color,
            marker=marker,
            linestyle="",
            label=short_title(name, study.metric),
        )
        axes.axhline(metric.factor * estimate.mean, color=color, linewidth=1)
        if estimate.interval_95 is not None:
            low, high = (metric.factor * end for end in estimate.interval_95)
            axes.axhspan(low, high, color=color, alpha=0.12, linewidth=0)
    one, _ = _WORDS[study.study]
    names = [run.number if one == "fold" else run.seed for run in study.runs]
    axes.set_xticks(numbers, [str(each) for each in names])
    axes.set(xlabel=one, ylabel=metric.on_axis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)

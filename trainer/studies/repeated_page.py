"""A study of folds or of seeds for people: a page, its picture, the closing table.

    storage.write_text(folder.page, render_html(study))
    print(summary(study))

As the page of a learning curve (`page.py`), with which it shares style and parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.evaluation import figures
from trainer.messages import filled
from trainer.studies import answers, page_parts
from trainer.studies.page_parts import STYLES
from trainer.studies.schema import Estimate, RepeatedStudy

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
_TITLES = {
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "mcc": "MCC",
    "loss": "loss",
}


def render_html(study: RepeatedStudy) -> str:
    """The page of a study, one HTML file that needs no other."""
    template = page_parts.templates_of_studies().get_template("repeated.html.jinja")
    one, of_the_interval = _WORDS[study.study]
    return template.render(
        study=study,
        one=one,
        of_the_interval=of_the_interval,
        picture=figures.picture(
            f"Accuracy by {one}, and the means with their 95% intervals",
            _alternative(study),
            lambda figure: _draw(figure, study),
            height=3.6,
        ),
        titles=_TITLES,
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
        _row("", [STYLES[name][0] for name in study.models]),
    ]
    for metric, title in _TITLES.items():
        cells = [
            _shown(metric, model.metrics[metric]) for model in study.models.values()
        ]
        lines.append(_row(title, cells))
    wrapped = [filled(answer) for answer in study.answers]
    return "\n".join([*lines, "", *wrapped]) + "\n"


def _row(first: str, cells: list[str]) -> str:
    return (f"{first:<10}  " + "".join(f"{cell:<30}" for cell in cells)).rstrip()


def _shown(metric: str, estimate: Estimate) -> str:
    """ "87.9% (86.8 to 88.9) ±0.8"; of metrics that are no shares "0.412 ±0.020"."""
    if metric in ("mcc", "loss"):
        spread = f" ±{estimate.std:.3f}" if estimate.std is not None else ""
        return f"{estimate.mean:.3f}{spread}"
    spread = f" ±{100 * estimate.std:.1f}" if estimate.std is not None else ""
    return answers.with_interval(estimate.mean, estimate.interval_95) + spread


def _alternative(study: RepeatedStudy) -> str:
    ends = [
        f"{model.title} {answers.percent(min(values))} to {answers.percent(max(values))}"
        for model in study.models.values()
        if (values := model.metrics[study.metric].values)
    ]
    return f"Accuracy of {len(study.runs)} runs: {'; '.join(ends)}."


def _draw(figure: MatplotlibFigure, study: RepeatedStudy) -> None:
    axes = figure.add_subplot()
    numbers = [run.number for run in study.runs]
    for position, (name, model) in enumerate(study.models.items()):
        title, color, marker = STYLES[name]
        estimate = model.metrics[study.metric]
        # Side by side, or one would hide another that is as good.
        aside = _ASIDE * (position - (len(study.models) - 1) / 2)
        axes.plot(
            [number + aside for number in numbers],
            [100 * value for value in estimate.values],
            color=color,
            marker=marker,
            linestyle="",
            label=title,
        )
        axes.axhline(100 * estimate.mean, color=color, linewidth=1)
        if estimate.interval_95 is not None:
            low, high = estimate.interval_95
            axes.axhspan(100 * low, 100 * high, color=color, alpha=0.12, linewidth=0)
    one, _ = _WORDS[study.study]
    names = [run.number if one == "fold" else run.seed for run in study.runs]
    axes.set_xticks(numbers, [str(each) for each in names])
    axes.set(xlabel=one, ylabel="accuracy, %")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)

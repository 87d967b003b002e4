"""A sweep for people: a page, and the closing table.

    storage.write_text(folder.page, render_html(study))
    print(summary(study))

The page holds everything itself, in the style of a run's report; its words are in
`sweep.html.jinja`, with autoescape on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Mapping

import jinja2

from trainer.evaluation import figures
from trainer.evaluation.figures import BLUE, GREY, ORANGE
from trainer.evaluation.figures import Picture
from trainer.messages import filled
from trainer.studies import page_parts, sweep_answers
from trainer.studies.scores import METRICS
from trainer.studies.sweep_schema import Chosen, RangeTest, RungFacts, SweepStudy, Trial
from trainer.sweep_space import flag_value, parse

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

STATUS_WORDS: Mapping[str, str] = {
    "winner": "wins",
    "as_good": "not shown to be worse",
    "behind": "shown to be worse",
    "left_out": "left out",
    "diverged": "diverged",
}
_COLORS: Mapping[str, str] = {
    "winner": ORANGE,
    "as_good": BLUE,
    "behind": BLUE,
}
_PER_ROW = 2


def render_html(study: SweepStudy) -> str:
    """The page of a sweep, one HTML file that needs no other."""
    return (
        environment(study)
        .get_template("sweep.html.jinja")
        .render(
            study=study,
            metric=METRICS[study.metric].title,
            rows=_in_order(study),
            names=[axis.name for axis in parse(study.config["sweep"])],
            shares=[rung.share for rung in _deepest(study)],
            settings_picture=_settings_picture(study) if study.trials else None,
            range_picture=(
                _range_picture(study.range_test) if study.range_test else None
            ),
            has_seeds=any(rung.std is not None for rung in _rungs(study)),
            status_words=STATUS_WORDS,
            flagfile=page_parts.flagfile(study.config),
        )
    )


def environment(study: Chosen) -> jinja2.Environment:
    """Templates of the page, with the filters that both kinds of page have."""
    made = page_parts.templates_of_studies()
    metric = METRICS[study.metric]
    made.filters.update(
        value=metric.shown,
        spread=lambda std: f"{metric.factor * std:.3g}",
        behind=lambda each: metric.difference(each.behind, each.behind_interval_95),
        flag=flag_value,
    )
    return made


def summary(study: SweepStudy) -> str:
    """The closing table: the trials, the best first, and the answers."""
    lines = []
    if study.trials:
        metric = METRICS[study.metric]
        lines = [
            f"{len(study.trials)} trials by {metric.title} on "
            f"{study.num_validation_examples:,} validation texts",
            f"{'Trial':>5}  {metric.short:>9}  {'texts':>7}  {'':<22}settings",
        ]
        lines += [_line(trial, study.metric) for trial in _in_order(study)] + [""]
    wrapped = [filled(answer) for answer in study.answers]
    ranged = study.range_test.sentences if study.range_test and study.trials else ()
    wrapped += [filled(sentence) for sentence in ranged]
    return "\n".join([*lines, *wrapped]) + "\n"


def _line(trial: Trial, metric: str) -> str:
    last = trial.rungs[-1]
    value = METRICS[metric].shown(last.value)
    status = STATUS_WORDS[trial.status]
    return (
        f"{trial.number:>5}  {value:>9}  {last.num_train_examples:>7,}  {status:<22}"
        f"{sweep_answers.in_words(trial)}"
    )


def _in_order(study: SweepStudy) -> list[Trial]:
    """The winner, the good ones, the others of the last rung, and so on down."""
    ranks = list(STATUS_WORDS)

    def key(trial: Trial) -> tuple[Any, ...]:
        last = trial.rungs[-1]
        sign = METRICS[study.metric].sign
        value = math.inf if last.value is None else -sign * last.value
        return (ranks.index(trial.status), -len(trial.rungs), value, trial.number)

    return sorted(study.trials, key=key)


def _deepest(study: SweepStudy) -> tuple[RungFacts, ...]:
    return max((trial.rungs for trial in study.trials), key=len, default=())


def _rungs(study: SweepStudy) -> list[RungFacts]:
    return [rung for trial in study.trials for rung in trial.rungs]


def _settings_picture(study: SweepStudy) -> Picture:
    """For each setting the trials of the first rung: its value and what it came to."""
    axes = parse(study.config["sweep"])
    num_rows = math.ceil(len(axes) / _PER_ROW)
    metric = METRICS[study.metric]
    known = [trial for trial in study.trials if trial.rungs[0].value is not None]
    values = [trial.rungs[0].value or 0.0 for trial in known]
    return figures.picture(
        f"{page_parts.capitalized(metric.title)} on validation by setting, first rung",
        f"For each of {', '.join(axis.name for axis in axes)} the {metric.title} of "
        f"{len(known)} trials, from {metric.shown(min(values))} to "
        f"{metric.shown(max(values))}.",
        lambda figure: _draw_settings(figure, study, known),
        height=2.4 * num_rows,
    )


def _draw_settings(
    figure: MatplotlibFigure, study: SweepStudy, known: list[Trial]
) -> None:
    swept = parse(study.config["sweep"])
    columns = min(len(swept), _PER_ROW)
    plots = figure.subplots(
        math.ceil(len(swept) / columns), columns, sharey=True, squeeze=False
    ).flatten()
    for plot, axis in zip(plots, swept):
        is_list = axis.scale == "choices"
        for trial in known:
            value = trial.settings[axis.name]
            color = _COLORS.get(trial.status, GREY)
            plot.plot(
                [axis.values.index(value) if is_list else value],
                [trial.rungs[0].value or 0.0],
                marker="*" if trial.status == "winner" else "o",
                markersize=11 if trial.status == "winner" else 5,
                # Those that went on are filled.
                markerfacecolor=(color if len(trial.rungs) > 1 else "none"),
                color=color,
                linestyle="none",
            )
        plot.set_xlabel(axis.name)
        if is_list:
            plot.set_xticks(
                range(len(axis.values)), [flag_value(each) for each in axis.values]
            )
            plot.margins(x=0.2)
        elif axis.scale == "log":
            plot.set_xscale("log")
    for plot in plots[len(swept) :]:
        plot.set_visible(False)
    figure.supylabel(METRICS[study.metric].title, fontsize=10)


def _range_picture(curve: RangeTest) -> Picture:
    lowest = min(curve.smoothed, default=math.nan)
    rates = curve.learning_rates
    return figures.picture(
        "Loss while the learning rate rises",
        f"The loss of {len(rates)} steps at learning rates from {min(rates):.2g} to "
        f"{max(rates):.2g}; smoothed, it is lowest at {lowest:.3f}.",
        lambda figure: _draw_range(figure.add_subplot(), curve),
        height=3.0,
    )


def _draw_range(axes: Axes, curve: RangeTest) -> None:
    rates: Any = curve.learning_rates
    axes.plot(rates, curve.losses, color=GREY, linewidth=0.8, label="of each batch")
    axes.plot(rates, curve.smoothed, color=BLUE, label="smoothed")
    if curve.low is not None and curve.high is not None:
        axes.axvspan(curve.low, curve.high, color=ORANGE, alpha=0.15, label="to sweep")
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylabel="loss")
    axes.legend(fontsize=9)

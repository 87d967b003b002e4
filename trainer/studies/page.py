"""A learning curve for people: a page, its picture, and the closing table.

    storage.write_text(folder.page, render_html(study))
    storage.write_bytes(folder.picture, png(study))
    print(summary(study))

The page holds everything itself, in the style of a run's report
(`evaluation/style.css.jinja`); its words are in `study.html.jinja`, with autoescape on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.evaluation import figures
from trainer.messages import filled
from trainer.studies import page_parts, power_law, scores
from trainer.studies.answers import NO_RIVALS
from trainer.studies.page_parts import STYLES, capitalized, short_title
from trainer.studies.schema import Curve, Point, Study
from trainer.studies.scores import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_POINTS_OF_DASHES = 40


def render_html(study: Study) -> str:
    """The page of a study, one HTML file that needs no other."""
    template = page_parts.templates_of_studies().get_template("study.html.jinja")
    metric = scores.METRICS[study.metric]
    return template.render(
        study=study,
        metric=metric,
        constants=NO_RIVALS,
        curves=study.curves,
        picture=figures.picture(
            f"{capitalized(metric.title)} on {study.num_examples:,} held-out texts, by "
            "training texts",
            _alternative(study),
            lambda figure: _draw(figure, study),
            height=3.6,
        ),
        rows=_rows(study),
        names=[short_title(name, study.metric) for name in study.curves],
        has_seeds=any(point.std is not None for point in _points_of(study)),
        flagfile=page_parts.flagfile(study.config),
        most_extrapolation=power_law.MOST_EXTRAPOLATION,
    )


def png(study: Study) -> bytes:
    """The picture as a PNG file."""
    return figures.png(lambda figure: _draw(figure, study), height=3.6)


def summary(study: Study) -> str:
    """The closing table: accuracy by size and model, and the answers."""
    titles = [short_title(name, study.metric) for name in study.curves]
    metric = scores.METRICS[study.metric]
    lines = [
        f"{capitalized(metric.title)} on {study.num_examples:,} {study.split} texts (95% interval)",
        _table_row("Texts", titles),
    ]
    for size, cells in _rows(study):
        shown = [
            metric.with_interval(point.mean, point.interval_95)
            + (f" ±{metric.spread(point.std)}" if point.std is not None else "")
            for point in cells
        ]
        lines.append(_table_row(f"{size:,}", shown))
    wrapped = [filled(answer) for answer in study.answers]
    return "\n".join([*lines, "", *wrapped]) + "\n"


def _table_row(first: str, cells: list[str]) -> str:
    return (f"{first:>8}  " + "".join(f"{cell:<24}" for cell in cells)).rstrip()


def _rows(study: Study) -> list[tuple[int, list[Point]]]:
    """By size, the points of all curves."""
    by_size = zip(*(curve.points for curve in study.curves.values()), strict=True)
    return [(points[0].num_train_examples, list(points)) for points in by_size]


def _points_of(study: Study) -> list[Point]:
    return [point for curve in study.curves.values() for point in curve.points]


def _alternative(study: Study) -> str:
    metric = scores.METRICS[study.metric]
    ends = [
        f"{curve.title} from {metric.shown(curve.points[0].mean)} to "
        f"{metric.shown(curve.points[-1].mean)}"
        for curve in study.curves.values()
    ]
    sizes = [point.num_train_examples for point in study.curves["fine_tuned"].points]
    return (
        f"{capitalized(metric.title)} with {sizes[0]:,} to {sizes[-1]:,} training texts: "
        f"{'; '.join(ends)}."
    )


def _draw(figure: MatplotlibFigure, study: Study) -> None:
    axes = figure.add_subplot()
    metric = scores.METRICS[study.metric]
    for name, curve in study.curves.items():
        _, *style = STYLES[name]
        _draw_curve(axes, curve, metric, short_title(name, study.metric), *style)
    axes.set_xscale("log")
    sizes = [size for size, _ in _rows(study)]
    furthest = _furthest(study)
    axes.set_xticks(
        sizes + [furthest] * (furthest > sizes[-1]),
        [_short(size) for size in sizes] + [_short(furthest)] * (furthest > sizes[-1]),
    )
    axes.minorticks_off()
    axes.set(xlabel="training texts", ylabel=metric.on_axis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)


def _draw_curve(
    axes: Axes, curve: Curve, metric: Metric, name: str, color: str, marker: str
) -> None:
    sizes: Any = [point.num_train_examples for point in curve.points]
    axes.plot(
        sizes,
        [metric.factor * point.mean for point in curve.points],
        color=color,
        marker=marker,
        label=name,
    )
    low, high = zip(*(point.interval_95 for point in curve.points))
    axes.fill_between(
        sizes,
        [metric.factor * end for end in low],
        [metric.factor * end for end in high],
        color=color,
        alpha=0.15,
        linewidth=0,
    )
    if curve.fit is None:
        return
    law = (curve.fit.asymptote, curve.fit.scale, curve.fit.exponent)
    end = curve.fit.forecasts[-1].num_train_examples
    ratio = (end / curve.fit.smallest_size) ** (1 / _POINTS_OF_DASHES)
    along = [curve.fit.smallest_size * ratio**n for n in range(_POINTS_OF_DASHES + 1)]
    parameters = power_law.as_parameters(*law)
    errors = [
        float(power_law.forecast(parameters, n, most=metric.most_error)) for n in along
    ]
    values = [metric.factor * metric.of_error(error) for error in errors]
    axes.plot(along, values, color=color, linestyle="--", linewidth=1)


def _furthest(study: Study) -> int:
    """The largest size of a forecast, or of a run."""
    fits = [curve.fit for curve in study.curves.values() if curve.fit]
    ends = [fit.forecasts[-1].num_train_examples for fit in fits]
    return max([*ends, *(point.num_train_examples for point in _points_of(study))])


def _short(size: int) -> str:
    """ "300", "20k"."""
    return f"{size / 1000:.3g}k" if size >= 10_000 else f"{size:,}"

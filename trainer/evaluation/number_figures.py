"""The pictures of a report on numbers: values beside the truth, and how far off.

    pictures = held_out_pictures(report.after["test"], report.decision)
    pictures += learning_pictures(report.history, best_step=2000)

Drawn as those of `figures.py` are, and like them left out where they would be empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Sequence

import numpy as np

from trainer.evaluation import schema
from trainer.evaluation.figures import BLUE, GREY, ORANGE, Picture, drawn_once, picture
from trainer.evaluation.number_worth import number, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

# From so many points on they would hide one another: cells are counted instead.
_MAX_SINGLE_POINTS = 500
_NUM_CELLS = 30
_NUM_BINS = 30
_MIN_POINTS = 2


@drawn_once
def held_out_pictures(
    evaluation: schema.NumberEvaluation, decision: schema.NumberDecision
) -> list[Picture]:
    """Values by true numbers, and the histogram of what is between them."""
    if len(evaluation.points) < _MIN_POINTS:
        return []
    points = np.array(evaluation.points)
    return [
        _beside_truth(points, evaluation, decision.half_width),
        _errors(points, decision.half_width),
    ]


@drawn_once
def learning_pictures(
    history: schema.NumberHistory, *, best_step: int | None
) -> list[Picture]:
    """The loss and the validation errors, each by step."""
    found = []
    if history.train or history.validation:
        found.append(
            _by_step(
                "Loss",
                {
                    "training": [(each.step, each.loss) for each in history.train],
                    "validation": [(e.step, e.loss) for e in history.validation],
                },
                best_step,
            )
        )
    if history.validation:
        found.append(
            _by_step(
                "Error on validation",
                {
                    "root mean squared": [(e.step, e.rmse) for e in history.validation],
                    "mean absolute": [(e.step, e.mae) for e in history.validation],
                },
                best_step,
            )
        )
    return found


def comparison_picture(
    errors: Mapping[str, tuple[float, schema.Interval | None]],
) -> Picture:
    """Mean absolute errors with their intervals. errors: by the model's name."""
    names = list(errors)

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        for place, (value, ends) in enumerate(errors.values()):
            color = BLUE if place == 0 else GREY
            axes.plot(value, place, "o", color=color)
            if ends:
                axes.plot(ends, (place, place), color=color, linewidth=2)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.set_xlabel("mean absolute error")

    told = "; ".join(f"{name} {number(value)}" for name, (value, _) in errors.items())
    return picture(
        "Mean absolute error, with its 95% interval",
        f"Mean absolute error: {told}.",
        draw,
        height=1.0 + 0.4 * len(names),
    )


def _beside_truth(
    points: np.ndarray, evaluation: schema.NumberEvaluation, half_width: float | None
) -> Picture:
    ends = float(points.min()), float(points.max())

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        _clouds(axes, points)
        axes.plot(ends, ends, color=ORANGE, linewidth=1.2)
        if half_width is not None:
            for shift in (-half_width, half_width):
                shifted = tuple(end + shift for end in ends)
                axes.plot(ends, shifted, color=ORANGE, linewidth=1, linestyle=":")
        axes.set_xlabel("true number")
        axes.set_ylabel("value of the model")

    r2 = "undefined" if evaluation.r2 is None else f"{evaluation.r2:.2f}"
    dotted = " Dotted: the interval." if half_width is not None else ""
    return picture(
        "Values by true numbers",
        f"Values of {len(points):,} texts by their true numbers, from {number(ends[0])} "
        f"to {number(ends[1])}; R² {r2}. On the line both are equal.{dotted}",
        draw,
        height=3.8,
    )


def _clouds(axes: Axes, points: np.ndarray) -> None:
    if len(points) <= _MAX_SINGLE_POINTS:
        axes.scatter(
            points[:, 0], points[:, 1], s=14, color=BLUE, alpha=0.45, linewidths=0
        )
        return
    # Cells without a text stay white.
    axes.hist2d(points[:, 0], points[:, 1], bins=_NUM_CELLS, cmap="Blues", cmin=1)


def _errors(points: np.ndarray, half_width: float | None) -> Picture:
    errors = points[:, 1] - points[:, 0]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.hist(errors, bins=_NUM_BINS, color=BLUE)
        axes.axvline(0.0, color=ORANGE, linewidth=1.2)
        if half_width is not None:
            for end in (-half_width, half_width):
                axes.axvline(end, color=ORANGE, linewidth=1, linestyle=":")
        axes.set_xlabel("value less true number")
        axes.set_ylabel("texts")

    low, high = np.quantile(errors, (0.05, 0.95)).tolist()
    return picture(
        "How far values are off",
        f"Values less true numbers of {len(errors):,} texts: their mean is "
        f"{signed(float(errors.mean()))}, nine of ten are between {signed(low)} and "
        f"{signed(high)}.",
        draw,
    )


def _by_step(
    title: str,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    best_step: int | None,
) -> Picture:
    known = {name: curve for name, curve in curves.items() if curve}

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        for color, (name, curve) in zip((BLUE, ORANGE), known.items()):
            axes.plot(*zip(*curve), color=color, marker="o", markersize=3, label=name)
        if best_step is not None:
            axes.axvline(best_step, color=GREY, linestyle="--", label="best step")
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.legend(fontsize=9)

    told = "; ".join(f"{name} {number(curve[-1][1])}" for name, curve in known.items())
    return picture(title, f"{title} by step; at the end {told}.", draw)

"""The pages of a comparison, and of the history of a model's versions.

    storage.write_text(place, comparison(compared))
    storage.write_text(place, history(folder))

Each holds everything itself, in the style of a run's report, with autoescape on.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any, Sequence

import jinja2

from trainer import templates
from trainer.champion import comparing, numbers
from trainer.champion.comparing import Compared
from trainer.champion.numbers import NumberDifference, NumbersCompared
from trainer.evaluation import figures, worth
from trainer.evaluation.figures import BLUE, GREY, ORANGE, Picture
from trainer.evaluation.number_worth import number, signed
from trainer.evaluation.schema import (
    Interval,
    NumberContest,
    NumberSliceContest,
    SliceContest,
)
from trainer.evaluation.slices import shorten_middle
from trainer.serving import promotion, versions
from trainer.storage import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# More would hide the rest of the page; --output has them all.
_MAX_TEXTS = 50
_MAX_SLICES = 12


def comparison(compared: Compared) -> str:
    """The page of a comparison."""
    contest = compared.contest
    by_winner = {
        name: [
            each
            for each in compared.differences
            if (each.challenger == each.label) == is_challenger
        ]
        for name, is_challenger in (("challenger", True), ("champion", False))
    }
    return _render(
        "comparison.html.jinja",
        contest=contest,
        compared=compared,
        sentence=comparing.sentence(contest),
        by_winner=by_winner,
        max_texts=_MAX_TEXTS,
        picture=_slices_picture(compared),
    )


def number_comparison(compared: NumbersCompared) -> str:
    """The page of a comparison of two models of numbers."""
    by_winner: dict[str, list[NumberDifference]] = {"challenger": [], "champion": []}
    for each in compared.differences:
        errors = [abs(value - each.label) for value in (each.challenger, each.champion)]
        by_winner["challenger" if errors[0] < errors[1] else "champion"].append(each)
    return _render(
        "number_comparison.html.jinja",
        contest=compared.contest,
        compared=compared,
        sentence=numbers.sentence(compared.contest),
        by_winner=by_winner,
        picture=_number_slices_picture(compared.contest),
    )


def history(folder: Path) -> str:
    """The page of the versions in a folder.

    Raises:
      ValueError: there are none.
    """
    events = list(reversed(promotion.history(folder)))
    if not events and not versions.numbers(folder):
        raise versions.no_model(folder, "no version in it", flag="champion")
    return _render(
        "history.html.jinja",
        folder=str(folder),
        events=events,
        latest=versions.latest(folder),
        versions=versions.numbers(folder),
    )


def _number_slices_picture(contest: NumberContest) -> Picture | None:
    """None where no slice has texts enough for an interval."""
    shown = [each for each in contest.slices if each.interval_95][:_MAX_SLICES]
    if not shown:
        return None
    parts = [
        f"{each.slice} {each.value} {signed(each.mae_difference)}" for each in shown
    ]

    def draw(figure: MatplotlibFigure) -> None:
        rows = [
            (each, each.mae_difference, each.interval_95)
            for each in shown
            if each.interval_95
        ]
        _draw_slices(figure, rows, "error; left of 0: nearer")

    return figures.picture(
        "By slice: challenger minus champion, paired by text",
        f"Difference of mean absolute errors: {'; '.join(parts)}.",
        draw,
        height=1.0 + 0.4 * len(shown),
    )


def _draw_slices(
    figure: MatplotlibFigure,
    rows: Sequence[tuple[SliceContest | NumberSliceContest, float, Interval]],
    label: str,
) -> None:
    """Differences with their intervals, one below the other.

    Args:
      rows: a slice, what is drawn of it, and the ends of its interval.
      label: of the axis.
    """
    axes = figure.add_subplot()
    axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
    for row, (each, value, (low, high)) in enumerate(rows):
        color = ORANGE if each.is_worse else BLUE
        spans = [[max(0.0, value - low)], [max(0.0, high - value)]]
        axes.errorbar([value], [row], xerr=spans, fmt="o", color=color, capsize=4)
    names = [
        figures.one_line(f"{each.slice}: {each.value}", 26) + f" (n={each.num_texts:,})"
        for each, _, _ in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)


def _slices_picture(compared: Compared) -> Picture | None:
    slices = compared.contest.slices
    if not slices:
        return None
    shown = slices[:_MAX_SLICES]
    parts = [f"{each.slice} {each.value} {_points(each.difference)}" for each in shown]

    def draw(figure: MatplotlibFigure) -> None:
        rows = [
            (
                each,
                100 * each.difference,
                (100 * each.interval_95[0], 100 * each.interval_95[1]),
            )
            for each in shown
        ]
        _draw_slices(figure, rows, "points; right of 0: better")

    return figures.picture(
        "By slice: challenger minus champion, paired by text",
        f"Difference of accuracies in points: {'; '.join(parts)}.",
        draw,
        height=1.0 + 0.4 * len(shown),
    )


def _render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(values)


def _environment() -> jinja2.Environment:
    here = pathlib.Path(__file__).parent
    environment = templates.environment(
        here, here.parent / "evaluation", autoescape=True
    )
    environment.filters.update(
        percent=lambda value: f"{value:.1%}",
        points=_points,
        short=shorten_middle,
        number=number,
        signed=signed,
    )
    return environment


def _points(value: float) -> str:
    return worth.signed_points(value)

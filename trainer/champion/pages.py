"""The pages of a comparison, and of the history of a model's versions.

    storage.write_text(place, comparison(compared))
    storage.write_text(place, history(folder))

Each holds everything itself, in the style of a run's report, with autoescape on.
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

import jinja2

from trainer import templates
from trainer.champion import comparing
from trainer.champion.comparing import Compared
from trainer.evaluation import figures, worth
from trainer.evaluation.figures import BLUE, GREY, ORANGE, Picture
from trainer.evaluation.slices import shorten_middle
from trainer.serving import promotion, versions
from trainer.storage import Path

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# More would hide the rest of the page; --output has them all.
_MAX_TEXTS = 50


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


def _slices_picture(compared: Compared) -> Picture | None:
    slices = compared.contest.slices
    if not slices:
        return None
    shown = slices[:12]
    parts = [f"{each.slice} {each.value} {_points(each.difference)}" for each in shown]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        for row, each in enumerate(shown):
            low, high = each.interval_95
            value = 100 * each.difference
            color = ORANGE if each.is_worse else BLUE
            spans = [[max(0.0, value - 100 * low)], [max(0.0, 100 * high - value)]]
            axes.errorbar([value], [row], xerr=spans, fmt="o", color=color, capsize=4)
        names = [
            figures.one_line(f"{each.slice}: {each.value} (n={each.num_texts:,})", 30)
            for each in shown
        ]
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("points; right of 0 the challenger is better")

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
        percent=lambda value: f"{value:.1%}", points=_points, short=shorten_middle
    )
    return environment


def _points(value: float) -> str:
    return worth.signed_points(value)

"""A drift report for people: a page with pictures, the JSON beside it, the closing lines.

    write(facts, "drift.html")          # and drift.json
    print(summary(facts, "drift.html"))

The page holds everything itself, in the style of a run's report
(`evaluation/style.css.jinja`); its words are in `drift.html.jinja`, with autoescape on.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING

from trainer import storage, templates
from trainer.drift.report import in_words
from trainer.drift.schema import DriftFacts, Histogram, LabelShare, Measure
from trainer.evaluation import figures
from trainer.evaluation.figures import Picture
from trainer.messages import filled

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

# Okabe and Ito's, as in `evaluation/figures.py`: the reference, and what is new.
_REFERENCE, _NEW, _GREY = figures.BLUE, figures.ORANGE, figures.GREY
# More labels than this are in the table, not in the pictures.
_MOST_LABELS = 20
_TITLES = {
    "answers": "The model's answers",
    "scores": "Scores of the answers",
    "lengths": "Length in tokens",
    "unknown_tokens": "Unknown tokens, share of a text's",
}


def json_path(page: str) -> str:
    """Where the JSON beside a page lies."""
    return f"{page.removesuffix('.html')}.json"


def write(facts: DriftFacts, page: str) -> None:
    """Writes the JSON, and then the page.

    Args:
      page: FILE.html.
    """
    content = json.dumps(dataclasses.asdict(facts), indent=2, ensure_ascii=False)
    for place, text in (
        (storage.path(json_path(page)), f"{content}\n"),
        (storage.path(page), render_html(facts)),
    ):
        storage.write_text(place, text)


def render_html(facts: DriftFacts) -> str:
    """One HTML file that needs no other."""
    here = pathlib.Path(__file__).parent
    environment = templates.environment(
        here, here.parent / "evaluation", autoescape=True
    )
    return environment.get_template("drift.html.jinja").render(
        facts=facts, pictures=_pictures(facts)
    )


def summary(facts: DriftFacts, page: str) -> str:
    """The closing lines: the verdict, each measure, and where the page is."""
    lines = [filled(facts.sentence)]
    if facts.is_drifted is not None:
        lines = ["Drifted" if facts.is_drifted else "No drift is shown"]
        for measure in facts.measures:
            said = f"{_mark(measure)} {measure.too_little or in_words(measure)}"
            lines.append(filled(said, first="  ", rest="    "))
    return "\n".join([*lines, f"Drift report  {page}"]) + "\n"


def _mark(measure: Measure) -> str:
    return {True: "drifted:", False: "not shown:", None: "too little:"}[
        measure.is_drifted
    ]


def _pictures(facts: DriftFacts) -> list[Picture]:
    measures = {measure.name: measure for measure in facts.measures}
    pictures = []
    if len(facts.label_shares) <= _MOST_LABELS and any(
        share.estimated_new is not None for share in facts.label_shares
    ):
        pictures.append(_shares_picture(facts.label_shares))
    for histogram in facts.histograms:
        measure = measures[histogram.name]
        if measure.size is not None and len(_used(histogram).bins) <= _MOST_LABELS:
            pictures.append(_histogram_picture(_used(histogram), measure))
    if measures["domain"].size is not None:
        pictures.append(_domain_picture(measures["domain"]))
    return pictures


def _used(histogram: Histogram) -> Histogram:
    """Without the empty bins at both ends; of the answers with all."""
    if histogram.name == "answers":
        return histogram
    filled = [
        number
        for number, counts in enumerate(zip(histogram.reference, histogram.new))
        if any(counts)
    ]
    if not filled:
        return histogram
    used = slice(filled[0], filled[-1] + 1)
    return dataclasses.replace(
        histogram,
        bins=histogram.bins[used],
        reference=histogram.reference[used],
        new=histogram.new[used],
    )


def _histogram_picture(histogram: Histogram, measure: Measure) -> Picture:
    shares = [
        [100 * count / sum(counts) for count in counts]
        for counts in (histogram.reference, histogram.new)
    ]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        for offset, values, color, name in (
            (-0.2, shares[0], _REFERENCE, "reference"),
            (0.2, shares[1], _NEW, "new texts"),
        ):
            places = [number + offset for number in range(len(values))]
            axes.bar(places, values, width=0.4, color=color, label=name)
        names = [figures.one_line(name, 16) for name in histogram.bins]
        is_upright = len(names) <= 3
        axes.set_xticks(range(len(names)), names, rotation=0 if is_upright else 90)
        axes.set_ylabel("texts, %")
        figure.legend(loc="outside upper center", ncols=2, fontsize=9)

    sizes = f"{measure.size:.1%}, by chance {measure.chance_size:.1%}"
    return figures.picture(
        _TITLES[histogram.name],
        f"{_TITLES[histogram.name]}: shares of {sum(histogram.reference):,} texts of the"
        f" reference and of {sum(histogram.new):,} new ones, which differ by"
        f" {sizes}.",
        draw,
    )


def _shares_picture(shares: tuple[LabelShare, ...]) -> Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        for number, share in enumerate(shares):
            axes.plot(100 * share.held_out, number, "o", color=_REFERENCE)
            if share.estimated_new is None or share.interval_95 is None:
                continue
            value = 100 * share.estimated_new
            low, high = (100 * end for end in share.interval_95)
            spans = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
            axes.errorbar(
                value, number, xerr=spans, fmt="s", color=_NEW, capsize=4, markersize=5
            )
        axes.plot([], [], "o", color=_REFERENCE, label="held-out texts")
        axes.plot([], [], "s", color=_NEW, label="new texts, estimated")
        names = [figures.one_line(share.label, 16) for share in shares]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("share of the texts, %")
        figure.legend(loc="outside upper center", ncols=2, fontsize=9)

    said = "; ".join(
        f"{share.label} {share.held_out:.1%} and {share.estimated_new:.1%}"
        for share in shares
        if share.estimated_new is not None
    )
    return figures.picture(
        "Shares of the labels, with 95% intervals",
        f"Shares of the labels among held-out texts, and as estimated of new ones: {said}.",
        draw,
        height=max(2.0, 1.2 + 0.3 * len(shares)),
    )


def _domain_picture(measure: Measure) -> Picture:
    size, chance, high = measure.size, measure.chance_size, measure.chance_high

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.axvline(0.5, color=_GREY, linestyle="--", linewidth=1)
        axes.barh(
            ["new texts", "by chance"],
            [(size or 0.0) - 0.5, (high or 0.0) - 0.5],
            left=0.5,
            height=0.5,
            color=[_NEW, _GREY],
        )
        axes.set_xlim(min(0.45, (size or 0.5) - 0.02), 1.0)
        axes.set_xlabel("area under the ROC curve")

    return figures.picture(
        "How well new texts are told from held-out ones",
        f"A classifier on vectors has an area under the ROC curve of {size:.2f}; by chance"
        f" it is {chance:.2f}, and one time in twenty above {high:.2f}.",
        draw,
        height=1.8,
    )

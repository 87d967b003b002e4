"""The report of a run with --task=regression: its page, and the table of its last lines.

    report = NumbersReport.from_json((model_dir / "report.json").read_text("utf-8"))
    page, table = render_html(report), summary_table(report)

As `report.py` is for labels: the words are in `number_report.html.jinja`, the pictures in
`number_figures.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, Mapping, Sequence

import jinja2

from trainer import templates, wording
from trainer.evaluation import figures, number_figures, worth
from trainer.evaluation import report as pages
from trainer.evaluation.number_worth import number
from trainer.evaluation.schema import (
    NumberBaseline,
    NumberEvaluation,
    NumberPrediction,
    NumberScores,
    NumbersReport,
)
from trainer.messages import filled

# Metric → its name for people; ↓: lower is better.
_METRICS: Mapping[str, str] = {
    "mae": "Mean absolute error\N{NO-BREAK SPACE}↓",
    "rmse": "Root mean squared error\N{NO-BREAK SPACE}↓",
    "median_absolute_error": "Median absolute error\N{NO-BREAK SPACE}↓",
    "r2": "R² (share of the variance)",
    "pearson": "Correlation",
    "spearman": "Rank correlation",
    "loss": "Loss, squared spreads\N{NO-BREAK SPACE}↓",
}
_SHORT_TITLES = {
    "commonest": "training mean",
    "median": "training median",
    "tfidf": "TF-IDF",
    "frozen": "frozen vectors",
}
_COMPARED = ("mae", "rmse", "r2", "spearman")


def render_html(report: NumbersReport) -> str:
    """The page of a run, one HTML file that needs no other."""
    return _template().render(_context(report))


def summary_table(report: NumbersReport) -> str:
    """The last lines of a run: before, after, and what to do next."""
    rows = [pages.summary_row("", "Before", "After")]
    for sample in report.samples:
        name = sample.text
        if sample.label is not None:
            name = f"{sample.why} ({number(sample.label)}): {sample.text}"
        cells = [in_words(sample.before), in_words(sample.after)]
        rows.append(pages.summary_row(name, *cells))
    split = _held_out(report)
    if split:
        after = report.after[split]
        before = report.before.get(split)
        for name in ("mae", "r2"):
            title = f"{_METRICS[name]} on {after.num_examples:,} {split} texts"
            cells = [" ".join(_cell(each, name)) for each in (before, after)]
            rows.append(pages.summary_row(title, *cells))
        for name, facts in report.baselines.items():
            cells = ["", " ".join(_cell(_scores(facts, split), "mae"))]
            rows.append(pages.summary_row(f"  of {facts.title}", *cells))
    ends = {
        "Report": report.paths.report,
        "SavedModel": report.paths.saved_model or _unpublished(report),
        "Predict": report.commands.predict or _unpublished(report),
    }
    told = [filled(report.worth), ""] if report.worth else []
    if report.champion is not None:
        told += [filled(report.champion.sentence), ""]
    if report.export is not None and report.export.status == "held":
        held = (
            f"Version {report.export.version} is held: {report.export.status_reason}."
        )
        told += [filled(held), ""]
    told += [filled(interval_sentence(report)), ""]
    if report.doubts:
        told += ["Doubts"]
        told += [
            filled(doubt.message, first="  - ", rest="    ") for doubt in report.doubts
        ]
        told += [""]
    following = [f"{name:<12}{end}" for name, end in ends.items()]
    return "\n".join([*rows, "", *told, *following]) + "\n"


def headline(report: NumbersReport) -> str:
    """The result in one sentence, with its split, size and interval."""
    split = _held_out(report)
    if split is None:
        return "No texts were held out, so nothing was measured."
    after = report.after[split]
    value, interval = _cell(after, "mae")
    sentence = (
        f"Off by {value} on the mean {interval} on {after.num_examples:,} held-out "
        f"{split} texts, whose numbers have a spread of {number(after.spread)}"
    )
    before = report.before.get(split)
    if before:
        sentence += f"; before fine-tuning by {number(before.mae)}"
    return sentence + "."


def interval_sentence(report: NumbersReport) -> str:
    """What the intervals promise, and whether they kept it."""
    decision = report.decision
    if decision.half_width is None:
        return "The model gives values without an interval."
    quality = decision.quality.get("test")
    sentence = (
        f"Its intervals, ±{number(decision.half_width)}, are to hold "
        f"{decision.coverage:.4g} of the numbers"
    )
    if quality is None or quality.coverage is None:
        return f"{sentence}; no test texts tell whether they do."
    low, high = quality.coverage_interval_95 or (0.0, 1.0)
    return (
        f"{sentence}; of the {quality.num_examples:,} test texts they hold "
        f"{quality.coverage:.1%} ({low:.1%} to {high:.1%})."
    )


def in_words(prediction: NumberPrediction | None) -> str:
    """Value and interval: "3.2 (1.1 to 5.3)"."""
    if prediction is None:
        return pages.MISSING
    value = number(prediction.value)
    if prediction.low is None:
        return value
    return f"{value} ({number(prediction.low)} to {number(prediction.high)})"


def _unpublished(report: NumbersReport) -> str:
    if report.export is not None:
        return pages.HELD
    is_complete = report.status == "complete"
    return pages.NOT_WANTED if is_complete else pages.UNPUBLISHED


def _held_out(report: NumbersReport) -> str | None:
    return next((name for name in ("test", "validation") if name in report.after), None)


def _scores(facts: NumberBaseline, split: str) -> NumberScores | None:
    return facts.test if split == "test" else facts.validation


def _cell(scores: NumberScores | None, name: str) -> tuple[str, str]:
    """Value and interval of a metric, as text."""
    if scores is None:
        return pages.MISSING, ""
    ends = scores.confidence_intervals_95.get(name)
    interval = f"({number(ends[0])} to {number(ends[1])})" if ends else ""
    return number(getattr(scores, name)), interval


@functools.cache
def _template() -> jinja2.Template:
    environment = templates.environment(pathlib.Path(__file__).parent, autoescape=True)
    environment.filters.update(
        pages.filters(),
        number=number,
        answer=in_words,
        signed_points=worth.signed_points,
    )
    return environment.get_template("number_report.html.jinja")


def _context(report: NumbersReport) -> dict[str, Any]:
    """What the template reads, by name."""
    split = _held_out(report)
    after = report.after[split] if split else None
    return {
        "report": report,
        "headline": headline(report),
        "intervals": interval_sentence(report),
        "unpublished": _unpublished(report),
        "split": split,
        "held_out": after,
        "metric_tables": _metric_tables(report),
        "compared": _compared(report, split, after) if after and split else None,
        "held_out_pictures": (
            number_figures.held_out_pictures(after, report.decision) if after else []
        ),
        "learning_pictures": number_figures.learning_pictures(
            report.history, best_step=report.training.best_step
        ),
        "kept_pictures": figures.kept_pictures(report.kept) if report.kept else [],
        "data_pictures": figures.data_pictures(report.data),
        "timing": dataclasses.asdict(report.timing),
        "export": dataclasses.asdict(report.export) if report.export else None,
        "flagfile": "\n".join(wording.flag_lines(report.config, all_of_them=False)),
    }


def _metric_tables(report: NumbersReport) -> list[dict[str, Any]]:
    """One table a measured split: its name, size and rows of (name, cells)."""
    return [
        {
            "split": split,
            "num_texts": report.after[split].num_examples,
            "rows": [
                (title, [_cell(each, name) for each in evaluations])
                for name, title in _METRICS.items()
            ],
        }
        for split in ("test", "validation")
        if split in report.after
        for evaluations in [(report.before.get(split), report.after[split])]
    ]


def _compared(
    report: NumbersReport, split: str, after: NumberEvaluation
) -> dict[str, Any] | None:
    """The fine-tuned model beside the simple ones: columns, rows, a picture."""
    if not report.baselines:
        return None
    everyone: dict[str, NumberScores | None] = {pages.FINE_TUNED: after}
    for name, facts in report.baselines.items():
        everyone[_SHORT_TITLES[name]] = _scores(facts, split)
    rows: list[tuple[str, Sequence[tuple[str, str]]]] = [
        (_METRICS[name], [_cell(each, name) for each in everyone.values()])
        for name in _COMPARED
    ]
    differences = [("", "")]
    nearer = [("", "")]
    for comparison in report.comparisons.values():
        ends = comparison.interval_95
        interval = f"({number(ends[0])} to {number(ends[1])})" if ends else ""
        differences.append((number(comparison.mae_difference), interval))
        share = comparison.num_nearer / comparison.num_examples
        nearer.append((f"{share:.1%}", ""))
    rows.append(("Fine-tuned minus it, mean absolute error", differences))
    rows.append(("Texts on which fine-tuned is nearer", nearer))
    picture = number_figures.comparison_picture(
        {
            name: (each.mae, each.confidence_intervals_95.get("mae"))
            for name, each in everyone.items()
            if each
        }
    )
    return {"columns": list(everyone), "rows": rows, "pictures": [picture]}

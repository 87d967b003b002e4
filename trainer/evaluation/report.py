"""The report of a run: one HTML page for people, and the table of its last lines.

    report = Report.from_json((model_dir / "report.json").read_text("utf-8"))
    (model_dir / "report.html").write_text(render_html(report), encoding="utf-8")
    print(summary_table(report))

Both read a `schema.Report` and nothing else. Sections that are empty (no samples, no
metrics, no history, no export formats, no warnings) are left out of the page. A
template that asks for what the schema does not have fails.

The page holds everything itself: styles, pictures (SVG), no script. The words and
their order are in `report.html.jinja`, with autoescape on: texts and labels come
from strangers. The pictures are drawn in `figures.py`. The caller gathers the report
and saves it.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from typing import Any, Callable, Mapping, Sequence

import jinja2
import markupsafe

from trainer import templates, wording
from trainer.evaluation import (
    confusions,
    doubts,
    explanations,
    figures,
    group_sentences,
    worth,
)
from trainer.evaluation.schema import (
    BaselineFacts,
    BaselineScores,
    Comparison,
    Doubt,
    Prediction,
    Report,
    Sample,
    SplitEvaluation,
)
from trainer.messages import filled

MISSING = "–"
# Instead of the exported model.
UNPUBLISHED = "not yet: no export has passed its checks"
HELD = "none, for this version is held; trainer.compare --promote would have it serve"
NOT_WANTED = "none, as --export=false says; the same command without it exports"
# Instead of an interval.
TOO_FEW = "too few texts to say"
SUMMARY_COLUMNS = 100
FINE_TUNED = "Fine-tuned"
# Where there is no room for the title of a baseline.
_SHORT_TITLES = {
    "commonest": "commonest label",
    "tfidf": "TF-IDF",
    "frozen": "frozen vectors",
}
_COMPARED_METRICS = ("accuracy", "f1_macro", "loss", "expected_calibration_error")
# More labels than these are folded away, behind the weakest.
_MAX_OPEN_LABELS = 12
_NUM_WEAKEST = 10
# Of fewer texts nothing is known of a label.
_MIN_LABEL_TEXTS = 5
# From this many times the mean share of a label on, the commonest one's is told.
_UNEVEN = 1.5

# Metric → its name for people (↓: lower is better), and whether it is a fraction,
# shown in percent.
_METRICS: Mapping[str, tuple[str, bool]] = {
    "accuracy": ("Accuracy", True),
    "f1_macro": ("F1, macro", True),
    "precision_macro": ("Precision, macro", True),
    "recall_macro": ("Recall, macro", True),
    "mcc": ("Matthews correlation", False),
    "roc_auc": ("Area under the ROC curve", False),
    "loss": ("Loss\N{NO-BREAK SPACE}↓", False),
    "brier_score": ("Brier score\N{NO-BREAK SPACE}↓", False),
    "expected_calibration_error": ("Calibration error\N{NO-BREAK SPACE}↓", False),
}
# The same of those that `schema.LabelSetScores` has.
_SET_METRICS: Mapping[str, tuple[str, bool]] = {
    "f1_micro": ("F1, micro", True),
    "hamming_loss": ("Hamming loss\N{NO-BREAK SPACE}↓", True),
    "average_precision": ("Average precision", False),
}
# And of those that `schema.OrdinalScores` has; distances are in steps.
_ORDINAL_METRICS: Mapping[str, tuple[str, bool]] = {
    "mae": ("Mean distance, steps\N{NO-BREAK SPACE}↓", False),
    "within_one": ("Off by at most a step", True),
    "quadratic_kappa": ("Quadratic kappa", False),
    "spearman": ("Rank correlation", False),
    "rps": ("Ranked probability score\N{NO-BREAK SPACE}↓", False),
}
_ALL_METRICS = {**_METRICS, **_SET_METRICS, **_ORDINAL_METRICS}
# Where an evaluation has the metrics that only some tasks have.
_PARTS = {"label_sets": _SET_METRICS, "ordinal": _ORDINAL_METRICS}


def render_html(report: Report) -> str:
    """The page of a run, one HTML file that needs no other."""
    return _template().render(_context(report))


def summary_table(report: Report) -> str:
    """The last lines of a run: before, after, and what to do next.

    The table has at most 100 columns, long sentences are shortened; whether it was
    worth it, and doubts, are wrapped; paths and the command are never cut, so that they can be copied.
    """
    rows = [summary_row("", "Before", "After")]
    for sample in report.samples:
        cells = [_prediction_cell(sample.before), _prediction_cell(sample.after)]
        rows.append(summary_row(_sample_name(sample), *cells))
    split = held_out_split(report)
    if split:
        before, after = _before_and_after(report, split)
        name = f"Accuracy on {_num_texts(before, after)} {split} texts (95% interval)"
        cells = [_with_interval(before, "accuracy"), _with_interval(after, "accuracy")]
        rows.append(summary_row(name, *cells))
        rows += _rows_of_baselines(report, split)
        rows += _rows_of_uneven_labels(before, after)
    ends = {
        "Report": report.paths.report,
        "SavedModel": report.paths.saved_model,
        "Predict": report.commands.predict,
    }
    following = [f"{name:<12}{end or _no_export(report)}" for name, end in ends.items()]
    verdict = [filled(report.worth), ""] if report.worth else []
    if report.champion is not None:
        verdict += [filled(report.champion.sentence), ""]
    if report.export is not None and report.export.status == "held":
        held = (
            f"Version {report.export.version} is held: {report.export.status_reason}."
        )
        verdict += [filled(held), ""]
    told = _doubt_lines(doubts.beside(report.worth, report.doubts))
    return "\n".join([*rows, "", *verdict, *told, *following]) + "\n"


def _no_export(report: Report) -> str:
    if report.export is not None:
        return HELD
    return NOT_WANTED if report.status == "complete" else UNPUBLISHED


def _doubt_lines(shown: Sequence[Doubt]) -> list[str]:
    """A heading and the doubts below it, wrapped; and an empty line."""
    lines = [filled(doubt.message, first="  - ", rest="    ") for doubt in shown]
    return ["Doubts", *lines, ""] if lines else []


def headline(report: Report) -> str:
    """The result in one sentence, with its split, size and interval."""
    split = held_out_split(report)
    after = report.after.get(split) if split else None
    if not split or not after:
        return "No texts were held out, so nothing was measured."
    if after.label_sets:
        f1 = {
            name: f"{title} {_with_interval(after, name)}"
            for name, title in (("f1_macro", "Macro F1"), ("f1_micro", "micro F1"))
        }
        return (
            f"On {after.num_examples:,} held-out {split} texts: {', '.join(f1.values())};"
            f" all labels right in {_with_interval(after, 'accuracy')} of them."
        )
    sentence = (
        f"Accuracy on {after.num_examples:,} held-out {split} texts: "
        f"{_with_interval(after, 'accuracy')}"
    )
    before = report.before.get(split)
    if before:
        sentence += f", before fine-tuning {_percent(before.accuracy)}"
        if before.num_examples != after.num_examples:
            sentence += f" of {before.num_examples:,} of them"
    return sentence + "."


def held_out_split(report: Report) -> str | None:
    """The split the result is quoted on: test, else validation, else None."""
    measured = {**report.before, **report.after}
    return next((name for name in ("test", "validation") if name in measured), None)


def baseline_scores(facts: BaselineFacts, split: str) -> BaselineScores | None:
    """What a simple model gives on a held-out split."""
    return facts.test if split == "test" else facts.validation


def capitalized(title: str) -> str:
    """A title as the first word of a row; `str.capitalize` would spoil "TF-IDF"."""
    return title[:1].upper() + title[1:]


def filters() -> dict[str, Callable[..., Any]]:
    """What the pages of all tasks write values with, by name."""
    return {
        "percent": _percent,
        "decimal": _decimal,
        "words": _words,
        "plain": _plain,
        "measure": _measure,
        "breakable": _breakable,
        "opening": capitalized,
        "whole_flags": _whole_flags,
    }


@functools.cache
def _template() -> jinja2.Template:
    environment = templates.environment(pathlib.Path(__file__).parent, autoescape=True)
    environment.filters.update(
        filters(),
        signed_points=worth.signed_points,
        points=worth.points,
        rate=group_sentences.measure,
    )
    return environment.get_template("report.html.jinja")


def _context(report: Report) -> dict[str, Any]:
    """What the template reads, by name."""
    split = held_out_split(report)
    held_out = report.after.get(split) if split else None
    return {
        # Dicts and not the dataclasses: the template shows some sections row by row.
        "report": dataclasses.asdict(report),
        "doubts": doubts.beside(report.worth, report.doubts),
        "headline": headline(report),
        "unpublished": _no_export(report),
        "split": split,
        "held_out": dataclasses.asdict(held_out) if held_out else None,
        "metric_tables": _metric_tables(report),
        "learning_pictures": figures.learning_pictures(
            report.history, best_step=report.training.best_step
        ),
        "held_out_pictures": figures.held_out_pictures(held_out) if held_out else [],
        "data_pictures": figures.data_pictures(report.data),
        "kept_pictures": figures.kept_pictures(report.kept) if report.kept else [],
        "group_pictures": (
            figures.group_pictures(report.groups) if report.groups else []
        ),
        "compared": _compared(report, split) if split else None,
        "comparison_pictures": _comparison_pictures(report, split) if split else [],
        "confusions": (
            confusions.most_frequent(
                held_out.confusion_matrix, list(held_out.per_class)
            )
            if held_out
            else []
        ),
        "training_facts": {
            name: value
            for name, value in dataclasses.asdict(report.training).items()
            if name != "reweighed"
        },
        "weakest": _weakest(held_out) if held_out else [],
        "rare": _num_rare(held_out) if held_out else 0,
        "explained": [explanations.drawn(each) for each in report.explanations],
        "settings": _settings(report),
        "flagfiles": {
            title: "\n".join(wording.flag_lines(report.config, all_of_them=all_of_them))
            for title, all_of_them in (
                ("What differs from the defaults", False),
                ("All settings", True),
            )
        },
    }


def _weakest(evaluation: SplitEvaluation) -> list[tuple[str, dict[str, Any]]]:
    """The labels of the lowest F1 with their scores; none where all can be looked at."""
    if len(evaluation.per_class) <= _MAX_OPEN_LABELS:
        return []
    known = [
        (name, scores)
        for name, scores in evaluation.per_class.items()
        if scores.support >= _MIN_LABEL_TEXTS
    ]
    # At a tie the one of the most texts: of it the most is known.
    known.sort(key=lambda item: (item[1].f1 or 0.0, -item[1].support))
    return [(name, dataclasses.asdict(scores)) for name, scores in known[:_NUM_WEAKEST]]


def _num_rare(evaluation: SplitEvaluation) -> int:
    """How many labels have too few texts to be judged."""
    supports = [scores.support for scores in evaluation.per_class.values()]
    return sum(each < _MIN_LABEL_TEXTS for each in supports)


def _settings(report: Report) -> list[dict[str, Any]]:
    """A table a section: rows of name, value, and what a sentinel stood for."""
    tables: dict[str, Mapping[str, Any]] = {
        _words(name): values
        for name, values in report.config.items()
        if isinstance(values, Mapping)
    }
    general = {n: v for n, v in report.config.items() if not isinstance(v, Mapping)}
    return [
        {
            "caption": caption,
            "rows": [
                (
                    name,
                    _setting(value),
                    report.settings_in_words.get(name) or wording.meaning(name, value),
                )
                for name, value in values.items()
            ],
        }
        for caption, values in {**tables, "General": general}.items()
        if values
    ]


def _percent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1%}"


def _decimal(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3f}".replace("-", "−")


def _words(name: str) -> str:
    """A key as words, without its unit: `num_train_examples` → "Train examples"."""
    name = name.removeprefix("num_").removeprefix("secs_")
    for unit in ("_per_sec", "_secs", "_bytes", "_fraction"):
        name = name.removesuffix(unit)
    return name[:1].upper() + name[1:].replace("_", " ")


def _plain(value: Any) -> str:
    """A value of any JSON type as text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return str(value)


def _breakable(name: str) -> markupsafe.Markup:
    """A setting's name that a narrow page may break after each word of it."""
    return markupsafe.Markup("_<wbr>").join(name.split("_"))


def _whole_flags(sentence: str) -> markupsafe.Markup:
    """A sentence within which no flag is broken, for none could copy it."""
    text = str(markupsafe.escape(sentence))
    whole = re.sub(r"--\w+(=\w+)?", r'<span class="whole">\g<0></span>', text)
    return markupsafe.Markup(whole)


def _setting(value: Any) -> str:
    """A setting as it is written in a flagfile, lists with commas."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return ", ".join(map(str, value)) if is_list else str(value)


def _measure(value: float, name: str) -> str:
    """A number of `timing` in the unit that its name says, or else in seconds."""
    if name.endswith("_per_sec"):
        return f"{value:,.1f} per second"
    if name.endswith("_bytes"):
        if value < 2**30:
            return f"{value / 2**20:.{1 if value < 10 * 2**20 else 0}f} MiB"
        return f"{value / 2**30:,.2f} GiB"
    if name.endswith("_fraction"):
        return _percent(value)
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _before_and_after(
    report: Report, split: str
) -> tuple[SplitEvaluation | None, SplitEvaluation | None]:
    return report.before.get(split), report.after.get(split)


def _num_texts(before: SplitEvaluation | None, after: SplitEvaluation | None) -> str:
    """Of evaluations of one split, at least one of which exists: "2,000"."""
    sizes = [f"{each.num_examples:,}" for each in (after, before) if each]
    if len(set(sizes)) == 1:
        return sizes[0]
    return f"{sizes[0]} (before: {sizes[1]})"


def _value(evaluation: SplitEvaluation | BaselineScores, name: str) -> float | None:
    """A metric; None of those of another task."""
    for part, metrics in _PARTS.items():
        if name in metrics:
            return getattr(getattr(evaluation, part, None), name, None)
    value: float | None = getattr(evaluation, name)
    return value


def _interval(evaluation: SplitEvaluation | BaselineScores, name: str) -> str:
    """ "79.8 to 84.6", or why there is none; nothing where none was asked for."""
    intervals = evaluation.confidence_intervals_95
    interval = intervals.get(name)
    if not interval:
        is_asked = intervals and _value(evaluation, name) is not None
        return TOO_FEW if is_asked else ""
    _, is_fraction = _ALL_METRICS[name]
    low, high = (
        f"{100 * end:.1f}" if is_fraction else _decimal(end) for end in interval
    )
    return f"{low} to {high}"


def _with_interval(
    evaluation: SplitEvaluation | BaselineScores | None, name: str
) -> str:
    """A metric that is a fraction, as "84.0% (80.6 to 87.4)"."""
    if not evaluation:
        return MISSING
    interval = _interval(evaluation, name)
    value = _percent(_value(evaluation, name))
    return value + (f" ({interval})" if interval else "")


def _number_with_interval(evaluation: SplitEvaluation | None, name: str) -> str:
    """A metric that is no fraction, as "0.42 (0.38 to 0.47)"."""
    if not evaluation:
        return MISSING
    interval = _interval(evaluation, name)
    value = _decimal(_value(evaluation, name))
    return value + (f" ({interval})" if interval else "")


def _rows_of_uneven_labels(
    before: SplitEvaluation | None, after: SplitEvaluation | None
) -> list[str]:
    """What accuracy hides where one label is much more frequent than the others, or
    where a text may have several."""
    if any(each and each.label_sets for each in (before, after)):
        return [
            summary_row(
                f"{title}, of the same",
                *[_with_interval(e, n) for e in (before, after)],
            )
            for n, title in (("f1_macro", "F1, macro"), ("f1_micro", "F1, micro"))
        ]
    if any(each and each.ordinal for each in (before, after)):
        return [
            summary_row(
                _ORDINAL_METRICS[name][0],
                *[_number_with_interval(each, name) for each in (before, after)],
            )
            for name in ("mae", "quadratic_kappa")
        ]
    share = max(each.majority_class_accuracy for each in (before, after) if each)
    num_labels = max(len(each.per_class) for each in (before, after) if each)
    if share * num_labels < _UNEVEN:
        return []
    f1 = [_with_interval(each, "f1_macro") for each in (before, after)]
    return [
        summary_row("F1, macro, of the same", *f1),
        summary_row("Share of the commonest label", *[_percent(share)] * 2),
    ]


def _rows_of_baselines(report: Report, split: str) -> list[str]:
    """What the simple models give on the same texts, below the accuracy."""
    return [
        summary_row(
            capitalized(facts.title),
            "",
            _with_interval(baseline_scores(facts, split), "accuracy"),
        )
        for facts in report.baselines.values()
    ]


def _compared_of_task(
    everyone: Sequence[SplitEvaluation | BaselineScores | None],
) -> tuple[str, ...]:
    has_order = any(getattr(each, "ordinal", None) for each in everyone)
    return ("mae", "quadratic_kappa") if has_order else ()


def _compared(report: Report, split: str) -> dict[str, Any] | None:
    """The table of the fine-tuned model and the simple ones; None without these.

    A cell is a value and the small print under it.
    """
    if not report.baselines or split not in report.after:
        return None
    scores = [baseline_scores(facts, split) for facts in report.baselines.values()]
    everyone = [report.after[split], *scores]
    rows = [
        (_ALL_METRICS[name][0], [_cell(each, name) for each in everyone])
        for name in (*_COMPARED_METRICS, *_compared_of_task(everyone))
    ]
    return {
        "columns": [FINE_TUNED, *map(_column_title, report.baselines)],
        "rows": [*rows, *_cost_rows(report), *_paired_rows(report)],
        # Which texts have not the commonest label, nobody needs to read.
        "titles": {
            name: _SHORT_TITLES[name]
            for name in report.comparisons
            if name != worth.COMMONEST
        },
    }


def _column_title(name: str) -> str:
    return capitalized(_SHORT_TITLES[name])


def _cost_rows(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    secs = [_fine_tuning_secs(report)]
    memory: list[int | None] = [report.timing.peak_host_memory_bytes]
    for facts in report.baselines.values():
        secs.append(facts.secs)
        memory.append(facts.peak_memory_bytes)
    return [
        (
            title,
            [(MISSING if each is None else _measure(each, unit), "") for each in row],
        )
        for title, unit, row in (("Time", "_secs", secs), ("Memory", "_bytes", memory))
    ]


def _fine_tuning_secs(report: Report) -> float | None:
    """The time that the comparisons count as fine-tuning's."""
    secs = [
        comparison.cost_ratio * report.baselines[name].secs
        for name, comparison in report.comparisons.items()
        if comparison.cost_ratio is not None
    ]
    return secs[0] if secs else None


def _paired_rows(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """What follows from both models' answers to the same texts."""
    if not report.comparisons:
        return []
    # The fine-tuned model itself, then the simple ones.
    columns = [None, *map(report.comparisons.get, report.baselines)]
    return [
        (title, [cell(each) if each else (MISSING, "") for each in columns])
        for title, cell in _PAIRED.items()
        if title != _NEARER
        or any(each and each.mae_difference is not None for each in columns)
    ]


_NEARER = "Mean distance, fine-tuned minus it, steps"
_PAIRED: Mapping[str, Callable[[Comparison], tuple[str, str]]] = {
    "Fine-tuned minus it, points": lambda comparison: (
        worth.signed_points(comparison.difference),
        " to ".join(map(worth.points, comparison.interval_95)),
    ),
    "McNemar\N{RIGHT SINGLE QUOTATION MARK}s p": lambda comparison: (
        _probability(comparison.mcnemar_p),
        "",
    ),
    "Texts only fine-tuned has right": lambda comparison: (
        f"{comparison.num_only_model_right:,}",
        "",
    ),
    "Texts only it has right": lambda comparison: (
        f"{comparison.num_only_baseline_right:,}",
        "",
    ),
    _NEARER: lambda comparison: (
        _decimal(comparison.mae_difference),
        " to ".join(map(_decimal, comparison.mae_difference_interval_95 or ())),
    ),
}


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"


def _comparison_pictures(report: Report, split: str) -> list[figures.Picture]:
    if not report.baselines or split not in report.after:
        return []
    scores = {
        _column_title(name): baseline_scores(facts, split)
        for name, facts in report.baselines.items()
    }
    everyone = {FINE_TUNED: report.after[split], **scores}
    return figures.comparison_pictures(
        accuracies={
            name: (each.accuracy, each.confidence_intervals_95.get("accuracy"))
            for name, each in everyone.items()
            if each
        },
        differences={
            _column_title(name): (comparison.difference, comparison.interval_95)
            for name, comparison in report.comparisons.items()
        },
    )


def _metric_tables(report: Report) -> list[dict[str, Any]]:
    """One table per measured split: its name, size and rows of (name, cells)."""
    tables = []
    for split in ("test", "validation"):
        evaluations = _before_and_after(report, split)
        if any(evaluations):
            shown = {**_METRICS, **_metrics_of_task(evaluations)}
            rows = [
                (title, [_cell(evaluation, name) for evaluation in evaluations])
                for name, (title, _) in shown.items()
            ]
            size = _num_texts(*evaluations)
            tables.append({"split": split, "num_texts": size, "rows": rows})
    return tables


def _metrics_of_task(
    evaluations: Sequence[SplitEvaluation | BaselineScores | None],
) -> Mapping[str, tuple[str, bool]]:
    """Those that only some tasks have."""
    for part, metrics in _PARTS.items():
        if any(getattr(each, part, None) for each in evaluations):
            return metrics
    return {}


def _cell(
    evaluation: SplitEvaluation | BaselineScores | None, name: str
) -> tuple[str, str]:
    """Value and interval of a metric, as text."""
    if not evaluation:
        return MISSING, ""
    is_fraction = _ALL_METRICS[name][1]
    as_text = _percent if is_fraction else _decimal
    return as_text(_value(evaluation, name)), _interval(evaluation, name)


def summary_row(first: str, before: str, after: str) -> str:
    """A line of the table of a run's last lines."""
    first_columns, cell_columns = SUMMARY_COLUMNS - 52, 24
    cells = [figures.one_line(cell, cell_columns) for cell in (before, after)]
    first = figures.one_line(first, first_columns)
    return f"{first:<{first_columns}}  {cells[0]:<{cell_columns}}  {cells[1]}".rstrip()


def _sample_name(sample: Sample) -> str:
    """The text; before one that was drawn, why it was and its label in the data."""
    if sample.label is None:
        return sample.text
    label = figures.one_line(sample.label, 17)
    return f"{sample.why} ({label}): {sample.text}"


def _prediction_cell(prediction: Prediction | None) -> str:
    if not prediction:
        return MISSING
    label = figures.one_line(prediction.label, 17)
    return f"{label} {_percent(prediction.score)}"

"""The report of a run: one HTML page for people, and the table of its last lines.

    report = json.loads((model_dir / "report.json").read_text())
    (model_dir / "report.html").write_text(render_html(report), encoding="utf-8")
    print(summary_table(report))

Both read the report dict and nothing else. Its sections are `before` and `after`
(split name → what `metrics.py` and `slices.py` return), `samples`, `history`,
`training`, `data`, `export`, `warnings`, `config`, `environment`, `timing`,
`commands` and `paths`. A section that is not there is left out of the page.

The page holds everything itself: styles, pictures (SVG), no script. The words and
their order are in `report.html.jinja`, with autoescape on: texts and labels come
from strangers. The pictures are drawn in `figures.py`; gathering and saving the
dict is left to the caller.
"""

from __future__ import annotations

import pathlib
from typing import Any, Mapping, Sequence

import jinja2

from trainer.evaluation import figures

MISSING = "–"
SUMMARY_COLUMNS = 100

# Metric → its name for people (↓: lower is better), and whether it is a share, shown in percent.
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


def render_html(report: Mapping[str, Any]) -> str:
    """The page of a run, one HTML file that needs no other."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        # A missing part of a report is an empty part of the page.
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent,
        decimal=_decimal,
        words=_words,
        plain=_plain,
        measure=_measure,
        setting=_setting,
    )
    split = held_out_split(report)
    held_out = report.get("after", {}).get(split, {})
    return environment.get_template("report.html.jinja").render(
        report=report,
        headline=headline(report),
        split=split,
        held_out=held_out,
        metric_tables=_metric_tables(report),
        learning_pictures=figures.learning_pictures(
            report.get("history", {}),
            best_step=report.get("training", {}).get("best_step"),
        ),
        held_out_pictures=figures.held_out_pictures(held_out),
    )


def summary_table(report: Mapping[str, Any]) -> str:
    """The last lines of a run: before, after, and what to do next.

    The table has at most 100 columns, long sentences are shortened; paths and the
    command are never cut, so that they can be copied.
    """
    rows = [_summary_row("", "Before", "After")]
    for sample in report.get("samples", ()):
        cells = [_prediction_cell(sample.get(when)) for when in ("before", "after")]
        rows.append(_summary_row(sample["text"], *cells))
    split = held_out_split(report)
    if split:
        metrics = [report.get(when, {}).get(split) for when in ("before", "after")]
        num_examples = next(filter(None, metrics))["num_examples"]
        name = f"Accuracy on {num_examples:,} {split} texts (95% interval)"
        rows.append(_summary_row(name, *map(_accuracy_with_interval, metrics)))
    ways = {
        "Report": report.get("paths", {}).get("report"),
        "SavedModel": report.get("paths", {}).get("saved_model"),
        "Predict": report.get("commands", {}).get("predict"),
    }
    following = [f"{name:<12}{way}" for name, way in ways.items() if way]
    return "\n".join([*rows, "", *following]).rstrip() + "\n"


def headline(report: Mapping[str, Any]) -> str:
    """The result in one sentence, with its split, size and interval."""
    split = held_out_split(report)
    after = report.get("after", {}).get(split)
    if not after:
        return "No texts were held out, so nothing was measured."
    sentence = (
        f"Accuracy on {after['num_examples']:,} held-out {split} texts: "
        f"{_accuracy_with_interval(after)}"
    )
    before = report.get("before", {}).get(split)
    if before:
        sentence += f", before fine-tuning {_percent(before['accuracy'])}"
    return sentence + "."


def held_out_split(report: Mapping[str, Any]) -> str | None:
    """The split the result is quoted on: test, else validation, else None."""
    measured = {**report.get("before", {}), **report.get("after", {})}
    return next((name for name in ("test", "validation") if name in measured), None)


def _percent(value: float | None) -> str:
    return f"{value:.1%}" if isinstance(value, (int, float)) else MISSING


def _decimal(value: float | None) -> str:
    if not isinstance(value, (int, float)):
        return MISSING
    return f"{value:.3f}".replace("-", "−")


def _words(name: str) -> str:
    """A key as words: `num_train_examples` → "Train examples"."""
    name = name.removeprefix("num_").removeprefix("secs_")
    for unit in ("_per_sec", "_secs", "_bytes", "_fraction"):
        name = name.removesuffix(unit)
    return name[:1].upper() + name[1:].replace("_", " ")


def _plain(value: Any) -> str:
    """A fact of any JSON type as text."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_plain(each)}" for name, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_plain, value))
    return str(value)


def _setting(value: Any) -> str:
    """A setting as it is written in a flagfile, lists with commas."""
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return ", ".join(map(str, value)) if is_list else str(value)


def _measure(value: float, name: str) -> str:
    """A number of `timing` in the unit that its name says, or else in seconds."""
    if name.endswith("_per_sec"):
        return f"{value:,.1f} per second"
    if name.endswith("_bytes"):
        return f"{value / 2**30:,.2f} GiB"
    if name.endswith("_fraction"):
        return _percent(value)
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _interval(metrics: Mapping[str, Any], name: str) -> str:
    """ "79.8 to 84.6", or nothing where the metric has no interval."""
    interval = metrics.get("confidence_intervals_95", {}).get(name)
    if not interval:
        return ""
    _, is_share = _METRICS[name]
    low, high = (f"{100 * end:.1f}" if is_share else _decimal(end) for end in interval)
    return f"{low} to {high}"


def _accuracy_with_interval(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return MISSING
    interval = _interval(metrics, "accuracy")
    return _percent(metrics["accuracy"]) + (f" ({interval})" if interval else "")


def _metric_tables(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One table a measured split: its name, size and rows of (name, cells)."""
    tables = []
    for split in ("test", "validation"):
        of_split = {
            when: report.get(when, {}).get(split) for when in ("before", "after")
        }
        measured = [each for each in of_split.values() if each]
        if measured:
            rows = [
                (title, [_cell(each, name) for each in of_split.values()])
                for name, (title, _) in _METRICS.items()
            ]
            tables.append({"split": split, "metrics": measured[-1], "rows": rows})
    return tables


def _cell(metrics: Mapping[str, Any] | None, name: str) -> tuple[str, str]:
    """Value and interval of a metric, as text."""
    if not metrics:
        return MISSING, ""
    as_text = _percent if _METRICS[name][1] else _decimal
    return as_text(metrics.get(name)), _interval(metrics, name)


def _summary_row(first: str, before: str, after: str) -> str:
    first_columns, cell_columns = SUMMARY_COLUMNS - 52, 24
    cells = [figures.one_line(cell, cell_columns) for cell in (before, after)]
    first = figures.one_line(first, first_columns)
    return f"{first:<{first_columns}}  {cells[0]:<{cell_columns}}  {cells[1]}".rstrip()


def _prediction_cell(prediction: Mapping[str, Any] | None) -> str:
    if not prediction:
        return MISSING
    label = figures.one_line(prediction["label"], 17)
    return f"{label} {_percent(prediction['score'])}"

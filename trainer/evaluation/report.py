"""The report of a run: one HTML page for people, and the table of its last lines.

    report = json.loads((model_dir / "report.json").read_text())
    (model_dir / "report.html").write_text(render_html(report), encoding="utf-8")
    print(summary_table(report))

Both read the report dict and nothing else. Its sections are `before` and `after`
(split name → what `metrics.py` and `slices.py` return), `samples`, `history`,
`training`, `data`, `export`, `warnings`, `config`, `environment`, `timing`,
`commands` and `paths`. A section that is not there is left out of the page.

The page holds everything itself: styles, figures (SVG), no script. The words and
their order are in `report.html.jinja`, with autoescape on: texts and labels come
from strangers. Gathering and saving the dict is left to the caller.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import pathlib
import warnings
from typing import Any, Callable, Mapping, Sequence

import jinja2
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure

from trainer.evaluation import slices

MISSING = "–"
# Okabe and Ito 2008, "Color Universal Design": told apart by the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
# Above this a confusion matrix shows colours instead of numbers.
MAX_NUMBERED_CLASSES = 10
SUMMARY_COLUMNS = 100

# Any: Matplotlib 3.11 types its settings name by name, 3.9 does not.
_STYLE: Any = {
    # Text stays text, drawn by the reader's fonts, in any script.
    "svg.fonttype": "none",
    # The same report gives the same bytes.
    "svg.hashsalt": "report",
    # A label may hold a dollar sign.
    "text.parse_math": False,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
}
_FIGURE_FONTS = "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Picture:
    """A figure as the template shows it: SVG in a data URI, and its words."""

    title: str
    alternative: str
    source: str


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
    return environment.get_template("report.html.jinja").render(
        report=report,
        headline=headline(report),
        split=split,
        held_out=report.get("after", {}).get(split, {}),
        metric_tables=_metric_tables(report),
        learning_pictures=_learning_pictures(report),
        held_out_pictures=_held_out_pictures(report),
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
    name = name.removeprefix("num_")
    for unit in ("_per_sec", "_secs"):
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
    """A number of `timing`: a rate if its name says so, else a time in seconds."""
    if name.endswith("_per_sec"):
        return f"{value:,.1f} per second"
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


def _one_line(text: str, num_columns: int) -> str:
    """Text on one line, without control characters, shortened at its end."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    line = " ".join(printable.split())
    return line if len(line) <= num_columns else line[: num_columns - 1] + "…"


def _summary_row(first: str, before: str, after: str) -> str:
    first_columns, cell_columns = SUMMARY_COLUMNS - 52, 24
    cells = [_one_line(cell, cell_columns) for cell in (before, after)]
    first = _one_line(first, first_columns)
    return f"{first:<{first_columns}}  {cells[0]:<{cell_columns}}  {cells[1]}".rstrip()


def _prediction_cell(prediction: Mapping[str, Any] | None) -> str:
    if not prediction:
        return MISSING
    return f"{_one_line(prediction['label'], 17)} {_percent(prediction['score'])}"


def _picture(
    title: str,
    alternative: str,
    draw: Callable[[MatplotlibFigure], None],
    *,
    height: float = 3.1,
) -> _Picture:
    """Draws on a new figure, 4.6 inches wide: still legible on a phone."""
    svg = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Only the measuring font lacks the glyph; the reader's fonts draw it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = MatplotlibFigure(figsize=(4.6, height), layout="constrained")
        draw(figure)
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    text = svg.getvalue().replace("'DejaVu Sans'", _FIGURE_FONTS)
    encoded = base64.b64encode(text.encode()).decode()
    source = f"data:image/svg+xml;base64,{encoded}"
    return _Picture(title=title, alternative=alternative, source=source)


def _learning_pictures(report: Mapping[str, Any]) -> list[_Picture]:
    history = report.get("history", {})
    train, validation = history.get("train", ()), history.get("validation", ())
    best_step = report.get("training", {}).get("best_step")
    pictures = []
    if train or validation:
        pictures.append(_loss_picture(train, validation, best_step))
    if validation:
        pictures.append(_validation_picture(validation, best_step))
    for name, title in (
        ("learning_rate", "Learning rate"),
        ("gradient_norm", "Gradient norm"),
    ):
        points = [each for each in train if each.get(name) is not None]
        if points:
            pictures.append(_series_picture(points, name=name, title=title))
    return pictures


def _plot(
    axes: Axes, points: Sequence[Mapping[str, Any]], name: str, **style: Any
) -> None:
    steps = [each["step"] for each in points]
    axes.plot(steps, [each[name] for each in points], **style)


def _mark_best_step(axes: Axes, best_step: int | None) -> None:
    if best_step is not None:
        axes.axvline(best_step, color=GREY, linestyle="--", label="best step")


def _finish_curves(figure: MatplotlibFigure, axes: Axes) -> None:
    axes.set_xlabel("step")
    # Outside, where it cannot hide the curves.
    figure.legend(
        loc="outside upper center",
        ncols=4,
        fontsize=9,
        columnspacing=1.2,
        handlelength=1.4,
        handletextpad=0.5,
    )


def _loss_picture(
    train: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    best_step: int | None,
) -> _Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        if train:
            _plot(axes, train, "loss", color=BLUE, linewidth=1, label="training")
        if validation:
            _plot(
                axes, validation, "loss", color=ORANGE, marker="o", label="validation"
            )
        _mark_best_step(axes, best_step)
        axes.set_ylim(bottom=0)
        _finish_curves(figure, axes)

    ends = [
        f"{name} from {points[0]['loss']:.3f} to {points[-1]['loss']:.3f}"
        for name, points in (("training", train), ("validation", validation))
        if points
    ]
    return _picture("Loss", f"Loss by step: {', '.join(ends)}.", draw)


def _validation_picture(
    validation: Sequence[Mapping[str, Any]], best_step: int | None
) -> _Picture:
    lines = [
        ("accuracy", "accuracy", BLUE, "o"),
        ("f1_macro", "F1 macro", ORANGE, "s"),
        ("mcc", "MCC", GREEN, "^"),
    ]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        for name, label, color, marker in lines:
            _plot(axes, validation, name, label=label, color=color, marker=marker)
        _mark_best_step(axes, best_step)
        _finish_curves(figure, axes)

    best = max(validation, key=lambda each: float(each["accuracy"]))
    alternative = (
        f"Validation metrics by step; the highest accuracy is "
        f"{_percent(best['accuracy'])} at step {best['step']:,}."
    )
    return _picture("Validation metrics", alternative, draw)


def _series_picture(
    points: Sequence[Mapping[str, Any]], *, name: str, title: str
) -> _Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        _plot(axes, points, name, color=BLUE, linewidth=1)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
        axes.set_xlabel("step")

    highest = max(points, key=lambda each: float(each[name]))
    alternative = (
        f"{title} by step, at most {highest[name]:.3g}, at step {highest['step']:,}."
    )
    return _picture(title, alternative, draw)


def _held_out_pictures(report: Mapping[str, Any]) -> list[_Picture]:
    metrics = report.get("after", {}).get(held_out_split(report), {})
    pictures = []
    if metrics.get("confusion_matrix"):
        label_names = list(metrics.get("per_class", {}))
        pictures.append(_confusion_picture(metrics["confusion_matrix"], label_names))
    if metrics.get("accuracy_by_length"):
        pictures.append(_length_picture(metrics["accuracy_by_length"]))
    if metrics.get("reliability"):
        pictures.append(_reliability_picture(metrics["reliability"]))
    return pictures


def _confusion_picture(
    matrix: Sequence[Sequence[int]], label_names: Sequence[str]
) -> _Picture:
    """Counts of (true, predicted); the colour is the share of the true label."""
    num_classes = len(matrix)
    shares = [[count / (sum(row) or 1) for count in row] for row in matrix]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        names = [_one_line(name, 16) for name in label_names]
        is_upright = num_classes <= 3
        axes.set_xticks(range(num_classes), names, rotation=0 if is_upright else 90)
        axes.set_yticks(range(num_classes), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if num_classes > MAX_NUMBERED_CLASSES:
            axes.tick_params(labelsize=7 if num_classes <= 30 else 4)
            figure.colorbar(image, ax=axes, label="share of the true label")
        else:
            _write_counts(axes, matrix, shares)

    num_right = sum(matrix[index][index] for index in range(num_classes))
    alternative = (
        f"Confusion matrix of {num_classes} labels: {num_right:,} of "
        f"{sum(map(sum, matrix)):,} texts on the diagonal, where predicted is true."
    )
    height = 3.1 if num_classes <= 3 else 4.6
    return _picture("Confusion matrix", alternative, draw, height=height)


def _write_counts(
    axes: Axes, matrix: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> None:
    is_roomy = len(matrix) <= 5
    for row, counts in enumerate(matrix):
        for column, count in enumerate(counts):
            share = shares[row][column]
            axes.text(
                column,
                row,
                f"{count:,}\n{share:.0%}" if is_roomy else f"{count:,}",
                ha="center",
                va="center",
                color="white" if share > 0.5 else "black",
                fontsize=10 if is_roomy else 7,
            )


def _error_bars(
    axes: Axes,
    places: Sequence[float],
    accuracies: Sequence[float],
    intervals: Sequence[Sequence[float]],
) -> None:
    """Accuracies as points with their intervals as bars."""
    below = [value - low for value, (low, _) in zip(accuracies, intervals)]
    above = [high - value for value, (_, high) in zip(accuracies, intervals)]
    # Rounding may put an interval's end a hair within its point.
    spans = [[max(0.0, span) for span in side] for side in (below, above)]
    axes.errorbar(places, accuracies, yerr=spans, fmt="o", color=BLUE, capsize=4)


def _length_picture(bins: Sequence[Mapping[str, Any]]) -> _Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        places = range(len(bins))
        accuracies = [100 * each["accuracy"] for each in bins]
        intervals = [
            [100 * end for end in each["confidence_interval_95"]] for each in bins
        ]
        _error_bars(axes, places, accuracies, intervals)
        names = [f"{each['name']}\nn={each['count']:,}" for each in bins]
        axes.set_xticks(places, names, fontsize=9)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xlabel("tokens")
        axes.set_ylabel("accuracy, %")

    parts = [
        f"{each['name']} tokens {_percent(each['accuracy'])} of {each['count']:,}"
        for each in bins
    ]
    return _picture("Accuracy by length", f"Accuracy: {'; '.join(parts)}.", draw)


def _reliability_picture(bins: Sequence[Mapping[str, Any]]) -> _Picture:
    """Accuracy against confidence, over a histogram of the confidences."""
    filled = [each for each in bins if each["count"]]

    def draw(figure: MatplotlibFigure) -> None:
        curve, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        curve.plot((0, 1), (0, 1), color=GREY, linestyle="--", label="as sure as right")
        intervals = [
            slices.wilson_interval(
                round(each["accuracy"] * each["count"]), each["count"]
            )
            for each in filled
        ]
        _error_bars(
            curve,
            [each["mean_confidence"] for each in filled],
            [each["accuracy"] for each in filled],
            intervals,
        )
        curve.set_ylabel("accuracy")
        curve.legend(loc="upper left")
        lefts = [each["lower"] for each in bins]
        widths = [each["upper"] - each["lower"] for each in bins]
        counts = [each["count"] for each in bins]
        histogram.bar(
            lefts, counts, widths, align="edge", color=BLUE, edgecolor="white"
        )
        histogram.set_ylabel("texts")
        histogram.set_xlabel("confidence")
        # Two classes leave no confidence below a half.
        histogram.set_xlim(min(each["lower"] for each in filled), 1)

    parts = [
        f"confidence {each['mean_confidence']:.2f}, accuracy {each['accuracy']:.2f}, "
        f"{each['count']:,} texts"
        for each in filled
    ]
    return _picture("Reliability", f"By bin: {'; '.join(parts)}.", draw, height=3.6)

"""The pictures of a report: SVG drawn with Matplotlib, each with its words.

    pictures = learning_pictures(report.history, best_step=2000)
    pictures += held_out_pictures(report.after["test"])
    pictures += data_pictures(report.data)
    pictures += comparison_pictures(accuracies=..., differences=...)
    picture = pictures[0]
    f'<img src="{picture.source}" alt="{html.escape(picture.alternative)}">'

A picture whose numbers are empty is left out. The same numbers give the same bytes.
No global setting of Matplotlib changes, and pyplot is not needed.

`report.py` chooses the split and makes the page around the pictures. The numbers come
from `metrics.py` and `slices.py`; their types are in `schema/`.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import functools
import io
import pickle
import warnings
from typing import TYPE_CHECKING, Any, Callable, Mapping, ParamSpec, Sequence

import numpy as np
import numpy.typing as npt

from trainer.evaluation import confusions, group_sentences, schema
from trainer.evaluation.intervals import wilson_interval
from trainer.evaluation.worth import points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

_Arguments = ParamSpec("_Arguments")

# Okabe and Ito 2008, "Color Universal Design": told apart by the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
# For up to ten curves: the same hues again, dashed.
_CURVE_COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9")
# Above this a confusion matrix shows colours instead of numbers.
_MAX_NUMBERED_CLASSES = 10
# More labels than these are not told apart in a picture.
_MAX_DRAWN_CLASSES = 40
# Up to so many classes there is room for shares beside the counts.
_MAX_ROOMY_CLASSES = 5
# Inches.
_NARROW, _WIDE = 4.6, 8.0
# Up to so many points are marked: a line through one of them would be invisible.
_MAX_MARKED_POINTS = 12

# More would hide the rest of the page.
_MAX_GROUP_PICTURES = 24

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

_Records = Sequence[schema.TrainRecord] | Sequence[schema.ValidationRecord]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn figure, ready for an `img` element."""

    # A heading of a word or three.
    title: str
    # What it shows, in one sentence with its main numbers; not escaped for HTML.
    alternative: str
    # SVG in a data URI.
    source: str
    # Whether it takes the whole width of a page.
    is_wide: bool = False


def drawn_once(
    function: Callable[_Arguments, list[Picture]],
) -> Callable[_Arguments, list[Picture]]:
    """Keeps the pictures of what was drawn last.

    A run writes its page before the export and after it, with the same pictures, and
    drawing them takes longer than all else in a report.
    """

    @functools.lru_cache(maxsize=4)
    def drawn(pickled: bytes) -> list[Picture]:
        arguments, named = pickle.loads(pickled)
        return function(*arguments, **named)

    @functools.wraps(function)
    def pictures(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> list[Picture]:
        # Facts are no keys, for they hold mappings. A copy, for a caller may change it.
        return list(drawn(pickle.dumps((args, kwargs))))

    return pictures


@drawn_once
def learning_pictures(
    history: schema.History, *, best_step: int | None
) -> list[Picture]:
    """Loss, validation metrics, learning rate and gradient norm, each by step.

    And the loss of the pretraining, by its own.

    Args:
      history: any of its parts may be empty.
      best_step: the step to mark with a line; None marks none.
    """
    train, validation = history.train, history.validation
    pictures = []
    if train or validation:
        pictures.append(_loss_picture(train, validation, best_step))
    if validation:
        pictures.append(_validation_picture(validation, best_step))
    if train:
        for name, title in (
            ("learning_rate", "Learning rate"),
            ("gradient_norm", "Gradient norm"),
        ):
            pictures.append(_series_picture(train, name=name, title=title))
    if history.pretraining:
        title = "Loss of masked tokens, before fine-tuning"
        pictures.append(_series_picture(history.pretraining, name="loss", title=title))
    return pictures


@drawn_once
def held_out_pictures(evaluation: schema.SplitEvaluation) -> list[Picture]:
    """Confusion matrix, accuracy by length, reliability and curves of one split."""
    pictures = []
    if evaluation.confusion_matrix:
        pictures.append(
            _confusion_picture(evaluation.confusion_matrix, list(evaluation.per_class))
        )
    if evaluation.accuracy_by_length:
        pictures.append(_length_picture(evaluation.accuracy_by_length))
    if evaluation.reliability:
        pictures.append(_reliability_picture(evaluation.reliability))
    for curve in evaluation.risk_coverage:
        pictures.append(_risk_coverage_picture(curve))
    if evaluation.roc:
        pictures.append(_roc_picture(evaluation.roc))
    if evaluation.precision_recall:
        pictures.append(_precision_recall_picture(evaluation.precision_recall))
    return pictures


@drawn_once
def data_pictures(data: schema.DataFacts) -> list[Picture]:
    """How long the training texts are, against what the model reads."""
    train = data.splits.get("train")
    if train is None or data.longest_text is None or not train.length_histogram:
        return []
    return [_histogram_picture(train, data.longest_text)]


@drawn_once
def comparison_pictures(
    *,
    accuracies: Mapping[str, tuple[float, schema.Interval | None]],
    differences: Mapping[str, tuple[float, schema.Interval]],
) -> list[Picture]:
    """The fine-tuned model beside simple ones.

    Args:
      accuracies: by the model's name, with its interval; the fine-tuned one first.
      differences: of its accuracy and that of each simple one, by the latter's name.
    """
    pictures = []
    if accuracies:
        parts = [f"{name} {value:.1%}" for name, (value, _) in accuracies.items()]
        pictures.append(
            _named_bars_picture(
                "Accuracy, with its 95% interval",
                f"Accuracy: {'; '.join(parts)}.",
                accuracies,
                unit="accuracy, %",
            )
        )
    if differences:
        parts = [
            f"{name} {points(value)} ({points(low)} to {points(high)})"
            for name, (value, (low, high)) in differences.items()
        ]
        pictures.append(
            _named_bars_picture(
                "Fine-tuned minus the simple model, paired by text",
                f"Difference of accuracies in points: {'; '.join(parts)}.",
                differences,
                unit="points; right of 0 fine-tuned is better",
                zero=True,
            )
        )
    return pictures


@drawn_once
def kept_pictures(kept: schema.Kept) -> list[Picture]:
    """What the encoder kept: of its layers, of a probe, and in the course of training."""
    pictures = []
    if kept.layers:
        pictures.append(_layers_picture(kept))
    if kept.probe is not None:
        pictures.append(_probe_picture(kept.probe))
    if any(each.probe_accuracy is not None for each in kept.watched):
        pictures.append(_watched_picture(kept))
    return pictures


@drawn_once
def group_pictures(groups: schema.Groups) -> list[Picture]:
    """Of each kind, accuracy and rates by group; of groups that are judged alone."""
    pictures = []
    for kind in groups.slices:
        judged = [each for each in kind.groups if each.is_judged]
        for rate in judged[0].rates if len(judged) > 1 else ():
            of_groups = {
                f"{each.name} (n={found.num_texts:,})": (found.value, found.interval_95)
                for each in judged
                for found in each.rates
                if (found.measure, found.label) == (rate.measure, rate.label)
                and found.value is not None
            }
            if rate.measure == "share_chosen" or len(of_groups) < 2:
                continue
            name = group_sentences.measure(rate.measure, rate.label)
            parts = [f"{name} {value:.1%}" for name, (value, _) in of_groups.items()]
            pictures.append(
                _named_bars_picture(
                    f"{kind.kind}: {name}, with its 95% interval",
                    f"{kind.kind}: {name}: {'; '.join(parts)}.",
                    of_groups,
                    unit=f"{name}, %",
                    is_first_other=False,
                )
            )
            if len(pictures) == _MAX_GROUP_PICTURES:
                return pictures
    return pictures


def one_line(text: str, num_columns: int) -> str:
    """Text on one line, without control characters, shortened at its end.

    A tick of an axis has no room for more, and a control character would make the
    SVG invalid XML.
    """
    printable = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(printable.split())
    return line if len(line) <= num_columns else line[: num_columns - 1] + "…"


def picture(
    title: str,
    alternative: str,
    draw: Callable[[MatplotlibFigure], None],
    *,
    height: float = 3.1,
    is_wide: bool = False,
) -> Picture:
    """Draws on a new figure, 4.6 inches wide: still legible on a phone; or 8 if wide."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    def write(figure: MatplotlibFigure, file: io.BytesIO) -> None:
        # `savefig` would draw it twice, once to measure, for the same bytes.
        metadata = {"Date": None, "Creator": None}
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(file, metadata=metadata)

    svg = _saved(draw, height, _WIDE if is_wide else _NARROW, write)
    text = svg.decode().replace("'DejaVu Sans'", _FIGURE_FONTS)
    encoded = base64.b64encode(text.encode()).decode()
    source = f"data:image/svg+xml;base64,{encoded}"
    return Picture(title=title, alternative=alternative, source=source, is_wide=is_wide)


def png(draw: Callable[[MatplotlibFigure], None], *, height: float = 3.1) -> bytes:
    """The same drawing as a PNG file, for pages that show no SVG."""

    def write(figure: MatplotlibFigure, file: io.BytesIO) -> None:
        figure.savefig(file, format="png", dpi=200)

    return _saved(draw, height, _NARROW, write)


def _saved(
    draw: Callable[[MatplotlibFigure], None],
    height: float,
    width: float,
    write: Callable[[MatplotlibFigure, io.BytesIO], None],
) -> bytes:
    # Imported here: it takes half a second, and training need not wait for it.
    import matplotlib
    from matplotlib.figure import Figure as MatplotlibFigure

    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # Only the measuring font lacks the glyph; the reader's fonts draw it.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
        draw(figure)
        write(figure, file)
    return file.getvalue()


def _plot(axes: Axes, records: _Records, name: str, **style: Any) -> None:
    steps = [record.step for record in records]
    if len(records) <= _MAX_MARKED_POINTS:
        style.setdefault("marker", "o")
    axes.plot(steps, [getattr(record, name) for record in records], **style)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _start_at_zero(axes: Axes) -> None:
    """With room for a marker above the highest point."""
    axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1.0)


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
    train: Sequence[schema.TrainRecord],
    validation: Sequence[schema.ValidationRecord],
    best_step: int | None,
) -> Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        if train:
            _plot(axes, train, "loss", color=BLUE, linewidth=1, label="training")
        if validation:
            _plot(
                axes, validation, "loss", color=ORANGE, marker="o", label="validation"
            )
        _mark_best_step(axes, best_step)
        _start_at_zero(axes)
        _finish_curves(figure, axes)

    curves: list[tuple[str, _Records]] = [
        ("training", train),
        ("validation", validation),
    ]
    ends = [
        f"{name} from {records[0].loss:.3f} to {records[-1].loss:.3f}"
        for name, records in curves
        if records
    ]
    return picture("Loss", f"Loss by step: {', '.join(ends)}.", draw)


def _validation_picture(
    validation: Sequence[schema.ValidationRecord], best_step: int | None
) -> Picture:
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

    best = max(validation, key=lambda record: record.accuracy)
    alternative = (
        f"Validation metrics by step; the highest accuracy is "
        f"{best.accuracy:.1%} at step {best.step:,}."
    )
    return picture("Validation metrics", alternative, draw)


def _series_picture(
    records: Sequence[schema.TrainRecord], *, name: str, title: str
) -> Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        _plot(axes, records, name, color=BLUE, linewidth=1)
        _start_at_zero(axes)
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
        axes.set_xlabel("step")

    value, step = max(
        ((getattr(record, name), record.step) for record in records),
        key=lambda point: float(point[0]),
    )
    alternative = f"{title} by step, at most {value:.3g}, at step {step:,}."
    return picture(title, alternative, draw)


def _confusion_picture(
    matrix: Sequence[Sequence[int]], label_names: Sequence[str]
) -> Picture:
    """Counts of (true, predicted); share and colour are of the row, the true label."""
    num_classes = len(matrix)
    if num_classes > _MAX_NUMBERED_CLASSES:
        return _large_confusion_picture(np.asarray(matrix), label_names)
    shares = [[count / (sum(row) or 1) for count in row] for row in matrix]

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.grid(visible=False)
        names = [one_line(name, 16) for name in label_names]
        is_upright = num_classes <= 3
        axes.set_xticks(range(num_classes), names, rotation=0 if is_upright else 90)
        axes.set_yticks(range(num_classes), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        _write_counts(axes, matrix, shares)

    num_right = sum(matrix[index][index] for index in range(num_classes))
    alternative = (
        f"Confusion matrix of {num_classes} labels: {num_right:,} of "
        f"{sum(map(sum, matrix)):,} texts on the diagonal, where predicted is true."
    )
    height = 3.1 if num_classes <= 3 else 4.6
    join = "and" if num_classes <= _MAX_ROOMY_CLASSES else "coloured by"
    title = f"Confusion matrix: texts, {join} % of the true label"
    return picture(title, alternative, draw, height=height)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Short names, with a number where two would be the same."""
    short = [one_line(name, 20) for name in names]
    counts = collections.Counter(short)
    return [
        f"{one_line(name, 16)} ({number})" if counts[name] > 1 else name
        for number, name in enumerate(short, start=1)
    ]


def _large_confusion_picture(
    matrix: npt.NDArray[np.int64], label_names: Sequence[str]
) -> Picture:
    """The same of many labels: the confused side by side, errors in another colour."""
    order = confusions.arranged(matrix, limit=_MAX_DRAWN_CLASSES)
    shown = matrix[np.ix_(order, order)]
    shares = shown / np.maximum(matrix[order].sum(axis=1, keepdims=True), 1)
    is_right = np.eye(len(order), dtype=bool)
    is_dark = is_right & (shares > 0.6)
    size = 6.4 / len(order)

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        # The root lets an error of one in fifty be seen.
        for cells, colors, hidden in (
            (np.full_like(shares, 0.15), "Greys", ~is_right),
            (shares, "Blues", ~is_right | (shown == 0)),
            (np.sqrt(shares), "Oranges", is_right | (shown == 0)),
        ):
            masked = np.ma.masked_array(cells, hidden)
            axes.imshow(masked, cmap=colors, vmin=0, vmax=1.3)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        names = _told_apart([label_names[each] for each in order])
        font = min(8.0, 72 * size * 0.7)
        axes.set_xticks(range(len(order)), names, rotation=90, fontsize=font)
        axes.set_yticks(range(len(order)), names, fontsize=font)
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        for row, column in zip(*np.nonzero(shown)):
            axes.text(
                column,
                row,
                f"{shown[row, column]}",
                ha="center",
                va="center",
                color="white" if is_dark[row, column] else "black",
                fontsize=min(7.0, 72 * size * 0.45),
            )

    num_errors, all_errors = (
        int(each.sum() - np.trace(each)) for each in (shown, matrix)
    )
    which = f"{len(matrix)} labels"
    if len(order) < len(matrix):
        which = f"the {len(order)} of {which} with the most errors"
    alternative = (
        f"Confusion matrix of {which}, the confused side by side: {num_errors:,} of "
        f"{all_errors:,} errors are in it."
    )
    title = (
        f"Confusion matrix of {which}: blue right, orange wrong, by % of the true label"
    )
    return picture(
        title, alternative, draw, height=size * len(order) + 1.6, is_wide=True
    )


def _write_counts(
    axes: Axes, matrix: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]
) -> None:
    is_roomy = len(matrix) <= _MAX_ROOMY_CLASSES
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
    positions: Sequence[float],
    accuracies: Sequence[float],
    intervals: Sequence[schema.Interval],
) -> None:
    """Accuracies as points with their intervals as bars."""
    spans = _spans(accuracies, intervals)
    axes.errorbar(positions, accuracies, yerr=spans, fmt="o", color=BLUE, capsize=4)


def _spans(
    values: Sequence[float], intervals: Sequence[schema.Interval]
) -> list[list[float]]:
    """How far the intervals reach below the values, and above."""
    below = [value - low for value, (low, _) in zip(values, intervals)]
    above = [high - value for value, (_, high) in zip(values, intervals)]
    # Rounding may put an interval's end a hair within its point.
    return [[max(0.0, span) for span in side] for side in (below, above)]


def _named_bars_picture(
    title: str,
    alternative: str,
    values: Mapping[str, tuple[float, schema.Interval | None]],
    *,
    unit: str,
    zero: bool = False,
    is_first_other: bool = True,
) -> Picture:
    """Fractions by name, a line each, as percent: points with intervals as bars.

    Args:
      zero: whether to mark 0.
      is_first_other: whether the first is of another kind, and has another colour.
    """

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        if zero:
            axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        for row, (value, interval) in enumerate(values.values()):
            percent = 100 * value
            low, high = (100 * end for end in interval or (value, value))
            axes.errorbar(
                [percent],
                [row],
                xerr=_spans([percent], [(low, high)]),
                fmt="o",
                color=BLUE if row or zero or not is_first_other else ORANGE,
                capsize=4,
            )
        names = [one_line(name, 24) for name in values]
        axes.set_yticks(range(len(values)), names)
        # The first on top.
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlabel(unit)

    height = 1.0 + 0.4 * len(values)
    return picture(title, alternative, draw, height=height)


def _layers_picture(kept: schema.Kept) -> Picture:
    """Lines over the layers; the bars reach from one half of the texts to the other."""
    numbers = [each.layer for each in kept.layers]

    def plot(
        axes: Axes,
        name: str,
        color: str,
        values: Sequence[float | None],
        halves: Sequence[tuple[float | None, float | None]],
    ) -> None:
        heights = [float("nan") if value is None else value for value in values]
        axes.plot(numbers, heights, color=color, marker="o", label=name)
        for layer, pair in zip(numbers, halves):
            ends = [half for half in pair if half is not None]
            axes.plot([layer] * len(ends), ends, color=color, linewidth=4, alpha=0.4)

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        plot(
            axes,
            "alike (CKA)",
            BLUE,
            [each.alikeness for each in kept.layers],
            [each.alikeness_of_halves for each in kept.layers],
        )
        plot(
            axes,
            "neighbours kept",
            ORANGE,
            [each.neighbour_overlap for each in kept.layers],
            [each.neighbour_overlap_of_halves for each in kept.layers],
        )
        if kept.chance_overlap is not None:
            axes.axhline(kept.chance_overlap, color=GREY, linestyle="--", linewidth=1)
        axes.set_xticks(numbers, ["embeddings", *map(str, numbers[1:])], fontsize=9)
        axes.set_xlabel("layer")
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), 1.05)
        axes.legend(loc="lower left")

    last = kept.layers[-1]
    alike = "–" if last.alikeness is None else f"{last.alikeness:.2f}"
    return picture(
        "Vectors of general texts, before against after",
        f"By layer. The last one: alike to {alike}, {last.neighbour_overlap:.0%} of the"
        " neighbours kept.",
        draw,
    )


def _probe_picture(probe: schema.ProbeKept) -> Picture:
    count = probe.texts.num_texts
    values = {
        "before": probe.before,
        "after": probe.after,
        "after, the old probe": probe.old_probe_after,
        "commonest label": probe.commonest,
    }
    parts = [f"{name} {value:.1%}" for name, value in values.items()]
    return _named_bars_picture(
        "A linear probe of another task, with its 95% interval",
        f"Accuracy of the probe: {'; '.join(parts)}.",
        {
            name: (value, wilson_interval(round(value * count), count))
            for name, value in values.items()
        },
        unit="accuracy, %",
    )


def _watched_picture(kept: schema.Kept) -> Picture:
    first = kept.probe.before if kept.probe else 0.0
    found = {0: first} | {
        each.step: each.probe_accuracy
        for each in kept.watched
        if each.probe_accuracy is not None
    }
    steps, accuracies = list(found), list(found.values())

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.axhline(100 * first, color=GREY, linestyle="--", linewidth=1)
        axes.plot(steps, [100 * each for each in accuracies], color=BLUE, marker="o")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("step")
        axes.set_ylabel("accuracy, %")

    return picture(
        "The probe in the course of training",
        f"Accuracy of the probe: {first:.1%} before training (the dashed line), "
        f"{accuracies[-1]:.1%} at step {steps[-1]:,}.",
        draw,
    )


def _length_picture(bins: Sequence[schema.LengthBin]) -> Picture:
    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        positions = range(len(bins))
        accuracies = [100 * row.accuracy for row in bins]
        ends = [row.confidence_interval_95 for row in bins]
        intervals = [(100 * low, 100 * high) for low, high in ends]
        _error_bars(axes, positions, accuracies, intervals)
        names = [f"{row.name}\nn={row.count:,}" for row in bins]
        axes.set_xticks(positions, names, fontsize=9)
        axes.set_xlim(-0.5, len(bins) - 0.5)
        axes.set_xlabel("tokens")
        axes.set_ylabel("accuracy, %")

    parts = [f"{row.name} tokens {row.accuracy:.1%} of {row.count:,}" for row in bins]
    return picture("Accuracy by length", f"Accuracy: {'; '.join(parts)}.", draw)


def _curves_picture(
    title: str,
    curves: Sequence[schema.Curve],
    *,
    axis_names: tuple[str, str],
    area_name: str,
    diagonal: bool = False,
) -> Picture:
    """Curves in a unit square, each with its area in the legend."""

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        if diagonal:
            axes.plot((0, 1), (0, 1), color=GREY, linestyle=":", linewidth=1)
        for index, curve in enumerate(curves):
            round_, color = divmod(index, len(_CURVE_COLORS))
            axes.plot(
                curve.x,
                curve.y,
                color=_CURVE_COLORS[color],
                linestyle=("-", "--")[round_ % 2],
                label=f"{one_line(curve.name, 24)} {curve.area:.3f}",
            )
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xlabel=axis_names[0],
            ylabel=axis_names[1],
        )
        columns = 2 if len(curves) > 1 else 1
        figure.legend(loc="outside lower center", ncols=columns, fontsize=9)

    areas = ", ".join(f"{curve.name} {curve.area:.3f}" for curve in curves)
    rows_of_legend = (len(curves) + 1) // 2
    return picture(
        title,
        f"{title}; {area_name}: {areas}.",
        draw,
        height=3.3 + 0.2 * rows_of_legend,
    )


def _roc_picture(curves: Sequence[schema.Curve]) -> Picture:
    return _curves_picture(
        "ROC curve, with its area",
        curves,
        axis_names=("false positive rate", "true positive rate"),
        area_name="area under it",
        diagonal=True,
    )


def _precision_recall_picture(curves: Sequence[schema.Curve]) -> Picture:
    return _curves_picture(
        "Precision and recall, with the average precision",
        curves,
        axis_names=("recall", "precision"),
        area_name="average precision",
    )


def _risk_coverage_picture(curve: schema.Curve) -> Picture:
    """What abstaining from the least sure texts would save."""

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        percents = [[100 * value for value in values] for values in (curve.x, curve.y)]
        is_short = len(curve.x) <= _MAX_MARKED_POINTS
        axes.plot(*percents, color=BLUE, marker="o" if is_short else None)
        axes.set(xlim=(-2, 102), xlabel="answered, the surest first, %")
        axes.set_ylabel("wrong of these, %")
        # Room above 0 where nothing is wrong.
        axes.set_ylim(0, max(1.0, 1.1 * max(percents[1])))

    half = next(risk for share, risk in zip(curve.x, curve.y) if share >= 0.5)
    alternative = (
        f"Errors by coverage: {curve.y[-1]:.1%} are wrong if all texts are answered, "
        f"{half:.1%} if only the surest half is."
    )
    return picture("Risk and coverage", alternative, draw)


def _histogram_picture(split: schema.SplitFacts, limit: int) -> Picture:
    bins = split.length_histogram
    width = bins[0].upper - bins[0].lower
    # The last bin may reach far: all that is longer.
    is_open = bins[-1].upper - bins[-1].lower > 2 * width + 2
    right = bins[-1].lower + width if is_open else bins[-1].upper
    is_near = limit <= 1.3 * right

    def draw(figure: MatplotlibFigure) -> None:
        axes = figure.add_subplot()
        axes.bar(
            [row.lower for row in bins],
            [row.count for row in bins],
            [min(row.upper, right) - row.lower for row in bins],
            align="edge",
            color=BLUE,
            edgecolor="white",
            linewidth=0.5,
        )
        if is_near:
            axes.axvline(limit, color=ORANGE, linestyle="--", label=f"read: {limit:,}")
            figure.legend(loc="outside upper center", fontsize=9)
        more = "; the last bar: all that are longer" if is_open else ""
        axes.set(xlabel=f"tokens of a text{more}", ylabel="texts")
        axes.locator_params(axis="y", integer=True)

    cut = f"{split.truncated_fraction:.1%} are longer than the {limit:,} that are read"
    percentiles = split.length_percentiles
    median = f"; half have at most {percentiles['50']:,}" if "50" in percentiles else ""
    return picture(
        f"Length of the training texts in tokens: {cut}",
        f"Histogram of the tokens of {split.num_examples:,} training texts{median}; {cut}.",
        draw,
    )


def _reliability_picture(bins: Sequence[schema.ReliabilityBin]) -> Picture:
    """Accuracy against confidence, over a histogram of the confidences."""
    # Empty bins have neither; a split has at least one text, so some bin has both.
    points = [
        (row.mean_confidence, row.accuracy, row.count)
        for row in bins
        if row.mean_confidence is not None and row.accuracy is not None
    ]
    confidences, accuracies, _ = zip(*points)

    def draw(figure: MatplotlibFigure) -> None:
        curve, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        curve.plot((0, 1), (0, 1), color=GREY, linestyle="--", label="as sure as right")
        intervals = [
            wilson_interval(round(accuracy * count), count)
            for _, accuracy, count in points
        ]
        _error_bars(curve, confidences, accuracies, intervals)
        curve.set_ylabel("accuracy")
        curve.legend(loc="upper left")
        lefts = [row.lower for row in bins]
        widths = [row.upper - row.lower for row in bins]
        heights = [row.count for row in bins]
        histogram.bar(
            lefts, heights, widths, align="edge", color=BLUE, edgecolor="white"
        )
        histogram.set_ylabel("texts")
        histogram.set_xlabel("confidence")
        # Two classes leave no confidence below a half.
        histogram.set_xlim(min(row.lower for row in bins if row.count), 1)

    parts = [
        f"confidence {confidence:.2f}, accuracy {accuracy:.2f}, {count:,} texts"
        for confidence, accuracy, count in points
    ]
    return picture("Reliability", f"By bin: {'; '.join(parts)}.", draw, height=3.6)

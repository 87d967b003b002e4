"""Medians, ratios, tables and the figure of a benchmark.

    summary = benchmark_report.summarize(runs)
    summary["train.bert_trainer"]["examples_per_sec"].median
    benchmark_report.page(content, summary)     # Markdown
    benchmark_report.draw(content, summary, pathlib.Path("benchmark.png"))

What `content` holds is said where benchmark.py makes it. A contestant's name is
SECTION.PROGRAM, or SECTION.PROGRAM.ROWS. Measuring is left to `benchmark.py`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from typing import Any, Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scripts.benchmarks.scaling import table

OURS = "bert_trainer"
_NOTHING = "–"
# Okabe and Ito 2008, "Color Universal Design"; the peers in grey.
_OURS, _THEIRS = "#0072B2", "#999999"


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that contestants are measured by.

    Attributes:
      key: its name in a run.
      heading: its name in tables and figures, with the unit.
      digits: behind the point.
      unit: what the number is divided by to be shown.
      better: whether more or less of it is; "" where it is not compared.
    """

    key: str
    heading: str
    digits: int = 0
    unit: float = 1.0
    better: str = ""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A number's median and range over the repeats."""

    median: float
    low: float
    high: float


# Contestant → measure's key → what was found.
Summary = Mapping[str, Mapping[str, Spread]]

_HOST = Measure("peak_host_memory_bytes", "host memory, GB", 2, 1e9)
_DEVICE = Measure("peak_device_memory_bytes", "device memory, GB", 2, 1e9)
_RATE = Measure("rows_per_sec", "rows/s", better="more")
MEASURES = {
    "tokenize": (_RATE, _HOST),
    "train": (
        Measure("examples_per_sec", "examples/s", 2, better="more"),
        _HOST,
        _DEVICE,
        Measure("secs_to_first_step", "command to first step, s", 1),
    ),
    "predict": (
        Measure("latency_ms", "a text, ms", 1, better="less"),
        Measure("texts_per_sec", "batches of 64, texts/s", 1, better="more"),
        _HOST,
        _DEVICE,
    ),
    "scale": (Measure("secs", "data preparation, s", 2, better="less"), _RATE, _HOST),
}
TITLES = {
    "tokenize": "Tokenization",
    "train": "Training on the real mix of lengths",
    "predict": "Prediction, from text to probabilities",
    "scale": "Data preparation by number of rows",
}
# In the order in which they are run and shown.
LABELS = {
    "tokenize.bert_trainer": "this program",
    "tokenize.hugging_face": "Hugging Face tokenizers (Rust)",
    "train.bert_trainer": "this program",
    "train.keras_hub": "KerasHub, fit",
    "train.torch_padded": "Transformers, padded to the limit",
    "train.torch_dynamic": "Transformers, dynamic padding",
    "train.torch_grouped": "Transformers, group_by_length",
    "train.torch_compiled_padded": "Transformers, torch.compile, padded",
    "train.torch_bucketed": "PyTorch, this program's buckets",
    "train.torch_compiled_bucketed": "PyTorch, the same, torch.compile",
    "predict.bert_trainer": "this program, SavedModel",
    "predict.hugging_face": "Transformers",
    "scale.bert_trainer": "this program",
    "scale.hugging_face": "Hugging Face tokenizers (Rust)",
}


def summarize(runs: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Spread]]:
    """Median and range of all numbers of MEASURES, by contestant.

    Args:
      runs: of each, "contestant", and numbers by their keys; None, or nothing: the
        contestant does not tell.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        section = run["contestant"].partition(".")[0]
        numbers = found.setdefault(run["contestant"], {})
        for measure in MEASURES[section]:
            if run.get(measure.key) is not None:
                numbers.setdefault(measure.key, []).append(run[measure.key])
    return {
        name: {
            key: Spread(statistics.median(values), min(values), max(values))
            for key, values in numbers.items()
        }
        for name, numbers in found.items()
    }


def ratio(summary: Summary, contestant: str, measure: Measure) -> float | None:
    """How many times as good as a contestant this program is, by the medians.

    Above 1 is better, also where less is. None: one of the two was not measured.
    """
    section, _, *rows = contestant.split(".")
    ours = summary.get(".".join([section, OURS, *rows]), {}).get(measure.key)
    theirs = summary[contestant].get(measure.key)
    if ours is None or theirs is None:
        return None
    more, less = ours.median, theirs.median
    return more / less if measure.better == "more" else less / more


def ratios(summary: Summary) -> dict[str, dict[str, float]]:
    """Contestant → measure's key → `ratio`, of the peers and what is compared."""
    found: dict[str, dict[str, float]] = {}
    for name in summary:
        section, program = name.split(".")[:2]
        for measure in MEASURES[section] if program != OURS else ():
            times = ratio(summary, name, measure) if measure.better else None
            if times is not None:
                found.setdefault(name, {})[measure.key] = times
    return found


def cell(spread: Spread | None, measure: Measure) -> str:
    """A median with its range, in the measure's unit."""
    if spread is None:
        return _NOTHING
    median, low, high = (
        f"{value / measure.unit:,.{measure.digits}f}"
        for value in (spread.median, spread.low, spread.high)
    )
    return median if low == high else f"{median} ({low} to {high})"


def label(contestant: str) -> str:
    """What a contestant is called in tables and figures."""
    section, program, *rows = contestant.split(".")
    name = LABELS[f"{section}.{program}"]
    return ", ".join([name, *(f"{int(count):,} rows" for count in rows)])


def page(content: Mapping[str, Any], summary: Summary) -> str:
    """The tables, with what was measured on which machine; Markdown."""
    failed = [f"- failed: {each['contestant']}" for each in content["failures"]]
    facts = [
        f"- {name}: {value}"
        for part in ("hardware", "settings")
        for name, value in content[part].items()
    ]
    return "\n\n".join([tables(summary), "\n".join([*facts, *failed])]) + "\n"


def tables(summary: Summary) -> str:
    """A Markdown table for each section that was measured."""
    parts = []
    for section, title in TITLES.items():
        names, measures = _shown(summary, section)
        if names:
            parts.append(f"{title}\n\n{_table(summary, names, measures)}")
    return "\n\n".join(parts)


def _shown(summary: Summary, section: str) -> tuple[list[str], list[Measure]]:
    """The contestants of a section, and the measures that any of them has."""
    names = [name for name in summary if name.split(".")[0] == section]
    measures = MEASURES[section]
    return names, [m for m in measures if any(m.key in summary[n] for n in names)]


def _table(summary: Summary, names: Sequence[str], measures: Sequence[Measure]) -> str:
    header = ["median (range)"]
    for measure in measures:
        header += [measure.heading, *(["this program ÷ it"] if measure.better else [])]
    rows = []
    for name in names:
        row = [label(name)]
        for measure in measures:
            row.append(cell(summary[name].get(measure.key), measure))
            if measure.better:
                times = ratio(summary, name, measure)
                row.append(_NOTHING if times is None else f"{times:.2f}×")
        rows.append(row)
    return table("|".join(header), rows)


def draw(content: Mapping[str, Any], summary: Summary, path: pathlib.Path) -> None:
    """A row of panels a section; the range over the repeats is a line on each bar."""
    parts = {section: _shown(summary, section) for section in TITLES}
    parts = {section: (names, ms) for section, (names, ms) in parts.items() if names}
    # In bars; what is drawn as lines needs the room of some.
    heights = {s: 7 if s == "scale" else len(parts[s][0]) + 2.5 for s in parts}
    figure = Figure(
        figsize=(16.0, 0.34 * sum(heights.values()) + 1.2), layout="constrained"
    )
    num_columns = max(len(measures) for _, measures in parts.values())
    grid = figure.subplots(
        len(parts), num_columns, squeeze=False, height_ratios=list(heights.values())
    )
    for row, (section, (names, measures)) in zip(grid, parts.items()):
        draw_panel = _draw_lines if section == "scale" else _draw_bars
        row[0].set_title(TITLES[section], fontsize=12, loc="left", fontweight="bold")
        for column, axes in enumerate(row):
            if column < len(measures):
                draw_panel(axes, summary, names, measures[column], is_first=not column)
                axes.spines[["top", "right"]].set_visible(False)
            else:
                axes.set_axis_off()
    hardware, settings = content["hardware"], content["settings"]
    figure.suptitle(
        f"{hardware['processor']}, {hardware['num_processors']} cores; accelerator: "
        f"{hardware['accelerator']}; {settings['preset']}, batches of "
        f"{settings['batch_size']}, at most {settings['max_length']} tokens; medians, "
        f"and ranges over the repeats ({settings['repeats']})",
        fontsize=11,
    )
    figure.savefig(path, dpi=100)


def _draw_bars(
    axes: Axes,
    summary: Summary,
    names: Sequence[str],
    measure: Measure,
    *,
    is_first: bool,
) -> None:
    for place, name in enumerate(names):
        if measure.key not in summary[name]:
            continue
        spread = summary[name][measure.key]
        median, below, above = _drawn(spread, measure)
        colour = _OURS if OURS in name else _THEIRS
        axes.barh(place, median, xerr=[[below], [above]], color=colour, height=0.7)
        axes.annotate(
            f"{median:,.{measure.digits}f}",
            (median + above, place),
            (4, 0),
            textcoords="offset points",
            va="center",
        )
    # The names stand beside the first panel of the row only.
    shown = [label(name) if is_first else "" for name in names]
    axes.set_yticks(range(len(names)), shown)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.2)
    axes.set_xlim(left=0)
    axes.set_xlabel(_axis_label(measure))


def _draw_lines(
    axes: Axes,
    summary: Summary,
    names: Sequence[str],
    measure: Measure,
    *,
    is_first: bool,
) -> None:
    """A line a program, by number of rows."""
    programs: dict[str, list[str]] = {}
    for name in names:
        programs.setdefault(name.rpartition(".")[0], []).append(name)
    for program, members in programs.items():
        drawn = [_drawn(summary[name][measure.key], measure) for name in members]
        medians, below, above = zip(*drawn)
        axes.errorbar(
            [int(name.rpartition(".")[2]) for name in members],
            medians,
            yerr=[below, above],
            color=_OURS if OURS in program else _THEIRS,
            marker="o",
            label=LABELS[program],
        )
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows")
    axes.set_ylabel(_axis_label(measure))
    if is_first:
        axes.legend(frameon=False)


def _drawn(spread: Spread, measure: Measure) -> tuple[float, float, float]:
    """The median in the measure's unit, and how far the range goes below and above."""
    below, above = spread.median - spread.low, spread.high - spread.median
    return spread.median / measure.unit, below / measure.unit, above / measure.unit


def _axis_label(measure: Measure) -> str:
    better = "more" if measure.better == "more" else "less"
    return f"{measure.heading} ({better} is better)"

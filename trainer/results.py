"""What a run leaves behind: report.json, report.html, summary.txt.

    result = write(folder, content)     # content is what report.json holds
    read(folder).summary                # of a finished run

report.json is written last: where it is, the run is finished.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from typing import Any, Mapping, Sequence

import numpy as np

from trainer import storage
from trainer.evaluation import report as pages
from trainer.evaluation import schema
from trainer.training.progress import read_json_lines

METRICS_FILE = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
      report: the content of report.json.
      report_path: the page to read, report.html.
      saved_model: the folder of the exported model.
      summary: a small table for people, as text.
    """

    report: Mapping[str, Any]
    report_path: storage.Path
    saved_model: storage.Path
    summary: str


def is_finished(folder: storage.Path) -> bool:
    """Whether the run of this folder has left its results."""
    return (folder / "report.json").is_file()


def write(folder: storage.Path, content: Mapping[str, Any]) -> RunResult:
    """Writes the three files and returns what they hold."""
    report = schema.from_mapping(schema.Report, content)
    text = report.to_json()
    storage.write_text(folder / "report.html", pages.render_html(report))
    storage.write_text(folder / "summary.txt", pages.summary_table(report))
    storage.write_text(folder / "report.json", text)
    return read(folder)


def read(folder: storage.Path) -> RunResult:
    """The results of a finished run."""
    content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return RunResult(
        report=content,
        report_path=folder / "report.html",
        saved_model=storage.path(content["export"]["path"]),
        summary=(folder / "summary.txt").read_text(encoding="utf-8"),
    )


def history(folder: storage.Path) -> dict[str, list[dict[str, Any]]]:
    """The training and validation records of metrics.jsonl, by split."""
    result: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for record in read_json_lines(folder / METRICS_FILE):
        result[record.pop("split")].append(record)
    return result


def samples(
    texts: Sequence[str],
    label_names: Sequence[str],
    **probabilities: Sequence[Sequence[float]],
) -> list[dict[str, Any]]:
    """The sample texts' predictions, under the names they are given by.

    Args:
      probabilities: "before" and "after", each [len(texts), classes].
    """
    result: list[dict[str, Any]] = [{"text": text} for text in texts]
    for when, rows in probabilities.items():
        for sample, row in zip(result, rows, strict=True):
            sample[when] = {
                "label": label_names[int(np.argmax(row))],
                "score": max(row),
                "probabilities": list(row),
            }
    return result


def steady_rate(records: Sequence[Mapping[str, Any]]) -> float:
    """Training examples a second: the median over the log lines.

    The first one, during which pipelines fill and memory is allocated, is left out
    where there are others. What is compiled, is before all of them.
    """
    rates = [record["examples_per_sec"] for record in records]
    rate: float = statistics.median(rates[1:] or rates)
    return rate


def steady_input_wait(records: Sequence[Mapping[str, Any]]) -> float | None:
    """The share of the training time in which steps waited for their batches.

    The mean over the log lines, without the first one as in `steady_rate`. An upper
    bound: devices that have work queued need not have waited when the host did. None:
    it was not measured, as on a TPU.
    """
    name = "input_wait_fraction"
    shares = [record[name] for record in records if name in record]
    return statistics.fmean(shares[1:] or shares) if shares else None

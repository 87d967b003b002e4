"""The answers to the held-out texts, in files of their own: predictions/test.jsonl.

    predictions.write(run.folder, material, after)
    predictions.paths(run.folder, after)["test"]    # "runs/a/predictions/test.jsonl"

A line is an object: `file` and `line`, where the text was read; `label`, the one in
the data; `answer`, the label that the export gives; `probabilities` of all labels, in
their order, calibrated as those of the export. Where a text may have several labels,
`label` and `answer` are lists; where it has a number, both are numbers, and in the place
of `probabilities` are `low` and `high`, the ends of the interval, if there is one. Lines are in the split's order.
"""

from __future__ import annotations

import json
from typing import Any, Iterator, Sequence

import numpy as np

from trainer import storage
from trainer.data import label_sets
from trainer.data.places import Places
from trainer.run_folder import RunFolder
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.tasks.task import Decision

_ROWS_AT_ONCE = 4096


def paths(folder: RunFolder, after: After) -> dict[str, str]:
    """Of the files, by held-out split."""
    return {split: str(folder.predictions(split)) for split in after.logits}


def write(folder: RunFolder, material: Material, after: After) -> None:
    """Writes a file for each held-out split, line by line."""
    for split, logits in after.logits.items():
        rows = material.splits[split].rows
        storage.write_parts(
            folder.predictions(split),
            lines(
                after.labels[split],
                logits,
                decision=after.decision,
                label_names=material.label_names,
                places=material.texts.pool.places.take(rows),
            ),
        )


def lines(
    labels: np.ndarray,
    logits: np.ndarray,
    *,
    decision: Decision,
    label_names: Sequence[str],
    places: Places,
) -> Iterator[str]:
    """The lines of a split's file, of which few are held at a time.

    Args:
      labels: of n texts, see `label_sets.pairs`.
      logits: float [n, classes].
      places: of the n texts.
    """
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        probabilities = decision.probabilities(logits[start : start + _ROWS_AT_ONCE])
        given = decision.choose(probabilities)
        for row, (answer, values) in enumerate(zip(given, probabilities), start):
            file, line = places.of(row)
            content = {
                "file": file,
                "line": line,
                "label": label_sets.as_json(labels[row], label_names),
                "answer": label_sets.as_json(answer, label_names),
                **_more(decision, values),
            }
            yield json.dumps(content, ensure_ascii=False) + "\n"


def _more(decision: Decision, values: np.ndarray) -> dict[str, Any]:
    """What stands beside an answer; `values`: of the text, as `probabilities` has them."""
    if not decision.gives_numbers:
        return {"probabilities": values.tolist()}
    reach = decision.facts()["half_width"]
    if reach is None:
        return {}
    return {"low": float(values[0] - reach), "high": float(values[0] + reach)}

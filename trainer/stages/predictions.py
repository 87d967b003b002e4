"""The answers to the held-out texts, in files of their own: predictions/test.jsonl.

    predictions.write(run.folder, material, after)
    predictions.paths(run.folder, after)["test"]    # "runs/a/predictions/test.jsonl"

A line is an object: `file` and `line`, where the text was read; `label`, the one in
the data; `answer`, the label that the export gives; `probabilities` of all labels, in
their order, calibrated as those of the export. Where a text may have several labels,
`label` and `answer` are lists. Lines are in the split's order.
"""

from __future__ import annotations

import json
from typing import Iterator

from trainer import storage
from trainer.data import label_sets
from trainer.run_folder import RunFolder
from trainer.stages.measure import After
from trainer.stages.prepare import Material

_ROWS_AT_ONCE = 4096


def paths(folder: RunFolder, after: After) -> dict[str, str]:
    """Of the files, by held-out split."""
    return {split: str(folder.predictions(split)) for split in after.logits}


def write(folder: RunFolder, material: Material, after: After) -> None:
    """Writes a file for each held-out split."""
    for split in after.logits:
        storage.write_parts(folder.predictions(split), _lines(split, material, after))


def _lines(split: str, material: Material, after: After) -> Iterator[str]:
    names, logits = material.label_names, after.logits[split]
    places = material.texts.pool.places.take(material.splits[split].rows)
    for start in range(0, len(logits), _ROWS_AT_ONCE):
        probabilities = after.decision.probabilities(
            logits[start : start + _ROWS_AT_ONCE]
        )
        given = after.decision.choose(probabilities)
        for row, (answer, values) in enumerate(zip(given, probabilities), start):
            file, line = places.of(row)
            content = {
                "file": file,
                "line": line,
                "label": label_sets.as_json(after.labels[split][row], names),
                "answer": label_sets.as_json(answer, names),
                "probabilities": values.tolist(),
            }
            yield json.dumps(content, ensure_ascii=False) + "\n"

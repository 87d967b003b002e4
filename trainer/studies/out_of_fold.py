"""The answers to all texts, each by the model of the fold that held it out.

    answers = gather(finished)
    storage.write_bytes(folder.out_of_fold, answers.to_parquet())
    answers.decision(config.serving), answers.facts(...)

The file has a row for each text, fold after fold, in the columns `file` and `line`
(where it was read), `label` (the one in the data), `fold` (from 0), and `probabilities`
(of all labels, in their order, as the fold's export gives them).

They come from the runs' own files. A fold's probabilities are those of its own
temperature, so its logits, up to a constant that no softmax sees, are their logarithms
times that.
"""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from trainer import run_folder, storage
from trainer.config import ServingConfig
from trainer.evaluation import comparisons, metrics
from trainer.run_folder import RunFolder
from trainer.stages import measure
from trainer.studies.plan import FinishedRun
from trainer.studies.schema import OutOfFold, PairedFacts
from trainer.tasks.predictions import Predictions
from trainer.tasks.single_label import SingleLabel
from trainer.tasks.task import Decision

_SPLIT = "test"
# The decision's `split`.
FITTED_ON = "out_of_fold"


@dataclasses.dataclass(frozen=True)
class Answers:
    """The texts of all folds, in the order of the file.

    Attributes:
      label_names: the classes, in order.
      rows: by column of the file.
      labels: int64 [n].
      logits: float64 [n, classes], up to a constant a row.
      probabilities: float64 [n, classes], as the folds' exports give them.
      predicted: int64 [n], the labels that these give.
      baselines: by name, title and float [n, classes] logits.
    """

    label_names: tuple[str, ...]
    rows: Mapping[str, Sequence[Any]]
    labels: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    baselines: Mapping[str, np.ndarray]

    def to_parquet(self) -> bytes:
        """The file's content."""
        table = pa.table(
            {
                "file": pa.array(self.rows["file"], pa.string()),
                "line": pa.array(self.rows["line"], pa.int64()),
                "label": pa.array(self.rows["label"], pa.string()),
                "fold": pa.array(self.rows["fold"], pa.int32()),
                "probabilities": pa.array(
                    self.probabilities.tolist(), pa.list_(pa.float64())
                ),
            }
        )
        file = io.BytesIO()
        pa.parquet.write_table(table, file)
        return file.getvalue()

    def decision(self, config: ServingConfig) -> Decision:
        """One decision for all texts: what the model of all of them will answer by."""
        return SingleLabel().fit_decision(
            self.labels,
            self.logits,
            calibrate=config.calibrate,
            metric=config.decision_metric,
            target_accuracy=config.abstain_accuracy,
            split=FITTED_ON,
            label_names=self.label_names,
        )

    def facts(
        self, config: ServingConfig, *, path: str, num_resamples: int, seed: int
    ) -> OutOfFold:
        """What study.json has of them.

        Args:
          path: of the file, within the study's folder.
          num_resamples: bootstrap resamples behind each interval; 0: no intervals.
          seed: of the resamples.
        """
        given = Predictions(_logarithms(self.probabilities), predicted=self.predicted)
        models = {"fine_tuned": given} | {
            name: Predictions(logits) for name, logits in self.baselines.items()
        }
        decision = self.decision(config)
        return OutOfFold(
            path=path,
            num_examples=len(self.labels),
            metrics={
                name: metrics.classification_metrics(
                    self.labels,
                    predictions,
                    label_names=self.label_names,
                    num_resamples=num_resamples,
                    seed=seed,
                )
                for name, predictions in models.items()
            },
            comparisons={
                name: self._beside(models[name].predicted) for name in self.baselines
            },
            decision=decision.facts(),
            quality=decision.quality(self.labels, self.logits),
        )

    def _beside(self, others: np.ndarray) -> PairedFacts:
        paired = comparisons.compare(self.labels, self.predicted, others)
        return PairedFacts(
            num_examples=paired.num_examples,
            difference=paired.difference,
            interval_95=paired.interval_95,
            mcnemar_p=paired.mcnemar_p,
            num_only_model_right=len(paired.only_first),
            num_only_baseline_right=len(paired.only_second),
            verdict=paired.verdict,
        )


def gather(finished: Sequence[FinishedRun]) -> Answers:
    """Joins the answers of the folds.

    Args:
      finished: all folds, by number.
    """
    names = finished[0].of_labels.data.label_names
    number_of = {name: number for number, name in enumerate(names)}
    rows: dict[str, list[Any]] = {
        column: [] for column in ("file", "line", "label", "fold", "answer")
    }
    probabilities: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for run in finished:
        of_fold = list(_lines(run))
        for column in ("file", "line", "label", "answer"):
            rows[column] += [row[column] for row in of_fold]
        rows["fold"] += [run.planned.number] * len(of_fold)
        probabilities.append(np.array([row["probabilities"] for row in of_fold]))
        logits.append(
            _logarithms(probabilities[-1]) * run.of_labels.decision.temperature
        )
    return Answers(
        label_names=names,
        rows=rows,
        labels=np.array([number_of[label] for label in rows["label"]]),
        logits=np.concatenate(logits),
        probabilities=np.concatenate(probabilities),
        predicted=np.array([number_of[label] for label in rows["answer"]]),
        baselines=dict(_baselines(finished)),
    )


def _lines(run: FinishedRun) -> Iterator[Mapping[str, Any]]:
    path = RunFolder(storage.path(run.planned.config.model_dir)).predictions(_SPLIT)
    # Not `splitlines`: a name may have one of its many ends of line.
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line:
            yield json.loads(line)


def _baselines(finished: Sequence[FinishedRun]) -> Iterator[tuple[str, np.ndarray]]:
    """Those that all folds have."""
    for name in finished[0].report.baselines:
        found = [_kept_logits(run, name) for run in finished]
        logits = [each for each in found if each is not None]
        if len(logits) == len(finished):
            yield name, np.concatenate(logits)


def _kept_logits(run: FinishedRun, name: str) -> np.ndarray | None:
    folder = RunFolder(storage.path(run.planned.config.model_dir))
    kept = run_folder.read_kept(folder.baseline(name))
    if kept is None or name not in run.report.baselines:
        return None
    return measure.unpacked(kept["answers"]["logits"].get(_SPLIT))


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Finite, also of what was rounded to 0."""
    result: np.ndarray = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return result

"""The values of all texts, each by the model of the fold that held it out.

    answers = gather(finished)
    storage.write_bytes(folder.out_of_fold, answers.to_parquet())
    answers.decision(config.serving), answers.facts(...)

As `out_of_fold.py` for labels. The file has a row for each text, fold after fold, in the
columns `file` and `line` (where it was read), `label` (the number in the data), `fold`
(from 0), `value` (the model's) and `low` and `high`, the interval that the fold's own
export gives; null where it has none.

Each fold has a scale of its own, that of the numbers it was trained on, so values are
joined in the user's unit.
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from trainer.config import ServingConfig
from trainer.evaluation import number_metrics
from trainer.studies import number_files
from trainer.studies.number_files import FloatArray
from trainer.studies.out_of_fold import FITTED_ON
from trainer.studies.plan import FinishedRun
from trainer.studies.schema import OutOfFold, PairedNumbers
from trainer.tasks import regression_decision
from trainer.tasks.regression_decision import RegressionDecision
from trainer.tasks.task import Scale

_SPLIT = "test"


@dataclasses.dataclass(frozen=True)
class NumberAnswers:
    """The texts of all folds, in the order of the file.

    Attributes:
      rows: by column of the file.
      numbers: float64 [n], the right ones.
      values: float64 [n], the models'.
      baselines: by name, float64 [n] values.
    """

    rows: Mapping[str, Sequence[Any]]
    numbers: FloatArray
    values: FloatArray
    baselines: Mapping[str, FloatArray]

    def to_parquet(self) -> bytes:
        """The file's content."""
        kinds = {"file": pa.string(), "line": pa.int64(), "fold": pa.int32()}
        columns = ("file", "line", "label", "fold", "value", "low", "high")
        table = pa.table(
            {
                name: pa.array(self.rows[name], kinds.get(name, pa.float64()))
                for name in columns
            }
        )
        file = io.BytesIO()
        pa.parquet.write_table(table, file)
        return file.getvalue()

    def decision(self, config: ServingConfig) -> RegressionDecision:
        """One interval for all texts: what the model of all of them will answer by.

        Of numbers in their own unit, for the model of all texts has yet another scale.
        """
        return regression_decision.fit(
            self.numbers,
            self.values[:, np.newaxis],
            scale=Scale(),
            coverage=config.interval_coverage,
            split=FITTED_ON,
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
        settings = {"num_resamples": num_resamples, "seed": seed}
        decision = self.decision(config)
        facts = decision.facts()
        # Of no scale: each fold has its own.
        del facts["mean"], facts["spread"]
        return OutOfFold(
            path=path,
            num_examples=len(self.numbers),
            metrics={
                name: _metrics(self.numbers, values, **settings)
                for name, values in {
                    "fine_tuned": self.values,
                    **self.baselines,
                }.items()
            },
            comparisons={
                name: self._beside(values, **settings)
                for name, values in self.baselines.items()
            },
            decision=facts,
            quality=decision.quality(self.numbers, self.values[:, np.newaxis]),
        )

    def _beside(self, others: FloatArray, **settings: int) -> PairedNumbers:
        found = number_metrics.mae_difference(
            self.numbers, self.values, others, **settings
        )
        ours, theirs = (np.abs(each - self.numbers) for each in (self.values, others))
        return PairedNumbers(
            num_examples=len(self.numbers),
            mae_difference=found.value,
            interval_95=found.interval,
            num_nearer=int((ours < theirs).sum()),
            verdict=found.verdict,
        )


def _metrics(
    numbers: FloatArray, values: FloatArray, **settings: int
) -> dict[str, Any]:
    found = number_metrics.number_metrics(numbers, values, **settings)
    return {**found.values, "confidence_intervals_95": dict(found.intervals)}


def gather(finished: Sequence[FinishedRun]) -> NumberAnswers:
    """Joins the answers of the folds.

    Args:
      finished: all folds, by number.
    """
    answered = [number_files.read(run, _SPLIT) for run in finished]
    rows: dict[str, list[Any]] = {
        name: [] for name in ("file", "line", "label", "fold", "value", "low", "high")
    }
    for run, of_fold in zip(finished, answered):
        rows["file"] += [file for file, _ in of_fold.places]
        rows["line"] += [line for _, line in of_fold.places]
        rows["label"] += of_fold.numbers.tolist()
        rows["fold"] += [run.planned.number] * len(of_fold.places)
        rows["value"] += of_fold.values.tolist()
        rows["low"] += of_fold.low
        rows["high"] += of_fold.high
    return NumberAnswers(
        rows=rows,
        numbers=np.concatenate([of_fold.numbers for of_fold in answered]),
        values=np.concatenate([of_fold.values for of_fold in answered]),
        baselines=dict(_baselines(finished)),
    )


def _baselines(finished: Sequence[FinishedRun]) -> Iterator[tuple[str, FloatArray]]:
    """Those that all folds have."""
    for name in finished[0].report.baselines:
        found = [number_files.of_baseline(run, name, _SPLIT) for run in finished]
        values = [each for each in found if each is not None]
        if len(values) == len(finished):
            yield name, np.concatenate(values)

"""What folds and seeds have in common: one run several times, as one result.

    study = results(config, finished, estimate=over_seeds, answers=..., ...)
    table = write(folder, study)

The page and the table are made in `repeated_page.py`.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Callable, Iterable, Iterator, Mapping, Sequence

from trainer import storage
from trainer.evaluation.schema import BaselineScores, SplitEvaluation
from trainer.studies import repeated_page
from trainer.studies.plan import FinishedRun
from trainer.studies.schema import (
    EnsembleFacts,
    Estimate,
    FinalFacts,
    ModelEstimates,
    OutOfFold,
    RepeatedStudy,
    RunFacts,
)
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig

FINE_TUNED = "fine_tuned"
METRIC = "accuracy"
# With their ranges, which an interval of few runs may leave.
_METRICS: Mapping[str, tuple[float, float]] = {
    METRIC: (0.0, 1.0),
    "f1_macro": (0.0, 1.0),
    "mcc": (-1.0, 1.0),
    "loss": (0.0, math.inf),
}
# In the order in which they are shown.
_BASELINES = ("tfidf", "frozen", "commonest")

Estimator = Callable[[Sequence[float]], Estimate]


def results(
    config: StudyConfig,
    finished: Sequence[FinishedRun],
    *,
    title: str,
    estimate: Estimator,
    answers: Callable[[RepeatedStudy], Iterable[str]],
    out_of_fold: OutOfFold | None = None,
    final: FinalFacts | None = None,
    ensemble: EnsembleFacts | None = None,
) -> RepeatedStudy:
    """What the runs came to.

    Args:
      finished: those that are compared; at least one.
      title: of the page, before that of the runs.
      answers: sentences, of the study without them.
    """
    last = finished[-1].report
    split = "test" if "test" in last.after else "validation"
    models = dict(_models(finished, split, estimate))
    quoted = models[FINE_TUNED].metrics[METRIC]
    study = RepeatedStudy(
        study=config.study,
        title=f"{title}: {last.title}",
        answers=(),
        split=split,
        num_examples=(
            out_of_fold.num_examples if out_of_fold else last.after[split].num_examples
        ),
        metric=METRIC,
        mean=quoted.mean,
        std=quoted.std,
        interval_95=quoted.interval_95,
        models=models,
        runs=tuple(run_facts(run, split) for run in finished),
        out_of_fold=out_of_fold,
        final=final,
        ensemble=ensemble,
        config=dataclasses.asdict(config),
        environment=last.environment,
    )
    return dataclasses.replace(study, answers=tuple(answers(study)))


def write(folder: StudyFolder, study: RepeatedStudy) -> str:
    """Writes the results, and returns the closing table."""
    table = f"{repeated_page.summary(study)}\n{'Report':<12}{folder.page}\n"
    storage.write_text(folder.page, repeated_page.render_html(study))
    storage.write_text(folder.summary, table)
    storage.write_text(folder.results, study.to_json())
    return table


def run_facts(run: FinishedRun, split: str) -> RunFacts:
    """What study.json has of a run."""
    return RunFacts(
        number=run.planned.number,
        name=run.planned.name,
        folder=f"runs/{run.planned.number:03}",
        num_train_examples=run.num_train_examples,
        seed=run.planned.config.training.seed,
        accuracy=run.report.after[split].accuracy,
        secs=run.secs,
        comparisons=run.report.comparisons,
    )


def _models(
    finished: Sequence[FinishedRun], split: str, estimate: Estimator
) -> Iterator[tuple[str, ModelEstimates]]:
    yield FINE_TUNED, ModelEstimates(
        title="fine-tuning",
        metrics=_estimates([run.report.after[split] for run in finished], estimate),
    )
    for name in _BASELINES:
        found = [run.report.baselines.get(name) for run in finished]
        facts = [each for each in found if each is not None]
        scores = [each.test if split == "test" else each.validation for each in facts]
        measured = [each for each in scores if each is not None]
        # A study may be continued with other --baselines.
        if len(measured) == len(finished):
            yield name, ModelEstimates(
                title=facts[-1].title, metrics=_estimates(measured, estimate)
            )


def _estimates(
    scores: Sequence[SplitEvaluation | BaselineScores], estimate: Estimator
) -> dict[str, Estimate]:
    return {
        name: _within(estimate([getattr(each, name) for each in scores]), *ends)
        for name, ends in _METRICS.items()
    }


def _within(estimate: Estimate, least: float, most: float) -> Estimate:
    if estimate.interval_95 is None:
        return estimate
    low, high = estimate.interval_95
    return dataclasses.replace(estimate, interval_95=(max(low, least), min(high, most)))


def mean_difference(study: RepeatedStudy, baseline: str) -> tuple[float, float, float]:
    """Of accuracies, fine-tuning minus a baseline: the mean, the least, the greatest."""
    ours = study.models[FINE_TUNED].metrics[METRIC].values
    theirs = study.models[baseline].metrics[METRIC].values
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    return statistics.fmean(differences), min(differences), max(differences)

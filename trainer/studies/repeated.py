"""What folds and seeds have in common: one run several times, as one result.

    study = results(config, finished, estimate=over_seeds, answers=..., ...)
    table = write(folder, study)

The page and the table are made in `repeated_page.py`.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any, Callable, Iterable, Iterator, Sequence

from trainer import storage
from trainer.studies import repeated_page, scores
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
from trainer.studies.scores import Metric
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig

FINE_TUNED = "fine_tuned"
# In the order in which they are shown; "median" is of numbers.
BASELINES = ("tfidf", "frozen", "median", "commonest")

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
    metric = scores.headline(config.data.task)
    models = dict(_models(config, finished, split, estimate))
    quoted = models[FINE_TUNED].metrics[metric.name]
    study = RepeatedStudy(
        study=config.study,
        title=f"{title}: {last.title}",
        answers=(),
        split=split,
        num_examples=(
            out_of_fold.num_examples if out_of_fold else last.after[split].num_examples
        ),
        metric=metric.name,
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
    """What study.json has of a run, but for those that chose one of several."""
    metric = scores.headline(run.planned.config.data.task)
    value = scores.value_of(run.report, metric, split)
    return RunFacts(
        number=run.planned.number,
        name=run.planned.name,
        folder=f"runs/{run.planned.number:03}",
        num_train_examples=run.num_train_examples,
        seed=run.planned.config.training.seed,
        accuracy=value if metric is scores.ACCURACY else None,
        value=value,
        secs=run.secs,
        comparisons=run.report.comparisons,
    )


def _models(
    config: StudyConfig,
    finished: Sequence[FinishedRun],
    split: str,
    estimate: Estimator,
) -> Iterator[tuple[str, ModelEstimates]]:
    metrics = scores.shown_of(config.data.task)
    yield FINE_TUNED, ModelEstimates(
        title="fine-tuning",
        metrics=_estimates(
            metrics, [run.report.after[split] for run in finished], estimate
        ),
    )
    for name in BASELINES:
        known = [run.report.baselines.get(name) for run in finished]
        facts = [each for each in known if each is not None]
        found = [each.test if split == "test" else each.validation for each in facts]
        measured = [each for each in found if each is not None]
        # A study may be continued with other --baselines.
        if len(measured) == len(finished):
            yield name, ModelEstimates(
                title=facts[-1].title,
                metrics=_estimates(metrics, measured, estimate),
            )


def _estimates(
    metrics: Sequence[Metric], found: Sequence[Any], estimate: Estimator
) -> dict[str, Estimate]:
    """By metric; without those that are None of a run. found: as reports have them."""
    by_name = {
        metric: [getattr(each, metric.name) for each in found] for metric in metrics
    }
    return {
        metric.name: _within(estimate(values), metric)
        for metric, values in by_name.items()
        if None not in values
    }


def _within(estimate: Estimate, metric: Metric) -> Estimate:
    if estimate.interval_95 is None:
        return estimate
    return dataclasses.replace(
        estimate, interval_95=metric.within(*estimate.interval_95)
    )


def mean_difference(study: RepeatedStudy, baseline: str) -> tuple[float, float, float]:
    """Fine-tuning minus a baseline, of the study's metric: mean, least, greatest."""
    ours = study.models[FINE_TUNED].metrics[study.metric].values
    theirs = study.models[baseline].metrics[study.metric].values
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    return statistics.fmean(differences), min(differences), max(differences)

"""Cross-validation: how good is it, measured on every text?

    KIND.plan(config, sources, finished)        # a run a fold, then the final one
    KIND.record(config, folder, finished)       # out_of_fold.parquet, study.json, ...

Run NNN holds out fold NNN (`data/folds.py`), and stops by a share of the other folds. It
is what `trainer.main --num_folds=5 --fold=3` makes alone. With --export_folds=final one
more run learns from all texts, for as long as was best in the median fold: it has the
decision that was fitted out of fold (of numbers the interval), and nothing held out to
be measured on. With
--export_folds=ensemble the folds' models are exported as one (`ensemble.py`), by the
same decision.
"""

from __future__ import annotations

import logging
import math
import statistics
from typing import Any, Iterator, Sequence

from trainer import storage
from trainer.config import ExperimentConfig
from trainer.data import splits
from trainer.data.sources import Load, Sources
from trainer.studies import (
    answers,
    ensemble,
    estimates,
    number_answers,
    number_out_of_fold,
    out_of_fold,
    repeated,
)
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.studies.schema import (
    Estimate,
    FinalFacts,
    OutOfFold,
    PairedFacts,
    RepeatedStudy,
)
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig

_logger = logging.getLogger(__name__)

# Of a flagfile's numbers, so that two machines write the same ones.
_DIGITS = 6


def plan(
    config: StudyConfig, read: Sources, finished: Sequence[FinishedRun]
) -> tuple[PlannedRun, ...]:
    """A run for each fold; and when all are finished, the final one if asked for.

    Raises:
      ValueError: there are fewer texts of a label, or fewer groups, than folds.
    """
    num_folds = config.data.num_folds
    if not finished:
        if config.data.num_eval_examples:
            _logger.warning(
                "--num_eval_examples=%d is not used: each text of each fold is measured",
                config.data.num_eval_examples,
            )
        splits.folds_of(read, config.data)
    folds = tuple(
        PlannedRun(
            number=fold,
            name=f"fold {fold} of {num_folds}",
            config=config.run(fold, fold=fold, num_eval_examples=0),
        )
        for fold in range(num_folds)
    )
    of_folds = _of_folds(config, finished)
    if config.export_folds != "final" or len(of_folds) < num_folds:
        return folds
    return (*folds, _final(config, of_folds))


def _of_folds(
    config: StudyConfig, finished: Sequence[FinishedRun]
) -> list[FinishedRun]:
    return [run for run in finished if run.planned.number < config.data.num_folds]


def _final(config: StudyConfig, of_folds: Sequence[FinishedRun]) -> PlannedRun:
    """The run on all texts."""
    # Of an even number of folds the shorter one of the two in the middle.
    num_epochs = statistics.median_low([best_epoch(run) for run in of_folds])
    return PlannedRun(
        number=config.data.num_folds,
        name=f"all texts, for {_epochs(num_epochs)}",
        config=_on_all_texts(config, of_folds, num_train_epochs=num_epochs),
    )


def _on_all_texts(
    config: StudyConfig, of_folds: Sequence[FinishedRun], **changes: Any
) -> ExperimentConfig:
    """With nothing held out, and the decision that was fitted out of fold."""
    facts = _gather(config, of_folds).decision(config.serving).facts()
    if config.data.task == "regression":
        reach = facts["half_width"]
        numbers: tuple[float, ...] = () if reach is None else (reach,)
    else:
        numbers = (facts["temperature"], facts["abstain_below"], *facts["thresholds"])
    settings: dict[str, Any] = {
        "num_folds": 0,
        "fold": -1,
        "test_one_in": 0,
        "validation_one_in": 0,
        "early_stopping_patience": 0,
        "eval_every_steps": 0,
        "decision_metric": "none",
        "abstain_accuracy": 0.0,
        # The folds' runs have measured them, on texts that were held out.
        "slice_fields": (),
        "counterfactuals": (),
        "given_decision": tuple(f"{value:.{_DIGITS}g}" for value in numbers),
        # It was asked for, whatever is of the folds' own models.
        "export": True,
    }
    return config.run(config.data.num_folds, **settings | changes)


def _gather(
    config: StudyConfig, of_folds: Sequence[FinishedRun]
) -> out_of_fold.Answers | number_out_of_fold.NumberAnswers:
    """The answers to the texts of all folds."""
    if config.data.task == "regression":
        return number_out_of_fold.gather(of_folds)
    return out_of_fold.gather(of_folds)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' if count != 1 else ''}"


def best_epoch(run: FinishedRun) -> int:
    """In which epoch, from 1, a run's weights were best; all without a validation."""
    num_epochs = run.planned.config.training.num_train_epochs
    training = run.report.training
    if training.best_step is None:
        return num_epochs
    return max(1, math.ceil(training.best_step * num_epochs / training.total_steps))


def export(
    config: StudyConfig,
    folder: StudyFolder,
    finished: Sequence[FinishedRun],
    load: Load,
) -> None:
    """Publishes the ensemble, if asked for; errors are those of `ensemble.publish`."""
    if config.export_folds != "ensemble":
        return
    of_folds = _of_folds(config, finished)
    planned = PlannedRun(
        number=config.data.num_folds,
        name=f"the ensemble of {len(of_folds)} models",
        config=_on_all_texts(config, of_folds, model_dir=config.study_dir),
    )
    ensemble.publish(planned, folder, of_folds, load=load)


def record(
    config: StudyConfig, folder: StudyFolder, finished: Sequence[FinishedRun]
) -> str:
    """Writes the results of all runs, and returns the closing table."""
    of_folds = _of_folds(config, finished)
    gathered = _gather(config, of_folds)
    storage.write_bytes(folder.out_of_fold, gathered.to_parquet())
    study = repeated.results(
        config,
        of_folds,
        title=f"{config.data.num_folds} folds",
        estimate=_estimate_of(of_folds),
        answers=_answers,
        out_of_fold=gathered.facts(
            config.serving,
            path=folder.out_of_fold.name,
            num_resamples=config.num_bootstrap_resamples,
            seed=config.training.seed,
        ),
        final=_final_facts(finished[len(of_folds) :]),
        ensemble=(
            ensemble.facts(folder) if config.export_folds == "ensemble" else None
        ),
    )
    return repeated.write(folder, study)


def _estimate_of(of_folds: Sequence[FinishedRun]) -> repeated.Estimator:
    splits_of_runs = [run.report.data.splits for run in of_folds]
    test_share = statistics.fmean(
        each["test"].num_examples / each["train"].num_examples
        for each in splits_of_runs
    )

    def estimate(values: Sequence[float]) -> Estimate:
        return estimates.over_folds(values, test_share=test_share)

    return estimate


def _final_facts(others: Sequence[FinishedRun]) -> FinalFacts | None:
    if not others:
        return None
    (run,) = others
    return FinalFacts(
        folder=f"runs/{run.planned.number:03}",
        num_train_examples=run.num_train_examples,
        num_train_epochs=run.planned.config.training.num_train_epochs,
        saved_model=str(run.report.paths.saved_model),
    )


def _answers(study: RepeatedStudy) -> Iterator[str]:
    pooled = study.out_of_fold
    if pooled is None:
        raise TypeError("a study of folds has answers out of fold")
    if study.metric == "accuracy":
        yield from _of_labels(study, pooled)
    else:
        yield from number_answers.of_folds(study, pooled)
    yield from _of_exports(study)


def _of_labels(study: RepeatedStudy, pooled: OutOfFold) -> Iterator[str]:
    estimate = study.models[repeated.FINE_TUNED].metrics[study.metric]
    yield (
        f"Each of {pooled.num_examples:,} texts was held out once: over "
        f"{len(estimate.values)} folds fine-tuning answers "
        f"{answers.with_interval(estimate.mean, estimate.interval_95)} right, "
        f"{answers.percent(min(estimate.values))} in the worst fold and "
        f"{answers.percent(max(estimate.values))} in the best."
    )
    for name, paired in pooled.comparisons.items():
        if name in answers.NO_RIVALS or not isinstance(paired, PairedFacts):
            continue
        title = study.models[name].title
        low, high = paired.interval_95
        if not paired.difference:
            reach = answers.points(high, None)
            yield f"It answers as many of them right as {title}, give or take {reach}."
            continue
        more = "more" if paired.difference > 0 else "fewer"
        ends = (low, high) if paired.difference >= 0 else (-high, -low)
        yield (
            f"It answers {answers.points(abs(paired.difference), ends)} {more} of them "
            f"right than {title}{_SHOWN[paired.verdict]}."
        )


def _of_exports(study: RepeatedStudy) -> Iterator[str]:
    if study.final is not None:
        yield (
            f"The model in {study.final.folder} has learned from all "
            f"{study.final.num_train_examples:,} texts for "
            f"{_epochs(study.final.num_train_epochs)}. No text was left to measure it on: "
            "the folds' models, each of fewer texts, say what to expect of it."
        )
    if study.ensemble is not None:
        yield (
            f"The ensemble in {study.ensemble.export.path} answers by the mean "
            f"probability of the {study.ensemble.num_models} folds' models. Of the texts "
            "of the folds none is left to measure it on: all of its models but one were "
            "trained on each. The figures above, of one model each, say what to expect "
            "of it. On the same texts the loss of such a mean is at most the models' "
            "mean loss; of its accuracy nothing is promised."
        )


_SHOWN = {"better": "", "worse": "", "not_shown": ", which may be chance"}

KIND = Kind(plan=plan, record=record, export=export)

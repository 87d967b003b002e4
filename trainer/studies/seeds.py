"""The same run with several seeds: how much of its result is luck?

KIND.plan(config, sources, finished)        # a run a seed
KIND.record(config, folder, finished)       # study.json, study.html, the table
"""

from __future__ import annotations

from typing import Iterator, Sequence

from trainer.data.sources import Sources
from trainer.data import splits
from trainer.messages import message
from trainer.studies import answers, estimates, number_answers, repeated
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.studies.schema import RepeatedStudy
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig


def plan(
    config: StudyConfig, read: Sources, finished: Sequence[FinishedRun]
) -> tuple[PlannedRun, ...]:
    """A run for each seed.

    Raises:
      ValueError: no texts are held out.
    """
    if not finished:
        _, parts = splits.make_splits(
            read, config=config.data, seed=config.run_seeds[0]
        )
        if not parts.keys() - {"train"}:
            raise ValueError(
                message(
                    "a study of seeds needs held-out texts to measure on",
                    received="no test split and no validation split",
                    mend="set --test_one_in=5, or give --test_dataset",
                )
            )
    return tuple(
        PlannedRun(
            number=number, name=f"seed {seed}", config=config.run(number, seed=seed)
        )
        for number, seed in enumerate(config.run_seeds)
    )


def record(
    config: StudyConfig, folder: StudyFolder, finished: Sequence[FinishedRun]
) -> str:
    """Writes the results of all runs, and returns the closing table."""
    study = repeated.results(
        config,
        finished,
        title=f"{len(finished)} seeds",
        estimate=estimates.over_seeds,
        answers=lambda study: _answers(config, study),
    )
    return repeated.write(folder, study)


def _answers(config: StudyConfig, study: RepeatedStudy) -> Iterator[str]:
    of_numbers = config.data.task == "regression"
    yield from number_answers.of_seeds(study) if of_numbers else _of_labels(study)
    yield what_a_seed_is(config)


def _of_labels(study: RepeatedStudy) -> Iterator[str]:
    estimate = study.models[repeated.FINE_TUNED].metrics[study.metric]
    yield (
        f"Over {len(estimate.values)} seeds fine-tuning answers "
        f"{answers.with_interval(estimate.mean, estimate.interval_95)} of "
        f"{study.num_examples:,} {study.split} texts right, from "
        f"{answers.percent(min(estimate.values))} to "
        f"{answers.percent(max(estimate.values))}."
    )
    for name, model in study.models.items():
        if name == repeated.FINE_TUNED or name in answers.NO_RIVALS:
            continue
        mean, least, most = repeated.mean_difference(study, name)
        more, ends = ("more", (least, most))
        if mean < 0:
            more, ends = ("fewer", (-most, -least))
        yield (
            f"It answers {answers.points(abs(mean), ends)} {more} of the texts right than "
            f"{model.title}, in brackets the least and the most of a seed."
        )


def what_a_seed_is(config: StudyConfig) -> str:
    """What differs between the runs."""
    drawn = [
        name
        for name, limit in (
            ("training", config.data.num_train_examples),
            ("held-out", config.data.num_eval_examples),
        )
        if limit
    ]
    draw = f"another draw of the {' and '.join(drawn)} texts, " if drawn else ""
    model = config.model
    is_drawn = model.head_start == "random" and not model.lora_init_from
    weights = "other first weights of the head, " * is_drawn
    return (
        f"A seed stands here for {draw}another order of the batches, {weights}and other "
        "dropout."
    )


KIND = Kind(plan=plan, record=record)

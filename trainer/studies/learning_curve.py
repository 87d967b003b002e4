"""The learning curve: is the data large enough, and what would more labels buy?

    KIND.plan(config, sources)                  # runs on growing shares of the texts
    KIND.record(config, folder, finished)       # study.json, study.html, the table

Each share lies within the next (`data/draws.py`), and all runs are measured on the same
held-out texts. The curves are made in `curves.py`, the sentences in `answers.py` (of
numbers in `number_answers.py`), the page in `page.py`.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator, Mapping, Sequence

import numpy as np

from trainer import storage
from trainer.config import DataConfig
from trainer.data import label_sets, splits
from trainer.data.sources import Sources
from trainer.evaluation.schema import (
    BaselineScores,
    NumberScores,
    Report,
    SplitEvaluation,
)
from trainer.messages import message
from trainer.run_folder import RunFolder
from trainer.studies import (
    answers,
    curves,
    number_answers,
    number_files,
    page,
    repeated,
    scores,
)
from trainer.studies.curves import Measured
from trainer.studies.plan import FinishedRun, Kind, PlannedRun
from trainer.studies.schema import Curve, Study
from trainer.studies.study_folder import StudyFolder
from trainer.study_config import StudyConfig

FINE_TUNED = repeated.FINE_TUNED
# Of fewer numbers nothing tells how far off others are.
_LEAST_NUMBERS = 2
# The automatic sizes: these, times powers of 10.
_STEPS = (100, 300)
# The last step is left out where the largest size is hardly more.
_LEAST_RATIO = 1.25


def plan(
    config: StudyConfig, read: Sources, finished: Sequence[FinishedRun] = ()
) -> tuple[PlannedRun, ...]:
    """A run for every size and seed, the smallest sizes first.

    Args:
      finished: tells nothing of the others.

    Raises:
      ValueError: no texts are held out, or a size cannot be.
    """
    _, parts = splits.make_splits(
        read,
        config=dataclasses.replace(config.data, num_train_examples=0),
        seed=config.run_seeds[0],
    )
    if not parts.keys() - {"train"}:
        raise ValueError(
            message(
                "a learning curve needs held-out texts to measure on",
                received="no test split and no validation split",
                mend="set --test_one_in=5, or give --test_dataset",
            )
        )
    if config.data.task == "regression":
        _refuse_few_numbers(parts)
        num_labels = _LEAST_NUMBERS
    else:
        labels = np.unique(label_sets.pairs(read.splits["train"].labels)[1])
        num_labels = len(labels)
    sizes = sizes_of(
        config, num_available=parts["train"].num_new, num_labels=num_labels
    )
    runs = [(size, seed) for size in sizes for seed in config.run_seeds]
    return tuple(
        PlannedRun(
            number=number,
            name=f"{size:,} texts, seed {seed}",
            config=config.run(number, num_train_examples=size, seed=seed),
        )
        for number, (size, seed) in enumerate(runs)
    )


def _refuse_few_numbers(parts: Mapping[str, splits.Split]) -> None:
    """An interval of a mean distance takes two texts."""
    split = "test" if "test" in parts else "validation"
    if len(parts[split]) < _LEAST_NUMBERS:
        raise ValueError(
            message(
                "a learning curve of numbers needs two held-out texts or more, to say "
                "how far off others may be",
                received=f"{len(parts[split])} {split} text",
                mend="hold out more (a smaller --test_one_in or --validation_one_in, a "
                "larger --num_eval_examples)",
            )
        )


def sizes_of(
    config: StudyConfig, *, num_available: int, num_labels: int
) -> tuple[int, ...]:
    """The numbers of training texts, ascending.

    Args:
      num_available: texts to train on.
      num_labels: that texts have; each is in every draw. Of numbers: how many different
        ones it takes.

    Raises:
      ValueError: there are not as many, or there is no room for all labels.
    """
    if not config.sizes:
        return _automatic_sizes(config.data, num_available, num_labels)
    sizes = config.sizes
    fitting = [size for size in sizes if num_labels <= size <= num_available]
    mend = "give " + (
        f"--train_sizes={','.join(map(str, fitting))}" if fitting else "other sizes"
    )
    mend += ", or leave --train_sizes out"
    if sizes[-1] > num_available:
        raise ValueError(
            message(
                "--train_sizes must be at most the number of training texts, "
                f"{num_available}",
                received=sizes[-1],
                mend=f"{mend}; {num_available} are all of them",
            )
        )
    if sizes[0] < num_labels:
        rule = (
            f"--train_sizes must be at least the number of labels, {num_labels}: a label "
            "that is not trained on is never answered"
        )
        if config.data.task == "regression":
            rule = (
                f"--train_sizes must be at least {num_labels}: one number has no spread"
            )
        raise ValueError(
            message(
                rule,
                received=sizes[0],
                mend=mend,
            )
        )
    return sizes


def _automatic_sizes(
    config: DataConfig, num_available: int, num_labels: int
) -> tuple[int, ...]:
    wanted = config.num_train_examples or num_available
    largest = min(wanted, num_available)
    steps = (step * 10**power for power in range(10) for step in _STEPS)
    return (
        *(
            step
            for step in steps
            if num_labels <= step and step * _LEAST_RATIO <= largest
        ),
        largest,
    )


def record(
    config: StudyConfig, folder: StudyFolder, finished: Sequence[FinishedRun]
) -> str:
    """Writes the results of all runs, and returns the closing table."""
    study = results(config, finished)
    table = f"{page.summary(study)}\n{'Report':<12}{folder.page}\n"
    storage.write_bytes(folder.picture, page.png(study))
    storage.write_text(folder.page, page.render_html(study))
    storage.write_text(folder.summary, table)
    storage.write_text(folder.results, study.to_json())
    return table


def results(config: StudyConfig, finished: Sequence[FinishedRun]) -> Study:
    """What the runs came to."""
    last = finished[-1].report
    split = "test" if "test" in last.after else "validation"
    is_number = config.data.task == "regression"
    make_curves = _curves_of_numbers if is_number else _curves
    all_curves = dict(make_curves(config, finished, split))
    runs = tuple(repeated.run_facts(run, split) for run in finished)
    told = number_answers if is_number else answers
    return Study(
        study=config.study,
        title=f"Learning curve: {last.title}",
        answers=told.sentences(all_curves, runs),
        split=split,
        num_examples=last.after[split].num_examples,
        metric=scores.headline(config.data.task).name,
        curves=all_curves,
        runs=runs,
        config=dataclasses.asdict(config),
        environment=last.environment,
    )


def _curves(
    config: StudyConfig, finished: Sequence[FinishedRun], split: str
) -> Iterator[tuple[str, Curve]]:
    num_resamples = config.num_bootstrap_resamples
    measured = [_measured(run, split, run.of_labels.after[split]) for run in finished]
    folders = [
        RunFolder(storage.path(run.planned.config.model_dir)) for run in finished
    ]
    resampled = curves.resampled(
        [curves.read_errors(folder.predictions(split)) for folder in folders],
        num_resamples=num_resamples,
    )
    yield FINE_TUNED, curves.make_curve(
        "fine-tuning", measured, errors_resampled=resampled
    )
    for name in repeated.BASELINES:
        found = [(run, _scores(run.of_labels, name, split)) for run in finished]
        measured = [_measured(run, split, each) for run, each in found if each]
        # A study may be continued with other --baselines.
        if len(measured) == len(finished):
            yield name, curves.make_curve(
                finished[-1].report.baselines[name].title,
                measured,
                errors_resampled=curves.simulated(
                    measured, num_resamples=num_resamples
                ),
            )


def _scores(report: Report, name: str, split: str) -> BaselineScores | None:
    baseline = report.baselines.get(name)
    if baseline is None:
        return None
    return baseline.test if split == "test" else baseline.validation


def _measured(
    run: FinishedRun, split: str, found: SplitEvaluation | BaselineScores
) -> Measured:
    evaluation = run.of_labels.after[split]
    return Measured(
        size=run.planned.num_train_examples,
        value=found.accuracy,
        interval_95=found.confidence_intervals_95.get("accuracy"),
        num_examples=evaluation.num_examples,
        guessing=evaluation.majority_class_accuracy,
    )


def _curves_of_numbers(
    config: StudyConfig, finished: Sequence[FinishedRun], split: str
) -> Iterator[tuple[str, Curve]]:
    """By the single answers of all models, the simple ones too: they are kept."""
    answered = [number_files.read(run, split) for run in finished]
    evaluations = [run.of_numbers.after[split] for run in finished]
    measured = [
        _measured_numbers(run, of_run, of_run.values, evaluation)
        for run, of_run, evaluation in zip(finished, answered, evaluations)
    ]
    given = [of_run.values for of_run in answered]
    yield FINE_TUNED, _curve_of_numbers(
        config, "fine-tuning", measured, answered, given
    )
    for name in repeated.BASELINES:
        found = [number_files.of_baseline(run, name, split) for run in finished]
        given = [values for values in found if values is not None]
        # A study may be continued with other --baselines.
        if len(given) < len(finished):
            continue
        baselines = [run.of_numbers.baselines[name] for run in finished]
        scored = [
            each.test if split == "test" else each.validation for each in baselines
        ]
        measured = [
            _measured_numbers(run, of_run, values, each)
            for run, of_run, values, each in zip(finished, answered, given, scored)
            if each is not None
        ]
        yield name, _curve_of_numbers(
            config, baselines[-1].title, measured, answered, given
        )


def _curve_of_numbers(
    config: StudyConfig,
    title: str,
    measured: Sequence[Measured],
    answered: Sequence[number_files.Answered],
    given: Sequence[number_files.FloatArray],
) -> Curve:
    errors = [
        dict(zip(of_run.places, np.abs(values - of_run.numbers).tolist(), strict=True))
        for of_run, values in zip(answered, given, strict=True)
    ]
    return curves.make_curve(
        title,
        measured,
        errors_resampled=curves.resampled(
            errors, num_resamples=config.num_bootstrap_resamples
        ),
        metric=scores.MAE,
    )


def _measured_numbers(
    run: FinishedRun,
    answered: number_files.Answered,
    values: number_files.FloatArray,
    found: NumberScores,
) -> Measured:
    """A model's values beside the numbers; `found`: what the report says of them."""
    numbers = answered.numbers
    errors = np.abs(values - numbers)
    return Measured(
        size=run.planned.num_train_examples,
        value=found.mae,
        interval_95=found.confidence_intervals_95.get("mae"),
        num_examples=len(numbers),
        guessing=float(np.abs(numbers - np.median(numbers)).mean()),
        variance=float(errors.var(ddof=1)) / len(errors),
    )


KIND = Kind(plan=plan, record=record)

"""The stage that measures the simplest models that could do the job, and compares.

    simple = baselines.run(run, material, built)        # before training
    compared = baselines.compared(run, material, built, simple, pretrained, ...)
    compared.facts["tfidf"].test.accuracy, compared.comparisons["tfidf"].difference

They learn from the same texts as the model, and answer the same held-out ones. Their
answers are kept in the run's folder: a run that is resumed has them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import operator
import pathlib
from typing import Any, Callable, Mapping

import numpy as np

from trainer import run_folder, storage
from trainer.baselines import commonest, cost, frozen, ridge, tfidf
from trainer.baselines.examples import Answers, Examples, Head
from trainer.data import label_sets
from trainer.data.text_rows import TextRows
from trainer.evaluation import comparisons, intervals, schema, slices, worth
from trainer.evaluation.evaluator import Evaluator, make_evaluator
from trainer.evaluation.schema import (
    BaselineFacts,
    BaselineScores,
    Comparison,
    Disagreement,
)
from trainer.modeling import classifier as classifiers
from trainer.stages import measure, number_baselines
from trainer.stages.build import Built, make_reading_step
from trainer.stages.context import Run
from trainer.stages.measure import After
from trainer.stages.prepare import Material
from trainer.stages.pretrain import Pretrained
from trainer.stages.train import Trained
from trainer.tasks import single_label_decision
from trainer.tasks.task import Decision

_logger = logging.getLogger(__name__)

# Vectors of more bytes than this lie in a file.
_MAX_BYTES_IN_MEMORY = 256 * 1024 * 1024
_MAX_SHOWN_TEXTS = 10
# What --head_start needs of the frozen encoder where it is no baseline.
_HEAD = "head"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A simple model's answers, and what they cost.

    Attributes:
      answers: to the held-out texts.
      secs: of its work.
      peak_memory_bytes: see `baselines/cost.py`.
    """

    answers: Answers
    secs: float
    peak_memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Compared:
    """The simple models, and the fine-tuned one beside each.

    Attributes:
      baselines: the report's `baselines`, by name: `BaselineFacts`, or of numbers
        `NumberBaseline`.
      comparisons: the report's `comparisons`, by name; of a run without held-out
        texts none. Likewise `Comparison` or `NumberComparison`.
      worth: the report's `worth`.
    """

    baselines: Mapping[str, Any]
    comparisons: Mapping[str, Any]
    worth: str | None

    def facts(self) -> dict[str, Any]:
        """The report's `baselines`, `comparisons` and `worth`."""
        return {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }

    def public_facts(self) -> dict[str, Any]:
        """The same for who gets the model: ready for JSON, without a held-out text."""
        private = ("only_model_right", "only_baseline_right")
        return {
            "baselines": {
                name: dataclasses.asdict(facts)
                for name, facts in self.baselines.items()
            },
            "comparisons": {
                name: {
                    key: value
                    for key, value in dataclasses.asdict(comparison).items()
                    if key not in private
                }
                for name, comparison in self.comparisons.items()
            },
            "worth": self.worth,
        }


def run(run: Run, material: Material, built: Built) -> Mapping[str, Baseline]:
    """The baselines of --baselines, by name.

    All workers take part in reading the texts with the encoder, whose weights must be
    those that it came with: before --pretrain_steps. The rest the chief does alone: the
    others' value is empty. Where no texts are held out there is nothing to answer, and
    no baseline.
    """
    names = _names(run, material)
    known = {name: _recorded(run, material, name) for name in names}
    # First what all workers do: the others must not wait for the chief in a step.
    missing = [name for name in names if known[name] is None]
    for name in sorted(missing, key=lambda name: name != "frozen"):
        if name == "frozen":
            known[name] = _frozen(run, material, built, answers=True)
        elif run.runtime.is_chief:
            make = _makers(run)[name]
            known[name] = make(material, _examples(run, material))
        made = known[name]
        if run.runtime.is_chief and made is not None:
            _record(run, material, name, made)
            _log(run, material, made)
    with run.runtime.watchdog.watching("the chief's baselines", patiently=True):
        run.runtime.wait_for_all()
    run.stopwatch.lap("baselines_secs")
    return {name: made for name, made in known.items() if made is not None}


def _names(run: Run, material: Material) -> list[str]:
    names = list(run.config.baselines if material.held_out else ())
    if run.task.scale is not None and "commonest" in names:
        # The best constant by squared distance is not the best one by distance.
        names.insert(names.index("commonest") + 1, "median")
    return names


def start_head(run: Run, material: Material, built: Built) -> None:
    """With --head_start=frozen, gives the classifier the head of the frozen encoder.

    The encoder is the one that fine-tuning starts from: where it was pretrained, not
    that of the baseline. All workers read the head from where the chief wrote it, so
    that they have the same bits.
    """
    if run.config.model.head_start != "frozen":
        return
    is_as_it_came = material.pretraining is None
    name = "frozen" if is_as_it_came and "frozen" in _names(run, material) else _HEAD
    if _recorded(run, material, name) is None:
        made = _frozen(run, material, built, answers=name != _HEAD)
        if run.runtime.is_chief and made is not None:
            _record(run, material, name, made)
        with run.runtime.watchdog.watching("the chief's head", patiently=True):
            run.runtime.wait_for_all()
    baseline = _recorded(run, material, name)
    if baseline is not None and baseline.answers.head is not None:
        classifiers.set_head(built.classifier, *baseline.answers.head)
    run.stopwatch.lap("baselines_secs")


def compared(
    run: Run,
    material: Material,
    built: Built,
    simple: Mapping[str, Baseline],
    pretrained: Pretrained,
    trained: Trained,
    after: After,
) -> Compared:
    """Scores the baselines, and compares the fine-tuned model with each."""
    # As a baseline's: from token ids to answers.
    secs = trained.state.train_secs + run.stopwatch.laps["evaluate_after_secs"]
    secs += pretrained.train_secs
    if run.task.scale is not None:
        found = number_baselines.compared(
            run, material, built, simple, after, secs=secs
        )
        return Compared(found.baselines, found.comparisons, found.worth)
    split = material.held_out
    facts = {
        name: _facts(run, material, built, baseline)
        for name, baseline in simple.items()
    }
    beside = {
        name: _comparison(run, material, baseline, after, split, secs)
        for name, baseline in simple.items()
        if split is not None
    }
    circumstances = _circumstances(run, material, built, trained)
    return Compared(
        baselines=facts,
        comparisons=beside,
        worth=worth.sentence(beside, facts, after.facts(), circumstances),
    )


def _circumstances(
    run: Run, material: Material, built: Built, trained: Trained
) -> worth.Circumstances:
    """What of the run tells how it may be bettered."""
    texts = material.facts().splits["train"]
    validation = schema.from_mapping(schema.History, run.folder.history()).validation
    return worth.Circumstances(
        num_train_texts=texts.num_examples,
        num_available_texts=texts.num_available,
        truncated_fraction=texts.truncated_fraction,
        max_length=run.config.data.max_length,
        encoder_limit=built.classifier.backbone.max_sequence_length,
        long_text=run.config.data.long_text,
        num_train_epochs=run.config.training.num_train_epochs,
        still_rose=worth.still_rose(validation, best_step=trained.state.best_step),
    )


def _examples(run: Run, material: Material, *splits: str) -> Examples:
    """Of some splits; of all if none is named."""
    return Examples(
        labels={
            name: run.task.targets(material.labels(name))
            for name in splits or material.splits
        },
        num_classes=len(material.label_names),
        example_weights=material.example_weights(),
        seed=run.config.training.seed,
    )


def _commonest(material: Material, examples: Examples) -> Baseline:
    with cost.measured() as spent:
        answers = commonest.answers(examples)
    return Baseline(answers, spent.secs, spent.peak_memory_bytes)


def _tfidf(material: Material, examples: Examples) -> Baseline:
    texts = material.texts.pool.texts
    with cost.measured() as spent:
        answers = tfidf.answers(
            examples,
            {
                name: TextRows(texts, split.rows)
                for name, split in material.splits.items()
            },
        )
    return Baseline(answers, spent.secs, spent.peak_memory_bytes)


def _mean(material: Material, examples: Examples) -> Baseline:
    with cost.measured() as spent:
        answers = ridge.mean(examples)
    return Baseline(answers, spent.secs, spent.peak_memory_bytes)


def _median(material: Material, examples: Examples) -> Baseline:
    with cost.measured() as spent:
        answers = ridge.median(examples)
    return Baseline(answers, spent.secs, spent.peak_memory_bytes)


# What the chief makes alone.
_Makers = Mapping[str, Callable[[Material, Examples], Baseline]]
_MAKERS: _Makers = {"commonest": _commonest, "tfidf": _tfidf}
_MAKERS_OF_NUMBERS: _Makers = {"commonest": _mean, "median": _median, "tfidf": _tfidf}


def _makers(run: Run) -> _Makers:
    return _MAKERS if run.task.scale is None else _MAKERS_OF_NUMBERS


def _frozen(
    run: Run, material: Material, built: Built, *, answers: bool
) -> Baseline | None:
    """The baseline on the encoder's vectors; None but for the chief.

    answers: whether it is to answer the held-out texts, which takes a pass over them.
    """
    _logger.info("reading the texts with the frozen encoder")
    embed = make_reading_step(
        run,
        built.classifier,
        operator.attrgetter("embed"),
        name="a step of the frozen encoder",
    )
    with (
        cost.measured() as spent,
        storage.scratch("trainer-frozen") as folder,
    ):
        vectors = {}
        with run.runtime.watchdog.watching("all workers to read the texts"):
            for name, evaluator in _evaluators(
                run, material, built, held_out=answers
            ).items():
                shape = (len(evaluator.labels), built.classifier.backbone.hidden_dim)
                vectors[name] = _room(shape, folder / name)
                evaluator.collect(
                    embed, vectors[name], description=f"frozen encoder: {name}"
                )
        if not run.runtime.is_chief:
            return None
        made = frozen.answers(_examples(run, material, *vectors), vectors)
        if built.start is not None:
            made = dataclasses.replace(made, title=frozen.started(made.title))
        # Before the folder goes.
        vectors.clear()
    return Baseline(made, spent.secs, spent.peak_memory_bytes)


def _evaluators(
    run: Run, material: Material, built: Built, *, held_out: bool
) -> dict[str, Evaluator]:
    """Of the training texts, and of the held-out ones if asked for."""
    train = make_evaluator(
        material.texts.pool,
        material.splits["train"].rows,
        material.tokens,
        material.bucket_lengths,
        run.runtime.strategy,
        batch_size=run.resolved.eval_batch_size,
        scoring=run.task.scoring,
        label_names=material.label_names,
        name="train",
    )
    others = [name for name in material.splits if held_out and name != "train"]
    return {"train": train} | {name: built.evaluators[name] for name in others}


def _room(shape: tuple[int, int], path: pathlib.Path) -> np.ndarray:
    """float32 of this shape, in a file where it is large."""
    if math.prod(shape) * 4 > _MAX_BYTES_IN_MEMORY:
        storage.make_room(path, math.prod(shape) * 4)
        return np.memmap(path, np.float32, mode="r+", shape=shape)
    return np.empty(shape, np.float32)


def _recorded(run: Run, material: Material, name: str) -> Baseline | None:
    """What an earlier process measured."""
    recorded = measure.kept(run.folder.baseline(name), material)
    if recorded is None:
        return None
    answers = recorded["answers"]
    logits = {
        split: measure.unpacked(content) for split, content in answers["logits"].items()
    }
    parts = answers["head"] and [measure.unpacked(part) for part in answers["head"]]
    return Baseline(
        Answers(**{**answers, "logits": logits, "head": parts and Head(*parts)}),
        recorded["secs"],
        recorded["peak_memory_bytes"],
    )


def _record(run: Run, material: Material, name: str, baseline: Baseline) -> None:
    answers = baseline.answers
    logits = {split: measure.packed(each) for split, each in answers.logits.items()}
    content = {
        **measure.made_on(material),
        "answers": {
            "title": answers.title,
            "logits": logits,
            "num_features": answers.num_features,
            "settings": dict(answers.settings),
            "head": answers.head and [measure.packed(part) for part in answers.head],
        },
        "secs": baseline.secs,
        "peak_memory_bytes": baseline.peak_memory_bytes,
    }
    run_folder.write_kept(run.folder.baseline(name), content)


def _log(run: Run, material: Material, baseline: Baseline) -> None:
    split = material.held_out
    if split is None or split not in baseline.answers.logits:
        return
    if run.task.scale is not None:
        error, count = number_baselines.mean_error(run, material, baseline, split)
        _logger.info(
            "%s: mean absolute error %.4g on %s %s texts, in %.1f s",
            baseline.answers.title,
            error,
            f"{count:,}",
            split,
            baseline.secs,
        )
        return
    labels = material.labels(split)
    is_right = label_sets.is_right(labels, _labels(run, material, baseline, split))
    _logger.info(
        "%s: %.1f%% of %s %s texts right, in %.1f s",
        baseline.answers.title,
        100 * is_right.mean(),
        f"{len(labels):,}",
        split,
        baseline.secs,
    )


def _labels(run: Run, material: Material, baseline: Baseline, split: str) -> np.ndarray:
    """Those that the baseline gives."""
    decision = _decision(run, material, baseline)
    return decision.labels(baseline.answers.logits[split])


def _decision(run: Run, material: Material, baseline: Baseline) -> Decision:
    """The task's; but the commonest label is that, also where labels have an order."""
    num_classes = len(material.label_names)
    if run.task.has_one_label and baseline.answers.title == commonest.TITLE:
        return single_label_decision.plain(num_classes)
    return run.task.plain_decision(num_classes)


def _facts(
    run: Run, material: Material, built: Built, baseline: Baseline
) -> BaselineFacts:
    answers = baseline.answers
    scores = {
        name: _scores(
            run,
            material,
            built.evaluators[name],
            logits,
            decision=_decision(run, material, baseline),
        )
        for name, logits in answers.logits.items()
    }
    return BaselineFacts(
        title=answers.title,
        validation=scores.get("validation"),
        test=scores.get("test"),
        secs=baseline.secs,
        peak_memory_bytes=baseline.peak_memory_bytes,
        num_features=answers.num_features,
        settings=answers.settings,
    )


def _scores(
    run: Run,
    material: Material,
    evaluator: Evaluator,
    logits: np.ndarray,
    *,
    decision: Decision,
) -> BaselineScores:
    """The same metrics as the model's."""
    evaluation = evaluator.report(
        logits,
        decision=decision,
        num_resamples=run.config.num_bootstrap_resamples,
        seed=run.config.training.seed,
        longest_text=material.encoder.longest_text,
    )
    return BaselineScores(
        **{
            field.name: getattr(evaluation, field.name)
            for field in dataclasses.fields(BaselineScores)
        }
    )


def _comparison(
    run: Run,
    material: Material,
    baseline: Baseline,
    after: After,
    split: str,
    fine_tuning_secs: float,
) -> Comparison:
    """On one split; of the labels that a user gets."""
    given = after.decision.labels(after.logits[split])
    others = _labels(run, material, baseline, split)
    paired = comparisons.compare(after.labels[split], given, others)

    def shown(positions: np.ndarray) -> tuple[Disagreement, ...]:
        few = comparisons.evenly(positions, _MAX_SHOWN_TEXTS)
        return tuple(
            _disagreement(material, split, int(each), given, others) for each in few
        )

    return Comparison(
        split=split,
        num_examples=paired.num_examples,
        difference=paired.difference,
        interval_95=paired.interval_95,
        mcnemar_p=paired.mcnemar_p,
        num_discordant=paired.num_discordant,
        num_only_model_right=len(paired.only_first),
        num_only_baseline_right=len(paired.only_second),
        verdict=paired.verdict,
        cost_ratio=fine_tuning_secs / baseline.secs if baseline.secs else None,
        only_model_right=shown(paired.only_first),
        only_baseline_right=shown(paired.only_second),
        **_distances(run, after.labels[split], given, others),
    )


def _distances(
    run: Run, labels: np.ndarray, given: np.ndarray, others: np.ndarray
) -> dict[str, Any]:
    """How much nearer the model is than a baseline, where labels have an order."""
    if run.task.name != "ordinal":
        return {}
    differences = np.abs(given - labels) - np.abs(others - labels)
    mean, interval = intervals.mean_interval(differences.tolist())
    return {"mae_difference": mean, "mae_difference_interval_95": interval}


def _disagreement(
    material: Material,
    split: str,
    position: int,
    given: np.ndarray,
    others: np.ndarray,
) -> Disagreement:
    pool = material.texts.pool
    row = int(material.splits[split].rows[position])
    file, line = pool.places.of(row)
    return Disagreement(
        text=slices.shorten_middle(str(pool.texts[row])),
        label=label_sets.name_of(pool.labels[row], material.label_names),
        model=label_sets.name_of(given[position], material.label_names),
        baseline=label_sets.name_of(others[position], material.label_names),
        file=file,
        line=line,
    )

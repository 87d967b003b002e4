"""The stage that runs twice: how good the model is, before training and after.

before = measure.before(run, material, built)
after = measure.after(run, material, built)
after.evaluations["test"]["accuracy"], after.decision.temperature
"""

from __future__ import annotations

import base64
import dataclasses
import logging
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from trainer import run_folder, storage
from trainer.config import ServingConfig
from trainer.evaluation import doubts, number_doubts, schema
from trainer.evaluation.evaluator import Evaluator, Predict
from trainer.evaluation.schema import DecisionFacts, Doubt, NumberDecision
from trainer.stages.build import SAMPLES, Built
from trainer.stages.context import Run
from trainer.stages.prepare import Material
from trainer.tasks.task import Decision, Task

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Before:
    """The evaluation of the weights as they came.

    Attributes:
      evaluations: by split, as `Scoring.report` has it: the task's `evaluation_type`.
      answers: to the sample texts, of the task's `prediction_type`.
      logits: float32 [n, classes], of the held-out split that results are quoted on,
        for texts of it are drawn as samples; NaN for those that were not evaluated;
        None: there is none.
    """

    evaluations: Mapping[str, Any]
    answers: tuple[Any, ...]
    logits: np.ndarray | None

    def facts(self) -> Mapping[str, Any]:
        """The report's `before`."""
        return self.evaluations


@dataclasses.dataclass(frozen=True)
class After:
    """The evaluation of the trained weights, with the decision fitted to them.

    Attributes:
      logits: float32 [n, classes], of each held-out split, as the classifier gave
        them.
      labels: of the same splits, see `label_sets.pairs`.
      decision: how a label follows from logits, fitted on validation if there is any.
      evaluations: by split, of the labels and probabilities that the decision gives.
      answers: to the sample texts.
      doubts: all so far, those of the data among them.
    """

    logits: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    decision: Decision
    evaluations: Mapping[str, Any]
    answers: tuple[Any, ...]
    doubts: tuple[Doubt, ...]

    def facts(self) -> Mapping[str, Any]:
        """The report's `after`."""
        return self.evaluations

    def decision_facts(self) -> DecisionFacts:
        """The report's `decision`: the decision, and what it gives on each split."""
        return schema.from_mapping(DecisionFacts, self._decided())

    def number_decision(self) -> NumberDecision:
        """The same of a decision that gives numbers."""
        return schema.from_mapping(NumberDecision, self._decided())

    def _decided(self) -> dict[str, Any]:
        quality = {
            name: self.decision.quality(self.labels[name], logits)
            for name, logits in self.logits.items()
        }
        return {**self.decision.facts(), "quality": quality}


def before(run: Run, material: Material, built: Built) -> Before:
    """Evaluates the weights as they came; a resumed run has its first evaluation."""
    evaluated = _recorded(run, material) or _evaluated_before(run, material, built)
    run.stopwatch.lap("evaluate_before_secs")
    return evaluated


def after(run: Run, material: Material, built: Built) -> After:
    """Evaluates the trained weights, and decides how the export chooses labels."""
    evaluated = _evaluated_after(run, material, built)
    run.stopwatch.lap("evaluate_after_secs")
    return evaluated


def made_on(material: Material) -> dict[str, Any]:
    """What an evaluation depends on besides the settings, which a folder fixes."""
    start = material.adapter_sha256
    return {
        "fingerprint": dict(material.fingerprint),
        "label_names": list(material.label_names),
        **({"lora_init_sha256": start} if start else {}),
    }


def kept(path: storage.Path, material: Material) -> dict[str, Any] | None:
    """What an earlier process kept, if it was made on the same texts and labels.

    A run that was killed before its first checkpoint may be started again on mended
    data: then what it measured was something else.
    """
    content = run_folder.read_kept(path)
    expected = made_on(material)
    if content is None or {name: content.get(name) for name in expected} != expected:
        return None
    return content


def _recorded(run: Run, material: Material) -> Before | None:
    """What an earlier process evaluated."""
    recorded = kept(run.folder.before, material)
    if recorded is None:
        return None
    evaluations = {
        name: schema.from_mapping(run.task.evaluation_type, evaluation)
        for name, evaluation in recorded["evaluations"].items()
    }
    return Before(
        evaluations,
        _predictions(run.task, recorded["answers"]),
        unpacked(recorded.get("logits")),
    )


def _evaluated_before(run: Run, material: Material, built: Built) -> Before:
    _logger.info("evaluating before fine-tuning")
    logits = logits_of(run, material, built.evaluators_before, built.predict)
    decision = run.task.plain_decision(len(material.label_names))
    answers = decision.answers(logits.pop(SAMPLES), label_names=material.label_names)
    evaluations = _evaluations(run, material, built.evaluators_before, logits, decision)
    held_out = _over_the_split(material, built, logits)
    if run.runtime.is_chief:
        content = {
            **made_on(material),
            "evaluations": {
                name: dataclasses.asdict(evaluation)
                for name, evaluation in evaluations.items()
            },
            "answers": answers,
            "logits": packed(held_out),
        }
        run_folder.write_kept(run.folder.before, content)
    return Before(evaluations, _predictions(run.task, answers), held_out)


def _over_the_split(
    material: Material, built: Built, logits: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """Those of a sample of the quoted split in their places, NaN in all others."""
    name = material.held_out
    if name is None:
        return None
    size = (len(material.splits[name]), len(material.label_names))
    result = np.full(size, np.nan, np.float32)
    result[built.rows_before[name]] = logits[name]
    return result


def packed(logits: np.ndarray | None) -> dict[str, Any] | None:
    """Float32 numbers as JSON can hold them, to the last bit and in few bytes.

    Where most rows are NaN throughout, as of a split of which a sample was evaluated,
    the others alone are held, with their positions.
    """
    if logits is None:
        return None
    shape = list(logits.shape)
    if logits.ndim == 2:
        known = np.flatnonzero(~np.isnan(logits).all(axis=1))
        if 2 * len(known) < len(logits):
            rows, some = known.astype("<i8"), logits[known]
            return {"shape": shape, "rows": _text(rows), "base64": _text(some)}
    return {"shape": shape, "base64": _text(logits)}


def _text(numbers: np.ndarray) -> str:
    if numbers.dtype.kind == "f":
        numbers = numbers.astype("<f4")
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def unpacked(packed: Mapping[str, Any] | None) -> np.ndarray | None:
    """What `packed` packed."""
    if packed is None:
        return None
    content = np.frombuffer(base64.b64decode(packed["base64"]), "<f4")
    if "rows" not in packed:
        return content.reshape(packed["shape"])
    result = np.full(packed["shape"], np.nan, np.float32)
    rows = np.frombuffer(base64.b64decode(packed["rows"]), "<i8")
    result[rows] = content.reshape(len(rows), *packed["shape"][1:])
    return result


def _evaluated_after(run: Run, material: Material, built: Built) -> After:
    _logger.info("evaluating after fine-tuning")
    logits = logits_of(run, material, built.evaluators, built.predict)
    return judged(run, material, built.evaluators, logits, doubts_so_far=built.doubts)


def judged(
    run: Run,
    material: Material,
    evaluators: Mapping[str, Evaluator],
    logits: Mapping[str, np.ndarray],
    *,
    doubts_so_far: Sequence[Doubt],
) -> After:
    """The decision, and what it gives, of logits that trained weights gave.

    Args:
      logits: float [n, classes], by evaluator; of the sample texts always.
    """
    logits = dict(logits)
    samples = logits.pop(SAMPLES)
    labels = {name: evaluators[name].labels for name in logits}
    decision = _decide(
        run.task, run.config.serving, logits, labels, material.label_names
    )
    evaluations = _evaluations(run, material, evaluators, logits, decision)
    of_result = number_doubts if decision.gives_numbers else doubts
    found = (*_of_decision(decision), *of_result.of_result(evaluations))
    for doubt in found:
        _logger.warning("%s", doubt.message)
    return After(
        logits=logits,
        labels=labels,
        decision=decision,
        evaluations=evaluations,
        answers=_predictions(
            run.task, decision.answers(samples, label_names=material.label_names)
        ),
        doubts=(*doubts_so_far, *found),
    )


def _of_decision(decision: Decision) -> Iterator[Doubt]:
    for sentence in decision.warnings:
        yield Doubt(kind="decision", message=sentence)


def _predictions(task: Task, answers: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    return tuple(schema.from_mapping(task.prediction_type, each) for each in answers)


def logits_of(
    run: Run, material: Material, evaluators: Mapping[str, Evaluator], predict: Predict
) -> dict[str, np.ndarray]:
    """The logits of each split and of the sample texts: float32 [n, classes].

    Args:
      evaluators: of these, by name.
      predict: gives the logits of a batch.
    """
    no_samples = np.empty([0, len(material.label_names)], np.float32)
    with run.runtime.watchdog.watching("all workers to evaluate"):
        return {SAMPLES: no_samples} | {
            name: evaluator.logits(predict) for name, evaluator in evaluators.items()
        }


def _evaluations(
    run: Run,
    material: Material,
    evaluators: Mapping[str, Evaluator],
    logits: Mapping[str, np.ndarray],
    decision: Decision,
) -> dict[str, Any]:
    return {
        name: evaluators[name].report(
            values,
            decision=decision,
            num_resamples=run.config.num_bootstrap_resamples,
            seed=run.config.training.seed,
            longest_text=material.encoder.longest_text,
        )
        for name, values in logits.items()
    }


def _decide(
    task: Task,
    config: ServingConfig,
    logits: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    label_names: Sequence[str],
) -> Decision:
    """The decision: the given one, or one fitted on validation where there is any."""
    num_classes = len(label_names)
    if config.given_decision:
        return task.given_decision(
            config.decision_numbers,
            num_classes=num_classes,
            interval_coverage=config.interval_coverage,
        )
    if "validation" not in logits:
        return task.plain_decision(num_classes)
    decision = task.fit_decision(
        labels["validation"],
        logits["validation"],
        calibrate=config.calibrate,
        metric=config.decision_metric,
        target_accuracy=config.abstain_accuracy,
        split="validation",
        label_names=label_names,
        interval_coverage=config.interval_coverage,
    )
    _logger.info("decision: %s", decision)
    for sentence in decision.warnings:
        _logger.warning("%s", sentence)
    return decision

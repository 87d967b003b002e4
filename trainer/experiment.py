"""The one place that wires the parts: config in, served-ready model out.

    result = run(config)
    result.report["after"]["test"]["accuracy"], result.saved_model

Read from top to bottom, `run` is the way of the data: rows → splits → token ids →
batches → steps → checkpoints → report → SavedModel. A run that was stopped goes on
where it was when `run` is called again with the same config; one that is finished is
left alone.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import pathlib
import sys
import time
from typing import Any, Mapping

import keras
import numpy as np
import tensorflow as tf

from trainer import environment, handover, results, storage
from trainer.config import (
    ACCELERATOR_STEPS_PER_CALL,
    EVAL_EXAMPLES_PER_ACCELERATOR,
    ExperimentConfig,
    differences,
    settings,
)
from trainer.data import batches, plans, preparation, tokens
from trainer.data.preparation import PreparedData
from trainer.evaluation import calibration
from trainer.evaluation.evaluator import (
    Evaluator,
    Predict,
    make_evaluator,
    unlabelled_split,
)
from trainer.evaluation.metrics import softmax
from trainer.modeling import classifier as classifiers
from trainer.modeling import optimizers, presets
from trainer.runtime import strategies
from trainer.training import compilation, loop, progress
from trainer.training.checkpoints import Checkpoints, RunState
from trainer.runtime.interruptions import TerminationSignal
from trainer.training.steps import PredictStep, TrainStep
from trainer.runtime.watchdog import naming_lost_workers

_logger = logging.getLogger(__name__)

_CONFIG_FILE = "config.json"


def run(config: ExperimentConfig) -> results.RunResult:
    """Fine-tunes, evaluates, reports and exports, as the config says.

    Raises:
      ValueError: something the user gave does not fit; the message says what.
      FloatingPointError: training diverged.
      Preempted: the process was told to end (SIGTERM); what was done is saved.
      WorkerLost: another worker went away, hangs, or never came.
    """
    folder = _reachable(config.model_dir)
    _check_same_run(folder, config)
    if results.is_finished(folder):
        _logger.info("%s holds this run, finished: nothing to do", folder)
        return results.read(folder)
    runtime = strategies.set_up(config.runtime, seed=config.training.seed)
    # Only now: TensorFlow's start with several workers takes SIGTERM for itself.
    with (
        TerminationSignal() as termination,
        naming_lost_workers(runtime.cluster),
        storage.naming_full_disk(),
    ):
        return _run(config, folder, runtime, termination)


def _run(
    config: ExperimentConfig,
    folder: storage.Path,
    runtime: strategies.Runtime,
    termination: TerminationSignal,
) -> results.RunResult:
    stopwatch = _Stopwatch()
    _check_batch_sizes(config, runtime)
    handover.check(config)
    preset = presets.load_preset(config.model.preset)
    data = _prepare(config, runtime, preset)
    stopwatch.lap("prepare_data_secs")
    with runtime.strategy.scope():
        classifier = _build(config, preset, data)
    warnings = _check_model(config, classifier, data)
    work = _make_work(config, runtime, classifier, data)
    evaluators = _evaluators(config, runtime, data)
    stopwatch.lap("build_model_secs")
    if runtime.is_chief:
        # Only now that all has been found in order is the folder this run's.
        storage.write_text(folder / _CONFIG_FILE, config.to_json())
    _compile(runtime, data, work, evaluators)
    stopwatch.lap("compile_secs")
    before = _evaluate_before(config, folder, runtime, data, evaluators, work.predict)
    stopwatch.lap("evaluate_before_secs")
    state = _train(
        config, folder, data, runtime, termination, work, evaluators, stopwatch
    )
    stopwatch.lap("train_and_validate_secs")
    decision, logits, after = _evaluate_after(
        config, runtime, data, evaluators, work.predict
    )
    stopwatch.lap("evaluate_after_secs")
    if not runtime.is_chief:
        with runtime.watchdog.watching("the chief to export", patiently=True):
            runtime.wait_for_all()
        return results.read(folder)
    content = {
        "title": f"{config.model.preset} on {config.data.dataset}",
        "status": "complete",
        **_before_and_after(config, data, before, after),
        "decision": handover.decision_facts(data, decision, logits),
        "training": _training_facts(config, data, classifier, state),
        "data": data.facts,
        "warnings": warnings,
        "config": dataclasses.asdict(config),
        "environment": environment.facts(runtime.reasons),
    }
    export = handover.export(config, preset, data, classifier, decision, content)
    stopwatch.lap("export_secs")
    warnings += handover.refusals(config, export)
    history = results.history(folder)
    content |= {
        "history": history,
        "timing": _timing(stopwatch, state, history),
        **_places(folder, export),
    }
    result = results.write(folder, content)
    runtime.wait_for_all()
    return result


def _prepare(
    config: ExperimentConfig, runtime: strategies.Runtime, preset: presets.Preset
) -> PreparedData:
    """The data of the run, the same on all workers or ValueError."""
    encoder = tokens.TextEncoder(
        preset.vocabulary,
        lowercase=preset.lowercase,
        strip_accents=preset.strip_accents,
        window_length=config.data.max_length,
        truncation=config.data.truncation,
        max_windows=config.data.num_windows,
        window_overlap=config.data.num_shared_tokens,
    )
    data = preparation.prepare(config, encoder, hidden_size=preset.hidden_size)
    for line in (*runtime.reasons, *preparation.summary(data)):
        _logger.info("%s", line)
    if runtime.cluster is not None:
        values = {f"--{name}": repr(v) for name, v in settings(config).items()}
        values |= {
            f"the {name} split": fingerprint
            for name, fingerprint in data.facts["fingerprint"].items()
        }
        with runtime.watchdog.watching("all workers to prepare the data"):
            strategies.refuse_differences(runtime.strategy, runtime.cluster, values)
    return data


def _reachable(model_dir: str) -> storage.Path:
    """The run's folder. Raises ValueError if what holds it cannot be asked."""
    folder = storage.path(model_dir)
    try:
        folder.is_dir()
    except tf.errors.OpError as error:
        raise ValueError(
            f"--model_dir={model_dir} must be a place that can be read and written; "
            f"found {error.message}"
        ) from error
    return folder


def _check_same_run(folder: storage.Path, config: ExperimentConfig) -> None:
    """Raises ValueError where the folder holds a run with other settings."""
    path = folder / _CONFIG_FILE
    if not path.is_file():
        return
    try:
        there = ExperimentConfig.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: expected the config of a run; found {error}; use another "
            "--model_dir, or remove this one"
        ) from error
    found = differences(there, config)
    if found:
        changes = "; ".join(
            f"--{name}: {old!r} there, {new!r} now"
            for name, (old, new) in found.items()
        )
        raise ValueError(
            f"--model_dir={folder} holds a run with other settings ({changes}): go on "
            "with its settings, use another --model_dir, or remove it"
        )


def _check_batch_sizes(config: ExperimentConfig, runtime: strategies.Runtime) -> None:
    num_parts = config.training.accumulation_steps
    budget = config.training.tokens_per_batch
    num_rows = plans.rows_multiple(
        tokens_per_batch=budget, max_text_length=config.data.max_text_length
    )
    if budget and num_rows % (runtime.num_replicas * num_parts):
        raise ValueError(
            f"--tokens_per_batch={budget} with texts of up to "
            f"{config.data.max_text_length} tokens makes batches of a multiple of {num_rows} rows, which must be a multiple "
            f"of replicas × accumulation steps. Received: {runtime.num_replicas} × "
            f"{num_parts}; change the budget, or use --global_batch_size alone"
        )
    if not budget:
        strategies.check_batch_size(
            "global_batch_size",
            config.training.global_batch_size,
            num_replicas=runtime.num_replicas,
            num_parts=num_parts,
        )
    strategies.check_batch_size(
        "eval_batch_size",
        _eval_batch_size(config, runtime),
        num_replicas=runtime.num_replicas,
    )


def _eval_batch_size(config: ExperimentConfig, runtime: strategies.Runtime) -> int:
    """Examples per evaluation step, the sentinel 0 resolved."""
    least = EVAL_EXAMPLES_PER_ACCELERATOR * runtime.num_replicas
    auto = config.training.global_batch_size
    if runtime.has_accelerators:
        auto = max(auto, least)
    return config.training.eval_batch_size or auto


def _steps_per_call(config: ExperimentConfig, runtime: strategies.Runtime) -> int:
    """Training steps that are handed over together, the sentinel 0 resolved.

    Several GPUs' sums and updates are not compiled by XLA: of each padded length they
    are in a graph of several steps, and the host has to pass over all but one.
    """
    is_one_gpu = runtime.has_accelerators and runtime.num_replicas == 1
    is_one_program = runtime.is_on_tpu or (is_one_gpu and runtime.fusion == "whole")
    auto = ACCELERATOR_STEPS_PER_CALL if is_one_program else 1
    return config.runtime.steps_per_call or auto


def _build(
    config: ExperimentConfig, preset: presets.Preset, data: PreparedData
) -> keras.Model:
    """The compiled classifier, its optimizer built."""
    rate = config.model.dropout
    classifier = classifiers.build_classifier(
        preset,
        num_classes=len(data.label_names),
        pooling=config.model.pooling,
        dropout=None if rate < 0 else rate,
        seed=config.training.seed,
    )
    optimizer = optimizers.build_optimizer(
        config.optimizer,
        total_steps=data.plan.nominal_steps,
        steps_done=data.plan.nominal_steps_done(),
    )
    optimizers.exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    classifiers.compile_classifier(classifier, optimizer)
    return classifier


def _check_model(
    config: ExperimentConfig, classifier: keras.Model, data: PreparedData
) -> list[str]:
    """All warnings, logged. Raises ValueError where model and settings cannot work."""
    limit = classifier.backbone.max_sequence_length
    if config.data.max_length > limit:
        raise ValueError(
            f"--max_length must be at most {limit}, the preset's own limit. "
            f"Received: max_length={config.data.max_length}"
        )
    warning = optimizers.warmup_warning(
        config.optimizer, total_steps=data.plan.nominal_steps
    )
    warnings = [*data.warnings, *([warning] if warning else [])]
    for each in warnings:
        _logger.warning("%s", each)
    return warnings


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is compiled, and what feeds it."""

    classifier: keras.Model
    feeder: batches.BatchFeeder
    train_step: TrainStep
    predict_step: PredictStep
    predict: Predict


def _make_work(
    config: ExperimentConfig,
    runtime: strategies.Runtime,
    classifier: keras.Model,
    data: PreparedData,
) -> _Work:
    feeder = batches.BatchFeeder(
        data.tokens["train"],
        data.splits["train"].data.labels,
        data.bucket_lengths,
        runtime.strategy,
        nominal_batch_size=data.plan.nominal_batch_size,
    )
    train_step = TrainStep(
        classifier,
        runtime.strategy,
        clip_norm=config.optimizer.clip_norm,
        seed=config.training.seed,
        accumulation_steps=config.training.accumulation_steps,
        steps_per_call=_steps_per_call(config, runtime),
        fusion=runtime.fusion,
        rematerialize=config.runtime.rematerialize,
        window_length=config.data.max_length,
    )
    predict_step = PredictStep(
        classifier,
        runtime.strategy,
        fusion=runtime.fusion,
        window_length=config.data.max_length,
    )
    predict = runtime.watchdog.watched(predict_step, "a step of an evaluation")
    return _Work(classifier, feeder, train_step, predict_step, predict)


def _compile(
    runtime: strategies.Runtime,
    data: PreparedData,
    work: _Work,
    evaluators: Mapping[str, Evaluator],
) -> None:
    """Compiles the steps for all lengths there are, and leaves the weights alone."""
    plans = [evaluator.plan for evaluator in evaluators.values()]
    with runtime.watchdog.watching("all workers to compile"):
        compilation.compile_steps(
            work.train_step,
            work.predict_step,
            train_feed=work.feeder.rehearsal(data.plan.from_step(0)),
            predict_feed=work.feeder.rehearsal(*plans),
            variables=[
                *work.classifier.trainable_variables,
                *work.classifier.optimizer.variables,
            ],
            by_running=runtime.fusion != "none",
            beat=runtime.watchdog.beat,
        )


def _evaluators(
    config: ExperimentConfig, runtime: strategies.Runtime, data: PreparedData
) -> dict[str, Evaluator]:
    """Evaluators of the sample texts, and of validation and test where there are."""
    parts = {
        name: (data.splits[name], data.tokens[name])
        for name in ("validation", "test")
        if name in data.splits
    }
    parts["samples"] = unlabelled_split(
        config.sample_texts, data, cache_dir=config.data.cache_dir
    )
    batch_size = _eval_batch_size(config, runtime)
    return {
        name: make_evaluator(
            split, encoded, data, runtime.strategy, batch_size=batch_size, name=name
        )
        for name, (split, encoded) in parts.items()
    }


def _predict(
    runtime: strategies.Runtime, evaluators: Mapping[str, Evaluator], predict: Predict
) -> dict[str, np.ndarray]:
    """The logits of each split and of the sample texts."""
    with runtime.watchdog.watching("all workers to evaluate"):
        return {
            name: evaluator.logits(predict) for name, evaluator in evaluators.items()
        }


def _evaluate(
    config: ExperimentConfig,
    data: PreparedData,
    evaluators: Mapping[str, Evaluator],
    logits: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Metrics of each split, and predictions of the sample texts under "samples"."""
    result: dict[str, Any] = {
        name: evaluators[name].report(
            each,
            num_resamples=config.num_bootstrap_resamples,
            seed=config.training.seed,
            longest_text=data.encoder.longest_text,
        )
        for name, each in logits.items()
        if name != "samples"
    }
    result["samples"] = softmax(logits["samples"]).tolist()
    return result


def _evaluate_before(
    config: ExperimentConfig,
    folder: storage.Path,
    runtime: strategies.Runtime,
    data: PreparedData,
    evaluators: Mapping[str, Evaluator],
    predict: Predict,
) -> dict[str, Any]:
    """Evaluates the weights as they came; a resumed run finds what was found then."""
    path = folder / "before.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    _logger.info("evaluating before fine-tuning")
    logits = _predict(runtime, evaluators, predict)
    result = _evaluate(config, data, evaluators, logits)
    if runtime.is_chief:
        storage.write_text(path, json.dumps(result))
    return result


def _evaluate_after(
    config: ExperimentConfig,
    runtime: strategies.Runtime,
    data: PreparedData,
    evaluators: Mapping[str, Evaluator],
    predict: Predict,
) -> tuple[calibration.Decision, dict[str, np.ndarray], dict[str, Any]]:
    """How the trained model decides, its logits, and what the two of them give."""
    _logger.info("evaluating after fine-tuning")
    logits = _predict(runtime, evaluators, predict)
    decision = handover.decide(config, data, logits)
    scaled = {name: each / decision.temperature for name, each in logits.items()}
    return decision, logits, _evaluate(config, data, evaluators, scaled)


def _train(
    config: ExperimentConfig,
    folder: storage.Path,
    data: PreparedData,
    runtime: strategies.Runtime,
    termination: TerminationSignal,
    work: _Work,
    evaluators: Mapping[str, Evaluator],
    stopwatch: _Stopwatch,
) -> RunState:
    """Trains from the last checkpoint on, and leaves the best weights in place."""
    state = RunState(data_fingerprint=data.facts["fingerprint"])
    checkpoints = Checkpoints(
        folder / "checkpoints",
        work.classifier,
        state,
        keep=config.training.keep_checkpoints,
        is_chief=runtime.is_chief,
        wait_for_all=runtime.wait_for_all,
        io_device=runtime.io_device,
    )
    _go_on_from_latest(folder, data, runtime, checkpoints, state)
    validation = evaluators.get("validation")
    schedule = work.classifier.optimizer._learning_rate

    def feed(plan: plans.BatchPlan) -> batches.Feed:
        made = work.feeder(plan)
        stopwatch.start_training()
        return made

    with termination.deferred(), runtime.watchdog.watching("all workers to train"):
        loop.TrainingLoop(
            plan=data.plan,
            feed=feed,
            train_step=runtime.watchdog.watched(work.train_step, "a training step"),
            steps_per_call=work.train_step.steps_per_call,
            learning_rate=lambda step: float(schedule(step)),
            evaluate=(
                functools.partial(validation.metrics, work.predict)
                if validation
                else None
            ),
            state=state,
            checkpoints=checkpoints,
            writers=_writers(folder, data, state) if runtime.is_chief else [],
            config=config.training,
            termination=termination,
        ).run()
    checkpoints.restore_best()
    return state


def _go_on_from_latest(
    folder: storage.Path,
    data: PreparedData,
    runtime: strategies.Runtime,
    checkpoints: Checkpoints,
    state: RunState,
) -> None:
    """Restores the last state, the same on all workers or ValueError."""
    if checkpoints.restore_latest():
        _logger.info("going on from step %d of %s", state.step, folder)
        _check_same_data(folder, state, data)
    if runtime.cluster is not None:
        where = {"the step in --model_dir": str(state.step)}
        with runtime.watchdog.watching("all workers to read the checkpoint"):
            strategies.refuse_differences(runtime.strategy, runtime.cluster, where)


def _writers(
    folder: storage.Path, data: PreparedData, state: RunState
) -> list[progress.Writer]:
    return [
        progress.ConsoleWriter(
            total_steps=data.plan.total_steps,
            steps_per_epoch=data.plan.steps_per_epoch,
        ),
        progress.JsonLinesWriter(
            folder / results.METRICS_FILE,
            from_step=state.step,
            evaluated_step=state.evaluated_step,
        ),
        progress.TensorBoardWriter(folder / "logs"),
    ]


def _check_same_data(folder: storage.Path, state: RunState, data: PreparedData) -> None:
    now = data.facts["fingerprint"]
    changed = [name for name in now if state.data_fingerprint.get(name) != now[name]]
    if changed:
        raise ValueError(
            f"--model_dir={folder} was started on other data: expected the same texts "
            f"and labels; found the {', '.join(changed)} split changed since; bring "
            "the data back, or use another --model_dir"
        )


def _before_and_after(
    config: ExperimentConfig,
    data: PreparedData,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> dict[str, Any]:
    """The evaluations as the report has them, the sample texts by themselves."""
    samples = results.samples(
        config.sample_texts,
        data.label_names,
        before=before["samples"],
        after=after["samples"],
    )
    metrics = {
        when: {name: value for name, value in found.items() if name != "samples"}
        for when, found in (("before", before), ("after", after))
    }
    return {**metrics, "samples": samples}


def _timing(
    stopwatch: _Stopwatch, state: RunState, history: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **stopwatch.laps,
        "train_steps_secs": state.train_secs,
        "train_examples_per_sec": results.steady_rate(history["train"]),
        "input_wait_fraction": results.steady_input_wait(history["train"]),
        **environment.peak_memory(),
    }


def _places(folder: storage.Path, export: Mapping[str, Any]) -> dict[str, Any]:
    """Where the results lie, and the command that uses them."""
    return {
        "export": export,
        "paths": {"report": str(folder / "report.html"), "saved_model": export["path"]},
        "commands": {
            "predict": f"{_interpreter()} -m trainer.predict "
            f"--saved_model={export['path']} --input=TEXTS.txt --output=-"
        },
    }


def _interpreter() -> str:
    """This Python, as one would call it from the current folder."""
    executable, here = pathlib.Path(sys.executable), pathlib.Path.cwd()
    if executable.is_relative_to(here):
        return str(executable.relative_to(here))
    return str(executable)


def _training_facts(
    config: ExperimentConfig,
    data: PreparedData,
    classifier: keras.Model,
    state: RunState,
) -> dict[str, Any]:
    def num_parameters(variables: list[keras.Variable]) -> int:
        return int(sum(np.prod(variable.shape) for variable in variables))

    return {
        "total_steps": data.plan.total_steps,
        "num_steps_run": state.step,
        "stopped_early": state.stopped_early,
        "num_train_examples": len(data.splits["train"]),
        "num_parameters": num_parameters(classifier.weights),
        "num_trainable_parameters": num_parameters(classifier.trainable_weights),
        "best_metric": config.training.best_metric,
        "best_step": state.best_step,
        "weights": "last" if state.best_step is None else "best",
    }


class _Stopwatch:
    """Seconds between laps, and up to the first training step."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.monotonic()

    def lap(self, name: str) -> None:
        """Ends a lap."""
        now = time.monotonic()
        self.laps[name] = now - self._since
        self._since = now

    def start_training(self) -> None:
        """Notes how long the process took to come to its first training step.

        What it compiled is left out. A process that finds nothing left to train, for
        it goes on after training, has no such time.
        """
        self.laps["secs_to_first_step"] = (
            environment.secs_since_start() - self.laps["compile_secs"]
        )

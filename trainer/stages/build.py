"""Second stage: the classifier, its optimizer, and all that is compiled.

built = build.run(run, material)
built.train_step, built.predict, built.evaluators["validation"]
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from typing import Any, Callable, Mapping, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.config import DataConfig, ModelConfig
from trainer.data import draws, splits
from trainer.evaluation.schema import Doubt, StartFacts
from trainer.data.batches import BatchFeeder
from trainer.data.splits import Pool
from trainer.data.tokens import TokenizedTexts, encode_few
from trainer.evaluation.evaluator import Evaluator, Predict, make_evaluator
from trainer.messages import message
from trainer.modeling import classifier as classifiers
from trainer.modeling import adapters, freezing, layer_rates, lora, optimizers
from trainer.modeling.forward import Forward, Fusion
from trainer.modeling.presets import Preset
from trainer.runtime import agreement
from trainer.stages import parts as parts_lib
from trainer.stages import resolve, start
from trainer.stages.context import Run
from trainer.stages.parts import Parts, num_parameters
from trainer.stages.prepare import Material
from trainer.tasks.task import Objective
from trainer.training import compilation
from trainer.training.steps import PredictStep, TrainStep

_logger = logging.getLogger(__name__)

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

# What XLA took for BERT-base's training step at one length on an H100, from scratch.
_GPU_COMPILE_SECS = 80.0

# The name of the evaluator of sample texts, beside those of the splits.
SAMPLES = "samples"
HELD_OUT = ("validation", "test")
# What no pretrained model has.


@dataclasses.dataclass(frozen=True)
class Built:
    """The model, and what runs it.

    Attributes:
      classifier: compiled, its optimizer built.
      feeder: puts training batches on the devices.
      train_step: updates the weights.
      predict_step: gives the logits of a batch.
      predict: the same, in the eyes of the watchdog.
      evaluators: of validation, test and sample texts, where there are any.
      evaluators_before: of the texts that the weights as they came are evaluated on.
      rows_before: int64, where these are in their splits, by split.
      doubts: what a user should know before trusting the result.
      settings_in_words: what the settings that are automatic came to, by name.
      compiled: what XLA compiles.
      parts: in how many parts a replica computes its share of a batch.
      start: whose weights it began from; None: the preset's.
    """

    classifier: keras.Model
    feeder: BatchFeeder
    train_step: TrainStep
    predict_step: PredictStep
    predict: Predict
    evaluators: Mapping[str, Evaluator]
    evaluators_before: Mapping[str, Evaluator]
    rows_before: Mapping[str, np.ndarray]
    doubts: tuple[Doubt, ...]
    settings_in_words: Mapping[str, str]
    compiled: resolve.Compiled
    parts: Parts
    start: StartFacts | None = None

    def facts(self) -> dict[str, Any]:
        """A part of the report's `training`."""
        return {
            "num_parameters": num_parameters(self.classifier.weights),
            "num_trainable_parameters": num_parameters(
                self.classifier.trainable_weights
            ),
            "accumulation_steps": self.parts.load.num_parts,
        }


def run(
    run: Run, material: Material, *, learning_rate: Schedule | None = None
) -> Built:
    """Builds the model and compiles its steps.

    Args:
      learning_rate: by step; None: as the settings say.

    Raises:
      ValueError: model and settings cannot work together, or
        --accumulation_steps=auto finds no number of parts that fits the memory.
    """
    built = fitted(run, material, make(run, material, learning_rate=learning_rate))
    parts_lib.refuse_unfit(run, built.parts, material.preset)
    if run.runtime.is_chief:
        # Only now that all was found in order is the folder this run's.
        storage.write_text(run.folder.config, run.config.to_json())
        if material.adapter is not None:
            adapters.keep(material.adapter, run.folder.adapter)
        start.keep(run, material, built.classifier, built.start)
        if built.compiled.reason is not None:
            chosen = json.dumps(dataclasses.asdict(built.compiled))
            storage.write_text(run.folder.chosen, chosen)
    compile_steps(run, material, built)
    return built


def make(
    run: Run, material: Material, *, learning_rate: Schedule | None = None
) -> Built:
    """What `run` gives, nothing of it compiled and nothing written.

    Raises:
      ValueError: model and settings cannot work together.
    """
    program_bytes = parts_lib.program_bytes(run)
    with run.runtime.strategy.scope():
        classifier, begun = make_classifier(run, material, learning_rate=learning_rate)
    _refuse_other_start(run, begun)
    _refuse_long_windows(run.config.data.max_length, classifier)
    doubts = _doubts(run, material, classifier.optimizer, begun)
    compiled = _compiled(run, material, classifier)
    parts = parts_lib.reckoned(run, material, classifier, program_bytes)
    rows_before = _rows_before(run, material)
    evaluators = make_evaluators(run, material)
    predict_step = make_predict_step(run, classifier, fusion=compiled.fusion)
    built = Built(
        classifier=classifier,
        feeder=BatchFeeder(
            material.tokens,
            run.task.targets(material.texts.pool.labels),
            material.bucket_lengths,
            run.runtime.strategy,
            rows=material.splits["train"].rows,
            nominal_batch_size=material.plan.nominal_batch_size,
            example_weights=material.example_weights(),
        ),
        train_step=_train_step(run, classifier, compiled, parts.load.num_parts),
        predict_step=predict_step,
        predict=run.runtime.watchdog.watched(predict_step, "a step of an evaluation"),
        evaluators=evaluators,
        evaluators_before=_evaluators_before(run, material, evaluators, rows_before),
        rows_before=rows_before,
        doubts=doubts,
        settings_in_words=_in_words(run, material, classifier, compiled, parts),
        compiled=compiled,
        parts=parts,
        start=begun,
    )
    run.stopwatch.lap("build_model_secs")
    return built


def fitted(run: Run, material: Material, built: Built) -> Built:
    """With the number of parts that fits the devices, where they can be tried.

    Only for --accumulation_steps=auto. The longest step is done, and the weights keep
    their values.
    """
    if not parts_lib.are_tried(run):
        return built
    feed = built.feeder.rehearsal(material.plan)
    classifier, compiled = built.classifier, built.compiled
    tried: dict[int, TrainStep] = {}

    def step_in(num_parts: int) -> TrainStep:
        if num_parts not in tried:
            # What the one before it compiled takes memory, too.
            tried.clear()
            tried[num_parts] = _train_step(run, classifier, compiled, num_parts)
        return tried[num_parts]

    parts = parts_lib.tried(
        run,
        built.parts,
        lambda num_parts: compilation.rehearse(
            step_in(num_parts), feed, variables=_trained(classifier)
        ),
    )
    return dataclasses.replace(
        built,
        train_step=step_in(parts.load.num_parts),
        settings_in_words=_in_words(run, material, classifier, compiled, parts),
        parts=parts,
    )


def _trained(classifier: keras.Model) -> list[keras.Variable]:
    """All that a training step changes."""
    return [*classifier.trainable_variables, *classifier.optimizer.variables]


def _in_words(
    run: Run,
    material: Material,
    classifier: keras.Model,
    compiled: resolve.Compiled,
    parts: Parts,
) -> dict[str, str]:
    return resolve.in_words(
        run,
        material.plan,
        dropout=float(classifier.backbone.dropout),
        fusion=compiled.fusion,
        num_parts=parts.load.num_parts,
    )


def make_classifier(
    run: Run, material: Material, *, learning_rate: Schedule | None = None
) -> tuple[keras.Model, StartFacts | None]:
    """The compiled classifier, its optimizer built; and whose weights it begins from."""
    classifier = classifiers.build_classifier(
        material.preset,
        num_classes=len(material.label_names),
        pooling=run.config.model.pooling,
        dropout=run.resolved.dropout,
        seed=run.config.training.seed,
        separator_id=material.encoder.separator_id,
    )
    begun = start.begin(run, material, classifier)
    if classifier.has_new_pooler and begun is None:
        _warn_of_new_pooler(material.preset)
    choose_trained(run.config.model, classifier, seed=run.config.training.seed)
    if material.adapter is not None:
        adapters.assign(material.adapter, classifier)
    optimizer = optimizers.build_optimizer(
        run.config.optimizer,
        total_steps=material.plan.nominal_steps,
        steps_done=material.plan.nominal_steps_done(),
        learning_rate=learning_rate,
    )
    optimizers.exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    factors = layer_rates.factors(classifier, decay=run.config.optimizer.layer_decay)
    optimizer.rate_factors = [factors[v.path] for v in classifier.trainable_variables]
    optimizer.first_updates = layer_rates.first_updates(
        classifier, every=run.config.optimizer.unfreeze_every
    )
    if run.config.optimizer.decay_towards == "start":
        optimizers.decay_towards_start(
            optimizer,
            classifier.trainable_variables,
            new=classifiers.new_weights(classifier),
        )
    classifiers.compile_classifier(classifier, optimizer, loss=run.task.loss())
    return classifier, begun


def _warn_of_new_pooler(preset: Preset) -> None:
    _logger.warning(
        "--pooling=first: --preset=%s, a %s, brings no layer between the first token and "
        "the head, so a new one is trained with it. What reads the encoder untrained "
        "(the frozen baseline, --head_start=frozen) says little through it; "
        "--pooling=mean needs none",
        preset.name,
        preset.kind.name,
    )


def _refuse_other_start(run: Run, begun: StartFacts | None) -> None:
    """Raises ValueError on all workers where one began from other weights."""
    if begun is None or run.runtime.cluster is None:
        return
    with run.runtime.watchdog.watching("all workers to read --init_from"):
        agreement.refuse_differences(
            run.runtime.strategy,
            run.runtime.cluster,
            {"the weights of --init_from": begun.sha256},
        )


def choose_trained(config: ModelConfig, classifier: keras.Model, *, seed: int) -> None:
    """Freezes what shall stay as it came, and adds what is trained instead."""
    freezing.freeze(classifier, num_layers=config.freeze_layers)
    if config.lora_rank:
        lora.add(
            classifier,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            targets=config.lora_targets,
            seed=seed,
        )


def _refuse_long_windows(window_length: int, classifier: keras.Model) -> None:
    limit = classifier.backbone.max_sequence_length
    if window_length > limit:
        raise ValueError(
            message(
                f"--max_length must be at most {limit}, the preset's own limit",
                received=f"max_length={window_length}",
            )
        )


def _doubts(
    run: Run,
    material: Material,
    optimizer: optimizers.AdamW,
    begun: StartFacts | None,
) -> tuple[Doubt, ...]:
    """All doubts so far, logged."""
    plan = material.plan
    warnings = {
        "long_warmup": optimizers.warmup_warning(
            run.config.optimizer, total_steps=plan.nominal_steps
        ),
        "late_unfreezing": optimizers.unfreezing_warning(
            optimizer, total_updates=plan.total_steps
        ),
    }
    of_steps = [
        Doubt(kind=kind, message=said) for kind, said in warnings.items() if said
    ]
    doubts = (*material.doubts, *of_steps, *start.doubts(run, material, begun))
    for doubt in doubts:
        _logger.warning("%s", doubt.message)
    return doubts


def _compiled(
    run: Run, material: Material, classifier: keras.Model
) -> resolve.Compiled:
    """What XLA compiles, logged where it was weighed."""
    compiled = resolve.compiled(
        run,
        material.plan,
        material.bucket_lengths,
        num_layers=int(classifier.backbone.num_layers),
        hidden_size=int(classifier.backbone.hidden_dim),
    )
    if compiled.reason is not None:
        _logger.info("%s", compiled.reason)
    return compiled


def has_one_graph(run: Run, fusion: Fusion) -> bool:
    """Whether one graph serves all padded lengths; accelerators want one for each."""
    return (
        fusion != "whole"
        and not run.runtime.has_accelerators
        and run.runtime.strategy is tf.distribute.get_strategy()
        # Several steps a call need the graphs of all lengths; with a budget of tokens
        # each length has a batch size of its own.
        and run.resolved.steps_per_call == 1
        and not run.config.training.tokens_per_batch
    )


def window_length(config: DataConfig) -> int | None:
    """That of `Forward`: None where no text has more than one window."""
    return config.max_length if config.num_windows > 1 else None


def _train_step(
    run: Run, classifier: keras.Model, compiled: resolve.Compiled, num_parts: int
) -> TrainStep:
    forward = train_forward(run, classifier, fusion=compiled.fusion)
    objective = run.task.objective(
        classifier,
        forward,
        label_smoothing=run.config.training.label_smoothing,
        focal_gamma=run.config.training.focal_gamma,
    )
    return make_train_step(
        run, classifier, objective, fusion=compiled.fusion, num_parts=num_parts
    )


def train_forward(run: Run, classifier: keras.Model, *, fusion: Fusion) -> Forward:
    """The forward pass of a training step."""
    return Forward(
        classifier,
        fusion=fusion,
        rematerialize=run.config.runtime.rematerialize,
        window_length=window_length(run.config.data),
        # Operation by operation TensorFlow's own kernels do it.
        sorts_gradient=run.runtime.is_on_gpu and fusion == "whole",
    )


def make_train_step(
    run: Run,
    model: keras.Model,
    objective: Objective,
    *,
    fusion: Fusion,
    num_parts: int,
) -> TrainStep:
    """The step that updates a model's weights, as the settings say.

    Args:
      model: compiled, its optimizer built.
      fusion: what XLA compiles of it.
      num_parts: in how many parts a replica computes its share of a batch.
    """
    return TrainStep(
        model,
        objective,
        run.runtime.strategy,
        clip_norm=run.config.optimizer.clip_norm,
        seed=run.config.training.seed,
        accumulation_steps=num_parts,
        steps_per_call=run.resolved.steps_per_call,
        fusion=fusion,
        any_length=has_one_graph(run, fusion),
    )


def make_reading_step(
    run: Run,
    classifier: keras.Model,
    of: Callable[[Forward], Callable[[tf.Tensor, tf.Tensor], tf.Tensor]],
    *,
    name: str,
) -> Predict:
    """A step that reads texts with the encoder once or a few times.

    Args:
      of: what of the forward pass, as `operator.attrgetter("embed")` has it.
      name: of the step, for the watchdog.
    """
    # So few passes do not pay for compiling the pieces of a CPU's steps.
    fusion: Fusion = "whole" if run.runtime.fusion == "whole" else "none"
    forward = Forward(
        classifier,
        fusion=fusion,
        window_length=window_length(run.config.data),
        differentiable=False,
    )
    step = PredictStep(
        of(forward),
        run.runtime.strategy,
        fusion=fusion,
        any_length=has_one_graph(run, fusion),
    )
    return run.runtime.watchdog.watched(step, name)


def make_predict_step(
    run: Run, classifier: keras.Model, *, fusion: Fusion
) -> PredictStep:
    """The step that gives the logits of a batch.

    Args:
      fusion: what XLA compiles of it.
    """
    forward = Forward(
        classifier,
        fusion=fusion,
        window_length=window_length(run.config.data),
        differentiable=False,
    )
    return PredictStep(
        forward,
        run.runtime.strategy,
        fusion=fusion,
        any_length=has_one_graph(run, fusion),
    )


def make_evaluators(run: Run, material: Material) -> dict[str, Evaluator]:
    """Evaluators of validation, test and sample texts, where there are any."""
    names = [name for name in HELD_OUT if name in material.splits]
    evaluators = {
        name: _evaluator(
            run,
            material,
            material.texts.pool,
            material.splits[name].rows,
            material.tokens,
            name,
        )
        for name in names
    }
    if run.resolved.sample_texts:
        samples = splits.unlabelled(run.resolved.sample_texts)
        tokens = encode_few(run.resolved.sample_texts, material.encoder)
        evaluators[SAMPLES] = _evaluator(
            run, material, samples, np.arange(len(samples)), tokens, SAMPLES
        )
    return evaluators


def _evaluators_before(
    run: Run,
    material: Material,
    evaluators: Mapping[str, Evaluator],
    rows: Mapping[str, np.ndarray],
) -> dict[str, Evaluator]:
    """Those of all texts, but of a split that is sampled of its sample."""
    sampled = {
        name: _evaluator(
            run,
            material,
            material.texts.pool,
            material.splits[name].rows[chosen],
            material.tokens,
            name,
        )
        for name, chosen in rows.items()
        if len(chosen) < len(material.splits[name])
    }
    return {**evaluators, **sampled}


def _evaluator(
    run: Run,
    material: Material,
    pool: Pool,
    rows: np.ndarray,
    tokens: TokenizedTexts,
    name: str,
) -> Evaluator:
    return make_evaluator(
        pool,
        rows,
        tokens,
        material.bucket_lengths,
        run.runtime.strategy,
        batch_size=run.resolved.eval_batch_size,
        scoring=run.task.scoring,
        label_names=material.label_names,
        name=name,
    )


def _rows_before(run: Run, material: Material) -> dict[str, np.ndarray]:
    """Where the texts of the evaluation before training are in their splits.

    All where --num_before_examples is 0 or there are no more; else drawn like the
    splits themselves, by seed and contents.
    """
    pool, limit = material.texts.pool, run.config.num_before_examples
    chosen = {}
    for name in HELD_OUT:
        if name not in material.splits:
            continue
        rows = material.splits[name].rows
        digests = pool.digests[rows]
        chosen[name] = draws.draw(
            pool.labels[rows],
            digests,
            digests,
            label_names=material.label_names,
            limit=limit or len(rows),
            seed=run.config.training.seed,
        )
    return chosen


def compile_steps(run: Run, material: Material, built: Built) -> None:
    """Compiles the steps for all lengths there are, and leaves the weights alone."""
    evaluators = [*built.evaluators.values(), *built.evaluators_before.values()]
    evaluation_plans = [evaluator.plan for evaluator in evaluators]
    num_replicas = run.runtime.num_local_replicas
    with run.runtime.watchdog.watching("all workers to compile"):
        compilation.compile_steps(
            built.train_step,
            built.predict_step,
            train_feed=built.feeder.rehearsal(material.plan),
            predict_feed=built.feeder.rehearsal(*evaluation_plans),
            variables=_trained(built.classifier),
            by_running=built.compiled.fusion != "none",
            num_replicas=num_replicas,
            secs_per_program=_GPU_COMPILE_SECS if run.runtime.is_on_gpu else None,
            # A length is compiled once for each replica.
            beat=functools.partial(run.runtime.watchdog.beat, times=num_replicas),
        )
    run.stopwatch.lap("compile_secs")

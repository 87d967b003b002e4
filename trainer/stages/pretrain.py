"""The stage before fine-tuning: the encoder learns to guess masked tokens of the task.

    pretrained = pretrain.run(run, material, built)
    pretrained.facts().masked_loss      # without --pretrain_steps there are no facts

Within-task pretraining (Sun et al. 2019, "How to Fine-Tune BERT for Text
Classification?", 5.5). The same loop, steps and checkpoints as in fine-tuning, with
another objective and a plan of its own (`pretraining_material.py`). The encoder's
variables are the classifier's; head and optimizer go when it is done, and fine-tuning
begins with an optimizer that knows nothing of it. States are in a folder of their own: a
run that was killed finds out by them where it is.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from typing import Any

import keras
import numpy as np

from trainer import run_folder
from trainer.data.batches import BatchFeeder
from trainer.evaluation import schema
from trainer.evaluation.evaluator import Evaluator, make_evaluator
from trainer.evaluation.schema import PretrainingFacts
from trainer.modeling import masked_lm, optimizers
from trainer.modeling.forward import Forward
from trainer.modeling.masked_lm import MaskedLM
from trainer.stages import build, measure, resolve, train
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.prepare import Material
from trainer.stages.pretraining_material import PretrainingMaterial
from trainer.training import compilation, loop, progress
from trainer.training.checkpoints import Checkpoints, RunState
from trainer.training.steps import MeasureStep, TrainStep

_logger = logging.getLogger(__name__)

PHASE = "pretraining"


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What the pretraining came to; the classifier has its encoder.

    Attributes:
      pretraining: None without --pretrain_steps.
    """

    pretraining: PretrainingFacts | None

    @property
    def train_secs(self) -> float:
        """Time spent in its steps."""
        return self.pretraining.train_secs if self.pretraining else 0.0

    def facts(self) -> PretrainingFacts | None:
        """The report's `pretraining`."""
        return self.pretraining

    def public_facts(self) -> dict[str, Any]:
        """The same for who gets the model: ready for JSON."""
        facts = self.pretraining
        return {"pretraining": dataclasses.asdict(facts) if facts else None}


@dataclasses.dataclass(frozen=True)
class Phase:
    """The model that guesses tokens, and what runs it.

    Attributes:
      model: compiled, its optimizer built; its encoder is the classifier's.
      feeder: puts batches of masked texts on the devices.
      train_step: updates its weights.
      measure_step: gives sums and numbers of masked tokens of a batch.
      evaluator: of held-out texts; None: there are none.
      split: of these.
      head: where the head came from.
    """

    model: keras.Model
    feeder: BatchFeeder
    train_step: TrainStep
    measure_step: MeasureStep
    evaluator: Evaluator | None
    split: str | None
    head: str


def run(run: Run, material: Material, built: Built) -> Pretrained:
    """Trains the encoder for --pretrain_steps, from the last state on.

    Raises:
      ValueError: the folder's run is on other data or of another model.
      FloatingPointError: training diverged.
      Preempted: a worker was told to end; the state is saved.
    """
    facts = None
    if material.pretraining is not None:
        facts = _recorded(run, material) or _run(
            run, material, material.pretraining, built
        )
        run.stopwatch.lap("pretraining_secs")
    return Pretrained(facts)


def _recorded(run: Run, material: Material) -> PretrainingFacts | None:
    """What an earlier process came to, where fine-tuning has begun after it.

    Its states have all weights. What the decay pulls to has to be restored, though.
    """
    kept = measure.kept(run.folder.pretraining, material) or {}
    is_needed = run.config.optimizer.decay_towards == "start"
    if is_needed or not run.folder.has_checkpoint or not kept.get("facts"):
        return None
    return schema.from_mapping(PretrainingFacts, kept["facts"])


def _run(
    run: Run, material: Material, pretraining: PretrainingMaterial, built: Built
) -> PretrainingFacts:
    kept = measure.kept(run.folder.pretraining, material) or {}
    phase = make(run, material, pretraining, built)
    compile_steps(run, pretraining, built, phase)
    # Of the weights as they came: nothing is restored yet.
    before = kept.get("before") or _masked_loss(run, phase)
    _keep(run, material, before=before)
    state = RunState(
        data_fingerprint=dict(material.fingerprint),
        data_files=material.files,
        phase=PHASE,
    )
    checkpoints = Checkpoints(
        run.folder.pretraining_checkpoints,
        phase.model,
        state,
        keep=run.config.training.keep_checkpoints,
        is_chief=run.runtime.is_chief,
        wait_for_all=run.runtime.wait_for_all,
        io_device=run.runtime.io_device,
    )
    train.resume(run, material, checkpoints, state)
    with (
        run.termination.deferred(),
        run.runtime.watchdog.watching("all workers to pretrain"),
    ):
        _loop(run, pretraining, phase, checkpoints, state).run()
    optimizers.start_decay_here(
        built.classifier.optimizer, built.classifier.trainable_variables
    )
    facts = schema.from_mapping(
        PretrainingFacts,
        {
            **pretraining.read_facts,
            "num_steps": state.step,
            "head": phase.head,
            "masked_loss": _compared(phase, before, _masked_loss(run, phase)),
            "train_secs": state.train_secs,
        },
    )
    _keep(run, material, before=before, facts=dataclasses.asdict(facts))
    return facts


def make(
    run: Run, material: Material, pretraining: PretrainingMaterial, built: Built
) -> Phase:
    """The model and its steps, nothing of them compiled."""
    fusion = built.compiled.fusion
    with run.runtime.strategy.scope():
        model = _model(run, pretraining, built.classifier)
    make_objective = functools.partial(
        MaskedLM, model, masking=pretraining.masking, seed=run.config.training.seed
    )
    objective = make_objective(
        build.train_forward(run, built.classifier, fusion=fusion)
    )
    to_measure = make_objective(
        Forward(
            built.classifier,
            fusion=fusion,
            window_length=build.window_length(run.config.data),
            differentiable=False,
        )
    )
    split = next((name for name in build.HELD_OUT if name in material.splits), None)
    return Phase(
        model=model,
        feeder=BatchFeeder(
            pretraining.tokens,
            np.arange(len(pretraining.tokens)),
            pretraining.bucket_lengths,
            run.runtime.strategy,
            rows=pretraining.rows,
            # So that each masked token of a batch weighs the same.
            example_weights=pretraining.num_masked,
            share_batches=True,
        ),
        train_step=build.make_train_step(
            run,
            model,
            objective,
            fusion=fusion,
            num_parts=built.parts.load.num_parts,
        ),
        measure_step=MeasureStep(
            to_measure.sums,
            run.runtime.strategy,
            fusion=fusion,
            any_length=build.has_one_graph(run, fusion),
        ),
        evaluator=_evaluator(run, material, built, split) if split else None,
        split=split,
        head="checkpoint" if pretraining.head else "frequencies",
    )


def _model(
    run: Run, pretraining: PretrainingMaterial, classifier: keras.Model
) -> keras.Model:
    """The encoder with a head that guesses tokens, and an optimizer of its own."""
    backbone = classifier.backbone
    head = masked_lm.head_for(backbone, pretraining.head, pretraining.token_counts())
    model = masked_lm.build_masked_lm(backbone, head)
    config = dataclasses.replace(
        run.config.optimizer,
        learning_rate=run.config.pretraining.pretrain_learning_rate,
        # A number of steps is fine-tuning's.
        num_warmup_steps=-1,
        ema=0.0,
    )
    optimizer = optimizers.build_optimizer(
        config, total_steps=pretraining.plan.total_steps
    )
    optimizers.exclude_from_weight_decay(optimizer, model.trainable_variables)
    if config.decay_towards == "start":
        # The head, too: to 0, a decay that is strong enough for this would undo it.
        optimizers.decay_towards_start(optimizer, model.trainable_variables, new=())
    model.compile(optimizer=optimizer, jit_compile=False)
    return model


def _evaluator(run: Run, material: Material, built: Built, split: str) -> Evaluator:
    """Of as many texts of a split as are evaluated before training."""
    pool = material.texts.pool
    return make_evaluator(
        # By its number each text is masked.
        dataclasses.replace(pool, labels=np.arange(len(pool), dtype=np.int32)),
        material.splits[split].rows[built.rows_before[split]],
        material.tokens,
        material.bucket_lengths,
        run.runtime.strategy,
        batch_size=run.resolved.eval_batch_size,
        scoring=run.task.scoring,
        label_names=material.label_names,
        name=f"{split}, masked",
    )


def compile_steps(
    run: Run, pretraining: PretrainingMaterial, built: Built, phase: Phase
) -> None:
    """Compiles the steps for all lengths there are, and leaves the weights alone."""
    evaluator = phase.evaluator
    num_replicas = run.runtime.num_local_replicas
    with run.runtime.watchdog.watching("all workers to compile"):
        compilation.compile_steps(
            phase.train_step,
            phase.measure_step,
            train_feed=phase.feeder.rehearsal(pretraining.plan),
            # Its own, not the task's: there targets are the numbers of the texts.
            predict_feed=(
                evaluator.rehearsal() if evaluator else phase.feeder.rehearsal()
            ),
            variables=[
                *phase.model.trainable_variables,
                *phase.model.optimizer.variables,
            ],
            by_running=built.compiled.fusion != "none",
            num_replicas=num_replicas,
            beat=functools.partial(run.runtime.watchdog.beat, times=num_replicas),
        )


def _masked_loss(run: Run, phase: Phase) -> dict[str, Any] | None:
    """The mean loss over masked tokens of held-out texts, and their numbers."""
    if phase.evaluator is None:
        return None
    sums = np.zeros([len(phase.evaluator.labels), 2])
    step = run.runtime.watchdog.watched(phase.measure_step, "a step of an evaluation")
    with run.runtime.watchdog.watching("all workers to evaluate"):
        phase.evaluator.collect(step, sums, description="guessing masked tokens")
    total, number = sums.sum(axis=0)
    if not number:
        return None
    _logger.info("masked loss on %s texts: %.4f nats", phase.split, total / number)
    return {
        "loss": total / number,
        "num_texts": len(sums),
        "num_masked_tokens": int(number),
    }


def _compared(
    phase: Phase, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The report's `masked_loss`."""
    if before is None or after is None:
        return None
    return {
        "split": phase.split,
        "num_texts": before["num_texts"],
        "num_masked_tokens": before["num_masked_tokens"],
        "before": before["loss"],
        "after": after["loss"],
    }


def _keep(run: Run, material: Material, **content: Any) -> None:
    if run.runtime.is_chief:
        run_folder.write_kept(
            run.folder.pretraining, {**measure.made_on(material), **content}
        )


def _loop(
    run: Run,
    pretraining: PretrainingMaterial,
    phase: Phase,
    checkpoints: Checkpoints,
    state: RunState,
) -> loop.TrainingLoop:
    schedule = phase.model.optimizer._learning_rate
    plan, config = pretraining.plan, run.config.training
    writers: list[progress.Writer] = [
        progress.ConsoleWriter(
            total_steps=plan.total_steps, steps_per_epoch=plan.steps_per_epoch
        ),
        progress.JsonLinesWriter(
            run.folder.metrics,
            pretrained_step=state.step,
            from_step=math.inf,
            evaluated_step=math.inf,
        ),
        progress.TensorBoardWriter(run.folder.logs),
    ]
    return loop.TrainingLoop(
        plan=plan,
        feed=phase.feeder,
        train_step=run.runtime.watchdog.watched(phase.train_step, "a training step"),
        steps_per_call=phase.train_step.steps_per_call,
        learning_rate=lambda step: float(schedule(step)),
        # What is chosen, is chosen of fine-tuned weights.
        evaluate=None,
        scoring=run.task.scoring,
        state=state,
        checkpoints=checkpoints,
        writers=writers if run.runtime.is_chief else [],
        config=config,
        termination=run.termination,
        decides_alone=run.runtime.cluster is None,
        logging_steps=resolve.logging_steps(config, total_steps=plan.total_steps),
    )

"""The stage that trains: from the last checkpoint to the best weights.

trained = train.run(run, material, built)
trained.state.best_step
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any

from trainer.data.batches import Feed
from trainer.data.plans import BatchPlan
from trainer.modeling import optimizers
from trainer.runtime import agreement
from trainer.stages import resolve
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.prepare import Material
from trainer.training import loop, progress
from trainer.training.checkpoints import Checkpoints, RunState

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training came to; the classifier has the weights that count.

    Attributes:
      state: of the training loop, at its end.
      total_steps: as planned.
      num_train_examples: in an epoch.
      best_metric: by which the best weights were chosen.
    """

    state: RunState
    total_steps: int
    num_train_examples: int
    best_metric: str

    def facts(self) -> dict[str, Any]:
        """A part of the report's `training`."""
        state = self.state
        return {
            "total_steps": self.total_steps,
            "num_steps_run": state.step,
            "stopped_early": state.stopped_early,
            "num_train_examples": self.num_train_examples,
            "best_metric": self.best_metric,
            "best_step": state.best_step,
            "weights": "last" if state.best_step is None else "best",
        }


def run(
    run: Run, material: Material, built: Built, *, watch: loop.Watch | None = None
) -> Trained:
    """Trains from the last checkpoint on, and sets the best weights.

    Args:
      watch: what --watch_general_every calls.

    Raises:
      ValueError: the folder's run is on other data or of another model.
      FloatingPointError: training diverged.
      Preempted: a worker was told to end; the state is saved.
    """
    optimizer = built.classifier.optimizer
    start_digest = built.start.sha256 if built.start else ""
    state = RunState(
        data_fingerprint=dict(material.fingerprint),
        data_files=material.files,
        start_digest=start_digest,
    )
    checkpoints = Checkpoints(
        run.folder.checkpoints,
        built.classifier,
        state,
        keep=run.config.training.keep_checkpoints,
        is_chief=run.runtime.is_chief,
        wait_for_all=run.runtime.wait_for_all,
        io_device=run.runtime.io_device,
    )
    resume(run, material, checkpoints, state)
    run.folder.refuse_other_start(start_digest, state.start_digest)
    with (
        run.termination.deferred(),
        run.runtime.watchdog.watching("all workers to train"),
    ):
        _loop(run, material, built, checkpoints, state, watch).run()
    if not checkpoints.restore_best():
        optimizers.swap_averages(optimizer, built.classifier.trainable_variables)
    run.stopwatch.lap("train_and_validate_secs")
    return Trained(
        state=state,
        total_steps=material.plan.total_steps,
        num_train_examples=len(material.splits["train"]),
        best_metric=run.config.training.best_metric,
    )


def resume(
    run: Run, material: Material, checkpoints: Checkpoints, state: RunState
) -> None:
    """Restores the last state, the same on all workers or ValueError."""
    if checkpoints.restore_latest():
        phase = "" if state.phase == "train" else f"the {state.phase} "
        _logger.info("resuming %sfrom step %d of %s", phase, state.step, run.folder)
        run.folder.refuse_other_data(
            material.fingerprint,
            state.data_fingerprint,
            files=material.files,
            recorded_files=state.data_files,
        )
    if run.runtime.cluster is not None:
        step = {"the step in --model_dir": str(state.step)}
        with run.runtime.watchdog.watching("all workers to read the checkpoint"):
            agreement.refuse_differences(
                run.runtime.strategy, run.runtime.cluster, step
            )


def _loop(
    run: Run,
    material: Material,
    built: Built,
    checkpoints: Checkpoints,
    state: RunState,
    watch: loop.Watch | None,
) -> loop.TrainingLoop:
    config = run.config.training
    validation = built.evaluators.get("validation")
    schedule = built.classifier.optimizer._learning_rate

    def feed(plan: BatchPlan) -> Feed:
        made = built.feeder(plan)
        run.stopwatch.start_training()
        return made

    return loop.TrainingLoop(
        plan=material.plan,
        feed=feed,
        train_step=run.runtime.watchdog.watched(built.train_step, "a training step"),
        steps_per_call=built.train_step.steps_per_call,
        learning_rate=lambda step: float(schedule(step)),
        evaluate=(
            functools.partial(validation.metrics, built.predict) if validation else None
        ),
        scoring=run.task.scoring,
        state=state,
        checkpoints=checkpoints,
        writers=_writers(run, material, state) if run.runtime.is_chief else [],
        config=config,
        termination=run.termination,
        judged_weights=functools.partial(
            optimizers.averaged,
            built.classifier.optimizer,
            built.classifier.trainable_variables,
        ),
        watch=watch,
        watch_every=run.config.kept.watch_general_every,
        decides_alone=run.runtime.cluster is None,
        logging_steps=resolve.logging_steps(
            config, total_steps=material.plan.total_steps
        ),
    )


def _writers(run: Run, material: Material, state: RunState) -> list[progress.Writer]:
    return [
        progress.ConsoleWriter(
            total_steps=material.plan.total_steps,
            steps_per_epoch=material.plan.steps_per_epoch,
        ),
        progress.JsonLinesWriter(
            run.folder.metrics,
            from_step=state.step,
            evaluated_step=state.evaluated_step,
            watched_step=state.watched_step,
        ),
        progress.TensorBoardWriter(run.folder.logs),
    ]

"""A short training in which the learning rate rises, to see where it should be.

    rates, losses = run(config, low=5e-7, high=5e-3, num_steps=100, load=load)

It takes the stages of a run, in a folder for the while: nothing is left that could be
taken for a run, or resumed as one. What the losses say is told by others.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any

import keras
import tensorflow as tf

from trainer import storage
from trainer.config import ExperimentConfig
from trainer.data.sources import Load
from trainer.run_folder import RunFolder
from trainer.runtime.interruptions import Preempted
from trainer.stages import build, context, prepare

_logger = logging.getLogger(__name__)

# A loss so many times the lowest one so far says that the training has come apart
# (fastai's rule).
_APART = 4.0


class RisingRate(keras.optimizers.schedules.LearningRateSchedule):
    """Exponentially from `low` at step 0 to `high` at the last step."""

    def __init__(self, *, low: float, high: float, num_steps: int) -> None:
        super().__init__()
        self.low = low
        self.ratio = (high / low) ** (1 / max(num_steps - 1, 1))

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step: a float32 scalar."""
        return self.low * tf.pow(self.ratio, tf.cast(step, tf.float32))


def run(
    config: ExperimentConfig, *, low: float, high: float, num_steps: int, load: Load
) -> tuple[list[float], list[float]]:
    """The learning rate and the loss of each step, until the loss comes apart.

    Args:
      config: of a run; its epochs are as many as the steps need.

    Raises:
      ValueError: as of a run.
      Preempted: the process was told to end (SIGTERM).
    """
    rates = [
        low * (high / low) ** (step / max(num_steps - 1, 1))
        for step in range(num_steps)
    ]
    losses: list[float] = []
    # Of no more texts than there are steps for; each epoch has a step at least.
    most = num_steps * config.training.global_batch_size
    data = dataclasses.replace(
        config.data,
        evaluate_test=False,
        num_train_examples=min(config.data.num_train_examples or most, most),
    )
    training = dataclasses.replace(config.training, num_train_epochs=num_steps)
    # The rate is looked for at which all layers learn.
    optimizer = dataclasses.replace(config.optimizer, unfreeze_every=0)
    with (
        storage.scratch("trainer-range-test") as folder,
        context.started(
            dataclasses.replace(
                config,
                model_dir=str(folder),
                data=data,
                training=training,
                optimizer=optimizer,
            ),
            RunFolder(storage.path(str(folder))),
            load,
        ) as run,
    ):
        material = prepare.run(run)
        run = context.of_texts(run, material.labels("train"))
        schedule = RisingRate(low=low, high=high, num_steps=num_steps)
        built = build.run(run, material, learning_rate=schedule)
        batches = material.plan.from_step(0, num_steps=num_steps)
        feed = built.feeder(batches)
        for step in range(num_steps):
            if run.termination.requested:
                raise Preempted("told to end: the range test begins anew")
            numbers = built.train_step(feed.pipelines, feed.order[step : step + 1])
            loss = float(numbers.losses[0])
            if not math.isfinite(loss) or loss > _APART * min([*losses, loss]):
                break
            losses.append(loss)
            if step % 10 == 0:
                _logger.info("learning rate %.3g: loss %.4f", rates[step], loss)
    return rates[: len(losses)], losses

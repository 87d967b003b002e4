"""AdamW for fine-tuning: warmup and decay, what decays, clipping in the right place.

    schedule = WarmupSchedule(5e-5, total_steps=1000, num_warmup_steps=100)
    optimizer = AdamW(learning_rate=schedule, weight_decay=0.01)
    exclude_from_weight_decay(optimizer, classifier.trainable_variables)
    gradients, norm = clip_by_global_norm(summed_gradients, clip_norm=1.0)

Keras 3 clips each replica's gradient before it adds them up, which is wrong on two
replicas and more. Here the training step adds, then clips, then applies.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.config import DEFAULT_WARMUP_FRACTION, OptimizerConfig, Schedule

# Variables whose names are these do not decay (Devlin et al. 2018's recipe; in
# KerasHub's BERT: all biases, and LayerNorm's scale and offset). "output_bias" is that
# of its masked-LM head.
NOT_DECAYED = ("bias", "output_bias", "gamma", "beta")


class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0 to the peak, then linear, cosine or no decay to 0.

    The formulas are those of Hugging Face's `get_linear_schedule_with_warmup`,
    `get_cosine_schedule_with_warmup` and `get_constant_schedule_with_warmup`: with
    w warmup steps of t, the factor at step s from 0 is s / w below w, and then
    (t - s) / (t - w), (1 + cos(pi (s - w) / (t - w))) / 2, or 1.

    Args:
      steps_done: where updates are of unlike sizes, what s is at each of them, and at
        the end. None: the number of the update.
    """

    def __init__(
        self,
        peak_learning_rate: float,
        *,
        total_steps: int,
        num_warmup_steps: int,
        schedule: Schedule = "linear",
        steps_done: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.steps_done = None if steps_done is None else np.asarray(steps_done)
        self.peak_learning_rate = peak_learning_rate
        self.total_steps = total_steps
        self.num_warmup_steps = num_warmup_steps
        self.schedule = schedule

    def __call__(self, step: Any) -> Any:
        """The learning rate at an update from 0: a float32 scalar."""
        if self.steps_done is not None:
            last = len(self.steps_done) - 1
            step = tf.gather(self.steps_done, tf.minimum(tf.cast(step, tf.int32), last))
        step = tf.cast(step, tf.float32)
        warmup = float(self.num_warmup_steps)
        rising = step / max(1.0, warmup)
        done = (step - warmup) / max(1.0, self.total_steps - warmup)
        done = tf.clip_by_value(done, 0.0, 1.0)
        falling = {
            "linear": 1.0 - done,
            "cosine": 0.5 * (1.0 + tf.cos(math.pi * done)),
            "constant": tf.ones_like(done),
        }[self.schedule]
        factor = tf.where(step < warmup, rising, falling)
        return self.peak_learning_rate * factor


def num_warmup_steps(config: OptimizerConfig, *, total_steps: int) -> int:
    """The warmup in steps, its sentinels resolved. May exceed the run."""
    if config.num_warmup_steps >= 0:
        return config.num_warmup_steps
    fraction = config.warmup_fraction
    if fraction < 0:
        fraction = DEFAULT_WARMUP_FRACTION
    return math.ceil(fraction * total_steps)


def warmup_warning(config: OptimizerConfig, *, total_steps: int) -> str | None:
    """What to tell a user whose warmup is longer than the run."""
    warmup = num_warmup_steps(config, total_steps=total_steps)
    if warmup <= total_steps:
        return None
    reached = config.learning_rate * (total_steps - 1) / warmup
    return (
        f"the warmup of {warmup} steps exceeds the run of {total_steps} steps: the "
        f"learning rate rises to {reached:.3g} and never reaches its peak of "
        f"{config.learning_rate:.3g}; lower --num_warmup_steps, or use "
        "--warmup_fraction"
    )


class AdamW(keras.optimizers.AdamW):
    """Keras's AdamW, given gradients that are already summed over the replicas.

    Keras would add them up once more. Epsilon is Hugging Face's and PyTorch's.

    What Keras computes in a dozen operations a variable, TensorFlow has as one, by the
    same formula: a third less of a step's graph to trace and to optimize, and fewer
    passes over the memory. Equal to Keras's to rounding: 1 - beta_2 is that of the
    float32 beta_2 here, 1.3e-5 off 0.001, as it is in the bias correction.
    """

    def __init__(
        self, *, learning_rate: Any, weight_decay: float, ema: float = 0.0
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            epsilon=1e-8,
            use_ema=ema > 0,
            ema_momentum=ema or 0.99,
            # Keras would number it, and with it the paths of its variables, by which
            # checkpoints go.
            name="adam_w",
        )
        # By variable, what the learning rate and with it the decay are multiplied with.
        self.rate_factors: Sequence[float] = ()
        # By variable, how many updates pass before its first one.
        self.first_updates: Sequence[int] = ()
        # By variable, where the decay pulls it; None, or no entry: to 0.
        self.decay_centers: Sequence[tf.Variable | None] = ()

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: `update_step` does it, where the learning rate is known.

        Keras would compute the schedule once for each variable.
        """

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        # The powers are the same for all variables, too: Keras passes on what it is
        # given.
        local_step = tf.cast(self.iterations.value + 1, tf.float32)
        powers = (tf.pow(self.beta_1, local_step), tf.pow(self.beta_2, local_step))
        super()._backend_update_step(
            grads, trainable_variables, (learning_rate, *powers, self.iterations.value)
        )

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        """As Keras does, by a formula under which what does not move has itself as mean.

        Keras's sum of two products drifts from it, by rounding.
        """
        keeps = tf.cast(self.iterations.value > 0, tf.float32) * self.ema_momentum
        for variable, average in zip(trainable_variables, averages(self)):
            average.assign(average + (1 - keeps) * (variable - average))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable.

        Args:
          gradient: float, of the variable's shape.
          variable: what one device has of it.
          learning_rate: three float32 scalars: it, and beta_1 and beta_2 to the power
            of the number of the step; and how many updates there were, an integer.
        """
        rate, beta_1_power, beta_2_power, num_updates = learning_rate
        index = self._get_variable_index(variable)
        if self.rate_factors and self.rate_factors[index] != 1:
            rate = rate * self.rate_factors[index]
        if self.first_updates and (first := self.first_updates[index]):
            # Of a rate of 0 nothing moves, decay included. The moments are gathered all
            # the same: the bias correction counts all updates, so that moments that
            # began later would make the first steps of a layer three times too long.
            rate = tf.where(num_updates >= first, rate, 0.0)
        # Before the update, as Loshchilov & Hutter 2019 have it and Keras does.
        if self.weight_decay and self._use_weight_decay(variable):
            center = self.decay_centers[index] if self.decay_centers else None
            distance = variable if center is None else variable - center
            variable.assign_sub(distance * self.weight_decay * rate)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )


def unfreezing_warning(optimizer: AdamW, *, total_updates: int) -> str | None:
    """What to tell a user whose lowest layers are let go after the end of the run."""
    last = max(optimizer.first_updates, default=0)
    if last < total_updates:
        return None
    num_never = sum(first >= total_updates for first in optimizer.first_updates)
    return (
        f"--unfreeze_every lets go of the lowest layer after {last} updates, and the run "
        f"has {total_updates}: {num_never} of {len(optimizer.first_updates)} weights are "
        "never trained; lower it, or train longer"
    )


def build_optimizer(
    config: OptimizerConfig,
    *,
    total_steps: int,
    steps_done: np.ndarray | None = None,
    learning_rate: keras.optimizers.schedules.LearningRateSchedule | None = None,
) -> AdamW:
    """The optimizer of a run of so many steps, which `WarmupSchedule` counts.

    learning_rate: instead of that schedule.
    """
    schedule = learning_rate or WarmupSchedule(
        config.learning_rate,
        total_steps=total_steps,
        num_warmup_steps=num_warmup_steps(config, total_steps=total_steps),
        schedule=config.schedule,
        steps_done=steps_done,
    )
    return AdamW(
        learning_rate=schedule, weight_decay=config.weight_decay, ema=config.ema
    )


def exclude_from_weight_decay(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> tuple[list[str], list[str]]:
    """Leaves biases and LayerNorm out of the weight decay, then builds the optimizer.

    Returns:
      The paths of the variables that decay, and of those that do not, as the
      optimizer itself answers: names that matched nothing would show here.
    """
    excluded = [variable for variable in variables if variable.name in NOT_DECAYED]
    if optimizer.weight_decay and excluded:
        optimizer.exclude_from_weight_decay(var_list=excluded)
    optimizer.build(variables)
    decayed: list[str] = []
    kept: list[str] = []
    for variable in variables:
        # Asked with the Keras variable it caches an answer by another name.
        decays = optimizer.weight_decay and optimizer._use_weight_decay(variable.value)
        (decayed if decays else kept).append(variable.path)
    return decayed, kept


def decay_towards_start(
    optimizer: AdamW, variables: Sequence[keras.Variable], *, new: Sequence[str]
) -> None:
    """Has the weight decay pull weights to what they are now, not to 0.

    L2-SP (Li et al. 2018, "Explicit Inductive Bias for Transfer Learning with
    Convolutional Networks"), decoupled from the gradient as AdamW's decay is. The
    values are no part of a checkpoint: a run that resumes has them
    from the preset, or from its copy of what --init_from named.

    Args:
      optimizer: built with these variables.
      new: paths of those that were not pretrained, which decay to 0.
    """
    optimizer.decay_centers = [
        None if each.path in new else tf.Variable(each.value, trainable=False)
        for each in variables
    ]


def start_decay_here(optimizer: AdamW, variables: Sequence[keras.Variable]) -> None:
    """Has `decay_towards_start` pull to what weights are now; nothing without it."""
    for center, variable in zip(optimizer.decay_centers, variables):
        if center is not None:
            center.assign(variable.value)


def averages(optimizer: AdamW) -> list[keras.Variable]:
    """The means of the weights over the steps, by variable; empty without --ema."""
    return list(getattr(optimizer, "_model_variables_moving_average", ()))


@contextlib.contextmanager
def averaged(optimizer: AdamW, variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Gives variables the means of their values over the steps, within the block.

    By swapping values, which holds on replicas; Keras's own way does not.
    """
    swap_averages(optimizer, variables)
    yield
    # Not after an error: the process ends, and what is saved was saved before.
    swap_averages(optimizer, variables)


def swap_averages(optimizer: AdamW, variables: Sequence[keras.Variable]) -> None:
    """Exchanges variables and the means of their values; nothing without --ema."""
    for variable, average in zip(variables, averages(optimizer)):
        value = variable.numpy()
        variable.assign(average.numpy())
        average.assign(value)


def clip_by_global_norm(
    gradients: Sequence[tf.Tensor], *, clip_norm: float
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Scales gradients so that their global norm is at most `clip_norm` (0: any).

    Returns:
      The gradients, and the norm before clipping: a float32 scalar. Where that is
      not finite the gradients are not either: the caller stops the run.
    """
    norm = tf.linalg.global_norm(gradients)
    if not clip_norm:
        return list(gradients), norm
    clipped, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
    return list(clipped), norm

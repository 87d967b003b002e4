"""When to step, log, evaluate, save and stop: control flow, and nothing else.

    TrainingLoop(
        plan=plan, feed=feeder, train_step=step, evaluate=evaluate, state=state,
        checkpoints=checkpoints, writers=writers, config=config.training, ...
    ).run()

The steps themselves are compiled (`steps.py`); here is plain Python. All that the
loop decides follows from the step's number and from what was evaluated, so a run
that goes on from a checkpoint decides as it would have, and all workers decide alike.
The state is saved before an evaluation, which a run that was stopped in it does again.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, Protocol, Sequence

import numpy as np

from trainer.config import TrainingConfig
from trainer.data.batches import Batch, BatchPlan, TrainingPlan
from trainer.evaluation import metrics as metrics_lib
from trainer.training.checkpoints import RunState
from trainer.training.interruptions import Preempted, TerminationSignal
from trainer.training.progress import Writer

# What is written of each evaluation on the way.
VALIDATION_METRICS = ("loss", "accuracy", "f1_macro", "mcc")
# The host is at most so many steps ahead of the devices.
_MAX_STEPS_AHEAD = 2


class Saver(Protocol):
    """What the loop needs of `Checkpoints`."""

    @property
    def latest_path(self) -> str | None:
        """Where the last state saved is; None before the first."""

    def save_latest(self) -> None:
        """Saves the whole state."""

    def save_best(self) -> None:
        """Saves the weights as the best."""


@dataclasses.dataclass(kw_only=True)
class TrainingLoop:
    """Trains from `state.step` to the end of the plan, or until patience runs out.

    Attributes:
      feed: puts a plan's batches on the devices.
      train_step: does one update, as `TrainStep`: from a batch and `stop_requested`
        to loss, gradient norm and whether any worker was told to end, scalars that
        may still be under way.
      learning_rate: of a step from 0.
      evaluate: gives the validation metrics of the current weights; None: there is
        no validation split.
      state: updated in place.
      termination: what tells the process to end.
      clock: seconds.
    """

    plan: TrainingPlan
    feed: Callable[[BatchPlan], Iterator[tuple[np.ndarray, Batch]]]
    train_step: Callable[..., tuple[Any, Any, Any]]
    learning_rate: Callable[[int], float]
    evaluate: Callable[[], Mapping[str, Any]] | None
    state: RunState
    checkpoints: Saver
    writers: Sequence[Writer]
    config: TrainingConfig
    termination: TerminationSignal
    clock: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Does all that is left to do.

        Raises:
          FloatingPointError: the loss or the gradient is not finite; the last state
            saved is from before.
          Preempted: a worker was told to end; the state is saved.
        """
        self._evaluate_if_due()
        state, plan, config = self.state, self.plan, self.config
        if state.stopped_early or state.step >= plan.total_steps:
            return
        meter = _Meter(state, plan, self.learning_rate, self.writers, self.clock)
        stops: collections.deque[Any] = collections.deque()
        for rows, batch in self.feed(plan.from_step(state.step)):
            loss, norm, stop = self.train_step(
                batch, stop_requested=self.termination.requested
            )
            meter.add(loss, norm, num_examples=int((rows >= 0).sum()))
            state.step += 1
            stops.append(stop)
            # Of an older step, which is done: to ask for this one's would be to wait.
            stopping = len(stops) > _MAX_STEPS_AHEAD and bool(stops.popleft())
            is_last = state.step == plan.total_steps
            saving_is_due = is_last or _is_due(state.step, config.save_every_steps)
            if is_last or _is_due(state.step, config.logging_steps):
                meter.log(self.checkpoints.latest_path)
            if self._evaluation_is_due() or saving_is_due or stopping:
                meter.pause(self.checkpoints.latest_path)
                self.checkpoints.save_latest()
                if stopping:
                    raise Preempted(f"told to end: saved at step {state.step}")
                self._evaluate_if_due()
                meter.resume()
            if state.stopped_early:
                return

    def _evaluation_is_due(self) -> bool:
        """Whether the present weights should be evaluated, and have not been."""
        state = self.state
        return (
            self.evaluate is not None
            and state.evaluated_step < state.step
            and (
                state.step % self.plan.steps_per_epoch == 0
                or _is_due(state.step, self.config.eval_every_steps)
            )
        )

    def _evaluate_if_due(self) -> None:
        """Evaluates, keeps the weights if they are the best, counts patience."""
        if self.evaluate is None or not self._evaluation_is_due():
            return
        with self.termination.at_once():
            metrics = self.evaluate()
        state = self.state
        state.evaluated_step = state.step
        values = {name: metrics[name] for name in VALIDATION_METRICS}
        for writer in self.writers:
            writer.write("validation", step=state.step, values=values)
        score = metrics_lib.score(metrics, self.config.best_metric)
        if state.best_score is None or score > state.best_score:
            state.best_score, state.best_step = score, state.step
            state.num_evaluations_since_best = 0
            self.checkpoints.save_best()
        else:
            state.num_evaluations_since_best += 1
            patience = self.config.early_stopping_patience
            state.stopped_early = 0 < patience <= state.num_evaluations_since_best


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class _Meter:
    """Gathers the steps' numbers without waiting for them, and the time they took."""

    def __init__(
        self,
        state: RunState,
        plan: TrainingPlan,
        learning_rate: Callable[[int], float],
        writers: Sequence[Writer],
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._plan = plan
        self._learning_rate = learning_rate
        self._writers = writers
        self._clock = clock
        self._under_way: list[tuple[int, Any, Any]] = []
        self._num_examples = self._num_steps = 0
        self._secs = 0.0
        self._since = clock()

    def add(self, loss: Any, gradient_norm: Any, *, num_examples: int) -> None:
        """Takes the numbers of a step, which may still be computed."""
        self._under_way.append((self._state.step + 1, loss, gradient_norm))
        self._num_examples += num_examples
        self._num_steps += 1

    def log(self, latest_path: str | None) -> None:
        """Writes the mean over the steps since the last log line."""
        self.pause(latest_path)
        self.resume()
        state = self._state
        losses, norms = zip(*state.pending)
        rate = self._num_examples / max(self._secs, 1e-9)
        secs_per_step = self._secs / max(self._num_steps, 1)
        values = {
            "loss": math.fsum(losses) / len(losses),
            "learning_rate": self._learning_rate(state.step - 1),
            "gradient_norm": math.fsum(norms) / len(norms),
            "examples_per_sec": rate,
            "secs_left": (self._plan.total_steps - state.step) * secs_per_step,
        }
        for writer in self._writers:
            writer.write("train", step=state.step, values=values)
        state.pending, self._secs = [], 0.0
        self._num_examples = self._num_steps = 0

    def pause(self, latest_path: str | None) -> None:
        """Waits for the steps under way, checks them, and stops the clock."""
        for step, loss, norm in self._under_way:
            self._state.pending.append([float(loss), float(norm)])
            _require_finite(
                step, self._state.pending[-1], self._learning_rate, latest_path
            )
        self._under_way = []
        elapsed = self._clock() - self._since
        self._secs += elapsed
        self._state.train_secs += elapsed

    def resume(self) -> None:
        """Starts the clock again."""
        self._since = self._clock()


def _require_finite(
    step: int,
    numbers: Iterable[float],
    learning_rate: Callable[[int], float],
    latest_path: str | None,
) -> None:
    loss, norm = numbers
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"training diverged at step {step}: expected a finite loss and gradient; "
            f"found loss {loss}, gradient norm {norm}, at learning rate "
            f"{learning_rate(step - 1):.3g}; the last good state is "
            f"{latest_path or 'the start'}; lower --learning_rate, or lengthen the "
            "warmup, with another --model_dir"
        )

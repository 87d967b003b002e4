"""When to step, log, evaluate, save and stop: control flow, and nothing else.

    TrainingLoop(
        plan=plan, feed=feeder, train_step=step, evaluate=evaluate, state=state,
        checkpoints=checkpoints, writers=writers, config=config.training, ...
    ).run()

The steps themselves are compiled (`steps.py`); here is plain Python. All that the
loop decides follows from the step's number and from what was evaluated, so a run
that resumes from a checkpoint decides as it would have, and all workers decide alike.
The steps between two decisions are handed over together, some at a time. The state is
saved before an evaluation, which a run that was stopped in it does again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import math
import time
from typing import Any, Callable, Mapping, Protocol, Sequence

import numpy as np

from trainer.config import TrainingConfig
from trainer.data.batches import Feed
from trainer.data.plans import BatchPlan, TrainingPlan
from trainer.tasks.task import Scoring
from trainer.training.checkpoints import RunState
from trainer.messages import message
from trainer.runtime.interruptions import Preempted, TerminationSignal
from trainer.training.progress import Writer
from trainer.training.steps import StepNumbers

# The host waits for the numbers of a call that ended so many steps ago: so it is never
# further ahead of the devices than this, or one call, and a request to end is heeded
# when the devices have done no more than that.
_MAX_STEPS_AHEAD = 2
# After so long without a line of numbers, one says that the run goes on.
_SILENCE_SECS = 60.0

# Of a phase: what it is called, and the flag of its learning rate.
_TITLES = {"train": "training", "pretraining": "pretraining"}
_RATES = {"train": "learning_rate", "pretraining": "pretrain_learning_rate"}

_logger = logging.getLogger(__name__)


# Measures the present weights: numbers to write, and whether training is to end.
Watch = Callable[[], tuple[Mapping[str, float], bool]]


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
      train_step: does some updates, as `TrainStep`.
      steps_per_call: how many of them at a time, at most.
      watch: measures what the weights keep of general abilities; None: nothing does.
      watch_every: how many steps lie between.
      logging_steps: a line is written every so many steps, and after the first.
      learning_rate: of a step from 0.
      evaluate: gives the validation metrics of the current weights; None: there is
        no validation split.
      scoring: which of these are written, and how two of them compare.
      state: updated in place.
      judged_weights: within it the model has the weights that are evaluated and kept
        as the best, where these are not the ones that are trained.
      termination: what tells the process to end.
      decides_alone: whether no other worker has to leave at the same step.
      clock: seconds.
    """

    plan: TrainingPlan
    feed: Callable[[BatchPlan], Feed]
    train_step: Callable[..., StepNumbers]
    learning_rate: Callable[[int], float]
    evaluate: Callable[[], Mapping[str, Any]] | None
    scoring: Scoring
    state: RunState
    checkpoints: Saver
    writers: Sequence[Writer]
    config: TrainingConfig
    termination: TerminationSignal
    logging_steps: int
    steps_per_call: int = 1
    judged_weights: Callable[[], contextlib.AbstractContextManager[None]] = (
        contextlib.nullcontext
    )
    watch: Watch | None = None
    watch_every: int = 0
    decides_alone: bool = False
    clock: Callable[[], float] = time.monotonic

    def run(self) -> None:
        """Does all that is left to do.

        Raises:
          FloatingPointError: the loss or the gradient is not finite; the last state
            saved is from before.
          Preempted: a worker was told to end; the state is saved.
        """
        self._evaluate_if_due()
        self._watch_if_due()
        state, plan, config = self.state, self.plan, self.config
        if state.stopped_early or state.step >= plan.total_steps:
            return
        part = self._part()
        feed = self.feed(plan.from_step(part.start, num_steps=len(part)))
        meter = _Meter(state, plan, self.learning_rate, self.writers, self.clock)
        calls = collections.deque[tuple[int, StepNumbers]]()
        while state.step < plan.total_steps and not state.stopped_early:
            if state.step == part.stop:
                part = self._part()
                feed = self.feed(plan.from_step(part.start, num_steps=len(part)))
            end = min(self._end_of_call(), part.stop)
            call = slice(state.step - part.start, end - part.start)
            numbers = self.train_step(
                feed.pipelines,
                feed.order[call],
                stop_requested=self.termination.requested,
            )
            meter.add(numbers, rows=feed.plan.rows[call])
            state.step = end
            calls.append((state.step, numbers))
            stopping = self._is_told_to_end(calls)
            is_last = state.step == plan.total_steps
            saving_is_due = is_last or _is_due(state.step, config.save_every_steps)
            if is_last or self._logging_is_due():
                meter.log(self.checkpoints.latest_path)
            else:
                meter.break_silence()
            is_judged = self._evaluation_is_due() or self._watch_is_due()
            if is_judged or saving_is_due or stopping:
                meter.pause(self.checkpoints.latest_path)
                self.checkpoints.save_latest()
                if stopping:
                    raise Preempted(f"told to end: saved at {_place(state)}")
                self._evaluate_if_due()
                self._watch_if_due()
                meter.resume()

    def _part(self) -> range:
        """The steps from the present one on whose batches are listed at once."""
        return range(self.state.step, self.plan.end_of_part(self.state.step))

    def _end_of_call(self) -> int:
        """Where the next call ends: before there is anything to decide."""
        step, config = self.state.step, self.config
        if step == 0:
            return 1  # It is logged.
        intervals = [self.logging_steps, config.save_every_steps]
        if self.evaluate is not None:
            intervals += [config.eval_every_steps, self.plan.steps_per_epoch]
        if self.watch is not None:
            intervals.append(self.watch_every)
        due = [step + every - step % every for every in intervals if every > 0]
        return min(step + self.steps_per_call, self.plan.total_steps, *due)

    def _logging_is_due(self) -> bool:
        """The first step too: it shows at once that all is well, or is not."""
        return self.state.step == 1 or _is_due(self.state.step, self.logging_steps)

    def _is_told_to_end(
        self, calls: collections.deque[tuple[int, StepNumbers]]
    ) -> bool:
        """Waits for the calls that should be done, and takes them out.

        What they say of all workers counts. This process's own word counts at once
        only where it is alone.
        """
        done = self.state.step - _MAX_STEPS_AHEAD
        stopping = False
        while calls and calls[0][0] <= done:
            _, numbers = calls.popleft()
            # That of the request does not depend on the step, and may be there before.
            np.asarray(numbers.losses)
            stopping |= bool(numbers.stop)
        return stopping or (self.decides_alone and self.termination.requested)

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

    def _watch_is_due(self) -> bool:
        """Whether the present weights should be watched, and have not been."""
        state = self.state
        return (
            self.watch is not None
            and state.watched_step < state.step
            and _is_due(state.step, self.watch_every)
        )

    def _watch_if_due(self) -> None:
        """Measures what is kept, and ends training where too much is lost."""
        if self.watch is None or not self._watch_is_due():
            return
        with self.judged_weights(), self.termination.at_once():
            values, is_lost = self.watch()
        state = self.state
        state.watched_step = state.step
        for writer in self.writers:
            writer.write("general", step=state.step, values=values)
        if is_lost:
            _logger.warning(
                "stopping at step %d: more is lost than --max_general_drop allows",
                state.step,
            )
            state.stopped_early = state.lost_general = True

    def _evaluate_if_due(self) -> None:
        """Evaluates, keeps the weights if they are the best, counts patience."""
        if self.evaluate is None or not self._evaluation_is_due():
            return
        with self.judged_weights():
            self._evaluate(self.evaluate)

    def _evaluate(self, evaluate: Callable[[], Mapping[str, Any]]) -> None:
        with self.termination.at_once():
            metrics = evaluate()
        state = self.state
        state.evaluated_step = state.step
        values = {name: metrics[name] for name in self.scoring.progress_metrics}
        for writer in self.writers:
            writer.write("validation", step=state.step, values=values)
        score = self.scoring.score(metrics, self.config.best_metric)
        if state.best_score is None or score > state.best_score:
            state.best_score, state.best_step = score, state.step
            state.num_evaluations_since_best = 0
            self.checkpoints.save_best()
        else:
            state.num_evaluations_since_best += 1
            patience = self.config.early_stopping_patience
            state.stopped_early = 0 < patience <= state.num_evaluations_since_best


def _place(state: RunState) -> str:
    """Where a run is, in words."""
    phase = "" if state.phase == "train" else f" of the {state.phase}"
    return f"step {state.step}{phase}"


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
        self._under_way: list[tuple[int, StepNumbers, np.ndarray]] = []
        self._num_examples = self._num_steps = 0
        self._input_wait_secs = 0.0
        self._secs = 0.0
        self._since = self._time_of_line = clock()

    def add(self, numbers: StepNumbers, *, rows: np.ndarray) -> None:
        """Takes the numbers of some steps, which may still be computed.

        Args:
          rows: int64 [steps, batch_size], negative where there is none.
        """
        weights = self._plan.weight_sums(np.asarray(rows))
        self._under_way.append((self._state.step + 1, numbers, weights))
        self._num_examples += int((rows >= 0).sum())
        self._num_steps += len(rows)

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
        if math.isfinite(self._input_wait_secs):  # Not measured on a TPU.
            share = self._input_wait_secs / max(self._secs, 1e-9)
            values["input_wait_fraction"] = share
        for writer in self._writers:
            writer.write(state.phase, step=state.step, values=values)
        state.pending, self._secs, self._input_wait_secs = [], 0.0, 0.0
        self._num_examples = self._num_steps = 0
        self._time_of_line = self._clock()

    def break_silence(self) -> None:
        """Says where the run is, if the last line is long ago; waits for no step."""
        if self._writers and self._clock() - self._time_of_line >= _SILENCE_SECS:
            state, total = self._state, self._plan.total_steps
            phase = "" if state.phase == "train" else f"{state.phase}: "
            _logger.info("%sat step %d of %d", phase, state.step, total)
            self._time_of_line = self._clock()

    def pause(self, latest_path: str | None) -> None:
        """Waits for the steps under way, checks them, and stops the clock."""
        for first, numbers, weights in self._under_way:
            losses, norms, waits = (np.asarray(tensor) for tensor in numbers[:3])
            # Divided by the weights' sums, which are 1 unless there is a budget of
            # tokens: means over examples.
            for step, pair in enumerate(zip(losses / weights, norms), first):
                self._state.pending.append([float(value) for value in pair])
                _require_finite(step, self._state, self._learning_rate, latest_path)
            self._input_wait_secs += float(waits.sum())
        self._under_way = []
        elapsed = self._clock() - self._since
        self._secs += elapsed
        self._state.train_secs += elapsed

    def resume(self) -> None:
        """Starts the clock again."""
        self._since = self._clock()


def _require_finite(
    step: int,
    state: RunState,
    learning_rate: Callable[[int], float],
    latest_path: str | None,
) -> None:
    loss, norm = state.pending[-1]
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            message(
                f"{_TITLES[state.phase]} diverged at step {step}: loss and gradient must be finite",
                received=f"loss {loss}, gradient norm {norm}, at learning rate "
                f"{learning_rate(step - 1):.3g}; the last good state is "
                f"{latest_path or 'the start'}",
                mend=f"lower --{_RATES[state.phase]}, or lengthen the warmup, with another "
                "--model_dir",
            )
        )

"""What the loop decides: when to log, evaluate, save and stop, and resuming."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import pytest

from trainer.config import TrainingConfig
from trainer.data.batches import Feed
from trainer.data.plans import BatchPlan, TrainingPlan
from trainer.training import loop
from trainer.tasks.single_label import ClassScoring
from trainer.training.checkpoints import RunState
from trainer.runtime.interruptions import Preempted, TerminationSignal
from trainer.training.steps import StepNumbers

STEPS_PER_EPOCH = 5
BATCH_SIZE = 2


@dataclasses.dataclass
class Recorder:
    """A saver, a writer, a step and an evaluation that note when they are called.

    Args:
      accuracies: what the evaluations give, in turn.
      losses: of the steps, by step number; 0.5 where there is none.
      told_to_end_at: the steps at which a worker, this or another, is told to end.
      calls: the first and last step of each call.
      num_fed: how many batches were asked for at a time.
    """

    state: RunState
    accuracies: Iterator[float] = dataclasses.field(default_factory=lambda: iter(()))
    losses: Mapping[int, float] = dataclasses.field(default_factory=dict)
    told_to_end_at: Sequence[int] = ()
    events: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    rows: list[list[int]] = dataclasses.field(default_factory=list)
    calls: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    num_fed: list[int] = dataclasses.field(default_factory=list)
    latest_path: str | None = None
    now: float = 0.0

    def save_latest(self) -> None:
        self.events.append(("save", self.state.step))
        self.latest_path = f"step-{self.state.step}"

    def save_best(self) -> None:
        self.events.append(("best", self.state.step))

    def write(self, split: str, *, step: int, values: Mapping[str, float]) -> None:
        self.events.append((split, step, dict(values)))

    def evaluate(self) -> dict[str, float]:
        self.events.append(("evaluate", self.state.step))
        self.now += 1000.0  # An evaluation's time is not the training's.
        accuracy = next(self.accuracies)
        return dict(loss=1 - accuracy, accuracy=accuracy, f1_macro=accuracy, mcc=0.0)

    def feed(self, plan: BatchPlan) -> Feed:
        self.num_fed.append(len(plan))
        pipeline: Any = iter(plan.rows.tolist())
        return Feed(plan, {0: pipeline}, (8,))

    def step(
        self, pipelines: Any, order: np.ndarray, *, stop_requested: bool
    ) -> StepNumbers:
        self.now += 2.0 * len(order)
        self.rows += [next(pipelines[index]) for index in order]
        steps = range(self.state.step + 1, self.state.step + 1 + len(order))
        self.calls.append((steps[0], steps[-1]))
        return StepNumbers(
            losses=np.array([self.losses.get(step, 0.5) for step in steps]),
            gradient_norms=np.ones(len(order)),
            input_wait_secs=np.full(len(order), 0.5),
            stop=stop_requested or bool(set(steps) & set(self.told_to_end_at)),
        )

    def at(self, kind: str) -> list[int]:
        """The steps at which something happened."""
        return [event[1] for event in self.events if event[0] == kind]


def make_plan(num_epochs: int, **settings: Any) -> TrainingPlan:
    """Nine texts in five batches of two an epoch, the last one uneven."""
    return TrainingPlan(
        np.full(2 * STEPS_PER_EPOCH - 1, 8),
        (8,),
        seed=0,
        batch_size=BATCH_SIZE,
        num_epochs=num_epochs,
        **settings,
    )


def run(
    recorder: Recorder,
    *,
    num_epochs: int = 2,
    validation: bool = True,
    steps_per_call: int = 1,
    termination: TerminationSignal | None = None,
    decides_alone: bool = False,
    steps_at_once: int = 100,
    **settings: Any,
) -> None:
    """Runs the loop on what the recorder gives."""
    config = TrainingConfig(**{"logging_steps": 4, "save_every_steps": 3} | settings)
    loop.TrainingLoop(
        plan=make_plan(num_epochs, places_at_once=steps_at_once * BATCH_SIZE),
        feed=recorder.feed,
        train_step=recorder.step,
        learning_rate=lambda step: step / 100,
        evaluate=recorder.evaluate if validation else None,
        scoring=ClassScoring(),
        state=recorder.state,
        checkpoints=recorder,
        writers=[recorder],
        config=config,
        termination=termination or TerminationSignal(),
        logging_steps=config.logging_steps,
        steps_per_call=steps_per_call,
        decides_alone=decides_alone,
        clock=lambda: recorder.now,
    ).run()


@pytest.mark.parametrize(
    ("settings", "logs", "evaluations", "saves"),
    [
        ({}, [1, 4, 8, 10], [5, 10], [3, 5, 6, 9, 10]),
        ({"logging_steps": 1}, list(range(1, 11)), [5, 10], [3, 5, 6, 9, 10]),
        ({"eval_every_steps": 4}, [1, 4, 8, 10], [4, 5, 8, 10], [3, 4, 5, 6, 8, 9, 10]),
        ({"save_every_steps": 0}, [1, 4, 8, 10], [5, 10], [5, 10]),
        ({"validation": False}, [1, 4, 8, 10], [], [3, 6, 9, 10]),
        ({"validation": False, "save_every_steps": 0}, [1, 4, 8, 10], [], [10]),
    ],
)
def test_when_it_logs_evaluates_and_saves(
    settings: dict[str, Any],
    logs: list[int],
    evaluations: list[int],
    saves: list[int],
) -> None:
    recorder = Recorder(RunState(), iter(np.linspace(0.5, 0.9, 10)))
    run(recorder, **settings)
    assert recorder.at("train") == logs
    assert recorder.at("evaluate") == evaluations
    assert recorder.at("save") == saves
    assert recorder.state.step == 10


def test_log_line_is_the_mean_since_the_last_and_leaves_evaluation_time_out() -> None:
    recorder = Recorder(
        RunState(), iter([0.5, 0.6]), losses={1: 1.0, 2: 2.0, 3: 3.0, 4: 6.0, 9: 0.1}
    )
    run(recorder)
    lines = [event[2] for event in recorder.events if event[0] == "train"]
    assert [line["loss"] for line in lines] == pytest.approx([1.0, 11 / 3, 0.5, 0.3])
    assert [line["learning_rate"] for line in lines] == [0.0, 0.03, 0.07, 0.09]
    # 2 seconds a step; the uneven batch of each epoch has one row.
    assert recorder.state.train_secs == 20.0
    steps = zip(lines, (1, 3, 4, 2))
    total = sum(line["examples_per_sec"] * n * 2.0 for line, n in steps)
    assert total == pytest.approx(18)
    assert [line["secs_left"] for line in lines] == [18.0, 12.0, 4.0, 0.0]
    assert [line["input_wait_fraction"] for line in lines] == [0.25] * 4


@pytest.mark.parametrize(
    ("logging_steps", "lines"),
    [
        # Steps of two seconds.
        (100, ["at step 31 of 80", "at step 61 of 80"]),
        (40, ["at step 31 of 80", "at step 70 of 80"]),
        (20, []),
    ],
)
def test_a_long_silence_is_broken(
    logging_steps: int, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings: Any = dict(validation=False, save_every_steps=0, num_epochs=16)
    with caplog.at_level(logging.INFO, logger=loop.__name__):
        run(Recorder(RunState()), logging_steps=logging_steps, **settings)
    assert caplog.messages == lines


@pytest.mark.parametrize(
    ("steps_per_call", "settings", "calls"),
    [
        (
            3,
            {},
            [(1, 1), (2, 3), (4, 4), (5, 5), (6, 6), (7, 8), (9, 9), (10, 10)],
        ),
        (
            2,
            {"save_every_steps": 0},
            [(1, 1), (2, 3), (4, 4), (5, 5), (6, 7), (8, 8), (9, 10)],
        ),
        (
            16,
            {"validation": False, "save_every_steps": 7},
            [(1, 1), (2, 4), (5, 7), (8, 8), (9, 10)],
        ),
        (
            16,
            {"eval_every_steps": 2, "save_every_steps": 0},
            [(1, 1), (2, 2), (3, 4), (5, 5), (6, 6), (7, 8), (9, 10)],
        ),
        (
            16,
            {"logging_steps": 100, "save_every_steps": 0, "validation": False},
            [(1, 1), (2, 10)],
        ),
        (1, {}, [(n, n) for n in range(1, 11)]),
    ],
)
def test_several_steps_a_call_change_nothing_else(
    steps_per_call: int, settings: dict[str, Any], calls: list[tuple[int, int]]
) -> None:
    """They end where something is due, so all happens when it would have."""
    single, several = (
        Recorder(RunState(), iter(np.linspace(0.5, 0.9, 10)), losses={4: 3.0})
        for _ in range(2)
    )
    run(single, **settings)
    run(several, steps_per_call=steps_per_call, **settings)
    assert several.calls == calls
    assert several.events == single.events
    assert several.rows == single.rows
    assert several.state.serialize() == single.state.serialize()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_non_finite_loss_within_a_call_is_named(step: int) -> None:
    recorder = Recorder(RunState(), iter([]), losses={step: math.nan})
    with pytest.raises(FloatingPointError, match=f"at step {step}:"):
        run(recorder, steps_per_call=4, save_every_steps=0)


def test_told_to_end_in_a_call_it_leaves_after_the_next() -> None:
    """By the steps' numbers alone, so that all workers leave at the same one."""
    recorder = Recorder(RunState(), iter([]), told_to_end_at=[3])
    settings: Any = dict(
        validation=False, save_every_steps=0, logging_steps=100, num_epochs=4
    )
    with pytest.raises(Preempted, match="saved at step 9"):
        run(recorder, steps_per_call=4, **settings)
    assert recorder.at("save") == [9] and recorder.calls == [(1, 1), (2, 5), (6, 9)]
    run(recorder, steps_per_call=3, **settings)
    assert recorder.calls[3:5] == [(10, 12), (13, 15)]
    whole = Recorder(RunState())
    run(whole, **settings)
    assert recorder.rows == whole.rows


@pytest.mark.parametrize(
    ("accuracies", "patience", "last_step", "best_step"),
    [
        ([0.5, 0.6, 0.7, 0.8], 1, 20, 20),
        ([0.5, 0.4, 0.9, 0.9], 1, 10, 5),
        ([0.5, 0.4, 0.9, 0.9], 2, 20, 15),
        ([0.5, 0.5, 0.5, 0.9], 2, 15, 5),
        ([0.5, 0.4, 0.3, 0.2], 0, 20, 5),
    ],
)
def test_early_stopping(
    accuracies: list[float], patience: int, last_step: int, best_step: int
) -> None:
    recorder = Recorder(RunState(), iter(accuracies))
    run(recorder, num_epochs=4, early_stopping_patience=patience)
    assert recorder.state.step == last_step
    assert recorder.state.best_step == best_step == recorder.at("best")[-1]
    assert recorder.at("save")[-1] == last_step
    run(recorder, num_epochs=4, early_stopping_patience=patience)
    assert recorder.state.step == last_step, "a run that is over went on"


def test_best_metric_loss_is_lower_the_better() -> None:
    recorder = Recorder(RunState(), iter([0.5, 0.9]))
    run(recorder, best_metric="loss")
    assert recorder.state.best_score == pytest.approx(-0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("step", [1, 5, 7])
def test_non_finite_loss_stops_and_names_the_step(loss: float, step: int) -> None:
    recorder = Recorder(RunState(), iter([0.5, 0.6]), losses={step: loss})
    saved_before = [s for s in (3, 5, 6) if s < step]
    last_good = f"step-{saved_before[-1]}" if saved_before else "the start"
    with pytest.raises(FloatingPointError, match=f"at step {step}:.*{last_good}"):
        run(recorder)
    assert recorder.at("save") == saved_before, "a bad state was saved"


def test_goes_on_as_if_it_had_not_stopped() -> None:
    whole = Recorder(RunState(), iter([0.5, 0.6]))
    run(whole)
    for stop in (3, 5, 6, 9):
        before = Recorder(RunState(), iter([0.5, 0.6]))
        stopped = _state_saved_at(before, stop)
        # Saved before it was evaluated: what was due then is done again.
        after = Recorder(stopped, iter([0.6] if stop > 5 else [0.5, 0.6]))
        run(after)
        assert after.at("evaluate") == ([5, 10] if stop <= 5 else [10])
        assert after.at("validation") == after.at("evaluate")
        assert after.rows == whole.rows[stop:]
        assert [e for e in after.events if e[0] == "train"][-1][2]["loss"] == 0.5
        assert after.at("train") == [s for s in whole.at("train") if s > stop]
        assert after.state.best_step == whole.state.best_step
        assert after.state.pending == whole.state.pending


def _state_saved_at(recorder: Recorder, step: int) -> RunState:
    """The state as it was written at this step."""
    saved: list[str] = []
    save = recorder.save_latest

    def save_latest() -> None:
        save()
        if recorder.state.step == step:
            saved.append(recorder.state.serialize())

    recorder.save_latest = save_latest  # type: ignore[method-assign]
    run(recorder)
    state = RunState()
    state.deserialize(saved[0])
    return state


def test_told_to_end_it_saves_and_leaves() -> None:
    """Two steps later, when the answer of all workers is there."""
    recorder = Recorder(RunState(), iter([0.5]), told_to_end_at=[2])
    with pytest.raises(Preempted, match="saved at step 4"):
        run(recorder, save_every_steps=0)
    assert recorder.at("save") == [4]
    assert recorder.state.step == 4 and len(recorder.state.pending) == 0
    run(recorder, save_every_steps=0, validation=False)
    whole = Recorder(RunState(), iter([0.5, 0.6]))
    run(whole)
    assert recorder.rows == whole.rows


class SlowDevice(Recorder):
    """A recorder whose steps are queued, and computed when somebody waits for them.

    What a step says of a request to end is there at once. Told to end when the device
    has done `told_at` steps.
    """

    termination = TerminationSignal()
    told_at = 0
    done = farthest_ahead = 0

    def step(
        self, pipelines: Any, order: np.ndarray, *, stop_requested: bool
    ) -> StepNumbers:
        numbers = super().step(pipelines, order, stop_requested=stop_requested)
        last = self.calls[-1][1]
        self.farthest_ahead = max(self.farthest_ahead, last - self.done)
        return numbers._replace(
            losses=Pending(self, last, numbers.losses),
            gradient_norms=Pending(self, last, numbers.gradient_norms),
        )

    def compute(self, until: int) -> None:
        self.done = max(self.done, until)
        if self.done >= self.told_at and not self.termination.requested:
            self.termination.requested = True


@dataclasses.dataclass
class Pending:
    """A tensor that is still computed."""

    device: SlowDevice
    step: int
    value: np.ndarray

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.device.compute(self.step)
        return self.value


@pytest.mark.parametrize(
    ("steps_per_call", "decides_alone", "most_later"),
    [(1, True, 3), (1, False, 5), (4, True, 8), (4, False, 16)],
)
def test_told_to_end_it_leaves_when_a_slow_device_has_done_a_few_steps(
    steps_per_call: int, decides_alone: bool, most_later: int
) -> None:
    """However long ago the last log line, for which the host waits, was."""
    device = SlowDevice(RunState())
    device.termination, device.told_at = TerminationSignal(), 21
    with pytest.raises(Preempted):
        run(
            device,
            num_epochs=100,
            validation=False,
            steps_per_call=steps_per_call,
            termination=device.termination,
            decides_alone=decides_alone,
            logging_steps=1000,
            save_every_steps=0,
        )
    assert device.at("train") == [1] and device.farthest_ahead <= 2 * steps_per_call + 1
    (saved,) = device.at("save")
    assert 21 <= saved <= 21 + most_later


def test_told_to_end_where_an_evaluation_is_due_it_leaves_that_for_later() -> None:
    recorder = Recorder(RunState(), iter([0.5, 0.6]), told_to_end_at=[3])
    with pytest.raises(Preempted, match="saved at step 5"):
        run(recorder)
    assert recorder.at("evaluate") == []
    recorder.told_to_end_at = ()
    run(recorder)
    assert recorder.at("evaluate") == [5, 10]


def test_told_to_end_while_evaluating_it_leaves_at_once() -> None:
    """The state was saved before."""
    recorder = Recorder(RunState(), iter([0.5, 0.6]))
    evaluate = recorder.evaluate

    def interrupted() -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("went on after the signal")

    recorder.evaluate = interrupted  # type: ignore[method-assign]
    with TerminationSignal() as termination:
        with pytest.raises(Preempted), termination.deferred():
            run(recorder, termination=termination)
    assert recorder.at("save")[-1] == recorder.state.step == 5
    assert recorder.state.evaluated_step == 0
    recorder.evaluate = evaluate  # type: ignore[method-assign]
    run(recorder)
    assert recorder.at("evaluate") == [5, 10]


def test_a_phase_has_its_name() -> None:
    """Where its numbers go, what is said of it, and which rate a mend lowers."""
    recorder = Recorder(RunState(phase="pretraining"), told_to_end_at=(3,))
    with pytest.raises(Preempted, match="saved at step 5 of the pretraining"):
        run(recorder, validation=False)
    assert recorder.at("pretraining") == [1, 4] and not recorder.at("train")
    recorder = Recorder(RunState(phase="pretraining"), losses={4: math.nan})
    with pytest.raises(
        FloatingPointError,
        match=r"pretraining diverged at step 4.*lower --pretrain_learning_rate,",
    ):
        run(recorder, validation=False)


@pytest.mark.parametrize("steps_per_call", [1, 3])
@pytest.mark.parametrize("begun", [0, 4])
def test_batches_that_are_listed_in_parts_are_the_same(
    steps_per_call: int, begun: int
) -> None:
    """No call goes beyond a part; what is logged, evaluated and saved is the same."""
    recorders = []
    for steps_at_once in (100, 4):
        state = RunState(step=begun)
        recorder = Recorder(state, iter(np.linspace(0.5, 0.9, 10)))
        run(recorder, steps_at_once=steps_at_once, steps_per_call=steps_per_call)
        recorders.append(recorder)
    whole, parts = recorders
    assert whole.num_fed == [10 - begun]
    assert parts.num_fed == ([4, 4, 2] if begun == 0 else [4, 2])
    assert parts.rows == whole.rows == make_plan(2).from_step(begun).rows.tolist()
    assert parts.events == whole.events
    assert all(
        (end - 1 - begun) // 4 == (start - 1 - begun) // 4 for start, end in parts.calls
    )


def test_no_call_goes_beyond_a_part() -> None:
    """Also where nothing else ends a call: a feed has the batches of its part alone."""
    recorder = Recorder(RunState())
    run(
        recorder,
        validation=False,
        steps_at_once=4,
        steps_per_call=3,
        save_every_steps=0,
        logging_steps=100,
    )
    assert recorder.num_fed == [4, 4, 2]
    assert not [
        call for call in recorder.calls if (call[0] - 1) // 4 != (call[1] - 1) // 4
    ]

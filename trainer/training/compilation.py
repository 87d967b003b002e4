"""All that a run compiles, before its clock starts.

    compile_steps(
        train_step,
        predict_step,
        train_feed=feeder.rehearsal(plan),
        predict_feed=feeder.rehearsal(evaluation_plan),
        variables=[*classifier.trainable_variables, *classifier.optimizer.variables],
        by_running=True,
    )

Steps are compiled once for each padded length. Left to itself that would happen in the
midst of training, whenever a length first comes up. On one CPU one graph serves all
lengths, of which XLA compiles the pieces for each, or nothing.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Callable, Iterator, Sequence

import keras
import numpy as np

from trainer import console
from trainer.data.batches import Feed
from trainer.training.steps import PredictStep, TrainStep

_logger = logging.getLogger(__name__)


def compile_steps(
    train_step: TrainStep,
    predict_step: PredictStep,
    *,
    train_feed: Feed,
    predict_feed: Feed,
    variables: Sequence[keras.Variable],
    by_running: bool,
    num_replicas: int = 1,
    secs_per_program: float | None = None,
    beat: Callable[[str], None] = lambda waiting_for: None,
) -> None:
    """Compiles the steps at the lengths of the feeds, and logs each before and after.

    One after the other: several workers must keep the same order, and XLA chooses a
    GPU's kernels by timing them there, undisturbed.

    Args:
      train_feed: a batch of each shape; what the batches hold does not matter.
      predict_feed: the same for the predict step.
      variables: all that a training step changes. They keep their values.
      by_running: whether the steps have to be run, since XLA compiles what runs first
        and nothing before; otherwise their graphs are made, and nothing is run.
      num_replicas: of this process, for each of which XLA compiles.
      secs_per_program: what compiling one is known to take; None: it is not known.
      beat: told what comes next, which is of one length on all replicas.
    """
    if secs_per_program is not None:
        lengths = len(train_feed.lengths), len(predict_feed.lengths)
        _logger.info("%s", announcement(*lengths, num_replicas, secs_per_program))
    with _kept(variables if by_running else ()):
        for index in _each_graph(
            "train step", train_step, train_feed, beat, by_running=by_running
        ):
            if by_running:
                step = train_step(train_feed.pipelines, train_feed.order[[index]])
                np.asarray(step.losses)
            else:
                train_step.trace(next(train_feed.pipelines[index]))
        if train_step.steps_per_call > 1:
            beat("making the graph of several steps")
        if train_step.steps_per_call > 1 and by_running:
            order = np.resize(train_feed.order, train_step.steps_per_call)
            np.asarray(train_step(train_feed.pipelines, order).losses)
        elif train_step.steps_per_call > 1:
            train_step.trace_many(train_feed.pipelines)
    for index in _each_graph(
        "predict step", predict_step, predict_feed, beat, by_running=by_running
    ):
        batch = next(predict_feed.pipelines[index])
        if by_running:
            np.asarray(predict_step(batch))
        else:
            predict_step.trace(batch)


def rehearse(
    train_step: TrainStep, feed: Feed, *, variables: Sequence[keras.Variable]
) -> None:
    """Does a step of the longest length, and leaves the weights alone.

    Args:
      feed: as `train_feed` of `compile_steps`.
      variables: the same.

    Raises:
      tf.errors.ResourceExhaustedError: it does not fit the memory.
    """
    with _kept(variables):
        train_step.rehearse(next(feed.pipelines[-1]))


def announcement(
    num_train_lengths: int,
    num_predict_lengths: int,
    num_replicas: int,
    secs_per_program: float,
) -> str:
    """What is to be compiled, and how long it may take, before anybody wonders."""
    num_programs = (num_train_lengths + num_predict_lengths) * num_replicas
    longest = console.duration(num_programs * secs_per_program)
    return (
        f"compiling {num_programs} programs: {num_train_lengths} lengths to train and "
        f"{num_predict_lengths} to predict, on {num_replicas} replica"
        f"{'s' * (num_replicas != 1)}. At {secs_per_program:g} s each (BERT-base on an "
        f"H100) it takes {longest}; what is in --compile_cache_dir takes a fraction, and fewer "
        "lengths (--num_buckets) take less"
    )


def _each_graph(
    name: str,
    step: TrainStep | PredictStep,
    feed: Feed,
    beat: Callable[[str], None],
    *,
    by_running: bool,
) -> Iterator[int]:
    """Numbers of the feed's pipelines; logs each, and then how long it took."""
    # Of a graph for all lengths, XLA compiles the pieces once for each all the same.
    is_done_by_first = step.any_length and not by_running
    for index, length in enumerate(feed.lengths):
        what = f"{name} at length {length} ({index + 1} of {len(feed.lengths)})"
        if is_done_by_first:
            what = f"{name} for all lengths"
        beat(f"compiling the {what}")
        # Said before: it may take minutes.
        _logger.info("compiling %s ...", what)
        start = time.monotonic()
        yield index
        _logger.info("compiled %s: %.1f s", what, time.monotonic() - start)
        if is_done_by_first:
            break


@contextlib.contextmanager
def _kept(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """Gives the variables back the values they had, to the last bit."""
    values = [variable.numpy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values):
            variable.assign(value)

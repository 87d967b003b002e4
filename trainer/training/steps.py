"""The compiled work of the steps: train on batches, predict a batch.

    train_step = TrainStep(classifier, objective, strategy, clip_norm=1.0, seed=0)
    numbers = train_step(feed.pipelines, feed.order[:16])   # 16 updates
    numbers.losses, numbers.gradient_norms                  # not yet waited for
    logits = PredictStep(forward, strategy)(batch)

The loss is the mean over the global batch, whatever the number of replicas and of
parts that a replica computes its share in: each adds up its rows' losses times their
weights, and the sums are added. The dropout masks of a step are a function of (seed,
step, part, replica), so they differ between replicas, and a resumed run draws what it
would have drawn.
"""

from __future__ import annotations

import functools
import time
import math
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.data.batches import Batch
from trainer.modeling.forward import Fusion
from trainer.modeling.optimizers import clip_by_global_norm
from trainer.modeling.pieces import fold_in, shape_of
from trainer.tasks.task import Objective


class StepNumbers(NamedTuple):
    """What a call of `TrainStep` gives; tensors that may still be computed.

    Attributes:
      losses: float32 [n], the mean loss of each global batch.
      gradient_norms: float32 [n], before clipping.
      input_wait_secs: float [n], how long the host waited for each step's batch; 0
        in calls of several steps on a TPU, whose hosts run no Python.
      stop: int32 scalar that all workers find alike: above 0 if any of them was told
        to end.
    """

    losses: Any
    gradient_norms: Any
    input_wait_secs: Any
    stop: Any


class TrainStep:
    """Updates of the weights, each from one global batch.

    Args:
      model: compiled, its optimizer built; made under the strategy's scope. Its
        trainable variables are updated.
      objective: the losses of a batch, computed with these variables.
      clip_norm: largest global norm of the summed gradient; 0: any.
      seed: of the dropout masks.
      accumulation_steps: in how many parts a replica computes its share of a batch.
      steps_per_call: how many updates a call can do.
      fusion: what XLA compiles; "whole": on one device all of the step, of several
        replicas forward and backward pass; "pieces" of these.
      any_length: whether one graph serves all padded lengths, instead of one each. For
        one CPU, whose XLA compiles no whole step. It computes the same, to rounding.
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        strategy: tf.distribute.Strategy,
        *,
        clip_norm: float,
        seed: int,
        accumulation_steps: int = 1,
        steps_per_call: int = 1,
        fusion: Fusion = "none",
        any_length: bool = False,
    ) -> None:
        self.steps_per_call = steps_per_call
        self.any_length = any_length
        self._model = model
        self._objective = objective
        self._strategy = strategy
        self._clip_norm = clip_norm
        self._accumulation_steps = accumulation_steps
        self._seed = seed
        self._variables = model.trainable_variables
        self._is_one_program = _is_one_program(fusion, strategy)
        self._one = _traced(self._one_impl, any_length=any_length)
        self._many = _traced(self._many_impl)
        # A function that the two above share, with what XLA has compiled of it.
        self._step = self._step_impl
        if steps_per_call > 1:
            self._step = _traced(self._step_impl)

    def __call__(
        self,
        pipelines: Sequence[Iterator[Batch]],
        order: np.ndarray,
        *,
        stop_requested: bool = False,
    ) -> StepNumbers:
        """Updates the weights once for each entry of `order`.

        Args:
          pipelines: of per-replica tensors, as `Feed` has them.
          order: int [n], n at most `steps_per_call`: the number of the pipeline that
            each step's batch is from.
          stop_requested: whether this process was told to end.
        """
        stop = tf.constant(stop_requested, tf.int32)
        if len(order) == 1:
            # Without a loop, nor all shapes in one function.
            start = time.monotonic()
            batch = next(pipelines[order[0]])
            waited = np.array([time.monotonic() - start])
            losses, norms, stop = self._one(batch, stop)
            return StepNumbers(losses, norms, waited, stop)
        # Of one size, for TensorFlow optimizes a graph anew for any other.
        filled = np.pad(order, (0, self.steps_per_call - len(order)))
        numbers: StepNumbers = self._many(
            tuple(pipelines),
            tf.constant(filled, tf.int32),
            tf.constant(len(order), tf.int32),
            stop,
        )
        return numbers

    def rehearse(self, batch: Batch) -> None:
        """Does one step, to see whether it fits the memory; it changes the weights.

        Replicas do not add up, for those whose memory suffices would wait for ever for
        one whose does not, and no sum over workers would work after that.

        Raises:
          tf.errors.ResourceExhaustedError: it does not fit.
        """
        if self._strategy.num_replicas_in_sync == 1:
            np.asarray(self._one(batch, tf.constant(0))[0])
            return
        update = functools.partial(self._update, adds_up=False)
        alone = _traced(lambda batch: self._strategy.run(update, args=(batch,))[0])
        for loss in self._strategy.experimental_local_results(alone(batch)):
            np.asarray(loss)

    def trace(self, batch: Batch) -> None:
        """Makes the graph of a step on such a batch, and runs nothing."""
        self._one.get_concrete_function(batch, tf.TensorSpec([], tf.int32))

    def trace_many(self, pipelines: Sequence[Iterator[Batch]]) -> None:
        """Makes the graph of several steps with all of these, and runs nothing."""
        number = tf.TensorSpec([], tf.int32)
        order = tf.TensorSpec([self.steps_per_call], tf.int32)
        self._many.get_concrete_function(tuple(pipelines), order, number, number)

    def _one_impl(
        self, batch: Batch, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        loss, norm = self._step(batch)
        return loss[tf.newaxis], norm[tf.newaxis], self._any_told_to_end(stop)

    def _many_impl(
        self,
        pipelines: tuple[Iterator[Batch], ...],
        order: tf.Tensor,
        num_steps: tf.Tensor,
        stop: tf.Tensor,
    ) -> StepNumbers:
        branches = [functools.partial(self._next_step, each) for each in pipelines]

        def add(index: tf.Tensor, *arrays: tf.TensorArray) -> Any:
            numbers = tf.switch_case(order[index], branches)
            written = [a.write(index, n) for a, n in zip(arrays, numbers)]
            return index + 1, *written

        arrays = [tf.TensorArray(tf.float32, self.steps_per_call) for _ in range(3)]
        _, *arrays = tf.while_loop(
            lambda index, *_: index < num_steps,
            add,
            (0, *arrays),
            # One step after the other.
            parallel_iterations=1,
        )
        losses, norms, waited = (array.stack()[:num_steps] for array in arrays)
        return StepNumbers(losses, norms, waited, self._any_told_to_end(stop))

    def _any_told_to_end(self, stop: tf.Tensor) -> tf.Tensor:
        if not isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # With other strategies one process drives all.
            return stop
        stops = self._strategy.run(tf.identity, args=(stop,))
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, stops, axis=None)

    def _next_step(
        self, pipeline: Iterator[Batch]
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        start = self._now([])
        with tf.control_dependencies([start]):
            batch = next(pipeline)
        waited = self._now(tf.nest.flatten(batch, expand_composites=True)) - start
        return *self._step(batch), tf.cast(waited, tf.float32)

    def _now(self, after: Sequence[tf.Tensor]) -> tf.Tensor:
        """Seconds, as float64, when these are there."""
        if isinstance(self._strategy, tf.distribute.TPUStrategy):
            # Its hosts have no Python to ask.
            return tf.constant(math.nan, tf.float64)
        # Not tf.timestamp, which refuses to run where kernels are deterministic.
        with tf.control_dependencies(after):
            return tf.numpy_function(time.monotonic, [], tf.float64)

    def _step_impl(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        losses, norms = self._strategy.run(self._replica_step, args=(batch,))
        mean, add = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
        # Every replica has the norm of the same summed gradient.
        return (
            self._strategy.reduce(add, losses, axis=None),
            self._strategy.reduce(mean, norms, axis=None),
        )

    def _replica_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        # What XLA compiles cannot hold a sum over the replicas of a strategy.
        is_alone = not tf.distribute.has_strategy()
        update = _compiled(self._update, self._is_one_program and is_alone)
        result: tuple[tf.Tensor, tf.Tensor] = update(batch)
        return result

    def _update(
        self, batch: Batch, *, adds_up: bool = True
    ) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        step = tf.cast(self._model.optimizer.iterations.value, tf.int32)
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        compute = _compiled(self._accumulated, self._is_one_program)
        loss, gradients = compute(batch, step, replica)
        if adds_up:
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        clipped, norm = clip_by_global_norm(gradients, clip_norm=self._clip_norm)
        self._model.optimizer.apply(clipped, self._variables)
        return loss, norm

    def _accumulated(
        self, batch: Batch, step: tf.Tensor, replica: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and gradients of a replica's share, its parts one after the other."""
        num_parts = self._accumulation_steps
        if num_parts == 1:
            return self._loss_and_gradients(batch, step, 0, replica)
        parts = tf.nest.map_structure(
            lambda t: tf.reshape(t, [num_parts, -1, *shape_of(t)[1:]]), batch
        )

        def add(index: tf.Tensor, loss: tf.Tensor, gradients: list[tf.Tensor]) -> Any:
            part = tf.nest.map_structure(lambda tensor: tensor[index], parts)
            # The weights are those of the global batch, so sums are all there is.
            more_loss, more = self._loss_and_gradients(part, step, index, replica)
            return index + 1, loss + more_loss, [a + b for a, b in zip(gradients, more)]

        zeros = [tf.zeros(v.shape, v.dtype) for v in self._variables]
        _, loss, gradients = tf.while_loop(
            lambda index, *_: index < num_parts, add, (0, 0.0, zeros)
        )
        return loss, gradients

    def _loss_and_gradients(
        self, batch: Batch, step: tf.Tensor, part: tf.Tensor | int, replica: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            seed = self._dropout_seed(step * self._accumulation_steps + part, replica)
            losses = self._objective.losses(batch, dropout_seed=seed, step=step)
            loss = tf.reduce_sum(losses * batch.weights)
        gradients = tape.gradient(loss, [v.value for v in self._variables])
        # Dense, also for embeddings: Keras would update the rows of this batch only,
        # whose moments then differ from what AdamW defines.
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _dropout_seed(self, number: tf.Tensor, replica: tf.Tensor) -> tf.Tensor:
        """number: of the part, counted over all steps."""
        return fold_in(fold_in(tf.constant([self._seed, 0]), number), replica)


class PredictStep:
    """What a model says of one global batch: its logits, or the vectors of its texts.

    Args:
      forward: of a classifier that was made under the strategy's scope, or its `embed`.
      fusion: what XLA compiles.
      any_length: whether one graph serves all padded lengths, as in `TrainStep`.
    """

    def __init__(
        self,
        forward: Callable[..., tf.Tensor],
        strategy: tf.distribute.Strategy,
        *,
        fusion: Fusion = "none",
        any_length: bool = False,
    ) -> None:
        self.any_length = any_length
        self._forward = forward
        self._strategy = strategy
        self._is_one_program = _is_one_program(fusion, strategy)
        self._run = _traced(self._run_impl, any_length=any_length)

    def __call__(self, batch: Batch) -> tf.Tensor:
        """Float [global batch, classes or hidden], in the order of the batch's rows.

        May still be computed: it is its numpy() that waits.
        """
        return self._run(batch)

    def trace(self, batch: Batch) -> None:
        """Makes the graph of a call with such a batch, and runs nothing."""
        self._run.get_concrete_function(batch)

    def _run_impl(self, batch: Batch) -> tf.Tensor:
        # Gathered here: outside of a tf.function it would be traced at every call.
        numbers = self._strategy.run(self._replica_step, args=(batch,))
        return self._strategy.gather(numbers, axis=0)

    def _replica_step(self, batch: Batch) -> tf.Tensor:
        compute = _compiled(self._forward, self._is_one_program)
        return compute(*batch.inputs)


class MeasureStep(PredictStep):
    """The same of a function of whole batches, as of what a text is masked by.

    Args:
      forward: a batch → numbers [batch, m].
    """

    def _replica_step(self, batch: Batch) -> tf.Tensor:
        measure: Callable[..., tf.Tensor] = self._forward
        return _compiled(measure, self._is_one_program)(batch)


def _is_one_program(fusion: Fusion, strategy: tf.distribute.Strategy) -> bool:
    """Whether to have XLA compile it; a TPU's strategy does that itself."""
    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    return fusion == "whole" and not on_tpu


class _AnyLength:
    """A tf.function of a batch, traced once for all padded lengths of a batch size.

    TensorFlow finds the graph of any length where it is asked for one of a length, if
    it has been traced before.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        self._traced_sizes: set[int] = set()

    def __call__(self, batch: Batch, *others: tf.Tensor) -> Any:
        if batch.targets.shape[0] not in self._traced_sizes:
            self.get_concrete_function(batch, *others)
        return self._function(batch, *others)

    def get_concrete_function(self, batch: Batch, *others: Any) -> None:
        """Makes the graph for batches of this size."""
        if (size := batch.targets.shape[0]) in self._traced_sizes:
            return
        ids = tf.TensorSpec([size, None], batch.inputs.token_ids.dtype)
        batch = batch._replace(inputs=batch.inputs._replace(token_ids=ids))
        self._function.get_concrete_function(batch, *others)
        self._traced_sizes.add(size)

    def experimental_get_tracing_count(self) -> int:
        """How often it was traced."""
        return int(self._function.experimental_get_tracing_count())


def _traced(implementation: Callable[..., Any], *, any_length: bool = False) -> Any:
    """A tf.function, traced once for each padded length, or once for all of them."""
    # Without autograph, which has nothing to convert here, tracing is quicker.
    function = tf.function(implementation, autograph=False)
    # Or TensorFlow would warn of it from the fifth length on.
    function._omit_frequent_tracing_warning = True
    return _AnyLength(function) if any_length else function


def _compiled(compute: Callable[..., Any], jit_compile: bool) -> Callable[..., Any]:
    """A replica's function, compiled with XLA if that is wanted.

    To be called while a replica's step is traced: each replica needs a tf.function of
    its own, for one shared by all would hold the variables of the first.
    """
    if not jit_compile:
        return compute
    compiled: Callable[..., Any] = tf.function(
        compute, autograph=False, jit_compile=True
    )
    return compiled

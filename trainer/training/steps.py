"""The compiled work of one step: train on a batch, predict a batch.

    train_step = TrainStep(classifier, strategy, clip_norm=1.0, seed=0)
    loss, gradient_norm, _ = train_step(batch)  # scalars, not yet waited for
    logits = PredictStep(classifier, strategy)(batch)

The loss is the mean over the global batch, whatever the number of replicas and of
parts that a replica computes its share in: each adds up its rows' losses times their
weights, and the sums are added. The dropout masks of a step are a function of (seed,
step, part, replica), so they differ between replicas, and a resumed run draws what it
would have drawn.
"""

from __future__ import annotations

from typing import Any, Callable

import keras
import numpy as np
import tensorflow as tf

from trainer.data.batches import Batch
from trainer.modeling.classifier import model_inputs
from trainer.modeling.optimizers import clip_by_global_norm


class TrainStep:
    """One update of the weights from one global batch.

    Args:
      classifier: compiled; made under the strategy's scope.
      clip_norm: largest global norm of the summed gradient; 0: any.
      seed: of the dropout masks.
      accumulation_steps: in how many parts a replica computes its share of a batch.
      jit_compile: whether to compile the forward and backward pass with XLA.
    """

    def __init__(
        self,
        classifier: keras.Model,
        strategy: tf.distribute.Strategy,
        *,
        clip_norm: float,
        seed: int,
        accumulation_steps: int = 1,
        jit_compile: bool = False,
    ) -> None:
        self._classifier = classifier
        self._strategy = strategy
        self._clip_norm = clip_norm
        self._accumulation_steps = accumulation_steps
        self._seed = seed
        self._variables = classifier.trainable_variables
        self._seed_states = [
            variable
            for variable in classifier.non_trainable_variables
            if variable.name == "seed_generator_state"
        ]
        self._jit_compile = jit_compile
        # Without autograph, which has nothing to convert here, tracing is quicker.
        self._run = tf.function(self._run_impl, autograph=False)

    def __call__(
        self, batch: Batch, *, stop_requested: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Updates the weights.

        Args:
          batch: per-replica tensors.
          stop_requested: whether this process was told to end.

        Returns:
          The global batch's mean loss and the norm of its gradient before clipping,
          float32 scalars; and an int32 scalar that all workers find alike: above 0 if
          any of them was told to end.
        """
        stop = tf.constant(stop_requested, tf.int32)
        result: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = self._run(batch, stop)
        return result

    def _run_impl(
        self, batch: Batch, stop: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        losses, norms = self._strategy.run(self._replica_step, args=(batch,))
        mean, add = tf.distribute.ReduceOp.MEAN, tf.distribute.ReduceOp.SUM
        if isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # The others' requests too; with other strategies one process drives all.
            stops = self._strategy.run(tf.identity, args=(stop,))
            stop = self._strategy.reduce(add, stops, axis=None)
        # Every replica has the norm of the same summed gradient.
        return (
            self._strategy.reduce(add, losses, axis=None),
            self._strategy.reduce(mean, norms, axis=None),
            stop,
        )

    def _replica_step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        context = tf.distribute.get_replica_context()
        step = tf.cast(self._classifier.optimizer.iterations.value, tf.int32)
        replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
        compute = _compiled(self._accumulated, self._jit_compile)
        loss, gradients = compute(batch, step, replica)
        gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, norm = clip_by_global_norm(gradients, clip_norm=self._clip_norm)
        self._classifier.optimizer.apply(gradients, self._variables)
        return loss, norm

    def _accumulated(
        self, batch: Batch, step: tf.Tensor, replica: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Loss and gradients of a replica's share, its parts one after the other."""
        num_parts = self._accumulation_steps
        if num_parts == 1:
            return self._loss_and_gradients(batch, step, replica)
        parts = Batch(*(tf.reshape(t, [num_parts, -1, *t.shape[1:]]) for t in batch))

        def add(index: tf.Tensor, loss: tf.Tensor, gradients: list[tf.Tensor]) -> Any:
            part = Batch(*(tensor[index] for tensor in parts))
            # The weights are those of the global batch, so sums are all there is.
            more_loss, more = self._loss_and_gradients(
                part, step * num_parts + index, replica
            )
            return index + 1, loss + more_loss, [a + b for a, b in zip(gradients, more)]

        zeros = [tf.zeros(v.shape, v.dtype) for v in self._variables]
        _, loss, gradients = tf.while_loop(
            lambda index, *_: index < num_parts, add, (0, 0.0, zeros)
        )
        return loss, gradients

    def _loss_and_gradients(
        self, batch: Batch, step: tf.Tensor, replica: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            with keras.StatelessScope(self._dropout_states(step, replica)):
                logits = self._classifier(
                    model_inputs(batch.token_ids, batch.num_tokens), training=True
                )
            losses = self._classifier.loss(batch.labels, tf.cast(logits, tf.float32))
            loss = tf.reduce_sum(losses * batch.weights)
        gradients = tape.gradient(loss, [v.value for v in self._variables])
        # Dense, also for embeddings: Keras would update the rows of this batch only,
        # whose moments then differ from what AdamW defines.
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _dropout_states(
        self, step: tf.Tensor, replica: tf.Tensor
    ) -> list[tuple[keras.Variable, tf.Tensor]]:
        fold_in = tf.random.experimental.stateless_fold_in
        seed = fold_in(fold_in(tf.constant([self._seed, 0]), step), replica)
        return [
            (state, tf.cast(fold_in(seed, index), state.dtype))
            for index, state in enumerate(self._seed_states)
        ]


class PredictStep:
    """The logits of one global batch.

    Args:
      classifier: made under the strategy's scope.
      jit_compile: whether to compile with XLA.
    """

    def __init__(
        self,
        classifier: keras.Model,
        strategy: tf.distribute.Strategy,
        *,
        jit_compile: bool = False,
    ) -> None:
        self._classifier = classifier
        self._strategy = strategy
        self._jit_compile = jit_compile
        # Without autograph, which has nothing to convert here, tracing is quicker.
        self._run = tf.function(self._run_impl, autograph=False)

    def __call__(self, batch: Batch) -> np.ndarray:
        """Float32 [global batch, classes], in the order of the batch's rows."""
        logits: np.ndarray = self._run(batch).numpy()
        return logits

    def _run_impl(self, batch: Batch) -> tf.Tensor:
        # Gathered here: outside of a tf.function it would be traced at every call.
        logits = self._strategy.run(self._replica_step, args=(batch,))
        return self._strategy.gather(logits, axis=0)

    def _replica_step(self, batch: Batch) -> tf.Tensor:
        return _compiled(self._logits, self._jit_compile)(batch)

    def _logits(self, batch: Batch) -> tf.Tensor:
        inputs = model_inputs(batch.token_ids, batch.num_tokens)
        return tf.cast(self._classifier(inputs, training=False), tf.float32)


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

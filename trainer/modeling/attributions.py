"""Which tokens moved an answer, and how far: integrated gradients.

    explain = explainer(forward, encoder, decision, constants=decision.constants())
    attributed = explain(token_ids, num_tokens)
    attributed.attribution      # [batch, length]: their sum is ...
    attributed.difference       # ... what the text has more than one of [MASK] alone
    of_tokens(encoder.locate(texts), attributed.attribution)    # [batch, tokens]

Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks": the gradient with
respect to a token's embedding, averaged on the straight path from an embedding that
says nothing, times the way that the embedding went. Here nothing is [MASK], which the
encoder learned to read as a word that is not known; special tokens and padding stay as
they are, for a text without [CLS] is none that the model has ever read. What is
explained is a function of the logits, not of probabilities, whose gradients vanish
where the model is sure.

What the logits say is the task's business (`choose`, `contrast`); which bytes a token
is made of, that of `data/spans.py`.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import tensorflow as tf

from trainer.data.tokens import LocatedTokens, TextEncoder
from trainer.messages import message
from trainer.modeling.ensemble import ServedForward
from trainer.tasks.task import Decision

# The sum of attributions was off by 14% of the difference with 8 steps, by 0.1% with
# 32 (MiniLM on 16 reviews).
NUM_STEPS = 32


class Attributed(NamedTuple):
    """What moved the answers to texts.

    Attributes:
      chosen: int64 [batch], which label is explained.
      attribution: float32 [batch, length], how far each token moved the contrast; 0 for
        special tokens and padding. A window's tokens count as its logits do.
      difference: float32 [batch], the contrast of the text less that of its tokens
        masked: what the attributions add up to, but for what the steps leave out.
    """

    chosen: tf.Tensor
    attribution: tf.Tensor
    difference: tf.Tensor


def explainer(
    forward: ServedForward,
    encoder: TextEncoder,
    decision: Decision,
    *,
    constants: Mapping[str, Any],
) -> IntegratedGradients:
    """Explains what a decision answers.

    Args:
      constants: of the decision, as variables or as plain numbers.

    Raises:
      ValueError: the vocabulary has no [MASK].
    """
    return IntegratedGradients(
        forward,
        mask_id=require_mask(encoder),
        kept_ids=(encoder.pad_id, *encoder.end_ids),
        choose=lambda logits: decision.graph_chosen(logits, constants),
        contrast=lambda logits, chosen: decision.graph_contrast(
            logits, constants, chosen=chosen
        ),
    )


def require_mask(encoder: TextEncoder) -> int:
    """The id of [MASK].

    Raises:
      ValueError: the vocabulary has none.
    """
    if encoder.mask_id is None:
        raise ValueError(
            message(
                "--explain and --export_explain hold a text against one of [MASK] alone,"
                " which the preset's vocabulary must have",
                received=f"{len(encoder.vocabulary)} tokens without [MASK]",
                mend="leave these flags away, or take another preset",
            )
        )
    return encoder.mask_id


def of_tokens(located: LocatedTokens, by_position: tf.Tensor) -> tf.Tensor:
    """What tokens have, of what the places have where they stand.

    Args:
      located: as `TextEncoder.locate` gives it.
      by_position: float32 [batch, length], of the encoded texts, padded.

    Returns:
      float32 [batch, most tokens of a text]: of a token that stands in several windows,
      the sum. 0 where a text has no more tokens.
    """
    num_rows = located.token_ids.nrows()
    width = tf.reduce_max(tf.concat([located.token_ids.row_lengths(), [0]], axis=0))
    tokens = located.positions.flat_values
    of_row = located.positions.value_rowids()
    position = tf.ragged.range(located.positions.row_lengths()).flat_values
    values = tf.gather_nd(by_position, tf.stack([of_row, position], axis=1))
    # Nothing is added where the index is negative, as of [CLS] and [SEP].
    target = tf.where(
        tokens < 0,
        tf.constant(-1, tf.int64),
        of_row * width + tf.cast(tokens, tf.int64),
    )
    sums = tf.math.unsorted_segment_sum(values, target, num_rows * width)
    return tf.reshape(sums, tf.stack([num_rows, width]))


class IntegratedGradients:
    """Explains the answers of a classifier, or of an ensemble.

    Args:
      forward: not differentiable in the sense of `Forward`: TensorFlow's own gradients
        are those that a served graph may hold.
      mask_id: the id of [MASK].
      kept_ids: ids of tokens that stay as they are.
      choose: logits [batch, classes] → the label to explain, int64 [batch].
      contrast: logits, labels → how much the logits speak for them, float32 [batch].
      num_steps: points on the path at which the gradient is taken.
    """

    def __init__(
        self,
        forward: ServedForward,
        *,
        mask_id: int,
        kept_ids: Sequence[int],
        choose: Callable[[tf.Tensor], tf.Tensor],
        contrast: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        num_steps: int = NUM_STEPS,
    ) -> None:
        self._forward, self._mask_id = forward, mask_id
        self._kept_ids = tuple(kept_ids)
        self._choose, self._contrast = choose, contrast
        self._num_steps = num_steps

    def __call__(self, token_ids: tf.Tensor, num_tokens: tf.Tensor) -> Attributed:
        """Explains texts.

        Args:
          token_ids: int32 [batch, length], windows back to back.
          num_tokens: int [batch], how many of them are not padding.
        """
        ends = self._forward.look_up(token_ids)
        starts = self._forward.look_up(self._masked(token_ids))
        logits = self._forward.of_vectors(ends, num_tokens)
        chosen = self._choose(logits)
        masked = self._forward.of_vectors(starts, num_tokens)
        gradients = self._mean_gradients(starts, ends, num_tokens, chosen)
        parts = [
            tf.reduce_sum((end - start) * gradient, axis=-1)
            for start, end, gradient in zip(starts, ends, gradients, strict=True)
        ]
        return Attributed(
            chosen,
            tf.add_n(parts),
            self._contrast(logits, chosen) - self._contrast(masked, chosen),
        )

    def _masked(self, token_ids: tf.Tensor) -> tf.Tensor:
        is_kept = tf.reduce_any(
            tf.equal(tf.expand_dims(token_ids, -1), self._kept_ids), axis=-1
        )
        return tf.where(is_kept, token_ids, self._mask_id)

    def _mean_gradients(
        self,
        starts: Sequence[tf.Tensor],
        ends: Sequence[tf.Tensor],
        num_tokens: tf.Tensor,
        chosen: tf.Tensor,
    ) -> Sequence[tf.Tensor]:
        """On the straight path, by the midpoint rule; of each tensor of embeddings.

        In a loop of the graph: unrolled, the steps take minutes to be compiled.
        """

        def add(
            index: tf.Tensor, sums: Sequence[tf.Tensor]
        ) -> tuple[tf.Tensor, Sequence[tf.Tensor]]:
            share = (tf.cast(index, tf.float32) + 0.5) / self._num_steps
            points = [start + share * (end - start) for start, end in zip(starts, ends)]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(points)
                logits = self._forward.of_vectors(points, num_tokens)
                value = self._contrast(logits, chosen)
            gradients = tape.gradient(value, points)
            return index + 1, [s + g for s, g in zip(sums, gradients)]

        _, sums = tf.while_loop(
            lambda index, _: index < self._num_steps,
            add,
            (0, [tf.zeros_like(end) for end in ends]),
            # One after the other, each on all cores.
            parallel_iterations=1,
        )
        return [total / self._num_steps for total in sums]

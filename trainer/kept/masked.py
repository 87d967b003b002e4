"""What an encoder still knows of language: how well it guesses masked words.

    reader = MaskedWords(masking, seed=0)
    compute = reader.of(forward)        # (token_ids, num_tokens) → numbers of each text
    guesses = reader.read(room)         # vectors, labels, weights of the masked tokens
    losses(guesses, head)               # float64 [n], nats a masked token of each text
    losses(realigned(guesses, onto=before, halves=halves), head, table=table_before)

The masks of a text are always the same. The head is the checkpoint's, or stands for none
(`masked_lm.starting_head`), and is not trained: fine-tuning may turn the vectors away
from it and forget nothing. `realigned` therefore turns them back by a linear map, found
on one half of the texts and applied to the other.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.modeling.forward import Forward
from trainer.modeling.masked_lm import token_logits
from trainer.modeling.masking import Masking
from trainer.modeling.pieces import fold_in, shape_of

# Of a text; so that the vectors of 500 texts take tens of megabytes and guessing takes
# seconds.
MOST_WORDS = 16
# Tokens whose guesses are held at once: 128 MB of a vocabulary of 32,000.
_CHUNK = 1024
# Of the mean variance of a vector's numbers: keeps the map near the identity where the
# tokens are too few to say.
_RIDGE = 0.01


@dataclasses.dataclass(frozen=True)
class Guesses:
    """The masked tokens of n texts, and what the encoder has in their places.

    Attributes:
      vectors: float32 [n, MOST_WORDS, hidden].
      labels: int32 [n, MOST_WORDS], the tokens that stood there.
      weights: float32 [n, MOST_WORDS], 1; 0 beyond those of a text.
    """

    vectors: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


class MaskedWords:
    """Reads texts with some of their tokens masked.

    Args:
      seed: of the masks.
    """

    def __init__(self, masking: Masking, *, seed: int) -> None:
        self._masking = masking
        self._seed = seed

    def of(self, forward: Forward) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        """What an encoder has in the masked places of a batch: float32 [batch, m]."""

        def compute(token_ids: tf.Tensor, num_tokens: tf.Tensor) -> tf.Tensor:
            masked = self._masking(
                token_ids,
                # A text is known by its tokens here, whatever row it is in.
                tf.reduce_sum(token_ids, axis=1),
                seed=fold_in(tf.constant([self._seed, 0]), tf.constant(0)),
            )
            vectors = forward.encode(masked.token_ids, num_tokens)
            chosen = tf.gather(vectors, masked.positions[:, :MOST_WORDS], batch_dims=1)
            batch, found, hidden = shape_of(chosen)
            parts = [
                tf.cast(chosen, tf.float32),
                # Exact, for there are fewer tokens than 2^24.
                tf.cast(masked.labels[:, :MOST_WORDS, None], tf.float32),
                masked.weights[:, :MOST_WORDS, None],
            ]
            there = tf.concat(parts, axis=-1)
            there = tf.pad(there, [[0, 0], [0, MOST_WORDS - found], [0, 0]])
            return tf.reshape(there, [batch, MOST_WORDS * (hidden + 2)])

        return compute

    def room(self, num_texts: int, hidden_size: int) -> np.ndarray:
        """Where `of` is collected: float32 [n, m]."""
        return np.empty([num_texts, MOST_WORDS * (hidden_size + 2)], np.float32)

    def read(self, numbers: np.ndarray) -> Guesses:
        """What `of` gave of n texts: float32 [n, m]."""
        parts = numbers.reshape(len(numbers), MOST_WORDS, -1)
        return Guesses(
            vectors=parts[:, :, :-2],
            labels=parts[:, :, -2].astype(np.int32),
            weights=parts[:, :, -1],
        )


def losses(
    guesses: Guesses, head: keras.layers.Layer, *, table: np.ndarray | None = None
) -> np.ndarray:
    """Cross-entropy of each text's masked tokens, their mean, in nats.

    Args:
      head: the `masked_lm_head` of `masked_lm.build_masked_lm`.
      table: [vocabulary, hidden], of token embeddings; None: the encoder's present ones.

    Returns:
      float64 [n]; NaN for a text that has no masked token.
    """
    is_there = guesses.weights > 0
    vectors, labels = guesses.vectors[is_there], guesses.labels[is_there]
    of_tokens = [
        keras.losses.sparse_categorical_crossentropy(
            labels[start : start + _CHUNK],
            token_logits(head, vectors[start : start + _CHUNK], table=table),
            from_logits=True,
        ).numpy()
        for start in range(0, len(labels), _CHUNK)
    ]
    found = np.zeros(is_there.shape)
    found[is_there] = np.concatenate(of_tokens or [np.zeros(0)])
    counts = is_there.sum(axis=1)
    with np.errstate(invalid="ignore"):
        result: np.ndarray = found.sum(axis=1) / counts
    return result


def realigned(
    guesses: Guesses, *, onto: Guesses, halves: Sequence[np.ndarray]
) -> Guesses:
    """The same with vectors that are mapped to what they were, as far as a map can.

    A linear map with a constant, by ridge regression towards the identity: of each half
    of the texts the one that the other half gives. Vectors that did not move stay.

    Args:
      onto: of the same masks, before.
      halves: int64, the numbers of the texts of each of the two.
    """
    mapped = np.empty_like(guesses.vectors)
    for here, there in (halves, halves[::-1]):
        is_there = guesses.weights[there] > 0
        now = guesses.vectors[there][is_there].astype(np.float64)
        moved = onto.vectors[there][is_there] - now
        centre = now.mean(axis=0)
        centred = now - centre
        squares = centred.T @ centred
        ridge = _RIDGE * np.trace(squares) / len(squares) * np.eye(len(squares))
        turn: Any = np.linalg.solve(squares + ridge, centred.T @ moved)
        shift = moved.mean(axis=0)
        vectors = guesses.vectors[here].astype(np.float64)
        mapped[here] = vectors + (vectors - centre) @ turn + shift
    return dataclasses.replace(guesses, vectors=mapped)

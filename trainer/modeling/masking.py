"""Which tokens of a text are masked, drawn in the graph.

    masking = Masking(preset.vocabulary, fraction=0.15)
    masked = masking(token_ids, rows, seed=fold_in(tf.constant([seed, 1]), step))
    masked.token_ids, masked.positions, masked.labels, masked.weights

As BERT was trained (Devlin et al. 2018, 3.1, and google-research/bert,
create_pretraining_data.py): a share of the tokens of each text is to be guessed; 80% of
these are replaced by [MASK], 10% by a token of the vocabulary, and 10% stay. Special
tokens are never masked, and [UNK], of which there is nothing to learn, is one of them.

What is drawn is a function of seed, row and place, by the Philox that dropout uses: of
a step's masks nothing has to be kept, and they do not depend on which replica has the
row, nor on which other rows are in its batch.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.special_tokens import SPECIAL_TOKENS, Pieces
from trainer.messages import message
from trainer.modeling.pieces import fold_in, shape_of

# What a word's further pieces begin with, of WordPiece; and what its first piece begins
# with, of the others: what is no first piece goes on with the word before it.
_CONTINUATION = "##"
_BEGINNINGS: Mapping[Pieces, str] = {"byte": "\u0120", "sentence": "\u2581"}
# Of the masked tokens: replaced by [MASK], and by that or any token.
_MASKED_SHARE, _REPLACED_SHARE = 0.8, 0.9
# Shares are counted in ten-thousandths, so that host and graph round alike.
_UNIT = 10_000
_LARGEST_INT = 0x7FFFFFFF
_SHARE_BITS = 24


class Masked(NamedTuple):
    """A batch to guess tokens of.

    Attributes:
      token_ids: int32 [batch, length], some of them replaced.
      positions: int32 [batch, predictions], where tokens are to be guessed.
      labels: int32 [batch, predictions], the tokens that stood there.
      weights: float32 [batch, predictions], 1; 0 beyond those of a text.
    """

    token_ids: tf.Tensor
    positions: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor


class Masking:
    """Draws masks.

    Args:
      vocabulary: pieces in the order of their ids.
      pieces: how the tokenizer cuts words; BERT's special tokens, which the text here
        names, have other names in other vocabularies.
      fraction: of the tokens that may be masked, how many are, above 0 and below 1;
        of each text one at least.
      whole_words: whether a word is masked in all of its pieces or in none. Of the
        words drawn, those count that fit in the fraction one after the other; a first
        word that does not fit is masked in as many pieces as do.

    Attributes:
      special_ids: of tokens that are never masked.
      vocabulary_size: how many tokens there are.

    Raises:
      ValueError: the vocabulary has no [MASK].
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        fraction: float,
        whole_words: bool = False,
        pieces: Pieces = "word",
    ) -> None:
        special = SPECIAL_TOKENS[pieces]
        if special.mask not in vocabulary:
            raise ValueError(
                message(
                    "--pretrain_steps needs a preset whose vocabulary has "
                    f"{special.mask}",
                    received=f"{len(vocabulary)} tokens without it",
                    mend="set --pretrain_steps=0, or use another --preset",
                )
            )
        self.special_ids = tuple(
            index for index, piece in enumerate(vocabulary) if piece in special.names()
        )
        self._mask_id = vocabulary.index(special.mask)
        self.vocabulary_size = len(vocabulary)
        self._units = min(max(round(fraction * _UNIT), 1), _UNIT - 1)
        self._whole_words = whole_words
        self._may_be_masked = np.ones(self.vocabulary_size, bool)
        self._may_be_masked[list(self.special_ids)] = False
        self._begins_word = np.array(
            [
                piece in special.names() or _begins_word(piece, pieces)
                for piece in vocabulary
            ]
        )

    def num_masked(self, num_words: Any) -> Any:
        """How many tokens of a text are masked, of so many that may be.

        With whole words they are the most.

        Args:
          num_words: int, an array or a tensor.
        """
        rounded = (num_words * self._units + _UNIT // 2) // _UNIT
        at_least = tf.maximum if tf.is_tensor(num_words) else np.maximum
        at_most = tf.minimum if tf.is_tensor(num_words) else np.minimum
        return at_most(at_least(rounded, 1), num_words)

    def num_predictions(self, length: Any) -> Any:
        """Tokens to guess of a row of this padded length, at most: ceil(fraction · n)."""
        return -(-length * self._units // _UNIT)

    def token_counts(self, token_ids: np.ndarray) -> np.ndarray:
        """How often each token that may be masked stands there: int64 [vocabulary]."""
        counts = np.bincount(token_ids, minlength=self.vocabulary_size)
        counts[list(self.special_ids)] = 0
        return counts

    def __call__(
        self, token_ids: tf.Tensor, rows: tf.Tensor, *, seed: tf.Tensor
    ) -> Masked:
        """Masks a batch.

        Args:
          token_ids: int32 [batch, length].
          rows: int32 [batch], the number of each text in its data set.
          seed: int32 [2], of the step.
        """
        length = shape_of(token_ids)[1]
        order, kind, others = self._draws(rows, length, seed)
        may_be_masked = tf.gather(self._may_be_masked, token_ids)
        word = _word_numbers(tf.gather(self._begins_word, token_ids))
        keys = tf.bitwise.bitwise_and(order, _LARGEST_INT)
        if self._whole_words:
            keys = tf.gather(keys, word, batch_dims=1)
        keys = tf.where(may_be_masked, keys, -1)
        num_predictions = self.num_predictions(length)
        # One more, to see whether a word goes on there. Of equal keys, which the pieces
        # of a word have, the first come first.
        _, drawn = tf.math.top_k(keys, _smaller(num_predictions + 1, length))
        num_words = tf.reduce_sum(tf.cast(may_be_masked, tf.int32), axis=1)
        num_masked = tf.minimum(self.num_masked(num_words), num_predictions)
        is_masked = tf.sequence_mask(num_masked, shape_of(drawn)[1])
        if self._whole_words:
            is_masked &= ~_cut(tf.gather(word, drawn, batch_dims=1), num_masked)
        positions = drawn[:, :num_predictions]
        weights = tf.cast(is_masked[:, :num_predictions], tf.float32)
        return Masked(
            self._replaced(
                token_ids, _spread(positions, weights, length), kind, others
            ),
            positions,
            tf.gather(token_ids, positions, batch_dims=1),
            weights,
        )

    def _draws(self, rows: tf.Tensor, length: Any, seed: tf.Tensor) -> list[tf.Tensor]:
        """Three whole numbers for each place: int32 [batch, length], each of any size."""

        def draw(row: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_uniform(
                [3, length], fold_in(seed, row), None, None, tf.int32, alg="philox"
            )

        drawn = tf.map_fn(
            draw, rows, fn_output_signature=tf.TensorSpec([3, None], tf.int32)
        )
        drawn = tf.reshape(drawn, [-1, 3, length])
        return [drawn[:, index] for index in range(3)]

    def _replaced(
        self,
        token_ids: tf.Tensor,
        is_masked: tf.Tensor,
        kind: tf.Tensor,
        others: tf.Tensor,
    ) -> tf.Tensor:
        share = tf.bitwise.bitwise_and(kind, (1 << _SHARE_BITS) - 1)
        share = tf.cast(share, tf.float32) / (1 << _SHARE_BITS)
        others = tf.bitwise.bitwise_and(others, _LARGEST_INT) % self.vocabulary_size
        replaced = tf.where(share < _MASKED_SHARE, self._mask_id, others)
        is_replaced = is_masked & (share < _REPLACED_SHARE)
        return tf.where(is_replaced, replaced, token_ids)


def _begins_word(piece: str, pieces: Pieces) -> bool:
    if pieces in _BEGINNINGS:
        return piece.startswith(_BEGINNINGS[pieces])
    return not piece.startswith(_CONTINUATION)


def _word_numbers(begins_word: tf.Tensor) -> tf.Tensor:
    """The number of the word that each token is a piece of, from 0: int32."""
    numbers = tf.cumsum(tf.cast(begins_word, tf.int32), axis=1) - 1
    # A text that is cut may begin in the midst of a word.
    return tf.maximum(numbers, 0)


def _cut(words: tf.Tensor, num_masked: tf.Tensor) -> tf.Tensor:
    """Which pieces are of a word that is not masked whole, but for a first word.

    Args:
      words: int32 [batch, n], of the pieces in the order in which they were drawn.
      num_masked: int32 [batch].
    """
    next_word = tf.gather(words, num_masked, batch_dims=1)
    is_cut = words == tf.expand_dims(next_word, 1)
    return is_cut & (words != words[:, :1])


def _spread(positions: tf.Tensor, weights: tf.Tensor, length: Any) -> tf.Tensor:
    """Which places are among the positions that count: bool [batch, length]."""
    is_at = tf.expand_dims(positions, 2) == tf.range(length)
    return tf.reduce_any(is_at & tf.expand_dims(weights > 0, 2), axis=1)


def _smaller(one: Any, other: Any) -> Any:
    """The smaller of two numbers, as a number where both are known."""
    if isinstance(one, int) and isinstance(other, int):
        return min(one, other)
    return tf.minimum(one, other)

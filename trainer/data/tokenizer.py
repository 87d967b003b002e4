"""What cuts texts into pieces of a vocabulary: the seam between the ways to do it.

    tokenizer = WordPieces(vocabulary, lowercase=True)      # word_pieces.py
    tokenizer = BytePairs(vocabulary, merges)               # byte_pairs.py
    tokenizer(tf.constant(["A fine film."]))                # ragged int32 [batch, None]

`tokens.py` puts the ends around pieces, truncates and cuts windows.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from trainer.data.special_tokens import SpecialTokens


class LocatedPieces(NamedTuple):
    """Pieces of texts and the bytes that they come from, as the texts were given.

    Attributes:
      ids, begin, end: ragged int32 [batch, None], of the same rows.
    """

    ids: tf.RaggedTensor
    begin: tf.RaggedTensor
    end: tf.RaggedTensor


class Tokenizer(Protocol):
    """Cuts texts in a TensorFlow graph; no text is read as a special token."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The pieces in the order of their ids."""

    @property
    def special(self) -> SpecialTokens:
        """Of the vocabulary."""

    @property
    def resources(self) -> tuple[Any, ...]:
        """What TensorFlow has to save beside a graph that it is in; most often none."""

    @property
    def settings(self) -> list[Any]:
        """All that the ids depend on beside the vocabulary, as JSON has it."""

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of strings [batch] of any bytes: ragged int32 [batch, None]."""

    def locate(self, texts: tf.Tensor) -> LocatedPieces:
        """The same, and where they come from."""

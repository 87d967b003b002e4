"""RoBERTa's byte-level BPE in the graph, of TensorFlow's own operations alone.

    tokenizer = BytePairs(vocabulary, merges)
    tokenizer(tf.constant(["A fine film."]))    # ragged int32 [1, None]

Radford et al. 2019 ("Language Models are Unsupervised Multitask Learners"; openai/gpt-2,
encoder.py): a pattern cuts a text into words, a blank before a word being part of it;
the bytes of a word are its first pieces, and the pair of pieces that was merged first in
training is merged first here, until none is left to merge. The ids are Hugging Face's
(`tokenizers`, ByteLevel and BPE), of which KerasHub's, which keep words in tables with a
state, differ for blanks and control characters.

All words of a batch are merged together, each different one once: as many rounds as the
word with the most merges needs, each a search of all pairs in a sorted table. Words that
are one piece in the end, as most are, are found in a table of these first.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from trainer.data import spans
from trainer.data.special_tokens import SPECIAL_TOKENS, SpecialTokens
from trainer.data.tokenizer import LocatedPieces
from trainer.messages import message

# Unicode's white space, as Oniguruma's \s has it, which Hugging Face's pattern is for.
_SPACE = r"\t-\r\x{85}\p{Z}"
# GPT-2's pattern (openai/gpt-2, encoder.py). RE2 cannot look ahead, as its
# `\s+(?!\S)` does: of several blanks before a word the last is kept for it first.
_BLANKS_BEFORE_WORD = rf"([{_SPACE}]+)([{_SPACE}][^{_SPACE}])"
# Without a group: to find where a word ends takes RE2 a third of what groups take it.
_WORD = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    rf"| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]+"
)
# Between words: a byte that no UTF-8 has, which no pattern matches.
_BETWEEN = b"\xff"
_NO_RANK = np.int32(2**31 - 1)
_NUM_HASHES = 2**62
_BLANK = "\u0120"


class WholeWords(NamedTuple):
    """Words that are one piece.

    Attributes:
      hashes: int64 [n], ascending.
      words: bytes [n]. ids: int32 [n], of the pieces.
    """

    hashes: np.ndarray
    words: np.ndarray
    ids: np.ndarray


class BytePairs:
    """Cuts texts into byte-level pieces.

    Args:
      vocabulary: the pieces in the order of their ids, bytes written as letters as
        GPT-2's vocab.json has them.
      merges: pairs of pieces, those that are merged first first.

    Raises:
      ValueError: the vocabulary lacks a piece of a merge.
    """

    special: SpecialTokens = SPECIAL_TOKENS["byte"]
    resources: tuple[Any, ...] = ()

    def __init__(
        self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self.settings: list[Any] = ["byte pairs", [" ".join(pair) for pair in merges]]
        ids = {piece: index for index, piece in enumerate(vocabulary)}
        letters = byte_letters()
        unknown = ids.get(self.special.unknown, 0)
        self._of_byte = np.array([ids.get(each, unknown) for each in letters], np.int32)
        self._num_ids = len(vocabulary)
        self._keys, self._ranks, self._merged = _tables(ids, merges)
        # Of each piece: how many bytes it is, and how many blanks it begins with.
        self._num_bytes = np.array([len(p) for p in vocabulary], np.int32)
        self._num_bytes[unknown] = 1
        self._num_blanks = np.array(
            [len(p) - len(p.lstrip(_BLANK)) for p in vocabulary], np.int32
        )
        self._whole = self._whole_words()

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of strings [batch]: ragged int32 [batch, None].

        What is not UTF-8 is left out.
        """
        words = self._words(spans.clean(texts))
        different = tf.unique(words.flat_values)
        pieces, row = self._pieces(different.y)
        rows = tf.gather(pieces, tf.gather(row, different.idx))
        return words.with_flat_values(rows).merge_dims(-2, -1)

    def locate(self, texts: tf.Tensor) -> LocatedPieces:
        """The same, and where they come from.

        Of a piece that is blanks and more, what is more; two pieces of one character
        both have its bytes.
        """
        ids = self(texts)
        size = tf.gather(self._num_bytes, ids.flat_values)
        # Words are back to back in a text, and texts in the batch.
        end = tf.cumsum(size)
        blanks = tf.gather(self._num_blanks, ids.flat_values)
        begin = end - size + tf.where(blanks < size, blanks, 0)
        begin, end = spans.in_given_bytes(texts, begin, end)
        return LocatedPieces(
            ids, ids.with_flat_values(begin), ids.with_flat_values(end)
        )

    def _words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings [batch, None], which together are the texts."""
        texts = tf.strings.regex_replace(
            texts, _BLANKS_BEFORE_WORD, rb"\1" + _BETWEEN + rb"\2"
        )
        texts = tf.strings.regex_replace(texts, _WORD, rb"\0" + _BETWEEN)
        words = tf.strings.split(texts, _BETWEEN)
        return tf.ragged.boolean_mask(
            words, words.with_flat_values(tf.strings.length(words.flat_values) > 0)
        )

    def _whole_words(self) -> WholeWords:
        """Which pieces are what their own bytes are merged to."""
        byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        spelled = [
            (bytes(map(byte_of.__getitem__, piece)), index)
            for index, piece in enumerate(self.vocabulary)
            if piece and all(letter in byte_of for letter in piece)
        ]
        words = np.array([word for word, _ in spelled], object)
        ids = np.array([index for _, index in spelled], np.int32)
        if len(ids):
            with tf.device("CPU:0"):
                rows = self._merge(tf.constant(words, tf.string))
            is_whole = rows.row_lengths().numpy() == 1
            first = rows.flat_values.numpy()[rows.row_starts().numpy()]
            is_whole &= first == ids
            words, ids = words[is_whole], ids[is_whole]
        hashes = _hashes(tf.constant(words, tf.string)).numpy()
        order = np.argsort(hashes, kind="stable")
        return WholeWords(hashes[order], words[order], ids[order])

    def _pieces(self, words: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        """The pieces of strings [words], none empty.

        Returns:
          Ragged int32 [rows, None], and in which row each word's are: int32 [words].
        """
        whole = self._whole
        if not len(whole.ids):
            return self._merge(words), tf.range(tf.size(words))
        place = tf.searchsorted(whole.hashes, _hashes(words))
        place = tf.minimum(place, len(whole.ids) - 1)
        # Two strings may have one hash.
        is_whole = tf.gather(tf.constant(whole.words, tf.string), place) == words
        merged = self._merge(tf.boolean_mask(words, ~is_whole))
        ones = tf.RaggedTensor.from_tensor(
            tf.expand_dims(tf.gather(whole.ids, place), 1)
        )
        number = tf.cumsum(tf.cast(~is_whole, tf.int32), exclusive=True)
        count = tf.size(words)
        row = tf.where(is_whole, tf.range(count), count + number)
        return tf.concat([ones, merged], axis=0), row

    def _merge(self, words: tf.Tensor) -> tf.RaggedTensor:
        """The pieces of strings [words], none empty: ragged int32 [words, None]."""
        # Latin 1 has a character for each byte, of the byte's number.
        characters = tf.strings.unicode_decode(words, "ISO-8859-1")
        num_words = tf.size(words)
        ids = tf.gather(self._of_byte, characters.flat_values)
        word = tf.cast(characters.value_rowids(), tf.int32)

        def merge(
            ids: tf.Tensor, word: tf.Tensor, _: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            rank, merged = self._pairs(ids, word)
            best = tf.math.unsorted_segment_min(rank, word, num_words)
            is_best = (rank == tf.gather(best, word)) & (rank < _NO_RANK)
            is_merged = _without_overlaps(is_best)
            ids = tf.where(is_merged, merged, ids)
            is_left = ~tf.concat([[False], is_merged], axis=0)[:-1]
            return (
                tf.boolean_mask(ids, is_left),
                tf.boolean_mask(word, is_left),
                tf.reduce_any(is_merged),
            )

        flat = tf.TensorShape([None])
        ids, word, _ = tf.while_loop(
            lambda ids, word, goes_on: goes_on,
            merge,
            (ids, word, tf.constant(True)),
            shape_invariants=(flat, flat, tf.TensorShape([])),
            parallel_iterations=1,
        )
        return tf.RaggedTensor.from_value_rowids(
            ids, tf.cast(word, tf.int64), tf.cast(num_words, tf.int64), validate=False
        )

    def _pairs(self, ids: tf.Tensor, word: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Of each piece and the next one: the rank of their merge, _NO_RANK where there
        is none, and what it gives: int32 [pieces]."""
        if not len(self._keys):
            return tf.fill(tf.shape(ids), _NO_RANK), ids
        following = tf.concat([ids, [0]], axis=0)[1:]
        is_within = word == tf.concat([word, [-1]], axis=0)[1:]
        key = tf.cast(ids, tf.int64) * self._num_ids + tf.cast(following, tf.int64)
        place = tf.minimum(tf.searchsorted(self._keys, key), len(self._keys) - 1)
        is_there = is_within & (tf.gather(self._keys, place) == key)
        return (
            tf.where(is_there, tf.gather(self._ranks, place), _NO_RANK),
            tf.gather(self._merged, place),
        )


def byte_letters() -> list[str]:
    """The letter that stands for each byte (openai/gpt-2, encoder.py,
    bytes_to_unicode): its own where that can be seen, else one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def _hashes(words: tf.Tensor) -> tf.Tensor:
    """A number for each string: int64 [words]."""
    return tf.strings.to_hash_bucket_fast(words, _NUM_HASHES)


def _tables(
    ids: dict[str, int], merges: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of all merges, sorted: the pair as one number, int64; its rank and what it
    gives, int32."""
    keys, merged = [], []
    for first, second in merges:
        lacking = [p for p in (first, second, first + second) if p not in ids]
        if lacking:
            raise ValueError(
                message(
                    "the preset's vocabulary must hold what its merges merge",
                    received=f"no {lacking[0]!r}, of the merge {first!r} {second!r}",
                    mend="are both files of one model?",
                )
            )
        keys.append(ids[first] * len(ids) + ids[second])
        merged.append(ids[first + second])
    order = np.argsort(np.array(keys, np.int64), kind="stable")
    return (
        np.array(keys, np.int64)[order],
        order.astype(np.int32),
        np.array(merged, np.int32)[order],
    )


def _without_overlaps(is_best: tf.Tensor) -> tf.Tensor:
    """Which pairs are merged of those that are the best of their words.

    Only pairs of twice the same piece can overlap: of "aaaa" the first and the third
    pair are merged, as from left to right.
    """
    positions = tf.range(tf.size(is_best))
    others = tf.boolean_mask(positions, ~is_best)
    num_others = tf.cumsum(tf.cast(~is_best, tf.int32))
    # The last place before each pair at which there is none.
    before = tf.gather(tf.concat([[-1], others], axis=0), num_others)
    return is_best & ((positions - before) % 2 == 1)

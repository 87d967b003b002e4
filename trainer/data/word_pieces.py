"""BERT's WordPiece in the graph, to the id what Hugging Face's `BertTokenizer` gives.

tokenizer = WordPieces(vocabulary, lowercase=True)
tokenizer(tf.constant(["A fine film."]))    # ragged int32 [1, None]
"""

from __future__ import annotations

from typing import Any, Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from trainer.data import spans
from trainer.data.special_tokens import SPECIAL_TOKENS, SpecialTokens
from trainer.data.tokenizer import LocatedPieces

# Chinese characters as BERT's own tokenizer delimits them (google-research/bert,
# tokenization.py, _is_chinese_char); Hugging Face's starts the last but two at 2B920.
_CHINESE = (
    r"([\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B920}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}])"
)
_CONTROL = r"[\x{0}-\x{8}\x{B}\x{C}\x{E}-\x{1F}\x{7F}-\x{9F}\p{Cf}\p{Co}\x{FFFD}]"
# \p{Z} without the blank: to write a blank for each blank would take the longest.
_WHITE_SPACE = (
    r"[\t\n\r\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}\p{Zl}\p{Zp}]"
)
_ASCII = r"[\x{0}-\x{7F}]*"
_ASCII_CONTROL = r"[\x{0}-\x{8}\x{B}\x{C}\x{E}-\x{1F}\x{7F}]"
_ASCII_WHITE_SPACE = r"[\t\n\r]"
_PUNCTUATION = r"([!-/:-@\[-`{-~\p{P}])"
# A longer word is one unknown token (google-research/bert, WordpieceTokenizer).
_MAX_CHARACTERS_PER_WORD = 100
_LONG_WORD = f"[^ ]{{{_MAX_CHARACTERS_PER_WORD + 1},}}"


class WordPieces:
    """Cuts texts into word pieces.

    Args:
      vocabulary: the word pieces in the order of their ids.
      lowercase: whether to lower-case.
      strip_accents: whether to drop combining marks after decomposition (NFD).
        None: as `lowercase`, which is what BERT was trained with.
    """

    special: SpecialTokens = SPECIAL_TOKENS["word"]
    resources: tuple[Any, ...] = ()

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool,
        strip_accents: bool | None = None,
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self._lowercase = lowercase
        self._strip_accents = lowercase if strip_accents is None else strip_accents
        self.settings: list[Any] = [self._lowercase, self._strip_accents]
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            vocab=list(vocabulary),
            token_out_type=tf.int32,
            max_bytes_per_word=4 * _MAX_CHARACTERS_PER_WORD,
            no_pretokenization=True,
        )

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """The ids of strings [batch]: ragged int32 [batch, None].

        Bytes that are not UTF-8 are left out.
        """
        words = self._words(self._normalize(texts))
        pieces = words.with_flat_values(self._wordpiece.tokenize(words.flat_values))
        return pieces.merge_dims(-2, -1)

    def locate(self, texts: tf.Tensor) -> LocatedPieces:
        """Says where the tokens of strings [batch] come from.

        What normalizes a text does so character by character, so each character is
        normalized by itself, too: as many bytes as it gives of those that words are made
        of, it answers for.
        """
        normalized = self._normalize(texts)
        words = self._words(normalized)
        ids, begin, end = self._wordpiece.tokenize_with_offsets(words.flat_values)
        # A long word was replaced: its one token stands for all of it.
        lengths = tf.strings.length(tf.strings.split(normalized).flat_values)
        is_long = tf.strings.length(words.flat_values) != lengths
        of_word = ids.value_rowids()
        end = end.with_flat_values(
            tf.where(
                tf.gather(is_long, of_word),
                tf.gather(lengths, of_word),
                tf.cast(end.flat_values, tf.int32),
            )
        )
        starts = spans.starts_of_words(words.with_flat_values(lengths))
        begin, end = spans.in_bytes(
            texts,
            self._normalize,
            row=tf.gather(words.value_rowids(), of_word),
            begin=tf.gather(starts, of_word) + tf.cast(begin.flat_values, tf.int32),
            end=tf.gather(starts, of_word) + end.flat_values,
            takes_marks=self._strip_accents,
        )
        rows = words.with_flat_values(ids).merge_dims(-2, -1)
        return LocatedPieces(
            rows, rows.with_flat_values(begin), rows.with_flat_values(end)
        )

    def _words(self, normalized: tf.Tensor) -> tf.RaggedTensor:
        """Strings [batch, None]."""
        return tf.strings.split(
            tf.strings.regex_replace(normalized, _LONG_WORD, self.special.unknown)
        )

    def _normalize(self, texts: tf.Tensor) -> tf.Tensor:
        """Cleans, lower-cases and puts blanks around what is a word by itself."""
        # Most of the work is for what is not ASCII, so only those texts get it.
        is_ascii = tf.strings.regex_full_match(texts, _ASCII)
        others = tf.where(tf.logical_not(is_ascii))
        texts = tf.tensor_scatter_nd_update(
            texts, others, self._normalize_unicode(tf.gather_nd(texts, others))
        )
        texts = tf.strings.regex_replace(texts, _ASCII_CONTROL, "")
        texts = tf.strings.regex_replace(texts, _ASCII_WHITE_SPACE, " ")
        if self._lowercase:
            texts = tf.strings.lower(texts)
        return tf.strings.regex_replace(texts, _PUNCTUATION, r" \1 ")

    def _normalize_unicode(self, texts: tf.Tensor) -> tf.Tensor:
        """Cleans and lower-cases texts of any bytes."""
        texts = tf.strings.unicode_transcode(
            texts, "UTF-8", "UTF-8", errors="replace", replacement_char=0xFFFD
        )
        texts = tf.strings.regex_replace(texts, _CONTROL, "")
        texts = tf.strings.regex_replace(texts, _WHITE_SPACE, " ")
        texts = tf.strings.regex_replace(texts, _CHINESE, r" \1 ")
        if self._strip_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
        if self._lowercase:
            # `lower` would make a final sigma of a capital one at a word's end.
            texts = tf.strings.regex_replace(texts, "\u03a3", "\u03c3")
            texts = tf.strings.lower(texts, encoding="utf-8")
        return texts

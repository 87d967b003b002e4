"""Where in a text, byte by byte, its normalized parts come from: in the graph.

    starts = starts_of_words(lengths)       # where each word begins, blanks not counted
    begin, end = in_bytes(texts, normalize, row=rows, begin=starts, end=starts + lengths,
                          takes_marks=True)

A place in a normalized text is counted in bytes of its words alone, without the blanks
between them: normalizing adds and drops blanks, which no token has. It holds for what
normalizes a text character by character.
"""

from __future__ import annotations

from typing import Callable

import tensorflow as tf

_BLANK = " "
# Combining marks, which are dropped with accents.
_MARK = r"\p{Mn}"


def starts_of_words(lengths: tf.RaggedTensor) -> tf.Tensor:
    """Where the words of each text begin.

    Args:
      lengths: ragged int32 [batch, None], of the words in bytes.

    Returns:
      int32 [words]: in bytes of the text's words before it.
    """
    before = tf.cumsum(lengths.flat_values, exclusive=True)
    # Of a text without a word, the number is taken but never given to anybody.
    padded = tf.concat([before, [0]], axis=0)
    of_row = tf.gather(padded, lengths.row_starts())
    return before - tf.gather(of_row, lengths.value_rowids())


def in_bytes(
    texts: tf.Tensor,
    normalize: Callable[[tf.Tensor], tf.Tensor],
    *,
    row: tf.Tensor,
    begin: tf.Tensor,
    end: tf.Tensor,
    takes_marks: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The bytes of the texts that parts of the normalized texts come from.

    Args:
      texts: strings [batch], any bytes.
      normalize: strings [n] → strings [n].
      row: int64 [parts], of which text each is.
      begin, end: int32 [parts], in bytes of the text's words; no part is empty.
      takes_marks: whether a part has the combining marks behind it as well, for they
        are part of its last character though nothing is left of them.

    Returns:
      int32 [parts], twice: begin and end in the text's bytes.
    """
    characters, offsets = tf.strings.unicode_split_with_offsets(
        texts, "UTF-8", errors="replace"
    )
    flat = characters.flat_values
    left = tf.strings.regex_replace(normalize(flat), _BLANK, "")
    # Running number of bytes, over all texts: that of words, and that of the texts.
    ends = tf.cumsum(tf.strings.length(left))
    text_ends = tf.cumsum(tf.strings.length(texts))
    text_starts = text_ends - tf.strings.length(texts)
    in_text = tf.cast(offsets.flat_values, tf.int32)
    starts = in_text + tf.gather(text_starts, characters.value_rowids())
    before = tf.gather(tf.concat([[0], ends], axis=0), characters.row_starts())
    first = _index_beyond(ends, tf.gather(before, row) + begin)
    last = _index_beyond(ends, tf.gather(before, row) + end - 1)
    # A character ends where the next one begins.
    following = tf.range(tf.size(flat))
    if takes_marks:
        is_mark = tf.strings.regex_full_match(flat, _MARK)
        following = tf.boolean_mask(following, tf.logical_not(is_mark))
    bounds = tf.concat([tf.gather(starts, following), text_ends[-1:]], axis=0)
    stop = tf.gather(bounds, _index_beyond(following, last))
    row_start, row_end = tf.gather(text_starts, row), tf.gather(text_ends, row)
    return tf.gather(starts, first) - row_start, tf.minimum(stop, row_end) - row_start


def clean(texts: tf.Tensor) -> tf.Tensor:
    """Strings [batch] without what is not UTF-8."""
    return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")


def in_given_bytes(
    texts: tf.Tensor, begin: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The bytes of the texts as given that parts of the `clean` texts come from.

    Args:
      texts: strings [batch], any bytes.
      begin, end: int32 [parts], in bytes of all clean texts back to back.

    Returns:
      int32 [parts], twice: whole characters of the part's own text; of an empty part
      the place before which it is.
    """
    characters, offsets = tf.strings.unicode_split_with_offsets(
        texts, "UTF-8", errors="ignore"
    )
    lengths = tf.strings.length(characters.flat_values)
    ends = tf.cumsum(lengths)
    starts = tf.cast(offsets.flat_values, tf.int32)
    largest = tf.maximum(tf.size(ends) - 1, 0)
    first = tf.minimum(_index_beyond(ends, begin), largest)
    last = tf.minimum(_index_beyond(ends, end - 1), largest)
    start = tf.gather(starts, first)
    stop = tf.gather(starts, last) + tf.gather(lengths, last)
    return start, tf.where(end > begin, stop, start)


def _index_beyond(ascending: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """int32 [values]: how many are not larger than each value."""
    return tf.searchsorted(ascending, values, side="right")

"""Texts to token ids: one TensorFlow graph for training and for serving.

    encoder = TextEncoder(vocabulary, lowercase=True, window_length=128)
    encoder(tf.constant(["A fine film."])).token_ids    # ragged int32 [batch, None]
    tokens = encode_texts(texts, encoder, digests=digests, cache_dir="/cache")
    tokens.token_ids[tokens.row_splits[3]:tokens.row_splits[4]]  # the fourth text

`TextEncoder` computes what Hugging Face's `BertTokenizer` computes, to the id,
except that text which spells a special token ("[SEP]") is read as text; with another
`Tokenizer` it computes what that one's does. Of a text that
is too long it keeps a part, or makes several windows, which lie back to back.
`encode_texts` keeps its results on disk, under a fingerprint of all that they depend
on. Processes that need the same share the work, block by block, and what one that was
killed has finished is kept. Where the vocabulary comes from is `modeling/presets.py`'s
business.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import time
from concurrent import futures
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainer import caches, console, storage
from trainer.config import Truncation
from trainer.data import pairs, texts_on_disk
from trainer.data.special_tokens import SpecialTokens
from trainer.data.token_blocks import Block, TokenBlocks
from trainer.data.tokenizer import Tokenizer
from trainer.data.word_pieces import WordPieces
from trainer.messages import message

_logger = logging.getLogger(__name__)

# Increased whenever the same text would give other ids than before.
_ENCODING_VERSION = 1
_ROWS_PER_CALL = 128
# Of texts on disk, which are read from the first to the last.
_BLOCKS_BETWEEN_RELEASES = 32
# Of which tokens are counted together.
_TEXTS_PER_COUNT = 4096
# How often it is looked whether another process is ready with what it has claimed; and
# after how long without anything new its claim counts no more: it may be stopped.
_POLL_SECS = 0.1
_PATIENCE_SECS = 60.0
# Joined blocks a second, on a slow disk.
_JOINED_PER_SEC = 10.0
# Whose vocabularies have this token before a text.
_OWNERS = {"[CLS]": "BERT", "<s>": "RoBERTa"}

_AFTER_SEPARATOR = f"(?s){pairs.SEPARATOR}.*"
_UP_TO_SEPARATOR = f"(?s)^[^{pairs.SEPARATOR}]*({pairs.SEPARATOR}|$)"


class EncodedTexts(NamedTuple):
    """token_ids: ragged int32 [batch, None], from [CLS] to [SEP], truncated; or
    several windows of exactly `window_length` tokens, each from [CLS] to [SEP].
    full_lengths: int32 [batch], the number of tokens before truncation, [CLS] and
    [SEP] included."""

    token_ids: tf.RaggedTensor
    full_lengths: tf.Tensor


class LocatedTokens(NamedTuple):
    """Where the tokens of texts come from.

    Attributes:
      token_ids: ragged int32 [batch, None], those that are read of each text, in the
        text's order, each once, without [CLS] and [SEP].
      begin, end: ragged int32, the same rows: the bytes of the text as it was given.
        Two tokens of one character, as of a Hangul syllable, both have its bytes.
      positions: ragged int32, the rows of `EncodedTexts.token_ids`: which of the tokens
        above stands there; -1 for [CLS] and [SEP]. Where windows overlap, a token
        stands in several places.
    """

    token_ids: tf.RaggedTensor
    begin: tf.RaggedTensor
    end: tf.RaggedTensor
    positions: tf.RaggedTensor


class TextEncoder:
    """Turns UTF-8 strings into token ids, in a TensorFlow graph.

    In these words [CLS], [SEP], [UNK], [PAD] and [MASK] are what the tokenizer's
    `special` has in their place.

    Args:
      vocabulary: the word pieces in the order of their ids, with [CLS], [SEP],
        [UNK] and [PAD] among them.
      lowercase: whether to lower-case.
      strip_accents: whether to drop combining marks after decomposition (NFD).
        None: as `lowercase`, which is what BERT was trained with.
      tokenizer: what cuts texts, with this vocabulary; None: BERT's WordPiece, which
        the two settings above are of.
      window_length: longest input of the model in tokens, [CLS] and [SEP] included.
      truncation: which tokens of a longer text are kept. `head_tail` keeps the
        first quarter and the last three, the 128 and 382 of 512 that Sun et al.
        2019 ("How to Fine-Tune BERT for Text Classification?") found best.
      max_windows: a text longer than `window_length` becomes as many windows as cover
        it, but at most so many; what these cannot hold is truncated. All windows are
        full: the last one ends where the text ends. 1: no windows.
      window_overlap: tokens that a window shares with the next one; the last window
        may share more.
      reads_pairs: whether a text may be a pair (`pairs.py`), which becomes `[CLS] first
        [SEP] second [SEP]`. Of one that is too long the longer text is cut at its end,
        then both, as Hugging Face's `longest_first` has it. A text without a second, or
        with one without a token, is read as a single one.

    Attributes:
      longest_text: tokens of a text that are read, [CLS] and [SEP] counted once.
      unknown_id: the id of [UNK].
      end_ids: the ids of [CLS] and [SEP].
      mask_id: the id of [MASK]; None: the vocabulary has none.
      vocabulary: as given.

    Raises:
      ValueError: the vocabulary lacks a special token, or a pair has no room.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        lowercase: bool = False,
        strip_accents: bool | None = None,
        tokenizer: Tokenizer | None = None,
        window_length: int,
        truncation: Truncation = "head",
        max_windows: int = 1,
        window_overlap: int = 0,
        reads_pairs: bool = False,
    ) -> None:
        special = (tokenizer or WordPieces).special
        ids = _ids_of(vocabulary, special)
        if reads_pairs:
            _refuse_no_room(window_length, special)
        if tokenizer is None:
            tokenizer = WordPieces(
                vocabulary, lowercase=lowercase, strip_accents=strip_accents
            )
        self._tokenizer = tokenizer
        self.window_length = window_length
        self.pad_id = ids[special.pad]
        self.unknown_id = ids[special.unknown]
        self.end_ids = ids[special.start], ids[special.end]
        self.mask_id = ids.get(special.mask)
        self._num_between = special.num_between
        self.vocabulary = tuple(vocabulary)
        self.reads_pairs = reads_pairs
        self._overlap, self._has_windows = window_overlap, max_windows > 1
        stride = window_length - 2 - window_overlap
        self.longest_text = window_length + (max_windows - 1) * stride
        self._num_head, self._num_tail = _kept_tokens(self.longest_text, truncation)
        self.id_dtype = np.dtype(np.uint16 if len(ids) <= 1 << 16 else np.int32)
        settings = [
            _ENCODING_VERSION,
            list(vocabulary),
            *tokenizer.settings,
            window_length,
            truncation,
        ]
        if self._has_windows:
            settings += [max_windows, window_overlap]
        if reads_pairs:
            settings += ["pairs"]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    @property
    def resources(self) -> tuple[Any, ...]:
        """What has to be saved beside a graph that it is in, as `Tokenizer` has it."""
        return self._tokenizer.resources

    @property
    def separator_id(self) -> int | None:
        """The id of [SEP] between the texts of a pair; None: it reads single texts."""
        return self.end_ids[1] if self.reads_pairs else None

    @functools.cached_property
    def traced(self) -> Callable[[tf.Tensor], EncodedTexts]:
        """The same as a function whose graph is made once."""
        traced = tf.function(
            self.__call__,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )
        # Called itself it would warn of retracing when a process has several encoders.
        function: Callable[[tf.Tensor], EncodedTexts] = traced.get_concrete_function()
        return function

    def __call__(self, texts: tf.Tensor) -> EncodedTexts:
        """Encodes strings [batch]. Bytes that are not UTF-8 are left out."""
        if self.reads_pairs:
            return self._encode_pairs(texts)
        token_ids = self._tokenizer(texts)
        full_lengths = tf.cast(token_ids.row_lengths(), tf.int32) + 2
        token_ids = self._truncate(token_ids)
        return EncodedTexts(self._with_ends(token_ids, self.end_ids), full_lengths)

    def _encode_pairs(self, texts: tf.Tensor) -> EncodedTexts:
        """The same of texts that may be pairs."""
        # The expressions match no bytes that are not UTF-8.
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="ignore")
        first = self._tokenizer(tf.strings.regex_replace(texts, _AFTER_SEPARATOR, ""))
        second = self._tokenizer(tf.strings.regex_replace(texts, _UP_TO_SEPARATOR, ""))
        num_first, num_second = first.row_lengths(), second.row_lengths()
        is_pair = num_second > 0
        num_ends = tf.where(is_pair, tf.constant(2 + self._num_between, tf.int64), 2)
        room = self.window_length - num_ends
        # As Hugging Face's: the shorter keeps half of the room at least, if it has that.
        shorter = tf.minimum(tf.minimum(num_first, num_second), room // 2)
        longer = tf.minimum(tf.maximum(num_first, num_second), room - shorter)
        is_first_longer = num_first > num_second
        first = _heads(first, tf.where(is_first_longer, longer, shorter))
        second = _heads(second, tf.where(is_first_longer, shorter, longer))
        cls, sep = self.end_ids
        ones = tf.ones([first.nrows(), 1], tf.int32)
        last = tf.RaggedTensor.from_row_lengths(
            tf.repeat(sep, tf.reduce_sum(tf.cast(is_pair, tf.int32))),
            tf.cast(is_pair, tf.int64),
            validate=False,
        )
        # After the first text stands the end that a single one has, too.
        more = [last] * (self._num_between - 1)
        return EncodedTexts(
            tf.concat([ones * cls, first, ones * sep, *more, second, last], axis=1),
            tf.cast(num_first + num_second + num_ends, tf.int32),
        )

    def locate(self, texts: tf.Tensor) -> LocatedTokens:
        """Says where the tokens of strings [batch] come from."""
        located = self._tokenizer.locate(texts)
        kept = self._truncate(located.ids)
        positions = tf.cast(tf.ragged.range(kept.row_lengths()), tf.int32)
        return LocatedTokens(
            token_ids=kept,
            begin=self._truncate(located.begin),
            end=self._truncate(located.end),
            positions=self._with_ends(positions, (-1, -1)),
        )

    def _truncate(self, token_ids: tf.RaggedTensor) -> tf.RaggedTensor:
        lengths = token_ids.row_lengths()
        position = tf.ragged.range(lengths).flat_values
        from_tail = tf.repeat(lengths - self._num_tail, lengths)
        is_kept = tf.logical_or(position < self._num_head, position >= from_tail)
        return tf.RaggedTensor.from_row_lengths(
            tf.boolean_mask(token_ids.flat_values, is_kept),
            tf.minimum(lengths, self._num_head + self._num_tail),
            validate=False,
        )

    def _with_ends(
        self, token_ids: tf.RaggedTensor, ends: tuple[int, int]
    ) -> tf.RaggedTensor:
        """Texts between their ends, or cut into windows that have their own."""
        cut = self._windows if self._has_windows else _add_ends
        return cut(token_ids, ends)

    def _windows(
        self, token_ids: tf.RaggedTensor, ends: tuple[int, int]
    ) -> tf.RaggedTensor:
        """Cuts texts into windows with ends of their own, back to back."""
        lengths = token_ids.row_lengths()
        size = tf.constant(self.window_length - 2, tf.int64)
        stride = size - self._overlap
        num_windows = 1 + tf.maximum(-((size - lengths) // stride), 0)
        from_last = tf.repeat(lengths - size, num_windows)
        starts = tf.ragged.range(num_windows).flat_values * stride
        starts = tf.maximum(tf.minimum(starts, from_last), 0)
        sizes = tf.repeat(tf.minimum(lengths, size), num_windows)
        starts += tf.repeat(token_ids.row_starts(), num_windows)
        positions = tf.ragged.range(starts, starts + sizes)
        windows = _add_ends(
            positions.with_flat_values(
                tf.gather(token_ids.flat_values, positions.flat_values)
            ),
            ends,
        )
        return tf.RaggedTensor.from_row_lengths(
            windows.flat_values,
            num_windows * (tf.minimum(lengths, size) + 2),
            validate=False,
        )


def _ids_of(vocabulary: Sequence[str], special: SpecialTokens) -> dict[str, int]:
    """The ids of the word pieces.

    Raises:
      ValueError: a special token is missing, or a token stands there twice.
    """
    ids = {token: index for index, token in enumerate(vocabulary)}
    needed = (special.start, special.end, special.unknown, special.pad)
    missing = [token for token in needed if token not in ids]
    if missing:
        raise ValueError(
            f"the preset's vocabulary must hold {', '.join(missing)}: is it a "
            f"{_OWNERS[special.start]} vocabulary? Received: {len(ids)} tokens, "
            f"the first ones {list(vocabulary[:5])}"
        )
    if len(ids) < len(vocabulary):
        doubled = [t for i, t in enumerate(vocabulary) if ids[t] != i]
        raise ValueError(
            message(
                "the preset's vocabulary must name each token once",
                received=f"{', '.join(map(repr, doubled[:5]))} more than once",
            )
        )
    return ids


def _refuse_no_room(window_length: int, special: SpecialTokens) -> None:
    """Raises ValueError where a pair would be cut to less than a token of each text."""
    between = [special.end] * special.num_between
    shortest = [special.start, "a token", *between, "a token", special.end]
    if window_length < len(shortest):
        raise ValueError(
            message(
                f"--max_length must be at least {len(shortest)} for pairs with this "
                f"preset: {', '.join(shortest)}",
                received=f"max_length={window_length}",
                mend="give a larger --max_length",
            )
        )


def _add_ends(rows: tf.RaggedTensor, ends: tuple[int, int]) -> tf.RaggedTensor:
    ones = tf.ones([rows.nrows(), 1], tf.int32)
    return tf.concat([ones * ends[0], rows, ones * ends[1]], axis=1)


def _heads(rows: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """The first `lengths` of each row's values; it has so many."""
    position = tf.ragged.range(rows.row_lengths()).flat_values
    is_kept = position < tf.gather(lengths, rows.value_rowids())
    return tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(rows.flat_values, is_kept), lengths, validate=False
    )


def _kept_tokens(longest: int, truncation: Truncation) -> tuple[int, int]:
    """How many tokens are kept from the start and from the end of a long text."""
    num_kept = longest - 2
    num_head = {"head": num_kept, "tail": 0, "head_tail": longest // 4}[truncation]
    return num_head, num_kept - num_head


@dataclasses.dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of n texts, back to back, mapped from disk or in memory.

    Attributes:
      token_ids: uint16 or int32 [sum of lengths].
      row_splits: int64 [n + 1]; text i is token_ids[row_splits[i]:row_splits[i+1]].
      full_lengths: int32 [n], lengths in tokens before truncation.
      pad_id: the id of [PAD].
    """

    token_ids: np.ndarray
    row_splits: np.ndarray
    full_lengths: np.ndarray
    pad_id: int

    def __len__(self) -> int:
        return len(self.full_lengths)

    @property
    def lengths(self) -> np.ndarray:
        """int32 [n], lengths in tokens after truncation."""
        return np.diff(self.row_splits).astype(np.int32)

    def count(self, token_ids: Sequence[int]) -> np.ndarray:
        """int64 [n], how many tokens of each text are among these ids."""
        wanted = np.array(token_ids, self.token_ids.dtype)
        result = np.empty(len(self), np.int64)
        # Some at a time: of all tokens of millions of texts, a byte each is gigabytes.
        for start in range(0, len(self), _TEXTS_PER_COUNT):
            splits = self.row_splits[start : start + _TEXTS_PER_COUNT + 1]
            is_among = np.isin(self.token_ids[splits[0] : splits[-1]], wanted)
            # No text is empty: it has its [CLS] and [SEP].
            result[start : start + _TEXTS_PER_COUNT] = np.add.reduceat(
                is_among, splits[:-1] - splits[0], dtype=np.int64
            )
        return result


def encode_few(texts: Sequence[str], encoder: TextEncoder) -> TokenizedTexts:
    """Token ids of a few texts, in memory: no pipeline, no cache."""
    encoded = encoder.traced(tf.constant(list(texts), tf.string))
    return TokenizedTexts(
        encoded.token_ids.flat_values.numpy().astype(encoder.id_dtype),
        encoded.token_ids.row_splits.numpy(),
        encoded.full_lengths.numpy(),
        encoder.pad_id,
    )


def encode_texts(
    texts: pa.ChunkedArray,
    encoder: TextEncoder,
    *,
    digests: np.ndarray,
    cache_dir: str,
    max_cache_bytes: int = 0,
    description: str = "texts",
) -> TokenizedTexts:
    """Token ids of all texts, from the cache where they are there already.

    Args:
      texts: strings [n].
      digests: uint8 [n, 32], the texts' SHA-256, which name the cache entry.
      cache_dir: where they are kept, `~` included. With a scheme (gs://) the blocks are
        kept there, for all machines, and a copy on this one goes with the process.
      max_cache_bytes: how much is kept there at most; 0: any number.
      description: what the progress line calls them.
    """
    fingerprint = hashlib.sha256(encoder.fingerprint.encode())
    fingerprint.update(np.ascontiguousarray(digests).data)
    name = fingerprint.hexdigest()[:32]
    shared = storage.path(cache_dir) / "tokens"

    def blocks(root: storage.Path) -> TokenBlocks:
        return TokenBlocks(root / f"{name}.blocks", num_texts=len(texts))

    def make(folder: pathlib.Path) -> None:
        encode_into = functools.partial(
            _encode_into,
            folder,
            texts,
            encoder,
            entry=folder.parent / name,
            description=description,
        )
        if not isinstance(shared, pathlib.Path):
            try:
                return encode_into(blocks(shared))
            except (OSError, tf.errors.OpError) as error:
                _logger.warning("%s cannot be used as a cache: %s", shared, error)
        encode_into(blocks(folder.parent))

    tokens = caches.entry(
        caches.root(cache_dir, "tokens"),
        name,
        make=make,
        read=lambda folder: _read_cached(folder, encoder, num_texts=len(texts)),
        max_bytes=max_cache_bytes,
    )
    # Also those of a process that was killed when it had come so far.
    blocks(shared).remove()
    return tokens


def _read_cached(
    folder: pathlib.Path, encoder: TextEncoder, *, num_texts: int
) -> TokenizedTexts:
    """What `_encode_into` wrote, the ids as a map of the file."""
    row_splits = np.load(folder / "row_splits.npy")
    full_lengths = np.load(folder / "full_lengths.npy")
    size = (folder / "token_ids.bin").stat().st_size
    expected = int(row_splits[-1]) * encoder.id_dtype.itemsize
    if size != expected:
        raise ValueError(f"token_ids.bin has {size} bytes, not {expected}")
    for count in (len(full_lengths), len(row_splits) - 1):
        if count != num_texts:
            raise ValueError(f"it has {count} texts, not {num_texts}")
    token_ids: np.ndarray = np.empty(0, encoder.id_dtype)
    if expected:
        token_ids = np.memmap(
            folder / "token_ids.bin", dtype=encoder.id_dtype, mode="r"
        )
    return TokenizedTexts(token_ids, row_splits, full_lengths, encoder.pad_id)


def _encode_into(
    folder: pathlib.Path,
    texts: pa.ChunkedArray,
    encoder: TextEncoder,
    blocks: TokenBlocks,
    *,
    entry: pathlib.Path,
    description: str,
) -> None:
    """Encodes the texts, together with whoever else does, and joins the blocks.

    Args:
      folder: what is written into.
      entry: what becomes of it. Where another process has made that meanwhile,
        nothing is written.
    """
    is_late = _lateness(_PATIENCE_SECS + len(blocks) / _JOINED_PER_SEC)
    while not entry.is_dir():
        _make_blocks(texts, encoder, blocks, entry=entry, description=description)
        with blocks.claimed(None) as is_ours:
            # Who had claimed it may have been ready just now.
            if entry.is_dir():
                return
            if (is_ours or is_late()) and _are_joined(blocks, folder):
                return
        time.sleep(_POLL_SECS)


def _are_joined(blocks: TokenBlocks, folder: pathlib.Path) -> bool:
    """Writes all blocks into a folder, keeping only lengths in memory; false: one is
    not there, or damaged."""
    lengths, full_lengths = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    with open(folder / "token_ids.bin", "wb") as file:
        for index in range(len(blocks)):
            block = blocks.read(index)
            if block is None:
                return False
            block.token_ids.tofile(file)
            lengths.append(block.lengths)
            full_lengths.append(block.full_lengths)
    np.save(folder / "row_splits.npy", np.cumsum(np.concatenate(lengths)))
    np.save(folder / "full_lengths.npy", np.concatenate(full_lengths))
    return True


def _make_blocks(
    texts: pa.ChunkedArray,
    encoder: TextEncoder,
    blocks: TokenBlocks,
    *,
    entry: pathlib.Path,
    description: str,
) -> None:
    """Returns when all blocks are there, or what they are for."""
    missing = blocks.missing()
    counter = console.counter(
        f"tokenizing {description}",
        unit="texts",
        total=len(texts),
        initial=len(texts) - blocks.num_texts(missing),
    )
    is_late = _lateness(_PATIENCE_SECS)
    with counter as advance:
        while missing and not entry.is_dir():
            made = _make_unclaimed(
                texts, encoder, blocks, missing, advance, waits=not is_late()
            )
            still = blocks.missing()
            # What others have made meanwhile is done as well.
            theirs = set(missing) - set(still) - made
            if theirs:
                advance(blocks.num_texts(theirs))
            if made or theirs:
                is_late = _lateness(_PATIENCE_SECS)
            elif still:
                time.sleep(_POLL_SECS)
            missing = still


def _lateness(secs: float) -> Callable[[], bool]:
    """What tells whether so many seconds have gone."""
    end = time.monotonic() + secs
    return lambda: time.monotonic() > end


def _make_unclaimed(
    texts: pa.ChunkedArray,
    encoder: TextEncoder,
    blocks: TokenBlocks,
    missing: Sequence[int],
    advance: Callable[[int], object],
    *,
    waits: bool,
) -> set[int]:
    """Makes the blocks that nobody else makes; which ones.

    Args:
      waits: whether what another process makes is left to it.
    """
    made = set()
    # Traced here, once, and not in each thread.
    encode = functools.partial(_encoded, encoder.traced, encoder.id_dtype)
    with futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for index in missing:
            with blocks.claimed(index) as is_ours:
                if blocks.is_there(index) or (waits and not is_ours):
                    continue
                parts = _parts(texts.slice(*blocks.rows(index)))
                encoded = []
                for part in pool.map(encode, parts):
                    encoded.append(part)
                    advance(len(part.lengths))
                blocks.write(index, Block.joined(encoded))
                made.add(index)
                if len(made) % _BLOCKS_BETWEEN_RELEASES == 0:
                    texts_on_disk.release()
    return made


def _encoded(
    encode: Callable[[tf.Tensor], EncodedTexts],
    dtype: np.dtype[Any],
    texts: Sequence[bytes],
) -> Block:
    encoded = encode(tf.constant(texts, tf.string))
    return Block(
        encoded.token_ids.flat_values.numpy().astype(dtype),
        encoded.token_ids.row_lengths().numpy(),
        encoded.full_lengths.numpy(),
    )


def _parts(texts: pa.ChunkedArray) -> Iterator[list[bytes]]:
    for start in range(0, len(texts), _ROWS_PER_CALL):
        part = texts.slice(start, _ROWS_PER_CALL)
        yield part.cast(pa.large_binary()).to_pylist()


def without_autotuning() -> tf.data.Options:
    """Options of a pipeline whose numbers are all given.

    With autotuning an iterator has a thread that looks up every minute, and whoever
    deletes the iterator now and then waits for that.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options

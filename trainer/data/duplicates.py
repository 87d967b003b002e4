"""Which texts are one text: those that differ by nothing that counts.

    normalized("Ｇood\u200b  FILM ")         # "good film"
    digests = normalized_digests(texts)     # uint8 [n, 32]
    numbers = numbered(digests)             # int64 [n], equal where the texts are one

Case, white space, invisible characters and compatible forms of one character do not
tell texts apart here, as they hardly do for a model. Splits, draws and counts of
duplicates all use this one rule. What the model reads is not changed by it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from hashlib import sha256
from typing import Callable, Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from trainer.data import pairs, texts_on_disk
from trainer.data.text_rows import TextRows

_ROWS_AT_ONCE = 4096
# As many as the processor's cache holds.
_PLAIN_AT_ONCE = 256
# Where more bytes than this share are odd ones, hardly a text is plain.
_MAX_ODD = 1 / 16
_BytesOf = Callable[[pa.Array], Iterable[bytes | memoryview]]
# Of texts on disk, which are read once from the first to the last.
_BYTES_BETWEEN_RELEASES = 2**26


def normalized(text: str) -> str:
    """The normal form of a text: two texts with the same one are duplicates.

    NFKC, casefold, characters of the category Cf (invisible: zero-width spaces, soft
    hyphens, byte-order marks) removed, runs of white space made one blank, none at the
    ends. As Unicode's NFKC_Casefold (The Unicode Standard, 3.13), which removes a few
    more characters. Of a pair (`pairs.py`) each text by itself.
    """
    if pairs.SEPARATOR in text:
        return pairs.joined(*map(normalized, pairs.split(text)))
    if text.isascii():
        return _normalized_ascii(text)
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    # No character of the category Cf is printable, and few texts have any.
    if not folded.isprintable():
        # Of a thousand characters few are different ones.
        for character in set(folded):
            if unicodedata.category(character) == "Cf":
                folded = folded.replace(character, "")
        folded = " ".join(folded.split())
    # Folding and removing can leave characters that NFKC would join.
    return unicodedata.normalize("NFKC", folded)


def _normalized_ascii(text: str) -> str:
    """The same of ASCII, in a fifth of the time: blanks are its only printable spaces."""
    lower = text.lower()
    if not lower.isprintable():
        return " ".join(lower.split())
    lower = lower.strip(" ")
    while "  " in lower:
        lower = lower.replace("  ", " ")
    return lower


def content_digests(texts: pa.ChunkedArray | TextRows) -> np.ndarray:
    """SHA-256 of each text in UTF-8: uint8 [n, 32]."""
    result = np.empty([len(texts), 32], np.uint8)
    _write_digests(texts, [(_contents, result)])
    return result


def normalized_digests(texts: pa.ChunkedArray | TextRows) -> np.ndarray:
    """SHA-256 of each text's normal form in UTF-8: uint8 [n, 32]."""
    result = np.empty([len(texts), 32], np.uint8)
    _write_digests(texts, [(_normal_forms, result)])
    return result


def write_digests(
    texts: pa.ChunkedArray, *, contents: np.ndarray, normal_forms: np.ndarray
) -> None:
    """Writes both to arrays uint8 [n, 32]; the texts are read once, from the disk too."""
    _write_digests(texts, [(_contents, contents), (_normal_forms, normal_forms)])


def _write_digests(
    texts: pa.ChunkedArray | TextRows,
    kinds: Sequence[tuple[_BytesOf, np.ndarray]],
) -> None:
    start = num_bytes = 0
    for chunk in _chunks(texts):
        # Some at a time: no list of millions of Python's strings.
        for first in range(0, len(chunk), _ROWS_AT_ONCE):
            part = chunk.slice(first, _ROWS_AT_ONCE)
            for bytes_of, result in kinds:
                found = b"".join(sha256(each).digest() for each in bytes_of(part))
                rows = np.frombuffer(found, np.uint8).reshape(-1, 32)
                result[start : start + len(part)] = rows
            start += len(part)
        num_bytes += chunk.nbytes
        if num_bytes >= _BYTES_BETWEEN_RELEASES:
            texts_on_disk.release()
            num_bytes = 0


def _chunks(texts: pa.ChunkedArray | TextRows) -> Iterable[pa.Array]:
    if isinstance(texts, TextRows):
        return (chunk for block in texts.arrow_blocks() for chunk in block.chunks)
    chunks: list[pa.Array] = texts.chunks
    return chunks


def _contents(texts: pa.Array) -> Iterable[memoryview]:
    """The bytes of each text of large_string [n], not copied."""
    if not len(texts):
        return ()
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset :][: len(texts) + 1].tolist()
    content = memoryview(data if data is not None else b"")
    return (content[start:end] for start, end in zip(ends, ends[1:]))


def _normal_forms(texts: pa.Array) -> Iterator[bytes | memoryview]:
    """The normal forms of large_string [n], those of plain texts made together."""
    for first in range(0, len(texts), _PLAIN_AT_ONCE):
        part = texts.slice(first, _PLAIN_AT_ONCE)
        _, offsets, data = part.buffers()
        ends = np.frombuffer(offsets, np.int64)[part.offset :][: len(part) + 1]
        content = bytes(memoryview(data or b"")[ends[0] : ends[-1]])
        ends = ends - ends[0]
        is_plain = _are_plain(np.frombuffer(content, np.uint8), ends).tolist()
        lower, bounds = memoryview(content.lower()), ends.tolist()
        for row, (start, end) in enumerate(zip(bounds, bounds[1:])):
            if is_plain[row]:
                yield lower[start:end]
            else:
                yield normalized(content[start:end].decode()).encode()


def _are_plain(signs: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Whether the normal form of a text is but itself in lower case: bool [n].

    So it is of ASCII that is seen and of single blanks between. Of texts beyond ASCII
    among others some may count as not plain, which costs time alone.

    Args:
      signs: uint8, the bytes of all texts, back to back.
      ends: int64 [n + 1], where each begins, and the last ends.
    """
    is_blank = signs == ord(" ")
    is_odd = (signs < ord(" ")) | (signs > ord("~"))
    is_odd[1:] |= is_blank[1:] & is_blank[:-1]
    has_any = np.diff(ends) > 0
    for edge in (ends[:-1][has_any], ends[1:][has_any] - 1):
        is_odd[edge] |= is_blank[edge]
    odd = np.flatnonzero(is_odd)
    if len(odd) > len(signs) * _MAX_ODD:
        return np.zeros(len(ends) - 1, bool)
    is_plain = np.ones(len(ends) - 1, bool)
    is_plain[np.searchsorted(ends, odd, side="right") - 1] = False
    return is_plain


def numbered(digests: np.ndarray) -> np.ndarray:
    """The rank of each digest among the distinct ones: int64 [n], equal where they are.

    Args:
      digests: uint8 [n, 32]; the first 16 bytes tell them apart.
    """
    # As numbers they are sorted many times as quickly as 16 bytes are. The second eight
    # bytes are looked at where the first tell no difference: of copies, and of others
    # hardly ever.
    first = _eight_bytes(digests, 0)
    order = np.argsort(first)
    first = first[order]
    is_new = np.ones(len(first), bool)
    is_new[1:] = first[1:] != first[:-1]
    is_tied = ~is_new
    is_tied[:-1] |= is_tied[1:]
    tied, first = order[is_tied], first[is_tied]
    second = _eight_bytes(digests[tied], 8)
    by_both = np.lexsort((second, first))
    order[is_tied] = tied[by_both]
    first, second = first[by_both], second[by_both]
    is_other = np.ones(len(tied), bool)
    is_other[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    is_new[is_tied] = is_other
    ranks = np.cumsum(is_new)
    ranks -= 1
    numbers = np.empty_like(ranks)
    numbers[order] = ranks
    return numbers


def _eight_bytes(digests: np.ndarray, start: int) -> np.ndarray:
    """Some bytes of each digest as a number that sorts as they do: uint64 [n]."""
    some = np.ascontiguousarray(digests[:, start : start + 8])
    return some.view(">u8").ravel().astype(np.uint64)


def first_32_bits(digests: np.ndarray, salt: bytes = b"") -> np.ndarray:
    """Of each digest, or of the hash of salt and digest, the first 4 bytes: int64 [n].

    They are read big-endian: `int(digest.hex()[:8], 16)`.
    """
    if not salt:
        return np.ascontiguousarray(digests[:, :4]).view(">u4").ravel().astype(np.int64)
    hashes = (hashlib.sha256(salt + digest.tobytes()) for digest in digests)
    first = (int.from_bytes(each.digest()[:4], "big") for each in hashes)
    return np.fromiter(first, np.int64, count=len(digests))

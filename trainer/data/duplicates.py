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

import numpy as np
import pyarrow as pa

from trainer.data import pairs


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
        # The same, in half the time.
        return " ".join(text.lower().split())
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    # No character of the category Cf is printable, and few texts have any.
    if not folded.isprintable():
        visible = (c for c in folded if unicodedata.category(c) != "Cf")
        folded = " ".join("".join(visible).split())
    # Folding and removing can leave characters that NFKC would join.
    return unicodedata.normalize("NFKC", folded)


def content_digests(texts: pa.ChunkedArray) -> np.ndarray:
    """SHA-256 of each text in UTF-8: uint8 [n, 32]."""
    # Text by text and in place: no list of millions of Python strings.
    digests = np.empty([len(texts), 32], np.uint8)
    for row, text in enumerate(texts):
        digests[row] = _digest(text.as_buffer())
    return digests


def normalized_digests(texts: pa.ChunkedArray) -> np.ndarray:
    """SHA-256 of each text's normal form in UTF-8: uint8 [n, 32]."""
    digests = np.empty([len(texts), 32], np.uint8)
    row = 0
    for chunk in texts.chunks:
        for text in chunk.to_pylist():
            digests[row] = _digest(normalized(text).encode())
            row += 1
    return digests


def numbered(digests: np.ndarray) -> np.ndarray:
    """The rank of each digest among the distinct ones: int64 [n], equal where they are.

    Args:
      digests: uint8 [n, 32]; the first 16 bytes tell them apart.
    """
    keys = np.ascontiguousarray(digests[:, :16]).view("V16").ravel()
    numbers: np.ndarray = np.unique(keys, return_inverse=True)[1].ravel()
    return numbers.astype(np.int64)


def first_32_bits(digests: np.ndarray, salt: bytes = b"") -> np.ndarray:
    """Of each digest, or of the hash of salt and digest, the first 4 bytes: int64 [n].

    They are read big-endian: `int(digest.hex()[:8], 16)`.
    """
    if not salt:
        return np.ascontiguousarray(digests[:, :4]).view(">u4").ravel().astype(np.int64)
    hashes = (hashlib.sha256(salt + digest.tobytes()) for digest in digests)
    first = (int.from_bytes(each.digest()[:4], "big") for each in hashes)
    return np.fromiter(first, np.int64, count=len(digests))


def _digest(data: bytes | pa.Buffer) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)

r"""Makes UTF-8 of the bytes of a text file, whatever its encoding, or names the encoding.

    chunks = in_utf8(iter([b"tr\xe8s d\xe9\xe7u,0\n"]), file="a.csv", encoding="cp1252")
    b"".join(chunks).decode()  # "très déçu,0\n"
    likely_encodings(b"tr\xe8s d\xe9\xe7u")  # [("cp1252", "très déçu"), ...]

What tells an encoding for sure is taken: a byte-order mark, the zero bytes of UTF-16,
bytes that are UTF-8 throughout. All else has two readings, so the file is refused, and
the message shows how it would read and the flag to say so. In a file whose other lines
are UTF-8, a line that is not is a damaged one: it is let through, for `lines.py` to
name as a bad row.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import itertools
import re
import unicodedata
from typing import Iterator

from trainer.data.readers.rows import BadFileError
from trainer.messages import shown

# The value of --encoding that leaves it to the file.
AUTOMATIC = "auto"

# UTF-32 before UTF-16, whose mark its own begins with.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Of either order, which the mark tells.
_MARKED = ("utf-16", "utf-32")
# Guesses in the order in which they are named where they read equally well.
_GUESSES = (
    *("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "mac_roman", "koi8-r"),
    *("cp932", "gb18030", "big5", "euc_kr"),
)
_MAX_GUESSES = 3
# Of the characters beyond ASCII, those that fit where they stand; at least this share
# in a reading that is likely.
_LIKELY_SHARE = 0.75
# So many characters beyond ASCII are UTF-8 for each that is not, and the file is UTF-8
# with damage in it. Other encodings make next to none that are.
_MIN_GOOD_PER_BAD = 4
_SAMPLE_LINES = 20
_CHARACTERS_BEFORE, _CHARACTERS_AFTER = 10, 30
_WORDS_OF_ONE_LETTER = frozenset("àéèêóòôúùáâíìý" "авикосуяжб" "ήη")
_PUNCTUATION = set("“”‘’„‚–—…«»‹›€£¥©®™°·•§¿¡№、。「」，！？：；（）\u00a0\u3000")


def encoding_of(head: bytes) -> tuple[str, str]:
    """The encoding that the first bytes of a file tell, and its name for a sentence.

    Args:
      head: at least four bytes, where the file has them.
    """
    for mark, name in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return name, f"{name.upper()} (by its byte-order mark)"
    # RFC 4627, section 3: the first two characters are ASCII in a header, in JSON and
    # in most texts, so the zeros of the first four bytes tell UTF-16 without a mark.
    zeros = tuple(byte == 0 for byte in head[:4])
    if zeros == (False, True, False, True):
        return "utf-16-le", "UTF-16 (by its zero bytes)"
    if zeros == (True, False, True, False):
        return "utf-16-be", "UTF-16 (by its zero bytes)"
    return "utf-8", "UTF-8"


def settled_encoding(head: bytes, *, file: str, encoding: str) -> tuple[str, str]:
    """The encoding to read a file in, and its name for a sentence.

    Args:
      head: the first bytes.
      file: its name, for the message.
      encoding: one that Python knows, or "auto".

    Raises:
      BadFileError: the file is marked as of another encoding than the one asked for,
        or has no mark, by which alone that one is read.
    """
    found, words = encoding_of(head)
    if encoding == AUTOMATIC:
        return found, words
    is_marked = any(map(head.startswith, _BYTE_ORDER_MARKS))
    # "utf-16" is UTF-16 of either order, "utf-8-sig" is UTF-8.
    family = codecs.lookup(found).name[:6]
    if is_marked and not codecs.lookup(encoding).name.startswith(family.rstrip("-")):
        raise BadFileError(
            file,
            rule=f"expected {encoding}, as --encoding says",
            received=words,
            mend="leave --encoding away for this file",
        )
    name = codecs.lookup(encoding).name
    if name in _MARKED and head and not is_marked:
        raise BadFileError(
            file,
            rule=f"expected {encoding} with a byte-order mark, as --encoding says",
            received="none",
            mend=f"name the order, --encoding={name}-le or {name}-be, or leave "
            "--encoding away for this file",
        )
    return encoding, encoding


def in_utf8(
    chunks: Iterator[bytes], *, file: str, encoding: str, is_given: bool
) -> Iterator[bytes]:
    """The chunks of a file in UTF-8, without a byte-order mark.

    Args:
      chunks: of any length.
      file: its name, for messages.
      encoding: as `settled_encoding` says.
      is_given: whether the user named it.

    Raises:
      BadFileError: the file is not in this encoding.
    """
    if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
        chunks = _recoded(chunks, file=file, encoding=encoding)
    elif not is_given:
        chunks = _checked(chunks, file=file)
    first = next(chunks, b"")
    while len(first) < len(codecs.BOM_UTF8) and (more := next(chunks, b"")):
        first += more
    return itertools.chain([first.removeprefix(codecs.BOM_UTF8)], chunks)


def num_lines(text: bytes) -> int:
    r"""How many line ends a text has: \n, \r\n or \r."""
    if b"\r" not in text:
        return text.count(b"\n")
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _recoded(chunks: Iterator[bytes], *, file: str, encoding: str) -> Iterator[bytes]:
    """From an encoding to UTF-8; a fault in it is one of the whole file."""
    decoder = codecs.getincrementaldecoder(encoding)()
    lines_before = 0
    is_first = True
    for chunk in itertools.chain(chunks, [b""]):
        if is_first and chunk:
            _refuse_utf8(chunk, file=file, encoding=encoding)
            is_first = False
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            good = error.object[: error.start].decode(encoding, "ignore").encode()
            raise BadFileError(
                file,
                line=lines_before + num_lines(good) + 1,
                rule=f"expected {encoding}",
                received=f"bytes that are none, {shown(error.object[error.start :][:8])}",
                mend="give the file's encoding with --encoding, or save it as UTF-8",
            ) from None
        # What no encoding should give, half a pair, is no UTF-8 and so a bad row.
        recoded = text.encode("utf-8", "surrogatepass")
        lines_before += num_lines(recoded)
        yield recoded


def _refuse_utf8(chunk: bytes, *, file: str, encoding: str) -> None:
    """Raises BadFileError for UTF-8 that would be read as something else."""
    text = chunk.decode("utf-8", "replace")
    good, bad = _num_beyond_ascii(chunk, text)
    if encoding.lower().startswith("utf") or good <= _MIN_GOOD_PER_BAD * bad:
        return
    raise BadFileError(
        file,
        rule=f"expected {encoding}, as --encoding says",
        received=f"UTF-8 ({shown(_around_first(text))})",
        mend="leave --encoding away; of files in several encodings, save all as UTF-8",
    )


def _checked(chunks: Iterator[bytes], *, file: str) -> Iterator[bytes]:
    """Lets UTF-8 pass, and refuses a file of another encoding.

    Raises:
      BadFileError: lines are no UTF-8, and look like text in another encoding.
    """
    lines_before = num_good = num_bad = 0
    for block in _blocks(chunks):
        if not block.isascii():
            good, bad = _num_beyond_ascii_of(block)
            num_good, num_bad = num_good + good, num_bad + bad
            if bad and num_good < _MIN_GOOD_PER_BAD * num_bad:
                _refuse_other_encoding(block, file=file, lines_before=lines_before)
        lines_before += num_lines(block)
        yield block


def _num_beyond_ascii_of(block: bytes) -> tuple[int, int]:
    """As `_num_beyond_ascii`, at once where all is UTF-8."""
    try:
        block.decode()
    except UnicodeDecodeError:
        return _num_beyond_ascii(block, block.decode("utf-8", "replace"))
    # Only here, so that who reads ASCII does not wait for it.
    import numpy as np

    # By the first byte of each: those that follow it are 0x80 to 0xBF.
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) >= 0xC0)), 0


def _num_beyond_ascii(raw: bytes, text: str) -> tuple[int, int]:
    """How many characters beyond ASCII are UTF-8, and how many are none.

    Args:
      raw: bytes.
      text: the same, U+FFFD in place of what is no UTF-8.
    """
    # A text may hold that character by itself.
    bad = text.count("\ufffd") - raw.count("\ufffd".encode())
    return len(text) - len(text.encode("ascii", "ignore")) - bad, bad


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut at ends of lines."""
    pending: list[bytes] = []
    for chunk in chunks:
        # Not after a \r at the end, whose \n may come next.
        end = 1 + (chunk.rfind(b"\n") if b"\n" in chunk else chunk.rfind(b"\r", 0, -1))
        if end:
            yield b"".join([*pending, memoryview(chunk)[:end]])
            pending.clear()
        pending.append(chunk[end:])
    yield b"".join(pending)


def _refuse_other_encoding(block: bytes, *, file: str, lines_before: int) -> None:
    """Raises BadFileError unless no encoding makes text of the lines."""
    bad_lines: list[bytes] = []
    byte = line = 0
    for number, raw in enumerate(block.splitlines(), start=lines_before + 1):
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            if not bad_lines:
                byte, line = error.start, number
            bad_lines.append(raw)
        if len(bad_lines) == _SAMPLE_LINES:
            break
    likely = likely_encodings(b"\n".join(bad_lines))
    if not likely:
        return
    readings = ", ".join(f"as {name} it reads {shown(text)}" for name, text in likely)
    raise BadFileError(
        file,
        line=line,
        rule="expected UTF-8",
        received=f"byte 0x{bad_lines[0][byte]:02X} at byte {byte + 1} of the line "
        f"({readings})",
        mend=f"if that is right, read the file with --encoding={likely[0][0]}; with "
        "--encoding=utf-8 it is UTF-8, and such a line a damaged one",
    )


def likely_encodings(text: bytes) -> list[tuple[str, str]]:
    """Encodings that make sense of a text that is no UTF-8, the likeliest first.

    Returns:
      At most three, that read differently: the name as --encoding takes it, and how
      the first place beyond ASCII would read. None where it is no text in any.
    """
    shares: dict[str, float] = {}
    readings: dict[str, str] = {}
    for name in _GUESSES:
        with contextlib.suppress(UnicodeDecodeError):
            reading = text.decode(name)
            share = _share_that_fits(reading)
            if share >= _LIKELY_SHARE:
                sample = _around_first(reading)
                # Of encodings that read alike the first.
                readings.setdefault(sample, name)
                shares[name] = share
    # Sorted is stable: equally good ones stay in order.
    best = sorted(readings, key=lambda sample: -shares[readings[sample]])
    return [(readings[sample], sample) for sample in best[:_MAX_GUESSES]]


def _around_first(text: str) -> str:
    """The first character beyond ASCII with what stands around it in its line."""
    line = next(line for line in text.split("\n") if not line.isascii())
    at = next(index for index, char in enumerate(line) if not char.isascii())
    return line[max(0, at - _CHARACTERS_BEFORE) : at + _CHARACTERS_AFTER].strip()


def _share_that_fits(text: str) -> float:
    """The share of the characters beyond ASCII that fit where they stand, in [0, 1]."""
    fits = [
        _fit_of_word(piece) if piece[0].isalpha() else float(piece in _PUNCTUATION)
        for piece in re.findall(r"[^\W\d_]+|[^\x00-\x7f]", text)
        # A word as often as it has such characters: the wrong ones are many.
        for char in piece
        if not char.isascii()
    ]
    return sum(fits) / max(len(fits), 1)


@functools.lru_cache(4096)
def _fit_of_word(word: str) -> float:
    """How much a word looks like one, in [0, 1]: one script, no capital within."""
    scripts = {_script(char) for char in word}
    if len(scripts) > 1:
        return 0.0
    if any(a.islower() and b.isupper() for a, b in zip(word, word[1:])):
        return 0.0
    if len(word) == 1 and not scripts & {"CJK", "HANGUL"}:
        return float(word.lower() in _WORDS_OF_ONE_LETTER)
    if scripts == {"LATIN"}:
        # Cyrillic read as Latin has accents on every letter.
        num_plain = sum(map(str.isascii, word))
        return float(3 * num_plain >= len(word))
    # KOI8 read as Windows's Cyrillic, and the reverse, has capitals for small letters.
    return 0.5 if word.isupper() else 1.0


def _script(char: str) -> str:
    """The first word of a letter's name, "LATIN"; one for all that Japanese mixes."""
    name = unicodedata.name(char, "NONE").split(" ")[0].split("-")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name

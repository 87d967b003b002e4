"""Opens a file of rows: unpacks it, tells its format, and makes UTF-8 of its text.

    for path in expand("reviews/*.csv"):
        with opened(path) as opening:
            opening.file_format  # "csv"
            opening.settled      # "cp1252, gzip"
            opening.stream       # of UTF-8

The name's ending decides the format; the first bytes may only contradict it. How the
file is packed and what it is encoded in, its bytes tell (`compression.py`,
`encodings.py`). Text formats under a wrong ending are told apart later, by their first
line, in the format's own reader.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import itertools
import os
import re
from typing import BinaryIO, Iterator

from trainer.data.readers import encodings, fasttext
from trainer.data.readers.compression import (
    PACKED_ENDINGS,
    refused_kind,
    unpacking_of,
)
from trainer.data.readers.rows import BadFileError
from trainer.data.readers.streams import chunks_of, stream_of
from trainer.messages import did_you_mean

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
    ".txt": "text",
}
# Formats that no ending tells: the content does, or whoever opens the file.
OTHER_FORMATS = ("fasttext", "whole_text")
# Formats that are no text: read from the file as it is.
BINARY_FORMATS = ("parquet", "tfrecord")

# As many as tell a sheet from another zip archive.
HEAD_BYTES = 128

_PARQUET_MAGIC = b"PAR1"
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")

PathOrStream = str | os.PathLike[str] | BinaryIO


def expand(pattern: str) -> list[str]:
    """The files a path or glob stands for, or several, separated by commas.

    They are in the order of the patterns, those of one glob in the plain order of their
    characters, whatever the machine's language (part-10 before part-2). The name of a
    file or folder may hold a comma, or the characters of a glob (reviews[1]/*.csv).

    Raises:
      BadFileError: there is none of a pattern, or one twice. The message names it.
    """
    paths = matches(pattern)
    _refuse_doubled(paths)
    return paths


def matches(pattern: str) -> list[str]:
    """The same; a file that several patterns match is there several times.

    Raises:
      BadFileError: there is none of a pattern. The message names it.
    """
    parts = pattern.split(",")
    paths: list[str] = []
    while parts:
        if not parts[0].strip():
            parts = parts[1:]
            continue
        # The longest that is there, because of commas in names.
        ends = range(len(parts), 0, -1)
        found = ((end, _matches(",".join(parts[:end]))) for end in ends)
        end, there = next((each for each in found if each[1]), (0, []))
        if not end:
            raise _missing(os.path.expanduser(parts[0].strip()))
        paths += there
        parts = parts[end:]
    return paths


def _matches(pattern: str) -> list[str]:
    for path in map(os.path.expanduser, dict.fromkeys((pattern, pattern.strip()))):
        there = [path] if os.path.exists(path) else _glob(path)
        if there:
            return sorted(there)
    return []


def _glob(pattern: str) -> list[str]:
    """The matches of a pattern; a folder that is there by its name is no pattern."""
    ends = [slash.start() for slash in re.finditer(re.escape(os.sep), pattern)]
    folders = (pattern[:end] for end in reversed(ends))
    folder = next(filter(os.path.isdir, folders), "")
    return glob.glob(glob.escape(folder) + pattern[len(folder) :], recursive=True)


def _refuse_doubled(paths: list[str]) -> None:
    seen: dict[str, str] = {}
    for path in paths:
        real_path = os.path.realpath(path)
        other = seen.get(real_path)
        seen[real_path] = path
        if other is not None:
            raise BadFileError(
                path,
                rule="expected each file once",
                received="it twice" if other == path else f"{other}, the same file",
                mend="name it once",
            )


@dataclasses.dataclass(frozen=True)
class Opening:
    """A file that is open, with what was settled of it.

    Attributes:
      file: its name, for messages.
      file_format: one of `ENDINGS`.
      stream: of UTF-8 where the format is text; `head` is already read from it.
      head: the first bytes.
      settled: encoding and packing in words, "cp1252, gzip"; empty where neither is.
    """

    file: str
    file_format: str
    stream: BinaryIO
    head: bytes
    settled: str


@contextlib.contextmanager
def opened(
    path: PathOrStream,
    *,
    file_format: str = "auto",
    encoding: str = encodings.AUTOMATIC,
) -> Iterator[Opening]:
    """Opens a file, which is closed afterwards.

    A stream that is given is left open: it is the caller's.

    Args:
      path: the file, or a binary stream.
      file_format: a format, or "auto": then the name's ending tells.
      encoding: one that Python knows, or "auto".

    Raises:
      BadFileError: the file is missing, is a folder, cannot be read, is of another
        format; while the stream is read, also: it is damaged, of another encoding.
    """
    with _opened_raw(path) as (file, stream):
        head = stream.read(HEAD_BYTES)
        # Its first bytes may be any, and its reader unpacks it.
        is_tfrecord = "tfrecord" in (file_format, format_by_ending(file))
        unpacking = None if is_tfrecord else unpacking_of(head)
        if unpacking:
            packed = stream_of(itertools.chain([head], chunks_of(stream)))
            stream = stream_of(unpacking.chunks(packed, file=file))
            head = stream.read(HEAD_BYTES)
        kind = None if is_tfrecord else refused_kind(file, head)
        if kind:
            raise _other_file(file, "a table or texts", *kind)
        if file_format == "auto" and fasttext.begins(head):
            file_format = "fasttext"
        file_format = format_of(file, file_format)
        if head.startswith(_PARQUET_MAGIC) and file_format != "parquet":
            mend = "give it the ending .parquet"
            raise _other_file(file, file_format, "a Parquet file", mend)
        settled = [unpacking.name] if unpacking else []
        if file_format in BINARY_FORMATS:
            _refuse_text_settings(file, file_format, encoding, *settled)
        else:
            words, stream = _in_utf8(stream, head, file=file, encoding=encoding)
            head = stream.read(HEAD_BYTES)
            settled.insert(0, words)
        yield Opening(file, file_format, stream, head, ", ".join(settled))


def _in_utf8(
    stream: BinaryIO, head: bytes, *, file: str, encoding: str
) -> tuple[str, BinaryIO]:
    """The name of a file's encoding, and its whole text in UTF-8."""
    found, words = encodings.settled_encoding(head, file=file, encoding=encoding)
    chunks = encodings.in_utf8(
        itertools.chain([head] if head else [], chunks_of(stream)),
        file=file,
        encoding=found,
        is_given=encoding != encodings.AUTOMATIC,
    )
    return words, stream_of(chunks)


def _other_file(file: str, expected: str, kind: str, mend: str) -> BadFileError:
    return BadFileError(file, rule=f"expected {expected}", received=kind, mend=mend)


def _refuse_text_settings(
    file: str, file_format: str, encoding: str, *packed: str
) -> None:
    """Raises BadFileError for what a format that is no text cannot have."""
    if packed:
        raise _other_file(file, file_format, f"one in {packed[0]}", "unpack it")
    if encoding != encodings.AUTOMATIC:
        raise _other_file(
            file,
            f"text, as --encoding={encoding} says",
            f"a {file_format} file, which has no other encoding",
            "leave --encoding away",
        )


@contextlib.contextmanager
def _opened_raw(path: PathOrStream) -> Iterator[tuple[str, BinaryIO]]:
    """The name for messages, and a binary stream that is closed afterwards.

    A stream that is given is handed through, and left open: it is the caller's.

    Raises:
      BadFileError: the file is missing, is a folder, or cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        yield str(getattr(path, "name", "<input>")), path
        return
    file = os.fspath(path)
    if os.path.isdir(file):
        raise BadFileError(
            file,
            rule="expected a file",
            received="a folder",
            mend=f"name the files in it, for example {os.path.join(file, '*.csv')}",
        )
    try:
        stream = open(file, "rb")
    except FileNotFoundError:
        raise _missing(file) from None
    except OSError as error:
        raise BadFileError(
            file,
            rule="expected a file that can be read",
            received=str(error.strerror),
            mend="check its permissions",
        ) from error
    with stream:
        yield file, stream


def _missing(path: str) -> BadFileError:
    if scheme := _SCHEME.match(path):
        return BadFileError(
            path,
            rule="expected files of this machine, or of a file system that is mounted",
            received=f"an address, {scheme[0]}",
            mend="copy them here, or mount the bucket as a folder and name that",
        )
    folder, name = os.path.split(path)
    folder = folder or os.curdir
    if os.path.isdir(folder):
        names = sorted(os.listdir(folder))
        received = f"no match among the {len(names)} names in {folder}"
        received += did_you_mean(name, names)
    elif glob.has_magic(folder):
        received = "no match"
    else:
        received = f"no folder {folder}"
    return BadFileError(
        path,
        rule="expected a file of this name",
        received=received,
        mend="check the path",
    )


def format_of(file: str, file_format: str) -> str:
    """The format to read a file as.

    Args:
      file: its name.
      file_format: a format, or "auto": then the name's ending tells.

    Raises:
      BadFileError: the ending or the format is unknown.
    """
    is_automatic = file_format == "auto"
    if is_automatic:
        file_format = format_by_ending(file) or file_format
    if file_format not in (*ENDINGS.values(), *OTHER_FORMATS):
        ending = _ending_of(file)
        raise BadFileError(
            file,
            rule=f"expected a file ending in {', '.join(ENDINGS)}",
            received=(
                ending or "no ending" if is_automatic else f"format {file_format!r}"
            ),
            mend="rename or convert the file",
        )
    return file_format


def format_by_ending(file: str) -> str | None:
    """The format that a name's ending tells; None: no known one."""
    return ENDINGS.get(_ending_of(file).lower())


def _ending_of(file: str) -> str:
    """The ending that tells the format: of a.csv.gz, it is .csv."""
    name, ending = os.path.splitext(file)
    return os.path.splitext(name)[1] if ending.lower() in PACKED_ENDINGS else ending

"""Opens a file of rows, and tells which format it is.

    for path in expand("reviews/*.csv"):
        with opened(path) as (file, stream):
            file_format = format_of(file, "auto")  # "csv"
            head = stream.read(HEAD_BYTES)
            refuse_other_formats(file, file_format=file_format, head=head, ...)

The ending decides; the first bytes may only contradict it. Text formats under a wrong
ending are told apart later, by their first line, in the format's own reader.
"""

from __future__ import annotations

import codecs
import contextlib
import glob
import os
from typing import BinaryIO, Iterator

from trainer.data.readers.rows import BadFileError
from trainer.messages import did_you_mean

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
}

# At least as many as the longest entry of `_MAGIC` has.
HEAD_BYTES = 8

_PARQUET_MAGIC = b"PAR1"
# First bytes → what the file is, and what to do. From the formats' specifications.
_MAGIC = {
    _PARQUET_MAGIC: ("a Parquet file", "give it the ending .parquet"),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"PK\x03\x04": ("a zip archive or an Excel sheet", "unpack it, or save it as CSV"),
    b"BZh": ("a bzip2 archive", "unpack it"),
    b"\xfd7zXZ\x00": ("an xz archive", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it"),
    codecs.BOM_UTF16_LE: ("UTF-16 (by its byte-order mark)", "save it as UTF-8"),
    codecs.BOM_UTF16_BE: ("UTF-16 (by its byte-order mark)", "save it as UTF-8"),
}

PathOrStream = str | os.PathLike[str] | BinaryIO


def expand(pattern: str) -> list[str]:
    """The files a path or glob stands for, sorted.

    Raises:
      BadFileError: there is none. The message says what was looked for.
    """
    path = os.path.expanduser(pattern)
    # A file's own name may hold the characters of a glob: reviews[1].csv.
    paths = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
    if not paths:
        raise _missing(path)
    return paths


@contextlib.contextmanager
def opened(path: PathOrStream) -> Iterator[tuple[str, BinaryIO]]:
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
    folder, name = os.path.split(path)
    folder = folder or os.curdir
    if glob.has_magic(folder):
        received = "no match"
    elif not os.path.isdir(folder):
        received = f"no folder {folder}"
    else:
        names = sorted(os.listdir(folder))
        received = f"no match among the {len(names)} names in {folder}"
        received += did_you_mean(name, names)
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
    ending = os.path.splitext(file)[1]
    is_automatic = file_format == "auto"
    if is_automatic:
        file_format = ENDINGS.get(ending.lower(), file_format)
    if file_format not in ENDINGS.values():
        raise BadFileError(
            file,
            rule=f"expected a file ending in {', '.join(ENDINGS)}",
            received=(
                ending or "no ending" if is_automatic else f"format {file_format!r}"
            ),
            mend="rename or convert the file",
        )
    return file_format


def refuse_other_formats(
    file: str, *, file_format: str, head: bytes, label_field: str | None
) -> None:
    """Raises BadFileError for a file that cannot hold what is asked of it.

    Args:
      file: its name, for the message.
      file_format: what it is read as.
      head: its first bytes.
      label_field: as in `Request`: text lines have no labels.
    """
    if file_format == "text" and label_field is not None:
        raise BadFileError(
            file,
            rule="expected texts with labels",
            received="a file of text lines, which has none",
            mend="use .csv, .tsv, .jsonl or .parquet",
        )
    for magic, (kind, mend) in _MAGIC.items():
        is_right = file_format == "parquet" and magic == _PARQUET_MAGIC
        if head.startswith(magic) and not is_right:
            raise BadFileError(
                file,
                rule=f"expected {file_format} in UTF-8",
                received=kind,
                mend=mend,
            )

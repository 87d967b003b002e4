"""Files that are packed: which are opened through, and which are named.

    unpacking = unpacking_of(head)        # by the first bytes, whatever the name
    chunks = unpacking.chunks(stream, file="reviews.csv.gz")

What the standard library unpacks is opened through. An archive may hold several
files, and a sheet is no table of rows, so those are refused with what to do.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import BinaryIO, Callable, Iterator, Mapping, NamedTuple

from trainer.data.readers.rows import BadFileError
from trainer.data.readers.streams import chunks_of

_SHEET_MEND = "save it as CSV UTF-8"


class Unpacking(NamedTuple):
    """One way to pack a file.

    Attributes:
      name: for a sentence.
      ending: of the file's name, after the format's own.
      open: makes the unpacked stream of the packed one.
    """

    name: str
    ending: str
    open: Callable[[BinaryIO], io.BufferedIOBase]

    def chunks(self, stream: BinaryIO, *, file: str) -> Iterator[bytes]:
        """The unpacked bytes.

        Raises:
          BadFileError: the file is damaged or cut short.
        """
        try:
            yield from chunks_of(self.open(stream))
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise BadFileError(
                file,
                rule=f"expected a whole {self.name} file",
                received=f"one that is damaged or cut short: {error}",
                mend="copy or pack it again",
            ) from error


# First bytes → how the file is packed. From the formats' specifications.
_UNPACKINGS: Mapping[bytes, Unpacking] = {
    b"\x1f\x8b": Unpacking("gzip", ".gz", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"BZh": Unpacking("bzip2", ".bz2", bz2.BZ2File),
    b"\xfd7zXZ\x00": Unpacking("xz", ".xz", lzma.LZMAFile),
}
PACKED_ENDINGS = tuple(each.ending for each in _UNPACKINGS.values())

# First bytes → what the file is, and what to do.
_REFUSED: Mapping[bytes, tuple[str, str]] = {
    b"PK\x03\x04": ("a zip archive", "unzip it, or pack the file with gzip"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unpack it with zstd -d, or use gzip"),
    # The container of Office's files before 2007.
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an Excel sheet", _SHEET_MEND),
}
# What stands in the first bytes of a zip archive that is a sheet.
_SHEETS: Mapping[bytes, str] = {
    b"[Content_Types].xml": "an Excel sheet",
    b"xl/": "an Excel sheet",
    b"opendocument.spreadsheet": "a LibreOffice sheet",
}
_SHEET_ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".ods")


def unpacking_of(head: bytes) -> Unpacking | None:
    """How a file is packed, by its first bytes; None: not at all."""
    return next(
        (each for magic, each in _UNPACKINGS.items() if head.startswith(magic)), None
    )


def refused_kind(file: str, head: bytes) -> tuple[str, str] | None:
    """What a file is that is not opened through, and the mend; None for others.

    Args:
      file: its name.
      head: its first bytes.
    """
    for magic, (kind, mend) in _REFUSED.items():
        if head.startswith(magic):
            if "zip" in kind and (sheet := _sheet_of(file, head)):
                return sheet, _SHEET_MEND
            return kind, mend
    return None


def _sheet_of(file: str, head: bytes) -> str | None:
    for words, sheet in _SHEETS.items():
        if words in head:
            return sheet
    return "an Excel sheet" if file.lower().endswith(_SHEET_ENDINGS) else None

"""Texts without labels, from files: `files:more/*.txt`, a line a text, or a table.

    texts = read("files:brown/*.txt", config, flag="general_texts")
    texts.texts, texts.places.of(0)                 # Arrow strings; ("brown/a.txt", 1)

A .txt file has a text in each line; tables and JSON have it in --text_field. Empty
lines are no texts. A row that cannot be used is named, or left out and counted, as
--bad_rows says.
"""

from __future__ import annotations

import dataclasses
from typing import Iterator

import numpy as np
import pyarrow as pa

from trainer.config import DataConfig
from trainer.data.places import Places
from trainer.data.readers.opening import expand
from trainer.data.readers.reading import read_rows
from trainer.data.readers.rows import BadRow, EmptyFileError, Row
from trainer.messages import message

SCHEME = "files:"


@dataclasses.dataclass(frozen=True)
class UnlabelledTexts:
    """Texts, each with its place.

    Attributes:
      source: as the flag names it.
      texts: large_string [n].
      places: where each was read.
      num_bad_rows: that were left out.
    """

    source: str
    texts: pa.ChunkedArray
    places: Places
    num_bad_rows: int

    def __len__(self) -> int:
        return len(self.places)


def read(name: str, config: DataConfig, *, flag: str) -> UnlabelledTexts:
    """Reads all of them.

    Args:
      name: `files:` and paths or globs, separated by commas.
      config: how tables are read.
      flag: that gives the name, for messages.

    Raises:
      ValueError: there is no such file, or no text in them; a row cannot be used and
        --bad_rows=error.
    """
    if not name.startswith(SCHEME):
        raise ValueError(
            message(
                f"--{flag} must be files: with paths or globs, separated by commas",
                received=name,
                mend=f"give --{flag}=files:TEXTS.txt, with a text in each line, or a"
                " table with a column --text_field",
            )
        )
    files = expand(name.removeprefix(SCHEME))
    texts: list[str] = []
    numbers: list[int] = []
    lines: list[int] = []
    num_bad_rows = 0
    for number, file in enumerate(files):
        for row in _rows(file, config):
            if isinstance(row, BadRow):
                if config.bad_rows == "error":
                    raise ValueError(f"--{flag}: {row}")
                num_bad_rows += 1
                continue
            texts.append(row.text)
            numbers.append(number)
            lines.append(row.line)
    if not texts:
        raise ValueError(
            message(
                f"--{flag} must have texts",
                received=f"{name}, {len(files)} files without one",
                mend="give files with a text in each line",
            )
        )
    return UnlabelledTexts(
        source=name,
        texts=pa.chunked_array([pa.array(texts, pa.large_string())]),
        places=Places(tuple(files), np.array(numbers, np.int32), np.array(lines)),
        num_bad_rows=num_bad_rows,
    )


def _rows(file: str, config: DataConfig) -> Iterator[Row | BadRow]:
    try:
        for row in read_rows(
            file,
            text_field=config.text_field,
            label_field=None,
            allow_empty_text=True,
            encoding=config.encoding,
            column_names=config.column_names,
            escape=config.escape,
        ):
            if isinstance(row, BadRow) or row.text.strip():
                yield row
    # Of several files one may be empty.
    except EmptyFileError:
        return

"""The part of an input that one of several machines answers: `--shard=2/8`.

    part = part_of(config)                   # counts and digests the files of --input
    part.rows, part.stretches                # range(6400, 9600), [Stretch("a.csv", ...)]
    part.finish(output, belongs_to, header)  # answers-00002-of-00008.jsonl.shard.json

A part is a run of whole batches, so that a model is asked the very batches that one
machine would ask it, and the files of all parts, one behind the other, are its file. What
lies beside a part says of which model, settings, rows and bytes of input it is; joining
them is left to `joining.py`. For Parquet a part is the lines that become Parquet when all
are there: only then are the types of its columns known.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import os
import pathlib
import re
from typing import Any, Callable, Mapping, Sequence

from trainer import json_text, storage
from trainer.config import PredictConfig, Shard, shard_of
from trainer.data import source_files
from trainer.data.source_files import FileState
from trainer.messages import message
from trainer.serving import answers, questions, resumable
from trainer.serving.questions import Stretch

FORMAT_VERSION = 1
# Settings that say how files are read, and with it what a row is.
_OF_READING = "text_field input_format encoding column_names escape".split()
_DESCRIPTION = ".shard.json"
_CHUNK_BYTES = 2**20

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One file of the input.

    Attributes:
      name: as an answer has it, where there are several; else "".
      num_bytes: its size.
      sha256: of its bytes.
    """

    name: str
    num_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Finished:
    """What lies beside the answers of a part.

    Attributes:
      shard: which part, as "2/8".
      first_row: of the input, from 0.
      stop_row: the row behind the last.
      num_header_bytes: of what a file of this format begins with.
      num_bytes: of the whole file.
      sha256: of the whole file.
      saved_model: the folder of the model's version.
      files: the input.
      belongs_to: what decides the answers, the same for all parts.
    """

    shard: str
    first_row: int
    stop_row: int
    num_header_bytes: int
    num_bytes: int
    sha256: str
    saved_model: str
    files: tuple[InputFile, ...]
    belongs_to: Mapping[str, Any]
    format_version: int = FORMAT_VERSION


@dataclasses.dataclass(frozen=True)
class Part:
    """What one machine answers.

    Attributes:
      shard: which part it is.
      rows: of the input, from 0, those of all files counted on.
      stretches: the same, by file.
      files: the input.
      num_rows: of the whole input.
      states: what the system says of the files since before they were counted.
    """

    shard: Shard
    rows: range
    stretches: Sequence[Stretch]
    files: tuple[InputFile, ...]
    num_rows: int
    states: Sequence[FileState]

    def belongs_to(
        self, config: PredictConfig, model: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What decides the answers of all parts; `model` is of the model's own."""
        return {
            **belongs_to(config, model, self.files),
            "num_rows": self.num_rows,
        }

    def keep(self, output: resumable.ResumableOutput) -> str:
        """Makes sure of the answers so far, and says for a message what becomes of them.

        A row may not be mended in between, as where one machine answers all: the parts
        that are finished are of the input as it was.
        """
        says = "\nOf a mended input all parts are answered anew, each by its command"
        return f"{says}; here, first {output.mend()}" if output.keep() else says

    def finish(
        self,
        output: resumable.ResumableOutput,
        belongs_to: Mapping[str, Any],
        *,
        place: pathlib.Path,
        header: Sequence[str],
        saved_model: str,
    ) -> None:
        """Says beside the answers, which are to get their name next, what they are.

        Said before: a kill in between leaves a description of another file, at which
        joining refuses, and the part continues.

        Raises:
          ValueError: a file of the input has changed since it was counted.
        """
        try:
            source_files.refuse_changed(self.states)
        except ValueError as error:
            raise ValueError(f"{error}, and {output.mend()}") from error
        if output.num_texts != len(self.rows):
            raise ValueError(
                message(
                    f"part {self.shard} must answer {len(self.rows)} rows",
                    received=f"{output.num_texts}",
                    mend=output.mend(),
                )
            )
        output.checkpoint()
        num_bytes, digest = digest_of(output.lines)
        finished = Finished(
            shard=str(self.shard),
            first_row=self.rows.start,
            stop_row=self.rows.stop,
            num_header_bytes=sum(len(f"{line}\n".encode()) for line in header),
            num_bytes=num_bytes,
            sha256=digest,
            saved_model=saved_model,
            files=self.files,
            belongs_to=belongs_to,
        )
        text = json.dumps(dataclasses.asdict(finished), indent=2)
        storage.write_text(description_of(place), text + "\n")


def part_of(config: PredictConfig) -> Part:
    """The part that --shard names, of the files of --input.

    Every byte of them is read: once for its digest, and, but for Parquet, once more to
    count rows.

    Raises:
      ValueError: a file cannot be used, or is one that a part is written to.
    """
    shard = shard_of(config.shard)
    names = questions.files(config.input)
    refuse_parts_as_input(names, target_of(config.output))
    states = source_files.states(names)
    if states is None:
        raise ValueError(
            message(
                "--shard is of files, which are read more than once",
                received=f"input={config.input}, of which one is a pipe or device",
                mend="write the texts to a file",
            )
        )
    counts = questions.counted(config)
    num_rows = sum(counts.values())
    rows = rows_of(shard, num_rows, batch_size=config.batch_size)
    _logger.info("Part %s: %d of %d rows.", shard, len(rows), num_rows)
    return Part(
        shard,
        rows,
        _stretches(counts, rows),
        input_files(config, names),
        num_rows,
        states,
    )


def rows_of(shard: Shard, num_rows: int, *, batch_size: int) -> range:
    """The rows of a part: whole batches, the same number of them or one more."""
    num_batches = -(-num_rows // batch_size)
    first, behind = (
        num_batches * index // shard.count * batch_size
        for index in (shard.index, shard.index + 1)
    )
    return range(min(first, num_rows), min(behind, num_rows))


def _stretches(counts: Mapping[str, int], rows: range) -> list[Stretch]:
    """Rows of the whole input, by file."""
    found = []
    before = 0
    for file, count in counts.items():
        start, stop = max(rows.start - before, 0), min(rows.stop - before, count)
        if start < stop:
            found.append(Stretch(file, start, stop))
        before += count
    return found


def input_files(config: PredictConfig, names: Sequence[str]) -> tuple[InputFile, ...]:
    """The files of --input by content; by name as well, where answers have it.

    Raises:
      OSError: one cannot be read; the error names it.
    """
    has_name = questions.names_several(config.input)
    return tuple(
        InputFile(name if has_name else "", *digest_of(pathlib.Path(name)))
        for name in names
    )


def belongs_to(
    config: PredictConfig, model: Mapping[str, Any], files: Sequence[InputFile]
) -> dict[str, Any]:
    """What decides the answers to these files, but for the number of their rows."""
    content = json.dumps([dataclasses.astuple(file) for file in files])
    reading = {name: getattr(config, name) for name in _OF_READING}
    return {
        **model,
        **reading,
        # As JSON has it.
        "column_names": list(config.column_names),
        "batch_size": config.batch_size,
        "input_sha256": hashlib.sha256(content.encode()).hexdigest(),
    }


def digest_of(
    place: pathlib.Path,
    *,
    start: int = 0,
    write: Callable[[bytes], object] | None = None,
) -> tuple[int, str]:
    """A file's size and the SHA-256 of its bytes.

    Args:
      write: is given those from `start` on.
    """
    digest, num_bytes = hashlib.sha256(), 0
    with storage.naming_place(place), open(place, "rb") as file:
        for chunk in iter(functools.partial(file.read, _CHUNK_BYTES), b""):
            digest.update(chunk)
            if write is not None:
                write(chunk[max(start - num_bytes, 0) :])
            num_bytes += len(chunk)
    return num_bytes, digest.hexdigest()


# Where parts lie.


def target_of(output: str) -> pathlib.Path:
    """The file of an --output: a link stays a link, and its file is replaced."""
    return pathlib.Path(output).expanduser().resolve()


def place_of(target: pathlib.Path, shard: Shard) -> pathlib.Path:
    """The file of a part: answers-00002-of-00008.jsonl of answers.jsonl."""
    number = f"-{shard.index:05d}-of-{shard.count:05d}"
    return target.with_name(f"{target.stem}{number}{_ending_of(target)}")


def _ending_of(target: pathlib.Path) -> str:
    """Of the file of a part, which may not be of the format yet."""
    is_made_later = answers.format_of(target.name).convert is not None
    return target.suffix + (".lines" if is_made_later else "")


def description_of(place: pathlib.Path) -> pathlib.Path:
    """What lies beside the file of a part."""
    return place.with_name(f"{place.name}{_DESCRIPTION}")


def parts_beside(target: pathlib.Path) -> set[Shard]:
    """The parts of which there is something: answers, what they are, or a beginning."""
    pattern = re.compile(
        rf"{re.escape(target.stem)}-([0-9]{{5}})-of-([0-9]{{5}})"
        rf"{re.escape(_ending_of(target))}"
        rf"({re.escape(_DESCRIPTION)}|\.partial|\.partial\.json)?"
    )
    names = os.listdir(target.parent) if target.parent.is_dir() else []
    found = filter(None, map(pattern.fullmatch, names))
    return {Shard(int(each[1]), int(each[2])) for each in found}


def refuse_parts_as_input(names: Sequence[str], target: pathlib.Path) -> None:
    """Raises ValueError where --input takes in what is written beside --output."""
    pattern = rf"{re.escape(target.stem)}-[0-9]{{5}}-of-[0-9]{{5}}{re.escape(target.suffix)}.*"
    for name in names:
        path = pathlib.Path(name).resolve()
        if path.parent == target.parent and re.fullmatch(pattern, path.name):
            raise ValueError(
                message(
                    "--input must not take in the parts of --output",
                    received=name,
                    mend="give --output another folder",
                )
            )


# What lies beside a part.


def read_finished(place: pathlib.Path) -> Finished:
    """What lies beside the answers of a part.

    Raises:
      OSError: it is not there.
      ValueError: it is not what `Part.finish` wrote.
    """
    text = description_of(place).read_text(encoding="utf-8")
    try:
        values: dict[str, Any] = dict(json_text.parse(text))
        files = tuple(InputFile(**each) for each in values.pop("files"))
        finished = Finished(**values, files=files)
        is_known = finished.format_version == FORMAT_VERSION
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not is_known:
        raise ValueError(f"format {finished.format_version}")
    return finished


def is_answered(place: pathlib.Path, shard: Shard, mine: Mapping[str, Any]) -> bool:
    """Whether a part's answers are there, whole, and of this model, input and settings."""
    if resumable.is_unfinished(place) or not place.is_file():
        return False
    try:
        finished = read_finished(place)
    except (OSError, ValueError):
        return False
    is_mine = (finished.shard, finished.belongs_to) == (str(shard), mine)
    if not is_mine or digest_of(place) != (finished.num_bytes, finished.sha256):
        return False
    resumable.clean_up(place)
    return True

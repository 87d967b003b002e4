"""A file of lines, one a text, that is whole or not there, and continues after a kill.

    with opened(pathlib.Path("out.jsonl"), {"model": "b1f…"}, batch_size=32) as output:
        output.skip(batches)  # past the texts that were answered before
        for texts in batches:
            output.append(texts, lines)

The lines go to `out.jsonl.partial`, which becomes `out.jsonl` when the block ends
well; or from which `convert` makes it then, for a format that has no lines.
`out.jsonl.partial.json` beside it says what they belong to, and how many are
sure to be on the disk: what is behind those was cut off by a kill, and is cut off.
The input is told by a digest of the texts that were answered, not by its name or
date, so that a bad row further on may be mended in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import time
from typing import Any, BinaryIO, Callable, Iterator, Mapping, Sequence

from trainer import json_text, locks, storage
from trainer.messages import message

FORMAT_VERSION = 2
# Makes a file of the lines of another.
Convert = Callable[[pathlib.Path, pathlib.Path], None]

# About as much work is lost by a kill.
_CHECKPOINT_SECS = 1.0


class ResumableOutput:
    """The lines of one file. Made by `opened`.

    Attributes:
      num_texts: how many texts have their line.
      lines: the file that holds them until it gets its name.
    """

    def __init__(
        self,
        stream: BinaryIO,
        target: pathlib.Path,
        belongs_to: Mapping[str, Any],
        *,
        batch_size: int,
        checkpoint_secs: float,
        convert: Convert | None,
    ) -> None:
        self._stream, self._target, self._convert = stream, target, convert
        self.lines = _partial(target)
        self._belongs_to = {
            "format_version": FORMAT_VERSION,
            **belongs_to,
            "batch_size": batch_size,
        }
        self._checkpoint_secs = checkpoint_secs
        self._digest = hashlib.sha256()
        before = _read_state(stream, target, self._belongs_to)
        stream.truncate(before["num_bytes"])
        self.num_texts: int = before["num_texts"]
        self._texts_before = before["texts_sha256"]
        self._checked = time.monotonic()
        if not self.num_texts:
            # Before the first line, so that no line is found without it.
            self.checkpoint()

    def skip(self, batches: Iterator[list[str]]) -> None:
        """Reads past the texts that have their line; to be called first.

        Raises:
          ValueError: these are others than before.
        """
        num_read = 0
        while num_read < self.num_texts and (texts := next(batches, None)):
            num_read += len(texts)
            self._add_to_digest(texts)
        if self.num_texts and self._digest.hexdigest() != self._texts_before:
            raise ValueError(
                message(
                    f"the input must begin with the {self.num_texts} texts that"
                    f" {_partial(self._target)} answers",
                    received="one that begins with others, or ends before",
                    mend=f"give the input of before, or {_mend(self._target)}",
                )
            )

    def append(self, texts: Sequence[str], lines: Sequence[str]) -> None:
        """Adds the lines, without their ends, of a batch of texts."""
        self._stream.writelines(f"{line}\n".encode() for line in lines)
        self._add_to_digest(texts)
        self.num_texts += len(texts)
        # Batches must be the same when it continues, so the short one at an input's end,
        # to which texts may be added, is left to `finish`.
        is_whole = len(texts) == self._belongs_to["batch_size"]
        if is_whole and time.monotonic() - self._checked >= self._checkpoint_secs:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Makes sure of all lines so far."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        state = {
            "belongs_to": self._belongs_to,
            "num_texts": self.num_texts,
            "num_bytes": _size(self._stream),
            "texts_sha256": self._digest.hexdigest(),
        }
        storage.write_text(_state(self._target), json.dumps(state, indent=2) + "\n")
        self._checked = time.monotonic()

    def keep(self) -> str:
        """Makes sure of the lines, and says for a message where they are."""
        self.checkpoint()
        if not self.num_texts:
            return ""
        return (
            f"\nThe answers to the first {self.num_texts} texts are in "
            f"{_partial(self._target)}: start again to continue from there, with these "
            f"texts as they are; or {self.mend()}"
        )

    def mend(self) -> str:
        """How to begin anew, for a message."""
        return _mend(self._target)

    def finish(self) -> None:
        """Gives the file its name, or makes it of the lines."""
        self.checkpoint()
        if self._convert is not None:
            with storage.new_file(self._target) as unfinished:
                self._convert(_partial(self._target), unfinished)
            self.forget()
            return
        # As soon as the lines have their name another process may begin anew: it waits
        # for this lock, or its state would be removed.
        with _state(self._target).open("r+b") as state:
            fcntl.flock(state, fcntl.LOCK_EX)
            os.replace(_partial(self._target), self._target)
            _state(self._target).unlink()

    def forget(self) -> None:
        """Removes the lines and what they belong to, where they still are."""
        if not locks.is_at(self._stream.fileno(), _partial(self._target)):
            return
        # Emptied first: lines without their state would be refused after a kill.
        self._stream.truncate(0)
        _state(self._target).unlink(missing_ok=True)
        _partial(self._target).unlink()

    def _add_to_digest(self, texts: Sequence[str]) -> None:
        for text in texts:
            encoded = text.encode("utf-8")
            self._digest.update(b"%d:" % len(encoded) + encoded)


@contextlib.contextmanager
def opened(
    target: pathlib.Path,
    belongs_to: Mapping[str, Any],
    *,
    batch_size: int,
    checkpoint_secs: float = _CHECKPOINT_SECS,
    convert: Convert | None = None,
) -> Iterator[ResumableOutput]:
    """An output that becomes `target` if the block ends well, else stays to be continued.

    Args:
      belongs_to: what else than texts decides the lines, as JSON can hold it.
      batch_size: of the batches to append; the last may be shorter.
      checkpoint_secs: how often lines are made sure of.
      convert: makes `target` of the lines; None: they are it.

    Raises:
      ValueError: what is there belongs to something else, or another process writes it.
      OSError: the place cannot be written; the error names it.
    """
    storage.remove_leftovers(target.parent, of=target.name)
    # Outside: closing the stream writes what is left in it.
    with storage.naming_place(target), _locked(target) as stream:
        output = ResumableOutput(
            stream,
            target,
            belongs_to,
            batch_size=batch_size,
            checkpoint_secs=checkpoint_secs,
            convert=convert,
        )
        try:
            yield output
            output.finish()
        except BaseException:
            if not output.num_texts:
                output.forget()
            raise


def is_unfinished(target: pathlib.Path) -> bool:
    """Whether a process has begun to write a file, and has not come to its end."""
    return _partial(target).exists()


def clean_up(target: pathlib.Path) -> None:
    """Removes what a kill left beside a file that has its name, if nobody writes it."""
    if not _state(target).exists():
        return
    # Of another process that has begun it anew, this is the state.
    with contextlib.suppress(ValueError), _locked(target) as stream:
        if not _size(stream):
            _state(target).unlink(missing_ok=True)
            _partial(target).unlink()


def _partial(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(f"{target.name}.partial")


def _state(target: pathlib.Path) -> pathlib.Path:
    return target.with_name(f"{target.name}.partial.json")


def _mend(target: pathlib.Path) -> str:
    return f"remove {_partial(target)} and {_state(target)} to begin anew"


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


@contextlib.contextmanager
def _locked(target: pathlib.Path) -> Iterator[BinaryIO]:
    """The lines, made if they are not there, which no other process has as well."""
    path = _partial(target)
    while True:
        with open(path, "ab") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"only one process may write {path}, and another one does; wait "
                    "for its end, or give another --output"
                ) from None
            # Another one may have finished it since it was opened, and renamed it.
            if not locks.is_at(stream.fileno(), path):
                continue
            # Which may not have removed its state yet.
            with contextlib.suppress(FileNotFoundError):
                with open(_state(target), "rb") as state:
                    fcntl.flock(state, fcntl.LOCK_SH)
            yield stream
            return


def _read_state(
    stream: BinaryIO, target: pathlib.Path, belongs_to: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Up to where the lines in the stream can be used."""
    nothing = {"num_texts": 0, "num_bytes": 0, "texts_sha256": ""}
    if not _size(stream):
        return nothing
    try:
        state: dict[str, Any] = json_text.parse(
            _state(target).read_text(encoding="utf-8")
        )
        before, num_bytes = dict(state["belongs_to"]), state["num_bytes"]
        is_begun, is_cut = state["num_texts"] > 0, _size(stream) < num_bytes
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            message(
                f"{_partial(target)} is there, and {_state(target)} must say what it"
                " belongs to",
                received=f"{type(error).__name__}: {error}",
                mend=_mend(target),
            )
        ) from error
    if not is_begun:
        return nothing
    if is_cut:
        raise ValueError(
            message(
                f"{_partial(target)} must have {num_bytes} bytes at least",
                received=f"{_size(stream)} bytes, something cut it",
                mend=_mend(target),
            )
        )
    if before != belongs_to:
        changes = ", ".join(
            f"{name} was {before.get(name)}, is {belongs_to.get(name)}"
            for name in sorted({*before, *belongs_to})
            if before.get(name) != belongs_to.get(name)
        )
        raise ValueError(
            message(
                f"{_partial(target)} must continue as it began",
                received=changes,
                mend=f"start again with what was, or {_mend(target)}",
            )
        )
    return state

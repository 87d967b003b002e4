"""The version folders of a model: who owns a number, and which one is the newest.

    with versions.claimed(folder, formats=("int8",)) as number:
        ...     # publish folder/3 and folder/int8/3
    versions.set_latest(folder)
    versions.find("runs/a/export")      # runs/a/export/3

A model server takes a folder for a version as soon as its name is a number, so a
version gets that name when it is complete, and not before. The number is claimed
before the work begins: two runs that share a folder never publish the same one. A claim
is a folder `.3.claimed`, for making a folder is atomic on disks and on NFS. Elsewhere
(gs://) nothing is: there a claim is written, and read again to see whose it is, which
two processes in the same second may both pass; publication then refuses the second.

`latest` names the highest number that is complete. This module needs Python alone.
"""

from __future__ import annotations

import contextlib
import logging
import pathlib
import re
import shutil
import uuid
from typing import TYPE_CHECKING, Iterator, Sequence

from trainer import stack
from trainer.messages import message, shown
from trainer.serving import manifest

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

# In a folder of versions: the number of the newest one.
LATEST = "latest"
SAVED_MODEL = "saved_model.pb"
_CLAIM = re.compile(r"\.([0-9]+)\.claimed")

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(folder: Path, *, formats: Sequence[str]) -> Iterator[int]:
    """A number that no other process has, until the block ends.

    A claim that a killed process left costs its number, and nothing else.

    Args:
      folder: of the versions; made if it is not there.
      formats: subfolders that have versions of the same numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        taken = [*_published(folder, formats), *_claims(folder)]
        number = 1 + max(taken, default=0)
        claim = folder / f".{number}.claimed"
        if not _make_claim(claim):
            continue
        # Another process may have published it and let go of its claim just before.
        if number > max(_published(folder, formats), default=0):
            break
        _remove(claim)
    try:
        yield number
    finally:
        _remove(claim)


def numbers(folder: Path) -> list[int]:
    """The numbers that are there, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _is_number(path.name))


def _published(folder: Path, formats: Sequence[str]) -> list[int]:
    """The numbers that any format has."""
    places = [folder, *(folder / name for name in formats)]
    return [number for place in places for number in numbers(place)]


def set_latest(folder: Path) -> None:
    """Has `latest` name the highest number that is complete.

    Not the one just published: a run that took longer may have claimed a lower number.
    """
    complete = [n for n in numbers(folder) if is_version(folder / str(n))]
    if not complete:
        return
    from trainer import storage

    storage.write_text(folder / LATEST, f"{max(complete)}\n")
    # Of killed processes; numbers below the highest are given to nobody any more.
    for number in _claims(folder):
        if number < max(complete):
            _remove(folder / f".{number}.claimed")


def remove_old(folder: Path, *, keep: int) -> None:
    """Removes all versions but the newest.

    Args:
      keep: how many stay; 0: all.
    """
    for number in numbers(folder)[: -keep or None] if keep else []:
        _logger.info("removing version %d of %s", number, folder)
        _remove(folder / str(number))


def is_version(folder: Path) -> bool:
    """Whether a folder holds a version of a model.

    Either file: one of them may be what a copy lacks, and formats other than
    TensorFlow's have a manifest alone.
    """
    return any((folder / name).is_file() for name in (SAVED_MODEL, manifest.FILE_NAME))


def find(location: str) -> Path:
    """The folder of one version of a model, to load or to verify.

    Args:
      location: such a folder, or one of numbered ones; then it is the one that the
        file `latest` names, else the highest number.

    Raises:
      ValueError: there is none.
    """
    folder = _place(location)
    if is_version(folder):
        return folder
    if not folder.is_dir():
        raise no_model(folder, "no such folder")
    latest = folder / LATEST
    if latest.is_file():
        number, reason = latest.read_text(encoding="utf-8").strip(), f"by {latest}"
        if not _is_number(number) or not is_version(folder / number):
            raise no_model(
                latest, f"it names {shown(number)}, which is no version there"
            )
    else:
        number, reason = _highest(folder), "the highest number"
    _logger.info("%s: version %s (%s).", folder, number, reason)
    return folder / number


def no_model(place: Path, received: str) -> ValueError:
    """The error for a place that holds no model."""
    return ValueError(
        message(
            "--saved_model must be the folder of a SavedModel, or one of numbered ones",
            received=f"{place}: {received}",
        )
    )


def _highest(folder: Path) -> str:
    versions = [path.name for path in folder.iterdir() if is_version(path)]
    numbered = [name for name in versions if _is_number(name)]
    if not numbered:
        hint = f" (did you mean {folder / max(versions)}?)" if versions else ""
        raise no_model(folder, f"no {SAVED_MODEL} in it{hint}")
    return max(numbered, key=int)


def _is_number(name: str) -> bool:
    # Not str.isdecimal, which takes the digits of every script.
    return re.fullmatch("[0-9]+", name) is not None


def _claims(folder: Path) -> list[int]:
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return [int(match[1]) for match in map(_CLAIM.fullmatch, names) if match]


def _make_claim(claim: Path) -> bool:
    """Whether the claim is ours; False: another process was quicker."""
    if isinstance(claim, pathlib.Path):
        try:
            claim.mkdir()
        except FileExistsError:
            return False
        return True
    from trainer import storage

    if claim.is_file():
        return False
    token = uuid.uuid4().hex
    storage.write_text(claim, token)
    return claim.read_text(encoding="utf-8") == token


def _remove(place: Path) -> None:
    if isinstance(place, pathlib.Path):
        shutil.rmtree(place, ignore_errors=True)
        return
    from trainer import storage

    storage.remove(place)


def _place(location: str) -> Path:
    if "://" not in location:
        return pathlib.Path(location).expanduser()
    stack.load()
    from trainer import storage

    return storage.path(location)

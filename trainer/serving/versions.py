"""The version folders of a model: who owns a number, and which one is the newest.

    with versions.claimed(folder, formats=("int8",)) as number:
        ...     # publish folder/3 and folder/int8/3
        versions.set_latest(folder)
        versions.remove_old(folder, formats=("int8",), keep=3, published=number)
    versions.find("runs/a/export")      # runs/a/export/3

A model server takes a folder for a version as soon as its name is a number, so a
version gets that name when it is complete, and not before. The number is claimed
before the work begins: two runs that share a folder never publish the same one. A claim
is a folder `.3.claimed`, for making a folder is atomic on disks and on NFS. Elsewhere
(gs://) each process writes a file of its own, `.3.claimed-TOKEN`, lists the claims, and
gives way if it sees another's. That holds where a listing shows all that was written
before, as Google Cloud Storage's does.

`latest` names the highest number that is complete and not held (`promotion.py`). A held
version is never answered by. This module needs Python alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import random
import re
import time
import uuid
from typing import Iterator, Sequence

from trainer import locks, stack, storage
from trainer.messages import message, shown
from trainer.serving import manifest
from trainer.storage import Path

# In a folder of versions: the number of the newest one.
LATEST = "latest"
SAVED_MODEL = "saved_model.pb"
_CLAIM = re.compile(r"\.([0-9]+)\.claimed(?:-[0-9a-f]+)?")
_PROMOTE = "trainer.compare --champion={folder} --promote={number} --reason=..."
# Two processes that gave way to each other wait at random, or they would meet again.
_MAX_WAIT_SECS = 1.0

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def claimed(folder: Path, *, formats: Sequence[str]) -> Iterator[int]:
    """A number that no other process has, until the block ends.

    On a disk the kernel tells a claim that a killed process left from that of a slow
    run. Elsewhere nobody can: there it stays, and costs its number, and nothing else.

    Args:
      folder: of the versions; made if it is not there.
      formats: subfolders that have versions of the same numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, *(folder / name for name in formats)):
        storage.remove_leftovers(place)
    with contextlib.ExitStack() as undo:
        while True:
            # The claims first: the version of one that goes meanwhile is seen after it.
            taken = [*_claims(folder).values(), *_published(folder, formats)]
            number = 1 + max(taken, default=0)
            if not _claim(folder, number, undo):
                continue
            # Another process may have published it and let go of its claim just before.
            if number > max(_published(folder, formats), default=0):
                break
            undo.close()
        yield number


def numbers(folder: Path) -> list[int]:
    """The numbers that are there, ascending."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if _is_number(path.name))


def _published(folder: Path, formats: Sequence[str]) -> list[int]:
    """The numbers that any format has."""
    places = [folder, *(folder / name for name in formats)]
    return [number for place in places for number in numbers(place)]


def set_latest(folder: Path) -> int:
    """Has `latest` name the highest number that is complete and not held.

    Not the one just published: a run that took longer may have claimed a lower number.

    Returns:
      The number; 0: all versions are held, and there is no `latest`.

    Raises:
      ValueError: no version is complete.
    """
    written = ""
    # Again after each write: a higher one may have been published, and `latest` written
    # by its process, between our look and our write.
    while (highest := _highest(folder)) != written:
        if highest is None:
            storage.remove(folder / LATEST)
            return 0
        storage.write_text(folder / LATEST, f"{highest}\n")
        written = highest
    return int(highest)


def latest(folder: Path) -> int | None:
    """The number that `latest` names; None: there is none."""
    place = folder / LATEST
    if not place.is_file():
        return None
    number = place.read_text(encoding="utf-8").strip()
    return int(number) if _is_number(number) else None


def remove_old(
    folder: Path, *, formats: Sequence[str], keep: int, published: int
) -> None:
    """Removes old versions of each format.

    Args:
      formats: the subfolders of those other than the first.
      keep: how many of the newest stay; 0: all.
      published: by the caller just now. It stays even if others have published `keep`
        higher numbers meanwhile: a report names its folder. So do numbers that are
        claimed, for one of their formats may be published and the next not yet; and the
        latest, which newer ones that are held do not replace.
    """
    if not keep:
        return
    served = latest(folder)
    claimed_now = _claims(folder).values()
    for place in (folder, *(folder / name for name in formats)):
        for number in numbers(place)[:-keep]:
            if number not in (published, served) and number not in claimed_now:
                _logger.info("removing version %d of %s", number, place)
                _remove_version(place / str(number))


def is_version(folder: Path) -> bool:
    """Whether a folder holds a version of a model.

    Either file: one of them may be what a copy lacks, and formats other than
    TensorFlow's have a manifest alone.
    """
    return any((folder / name).is_file() for name in (SAVED_MODEL, manifest.FILE_NAME))


def find(
    location: str, *, may_be_held: bool = False, flag: str = "saved_model"
) -> Path:
    """The folder of one version of a model, to load or to verify.

    Args:
      location: such a folder, or one of numbered ones, or its file `latest`; then it is
        the one that the file `latest` names, else the highest number that is not held.
      may_be_held: whether a version that is held may be meant, by its own folder.
      flag: that names it, for messages.

    Raises:
      ValueError: there is none, or it is held.
    """
    folder = _place(location)
    if folder.name == LATEST and not folder.is_dir():
        folder = folder.parent
    if is_version(folder):
        if not may_be_held:
            _refuse_held(folder, flag)
        return folder
    if not folder.is_dir():
        raise no_model(folder, "no such folder", flag=flag)
    latest = folder / LATEST
    if latest.is_file():
        number, reason = latest.read_text(encoding="utf-8").strip(), f"by {latest}"
        if not _is_number(number) or not is_version(folder / number):
            raise no_model(
                latest,
                f"it names {shown(number)}, which is no version there",
                flag=flag,
            )
    else:
        highest = _highest(folder, flag)
        if highest is None:
            raise no_model(
                folder,
                "all versions in it are held",
                mend=_PROMOTE.format(folder=folder, number="NUMBER"),
                flag=flag,
            )
        number, reason = highest, "the highest number"
    _logger.info("%s: version %s (%s).", folder, number, reason)
    return folder / number


def no_model(
    place: Path, received: str, mend: str = "", *, flag: str = "saved_model"
) -> ValueError:
    """The error for a place that holds no model."""
    return ValueError(
        message(
            f"--{flag} must be the folder of a SavedModel, or one of numbered ones",
            received=f"{place}: {received}",
            mend=mend,
        )
    )


def _refuse_held(version: Path, flag: str) -> None:
    if manifest.status(version) != manifest.HELD:
        return
    raise ValueError(
        message(
            f"--{flag} must be a version that is promoted",
            received=f"{version}, which is held:"
            f" {manifest.read(version).get('status_reason')}",
            mend="give the folder above it for the version that serves, or promote this"
            f" one: {_PROMOTE.format(folder=version.parent, number=version.name)}",
        )
    )


def _highest(folder: Path, flag: str = "saved_model") -> str | None:
    """The highest number that is complete and not held; None: all are held."""
    versions = [path.name for path in folder.iterdir() if is_version(path)]
    numbered = [name for name in versions if _is_number(name)]
    if not numbered:
        hint = f" (did you mean {folder / max(versions)}?)" if versions else ""
        raise no_model(folder, f"no {SAVED_MODEL} in it{hint}", flag=flag)
    by_number = sorted(numbered, key=int, reverse=True)
    is_held = (manifest.status(folder / name) == manifest.HELD for name in by_number)
    return next((name for name, held in zip(by_number, is_held) if not held), None)


def _is_number(name: str) -> bool:
    # Not str.isdecimal, which takes the digits of every script.
    return re.fullmatch("[0-9]+", name) is not None


def _claims(folder: Path) -> dict[Path, int]:
    """The numbers that processes work on, by claim."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    matches = map(_CLAIM.fullmatch, names)
    claims = {folder / match[0]: int(match[1]) for match in matches if match}
    return {claim: number for claim, number in claims.items() if not _is_left(claim)}


def _is_left(claim: Path) -> bool:
    """Whether it is a dead process's; then it goes."""
    if not isinstance(claim, pathlib.Path):
        return False
    with locks.unused(claim, if_unknown=False) as is_left:
        if is_left:
            storage.remove(claim)
        return is_left


def _claim(folder: Path, number: int, undo: contextlib.ExitStack) -> bool:
    """Claims a number until `undo` is closed; false: another process has it."""
    if isinstance(folder, pathlib.Path):
        place = folder / f".{number}.claimed"
        try:
            place.mkdir()
        except FileExistsError:
            return False
        try:
            handle = os.open(place, os.O_RDONLY)
        except FileNotFoundError:  # Taken for a dead process's just before.
            return False
        if not locks.is_ours(handle, place):
            os.close(handle)
            return False
        undo.callback(os.close, handle)
        # Before the lock goes: afterwards it may be another process's.
        undo.callback(storage.remove, place)
        return True
    claim = folder / f".{number}.claimed-{uuid.uuid4().hex}"
    storage.write_text(claim, "claimed")
    undo.callback(storage.remove, claim)
    # Whoever lists last sees both, so at most one goes on. Both may give way.
    if list(_claims(folder).values()).count(number) == 1:
        return True
    undo.close()
    time.sleep(random.uniform(0, _MAX_WAIT_SECS))
    return False


def _remove_version(place: Path) -> None:
    """Takes its number from a version first: half a version has no name to be served."""
    if isinstance(place, pathlib.Path):
        storage.set_aside(place)
    else:
        storage.remove(place)


def _place(location: str) -> Path:
    if "://" not in location:
        return pathlib.Path(location).expanduser()
    stack.load()
    return storage.path(location)

"""Files that are whole or not there, on disks and wherever TensorFlow's schemes reach.

    folder = storage.path("gs://bucket/runs/a")     # or /runs/a, ~/runs/a
    storage.write_text(folder / "report.json", text)
    with storage.new_directory(folder / "export" / "1") as unfinished:
        ...  # write into `unfinished`; it gets its name when the block ends well

What is written gets its name when it is finished: by a rename, on a disk; elsewhere
by a copy, the file that makes a folder valid last. Until then its writer holds a lock
on it, which goes with the process, however that ends: so `remove_leftovers` can tell
what nobody will finish.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import posixpath
import re
import shutil
import tempfile
import time
import uuid
from typing import Any, Iterable, Iterator

from trainer import locks
from trainer.messages import message

_SCHEME = re.compile("([A-Za-z][A-Za-z0-9+.-]*)://")
# What makes a pattern of a name for TensorFlow's file systems.
_WILDCARD = re.compile(r"[*?[\\]")
# What is not finished, by the names that `tempfile` makes.
_UNFINISHED = re.compile(r"\..+\.(tmp-[a-z0-9_]{8}|[a-z0-9_]{8}\.tmp)")
# Where a file system has no locks on folders (NFS), what has not changed for so long.
_SURELY_DEAD_SECS = 24 * 3600.0
# A model server takes a folder for a model as soon as the first is in it, and the
# program as soon as either is: so both follow all others.
_LAST_FILES = ("saved_model.pb", "manifest.json")


def _tf() -> Any:
    """TensorFlow, which only places with a scheme need: a disk does not wait for it."""
    import tensorflow

    return tensorflow


class RemotePath(os.PathLike[str]):
    """A place with a scheme, such as gs://bucket/runs/a, used like a pathlib.Path.

    Its errors are TensorFlow's (tf.errors.OpError).
    """

    def __init__(self, location: str) -> None:
        self._location = location.rstrip("/")

    def __fspath__(self) -> str:
        return self._location

    __str__ = __fspath__

    def __repr__(self) -> str:
        return f"RemotePath({self._location!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self._location)

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self._location}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return posixpath.basename(self._location)

    @property
    def parent(self) -> "RemotePath":
        """All but the last part."""
        return RemotePath(posixpath.dirname(self._location))

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return bool(_tf().io.gfile.isdir(self._location))

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(_tf().io.gfile.exists(self._location)) and not self.is_dir()

    def iterdir(self) -> Iterator["RemotePath"]:
        """What is in the folder."""
        for name in _tf().io.gfile.listdir(self._location):
            yield self / name.rstrip("/")

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None:
        """Makes the folder, with those above it; one that is there is fine."""
        assert parents and exist_ok
        _tf().io.gfile.makedirs(self._location)

    def open(self, mode: str = "r", *, encoding: str = "utf-8") -> Any:
        """A file object, to be used in a `with` statement."""
        return _tf().io.gfile.GFile(self._location, mode)

    def read_text(self, *, encoding: str = "utf-8") -> str:
        """The file's text."""
        with self.open() as file:
            return str(file.read())

    def unlink(self) -> None:
        """Removes the file."""
        _tf().io.gfile.remove(self._location)


Path = pathlib.Path | RemotePath


def path(location: str) -> Path:
    """A place by its name: local, `~` included, or with a scheme.

    Raises:
      ValueError: TensorFlow does not know the scheme, or cannot read from there.
    """
    match = _SCHEME.match(location)
    if match is None:
        return pathlib.Path(location).expanduser()
    if _WILDCARD.search(location):
        # No link helps there, and Google's own tools trip over such names as well.
        raise ValueError(
            message(
                "a place with a scheme must not have *, ?, [ or \\ in its name, which "
                "TensorFlow takes for a pattern",
                received=location,
                mend="give it another name",
            )
        )
    known = sorted(filter(None, _tf().io.gfile.get_registered_schemes()))
    if match[1] not in known:
        raise ValueError(
            f"{location}: TensorFlow here knows the schemes "
            f"{', '.join(f'{name}://' for name in known)}; for gs:// install "
            "tensorflow[gcs-filesystem], which is the extra `gcs` of this program"
        )
    return RemotePath(location)


@contextlib.contextmanager
def literal(folder: Path) -> Iterator[Path]:
    """The folder by a name that TensorFlow's readers of checkpoints take as it is.

    They match the name as a pattern, and then open what it says to the letter: so
    neither `a[1]` nor `a\\[1]` can be read. Where a name has a wildcard it is read
    through a link that has none.
    """
    if not _WILDCARD.search(str(folder)):
        yield folder
        return
    with scratch("trainer-literal") as beside:
        link = beside / "folder"
        link.symlink_to(os.path.abspath(folder), target_is_directory=True)
        yield link


@contextlib.contextmanager
def naming_full_disk() -> Iterator[None]:
    """Raises OSError, as Python does, where TensorFlow finds no room on a disk."""
    try:
        yield
    except _tf().errors.OpError as error:
        message = str(error.message)
        if os.strerror(errno.ENOSPC) not in message:
            raise
        raise OSError(errno.ENOSPC, message) from error


def remove(place: Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if isinstance(place, RemotePath):
        with contextlib.suppress(_tf().errors.NotFoundError):
            (_tf().io.gfile.rmtree if place.is_dir() else _tf().io.gfile.remove)(
                str(place)
            )
    elif place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


def write_text(place: str | Path, text: str) -> None:
    """Writes a UTF-8 file so that readers find the old or the new one, whole."""
    write_parts(place, (text,))


def write_parts(place: str | Path, parts: Iterable[str]) -> None:
    """The same, of a text whose parts are made as they are written."""
    _write(place, parts, mode="w")


def write_bytes(place: str | Path, content: bytes) -> None:
    """The same, of a file that is no text."""
    _write(place, (content,), mode="wb")


def _write(place: str | Path, parts: Iterable[Any], *, mode: str) -> None:
    target = path(place) if isinstance(place, str) else place
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(target, RemotePath):
        copy = target.parent / f".{target.name}.{os.getpid()}.tmp"
        with copy.open(mode) as file:
            for part in parts:
                file.write(part)
        _tf().io.gfile.rename(str(copy), str(target), overwrite=True)
        return
    encoding = None if mode == "wb" else "utf-8"
    with new_file(target) as unfinished:
        with open(unfinished, mode, encoding=encoding) as file:
            file.writelines(parts)


@contextlib.contextmanager
def new_file(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file to fill, moved to `target` if the block ends without an error.

    What is there by that name is replaced.
    """
    handle, temporary = _own_file(target)
    try:
        yield pathlib.Path(temporary)
        os.fsync(handle)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(handle)


def _own_file(target: pathlib.Path) -> tuple[int, str]:
    """A new file beside the target, open, and locked until it is closed."""
    while True:
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
        )
        if locks.is_ours(handle, name):
            return handle, name
        os.close(handle)


def _own_directory(parent: str | pathlib.Path, name: str) -> tuple[int, str]:
    """A new folder, and what holds its lock until it is closed."""
    while True:
        place = tempfile.mkdtemp(dir=parent, prefix=f".{name}.tmp-")
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(place, os.O_RDONLY)
            if locks.is_ours(handle, place):
                return handle, place
            os.close(handle)


def remove_leftovers(folder: Path, *, of: str = "") -> None:
    """Removes what processes that are no more had not finished writing in a folder.

    On disks: elsewhere a file is seen only when it is whole, and a folder's copy has
    its own name.

    Args:
      of: the name that it was to get; empty: any.
    """
    if isinstance(folder, RemotePath):
        return
    try:
        places = list(folder.iterdir())
    except OSError:  # Not made yet, or not ours to clean.
        return
    for place in places:
        if not _UNFINISHED.fullmatch(place.name):
            continue
        if of and not place.name.startswith(f".{of}."):
            continue
        with contextlib.suppress(OSError):
            is_old = time.time() - place.stat().st_mtime > _SURELY_DEAD_SECS
            with locks.unused(place, if_unknown=is_old) as is_dead:
                if is_dead:
                    remove(place)


def set_aside(place: pathlib.Path) -> None:
    """Takes its name from a file or folder, which goes when nobody uses it."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, place.with_name(f".{place.name}.tmp-{uuid.uuid4().hex[:8]}"))
    remove_leftovers(place.parent, of=place.name)


@contextlib.contextmanager
def new_directory(place: str | Path, *, keep_existing: bool) -> Iterator[pathlib.Path]:
    """A local folder to fill, moved to `place` if the block ends without an error.

    Args:
      keep_existing: what to do where another process has made `place` meanwhile: true
        keeps that one and drops ours, for folders whose content follows from their
        name; false raises ValueError.
    """
    target = path(place) if isinstance(place, str) else place
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(target, RemotePath):
        with scratch(target.name) as unfinished:
            yield unfinished
            if not target.is_dir() or not keep_existing:
                _refuse_taken(target)
                _upload(unfinished, target)
        return
    with _directory(target.parent, target.name) as temporary:
        os.chmod(temporary, 0o777 & ~_umask())
        yield temporary
        _rename(temporary, target, keep_existing=keep_existing)


@contextlib.contextmanager
def scratch(name: str) -> Iterator[pathlib.Path]:
    """A folder for the block alone, in the system's place for those.

    Args:
      name: a part of its own; what dead processes left of this name goes.
    """
    parent = pathlib.Path(tempfile.gettempdir())
    remove_leftovers(parent, of=name)
    with _directory(parent, name) as folder:
        yield folder


@contextlib.contextmanager
def _directory(parent: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """A folder that is locked while the block runs, and then removed if it is there."""
    handle, temporary = _own_directory(parent, name)
    try:
        yield pathlib.Path(temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _rename(
    temporary: pathlib.Path, target: pathlib.Path, *, keep_existing: bool
) -> None:
    if not keep_existing:
        # A rename would take the place of an empty folder without a word.
        _refuse_taken(target)
    try:
        os.rename(temporary, target)
    except OSError:
        if not keep_existing:
            _refuse_taken(target)
        if not target.is_dir():
            raise


def _refuse_taken(target: Path) -> None:
    if target.is_dir():
        raise ValueError(
            message(
                f"{target} must not be there yet",
                received="a folder that another process made meanwhile",
                mend="start again, and the next name is taken",
            )
        )


def _upload(source: pathlib.Path, target: RemotePath) -> None:
    files = [file for file in source.rglob("*") if file.is_file()]
    order = {name: 1 + index for index, name in enumerate(_LAST_FILES)}
    for file in sorted(files, key=lambda file: (order.get(file.name, 0), file)):
        copy = target / file.relative_to(source).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        _tf().io.gfile.copy(str(file), str(copy), overwrite=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask

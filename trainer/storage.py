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
import sys
import tempfile
import time
import uuid
from typing import Any, Iterable, Iterator

from trainer import locks
from trainer.messages import message

_SCHEME = re.compile("([A-Za-z][A-Za-z0-9+.-]*)://")
# Errors by which the system refuses a place, so that a restart would meet them again;
# and what to do.
_NAME_ANOTHER = "or name another place"
MENDS = {
    errno.EACCES: f"check its permissions, {_NAME_ANOTHER}",
    errno.EPERM: f"check its permissions, {_NAME_ANOTHER}",
    errno.EROFS: f"have it mounted for writing, {_NAME_ANOTHER}",
    errno.ENOTDIR: f"remove the file that is in the way, {_NAME_ANOTHER}",
    errno.EEXIST: f"remove what is in the way, {_NAME_ANOTHER}",
    errno.EISDIR: "name a file in it",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: f"mend the link, {_NAME_ANOTHER}",
    errno.ENOSPC: "make room, and start again",
    errno.EDQUOT: "make room, and start again",
    errno.EFBIG: "raise the limit (ulimit -f), and start again",
}
# All that NumPy says of a full disk.
_SHORT_WRITE = re.compile("[0-9]+ requested and [0-9]+ written")
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
            "tensorflow[gcs-filesystem], which is the extra `gcs` of this program and "
            "exists up to Python 3.12"
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
    with scratch("trainer-literal", parent=_literal_parent()) as beside:
        link = beside / "folder"
        link.symlink_to(os.path.abspath(folder), target_is_directory=True)
        yield link


def _literal_parent() -> pathlib.Path:
    """The place for temporary folders, or another whose name has no wildcard."""
    usual = tempfile.gettempdir()
    if not _WILDCARD.search(usual):
        return pathlib.Path(usual)
    others = (pathlib.Path(place) for place in ("/tmp", "/var/tmp", "/dev/shm"))
    for place in others:
        if os.access(place, os.W_OK | os.X_OK):
            return place
    raise ValueError(
        message(
            "the folder for temporary files must have a name without [ ] * ?, or /tmp "
            "be writable",
            received=usual,
            mend="set TMPDIR to another folder",
        )
    )


@contextlib.contextmanager
def naming_place(place: str | Path) -> Iterator[None]:
    """Adds the place to errors of the system that name none, as those of a write."""
    try:
        yield
    except OSError as error:
        if error.errno is None and _SHORT_WRITE.fullmatch(str(error)):
            error.errno, error.strerror = errno.ENOSPC, os.strerror(errno.ENOSPC)
        if error.errno is not None and error.filename is None:
            error.filename = str(place)
        raise


@contextlib.contextmanager
def naming_refusals() -> Iterator[None]:
    """Raises OSError, as Python does, where TensorFlow is refused a place."""
    errors = _tf().errors
    try:
        yield
    except errors.OpError as error:
        for number in MENDS:
            # "{{node …}} /runs/a/x; No space left on device [Op:SaveV2]"
            pattern = rf"(?:\{{\{{.*?\}}\}} )?(.+); {re.escape(os.strerror(number))}"
            if match := re.match(pattern, str(error.message)):
                raise OSError(number, os.strerror(number), match[1]) from error
        # A bucket's, in many words.
        what = " ".join(str(error.message).split())
        if isinstance(
            error, (errors.PermissionDeniedError, errors.UnauthenticatedError)
        ):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), what) from error
        raise


def make_room(place: pathlib.Path, num_bytes: int) -> None:
    """Makes a file of so many bytes, whose room on the disk is sure.

    A file that is mapped into memory without it ends the process with SIGBUS when the
    disk is full.
    """
    with naming_place(place), place.open("wb") as file:
        if sys.platform == "linux":
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        else:
            file.truncate(num_bytes)


def check_writable(place: Path, *, is_file: bool) -> None:
    """Tries whether a place can be written, for what is written much later.

    Nothing is left of it.

    Args:
      place: need not be there, nor the folders above it.
      is_file: whether a file is to be written; else a folder, and files in it.

    Raises:
      OSError: it cannot be; the error names the place.
    """
    if isinstance(place, RemotePath):
        return
    above = place.absolute().parents
    try:
        folder = next(each for each in (place, *above) if _is_there(each))
        if is_file and folder == place:
            folder = above[0]
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        # Folders that take no files, as those of /proc, say that there is no such file.
        number = errno.EACCES if error.errno == errno.ENOENT else error.errno or 0
        raise OSError(number, os.strerror(number), str(place)) from error


def _is_there(place: pathlib.Path) -> bool:
    """Unlike pathlib's `exists`, raises OSError where a file is on the way."""
    try:
        place.stat()
    except FileNotFoundError:
        return False
    return True


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
    try:
        _write_whole(target, parts, mode=mode)
    except OSError as error:
        # None, or the temporary file's, which tells a user nothing.
        error.filename = str(target)
        raise


def _write_whole(target: Path, parts: Iterable[Any], *, mode: str) -> None:
    if isinstance(target, RemotePath):
        with naming_refusals():
            _write_elsewhere(target, parts, mode=mode)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
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


def _write_elsewhere(target: RemotePath, parts: Iterable[Any], *, mode: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f".{target.name}.{os.getpid()}.tmp"
    with unfinished.open(mode) as file:
        for part in parts:
            file.write(part)
    _tf().io.gfile.rename(str(unfinished), str(target), overwrite=True)


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
            with naming_place(unfinished):
                yield unfinished
            if not target.is_dir() or not keep_existing:
                _refuse_taken(target)
                _upload(unfinished, target)
        return
    with _directory(target.parent, target.name) as temporary:
        os.chmod(temporary, 0o777 & ~_umask())
        with naming_place(target):
            yield temporary
        _rename(temporary, target, keep_existing=keep_existing)


@contextlib.contextmanager
def scratch(name: str, *, parent: pathlib.Path | None = None) -> Iterator[pathlib.Path]:
    """A folder for the block alone.

    Args:
      name: a part of its own; what dead processes left of this name goes.
      parent: where it is; None: in the system's place for those.
    """
    parent = parent or pathlib.Path(tempfile.gettempdir())
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

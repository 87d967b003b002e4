"""Files that are whole or not there: written aside, then renamed.

with storage.new_directory("/cache/tokens/ab12") as folder:
    ...  # write into `folder`; it gets its name when the block ends well
storage.write_text("/runs/a/report.json", text)
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import tempfile
from typing import Iterator


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file so that readers find the old or the new one, whole."""
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def new_directory(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A folder to fill, renamed to `path` if the block ends without an error.

    Where another process has made `path` meanwhile, that one stays and ours goes:
    use it for folders whose content follows from their name, or check first.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.tmp-")
    try:
        os.chmod(temporary, 0o777 & ~_umask())
        yield pathlib.Path(temporary)
        try:
            os.rename(temporary, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask

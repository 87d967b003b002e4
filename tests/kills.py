"""Kills a process before each of its file operations, one kill a process.

    for folder in kills.before_each("tests.serving.test_resumable:write_in", tmp_path):
        ...  # what the process that was killed before its n-th operation has left

The operations are those that Python tells its audit hooks of: what opens a file to
write, and what renames, removes or makes one. Nothing of the program is replaced.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import signal
import subprocess
import sys
from typing import Any, Iterator

_EVENTS = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_ROOT = pathlib.Path(__file__).parent.parent


def before_each(action: str, root: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder a kill, after the action has run in it up to there.

    Args:
      action: MODULE:FUNCTION, called with the folder; it starts no threads before.
      root: of the folders, which are made.

    Raises:
      AssertionError: the action fails, or has no operations.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.kills", action, str(root)],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folders = sorted(root.iterdir(), key=lambda folder: int(folder.name))
    # In the last one nothing was killed.
    assert len(folders) > 2, "nothing was written"
    yield from folders[:-1]


def _main(action: str, root: pathlib.Path) -> None:
    """Forks a process a kill, until one comes to its end."""
    module, _, name = action.partition(":")
    function = getattr(importlib.import_module(module), name)
    status, number = signal.SIGKILL.value, 0
    while status == signal.SIGKILL:
        number += 1
        folder = root / str(number)
        folder.mkdir()
        process = os.fork()
        if not process:
            _kill_before(number, folder)
            function(folder)
            os._exit(0)
        _, status = os.waitpid(process, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


def _kill_before(number: int, folder: pathlib.Path) -> None:
    """Has this process killed before an operation in a folder, counted from 1."""
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        is_writing = event in _EVENTS or (
            event == "open" and bool(arguments[2] & _WRITING)
        )
        # A name may be relative to a folder that is open: `shutil.rmtree` does that.
        names = [
            str(name) for name in arguments if isinstance(name, (str, os.PathLike))
        ]
        is_there = any(name.startswith(str(folder)) for name in names)
        if is_writing and (is_there or event in ("os.remove", "os.rmdir")):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _main(sys.argv[1], pathlib.Path(sys.argv[2]))

"""Before a version serves: a fresh process loads it and answers its warm-up requests.

    canary.check(folder)        # ValueError where it does not

What exported a model has it in memory, with all that this process ever loaded; a server
has the folder alone. `python -m trainer.serving.canary FOLDER` is that process.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from trainer.messages import message
from trainer.serving import versions

if TYPE_CHECKING:  # It imports TensorFlow.
    from trainer.storage import Path

_MAX_SECS = 600.0
_MAX_LINES = 5


def check(folder: Path) -> None:
    """Tries a version.

    Raises:
      ValueError: it cannot be loaded, or does not answer, within ten minutes.
    """
    if not (folder / versions.SAVED_MODEL).is_file():
        return  # Of a format that no server of TensorFlow's loads.
    command = [sys.executable, "-m", "trainer.serving.canary", str(folder)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_MAX_SECS, check=False
        )
        said = done.stderr.strip().splitlines()[-_MAX_LINES:] if done.returncode else []
        failed = bool(done.returncode)
    except subprocess.TimeoutExpired:
        failed, said = True, [f"no answer within {_MAX_SECS:.0f} seconds"]
    if failed:
        raise ValueError(
            message(
                f"{folder} must load in a fresh process, and answer its warm-up requests",
                received=" ".join(said) or "a process that was killed",
                mend="export again; what serves was left as it is",
            )
        )


def main() -> None:
    from trainer import stack, storage
    from trainer.serving.local.model import Model

    stack.load()
    folder = storage.path(sys.argv[1])
    model = Model(folder, "canary")
    print(f"{model.warm_up(folder)} warm-up requests answered")


if __name__ == "__main__":
    main()

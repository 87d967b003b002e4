"""Whether a library of an extra is installed, and what to say where it is not.

extras.has("rensa")
extras.require("rensa", asked_for="--split_near_duplicates=together")
"""

from __future__ import annotations

import importlib.util

from trainer.messages import message

INSTALL = "python -m pip install -c constraints.txt -e '.[audit]'"


def has(library: str) -> bool:
    """Whether it can be imported; it is not imported here."""
    return importlib.util.find_spec(library) is not None


def require(library: str, *, asked_for: str) -> None:
    """Raises ValueError where a library of the extra `audit` is missing.

    Args:
      library: its name in Python.
      asked_for: what cannot be done without it.
    """
    if not has(library):
        raise ValueError(
            message(
                f"{asked_for} needs the extra 'audit'",
                received=f"an environment without {library}",
                mend=f"install it with {INSTALL}",
            )
        )

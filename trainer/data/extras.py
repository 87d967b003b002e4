"""Whether a library of an extra is installed, and what to say where it is not.

extras.has("rensa")
extras.require("rensa", asked_for="--split_near_duplicates=together")
"""

from __future__ import annotations

import importlib.util

from trainer.messages import message

_INSTALL = "python -m pip install -c constraints.txt -e '.[{extra}]'"
INSTALL = _INSTALL.format(extra="audit")


def has(library: str) -> bool:
    """Whether it can be imported; it is not imported here."""
    return importlib.util.find_spec(library) is not None


def require(library: str, *, asked_for: str, extra: str = "audit") -> None:
    """Raises ValueError where a library of an extra is missing.

    Args:
      library: its name in Python.
      asked_for: what cannot be done without it.
      extra: that brings it.
    """
    if not has(library):
        raise ValueError(
            message(
                f"{asked_for} needs the extra '{extra}'",
                received=f"an environment without {library}",
                mend=f"install it with {_INSTALL.format(extra=extra)}",
            )
        )

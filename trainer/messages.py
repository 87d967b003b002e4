"""How an error speaks to a user: the rule, what was received, the mend.

    raise ValueError(
        message(
            "--seed must be below 2147483648",
            received=f"seed={seed}",
            mend="give a smaller one",
        )
    )
    # --seed must be below 2147483648. Received: seed=2147483648; give a smaller one

Every message of this program that a user may see has this one form.
"""

from __future__ import annotations

import difflib
import reprlib
import textwrap
from typing import Iterable


def message(rule: str, *, received: object, mend: str = "", place: str = "") -> str:
    """One sentence for a user.

    Args:
      rule: what holds, or what was expected, without a full stop.
      received: what there was instead.
      mend: what to do about it, and it has to help. Empty where the rule says it.
      place: where it was: a file, or a file and a line, as FILE:LINE.
    """
    where = f"{place}: " if place else ""
    return f"{where}{rule}. Received: {received}{'; ' if mend else ''}{mend}"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question to append to a message, or an empty string if none is alike."""
    by_plain_name = {other.strip().lower(): other for other in names}
    alike = difflib.get_close_matches(name.strip().lower(), by_plain_name, n=1)
    return f" (did you mean {by_plain_name[alike[0]]!r}?)" if alike else ""


def shown(value: object, *, limit: int = 60) -> str:
    """A value as a message shows it: quoted, and cut where it is long."""
    cut = value[:limit] if isinstance(value, (str, bytes)) else value
    try:
        text = repr(cut)
    except RecursionError:
        # Lists in lists: the outer ones, which are more than a message shows.
        text = reprlib.repr(cut)
    is_cut = len(text) > limit + 2 or cut != value
    return text[: limit + 2] + "..." if is_cut else text


def filled(text: str, *, first: str = "", rest: str = "", columns: int = 100) -> str:
    """Text for people in lines of `columns`; a path or a flag is never cut.

    Args:
      first: what the first line begins with.
      rest: what the others begin with.
    """
    return textwrap.fill(
        text,
        columns,
        initial_indent=first,
        subsequent_indent=rest,
        # Nobody could copy them.
        break_long_words=False,
        break_on_hyphens=False,
    )

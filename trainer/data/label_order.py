"""The order of labels: the numbers that they are, and whether they stand in it.

    numbers(("1", "2.5"))           # [1.0, 2.5]
    numbers(("low", "high"))        # None: words
    faults(("high", "low"), are_named=False)    # ["the labels of --task=ordinal ..."]

Words have an order that only people know; the alphabet's is none.
"""

from __future__ import annotations

import re
from typing import Sequence

from trainer.messages import message

_MOST_SHOWN = 20
# What float() takes besides, infinities and underscores, are words.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?", re.ASCII)


def numbers(names: Sequence[str]) -> list[float] | None:
    """The numbers that all labels are; None: they are words."""
    if not all(map(_NUMBER.fullmatch, names)):
        return None
    return [float(name) for name in names]


def faults(names: Sequence[str], *, are_named: bool) -> list[str]:
    """What is wrong with the order of labels: sentences.

    Args:
      names: the labels, in the order that they would have.
      are_named: whether the user named them in this order.
    """
    found = numbers(names)
    if found is None:
        if are_named:
            return []
        rule = "the labels of --task=ordinal must be numbers, or be named in order"
        mend = f"give --label_names={','.join(names)}, from the lowest to the highest"
    else:
        ordered = sorted(names, key=float)
        if found == sorted(found) or are_named and found == sorted(found)[::-1]:
            return []
        rule = "labels of --task=ordinal that are numbers must be in their order"
        mend = f"give --label_names={','.join(ordered)}"
    shown = ", ".join(names[:_MOST_SHOWN])
    return [message(rule, received=shown, mend=mend)]

"""Whether labels that were found in the data stand in their order.

    faults(("1", "2", "10"))        # []
    faults(("high", "low"))         # ["the labels of --task=ordinal must be ..."]

Words have an order that only people know; the alphabet's is none.
"""

from __future__ import annotations

from typing import Sequence

from trainer.messages import message

_MOST_SHOWN = 20


def faults(names: Sequence[str]) -> list[str]:
    """What is wrong with the order of labels that nobody named: sentences.

    Args:
      names: the labels found, in the order that they would have.
    """
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        rule = "the labels of --task=ordinal must be numbers, or be named in order"
        example = ",".join(names[:_MOST_SHOWN])
        mend = f"give --label_names={example}, from the lowest to the highest"
    else:
        if numbers == sorted(numbers):
            return []
        rule = "the labels of --task=ordinal must be named in order where they are no "
        rule += "whole numbers"
        ordered = sorted(names, key=float)
        mend = f"give --label_names={','.join(ordered)}"
    return [message(rule, received=", ".join(names[:_MOST_SHOWN]), mend=mend)]

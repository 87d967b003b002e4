"""Old texts to train on beside new ones: which of them may be, and which are drawn.

    candidates = of_source(old, of_old, new=new, is_train=..., is_held_out=..., ...)
    candidates.is_left                      # bool [n], of the rows of --replay_dataset
    num_wanted(700, fraction=0.3)           # 300: with 700 new rows, 30% of the rows

An old text may be trained on if nobody is measured on it: neither this run nor the model
that it begins from. What is held out here is compared text by text (and group by group).
What was held out there is told by the texts which that model has seen, where it tells
them; else by the rule of --test_one_in, which every run without splits of its own goes
by. A text that stands among the new training texts is left out too: its new label counts.
"""

from __future__ import annotations

import dataclasses
from typing import Callable

import numpy as np

from trainer.data import held_out
from trainer.data.duplicates import numbered
from trainer.messages import message

# Digests of normal forms, uint8 [n, 32] → bool [n]: whether a text is none that the
# model begun from was measured on.
MayReplay = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Replayed:
    """What became of the rows of --replay_dataset.

    Attributes:
      num_rows: that were read.
      num_held_out_here: whose text, or group, this run holds out.
      num_new: of the others, whose text is among the new training texts.
      num_held_out_there: of the others, whose text the model begun from was not trained
        or chosen on.
      num_drawn: that are trained on.
      wanted_fraction: --replay_fraction.
      fraction: of the training rows, those that were drawn.
    """

    num_rows: int
    num_held_out_here: int
    num_new: int
    num_held_out_there: int
    num_drawn: int = 0
    wanted_fraction: float = 0.0
    fraction: float = 0.0

    @property
    def note(self) -> str:
        """A sentence on what was left out and what was drawn."""
        short = self.fraction < self.wanted_fraction - 0.005
        return (
            f"{self.num_drawn:,} of the training texts are old ones "
            f"({self.fraction:.0%}{', for there are no more' if short else ''}), of "
            f"{self.num_rows:,} in --replay_dataset; left out of these: "
            f"{self.num_held_out_here:,} held out in this run, "
            f"{self.num_held_out_there:,} held out from the model before, "
            f"{self.num_new:,} that are among the new texts"
        )


def candidates(
    texts: np.ndarray,
    *,
    held_out_here: np.ndarray,
    has_held_out_group: np.ndarray,
    new: np.ndarray,
    may_replay: MayReplay | None,
    test_one_in: int,
) -> tuple[np.ndarray, Replayed]:
    """Which old rows may be trained on, and why the others may not.

    Args:
      texts: uint8 [n, 32], digests of the normal forms of the old texts.
      held_out_here: uint8 [m, 32], of the texts that this run holds out.
      has_held_out_group: bool [n].
      new: uint8 [k, 32], of the new training texts.
      may_replay: None: by the rule of the shares.
      test_one_in: of that rule.

    Returns:
      bool [n]; and the counts, each row in the first that fits.

    Raises:
      ValueError: none may.
    """
    numbers = numbered(np.concatenate([texts, held_out_here, new]))
    own, others, fresh = np.split(
        numbers, [len(texts), len(texts) + len(held_out_here)]
    )
    here = np.isin(own, others) | has_held_out_group
    if may_replay is None:
        there = held_out.share(texts, one_in=test_one_in)
    else:
        there = ~may_replay(texts)
    is_new = np.isin(own, fresh) & ~here
    there &= ~here & ~is_new
    is_left = ~(here | there | is_new)
    counts = Replayed(
        num_rows=len(texts),
        num_held_out_here=int(here.sum()),
        num_held_out_there=int(there.sum()),
        num_new=int(is_new.sum()),
    )
    if not is_left.any():
        raise ValueError(
            message(
                "--replay_dataset must have rows that may be trained on",
                received=f"none of {counts.num_rows:,}: {counts.num_held_out_here:,} are "
                f"held out in this run, {counts.num_held_out_there:,} were held out from "
                f"the model before, {counts.num_new:,} are among the new texts",
                mend="name the texts that the model before was trained on, or leave "
                "--replay_dataset away",
            )
        )
    return is_left, counts


def num_wanted(num_new: int, *, fraction: float) -> int:
    """How many old rows make up this share of old and new rows; at least one."""
    return max(1, round(num_new * fraction / (1 - fraction)))

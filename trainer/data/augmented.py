"""Changed copies of training texts, which join the training split.

    pool, train = with_copies(pool, train, texts, origins, held_out=digests)
    train.augmented.num_added
    pool, train = without_copies(pool, train)           # as they were

A copy that stands in a held-out split would be trained on before it is asked, and one
that is a training text already has a label there: both are left out, and counted. So are
equal copies of texts of several labels, for none of these is the copy's. What looks for
mistakes in the data looks at the texts without copies.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Sequence

import numpy as np
import pyarrow as pa

from trainer.data import places
from trainer.data.duplicates import content_digests, normalized_digests, numbered

if TYPE_CHECKING:  # It imports this module.
    from trainer.data.splits import Pool, Split


@dataclasses.dataclass(frozen=True)
class Augmented:
    """What became of the copies.

    Attributes:
      kinds: of groups whose words are swapped in them.
      num_added: that are trained on.
      num_held_out: whose text a held-out split has.
      num_there: of the others, whose text is among the training texts, or among the
        copies before it.
      num_disagreeing: of the others, equal copies of texts of several labels.
    """

    kinds: tuple[str, ...]
    num_added: int
    num_held_out: int
    num_there: int
    num_disagreeing: int

    @property
    def note(self) -> str:
        """A sentence for the report."""
        return (
            f"{self.num_added:,} of the training texts are copies with words of "
            f"{', '.join(self.kinds)} swapped; left out of these: "
            f"{self.num_held_out:,} that are held out, {self.num_there:,} that are "
            f"there already, {self.num_disagreeing:,} that are copies of texts of "
            "several labels"
        )


def with_copies(
    pool: Pool,
    train: Split,
    texts: Sequence[str],
    origins: np.ndarray,
    *,
    kinds: Sequence[str],
    held_out: np.ndarray,
) -> tuple[Pool, Split]:
    """The pool with the copies at its end, and the training split with their rows.

    Args:
      texts: n copies.
      origins: int64 [n], the rows of the pool that they are copies of: label, group and
        place are theirs.
      kinds: what was swapped.
      held_out: uint8 [k, 32], digests of the normal forms of all texts that are not for
        training.
    """
    array = pa.chunked_array([pa.array(texts, pa.large_string())])
    normal = normalized_digests(array)
    own = normalized_digests(pool.texts)
    numbers = numbered(np.concatenate([held_out, own, normal]))
    of_held_out, of_pool, of_copies = np.split(
        numbers, [len(held_out), len(held_out) + len(own)]
    )
    is_held_out = np.isin(of_copies, of_held_out)
    is_there = np.isin(of_copies, of_pool[train.rows]) & ~is_held_out
    is_disagreeing = _disagree(of_copies, pool.labels[origins])
    is_disagreeing &= ~is_held_out & ~is_there
    is_first = np.zeros(len(texts), bool)
    is_first[np.unique(of_copies, return_index=True)[1]] = True
    is_there |= ~is_first & ~is_held_out & ~is_disagreeing
    is_new = ~is_held_out & ~is_there & ~is_disagreeing
    added, from_rows = array.filter(pa.array(is_new)), origins[is_new]
    groups = pool.group_numbers
    longer = dataclasses.replace(
        pool,
        texts=pa.chunked_array([*pool.texts.chunks, *added.chunks], pa.large_string()),
        labels=np.concatenate([pool.labels, pool.labels[from_rows]]),
        digests=np.concatenate([pool.digests, content_digests(added)]),
        text_numbers=numbered(np.concatenate([own, normal[is_new]])),
        group_numbers=(
            None if groups is None else np.concatenate([groups, groups[from_rows]])
        ),
        places=places.joined([pool.places, pool.places.take(from_rows)]),
    )
    rows = np.arange(len(pool), len(longer))
    facts = Augmented(
        kinds=tuple(kinds),
        num_added=len(rows),
        num_held_out=int(is_held_out.sum()),
        num_there=int(is_there.sum()),
        num_disagreeing=int(is_disagreeing.sum()),
    )
    return longer, dataclasses.replace(
        train,
        rows=np.concatenate([train.rows, rows]),
        augmented=facts,
    )


def without_copies(pool: Pool, train: Split) -> tuple[Pool, Split]:
    """Pool and training split as they were before `with_copies`."""
    if train.augmented is None:
        return pool, train
    end = len(pool) - train.augmented.num_added
    groups = pool.group_numbers
    before = dataclasses.replace(
        pool,
        texts=pool.texts.slice(0, end),
        labels=pool.labels[:end],
        digests=pool.digests[:end],
        text_numbers=pool.text_numbers[:end],
        group_numbers=None if groups is None else groups[:end],
        places=pool.places.take(np.arange(end)),
    )
    rows = train.rows[: len(train) - train.augmented.num_added]
    return before, dataclasses.replace(train, rows=rows, augmented=None)


def _disagree(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether a text stands there with another label too: bool [n].

    Args:
      numbers: int64 [n], equal for equal texts.
      labels: [n], or [n, labels].
    """
    _, first_of, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    is_other = labels != labels[first_of[inverse.ravel()]]
    if labels.ndim > 1:
        is_other = is_other.any(axis=1)
    return np.isin(numbers, numbers[is_other])

"""What is done about groups before training: copies with swapped words, and weights.

    asked = Remedies(config.groups, group_terms=config.checks.group_terms)
    pool, train = asked.with_swapped_copies(pool, train, held_out=digests, seed=0)
    reweighed = asked.reweighed(pool, train, ...)   # None without --reweigh_by

Whether they help is measured after training, by the report's groups.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping, Sequence

import numpy as np

from trainer.config import MIN_SLICE, OWN_TERMS, DataConfig, GroupsConfig
from trainer.data import augmented, columns
from trainer.data.sources import Load
from trainer.data.splits import Pool, Split
from trainer.data.text_rows import TextRows
from trainer.groups import lexicon, mentions
from trainer.groups.augmenting import swapped_copies
from trainer.groups.lexicon import Kind
from trainer.groups.reweighing import Reweighed, reweigh
from trainer.messages import did_you_mean, message


@dataclasses.dataclass(frozen=True)
class Remedies:
    """What is asked for.

    Attributes:
      config: what is done.
      group_terms: the words, see `lexicon.load`.
    """

    config: GroupsConfig = GroupsConfig()
    group_terms: str = OWN_TERMS

    def with_swapped_copies(
        self, pool: Pool, train: Split, *, held_out: np.ndarray, seed: int
    ) -> tuple[Pool, Split]:
        """Adds a copy of each training text that mentions a group of the kinds.

        Args:
          held_out: uint8 [k, 32], digests of the normal forms of texts that are not for
            training.

        Raises:
          ValueError: there is no such kind, or no training text mentions a group.
        """
        flag = "augment_counterfactuals"
        kinds = self._kinds(flag, self.config.augment_counterfactuals)
        rows = train.rows
        texts = TextRows(pool.texts, rows)
        copies = swapped_copies(texts, pool.digests[rows], kinds, seed=seed)
        pool, longer = augmented.with_copies(
            pool,
            train,
            copies.texts,
            rows[copies.origins],
            kinds=list(kinds),
            held_out=held_out,
        )
        if len(longer) == len(train):
            raise ValueError(_no_copies(flag, len(train), longer))
        return pool, longer

    def reweighed(
        self,
        pool: Pool,
        train: Split,
        label_names: Sequence[str],
        *,
        data: DataConfig,
        load: Load,
    ) -> Reweighed | None:
        """The weights of --reweigh_by; None without it.

        Raises:
          ValueError: there is no such kind or column, or fewer than two groups have
            texts enough.
        """
        config, rows = self.config, train.rows
        if not config.reweigh_by:
            return None
        name = config.reweigh_name
        if config.reweigh_source == "terms":
            kinds = self._kinds("reweigh_by", (name,))
            (grouping,) = mentions.groupings(TextRows(pool.texts, rows), kinds)
        else:
            values = columns.values_of(name, data, pool.places.take(rows), load=load)
            grouping = mentions.of_column(name, values)
        return reweigh(
            grouping, pool.labels[rows], label_names=label_names, min_texts=MIN_SLICE
        )

    def _kinds(self, flag: str, names: Sequence[str]) -> Mapping[str, Kind]:
        words = lexicon.load(self.group_terms)
        known = {} if words is None else words.kinds
        for name in names:
            if name not in known:
                raise ValueError(
                    message(
                        f"--{flag} must name kinds of --group_terms={self.group_terms}: "
                        + ", ".join(known),
                        received=name + did_you_mean(name, list(known)),
                    )
                )
        return {name: known[name] for name in names}


def _no_copies(flag: str, num_texts: int, train: Split) -> str:
    """Why there is none."""
    made = train.augmented
    if made is None or not made.num_held_out + made.num_there + made.num_disagreeing:
        return message(
            f"--{flag} needs training texts that mention a group of the kind",
            received=f"none of {num_texts:,}",
            mend="leave it out, or name other words with --group_terms=FILE.json",
        )
    return message(
        f"--{flag} needs copies that are new",
        received=f"{made.num_held_out:,} that are held out, {made.num_there:,} that are "
        f"there already, {made.num_disagreeing:,} of texts of several labels, and no other",
        mend="leave it out",
    )

"""Which part of an input one of several machines answers: `--shard=2/8`.

    shard = shard_of("2/8")
    shard.index, shard.count      # 2, 8
    str(shard)                    # "2/8"

Parts are counted from 0, as schedulers count their tasks (Slurm's arrays, the pods of a
Kubernetes Indexed Job) and as `-00002-of-00008` counts in the names of TFRecord files.
"""

from __future__ import annotations

import dataclasses
import re

from trainer.messages import message

# Five digits in a file's name.
MAX_SHARDS = 99_999


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` parts, `index` from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(text: str) -> Shard:
    """The part that a --shard names.

    Raises:
      ValueError: it names none.
    """
    found = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if not found:
        raise _refused(text, "2/8 is the third of eight parts, 0/8 the first")
    shard = Shard(int(found[1]), int(found[2]))
    if shard.index >= shard.count:
        raise _refused(
            text,
            (
                f"of {shard.count} parts the first is 0/{shard.count} and the last "
                f"{shard.count - 1}/{shard.count}"
                if shard.count
                else "0/1 is all of it"
            ),
        )
    return shard


def _refused(text: str, mend: str) -> ValueError:
    return ValueError(
        message(
            "--shard must be I/N, the part I of N, counted from 0 to N - 1",
            received=f"shard={text}",
            mend=mend,
        )
    )

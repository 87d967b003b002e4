"""Whether a step fits the memory, from shapes alone, and what would make it fit.

workload.memory_bytes()                     # {"weights": 90_852_864, ...}
fewest_parts(workload, limit_bytes)         # 4
remedies(workload, limit_bytes, smaller)    # ("--accumulation_steps=4", ...)
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Mapping

from trainer.modeling.size import EncoderSize

_NUMBER_BYTES = 4
_NUM_MOMENTS = 2
# What comes on top of what a step keeps: room of the libraries, copies that pass by.
_ROOM_BYTES = 100 * 2**20
_SHORTEST_LENGTH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
    """What the memory of a step depends on.

    Attributes:
      size: of the encoder.
      num_head_parameters: weights of the head.
      trainable_share: of the weights.
      rows: of the largest batch of the longest length, of one replica.
      length: the longest, in tokens.
      rows_multiple: what a replica's rows of every batch are a multiple of: they can
        be computed in as many parts as it divides by.
      num_parts: --accumulation_steps.
      num_replicas: that share the memory.
      number_bytes: of a number between the layers: 4, or 2 in bfloat16.
      rematerializes: --rematerialize.
      program_bytes: what the process held before the model.
    """

    size: EncoderSize
    num_head_parameters: int
    trainable_share: float
    rows: int
    length: int
    rows_multiple: int
    num_parts: int
    num_replicas: int
    number_bytes: int
    rematerializes: bool
    program_bytes: int

    @property
    def num_parameters(self) -> int:
        """Weights of encoder and head."""
        return self.size.num_parameters + self.num_head_parameters

    def memory_bytes(self) -> dict[str, int]:
        """By what holds it, where it is the most: in a step of the longest length."""
        weights = self.num_parameters * _NUMBER_BYTES * self.num_replicas
        trained = round(weights * self.trainable_share)
        kept = self.size.kept_bytes(
            rows=-(-self.rows // self.num_parts),
            length=self.length,
            bytes_per_number=self.number_bytes,
            rematerializes=self.rematerializes,
        )
        return {
            "program": self.program_bytes,
            "weights": weights,
            "optimizer": _NUM_MOMENTS * trained,
            "gradients": trained,
            "kept_for_gradients": kept * self.num_replicas + _ROOM_BYTES,
        }

    def total_bytes(self) -> int:
        """The sum of `memory_bytes`."""
        return sum(self.memory_bytes().values())

    def fits(self, limit_bytes: int | None) -> bool:
        """Whether there is enough memory (None: nobody tells how much there is)."""
        return limit_bytes is None or self.total_bytes() <= limit_bytes


def in_parts(workload: Workload) -> Iterator[Workload]:
    """The same in more and more parts, from one on. They cost time alone."""
    for num_parts in range(1, workload.rows_multiple + 1):
        if workload.rows_multiple % num_parts == 0:
            yield dataclasses.replace(workload, num_parts=num_parts)


def fewest_parts(workload: Workload, limit_bytes: int | None) -> int | None:
    """The least number of parts with which a workload fits; None: with none it does."""
    fitting = (each for each in in_parts(workload) if each.fits(limit_bytes))
    return next((each.num_parts for each in fitting), None)


def remedies(
    workload: Workload,
    limit_bytes: int,
    smaller: Mapping[str, EncoderSize],
) -> tuple[str, ...]:
    """Flags of which each makes a workload fit that does not, the mildest first.

    Args:
      smaller: presets that are at hand, by name.
    """

    def fits(**changes: Any) -> bool:
        return dataclasses.replace(workload, **changes).fits(limit_bytes)

    found: list[str] = []
    num_parts = fewest_parts(workload, limit_bytes)
    if num_parts is not None and num_parts != workload.num_parts:
        found.append(f"--accumulation_steps={num_parts}")
    if not workload.rematerializes and fits(rematerializes=True):
        found.append("--rematerialize")
    for length in _shorter_lengths(workload.length):
        if fits(length=length):
            found.append(f"--max_length={length}")
            break
    for name, size in sorted(smaller.items(), key=_by_parameters, reverse=True):
        if fits(size=size):
            found.append(f"--preset={name}")
            break
    return tuple(found)


def _shorter_lengths(length: int) -> Iterator[int]:
    while (length := length // 2) >= _SHORTEST_LENGTH:
        yield length


def _by_parameters(named: tuple[str, EncoderSize]) -> int:
    return named[1].num_parameters

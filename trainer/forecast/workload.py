"""Whether a step fits the memory, from shapes alone, and what would make it fit.

workload.memory_bytes()                     # {"weights": 90_852_864, ...}
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
        return dataclasses.replace(workload, **changes).total_bytes() <= limit_bytes

    found: list[str] = []
    for num_parts in _more_parts(workload):
        if fits(num_parts=num_parts):
            found.append(f"--accumulation_steps={num_parts}")
            break
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


def _more_parts(workload: Workload) -> Iterator[int]:
    """Numbers of parts that a replica's rows divide by. They cost time alone."""
    for num_parts in range(workload.num_parts + 1, workload.rows + 1):
        if workload.rows % num_parts == 0:
            yield num_parts


def _shorter_lengths(length: int) -> Iterator[int]:
    while (length := length // 2) >= _SHORTEST_LENGTH:
        yield length


def _by_parameters(named: tuple[str, EncoderSize]) -> int:
    return named[1].num_parameters

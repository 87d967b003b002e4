"""What a run would take, as types: plan.json has these names.

plan.total_secs, plan.peak_memory_bytes, plan.lengths[0].secs_per_step
"""

from __future__ import annotations

import dataclasses
from typing import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthPlan:
    """The steps of one padded length.

    Attributes:
      length: in tokens.
      rows: of a batch, over all replicas.
      num_steps: of training.
      secs_per_step: None: it was not tried, for it would not fit.
      kept_bytes: reckoned, what a replica keeps from forward to backward pass.
    """

    length: int
    rows: int
    num_steps: int
    secs_per_step: float | None
    kept_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class PresetPlan:
    """What another preset would take, reckoned from what was measured.

    Attributes:
      secs_per_step: None as `total_secs`: nothing was measured.
    """

    preset: str
    num_parameters: int
    secs_per_step: float | None
    total_secs: float | None
    peak_memory_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would take; plan.json has these names.

    Attributes:
      steps: of training.
      lengths: ascending.
      num_parameters: of encoder and head.
      accumulation_steps: in how many parts a replica computes its share of a batch.
      secs_per_step: mean over the steps of the run; None as all times where steps
        would not fit.
      secs: of the parts of the run, by name.
      total_secs: their sum.
      memory_bytes: reckoned for the longest length, by what holds it.
      peak_memory_bytes: of a GPU where there are some, else of the process: what the
        rehearsal held at most, or the sum of `memory_bytes`.
      memory_limit_bytes: what there is; None: nobody tells.
      fits: whether it does.
      remedies: flags of which each would make it fit, the mildest first.
      pretrain_steps: before training, to guess masked tokens.
      disk_bytes: by what is written.
      free_disk_bytes: where --model_dir is; None: nobody tells.
      presets: what others that are on this machine would take, the smallest first.
    """

    steps: int
    steps_per_epoch: int
    num_train_examples: int
    padded_fraction: float
    lengths: tuple[LengthPlan, ...]
    num_parameters: int
    num_trainable_parameters: int
    accumulation_steps: int
    secs_per_step: float | None
    secs: Mapping[str, float]
    total_secs: float | None
    memory_bytes: Mapping[str, int]
    peak_memory_bytes: int
    memory_limit_bytes: int | None
    fits: bool
    remedies: tuple[str, ...]
    disk_bytes: Mapping[str, int]
    free_disk_bytes: int | None
    presets: tuple[PresetPlan, ...]
    pretrain_steps: int = 0

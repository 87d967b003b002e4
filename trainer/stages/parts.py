"""In how many parts a replica computes its share of a batch, and whether that fits.

    parts = reckoned(run, material, classifier, program_bytes)
    parts = tried(run, parts, attempt)      # where devices can be tried
    parts.load.num_parts, parts.fits

--accumulation_steps=auto is the least number with which a step fits the memory. It is
reckoned from shapes first (`forecast/workload.py`). Then a step is tried where a device
says so if its memory is too small: from there on more parts are tried until one fits. A
CPU's process would be killed instead, and so the reckoning decides there. All workers
take the number of the one that needs the most. The batch stays as it is, so that a run
may resume elsewhere with another number.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.data.plans import Batches
from trainer.forecast import table, workload
from trainer.forecast.workload import Workload
from trainer.messages import message
from trainer.modeling import presets
from trainer.modeling.presets import Preset
from trainer.modeling.size import EncoderSize
from trainer.runtime import agreement, memory
from trainer.stages import resolve
from trainer.stages.context import Run
from trainer.stages.prepare import Material

_logger = logging.getLogger(__name__)

_NUMBER_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a training step takes, in the number of parts that was chosen.

    Attributes:
      load: what its memory depends on, the number of parts among it.
      limit_bytes: how much memory there is; None: nobody tells.
      too_small: the machines whose memory does not suffice, by address.
      reason: a sentence on why so many parts; None: their number was given.
    """

    load: Workload
    limit_bytes: int | None
    too_small: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def fits(self) -> bool:
        """Whether a step fits the memory of all workers."""
        return not self.too_small


def program_bytes(run: Run) -> int:
    """What of the memory of the devices is taken before there is a model."""
    return 0 if run.runtime.has_accelerators else memory.held_bytes()


def reckoned(
    run: Run, material: Material, classifier: keras.Model, program_bytes: int
) -> Parts:
    """The parts that were asked for, or the fewest that fit by their shapes.

    Where none fit, the most that there can be. All workers must call it.
    """
    load = _load(run, material, classifier, program_bytes)
    limit = _limit_bytes(run)
    if run.config.training.accumulation_steps != "auto":
        too_small = () if load.fits(limit) else ("this machine",)
        return Parts(load, limit, too_small)
    fewest = workload.fewest_parts(load, limit)
    return _agreed(run, Parts(load, limit), fewest, how="reckoned")


def are_tried(run: Run) -> bool:
    """Whether the number of parts is found by trying, in the end.

    Not of a finished run, which trains no more.
    """
    return (
        run.config.training.accumulation_steps == "auto"
        and run.runtime.has_accelerators
        and not run.folder.is_finished
    )


def tried(run: Run, parts: Parts, attempt: Callable[[int], None]) -> Parts:
    """The fewest parts that fit, from those that were reckoned on.

    All workers must call it.

    Args:
      attempt: does a step in so many parts; raises ResourceExhaustedError.
    """
    fewest = None
    with run.runtime.watchdog.watching("all workers to try a step"):
        for load in workload.in_parts(parts.load):
            if load.num_parts < parts.load.num_parts:
                continue
            run.runtime.watchdog.beat(f"trying a step in {load.num_parts} parts")
            _logger.info("trying a step in %d parts ...", load.num_parts)
            try:
                attempt(load.num_parts)
            except tf.errors.ResourceExhaustedError as error:
                reason = (error.message or "").partition("\n")[0]
                _logger.info("it does not fit: %s", reason)
            else:
                fewest = load.num_parts
                break
    return _agreed(run, parts, fewest, how="tried")


def refuse_unfit(run: Run, parts: Parts, preset: Preset) -> None:
    """Raises ValueError on all workers if auto found no number of parts that fits."""
    is_asked = run.config.training.accumulation_steps == "auto"
    # Of a finished run nothing is left to train.
    if parts.fits or not is_asked or run.folder.is_finished:
        return
    mends = ", ".join(remedies(parts, preset))
    raise ValueError(
        message(
            "--accumulation_steps=auto must have the memory for a step in parts of "
            f"{_rows_a_part(parts.load)}",
            received=f"{_needed(parts)}; too little on {', '.join(parts.too_small)}",
            mend=(
                f"any of these would do: {mends}"
                if mends
                else "a shorter --max_length together with --rematerialize may do"
            ),
        )
    )


def remedies(parts: Parts, preset: Preset) -> tuple[str, ...]:
    """Flags of which each makes a step fit; empty where it does, or none would."""
    if parts.fits:
        return ()
    load = parts.load
    smaller = {
        name: size
        for name, size in presets.at_hand(preset).items()
        if size.num_parameters < load.size.num_parameters
    }
    # A device that was tried may have less than it says.
    most = load.total_bytes() - 1
    return workload.remedies(load, min(parts.limit_bytes or most, most), smaller)


def _load(
    run: Run, material: Material, classifier: keras.Model, program_bytes: int
) -> Workload:
    size = EncoderSize.of_backbone(classifier.backbone)
    num_weights = num_parameters(classifier.weights)
    num_trained = num_parameters(classifier.trainable_weights)
    rows = rows_by_length(material.plan, material.bucket_lengths)
    length = max(rows)
    runtime, training = run.runtime, run.config.training
    multiple = resolve.rows_multiple(
        training, max_text_length=run.config.data.max_text_length
    )
    asked = training.accumulation_steps
    return Workload(
        size=size,
        num_head_parameters=num_weights - size.num_parameters,
        trainable_share=num_trained / num_weights,
        rows=rows[length] // runtime.num_replicas,
        length=length,
        rows_multiple=multiple // runtime.num_replicas,
        num_parts=asked if isinstance(asked, int) else 1,
        num_replicas=1 if runtime.has_accelerators else runtime.num_local_replicas,
        number_bytes=2 if "16" in runtime.precision else _NUMBER_BYTES,
        rematerializes=run.config.runtime.rematerialize,
        program_bytes=program_bytes,
    )


def _limit_bytes(run: Run) -> int | None:
    """What the replicas have; a TPU, whose memory is not the host's, does not tell."""
    if run.runtime.is_on_tpu:
        return None
    return memory.limit_bytes(on_gpu=run.runtime.is_on_gpu)


def _agreed(run: Run, parts: Parts, fewest: int | None, *, how: str) -> Parts:
    """With the most that a worker needs.

    Args:
      fewest: that fit here; None: none do.
    """
    needed = fewest or parts.load.rows_multiple
    cluster, machines, unfit = run.runtime.cluster, ["this machine"], [fewest is None]
    if cluster is not None:
        mine = np.array([needed, fewest is None], np.int32)
        with run.runtime.watchdog.watching("all workers to agree on the parts"):
            shared = agreement.share(run.runtime.strategy, mine)
        # As many rows as a worker has replicas are its.
        by_worker = shared[:: len(shared) // cluster.num_workers]
        needed, unfit = int(by_worker[:, 0].max()), by_worker[:, 1].tolist()
        machines = list(cluster.addresses)
    load = dataclasses.replace(parts.load, num_parts=needed)
    parts = dataclasses.replace(
        parts,
        load=load,
        too_small=tuple(name for name, is_unfit in zip(machines, unfit) if is_unfit),
    )
    reason = (
        f"each replica computes its share of a batch in {needed} "
        f"part{'s' * (needed != 1)} of {_rows_a_part(load)}, {how}: {_needed(parts)}"
    )
    _logger.info("%s", reason)
    return dataclasses.replace(parts, reason=reason)


def _rows_a_part(load: Workload) -> str:
    rows = -(-load.rows // load.num_parts)
    return f"{rows} text{'s' * (rows != 1)} of {load.length} tokens"


def _needed(parts: Parts) -> str:
    needed = f"{table.amount(parts.load.total_bytes())} reckoned"
    if parts.limit_bytes is None:
        return needed
    return f"{needed}, {table.amount(parts.limit_bytes)} there"


def rows_by_length(plan: Batches, bucket_lengths: Sequence[int]) -> dict[int, int]:
    """Rows of a batch of each padded length that a plan has."""
    return {int(bucket_lengths[b]): size for b, size in plan.batch_sizes.items()}


def num_parameters(variables: Iterable[keras.Variable]) -> int:
    """How many numbers they hold."""
    return int(sum(np.prod(variable.shape) for variable in variables))

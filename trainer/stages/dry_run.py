"""Instead of a run: what it would take, in time, memory and disk.

    print(dry_run.run(run), end="")     # a table; plan.json is in --model_dir

Reads the data and plans every batch as the run would; reckons from the model's shape
whether its steps fit the memory; and only then rehearses: compiles the steps as the run
would, and takes the time of a few at each padded length. Nothing is trained, and
plan.json is all that is left.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
import statistics
import time
from typing import Callable, Mapping

import numpy as np

from trainer import environment, storage
from trainer.data.batches import Feed
from trainer.forecast import table, times
from trainer.forecast.plan import LengthPlan, Plan, PresetPlan
from trainer.forecast.times import Rehearsed, Work
from trainer.forecast.workload import Workload
from trainer.modeling import presets
from trainer.modeling.size import EncoderSize
from trainer.stages import build, context, parts, prepare, pretrain
from trainer.stages.build import Built
from trainer.stages.context import Run
from trainer.stages.prepare import Material

# Steps of each padded length that are timed: at least, at most, and until so many
# seconds are over.
_LEAST_STEPS, _MOST_STEPS, _ENOUGH_SECS = 2, 6, 2.0
_NUMBER_BYTES, _NUM_MOMENTS = 4, 2


def run(run: Run) -> str:
    """Plans the run, and returns the table of what it would take.

    Raises:
      ValueError: what the run would be refused for.
    """
    material = prepare.run(run)
    run = context.of_texts(run, material.labels("train"))
    built = build.make(run, material)
    if built.parts.fits:
        built = build.fitted(run, material, built)
    rehearsed = _rehearsed(run, material, built) if built.parts.fits else None
    plan = _plan(run, material, built, rehearsed)
    if run.runtime.is_chief:
        content = json.dumps(dataclasses.asdict(plan), indent=2)
        storage.write_text(run.folder.plan, f"{content}\n")
    return table.of(plan, preset=run.config.model.preset)


def _work(run: Run, material: Material, built: Built) -> Work:
    """After the rehearsal, whose own time is not counted."""
    laps = run.stopwatch.laps
    not_run = laps["compile_secs"] + laps["rehearsal_secs"]
    return Work(
        config=run.config,
        bucket_lengths=material.bucket_lengths,
        train=material.plan,
        before={name: each.plan for name, each in built.evaluators_before.items()},
        after={name: each.plan for name, each in built.evaluators.items()},
        num_texts={name: len(split) for name, split in material.splits.items()},
        eval_batch_size=run.resolved.eval_batch_size,
        num_layers=int(built.classifier.backbone.num_layers),
        num_trainable_parameters=built.facts()["num_trainable_parameters"],
        pretrain_steps=_pretrain_steps(material),
        start_secs=environment.secs_since_start() - not_run,
        compile_secs=laps["compile_secs"],
    )


def _pretrain_steps(material: Material) -> dict[int, int]:
    """Steps that guess masked tokens, by padded length."""
    first = material.pretraining
    if first is None:
        return {}
    return times.steps_by_length(first.plan, first.bucket_lengths)


def _rehearsed(run: Run, material: Material, built: Built) -> Rehearsed:
    build.compile_steps(run, material, built)
    evaluators = [*built.evaluators.values(), *built.evaluators_before.values()]
    train_feed = built.feeder.rehearsal(material.plan)
    predict_feed = built.feeder.rehearsal(*(each.plan for each in evaluators))

    def train(index: int) -> None:
        order = train_feed.order[[index]]
        np.asarray(built.train_step(train_feed.pipelines, order).losses)

    def predict(index: int) -> None:
        np.asarray(built.predict_step(next(predict_feed.pipelines[index])))

    train_secs, predict_secs = _timed(train_feed, train), _timed(predict_feed, predict)
    pretrain_secs = _pretrain_secs(run, material, built)
    run.stopwatch.lap("rehearsal_secs")
    peak = environment.peak_memory()
    of_device = peak["peak_device_memory_bytes"]
    held = of_device or peak["peak_host_memory_bytes"] or 0
    return Rehearsed(train_secs, predict_secs, held, pretrain_secs)


def _pretrain_secs(run: Run, material: Material, built: Built) -> dict[int, float]:
    """Seconds of a step that guesses masked tokens, by padded length."""
    first = material.pretraining
    if first is None:
        return {}
    run.stopwatch.lap("rehearsal_secs")
    phase = pretrain.make(run, material, first, built)
    pretrain.compile_steps(run, first, built, phase)
    run.stopwatch.lap("compile_secs")
    feed = phase.feeder.rehearsal(first.plan)

    def step(index: int) -> None:
        np.asarray(phase.train_step(feed.pipelines, feed.order[[index]]).losses)

    return _timed(feed, step)


def _timed(feed: Feed, step: Callable[[int], None]) -> dict[int, float]:
    """Median seconds of a step, by padded length; the first step of each warms up."""
    result = {}
    for index, length in enumerate(feed.lengths):
        step(index)
        secs: list[float] = []
        while len(secs) < _LEAST_STEPS or (
            len(secs) < _MOST_STEPS and sum(secs) < _ENOUGH_SECS
        ):
            start = time.monotonic()
            step(index)
            secs.append(time.monotonic() - start)
        result[int(length)] = statistics.median(secs)
    return result


def _plan(
    run: Run,
    material: Material,
    built: Built,
    rehearsed: Rehearsed | None,
) -> Plan:
    counts, load = built.facts(), built.parts.load
    secs = times.parts(_work(run, material, built), rehearsed) if rehearsed else {}
    peak = rehearsed.peak_memory_bytes if rehearsed else load.total_bytes()
    total_steps = material.plan.total_steps
    return Plan(
        steps=total_steps,
        steps_per_epoch=material.plan.steps_per_epoch,
        num_train_examples=len(material.splits["train"]),
        padded_fraction=material.data_facts.padded_fraction,
        lengths=_lengths(run, material, load, rehearsed),
        **counts,
        secs_per_step=secs["train"] / total_steps if secs else None,
        secs=secs,
        total_secs=sum(secs.values()) if secs else None,
        memory_bytes=load.memory_bytes(),
        peak_memory_bytes=peak,
        memory_limit_bytes=built.parts.limit_bytes,
        fits=built.parts.fits,
        remedies=parts.remedies(built.parts, material.preset),
        pretrain_steps=sum(_pretrain_steps(material).values()),
        disk_bytes=_disk_bytes(run, material, counts),
        free_disk_bytes=_free_disk_bytes(run.folder.path),
        presets=tuple(
            _of_another(name, size, load, material, secs, peak)
            for name, size in presets.at_hand(material.preset).items()
        ),
    )


def _lengths(
    run: Run, material: Material, load: Workload, rehearsed: Rehearsed | None
) -> tuple[LengthPlan, ...]:
    plan = material.plan
    rows = parts.rows_by_length(plan, material.bucket_lengths)
    at_once = run.runtime.num_replicas * load.num_parts
    return tuple(
        LengthPlan(
            length=length,
            rows=rows[length],
            num_steps=num_steps,
            secs_per_step=rehearsed.train_secs[length] if rehearsed else None,
            kept_bytes=load.size.kept_bytes(
                rows=-(-rows[length] // at_once),
                length=length,
                bytes_per_number=load.number_bytes,
                rematerializes=load.rematerializes,
            ),
        )
        for length, num_steps in times.steps_by_length(
            plan, material.bucket_lengths
        ).items()
    )


def _of_another(
    name: str,
    size: EncoderSize,
    load: Workload,
    material: Material,
    secs: Mapping[str, float],
    peak: int,
) -> PresetPlan:
    """What the run would take with another encoder: all goes by its operations."""
    steps = times.steps_by_length(material.plan, material.bucket_lengths)

    def operations(of: EncoderSize) -> int:
        return sum(
            num_steps * of.num_operations(rows=1, length=length)
            for length, num_steps in steps.items()
        )

    other = dataclasses.replace(load, size=size)
    factor = operations(size) / operations(load.size)
    fixed = {"start", "compile", "export"}
    total = sum(s if part in fixed else s * factor for part, s in secs.items())
    return PresetPlan(
        preset=name,
        num_parameters=other.num_parameters,
        secs_per_step=(
            secs["train"] * factor / material.plan.total_steps if secs else None
        ),
        total_secs=total if secs else None,
        # What the rehearsal held above the reckoning is held here, too.
        peak_memory_bytes=peak + other.total_bytes() - load.total_bytes(),
    )


def _disk_bytes(
    run: Run, material: Material, counts: Mapping[str, int]
) -> dict[str, int]:
    """What the run leaves at most: states, best weights, versions, the token cache."""
    weights = counts["num_parameters"] * _NUMBER_BYTES
    moments = _NUM_MOMENTS * counts["num_trainable_parameters"] * _NUMBER_BYTES
    keep, serving = run.config.training.keep_checkpoints, run.config.serving
    num_formats = len(serving.export_formats) if serving.export else 0
    # Without a pooler, but with a head as large, and a bias a token.
    first = (keep + 1) * (weights + moments) if material.pretraining else 0
    pretraining = {"pretraining": first} if first else {}
    begins_elsewhere = bool(run.config.model.init_from)
    return {
        **({"start_weights": weights} if begins_elsewhere else {}),
        # One more is written before the oldest goes.
        "checkpoints": (keep + 1) * (weights + moments),
        **pretraining,
        "best_weights": (keep + 1) * weights if "validation" in material.splits else 0,
        "export": num_formats * weights,
        "token_cache": int(material.tokens.token_ids.nbytes),
    }


def _free_disk_bytes(folder: storage.Path) -> int | None:
    if not isinstance(folder, pathlib.Path):
        return None
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    return shutil.disk_usage(there).free

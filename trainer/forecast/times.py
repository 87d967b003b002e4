"""How long the parts of a run would take, from what its steps took in a rehearsal.

secs = times.parts(work, rehearsed)     # {"start": 9.1, "train": 210.4, ...}
"""

from __future__ import annotations

import dataclasses
from typing import Mapping, Sequence

from trainer.config import ExperimentConfig
from trainer.data.plans import Batches

# Reckoned from runs of MiniLM-L6 on two cores of an AMD EPYC.
_TFIDF_SECS, _TFIDF_SECS_PER_TEXT = 3.0, 1.5e-3
_EXPORT_SECS_PER_LAYER = 3.0
_BYTES_WRITTEN_PER_SEC = 300e6
_NUMBER_BYTES, _NUM_MOMENTS = 4, 2


@dataclasses.dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal found.

    Attributes:
      train_secs: of a training step, by padded length.
      predict_secs: of a step of an evaluation, by padded length.
      peak_memory_bytes: that was held so far, of a GPU where there are some.
      pretrain_secs: of a step that guesses masked tokens, by padded length.
    """

    train_secs: Mapping[int, float]
    predict_secs: Mapping[int, float]
    peak_memory_bytes: int
    pretrain_secs: Mapping[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a run has to do.

    Attributes:
      config: its settings.
      bucket_lengths: the padded lengths that the plans go by.
      train: the batches of all epochs.
      before: those of the evaluations before training, by split.
      after: and after it.
      num_texts: of all splits, by split.
      eval_batch_size: examples of a step of an evaluation.
      num_layers: of the encoder.
      num_trainable_parameters: of encoder and head.
      pretrain_steps: how many steps guess masked tokens, by padded length.
      start_secs: until the steps are compiled.
      compile_secs: of that.
    """

    config: ExperimentConfig
    bucket_lengths: Sequence[int]
    train: Batches
    before: Mapping[str, Batches]
    after: Mapping[str, Batches]
    num_texts: Mapping[str, int]
    eval_batch_size: int
    num_layers: int
    num_trainable_parameters: int
    pretrain_steps: Mapping[int, int] = dataclasses.field(default_factory=dict)
    start_secs: float
    compile_secs: float

    def train_steps(self) -> dict[int, int]:
        """How many training steps there are of each padded length, ascending."""
        return steps_by_length(self.train, self.bucket_lengths)


def steps_by_length(plan: Batches, bucket_lengths: Sequence[int]) -> dict[int, int]:
    """How many batches of each padded length a plan has, ascending."""
    return {int(bucket_lengths[bucket]): n for bucket, n in plan.num_batches.items()}


def parts(work: Work, rehearsed: Rehearsed) -> dict[str, float]:
    """Seconds of the parts of the run, in their order.

    What is not rehearsed, TF-IDF, checkpoints and the export, is reckoned.
    """

    def evaluation(plan: Batches) -> float:
        return _total(
            steps_by_length(plan, work.bucket_lengths), rehearsed.predict_secs
        )

    after = {name: evaluation(plan) for name, plan in work.after.items()}
    once = after.get("validation", 0.0) + _saving_secs(work)
    return {
        "start": work.start_secs,
        "compile": work.compile_secs,
        "evaluate_before": sum(map(evaluation, work.before.values())),
        "baselines": _baselines_secs(work, rehearsed),
        "pretrain": _total(work.pretrain_steps, rehearsed.pretrain_secs),
        "train": _total(work.train_steps(), rehearsed.train_secs),
        "validate": _num_validations(work) * once,
        "evaluate_after": sum(after.values()),
        "export": _export_secs(work, rehearsed),
    }


def _total(steps: Mapping[int, int], secs: Mapping[int, float]) -> float:
    return sum(num_steps * secs[length] for length, num_steps in steps.items())


def _num_validations(work: Work) -> int:
    """At the end of each epoch, and as often as is asked for."""
    training = work.config.training
    every = training.eval_every_steps
    return training.num_train_epochs + (len(work.train) // every if every else 0)


def _saving_secs(work: Work) -> float:
    """Of a state of the run."""
    weights = work.num_trainable_parameters * _NUMBER_BYTES
    return (1 + _NUM_MOMENTS) * weights / _BYTES_WRITTEN_PER_SEC


def _baselines_secs(work: Work, rehearsed: Rehearsed) -> float:
    names = work.config.baselines
    num_texts = sum(work.num_texts.values())
    secs = 0.0
    if "tfidf" in names:
        secs += _TFIDF_SECS + _TFIDF_SECS_PER_TEXT * num_texts
    if "frozen" in names:
        secs += num_texts * _secs_per_text(work, rehearsed)
    # Of the encoder that was pretrained it is another pass.
    is_shared = "frozen" in names and not work.pretrain_steps
    if work.config.model.head_start == "frozen" and not is_shared:
        secs += work.num_texts["train"] * _secs_per_text(work, rehearsed)
    return secs


def _secs_per_text(work: Work, rehearsed: Rehearsed) -> float:
    """Of an evaluation, at the lengths that the training texts have."""
    steps = work.train_steps()
    known = {n: steps[n] for n in steps if n in rehearsed.predict_secs}
    if not known:
        return 0.0
    total = _total(known, rehearsed.predict_secs)
    return total / sum(known.values()) / work.eval_batch_size


def _export_secs(work: Work, rehearsed: Rehearsed) -> float:
    """Its signatures are traced, and asked about some texts, in memory and as saved."""
    serving = work.config.serving
    if not serving.export:
        return 0.0
    asked = 2 * serving.num_export_examples * _secs_per_text(work, rehearsed)
    tracing = _EXPORT_SECS_PER_LAYER * work.num_layers
    return len(serving.export_formats) * (tracing + asked)

"""How the weights came to be: the start, the steps, their history, their time."""

from __future__ import annotations

import dataclasses
from typing import Literal, Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedLoss:
    """How well masked tokens of held-out texts are guessed; the same masks twice.

    Attributes:
      split: of the texts.
      before: mean over the masked tokens, in nats, with the weights as they came.
      after: the same after the pretraining.
    """

    split: str
    num_texts: int
    num_masked_tokens: int
    before: float
    after: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingFacts:
    """What the encoder was trained on before it was fine-tuned.

    Attributes:
      source: of the texts.
      num_read: texts that could be read.
      num_held_out: of these left out, for they are validation or test texts.
      num_blank: of these left out, for there is nothing to see in them.
      num_skipped: rows that could not be used.
      num_without_words: texts left out, of which the preset knows no word.
      num_texts: that were trained on.
      num_steps: updates.
      head: where it came from: the preset, or identity and the tokens' frequencies.
      masked_loss: None if no texts are held out.
      train_secs: in its steps, of all processes of the run.
    """

    source: str
    num_read: int
    num_held_out: int
    num_blank: int
    num_skipped: int
    num_without_words: int
    num_texts: int
    num_steps: int
    head: Literal["checkpoint", "frequencies"]
    masked_loss: MaskedLoss | None
    train_secs: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReweighedCell:
    """The training texts of one group and label, and what each weighs in the loss."""

    group: str
    label: str
    num_texts: int
    weight: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """What was trained, and for how long.

    Attributes:
      total_steps: updates that the plan has.
      accumulation_steps: in how many parts a replica computed its share of a batch, at
        the last start.
      num_steps_run: updates that were done, fewer if training stopped early.
      best_metric: the metric that the best step was chosen by.
      best_step: the step of the best validation; None without a validation split.
      weights: which weights were evaluated and exported.
      class_weights: what a training example weighs in the loss, by label name; None: 1.
      reweighed: by --reweigh_by, a group and label each; class weights multiply these.
      lora_init_sha256: of the tensors of --lora_init_from, in hexadecimal; None: LoRA
        began anew, or is off.
    """

    total_steps: int
    num_steps_run: int
    stopped_early: bool
    num_train_examples: int
    num_parameters: int
    num_trainable_parameters: int
    best_metric: str
    best_step: int | None
    weights: Literal["best", "last"]
    class_weights: Mapping[str, float] | None = None
    lora_init_sha256: str | None = None
    accumulation_steps: int = 1
    reweighed: tuple[ReweighedCell, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRecord:
    """A line of the training log: means since the line before.

    Attributes:
      step: updates done.
      loss: mean over the examples, as it is trained: with their weights and smoothed
        labels; in nats.
      gradient_norm: before it is clipped.
      secs_left: until the last step, at the pace of this line.
      input_wait_fraction: of the time, in which steps waited for their batches; None
        where it is not measured, as on a TPU.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    examples_per_sec: float
    secs_left: float
    input_wait_fraction: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationRecord:
    """An evaluation on the way, on the validation split; loss in nats."""

    step: int
    loss: float
    accuracy: float
    f1_macro: float
    mcc: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """The course of training, by step.

    Attributes:
      train: empty if nothing was logged.
      validation: empty without a validation split.
      pretraining: empty without --pretrain_steps; the loss is of masked tokens.
    """

    train: tuple[TrainRecord, ...]
    validation: tuple[ValidationRecord, ...]
    pretraining: tuple[TrainRecord, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall time of the process that finished the run, its pace and its memory.

    The page takes a value's unit from the end of its name: `_secs`, `_per_sec`,
    `_fraction` or `_bytes`.

    Attributes:
      pretraining_secs: with what it compiles, and the masked losses; None without
        --pretrain_steps.
      secs_to_first_step: from the start of the process, without what was measured of
        the weights as they came and of baselines (`evaluate_before_secs`,
        `baselines_secs`), and without the pretraining; None for a process that resumed after the last step.
      train_steps_secs: in training steps alone, of all processes of the run.
      export_secs: None before the export.
      general_secs: of measuring what the encoder kept.
      explain_secs: of --explain.
      slices_secs: of measuring the trained model on groups of texts.
      labelling_secs: of --error_causes and --export_to_label.
      train_examples_per_sec: the median over the lines of the log.
      input_wait_fraction: the mean over the lines of the log; None where it is not
        measured, as on a TPU.
      peak_host_memory_bytes: the most that this process held.
      peak_device_memory_bytes: of the GPU that held the most; None if none tells.
    """

    prepare_data_secs: float
    build_model_secs: float
    compile_secs: float
    evaluate_before_secs: float
    baselines_secs: float = 0.0
    pretraining_secs: float | None = None
    secs_to_first_step: float | None = None
    train_and_validate_secs: float
    evaluate_after_secs: float
    export_secs: float | None = None
    general_secs: float = 0.0
    explain_secs: float = 0.0
    slices_secs: float = 0.0
    labelling_secs: float = 0.0
    train_steps_secs: float
    train_examples_per_sec: float
    input_wait_fraction: float | None
    peak_host_memory_bytes: int
    peak_device_memory_bytes: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartFacts:
    """The weights of another model that a run began from.

    Attributes:
      source: --init_from.
      path: the version or checkpoint that was read.
      sha256: of its weights, LoRA's products merged: equal for a run and its export.
      label_names: its classes, in its order.
      new_labels: classes of this run that it has not; their part of the head is new.
      notes: what differs between the two and may, in sentences.
      tells_seen_texts: whether it tells by hashes which texts it was trained or chosen
        on.
    """

    source: str
    path: str
    sha256: str
    label_names: tuple[str, ...]
    new_labels: tuple[str, ...]
    notes: tuple[str, ...]
    tells_seen_texts: bool

"""The report of a run as types: what report.json holds, key by key.

    report = Report(title="tiny BERT on reviews", status="complete", ...)
    text = report.to_json()                 # the content of report.json
    Report.from_json(text) == report
    report.after["test"].accuracy           # 0.823

    # Dicts of the same keys, which may hold finished parts, become dataclasses too:
    from_mapping(SplitEvaluation, {**metrics, "accuracy_by_length": length_bins, ...})

A field's name is its key in report.json, and the order of the fields is the order of
the keys. Programs outside of this one read that file, so renaming a field breaks
them; adding one does not.

Every key is always there. What was not measured, or does not exist in this run, is
None or empty; the type of the field says which. The keys of a mapping are data (names
of splits, labels, metrics, packages), so a run without a test split has no "test" in
its mappings from split names. A field has a default only where stages may leave it out.

Values are what JSON has: str, int, float, bool, None, tuples for its arrays, plain
dicts for its objects with free keys. Fractions and probabilities are in [0, 1].

The numbers are computed where they arise; the page that shows them is in `report.py`.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import json
import types
import typing
from typing import Any, Callable, Literal, Mapping, TypeVar

from trainer import json_text
from trainer.data.audit.findings import Findings
from trainer.data.replay import Replayed
from trainer.messages import message, shown

_T = TypeVar("_T")

# The low and the high end of a 95% confidence interval.
Interval = tuple[float, float]
# Of a challenger beside a champion; see `champion/verdicts.py`.
Verdict = Literal["better", "not_worse", "undecided", "worse"]
# Of a group of texts; see `GroupRate`.
GroupRateName = Literal["accuracy", "tpr", "fpr", "share_chosen"]
# Of the gap of such a rate between groups; see `SliceGap`.
SliceGapName = Literal["accuracy", "tpr", "fpr", "share_chosen", "equalized_odds"]
# Why a text is shown as a sample.
SampleChoice = Literal["given", "surest right", "surest wrong", "nearest to the border"]
# Facts by name: versions of Python and packages, "system", "processor",
# "num_processors", and "chosen", sentences on what was chosen automatically. Not a
# dataclass, because names of packages hold hyphens.
Environment = Mapping[str, str]
# The settings as `dataclasses.asdict` of the run's config gives them.
Config = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How well one label is told from the others.

    Attributes:
      precision: None if the label was never predicted.
      recall: None if no text has the label.
      f1: None if neither occurs.
      support: how many texts have the label.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The predictions whose confidence lies in lower < confidence <= upper.

    Attributes:
      count: how many predictions.
      mean_confidence: None in an empty bin.
      accuracy: None in an empty bin.
    """

    lower: float
    upper: float
    count: int
    mean_confidence: float | None
    accuracy: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthBin:
    """The texts of one range of lengths, in tokens before truncation.

    Attributes:
      name: the range for people, "129 to 256".
      lower: exclusive.
      upper: inclusive; None: no limit.
      is_truncated: whether these texts are longer than what the model reads.
      count: how many texts, at least one.
    """

    name: str
    lower: int
    upper: int | None
    is_truncated: bool
    count: int
    accuracy: float
    confidence_interval_95: Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of a curve, at most some hundred, joined by lines.

    Attributes:
      name: of the label, or of the mean over labels: "micro", "macro".
      x: ascending, in [0, 1].
      y: as many, in [0, 1].
      area: under the whole curve, not under these points alone.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfidentError:
    """A wrong prediction.

    Attributes:
      text: shortened in its middle if it is long.
      label: the name of the label that the data gives.
      predicted: the name of the label that the model gives.
      score: the probability of the predicted label.
      length: in tokens, before truncation.
      file: where the text was read: a path, or the name of a data set without files.
      line: in the file, from 1; the number of the row where there are no lines.
    """

    text: str
    label: str
    predicted: str
    score: float
    length: int
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorWord:
    """A word with which errors are more frequent than without it.

    Attributes:
      num_texts: that have the word.
      num_errors: of these.
      confidence_interval_95: of the share of errors among these.
      expected_errors: of these, were they as frequent as in other texts of their labels.
      p_value: adjusted for the number of words that were tried.
    """

    word: str
    num_texts: int
    num_errors: int
    confidence_interval_95: Interval
    expected_errors: float
    p_value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How well one label is told where texts may have several.

    Attributes:
      support: how many texts have the label.
      num_given: how many are given it.
      precision: None if the label was never given.
      recall: None if no text has the label.
      f1: None if neither occurs.
      threshold: of its probability, from which on it is given.
      roc_auc: None if all texts have the label, or none has; so are the two below.
    """

    support: int
    num_given: int
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float
    roc_auc: float | None
    roc_auc_interval_95: Interval | None
    average_precision: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelPair:
    """Two labels that texts have both.

    Attributes:
      num_texts: how many have.
      num_expected: how many would, were the two independent.
      num_given: how many are given both.
    """

    label: str
    other: str
    num_texts: int
    num_expected: float
    num_given: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelSetScores:
    """What is measured only where texts may have several labels.

    Attributes:
      f1_micro: of all decisions, whether a text has a label, together.
      hamming_loss: the share of these that are wrong.
      average_precision: the mean over the labels that have one; None: none has.
      num_without_label: texts.
      num_given_none: texts that are given no label.
      mean_num_labels: that a text has.
      mean_num_given: that a text is given.
      per_label: by label name, in the order of the labels.
      together: the pairs of most texts first; at most twenty.
    """

    f1_micro: float
    hamming_loss: float
    average_precision: float | None
    num_without_label: int
    num_given_none: int
    mean_num_labels: float
    mean_num_given: float
    per_label: Mapping[str, LabelScores]
    together: tuple[LabelPair, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitEvaluation:
    """How good the model is on one split.

    Formulas and sources are in `metrics.classification_metrics`. Where a text may have
    several labels (`label_set_metrics.py`), it is right if all of them are; loss, MCC,
    Brier score and calibration are of all decisions, one a text and label; and there is
    no confusion matrix.

    Attributes:
      num_examples: how many texts, at least one.
      loss: mean negative log-likelihood, in nats.
      roc_auc: None if a class has no example.
      brier_score: in [0, 2].
      majority_class_accuracy: of always answering the commonest label.
      per_class: by label name, in the order of the labels.
      confusion_matrix: counts [classes][classes]; rows true, columns predicted.
      reliability: bins of equal width, ascending.
      confidence_intervals_95: by the name of the metric; empty without resamples, and
        without the metrics that are None or of which the texts say too little.
      accuracy_by_length: shortest first; bins without a text are left out.
      most_confident_errors: surest first; empty if all predictions are right.
      risk_coverage: the share of errors (y) among the surest share of the texts (x).
      roc: false positive rate (x), true positive rate (y). Of two classes the second
        one's curve, of up to ten one a class, of more their means.
      precision_recall: recall (x), precision (y); of the same classes.
      words_of_errors: the least likely by chance first; most often there are none.
      label_sets: None where each text has one label.
    """

    num_examples: int
    loss: float
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    mcc: float
    roc_auc: float | None
    brier_score: float
    expected_calibration_error: float
    majority_class_accuracy: float
    per_class: Mapping[str, ClassScores]
    confusion_matrix: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    confidence_intervals_95: Mapping[str, Interval]
    accuracy_by_length: tuple[LengthBin, ...]
    most_confident_errors: tuple[ConfidentError, ...]
    risk_coverage: tuple[Curve, ...] = ()
    roc: tuple[Curve, ...] = ()
    precision_recall: tuple[Curve, ...] = ()
    words_of_errors: tuple[ErrorWord, ...] = ()
    label_sets: LabelSetScores | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the model says of one text.

    Attributes:
      label: the name of the most probable label.
      score: its probability.
      probabilities: of all labels, in their order.
    """

    label: str
    score: float
    probabilities: tuple[float, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """A text, predicted before and after fine-tuning.

    Attributes:
      text: shortened in its middle if it is a long one of the data.
      before: None if the start weights were not evaluated.
      label: the name of its label in the data; None: it is not of the data.
      why: how it came to be shown: by --sample_texts, or drawn from the held-out texts.
    """

    text: str
    before: Prediction | None
    after: Prediction
    label: str | None
    why: SampleChoice


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainedWord:
    """A word, and how far it moved the answer.

    Attributes:
      begin, end: in bytes of the text's UTF-8.
      attribution: above 0 towards the label that was given, below it away from it.
    """

    begin: int
    end: int
    attribution: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """A held-out text, with the words that moved the answer to it.

    Attributes:
      text: whole.
      label: the name of its label in the data.
      predicted: the name of the label that the model gives, or of all.
      explained: of these the one that is explained; of several the most probable.
      score: the probability of what is given.
      why: how it came to be shown.
      words: those that are read, in the text's order.
      difference: what the logits speak for the label, less what they do where each
        token is [MASK]; of two classes in log-odds. The words add up to it, but for
        `completeness_gap`.
      file: where the text was read, as of `ConfidentError`.
      line: likewise.
    """

    text: str
    label: str
    predicted: str
    explained: str
    score: float
    why: SampleChoice
    words: tuple[ExplainedWord, ...]
    difference: float
    completeness_gap: float
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationQuality:
    """How far probabilities are from the truth; loss in nats."""

    expected_calibration_error: float
    loss: float
    brier_score: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelQuality:
    """How good the labels are that are given to all texts."""

    accuracy: float
    f1_macro: float
    mcc: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionQuality:
    """What the decision of the exported model gives on one split.

    Attributes:
      before: of the logits as they were trained.
      after: of the logits divided by the temperature.
      equal_thresholds: of the most probable labels.
      thresholds: of the labels with the thresholds.
      accuracy: with the thresholds, over all texts.
      coverage: the fraction of the texts that the model does not abstain from.
      accuracy_of_covered: None if it abstains from all.
      accuracy_of_covered_interval_95: likewise.
      accuracy_of_abstained: None if it abstains from none.
    """

    num_examples: int
    before: CalibrationQuality
    after: CalibrationQuality
    equal_thresholds: LabelQuality
    thresholds: LabelQuality
    accuracy: float
    coverage: float
    accuracy_of_covered: float | None
    accuracy_of_covered_interval_95: Interval | None
    accuracy_of_abstained: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionFacts:
    """How the exported model gets from logits to its answer.

    Attributes:
      temperature: what the logits are divided by; 1.0 if it was not fitted.
      thresholds: one a label, which sum to 1; where a text may have several labels, each
        in (0, 1) by itself.
      abstain_below: the score below which the model abstains; 0.0: never.
      split: the split all of it was fitted on; None: it was not fitted.
      warnings: sentences on what was asked for and cannot be given.
      quality: by held-out split; empty if no texts were held out.
    """

    temperature: float
    thresholds: tuple[float, ...]
    abstain_below: float
    split: str | None
    warnings: tuple[str, ...] = ()
    quality: Mapping[str, DecisionQuality]


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class LengthCount:
    """How many texts have lower < tokens <= upper, before truncation."""

    lower: int
    upper: int
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """The texts of one split.

    Attributes:
      num_available: how many texts there were before some were drawn.
      class_counts: how many texts have a label, by label name; all labels are in it.
      num_duplicates: texts that stand in the split already, as `duplicates.py` tells
        texts apart.
      num_groups: how many values of --group_field there are; None without it.
      length_percentiles: tokens before truncation, by percent: "5", "50" and so on.
      truncated_fraction: of the texts, those longer than what the model reads.
      unknown_fraction: of the tokens that are read, those unknown to the vocabulary.
      num_unknown_texts: texts of which no token is known.
      length_histogram: of the texts' tokens, ascending and without a gap.
    """

    num_examples: int
    num_available: int
    class_counts: Mapping[str, int]
    num_duplicates: int
    num_groups: int | None = None
    length_percentiles: Mapping[str, int]
    truncated_fraction: float
    unknown_fraction: float
    num_unknown_texts: int
    length_histogram: tuple[LengthCount, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that was read.

    Attributes:
      num_rows: its rows, bad ones included.
      settled: how it was read: "reviews.csv: cp1252, separated by ';', columns …".
    """

    name: str
    num_rows: int
    settled: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What was read for one split, before anything was split off.

    Attributes:
      source: what was asked for, "files:reviews.csv".
      num_rows: rows that are used.
      skipped_rows: the first of the bad rows, each with its place and what is wrong.
      num_placeholder_texts: texts that only say that there is none, as "nan".
      placeholder_texts: these words, the commonest first, each with its first places.
    """

    source: str
    files: tuple[SourceFile, ...]
    num_rows: int
    num_skipped_rows: int
    skipped_rows: tuple[str, ...]
    num_blank_lines: int
    num_placeholder_texts: int
    placeholder_texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorrectionsFacts:
    """What --corrections said, in lines of the file.

    Attributes:
      sha256: of the file.
      num_kept: labels that were reviewed and found right.
    """

    file: str
    sha256: str
    num_kept: int
    num_relabelled: int
    num_dropped: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourcesFacts:
    """All that was read.

    Attributes:
      splits: by the split that the rows were read for.
      notes: sentences on how the names of the data set were understood.
      warnings: sentences on what is doubtful in the rows.
      corrections: None without --corrections.
    """

    splits: Mapping[str, SourceFacts]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    corrections: CorrectionsFacts | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The data that was trained and measured on.

    Attributes:
      label_names: in the order of the probabilities.
      splits: "train", and "validation" and "test" if they exist, in this order.
      num_contradicting_texts: texts that stand in the data with more than one label.
      num_copies_left_out: rows that are in no split, for a text that differs by case
        or white space alone is held out; 0 but for data whose rule says so.
      num_validation_texts_in_train: None without a validation split.
      num_test_texts_in_train: None without a test split.
      num_test_texts_in_validation: None without both of them.
      num_validation_groups_in_train: groups with rows in both; None, as the following,
        without such splits or without --group_field.
      fingerprint: by split, a hash of its texts and labels.
      bucket_lengths: padded lengths in tokens, ascending.
      padded_fraction: of all tokens of the training batches, those that only pad.
      longest_text: how many tokens of a text the model reads.
      findings: of the look at the texts; None with --audit=off.
      replayed: what became of --replay_dataset; None without it.
    """

    label_names: tuple[str, ...]
    splits: Mapping[str, SplitFacts]
    num_contradicting_texts: int
    num_copies_left_out: int = 0
    num_validation_texts_in_train: int | None = None
    num_test_texts_in_train: int | None = None
    num_test_texts_in_validation: int | None = None
    num_validation_groups_in_train: int | None = None
    num_test_groups_in_train: int | None = None
    num_test_groups_in_validation: int | None = None
    source: SourcesFacts
    fingerprint: Mapping[str, str]
    bucket_lengths: tuple[int, ...]
    padded_fraction: float
    longest_text: int | None = None
    findings: Findings | None = None
    replayed: Replayed | None = None


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
    train_steps_secs: float
    train_examples_per_sec: float
    input_wait_fraction: float | None
    peak_host_memory_bytes: int
    peak_device_memory_bytes: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatFacts:
    """One format of the export, as it was measured.

    Attributes:
      format: "float32", "int8" and so on.
      bytes: of all its files.
      latency_ms: the median time of a text alone, in milliseconds.
      texts_per_sec: in batches.
      num_texts: held-out texts behind `accuracy`.
      max_difference: the farthest that a probability is from the trained model's.
      num_other_labels: texts that get another label than from the trained model, ties
        not counted.
      num_ties: texts that get another label too, but whose best two labels were as
        near to each other as rounding may move a probability.
      accuracy_drop: how far `accuracy` is below that of float32; None for float32.
      path: of the folder; None if the format was refused.
    """

    format: str
    bytes: int
    latency_ms: float
    texts_per_sec: float
    num_texts: int
    accuracy: float
    max_difference: float
    num_other_labels: int
    num_ties: int = 0
    accuracy_drop: float | None = None
    status: Literal["published", "refused"]
    path: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportFacts:
    """What was exported.

    Attributes:
      path: of the float32 SavedModel.
      num_parity_texts: texts on which it was compared with the trained model.
      parity_max_difference: the largest difference of a probability among them.
      formats: float32 first.
      status: whether it serves: "promoted"; or "held".
      status_reason: why.
    """

    path: str
    version: int
    status: str = "promoted"
    status_reason: str = ""
    num_parity_texts: int
    parity_max_difference: float
    formats: tuple[FormatFacts, ...]


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doubt:
    """What makes a result doubtful.

    Attributes:
      kind: one word for programs; `evaluation/doubts.py` has them all.
      message: a sentence with what to do about it.
    """

    kind: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineScores:
    """How good a simple model is on one split; as in `SplitEvaluation`."""

    num_examples: int
    loss: float
    accuracy: float
    f1_macro: float
    mcc: float
    roc_auc: float | None
    brier_score: float
    expected_calibration_error: float
    confidence_intervals_95: Mapping[str, Interval]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineFacts:
    """A simple model, trained on the same texts and measured on the same splits.

    Attributes:
      title: its name within a sentence: "TF-IDF with logistic regression".
      validation: None: there is no such split.
      test: the same.
      secs: from texts (or token ids) to its answers, all of its work together.
      peak_memory_bytes: the most that its work held beside what the run held.
      num_features: that it reads of a text at most; None: it reads none.
      settings: what was chosen, such as the strength of regularisation, and how.
    """

    title: str
    validation: BaselineScores | None
    test: BaselineScores | None
    secs: float
    peak_memory_bytes: int | None
    num_features: int | None
    settings: Mapping[str, float | int | str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A text that one of two models answers right, and the other wrong.

    Attributes:
      text: shortened in its middle if it is long.
      label: the name of the label that the data gives.
      model: the name of the label that the fine-tuned model gives.
      baseline: the name of the label that the baseline gives.
      file: where the text was read.
      line: in the file, from 1.
    """

    text: str
    label: str
    model: str
    baseline: str
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The fine-tuned model beside a baseline, on the same held-out texts.

    Attributes:
      split: "test", or "validation" where there is no test split.
      num_examples: texts that both answered.
      difference: of accuracies, fine-tuned minus baseline.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided (1 where no text tells them apart).
      num_discordant: texts on which exactly one of the two is right.
      num_only_model_right: of these.
      num_only_baseline_right: of these.
      verdict: "better" or "worse" where the interval is on one side of 0.
      cost_ratio: seconds of fine-tuning by seconds of the baseline.
      only_model_right: some of these texts, at most ten, evenly over the split.
      only_baseline_right: the same.
    """

    split: str
    num_examples: int
    difference: float
    interval_95: Interval
    mcnemar_p: float
    num_discordant: int
    num_only_model_right: int
    num_only_baseline_right: int
    verdict: Literal["better", "not_shown", "worse"]
    cost_ratio: float | None
    only_model_right: tuple[Disagreement, ...]
    only_baseline_right: tuple[Disagreement, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceContest:
    """The two models on the texts of a slice.

    Attributes:
      slice: what the texts have in common: "label", "words", or a column.
      value: of it.
      difference: of accuracies, challenger minus champion.
      p_holm: McNemar's exact p, corrected for the number of slices.
      is_worse: whether a loss is shown.
      blocks: whether it holds the challenger back: it is worse, and large enough.
    """

    slice: str
    value: str
    num_texts: int
    champion: float
    challenger: float
    difference: float
    interval_95: Interval
    p_holm: float
    is_worse: bool
    blocks: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contest:
    """The two models on the same texts.

    Attributes:
      verdict: of all texts.
      margin: a loss that would be borne.
      num_texts: that both answered, and neither was trained or chosen on.
      num_left_out: texts that one of them was.
      champion: accuracy.
      champion_interval_95: Wilson's; likewise of the challenger.
      difference: of accuracies, challenger minus champion.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided.
      num_discordant: texts on which exactly one of them is right.
      num_only_champion_right: of these.
      num_only_challenger_right: of these.
      texts_to_settle: how many texts would probably end "undecided"; None: it is settled,
        or none would.
      slices: those that lose most first.
    """

    verdict: Verdict
    margin: float
    num_texts: int
    num_left_out: int
    champion: float
    champion_interval_95: Interval
    challenger: float
    challenger_interval_95: Interval
    difference: float
    interval_95: Interval
    mcnemar_p: float
    num_discordant: int
    num_only_champion_right: int
    num_only_challenger_right: int
    texts_to_settle: int | None
    slices: tuple[SliceContest, ...]

    @property
    def blocking(self) -> tuple[SliceContest, ...]:
        """The slices that hold the challenger back."""
        return tuple(each for each in self.slices if each.blocks)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Challenge(Contest):
    """The trained model, as the challenger, beside the one that serves.

    Attributes:
      path: of the champion's version.
      sentence: the verdict in words.
      split: whose texts both answered, but for those that the champion has seen.
    """

    path: str
    sentence: str
    split: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneralTexts:
    """Texts that tell what the encoder kept.

    Attributes:
      source: as the flag names it.
      num_available: texts of it.
      num_left_out: of these, because the run trains on them.
      num_texts: that were drawn of the others.
    """

    source: str
    num_available: int
    num_left_out: int
    num_texts: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerKept:
    """How alike a layer's vectors of general texts are, before and after.

    Attributes:
      layer: 0 after the embeddings, 1 after the first layer.
      alikeness: see `kept/similarity.py`; None: all vectors are the same.
      alikeness_of_halves: of two random halves of the texts.
      neighbour_overlap: the share of the ten nearest texts that stayed so.
      neighbour_overlap_of_halves: of two random halves of the texts.
    """

    layer: int
    alikeness: float | None
    alikeness_of_halves: tuple[float | None, float | None]
    neighbour_overlap: float
    neighbour_overlap_of_halves: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeKept:
    """What a linear probe of another task reads off the encoder, before and after.

    Attributes:
      commonest: the accuracy of always answering the commonest label.
      before: accuracy of the probe on the vectors of the encoder as it came.
      after: accuracy of a probe fitted again, on those of the trained encoder.
      difference: after minus before.
      interval_95: of the difference, paired by text.
      mcnemar_p: McNemar's exact test, two-sided.
      difference_of_halves: of two random halves of the texts.
      old_probe_after: accuracy of the probe of `before`, asked about the vectors of the
        trained encoder: what is lost here and not in `after` has only moved.
      verdict: "worse": a loss is shown; "better": a gain is; "not_shown": neither.
    """

    texts: GeneralTexts
    num_labels: int
    commonest: float
    before: float
    after: float
    difference: float
    interval_95: Interval
    mcnemar_p: float
    difference_of_halves: tuple[float, float]
    old_probe_after: float
    verdict: Literal["better", "not_shown", "worse"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskedWordsKept:
    """How well the encoder guesses masked tokens of general texts, before and after.

    Losses are means over the texts, in nats a masked token.

    Attributes:
      head: "checkpoint": that of the preset; "frequencies": it has none, and how often
        tokens stand in the texts is in its place. Neither is trained.
      num_texts: that have a token which may be masked.
      num_tokens: that were masked.
      difference: after minus before: above 0 is a loss of ability.
      interval_95: of the difference, paired by text.
      difference_of_halves: of two random halves of the texts.
      realigned: `after` with the vectors mapped to what they were by a linear map; what
        is lost in `after` and not here has only moved.
    """

    head: Literal["checkpoint", "frequencies"]
    num_texts: int
    num_tokens: int
    before: float
    after: float
    difference: float
    interval_95: Interval
    difference_of_halves: tuple[float, float]
    realigned: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """What the encoder kept at a step of training.

    Attributes:
      probe_accuracy: of a probe fitted again; None without --general_probe.
      probe_drop: the accuracy of the encoder as it came, minus that.
      alikeness: of the last layer; None without --general_texts.
    """

    step: int
    probe_accuracy: float | None = None
    probe_drop: float | None = None
    alikeness: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What the encoder kept of its general abilities, with the exported weights.

    Attributes:
      sentence: the result.
      texts: of --general_texts; None without.
      layers: of these texts, the embeddings first; empty without.
      chance_overlap: the neighbour overlap of unrelated vectors; None without.
      masked_words: of these texts; None without, and where the vocabulary has no [MASK].
      probe: of --general_probe; None without.
      watched: at steps of training, with --watch_general_every.
      stopped_at: the step at which --max_general_drop stopped training; None: it did
        not.
    """

    sentence: str
    texts: GeneralTexts | None
    layers: tuple[LayerKept, ...]
    chance_overlap: float | None
    masked_words: MaskedWordsKept | None
    probe: ProbeKept | None
    watched: tuple[Watched, ...]
    stopped_at: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupRate:
    """A rate of one group of texts.

    Attributes:
      measure: "tpr": of the texts that have the label, how many are given it; "fpr": of
        those that have it not; "share_chosen": of all.
      label: that the rate is of; None for the accuracy.
      value: None where the group has no text that the rate is of.
      num_texts: that it is of.
      interval_95: Wilson's; None where the value is.
      difference: to the same rate of all other texts; None where one of the two is.
      difference_interval_95: by bootstrap over texts; None without resamples.
    """

    measure: GroupRateName
    label: str | None
    value: float | None
    num_texts: int
    interval_95: Interval | None
    difference: float | None
    difference_interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceGroup:
    """The texts that mention a group, or have a value in a column.

    Attributes:
      is_judged: whether they are --min_slice or more.
    """

    name: str
    num_texts: int
    is_judged: bool
    rates: tuple[GroupRate, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceGap:
    """The largest rate less the smallest, of the groups that are judged.

    Attributes:
      measure: as of `GroupRate`; or "equalized_odds", the larger of the gaps of TPR and
        FPR.
      value: 0 or more: it is above 0 by chance alone.
      largest: the group with the largest rate.
      smallest: the one with the smallest.
      interval_95: by bootstrap over texts; None without resamples.
      by_chance_95: 95% of the gaps stay below this where the texts of each label are
        dealt out to the groups anew; None without resamples.
      p_holm: how often such a gap is as large, by Holm for all gaps of the run.
      is_shown: whether that is below 0.05.
    """

    measure: SliceGapName
    label: str | None
    value: float
    largest: str
    smallest: str
    interval_95: Interval | None
    by_chance_95: float | None
    p_holm: float | None
    is_shown: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSlices:
    """The held-out texts, by the groups of one kind.

    Attributes:
      kind: of --group_terms, or a column of --slice_fields.
      source: a text may mention several groups; in a column it has one value.
      num_without: texts of no group.
      num_left_out: groups that are not shown, being the smallest of many.
      gaps: of rates that two groups at least have that are judged.
    """

    kind: str
    source: Literal["terms", "column"]
    num_without: int
    num_left_out: int
    groups: tuple[SliceGroup, ...]
    gaps: tuple[SliceGap, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changes:
    """What becomes of the answers when words of texts are swapped.

    Attributes:
      num_available: held-out texts that have such a word.
      num_texts: drawn of these; those that a swap leaves as they are do not count.
      words_per_text: how many words are swapped in one, on the mean; None without texts.
      mean_change: of the probability, without its sign; None without texts.
      mean_change_interval_95: Student's; None of fewer than two texts.
      num_flips: texts that get another label.
      flips: the share of these; None without texts.
      flips_interval_95: Wilson's.
      accuracy_before: of the texts as they are; None without texts.
      accuracy_after: of the swapped ones.
    """

    num_available: int
    num_texts: int
    words_per_text: float | None
    mean_change: float | None
    mean_change_interval_95: Interval | None
    num_flips: int
    flips: float | None
    flips_interval_95: Interval | None
    accuracy_before: float | None
    accuracy_after: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SignedGap:
    """How much more probable the class is with a group's words than with others.

    Attributes:
      num_pairs: of texts, or of sentences, that differ in the group alone.
      mean: of the differences of the probability; None without pairs.
      interval_95: Student's; None of fewer than two pairs.
    """

    group: str
    num_pairs: int
    mean: float | None
    interval_95: Interval | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemplateGroup:
    """What the model says of neutral sentences about a group.

    Attributes:
      mean: of the probability of the class.
      share_chosen: of the sentences that are given it.
    """

    group: str
    num_texts: int
    mean: float
    lowest: float
    highest: float
    share_chosen: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class TemplateFacts:
    """Neutral sentences that differ in the group alone; they are nobody's texts.

    Attributes:
      sentences: with "{term}" where the group's words are put.
      gap: the largest mean less the smallest.
      floor: the mean distance between two wordings of one sentence with one word.
      signed: of each group to the others, sentence by sentence.
    """

    sentences: tuple[str, ...]
    groups: tuple[TemplateGroup, ...]
    gap: float
    floor: float
    signed: tuple[SignedGap, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Held-out texts with the words of one group put for those of another.

    Attributes:
      kind: whose words were swapped.
      changes: in the answers.
      num_approximate: of the texts, those with a word that has several partners, as
        "her" has "his" and "him".
      signed: by group, of the texts that mention no other group of the swap.
      is_beyond_floor: whether the mean change is shown to be larger than that of
        harmless synonyms: their intervals do not meet. None: one of the two is not
        measured.
      templates: None where there are none, or no class to look at.
    """

    kind: str
    changes: Changes
    num_approximate: int
    signed: tuple[SignedGap, ...]
    is_beyond_floor: bool | None
    templates: TemplateFacts | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """A sentence that is added to texts, and what it must not do.

    Attributes:
      sentence: that is added.
      place: where.
      must_not: "lower" or "raise" the probability of the positive class.
      num_wrong: texts in which it does, by more than a hundredth.
      wrong: the share of these; None without texts.
      wrong_interval_95: Wilson's.
      mean_change: of the probability, with its sign; None without texts.
    """

    sentence: str
    place: Literal["beginning", "end"]
    must_not: Literal["lower", "raise"]
    num_texts: int
    num_wrong: int
    wrong: float | None
    wrong_interval_95: Interval | None
    mean_change: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups:
    """The trained model on groups of held-out texts. What is fair it does not say.

    Attributes:
      sentence: the result.
      split: of the texts.
      positive_label: the class that is looked at; None: of many classes each one's
        rates, and the probability of a text's own label.
      min_slice: texts that a group must have to be judged.
      num_labels_left_out: classes whose rates are not looked at, being the rarest.
      slices: by kind and column; empty where no text is in a group.
      counterfactuals: of --counterfactuals.
      floor: the same of harmless synonyms; None without --counterfactuals.
      directions: of --counterfactuals=direction.
      num_predictions: that all of it cost.
    """

    sentence: str
    split: str
    positive_label: str | None
    min_slice: int
    num_labels_left_out: int
    slices: tuple[GroupSlices, ...]
    counterfactuals: tuple[Counterfactual, ...]
    floor: Changes | None
    directions: tuple[Direction, ...]
    num_predictions: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the results lie.

    Attributes:
      report: the page, report.html.
      saved_model: the folder of the exported model; None: there is none yet.
      predictions: the file of the answers to a held-out split, by split.
    """

    report: str
    saved_model: str | None
    predictions: Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commands:
    """Commands to copy.

    Attributes:
      predict: labels the texts of a file with the exported model; None: there is none.
    """

    predict: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """All that report.json holds.

    Attributes:
      title: of the page, never empty.
      status: "complete"; "unpublished" before the export, and where it is refused.
      before: by held-out split, of the start weights; empty if they were not
        evaluated or no texts were held out.
      after: by held-out split, of the exported weights.
      samples: empty if there are neither --sample_texts nor held-out texts.
      warnings: the sentences of the doubts, and of formats that were not published.
      doubts: what a user should know before trusting the result; shown wherever the
        result is.
      export: None where the status is "unpublished", and with --export=false.
      settings_in_words: by the name of a setting that was left to be chosen: what it
        stood for, "the preset's own (0.1)".
      baselines: by name, of --baselines.
      comparisons: by the name of the baseline, with the fine-tuned model.
      worth: one sentence on whether fine-tuning beats the best simple model; None:
        nothing was compared.
      kept: of general abilities; None: nothing was asked for.
      champion: the model that serves, beside the trained one; None: none was asked for,
        or there is none.
      pretraining: None without --pretrain_steps.
      start: of --init_from; None: the run began from the preset's weights.
      explanations: of --explain; empty with 0, and where no texts were held out.
      groups: None where no held-out text is in a group, and nothing was asked for.
      task: --task.
    """

    title: str
    status: Literal["complete", "unpublished"]
    before: Mapping[str, SplitEvaluation]
    after: Mapping[str, SplitEvaluation]
    samples: tuple[Sample, ...]
    decision: DecisionFacts
    training: TrainingFacts
    data: DataFacts
    warnings: tuple[str, ...]
    doubts: tuple[Doubt, ...]
    config: Config
    environment: Environment
    history: History
    timing: Timing
    export: ExportFacts | None
    paths: Paths
    commands: Commands
    settings_in_words: Mapping[str, str] = dataclasses.field(default_factory=dict)
    baselines: Mapping[str, BaselineFacts] = dataclasses.field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = dataclasses.field(default_factory=dict)
    worth: str | None = None
    kept: Kept | None = None
    champion: Challenge | None = None
    pretraining: PretrainingFacts | None = None
    start: StartFacts | None = None
    explanations: tuple[Explanation, ...] = ()
    groups: Groups | None = None
    task: Literal["single_label", "multi_label"] = "single_label"

    def to_json(self) -> str:
        """The content of report.json, a line a value, for people too.

        Raises:
          ValueError: a number is not finite, for which JSON has no word.
        """
        content = dataclasses.asdict(self)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        return text + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.

        Raises:
          ValueError: the text is not such a report.
        """
        return from_mapping(cls, json_text.parse(text))


def from_mapping(kind: type[_T], values: Mapping[str, Any], *, place: str = "") -> _T:
    """A dataclass of this module, from a dict of its keys.

    A value may be what JSON gives for it or be of the field's type already. A key that
    is not given takes the field's default.

    Args:
      kind: the dataclass.
      values: by the names of its fields.
      place: what an error calls the whole; the name of the dataclass if empty.

    Raises:
      ValueError: a key is missing or unknown, or a value has the wrong type; the
        message names the key by its path.
    """
    result: _T = _convert(values, kind, place or kind.__name__)
    return result


def _convert(value: Any, kind: Any, place: str) -> Any:
    """The value as `kind`, of the types that this module's fields have."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return value if _is_instance(value, kind) else _fields(value, kind, place)
    convert = _CONVERTERS.get(typing.get_origin(kind))
    if convert:
        return convert(value, typing.get_args(kind), place)
    # JSON writes 1.0 as 1 in other languages. A bool is an int to Python alone.
    kinds = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kinds):
        raise _wrong(value, kind.__name__, place)
    return value


def _is_instance(value: Any, kind: Any) -> bool:
    return isinstance(value, kind)


# Of thousands of records of a history, each would evaluate its annotations anew.
@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _fields(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, Mapping):
        raise _wrong(value, f"an object with the keys of {kind.__name__}", place)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    missing = [
        name
        for name, field in fields.items()
        if name not in value
        and field.default is field.default_factory is dataclasses.MISSING
    ]
    unknown = [name for name in value if name not in fields]
    if missing or unknown:
        raise ValueError(
            message(
                f"the keys must be those of {kind.__name__}",
                received=f"without {missing}, and with {unknown} besides",
                mend="use the version of the program that wrote it",
                place=place,
            )
        )
    kinds = _types(kind)
    return kind(
        **{
            name: _convert(item, kinds[name], f"{place}.{name}")
            for name, item in value.items()
        }
    )


def _mapping(value: Any, arguments: tuple[Any, ...], place: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", place)
    _, kind = arguments
    return {
        _convert(name, str, f"{place}, a key"): _convert(item, kind, f"{place}.{name}")
        for name, item in value.items()
    }


def _tuple(value: Any, arguments: tuple[Any, ...], place: str) -> tuple[Any, ...]:
    is_of_any_length = arguments[-1] is ...
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, "an array", place)
    if not is_of_any_length and len(value) != len(arguments):
        raise _wrong(value, f"an array of {len(arguments)} values", place)
    kinds = arguments[:1] * len(value) if is_of_any_length else arguments
    return tuple(
        _convert(item, kind, f"{place}[{index}]")
        for index, (item, kind) in enumerate(zip(value, kinds))
    )


def _union(value: Any, arguments: tuple[Any, ...], place: str) -> Any:
    """Unions are of one type and None, or of plain types."""
    kinds = [kind for kind in arguments if kind is not types.NoneType]
    if value is None and len(kinds) < len(arguments):
        return None
    # A whole number is a float too, so the type that it has goes first.
    exact = [kind for kind in kinds if type(value) is kind]
    return _convert(value, (exact or kinds)[0], place)


def _literal(value: Any, arguments: tuple[Any, ...], place: str) -> Any:
    if value not in arguments:
        raise _wrong(value, f"one of {', '.join(map(repr, arguments))}", place)
    return value


_CONVERTERS: Mapping[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    collections.abc.Mapping: _mapping,
    tuple: _tuple,
    types.UnionType: _union,
    # What `|` makes of a type that `typing` defines, such as Mapping.
    typing.Union: _union,
    Literal: _literal,
}


def _wrong(value: Any, expected: str, place: str) -> ValueError:
    return ValueError(
        message(
            f"the value must be {expected}",
            received=shown(value),
            mend="use the version of the program that wrote it",
            place=place,
        )
    )

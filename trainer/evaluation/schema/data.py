"""The files and texts of a run, split by split."""

from __future__ import annotations

import dataclasses
from typing import Mapping

from trainer.data.audit.findings import Findings
from trainer.data.augmented import Augmented
from trainer.data.replay import Replayed


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
      augmented: what became of --augment_counterfactuals; None without it.
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
    augmented: Augmented | None = None

"""What a model scores on a split: the metrics, their intervals, and their parts."""

from __future__ import annotations

import dataclasses
from typing import Mapping

from trainer.evaluation.schema.aliases import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScores:
    """How well one label is told from the others.

    Attributes:
      precision: None if the label was never predicted.
      recall: None if no text has the label.
      f1: None if neither occurs.
      support: how many texts have the label.
      expected: how many the probabilities expect, their sum. What follows is None where
        labels do not exclude each other.
      expected_p_holm: how likely a count as far from the expected one is if all
        probabilities are right, by Holm for the number of labels.
      calibration_error: mean distance of share and mean probability over 15 bins (Kull
        et al. 2019); as all such means it grows with noise.
      precision_interval_95, recall_interval_95: Wilson's.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    expected: float | None = None
    expected_p_holm: float | None = None
    calibration_error: float | None = None
    precision_interval_95: Interval | None = None
    recall_interval_95: Interval | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TopK:
    """How often the label of a text is among its k most probable ones."""

    k: int
    accuracy: float
    confidence_interval_95: Interval


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
class OrdinalScores:
    """How far answers are from labels that have an order; see `ordinal_metrics.py`.

    Attributes:
      mae: mean distance in steps.
      within_one: the share that is off by at most a step.
      quadratic_kappa: None where labels and answers are all of the same class.
      spearman: of labels and expected positions; None if one is constant.
      rps: ranked probability score, 0 if perfect.
    """

    mae: float
    within_one: float
    quadratic_kappa: float | None
    spearman: float | None
    rps: float


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
      top_k: by k, ascending; empty for fewer than 6 labels.
      ordinal: None where labels have no order.
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
    top_k: tuple[TopK, ...] = ()
    ordinal: OrdinalScores | None = None

"""What an audit finds, as types: parts of report.json and of the audit's JSON.

    findings.copies[0].rows[0].file, findings.copies[0].rows[0].line

A field's name is its key in JSON, as in `evaluation/schema/`. Lists have an upper
length, and a number beside them counts all.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, Mapping

# Of each list; a file of ten thousand faults needs no longer one.
MAX_LISTED = 10_000
# Rows of one text: a signature may stand a thousand times.
MAX_ROWS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowFacts:
    """A row of the data.

    Attributes:
      file: where it was read: a path, or the name of a data set without files.
      line: in the file, from 1.
      label: the name of its class.
      split: "train", "validation" or "test".
    """

    file: str
    line: int
    label: str
    split: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.split}, {self.label})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copies:
    """The rows of one text.

    Attributes:
      kind: whether their texts are the same to the byte, or but for case, white space,
        invisible characters and compatible forms.
      splits: in which they are.
      labels: that they have; several are a contradiction.
      num_rows: of all of them.
      rows: the first.
    """

    kind: Literal["exact", "normalized"]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    num_rows: int
    rows: tuple[RowFacts, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearPair:
    """Two rows whose texts are nearly the same, and no copies.

    Attributes:
      similarity: Jaccard's, of their runs of five words.
    """

    similarity: float
    file: str
    line: int
    label: str
    split: str
    other_file: str
    other_line: int
    other_label: str
    other_split: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearDuplicatesFacts:
    """Near-duplicates in numbers; copies are not counted among them.

    Attributes:
      similarity: the least.
      num_pairs: pairs of rows.
      num_across: those of them in two splits.
      num_contradicting: those of them with two labels.
    """

    similarity: float
    num_pairs: int
    num_across: int
    num_contradicting: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class OddText:
    """A text that was decoded wrongly, or is in an unexpected language.

    Attributes:
      what: what is odd.
      excerpt: of the text, around it.
    """

    what: str
    excerpt: str
    file: str
    line: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuspectLabel:
    """A label that may be wrong.

    Attributes:
      digest: SHA-256 of the text in UTF-8: `--corrections` goes by it.
      label: the class that the data give.
      suggested: the one that the model would give.
      score: the probability that the model gives the label, the lowest first.
      suggested_probability: and the one that it suggests.
      text: shortened in its middle if it is long.
    """

    file: str
    line: int
    split: str
    digest: str
    label: str
    suggested: str
    score: float
    suggested_probability: float
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelNoise:
    """How many labels are wrong, as far as a model can tell.

    Attributes:
      model: that judged.
      num_texts: that it judged.
      accuracy: its agreement with the labels, out of fold.
      num_suspects: how many labels it doubts.
      estimated_share: of wrong labels, by confident learning (Northcutt, Jiang, Chuang
        2021). It counts the model's own sure errors, too, so it is rather too high.
    """

    model: str
    num_texts: int
    accuracy: float
    num_suspects: int
    estimated_share: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageFacts:
    """The languages of the texts.

    Attributes:
      expected: codes of --languages.
      num_texts: that were long enough to tell.
      counts: texts by code, the commonest first.
      other_share: of the texts, those in a language that was not expected.
      examples: some of these.
    """

    expected: tuple[str, ...]
    num_texts: int
    counts: Mapping[str, int]
    other_share: float
    examples: tuple[OddText, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DomainFacts:
    """Whether training and test texts can be told apart.

    Attributes:
      auc: area under the ROC curve of a classifier that was to tell them apart, out of
        fold; 0.5: by chance.
      control_aucs: the same with "training" and "test" dealt out anew, by chance.
      is_shown: whether the difference is beyond chance.
      train_words: the words that speak for training, the strongest first; empty where no
        difference is shown.
      test_words: for test.
    """

    num_train_texts: int
    num_test_texts: int
    auc: float
    control_aucs: tuple[float, ...]
    is_shown: bool
    train_words: tuple[str, ...]
    test_words: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mention:
    """How often training texts that mention a group have a label.

    Attributes:
      kind: of the group, as --group_terms has it.
      label: of two classes the second, of more each one of the commonest.
      num_texts: training texts that mention the group.
      num_of_label: those of them that have the label.
      num_rest: the other training texts.
      num_rest_of_label: those of these that have the label.
      odds_ratio: the odds of the label among the former by those among the latter, a half
        added to each of the four counts (Haldane 1956, Anscombe 1956), so that it is
        there where one of them is 0; 1: the group says nothing of the label.
      interval_95: of its logarithm's normal distribution (Woolf 1955), likewise.
    """

    kind: str
    group: str
    label: str
    num_texts: int
    num_of_label: int
    num_rest: int
    num_rest_of_label: int
    odds_ratio: float
    interval_95: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was found.

    Attributes:
      num_copies: rows whose text stands in another row already.
      num_copies_across: texts that stand in several splits.
      num_contradictions: texts with several labels.
      copies: texts that stand in several rows; those in several splits first, then
        those of several labels.
      num_odd_encodings: texts that look as if they were decoded wrongly.
      small_classes: classes with fewer than 10 texts, and how many they have.
      near_duplicates_facts: None, as the following: not looked for.
      near_duplicates: pairs, those across splits first.
      left_out: what was not looked at and how to have it looked at, in sentences.
      mentions: of the groups of --group_terms that training texts mention, by label.
    """

    num_copies: int
    num_copies_across: int
    num_contradictions: int
    copies: tuple[Copies, ...]
    num_odd_encodings: int
    odd_encodings: tuple[OddText, ...]
    small_classes: Mapping[str, int]
    near_duplicates_facts: NearDuplicatesFacts | None = None
    near_duplicates: tuple[NearPair, ...] = ()
    label_noise: LabelNoise | None = None
    suspect_labels: tuple[SuspectLabel, ...] = ()
    languages: LanguageFacts | None = None
    domain: DomainFacts | None = None
    left_out: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()

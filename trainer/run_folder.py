"""The folder of a run: every name in --model_dir, whose it is, and whether it is finished.

    with run_folder.opened("runs/a", is_chief=True) as folder:
        folder.is_finished, folder.history()["train"]
        storage.write_text(folder.summary, text)

| name | what it holds |
|---|---|
| `plan.json` | what a run would take, by --dry_run; a run has none |
| `config.json` | every setting of the run, from when all was found in order |
| `model.json` | what the model reads and answers: vocabulary, pooling, labels |
| `seen_texts.bin` | hashes of the texts that the weights depend on |
| `start/` | with --init_from: the weights that the run began from, and whose they were |
| `chosen.json` | what was weighed at its start, for a process that resumes it |
| `before.json` | the evaluation before training, with the data it was made on |
| `pretraining.json` | the masked loss before and after the pretraining |
| `baselines/` | the answers of the simple models, with the data they learned from |
| `checkpoints/` | `latest/`, states to resume from; `best/`, weights; `pretraining/`, its own |
| `metrics.jsonl`, `logs/` | the numbers of training, as JSON Lines and for TensorBoard |
| `predictions/` | the answers to the held-out texts: `validation.jsonl`, `test.jsonl` |
| `export/` | versions of the model, unless --export_dir names another folder |
| `report.html`, `summary.txt`, `report.json` | the results; the last one is written last |
| `.lock` | who uses the folder now |

One process at a time uses a folder. What a finished run does when it is started again
is decided in `stages/record.py`; here are the comparisons that it needs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
from typing import Any, Iterator, Mapping

import tensorflow as tf

from trainer import folder_lock, json_text, storage
from trainer.config import ExperimentConfig, differences
from trainer.data import source_files
from trainer.messages import message
from trainer.training.progress import read_json_lines

# Of files that are not what they were.
_MOST_NAMED = 5

# In a file that can be made again: the SHA-256 of the rest.
_DIGEST = "sha256"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Names of the files of a run, and what they say.

    Attributes:
      path: the folder itself, --model_dir.
    """

    path: storage.Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def plan(self) -> storage.Path:
        """What a run would take."""
        return self.path / "plan.json"

    @property
    def config(self) -> storage.Path:
        """The settings of the run."""
        return self.path / "config.json"

    @property
    def model(self) -> storage.Path:
        """What the model reads and answers."""
        return self.path / "model.json"

    @property
    def seen_texts(self) -> storage.Path:
        """Hashes of the texts that the weights depend on."""
        return self.path / "seen_texts.bin"

    @property
    def start(self) -> storage.Path:
        """Folder of the weights that the run began from."""
        return self.path / "start"

    @property
    def chosen(self) -> storage.Path:
        """What was weighed at the start of the run."""
        return self.path / "chosen.json"

    @property
    def adapter(self) -> storage.Path:
        """Folder of a copy of --lora_init_from, which the run began with."""
        return self.path / "lora_init"

    @property
    def before(self) -> storage.Path:
        """The evaluation before training."""
        return self.path / "before.json"

    @property
    def pretraining(self) -> storage.Path:
        """What the pretraining came to."""
        return self.path / "pretraining.json"

    @property
    def pretraining_checkpoints(self) -> storage.Path:
        """Folder of the states of the pretraining."""
        return self.checkpoints / "pretraining"

    def baseline(self, name: str) -> storage.Path:
        """The answers of a simple model to the held-out texts."""
        return self.path / "baselines" / f"{name}.json"

    @property
    def checkpoints(self) -> storage.Path:
        """Folder of the states to resume from and of the best weights."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> storage.Path:
        """The numbers of training, a record a line."""
        return self.path / "metrics.jsonl"

    @property
    def logs(self) -> storage.Path:
        """Folder of the same numbers for TensorBoard."""
        return self.path / "logs"

    @property
    def report_page(self) -> storage.Path:
        """The report as a page."""
        return self.path / "report.html"

    @property
    def report(self) -> storage.Path:
        """The report as JSON. Written last: a run that has it is finished."""
        return self.path / "report.json"

    @property
    def summary(self) -> storage.Path:
        """The closing table."""
        return self.path / "summary.txt"

    def predictions(self, split: str) -> storage.Path:
        """The answers to the texts of a held-out split, an object a line."""
        return self.path / "predictions" / f"{split}.jsonl"

    def exports(self, export_dir: str) -> storage.Path:
        """Folder of the exported versions; export_dir: --export_dir, "" for none."""
        return storage.path(export_dir) if export_dir else self.path / "export"

    @property
    def is_finished(self) -> bool:
        """Whether the run has left its results."""
        return self.report.is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to resume from."""
        latest = self.checkpoints / "latest"
        return latest.is_dir() and any(
            path.name.endswith(".index") for path in latest.iterdir()
        )

    def history(self) -> dict[str, list[dict[str, Any]]]:
        """The records of metrics.jsonl, by split."""
        names = ("pretraining", "train", "validation")
        records = self._records()
        return {name: records[name] for name in names}

    def watched(self) -> list[dict[str, Any]]:
        """What --watch_general_every left in metrics.jsonl."""
        return self._records()["general"]

    def _records(self) -> dict[str, list[dict[str, Any]]]:
        names = ("pretraining", "train", "validation", "general")
        result: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for record in read_json_lines(self.metrics):
            result[record.pop("split")].append(record)
        return result

    def refuse_other_data(
        self,
        fingerprint: Mapping[str, str],
        recorded: Mapping[str, str],
        *,
        files: Mapping[str, int],
        recorded_files: Mapping[str, int],
    ) -> None:
        """Raises ValueError where data differ from those the run was started with.

        Args:
          fingerprint: of each split now.
          recorded: the same of the run.
          files: how many rows each file has now; for the message alone.
          recorded_files: the same of the run; empty where it is not known.
        """
        names = [
            name
            for name in dict.fromkeys([*fingerprint, *recorded])
            if recorded.get(name) != fingerprint.get(name)
        ]
        if names:
            changes = source_files.differences(recorded_files or files, files)
            more = len(changes) - _MOST_NAMED
            words = [
                f"the {', '.join(names)} split changed since",
                *changes[:_MOST_NAMED],
                *([f"and {more} more"] if more > 0 else []),
            ]
            raise ValueError(
                message(
                    f"--model_dir={self} holds a run on other data; it must find the "
                    "same texts and labels",
                    received=", ".join(words),
                    mend=(
                        "train on the new data with another --model_dir, or bring the "
                        "old data back"
                    ),
                )
            )

    def refuse_other_start(self, digest: str, recorded: str) -> None:
        """Raises ValueError where a run began from other weights than it says now.

        Args:
          digest: SHA-256 of the weights of --init_from now, "" for none.
          recorded: the same of the run.
        """
        if digest != recorded:
            raise ValueError(
                message(
                    f"--model_dir={self} holds a run that began from other weights",
                    received=f"sha256 {digest[:12] or 'of none'} from --init_from, "
                    f"{recorded[:12] or 'of none'} in its checkpoint",
                    mend=f"bring {self.start} back, or use another --model_dir",
                )
            )


def refuse_other_settings(
    file: storage.Path, config: ExperimentConfig, *, flag: str, holds: str
) -> None:
    """Raises ValueError where a folder's config is another one.

    Args:
      file: the config in the folder, of the same kind; it need not be there.
      flag: that names the folder.
      holds: what the folder holds: "run".
    """
    if not file.is_file():
        return
    try:
        there = type(config).from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            message(
                f"expected the config of a {holds}",
                place=str(file),
                received=error,
                mend=f"use another --{flag}, or remove this one",
            )
        ) from error
    changed = differences(there, config)
    if changed:
        listed = "; ".join(
            f"--{name}: {_as_flag(old)} there, {_as_flag(new)} now"
            for name, (old, new) in changed.items()
        )
        raise ValueError(
            message(
                f"--{flag}={file.parent} holds a {holds} with other settings",
                received=listed,
                mend=f"start it with its own settings, use another --{flag}"
                f"{_way_on(RunFolder(file.parent), changed)}, or remove it",
            )
        )


def _way_on(folder: RunFolder, changed: Mapping[str, Any]) -> str:
    """How another run continues from the weights of this one, where it can."""
    other_model = {"preset", "pooling", "head_start", "label_names"} & changed.keys()
    if other_model or not folder.has_checkpoint:
        return ""
    return f" (with --init_from={folder} that run begins from the weights of this one)"


def _as_flag(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else repr(value)


@contextlib.contextmanager
def opened(model_dir: str, *, is_chief: bool) -> Iterator[RunFolder]:
    """The folder of a run, which no other run uses until the block ends.

    Args:
      model_dir: --model_dir; made if it is not there.
      is_chief: whether this process writes. Of several workers the first does: it
        alone takes the lock, and the others go by it.

    Raises:
      ValueError: the place cannot be read or written, or another process uses it.
    """
    path = storage.path(model_dir)
    try:
        path.is_dir()
    except tf.errors.OpError as error:
        raise ValueError(
            message(
                f"--model_dir={model_dir} must be a place that can be read and written",
                received=error.message,
            )
        ) from error
    if not is_chief:
        yield RunFolder(path)
        return
    with folder_lock.held(path, flag="model_dir"):
        for name in ("baselines", "predictions", "start"):
            storage.remove_leftovers(path / name)
        storage.remove_leftovers(path)
        yield RunFolder(path)


def read_json(path: storage.Path) -> Any:
    """What a JSON file holds that the run cannot do without.

    Raises:
      ValueError: it is damaged.
    """
    try:
        return json_text.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            message(
                "expected JSON, as it was written",
                place=str(path),
                received=error,
                mend="bring the file back, or remove its folder to start anew",
            )
        ) from error


def write_kept(path: storage.Path, content: Mapping[str, Any]) -> None:
    """Writes what takes long to make, and can be made again."""
    storage.write_text(path, json.dumps({**content, _DIGEST: _digest(content)}))


def read_kept(path: storage.Path) -> dict[str, Any] | None:
    """What `write_kept` wrote; None: it is not there, or is damaged, with a warning."""
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json_text.parse(path.read_text(encoding="utf-8"))
        digest = content.pop(_DIGEST, None)
    except (ValueError, TypeError, AttributeError) as error:
        _logger.warning("%s is damaged and is made anew: %s", path, error)
        return None
    # A file of an earlier version has none.
    if digest not in (None, _digest(content)):
        _logger.warning("%s is damaged and is made anew: it changed since", path)
        return None
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

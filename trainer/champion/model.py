"""An exported model as a side of a comparison: what it is, knows, has seen, answers.

model = load("runs/a/export", flag="champion")
model.label_names, model.seen
answered = model.answers(["What a film!"], batch_size=32)
answered.labels, answered.probabilities
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from trainer import storage
from trainer.json_text import parse
from trainer.messages import message
from trainer.serving import manifest, predictor, seen_texts, versions
from trainer.serving.predictor import Predictor
from trainer.storage import Path

_REPORT = "report.json"


class Answers(NamedTuple):
    """labels: int32 [n], positions in `label_names`; or, of a model that gives any number
    of them, bool [n, labels]. probabilities: float32 [n, labels]. Of a model that gives
    numbers both are these, float64 [n] and [n, 1]."""

    labels: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Model:
    """A version of a model.

    Attributes:
      folder: of the version.
      facts: its manifest.
      seen: uint64, see `serving/seen_texts.py`; None: it does not tell.
      predict: answers texts.
    """

    folder: Path
    facts: dict[str, Any]
    seen: np.ndarray | None
    predict: Predictor

    @property
    def label_names(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return tuple(self.facts["constants"]["labels"])

    @property
    def task(self) -> str:
        """--task of its run."""
        return task_of(self.facts)

    def answers(
        self, texts: Sequence[str], *, batch_size: int, description: str
    ) -> Answers:
        """What it says of texts.

        Raises:
          ValueError: it refuses one.
        """
        numbers = {name: number for number, name in enumerate(self.label_names)}
        said = predictor.in_batches(
            self.predict, texts, batch_size=batch_size, description=description
        )
        if self.task == "regression":
            values = np.array([each["value"] for each in said], np.float64)
            return Answers(values, values[:, np.newaxis])
        if self.task == "multi_label":
            labels = np.zeros([len(said), len(numbers)], bool)
            for row, each in enumerate(said):
                labels[row, [numbers[name] for name in each["labels"]]] = True
        else:
            labels = np.array([numbers[each["label"]] for each in said], np.int32)
        return Answers(
            labels,
            np.array([each["probabilities"] for each in said], np.float32),
        )


def load(location: str, *, flag: str, gpu_memory_mib: int = 0) -> Model:
    """Loads a version, which must be whole.

    Args:
      location: see `place`.
      flag: that names it, for messages.

    Raises:
      ValueError: there is none, or one that cannot be compared.
    """
    folder = place(location, flag=flag)
    facts = described(folder, flag=flag)
    predictor.verify(folder)
    return Model(
        folder=folder,
        facts=facts,
        seen=seen_texts.read(folder / seen_texts.FILE_NAME),
        predict=predictor.load(
            str(folder), gpu_memory_mib=gpu_memory_mib, may_be_held=True
        ),
    )


def place(location: str, *, flag: str) -> Path:
    """The folder of a version.

    Args:
      location: such a folder; a folder of versions; or, of a challenger, the folder of
        a run. Of several versions the champion is the one that serves, the challenger
        the newest.

    Raises:
      ValueError: there is none.
    """
    folder = storage.path(location)
    if flag == "challenger" and (folder / _REPORT).is_file():
        export = parse((folder / _REPORT).read_text(encoding="utf-8"))["export"]
        if export is None:
            raise ValueError(
                message(
                    "--challenger must be a run that exported its model",
                    received=f"{location}, whose export is none",
                    mend="give the run's command again, with --export",
                )
            )
        # The run's folder may have been moved since.
        moved = folder / "export" / str(export["version"])
        return moved if versions.is_version(moved) else storage.path(export["path"])
    if flag == "challenger" and versions.numbers(folder):
        return folder / str(max(versions.numbers(folder)))
    return versions.find(location, may_be_held=True, flag=flag)


def described(folder: Path, *, flag: str) -> dict[str, Any]:
    """The manifest of a version that sorts texts into labels.

    Raises:
      ValueError: it has none, or is for another task.
    """
    facts = manifest.read(folder)
    labels = facts.get("constants", {}).get("labels")
    if not labels:
        raise ValueError(
            message(
                f"--{flag} must sort texts into labels, and say which",
                received=f"{folder}, whose manifest names none",
                mend="give a model that this program exported for the same task",
            )
        )
    return facts


def task_of(facts: Mapping[str, Any]) -> str:
    """--task of the run of a manifest; of an older one, which does not say, the first."""
    task: str = facts.get("task", "single_label")
    return task


def refuse_other_task(facts: Mapping[str, Any], task: str, *, of: str) -> None:
    """Raises ValueError where a model and texts are of two tasks.

    Args:
      facts: the model's manifest.
      task: of the texts.
      of: names the model.
    """
    if task_of(facts) != task:
        raise ValueError(
            message(
                f"models are compared on texts of their own task, {of} on texts of "
                f"--task={task_of(facts)}",
                received=f"task={task}",
                mend=f"give --task={task_of(facts)}, with texts labelled so, or another "
                "model",
            )
        )


def refuse_other_labels(
    expected: Sequence[str], received: Sequence[str], *, expected_of: str, of: str
) -> None:
    """Raises ValueError where two sets of labels are not the same, in whatever order."""
    if set(expected) == set(received):
        return
    lacking, new = (
        ", ".join(sorted(one - other)) or "none"
        for one, other in (
            (set(expected), set(received)),
            (set(received), set(expected)),
        )
    )
    raise ValueError(
        message(
            f"{of} must have the labels of {expected_of}: {', '.join(expected)}",
            received=f"{', '.join(received)} (lacking: {lacking}; new: {new})",
            mend="give texts or a model of the same labels; --label_names says which "
            "class a label of the data means",
        )
    )


def latencies_ms(
    models: Sequence[Model], texts: Sequence[str], *, count: int = 20
) -> list[float]:
    """The median time of each model for a text alone, in milliseconds, taking turns."""
    times: list[list[float]] = [[] for _ in models]
    for text in texts[:count]:
        for model, taken in zip(models, times):
            start = time.perf_counter()
            model.predict([text])
            taken.append(1000 * (time.perf_counter() - start))
    return [float(np.median(taken)) for taken in times]

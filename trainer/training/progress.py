"""Where a run's numbers go while it runs: console, JSON Lines, TensorBoard.

    writers = [ConsoleWriter(total_steps=375, ...), JsonLinesWriter(path), ...]
    for writer in writers:
        writer.write("train", step=10, values={"loss": 0.69})

A writer takes plain floats: what is still on a device is the loop's to fetch.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import Any, Mapping, Protocol, TextIO

import tensorflow as tf

from trainer import storage
from trainer.console import duration


class Writer(Protocol):
    """Takes the numbers of one step."""

    def write(self, split: str, *, step: int, values: Mapping[str, float]) -> None:
        """Takes them.

        Args:
          split: "pretraining", "train", "validation" or "general".
          step: updates done, of the pretraining or of the fine-tuning.
        """


class ConsoleWriter:
    """A line a log step: where the run is, how it does, how long it still takes."""

    def __init__(
        self, *, total_steps: int, steps_per_epoch: int, output: TextIO | None = None
    ) -> None:
        self._total_steps = total_steps
        self._steps_per_epoch = steps_per_epoch
        self._output = output or sys.stdout

    def write(self, split: str, *, step: int, values: Mapping[str, float]) -> None:
        """Prints the line."""
        place = (
            f"step {step:>{len(str(self._total_steps))}}/{self._total_steps}  "
            f"epoch {step / self._steps_per_epoch:.2f}"
        )
        if split in ("train", "pretraining"):
            place = place if split == "train" else f"{split} {place}"
            text = (
                f"loss {values['loss']:.4f}  lr {values['learning_rate']:.2e}  "
                f"{values['examples_per_sec']:.1f} examples/s  "
                f"{duration(values['secs_left'])} left"
            )
        else:
            text = f"{split}: " + "  ".join(f"{k} {v:.4f}" for k, v in values.items())
        print(f"{place}  {text}", file=self._output, flush=True)


class JsonLinesWriter:
    """An object a record: {"split": ..., "step": ..., values ...}.

    Args:
      path: of the file; what an earlier process wrote stays, as far as the run does
        not do it again.
      from_step: the step the run resumes from.
      evaluated_step: the last step whose evaluation the run will not do again.
      watched_step: the same of what is kept of general abilities.
      pretrained_step: the step that the pretraining resumes from.
    """

    def __init__(
        self,
        path: storage.Path,
        *,
        from_step: float = 0,
        evaluated_step: float = 0,
        watched_step: float = 0,
        pretrained_step: float = math.inf,
    ) -> None:
        self._path = path
        last = {
            "pretraining": pretrained_step,
            "train": from_step,
            "validation": evaluated_step,
            "general": watched_step,
        }
        kept = [
            record
            for record in read_json_lines(path)
            if record["step"] <= last[record["split"]]
        ]
        storage.write_text(path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, split: str, *, step: int, values: Mapping[str, float]) -> None:
        """Appends a record."""
        with (
            storage.naming_place(self._path),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.write(json.dumps({"split": split, "step": step, **values}) + "\n")


def read_json_lines(path: storage.Path) -> list[dict[str, Any]]:
    """The records of a JsonLinesWriter; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


class TensorBoardWriter:
    """Scalars for TensorBoard, a run for each split."""

    def __init__(self, folder: storage.Path) -> None:
        self._folder = folder
        self._writers: dict[str, Any] = {}

    def write(self, split: str, *, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars, and all that was held back."""
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(
                os.fspath(self._folder / split)
            )
        with self._writers[split].as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        self._writers[split].flush()

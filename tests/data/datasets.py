"""Small data sets for the tests, and loading them."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
from typing import Any

from absl import flags as absl_flags

from trainer.config import DataConfig
from trainer.data import sources
from trainer.data.sources import Sources, TextDataset


def load(dataset: str, **settings: Any) -> Sources:
    return sources.load(DataConfig(dataset=dataset, **settings))


def written(folder: pathlib.Path, name: str, *rows: tuple[Any, Any]) -> str:
    """A JSON Lines file of (text, label) rows, as a value of --dataset."""
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"files:{path}"


def labelled(*labels: Any) -> list[tuple[str, Any]]:
    """Rows of these labels, each with a text of its own."""
    return [(f"text {number}", label) for number, label in enumerate(labels)]


def classes(data: TextDataset) -> list[str]:
    """The name of each row's class."""
    return [data.label_names[label] for label in data.labels]


def flags_in(message: str) -> list[tuple[str, ...]]:
    """The values of each --label_names in a message, as a shell and absl read them."""
    parser: Any = absl_flags.ListParser
    flags = re.findall(r"'--label_names=[^']*'|--label_names=\S+", message)
    words = [shlex.split(flag.rstrip(";,"))[0] for flag in flags]
    return [tuple(parser().parse(word.partition("=")[2])) for word in words]

"""The formats of an export: how each is written, and how it is asked.

    write("int8", folder, exportable)
    classify = reader("int8", folder, exportable)
    classify(["A fine film."]).probabilities    # [1, classes]

float32, bfloat16 and int8 are SavedModels of the same signatures. tokens, litert and
huggingface take token ids, and leave the tokenizer's files beside the model; tokens is
a SavedModel as well; peft is what LoRA learned, without the encoder. What is published,
and whether it is, is the export's business. A new format is a module with these two
functions, a line here, and its name in `config.EXPORT_FORMATS`.
"""

from __future__ import annotations

import pathlib
from typing import Sequence

from trainer.modeling.presets import Preset
from trainer.serving.formats import (
    hugging_face,
    litert,
    peft,
    saved_model,
    tokens,
)
from trainer.serving.formats.exportable import Classify, Exportable

SAVED_MODELS = ("float32", "bfloat16", "int8", "tokens")
READ_TEXT = SAVED_MODELS[:-1]
_OTHERS = {
    "tokens": tokens,
    "litert": litert,
    "huggingface": hugging_face,
    "peft": peft,
}


def check_installed(names: Sequence[str]) -> None:
    """Raises ValueError where a format cannot be exported here, before all the work."""
    if "litert" in names:
        litert.check_installed()


def check_preset(names: Sequence[str], preset: Preset) -> None:
    """Raises ValueError where a format cannot be of a preset, before all the work."""
    if "peft" in names:
        peft.check_preset(preset)


def write(name: str, folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes one format into a folder that is there."""
    if name in _OTHERS:
        _OTHERS[name].write_format(folder, exportable)
    else:
        saved_model.write(name, folder, exportable)


def reader(name: str, folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function from texts to answers that asks what was written."""
    classify: Classify = _OTHERS.get(name, saved_model).reader(folder, exportable)
    return classify

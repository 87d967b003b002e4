"""LoRA's adapter alone, the temperature folded into its head, as PEFT loads it.

    write_format(folder, exportable)

    # elsewhere, with PyTorch, transformers and peft:
    base = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=2)
    model = PeftModel.from_pretrained(base, folder)
    model(**inputs).logits.softmax(-1)      # the calibrated probabilities

BASE is what `--preset` was: a Hugging Face checkpoint, which has the encoder and the
tokenizer. What the files hold is in `modeling/adapters.py`; what they cannot say is
what `hugging_face.py` lists, and how long a text may be.
"""

from __future__ import annotations

import dataclasses
import pathlib

from trainer.messages import message
from trainer.modeling import adapters, lora
from trainer.modeling.classifier import build_classifier
from trainer.modeling.presets import Preset
from trainer.serving.formats import hugging_face
from trainer.serving.formats.exportable import Classify, Exportable


def check_preset(preset: Preset) -> None:
    """Raises ValueError where PEFT has nothing to put an adapter on."""
    if preset.hugging_face is None:
        raise ValueError(
            message(
                "--export_formats=peft needs a Hugging Face checkpoint as --preset: it "
                "is what PEFT puts the adapter on",
                received=f"--preset={preset.name}, of KerasHub",
                mend="train on a checkpoint's folder, or export huggingface, which "
                "holds all weights",
            )
        )


def write_format(folder: pathlib.Path, exportable: Exportable) -> None:
    """Writes the adapter of what is exported.

    Raises:
      ValueError: it has none.
    """
    adapter = exportable.adapter
    if adapter is None:
        raise ValueError(
            message(
                "--export_formats=peft writes what --lora_rank trains",
                received="a classifier without LoRA",
                mend="train with --lora_rank",
            )
        )
    head = hugging_face.folded(
        adapter.head,
        temperature=exportable.decision.temperature,
        scale=exportable.scale,
    )
    tempered = dataclasses.replace(adapter, tensors={**adapter.tensors, **head})
    adapters.write(folder, tempered, base=exportable.preset.name)


def reader(folder: pathlib.Path, exportable: Exportable) -> Classify:
    """A function that asks what `write_format` wrote, on the preset as it came.

    By this program's own loader: peft is not among what it needs.
    """
    classifier = build_classifier(
        exportable.preset,
        num_classes=len(exportable.label_names),
        pooling="first",
        dropout=0.0,
        seed=0,
        separator_id=exportable.encoder.separator_id,
    )
    adapter = adapters.read(str(folder), exportable.preset.kind)
    lora.add(
        classifier,
        rank=adapter.rank,
        alpha=adapter.alpha,
        targets=adapter.targets,
        seed=0,
    )
    adapters.assign(adapter, classifier)
    return hugging_face.asking(classifier, exportable.preset, exportable)

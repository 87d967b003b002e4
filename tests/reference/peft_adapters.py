"""What PEFT makes of an adapter of ours, and an adapter that it makes itself.

Run as `make_reference.py` is, in the environment it describes, with peft in it:

    python3.11 -m venv hf && hf/bin/pip install torch==2.13.0 transformers peft
    .venv/bin/python -m tests.serving.tiny_adapter FOLDER
    hf/bin/python tests/reference/peft_adapters.py FOLDER

FOLDER holds what `tests/serving/tiny_adapter.py` says. Each kind's folder in it gets

theirs: an adapter of all kernels that LoRA can adapt, with head and pooler, all of them
  random numbers, as PEFT's `save_pretrained` writes it.
found.npz
  ours/NAME: float32 [3, classes], the logits of base and ours/NAME.
  theirs: the same of base and theirs.
  versions: a JSON string.

tests/reference/peft holds ours, theirs and found.npz as they were made with the versions
that stand there, for the tests to compare with where there is no PEFT.
"""

from __future__ import annotations

import json
import pathlib
import platform
import sys
from typing import Any

import numpy as np
import peft
import torch
import transformers

NUM_CLASSES = 3


def make_base(folder: pathlib.Path) -> torch.nn.Module:
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        folder / "base", num_labels=NUM_CLASSES
    )


def write_theirs(folder: pathlib.Path) -> None:
    torch.manual_seed(7)
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=2,
        lora_alpha=5,
        lora_dropout=0.1,
        **json.loads((folder / "peft.json").read_text()),
        # The second factor is no zeros then.
        init_lora_weights=False,
    )
    model = peft.get_peft_model(make_base(folder), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder / "theirs")
    # The base lies in a folder of this machine.
    file = folder / "theirs" / "adapter_config.json"
    text = file.read_text().replace(str(folder / "base"), "a/base")
    file.write_text(text)
    (folder / "theirs" / "README.md").unlink()


def logits(folder: pathlib.Path, adapter: pathlib.Path) -> np.ndarray:
    model = peft.PeftModel.from_pretrained(make_base(folder), adapter).eval()
    with np.load(folder / "tokens.npz") as tokens:
        ids, num_tokens = tokens["token_ids"], tokens["num_tokens"]
    mask = np.arange(ids.shape[1]) < num_tokens[:, None]
    with torch.no_grad():
        found = model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask.astype(int))
        )
    result: np.ndarray = found.logits.numpy()
    return result


def write(folder: pathlib.Path) -> None:
    """Of one kind."""
    write_theirs(folder)
    ours = {f"ours/{place.name}": place for place in (folder / "ours").iterdir()}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
    }
    found: dict[str, Any] = {
        name: logits(folder, place)
        for name, place in (*ours.items(), ("theirs", folder / "theirs"))
    }
    np.savez(folder / "found.npz", versions=json.dumps(versions), **found)


if __name__ == "__main__":
    for each in pathlib.Path(sys.argv[1]).iterdir():
        write(each)

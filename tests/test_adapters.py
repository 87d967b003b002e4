"""LoRA's adapter: exported beside the model, begun with by another run, in bfloat16."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import shutil
from typing import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.test_experiment import make_config, weights_of
from tests.test_techniques import technique
from trainer import experiment
from trainer.config import ServingConfig
from trainer.serving import manifest
from trainer.training.checkpoints import Checkpoints


@contextlib.contextmanager
def killed_at_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run ends with RuntimeError once its first checkpoint is written."""
    save = Checkpoints.save_latest

    def save_and_die(self: Checkpoints) -> None:
        save(self)
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save_latest", save_and_die)
        yield


@pytest.mark.slow
def test_lora_is_exported_in_all_formats(
    tmp_path: pathlib.Path,
    tiny_hugging_face: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Merged, so that nothing that reads them knows of it; and the adapter alone.

    With that another run begins where this one ended, and resumes without it.
    """
    exported = make_config(
        tmp_path,
        tiny_hugging_face,
        serving=ServingConfig(
            export_formats=("float32", "int8", "peft"), calibrate=False
        ),
        **technique("lora"),
    )
    first = experiment.run(exported).report
    formats = {each["format"]: each for each in first["export"]["formats"]}
    assert {each["status"] for each in formats.values()} == {"published"}
    assert formats["float32"]["max_difference"] < 1e-5
    assert formats["peft"]["max_difference"] < 1e-5
    assert formats["peft"]["bytes"] < formats["int8"]["bytes"] / 20
    content = (tmp_path / "run" / "export").rglob("*")
    assert not any("lora" in path.name for path in content)
    adapter = tmp_path / "run" / "export" / "peft" / "1"
    assert manifest.verify(adapter).num_files == 4
    card = (adapter / "README.md").read_text()
    assert 'PeftModel.from_pretrained(base, "FOLDER")' in card
    assert "rank 2, alpha 16.0, on query, value, output." in card

    begun = make_config(
        tmp_path,
        tiny_hugging_face,
        model_dir=str(tmp_path / "begun"),
        num_before_examples=0,
        **technique("lora", model={"lora_init_from": str(adapter)}),
    )
    file = adapter / "adapter_model.safetensors"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    with killed_at_a_checkpoint(monkeypatch):
        with pytest.raises(RuntimeError, match="killed"):
            experiment.run(begun)
    shutil.rmtree(adapter)
    # What is measured before training is made anew: of the run's own copy.
    (tmp_path / "begun" / "before.json").unlink()
    report = experiment.run(begun).report
    assert report["training"]["lora_init_sha256"] == digest
    before, after = (report[name]["test"]["loss"] for name in ("before", "after"))
    assert before == pytest.approx(first["after"]["test"]["loss"], abs=1e-5)
    assert after < before


@pytest.mark.slow
def test_lora_learns_under_bfloat16(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    """In float32: most of its steps are smaller than what bfloat16 tells apart."""
    config = make_config(
        tmp_path,
        tiny_preset,
        runtime={"precision": "mixed_bfloat16"},
        num_before_examples=0,
        **technique("lora", optimizer={"learning_rate": 3e-2}),
    )
    report = experiment.run(config).report
    assert report["after"]["test"]["loss"] < report["before"]["test"]["loss"] - 0.005
    factors = {
        key: value
        for key, value in weights_of(tmp_path / "run").items()
        if key.startswith("weights") and "lora" in key
    }
    assert len(factors) == 12
    for key, value in factors.items():
        assert value.dtype == np.float32, key
        rounded = tf.cast(tf.cast(value, tf.bfloat16), tf.float32).numpy()
        assert (rounded != value).mean() > 0.9, key

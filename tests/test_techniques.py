"""Each way to train less of a model: on replicas, after a stop, in what is exported."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
import shutil
from typing import Any, Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.test_experiment import assert_equal_weights, make_config, weights_of
from trainer import experiment
from trainer.config import ServingConfig
from trainer.modeling import classifier as classifiers
from trainer.modeling import presets
from trainer.modeling import weights as weights_lib
from trainer.serving import manifest
from trainer.training.checkpoints import Checkpoints

TECHNIQUES: dict[str, dict[str, dict[str, Any]]] = {
    "lora": {"model": {"lora_rank": 2, "lora_targets": ("query", "value", "output")}},
    "pulled mean": {
        "model": {"freeze_layers": 1},
        "optimizer": {
            **{"ema": 0.8, "layer_decay": 0.5},
            **{"decay_towards": "start", "weight_decay": 10.0},
        },
    },
}
# Of one epoch of thirty steps; what is not trained is tested below.
SHORT = {"num_train_epochs": 1, "save_every_steps": 7}


def technique(name: str, **changes: Any) -> dict[str, Any]:
    """Changes of `make_config`, one section deep."""
    result: dict[str, Any] = {"training": SHORT}
    for section, values in (*TECHNIQUES[name].items(), *changes.items()):
        result[section] = result.get(section, {}) | values
    result["model"] = {"dropout": 0.0} | result["model"]
    return result


def best_weights_of(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """The weights that were chosen."""
    (index,) = (model_dir / "checkpoints" / "best").glob("*.index")
    reader = tf.train.load_checkpoint(str(index).removesuffix(".index"))
    return {
        weights_lib.name_of_key(name): reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name.startswith("weights")
    }


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
@pytest.mark.parametrize("name", TECHNIQUES)
def test_stopped_it_goes_on_and_moves_nothing_else(
    name: str, tmp_path: pathlib.Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = technique(name, model={"dropout": 0.1})
    whole, stopped = (
        make_config(
            tmp_path,
            tiny_preset,
            model_dir=str(tmp_path / each),
            **changes,
        )
        for each in ("whole", "stopped")
    )
    report = experiment.run(whole).report
    with killed_at_a_checkpoint(monkeypatch):
        with pytest.raises(RuntimeError, match="killed"):
            experiment.run(stopped)
    other = experiment.run(stopped).report
    assert_equal_weights(tmp_path / "whole", tmp_path / "stopped")
    assert other["after"] == report["after"]
    trained = report["training"]["num_trainable_parameters"]
    assert 0 < trained <= report["training"]["num_parameters"]

    # What is not trained is the preset's, to the bit.
    classifier = classifiers.build_classifier(
        presets.load_preset(tiny_preset),
        num_classes=2,
        pooling="first",
        dropout=0.0,
        seed=whole.training.seed,
    )
    start = {
        f"weights/{k}": v.numpy() for k, v in weights_lib.by_path(classifier).items()
    }
    end = {
        weights_lib.name_of_key(key): value
        for key, value in weights_of(tmp_path / "whole").items()
    }
    moments = {key.removeprefix("optimizer/") for key in end if key.startswith("optim")}
    moved = {key for key in start if (end[key] != start[key]).any()}
    assert "weights/logits/kernel" in moved
    if name == "lora":
        assert moved == {"weights/logits/kernel", "weights/logits/bias"}
        assert sum("lora" in key for key in end if key.startswith("weights/")) == 12
    else:
        assert not any("layer_0" in key or "embedding" in key for key in moved)
        # What is judged is the mean, which no single step has been at.
        best = best_weights_of(tmp_path / "whole")
        assert (best["weights/logits/kernel"] != end["weights/logits/kernel"]).all()
        assert len(moved) > 10
    assert not any("layer_0/" in key for key in moments)


@pytest.mark.slow
def test_two_replicas_are_as_one(tmp_path: pathlib.Path, tiny_preset: str) -> None:
    """LoRA, and the mean of its factors, pulled to where they began."""
    results = []
    for each, runtime in (
        ("one", {"strategy": "one_device"}),
        ("two", {"strategy": "mirrored", "num_virtual_devices": 2}),
    ):
        config = make_config(
            tmp_path,
            tiny_preset,
            model_dir=str(tmp_path / each),
            runtime=runtime,
            **technique("pulled mean", model={"lora_rank": 2, "freeze_layers": 0}),
        )
        experiment.run(config)
        results.append(weights_of(tmp_path / each))
    one, two = results
    assert one.keys() == two.keys()
    assert max(np.abs(one[key] - two[key]).max() for key in one) < 2e-4


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
    assert manifest.verify(adapter).num_files == 3
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

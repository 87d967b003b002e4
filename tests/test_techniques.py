"""Each way to train less of a model: after a stop, on replicas, on workers, exported.

Freezing, rates by layer, gradual unfreezing, the mean of the weights and the pull to
where they began go together in one run; LoRA, which excludes freezing, in another. What
each computes is tested beside its module; here it is that no strategy loses it.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

from tests import processes
from tests.test_experiment import assert_equal_weights, make_config, weights_of
from trainer import experiment
from trainer.modeling import classifier as classifiers
from trainer.modeling import presets
from trainer.modeling import weights as weights_lib
from trainer.training.checkpoints import Checkpoints

TECHNIQUES: dict[str, dict[str, dict[str, Any]]] = {
    "lora": {
        "model": {"lora_rank": 2, "lora_targets": ("query", "value", "output")},
        # The factors of layer 1, and those of layer 0 after the stop.
        "optimizer": {"unfreeze_every": 5},
    },
    "pulled mean": {
        "model": {"freeze_layers": 1},
        "optimizer": {
            **{"ema": 0.8, "layer_decay": 0.5, "unfreeze_every": 10},
            **{"decay_towards": "start", "weight_decay": 10.0},
        },
    },
}
# Of one epoch of 22 steps, stopped after seven.
SHORT = {"num_train_epochs": 1, "save_every_steps": 7}
Undisturbed = Callable[[str], tuple[pathlib.Path, Any]]


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


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_preset: str
) -> Undisturbed:
    """Trains on one device, once a technique: its --model_dir and report."""
    done: dict[str, tuple[pathlib.Path, Any]] = {}

    def run_of(name: str) -> tuple[pathlib.Path, Any]:
        if name not in done:
            folder = tmp_path_factory.mktemp("undisturbed")
            config = make_config(folder, tiny_preset, **technique(name))
            done[name] = folder / "run", experiment.run(config).report
        return done[name]

    return run_of


@pytest.fixture(scope="module")
def start(tiny_preset: str) -> dict[str, np.ndarray]:
    """The weights as they come, by path."""
    classifier = classifiers.build_classifier(
        presets.load_preset(tiny_preset),
        num_classes=2,
        pooling="first",
        dropout=0.0,
        seed=0,
    )
    return {
        f"weights/{k}": v.numpy() for k, v in weights_lib.by_path(classifier).items()
    }


def weights_by_path(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """Every number of the latest state, by path."""
    return {
        weights_lib.name_of_key(key): value
        for key, value in weights_of(model_dir).items()
    }


def assert_close_weights(one: pathlib.Path, other: pathlib.Path) -> None:
    """Weights, moments and means, to rounding."""
    expected, found = weights_of(one), weights_of(other)
    assert expected.keys() == found.keys()
    assert max(np.abs(expected[key] - found[key]).max() for key in expected) < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", TECHNIQUES)
def test_stopped_it_goes_on_and_moves_nothing_else(
    name: str,
    undisturbed: Undisturbed,
    start: dict[str, np.ndarray],
    tmp_path: pathlib.Path,
    tiny_preset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, report = undisturbed(name)
    config = make_config(tmp_path, tiny_preset, **technique(name))
    with monkeypatch.context() as patched:
        save = Checkpoints.save_latest

        def save_and_die(self: Checkpoints) -> None:
            save(self)
            raise RuntimeError("killed")

        patched.setattr(Checkpoints, "save_latest", save_and_die)
        with pytest.raises(RuntimeError, match="killed"):
            experiment.run(config)
    stopped = weights_by_path(tmp_path / "run")
    other = experiment.run(config).report
    assert_equal_weights(whole, tmp_path / "run")
    for split, found in other["after"].items():
        for part in ("loss", "confusion_matrix", "reliability"):
            assert found[part] == report["after"][split][part]
    trained = report["training"]["num_trainable_parameters"]
    assert 0 < trained <= report["training"]["num_parameters"]

    # What is not trained is the preset's, to the bit.
    end = weights_by_path(whole)
    moments = {key.removeprefix("optimizer/") for key in end if key.startswith("optim")}
    moved = {key for key in start if (end[key] != start[key]).any()}
    moved_early = {key for key in start if (stopped[key] != start[key]).any()}
    assert {"weights/logits/kernel", "weights/logits/bias"} <= moved_early
    if name == "lora":
        assert moved == {"weights/logits/kernel", "weights/logits/bias"}
        factors = {key for key in end if key.startswith("weights/") and "lora" in key}
        assert len(factors) == 12
        waited = {key for key in factors if "layer_0." in key}
        assert all((stopped[key] == 0).all() for key in waited if key.endswith(".b"))
        assert all((end[key] != stopped[key]).any() for key in factors)
        assert any(stopped[key].any() for key in factors - waited if key.endswith(".b"))
    else:
        assert not any("layer_0" in key or "embedding" in key for key in moved)
        # What is judged is the mean, which no single step has been at.
        best = best_weights_of(whole)
        assert (best["weights/logits/kernel"] != end["weights/logits/kernel"]).all()
        # Layer 1 waits for its turn.
        assert not any("layer_1" in key for key in moved_early)
        assert sum("layer_1" in key for key in moved) > 10
        assert not any("layer_0/" in key for key in moments)


@pytest.mark.slow
@pytest.mark.parametrize("name", TECHNIQUES)
def test_two_replicas_are_as_one(
    name: str, undisturbed: Undisturbed, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    mirrored = {"strategy": "mirrored", "num_virtual_devices": 2}
    config = make_config(tmp_path, tiny_preset, runtime=mirrored, **technique(name))
    experiment.run(config)
    assert_close_weights(undisturbed(name)[0], tmp_path / "run")


@pytest.mark.slow
def test_two_workers_are_as_one(
    undisturbed: Undisturbed, tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """One of them with memory for a text at a time: both have as many parts."""
    command = [sys.executable, "-m", "tests.technique_workers"]
    command += [str(tmp_path), tiny_preset]
    outputs = processes.finish(processes.start_commands([command] * 2))
    for name in TECHNIQUES:
        assert_close_weights(undisturbed(name)[0], tmp_path / name)
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["training"]["accumulation_steps"] == 4
    for output in outputs:
        assert output.count("in 4 parts of 1 text of 48 tokens, reckoned") == 2

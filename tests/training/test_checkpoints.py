"""What is saved, what comes back, and what stays on disk."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import OptimizerConfig
from trainer.modeling import classifier as classifier_lib
from trainer.modeling import optimizers
from trainer.modeling.presets import load_preset
from trainer.training import strategies
from trainer.training.checkpoints import Checkpoints, RunState

# Every field has another value than at the start; the floats have no short form.
STATE: dict[str, Any] = {
    "step": 12,
    "best_score": 0.1 + 0.2,
    "best_step": 9,
    "num_evaluations_since_best": 2,
    "stopped_early": True,
    "pending": [[0.7, 1 / 3], [2 / 3, 1e-9]],
    "train_secs": 12.345678901234567,
    "data_fingerprint": {"train": "ab", "test": "cd"},
}


def make_classifier(
    preset: str,
    *,
    num_replicas: int = 1,
    pooling: Any = "first",
    num_classes: int = 2,
    seed: int = 0,
) -> keras.Model:
    """A compiled classifier, its weights and optimizer all set to random numbers."""
    strategy = tf.distribute.get_strategy()
    if num_replicas > 1:
        strategy = strategies.mirror([f"CPU:{i}" for i in range(num_replicas)])
    generator = np.random.default_rng(seed)
    with strategy.scope():
        model = classifier_lib.build_classifier(
            load_preset(preset),
            num_classes=num_classes,
            pooling=pooling,
            dropout=0.1,
            seed=0,
        )
        optimizer = optimizers.build_optimizer(OptimizerConfig(), total_steps=20)
        optimizers.exclude_from_weight_decay(optimizer, model.trainable_variables)
        classifier_lib.compile_classifier(model, optimizer)
        for variable in (*model.variables, *optimizer.variables):
            numbers = generator.normal(0, 10, variable.shape)
            variable.assign(numbers.astype(variable.dtype))
    return model


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    return {
        v.path: v.numpy() for v in model.variables if v.name != "seed_generator_state"
    }


def optimizer_of(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.optimizer.variables]


def assert_equal(found: Any, expected: Any) -> None:
    """Bit for bit, names included."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = found.values(), expected.values()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_every_field_of_the_state_is_in_the_table() -> None:
    start = dataclasses.asdict(RunState())
    assert set(start) == set(STATE)
    assert not [name for name in STATE if start[name] == STATE[name]]


def test_state_round_trip() -> None:
    state = RunState()
    state.deserialize(RunState(**STATE).serialize())
    assert dataclasses.asdict(state) == STATE
    assert dataclasses.asdict(RunState()) != STATE, "a default is shared"


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_all_is_restored_bit_for_bit(
    saved_on: int, restored_on: int, tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """Numbers of replicas: a run may go on with another one."""
    saved = make_classifier(tiny_preset, num_replicas=saved_on, seed=1)
    Checkpoints(tmp_path, saved, RunState(**STATE)).save_latest()

    fresh = make_classifier(tiny_preset, num_replicas=restored_on, seed=2)
    state = RunState()
    checkpoints = Checkpoints(tmp_path, fresh, state)
    assert not np.array_equal(optimizer_of(fresh)[1], optimizer_of(saved)[1])
    assert checkpoints.restore_latest() is True
    assert_equal(weights_of(fresh), weights_of(saved))
    assert_equal(optimizer_of(fresh), optimizer_of(saved))
    assert dataclasses.asdict(state) == STATE
    if restored_on > 1:
        for variable in fresh.trainable_variables:
            first, *others = variable.value.values
            for other in others:
                np.testing.assert_array_equal(first.numpy(), other.numpy())


def test_no_checkpoint(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    model = make_classifier(tiny_preset)
    before = weights_of(model)
    checkpoints = Checkpoints(tmp_path / "not" / "there", model, RunState())
    assert checkpoints.latest_path is None
    assert checkpoints.restore_latest() is False
    assert checkpoints.restore_best() is False
    assert_equal(weights_of(model), before)


def steps_in(folder: pathlib.Path) -> list[int]:
    return sorted(int(p.stem.removeprefix("step-")) for p in folder.glob("*.index"))


def test_only_the_newest_two_are_kept(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    model, state = make_classifier(tiny_preset), RunState()
    checkpoints = Checkpoints(tmp_path, model, state)
    for step, kept in ((3, [3]), (5, [3, 5]), (6, [5, 6]), (20, [6, 20])):
        state.step = step
        checkpoints.save_latest()
        assert steps_in(tmp_path / "latest") == kept
        assert checkpoints.latest_path == str(tmp_path / "latest" / f"step-{step}")
    # Also by the process that goes on.
    state = RunState()
    checkpoints = Checkpoints(tmp_path, make_classifier(tiny_preset), state)
    assert checkpoints.restore_latest() and state.step == 20
    state.step = 21
    checkpoints.save_latest()
    assert steps_in(tmp_path / "latest") == [20, 21]
    assert not list((tmp_path / "best").glob("*.index"))


def test_best_keeps_one_and_restores_weights_only(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    model, state = make_classifier(tiny_preset, seed=1), RunState(step=5)
    checkpoints = Checkpoints(tmp_path, model, state)
    checkpoints.save_best()
    generator = np.random.default_rng(9)
    for variable in model.trainable_variables:
        variable.assign(generator.normal(size=variable.shape))
    state.step = 9
    checkpoints.save_best()
    assert steps_in(tmp_path / "best") == [9]

    best, optimizer = weights_of(model), optimizer_of(model)
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    state.step, state.best_step = 15, 9
    assert checkpoints.restore_best() is True
    assert_equal(weights_of(model), best)
    assert_equal(optimizer_of(model), optimizer)
    assert (state.step, state.best_step) == (15, 9)

    # Another process, whose optimizer and state are others.
    fresh = make_classifier(tiny_preset, seed=2)
    before, fresh_state = optimizer_of(fresh), RunState(step=1)
    assert Checkpoints(tmp_path, fresh, fresh_state).restore_best() is True
    assert_equal(weights_of(fresh), best)
    assert_equal(optimizer_of(fresh), before)
    assert fresh_state.step == 1


def test_what_a_kill_left_half_written_is_removed(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    model, state = make_classifier(tiny_preset), RunState(step=3)
    Checkpoints(tmp_path, model, state).save_latest()
    whole = sorted(path.name for path in (tmp_path / "latest").iterdir())
    for kind in ("latest", "best"):
        part = tmp_path / kind / "step-4_temp" / "part-00000-of-00001"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path, model, state)
    assert not list(tmp_path.rglob("*_temp*"))
    assert sorted(path.name for path in (tmp_path / "latest").iterdir()) == whole
    assert checkpoints.restore_latest() is True


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("latest", {"num_classes": 5}),
        ("best", {"num_classes": 5}),
        ("latest", {"pooling": "mean"}),
    ],
)
def test_checkpoint_of_another_model_is_refused(
    kind: str, other: dict[str, Any], tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    checkpoints = Checkpoints(tmp_path, make_classifier(tiny_preset), RunState(step=7))
    checkpoints.save_latest()
    checkpoints.save_best()
    model = make_classifier(tiny_preset, **other)
    checkpoints = Checkpoints(tmp_path, model, RunState())
    restore = {"latest": checkpoints.restore_latest, "best": checkpoints.restore_best}
    with pytest.raises(ValueError) as error:
        restore[kind]()
    message = str(error.value)
    assert str(tmp_path / kind / "step-7") in message
    assert "expected a checkpoint of this model" in message
    assert "use another --model_dir" in message


def test_checkpoint_of_fewer_variables_is_refused(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """Those it holds fit, but the model has one more."""
    model = make_classifier(tiny_preset)
    weights = [v.value for v in model.variables if v.name != "seed_generator_state"]
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(weights=weights[:-1]), str(tmp_path / "best"), 1
    )
    manager.save()
    with pytest.raises(ValueError, match="use another --model_dir"):
        Checkpoints(tmp_path, model, RunState()).restore_best()


def test_seed_generators_are_left_out(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    """Dropout is a function of the step; a state saved would only tie it to Keras."""
    model, state = make_classifier(tiny_preset), RunState()
    seeds = [v for v in model.variables if v.name == "seed_generator_state"]
    assert seeds, "the model has none: the test would show nothing"
    checkpoints = Checkpoints(tmp_path, model, state)
    checkpoints.save_latest()
    saved = tf.train.list_variables(checkpoints.latest_path)
    counts = {
        kind: sum(name.startswith(f"{kind}/") for name, _ in saved)
        for kind in ("weights", "optimizer")
    }
    assert counts == {"weights": 41, "optimizer": 1 + 2 * 41}
    for seed in seeds:
        seed.assign([1, 2])
    checkpoints.restore_latest()
    for seed in seeds:
        np.testing.assert_array_equal(seed.numpy(), [1, 2])

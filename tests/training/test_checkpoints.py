"""What is saved, what comes back, and what stays on disk."""

from __future__ import annotations

import dataclasses
import pathlib
import resource
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.config import OptimizerConfig
from trainer.modeling import classifier as classifier_lib
from trainer.modeling import optimizers
from trainer.modeling import weights as weights_lib
from trainer.modeling.presets import load_preset
from trainer.runtime import strategies
from trainer.training.checkpoints import Checkpoints, RunState

# Every field has another value than at the start; the floats have no short form.
STATE: dict[str, Any] = {
    "step": 12,
    "evaluated_step": 10,
    "watched_step": 5,
    "best_score": 0.1 + 0.2,
    "best_step": 9,
    "num_evaluations_since_best": 2,
    "stopped_early": True,
    "lost_general": True,
    "pending": [[0.7, 1 / 3], [2 / 3, 1e-9]],
    "train_secs": 12.345678901234567,
    "data_fingerprint": {"train": "ab", "test": "cd"},
    "data_files": {"a.csv": 3},
    "phase": "pretraining",
    "start_digest": "ef",
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
        tiny.compile_classifier(model, optimizer)
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


def test_best_is_found_by_its_step_and_restores_weights_only(
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
    assert steps_in(tmp_path / "best") == [5, 9]

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
    before, fresh_state = optimizer_of(fresh), RunState(step=1, best_step=9)
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
    orphan = tmp_path / "latest" / "step-2.data-00000-of-00001"
    orphan.write_bytes(b"its index is gone")
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
    checkpoints = Checkpoints(tmp_path, model, RunState(best_step=7))
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
    named = {path: v.value for path, v in weights_lib.by_path(model).items()}
    del named["logits/bias"]
    named["adapter/kernel"] = named.pop("pooled_dense/kernel")
    tf.train.Checkpoint(weights=named).write(str(tmp_path / "best" / "step-3"))
    with pytest.raises(ValueError) as caught:
        Checkpoints(tmp_path, model, RunState(best_step=3)).restore_best()
    for words in (
        "missing weights/logits/bias [2], weights/pooled_dense/kernel [16, 16]",
        "too many weights/adapter/kernel [16, 16]",
        "use another --model_dir",
    ):
        assert words in str(caught.value)


def test_variables_are_keyed_by_their_paths(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """So that a frozen or added layer moves no other's weights."""
    model, state = make_classifier(tiny_preset), RunState()
    checkpoints = Checkpoints(tmp_path, model, state)
    checkpoints.save_latest()
    saved = {
        weights_lib.name_of_key(key)
        for key, _ in tf.train.list_variables(checkpoints.latest_path)
    }
    assert {f"weights/{path}" for path in weights_lib.by_path(model)} <= saved
    assert {f"optimizer/{v.path}" for v in model.optimizer.variables} <= saved
    assert "optimizer/adam_w/iteration" in saved


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


@pytest.mark.parametrize("keep", [1, 3])
def test_keeps_as_many_as_asked_for(
    keep: int, tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """Of the best one more, for the oldest state may mean one from before it."""
    model, state = make_classifier(tiny_preset), RunState()
    checkpoints = Checkpoints(tmp_path, model, state, keep=keep)
    for state.step in range(2, 8):
        checkpoints.save_latest()
        checkpoints.save_best()
    assert steps_in(tmp_path / "latest") == [*range(2, 8)][-keep:]
    assert steps_in(tmp_path / "best") == [*range(2, 8)][-keep - 1 :]


def saved_twice(preset: str, folder: pathlib.Path) -> tuple[keras.Model, list[Any]]:
    """A model with checkpoints of steps 3 and 6, and its numbers at step 3."""
    model, state = make_classifier(preset, seed=1), RunState(step=3)
    checkpoints = Checkpoints(folder, model, state)
    checkpoints.save_latest()
    before = [*weights_of(model).values(), *optimizer_of(model)]
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    state.step = 6
    checkpoints.save_latest()
    return model, before


def flip(path: pathlib.Path, position: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("file", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["gone", "empty", "torn", "cut by one", "flipped"])
def test_damaged_checkpoint_is_named_and_the_one_before_it_used(
    file: str,
    damage: str,
    tiny_preset: str,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, before = saved_twice(tiny_preset, tmp_path)
    path = tmp_path / "latest" / f"step-6.{file}"
    content = path.read_bytes()
    path.unlink()
    cut = {"empty": 0, "torn": len(content) // 2, "cut by one": len(content) - 1}
    if damage == "flipped":
        path.write_bytes(content)
        flip(path, len(content) // 3, 4)
    elif damage != "gone":
        path.write_bytes(content[: cut[damage]])
    state = RunState()
    assert Checkpoints(tmp_path, model, state, is_chief=False).restore_latest()
    assert state.step == 3
    assert_equal([*weights_of(model).values(), *optimizer_of(model)], before)
    # Without its index it is no checkpoint at all.
    named = f"{tmp_path}/latest/step-6 is damaged" in caplog.text
    assert named != (file == "index" and damage == "gone")


def test_any_flipped_bit_is_found_or_without_effect(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    model, _ = saved_twice(tiny_preset, tmp_path)
    whole = [*weights_of(model).values(), *optimizer_of(model)]
    generator = np.random.default_rng(0)
    num_found = 0
    for file in ("index", "data-00000-of-00001"):
        path = tmp_path / "latest" / f"step-6.{file}"
        content = path.read_bytes()
        for position in generator.integers(0, len(content), 60):
            flip(path, int(position), int(position) % 8)
            state = RunState()
            checkpoints = Checkpoints(tmp_path, model, state, is_chief=False)
            assert checkpoints.restore_latest()
            if state.step == 6:
                found = [*weights_of(model).values(), *optimizer_of(model)]
                assert_equal(found, whole)
            num_found += state.step == 3
            path.write_bytes(content)
    assert num_found > 100


def test_all_damaged_is_an_error(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    """To start anew without a word would throw away what was trained."""
    model, _ = saved_twice(tiny_preset, tmp_path)
    for path in (tmp_path / "latest").glob("*.data*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError) as error:
        Checkpoints(tmp_path, model, RunState()).restore_latest()
    for part in ("step-6 is damaged", "step-3 is damaged", "remove --model_dir"):
        assert part in str(error.value)


def test_damaged_best_is_an_error(tiny_preset: str, tmp_path: pathlib.Path) -> None:
    model, state = make_classifier(tiny_preset), RunState(step=5, best_step=5)
    checkpoints = Checkpoints(tmp_path, model, state)
    checkpoints.save_best()
    flip(tmp_path / "best" / "step-5.data-00000-of-00001", 100, 3)
    with pytest.raises(ValueError, match="best/step-5 damaged"):
        checkpoints.restore_best()


def test_without_room_the_last_good_one_stays(
    tiny_preset: str, tmp_path: pathlib.Path
) -> None:
    """Files may not grow beyond half of what a checkpoint takes."""
    model, before = saved_twice(tiny_preset, tmp_path)
    now = [*weights_of(model).values(), *optimizer_of(model)]
    whole = sorted(path.name for path in (tmp_path / "latest").iterdir())
    size = (tmp_path / "latest" / "step-6.data-00000-of-00001").stat().st_size
    checkpoints = Checkpoints(tmp_path, model, RunState(step=6))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(ValueError) as error:
            checkpoints.save_latest()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/latest/step-6: expected to write")
    assert "raise the limit (ulimit -f)" in message
    assert f"{tmp_path}/latest/step-6 is there to resume from" in message
    assert sorted(path.name for path in (tmp_path / "latest").iterdir()) == whole
    state = RunState()
    assert Checkpoints(tmp_path, model, state).restore_latest() and state.step == 6
    assert_equal([*weights_of(model).values(), *optimizer_of(model)], now)
    assert not np.array_equal(now[0], before[0])

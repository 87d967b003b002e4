"""The run's state on disk: the latest to go on from, the best weights to keep.

    state = RunState()
    checkpoints = Checkpoints("/runs/a/checkpoints", classifier, state)
    checkpoints.restore_latest()    # False at a first start
    checkpoints.save_latest()

A checkpoint holds weights, the optimizer's variables and the host's state in one, so
that no kill can leave them of different steps. TensorFlow writes it under a temporary
name and renames it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import keras
import tensorflow as tf


@dataclasses.dataclass(eq=False)
class RunState(tf.train.experimental.PythonState):
    """What the training loop knows besides the variables.

    Attributes:
      step: updates done.
      best_score: the best metric so far, higher is better; None before the first.
      best_step: the step it was reached at.
      num_evaluations_since_best: evaluations in a row that did not better it.
      stopped_early: whether patience ran out.
      pending: (loss, gradient norm) of each step since the last log line.
      train_secs: time spent in training steps, in all the run's processes.
      data_fingerprint: of the texts and labels the run was started with.
    """

    step: int = 0
    best_score: float | None = None
    best_step: int | None = None
    num_evaluations_since_best: int = 0
    stopped_early: bool = False
    pending: list[list[float]] = dataclasses.field(default_factory=list)
    train_secs: float = 0.0
    data_fingerprint: dict[str, str] = dataclasses.field(default_factory=dict)

    def serialize(self) -> str:
        """The state as JSON, for TensorFlow's checkpoint."""
        return json.dumps(
            {
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(self)
            }
        )

    def deserialize(self, string_value: str) -> None:
        """Takes over what `serialize` gave."""
        for name, value in json.loads(string_value).items():
            setattr(self, name, value)


class Checkpoints:
    """Saves and restores a run.

    Args:
      folder: where; "latest" and "best" are made in it.
      classifier: compiled, its optimizer built.
      state: saved and restored along.
      is_chief: whether this process writes; the others only restore.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        classifier: keras.Model,
        state: RunState,
        *,
        is_chief: bool = True,
    ) -> None:
        self._state = state
        self._is_chief = is_chief
        weights = [
            variable.value
            for variable in classifier.variables
            if variable.name != "seed_generator_state"
        ]
        optimizer = [variable.value for variable in classifier.optimizer.variables]
        if is_chief:
            for unfinished in folder.glob("*/*_temp"):
                shutil.rmtree(unfinished, ignore_errors=True)
        self._latest = tf.train.CheckpointManager(
            tf.train.Checkpoint(weights=weights, optimizer=optimizer, state=state),
            str(folder / "latest"),
            max_to_keep=2,
            checkpoint_name="step",
        )
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(weights=weights),
            str(folder / "best"),
            max_to_keep=1,
            checkpoint_name="step",
        )

    @property
    def latest_path(self) -> str | None:
        """Path prefix of the last state saved; None before the first."""
        path: str | None = self._latest.latest_checkpoint
        return path

    def restore_latest(self) -> bool:
        """Goes back to the last state saved; False if there is none."""
        return _restore(self._latest)

    def restore_best(self) -> bool:
        """Sets the best weights, and nothing else; False if there are none."""
        return _restore(self._best)

    def save_latest(self) -> None:
        """Saves the whole state, and removes all but the newest two."""
        if self._is_chief:
            self._latest.save(checkpoint_number=self._state.step)

    def save_best(self) -> None:
        """Saves the weights as the best so far, in place of those before."""
        if self._is_chief:
            self._best.save(checkpoint_number=self._state.step)


def _restore(manager: tf.train.CheckpointManager) -> bool:
    # From the disk: a manager knows only of what its own process saved.
    path = tf.train.latest_checkpoint(manager.directory)
    if path is None:
        return False
    try:
        status = manager.checkpoint.restore(path)
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"{path}: expected a checkpoint of this model; found one with other "
            f"variables ({error}); use another --model_dir"
        ) from error
    return True

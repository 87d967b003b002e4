"""The run's state on disk: the latest to resume from, the best weights to keep.

    state = RunState()
    checkpoints = Checkpoints(folder, classifier, state)
    checkpoints.restore_latest()    # False at a first start
    checkpoints.save_latest()       # folder/latest/step-500.index and .data-…

A checkpoint holds weights, the optimizer's variables and the host's state in one, so
that no kill can leave them of different steps. Variables are keyed by their paths. TensorFlow's format has a checksum for
each tensor and each block of the index: before one is used all of it is read, and the
one before it is taken where something is torn, missing or changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from typing import Any, Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from trainer import storage
from trainer.messages import message
from trainer.modeling import weights as weights_lib

_logger = logging.getLogger(__name__)
_INDEX_FILE = re.compile(r"step-([0-9]+)\.index")
_ANY_FILE = re.compile(r"step-([0-9]+)[._].*")


@dataclasses.dataclass(eq=False)
class RunState(tf.train.experimental.PythonState):
    """What the training loop knows besides the variables.

    Attributes:
      step: updates done.
      evaluated_step: the last step whose evaluation has been taken in.
      watched_step: the last step at which general abilities were measured.
      best_score: the best metric so far, higher is better; None before the first.
      best_step: the step it was reached at.
      num_evaluations_since_best: evaluations in a row that did not better it.
      stopped_early: whether patience ran out, or too much was lost.
      lost_general: whether too much of general abilities was lost.
      pending: (loss, gradient norm) of each step since the last log line.
      train_secs: time spent in training steps, in all the run's processes.
      data_fingerprint: of the texts and labels the run was started with.
      data_files: how many rows were read of each file, by its name.
      phase: "pretraining", or "train", the fine-tuning: by what name its numbers go.
      start_digest: of the weights that it began from; "" without --init_from.
    """

    step: int = 0
    evaluated_step: int = 0
    watched_step: int = 0
    best_score: float | None = None
    best_step: int | None = None
    num_evaluations_since_best: int = 0
    stopped_early: bool = False
    lost_general: bool = False
    pending: list[list[float]] = dataclasses.field(default_factory=list)
    train_secs: float = 0.0
    data_fingerprint: dict[str, str] = dataclasses.field(default_factory=dict)
    data_files: dict[str, int] = dataclasses.field(default_factory=dict)
    phase: str = "train"
    start_digest: str = ""

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
      keep: how many of the latest stay, and how many of the best, of which there is
        one more: the oldest state that is kept may still mean it.
      is_chief: whether this process writes; the others only restore.
      wait_for_all: returns when all workers have called it: those that do not write
        wait for what is written.
      io_device: the device that reads and writes, where those that hold the variables
        are on other hosts; None: they do.
    """

    def __init__(
        self,
        folder: storage.Path,
        classifier: keras.Model,
        state: RunState,
        *,
        keep: int = 2,
        is_chief: bool = True,
        wait_for_all: Callable[[], None] = lambda: None,
        io_device: str | None = None,
    ) -> None:
        self._state = state
        self._is_chief = is_chief
        self._wait_for_all = wait_for_all
        named = weights_lib.by_path(classifier)
        weights = {path: variable.value for path, variable in named.items()}
        optimizer = {v.path: v.value for v in classifier.optimizer.variables}
        self._latest = _Series(
            folder / "latest",
            {"weights": weights, "optimizer": optimizer},
            state=state,
            keep=keep,
            io_device=io_device,
        )
        self._best = _Series(
            folder / "best",
            {"weights": weights},
            keep=keep + 1,
            io_device=io_device,
        )
        if is_chief:
            self._latest.remove_unfinished()
            self._best.remove_unfinished()

    @property
    def latest_path(self) -> str | None:
        """Path prefix of the last state saved; None before the first."""
        return next((self._latest.prefix(step) for step in self._latest.steps()), None)

    def restore_latest(self) -> bool:
        """Goes back to the last state saved that is whole; False if there is none.

        Raises:
          ValueError: there are some, and none of them is whole; or they are of
            another model.
        """
        damaged = []
        for step in self._latest.steps():
            damage = self._latest.damage(step)
            if damage is None:
                self._latest.restore(step)
                return True
            damaged.append(f"{self._latest.prefix(step)} is damaged ({damage})")
            _logger.warning("%s: taking the one before it", damaged[-1])
        if damaged:
            raise ValueError(
                message(
                    "expected a whole checkpoint to resume from",
                    received=f"none: {'; '.join(damaged)}",
                    mend="remove --model_dir to start anew",
                )
            )
        return False

    def restore_best(self) -> bool:
        """Sets the best weights, and nothing else; False if there are none.

        Raises:
          ValueError: they are gone or damaged.
        """
        step = self._state.best_step
        if step is None:
            return False
        damage = self._best.damage(step)
        if damage is not None:
            raise ValueError(
                message(
                    f"expected the best weights, of step {step}",
                    received=f"{self._best.prefix(step)} damaged ({damage})",
                    mend=f"remove the newest of {self._latest.folder} to evaluate "
                    "again, or --model_dir to start anew",
                )
            )
        self._best.restore(step)
        return True

    def save_latest(self) -> None:
        """Saves the whole state, and removes the oldest.

        Raises:
          ValueError: it cannot be written, for want of room for example; those
            saved before are still there.
        """
        if self._is_chief:
            self._latest.save(self._state.step)
        self._wait_for_all()

    def save_best(self) -> None:
        """Saves the weights as the best so far; raises as `save_latest`."""
        if self._is_chief:
            self._best.save(self._state.step)
        self._wait_for_all()


def restore_chosen(
    folder: storage.Path,
    classifier: keras.Model,
    *,
    best_step: int | None,
    io_device: str | None = None,
) -> None:
    """Sets the weights that a finished run chose, of a classifier without an optimizer.

    Args:
      folder: the run's, as of `Checkpoints`.
      best_step: of the best weights; None: the run chose the last ones.
      io_device: as of `Checkpoints`.

    Raises:
      ValueError: they are gone, damaged, or of another model.
    """
    named = weights_lib.by_path(classifier)
    series = _Series(
        folder / ("latest" if best_step is None else "best"),
        {"weights": {path: variable.value for path, variable in named.items()}},
        keep=1,
        io_device=io_device,
    )
    steps = series.steps()
    step = best_step if best_step is not None else next(iter(steps), None)
    if step not in steps:
        damage: str | None = "it is not there"
    else:
        damage = series.damage(step)
    if step is None or damage is not None:
        raise ValueError(
            message(
                "expected the weights that the run chose",
                place=str(series.folder) if step is None else series.prefix(step),
                received=damage,
                mend="remove the folder of that run to train it again",
            )
        )
    series.restore(step)


def save_start(
    folder: storage.Path, variables: Mapping[str, tf.Variable], *, io_device: str | None
) -> None:
    """Keeps the weights that a run begins from, by path.

    Raises:
      ValueError: they cannot be written.
    """
    _start(folder, variables, io_device).save(0)


def restore_start(
    folder: storage.Path, variables: Mapping[str, tf.Variable], *, io_device: str | None
) -> None:
    """Sets the weights that `save_start` kept.

    Raises:
      ValueError: they are gone, damaged, or of another model.
    """
    series = _start(folder, variables, io_device)
    damage = series.damage(0)
    if damage is not None:
        raise ValueError(
            message(
                "expected the weights that the run began from",
                place=series.prefix(0),
                received=f"damaged ({damage})",
                mend="bring them back, or remove --model_dir to start anew",
            )
        )
    series.restore(0)


def _start(
    folder: storage.Path, variables: Mapping[str, tf.Variable], io_device: str | None
) -> _Series:
    return _Series(folder, {"weights": variables}, keep=1, io_device=io_device)


def chosen_prefix(folder: storage.Path) -> storage.Path:
    """The checkpoint of a run that counts: the best so far, else its last.

    Args:
      folder: the run's, as of `Checkpoints`.

    Raises:
      ValueError: there is none that is whole.
    """
    state = RunState()
    latest = _Series(folder / "latest", {}, state=state, keep=1, io_device=None)
    step = next((each for each in latest.steps() if latest.damage(each) is None), None)
    if step is None:
        raise ValueError(
            message(
                "expected a whole checkpoint",
                place=str(latest.folder),
                received=f"{len(latest.steps())}, none of them whole",
            )
        )
    latest.restore_state(step)
    if state.best_step is None:
        return latest.folder / f"step-{step}"
    return folder / "best" / f"step-{state.best_step}"


def read_weights(prefix: storage.Path) -> dict[str, np.ndarray]:
    """The weights in a checkpoint or SavedModel of this program, by path.

    Args:
      prefix: what the names of its files begin with.

    Raises:
      ValueError: it is not there, is damaged, or holds none.
    """
    start = "weights/"
    try:
        with storage.literal(prefix.parent) as folder:
            reader = tf.compat.v1.train.NewCheckpointReader(str(folder / prefix.name))
            names = {
                weights_lib.name_of_key(key): key
                for key in reader.get_variable_to_shape_map()
            }
            values = {
                name.removeprefix(start): reader.get_tensor(key)
                for name, key in names.items()
                if name.startswith(start)
            }
    except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
        raise ValueError(
            message(
                "expected weights that can be read",
                place=str(prefix),
                received=_first_line(error),
            )
        ) from error
    if not values:
        raise ValueError(
            message(
                "expected the weights of a classifier of this program",
                place=str(prefix),
                received="other variables alone",
            )
        )
    return values


class _Series:
    """The checkpoints of one folder, by step.

    What counts is the index file, which TensorFlow writes last: without one there is
    no checkpoint, whatever else lies there.
    """

    def __init__(
        self,
        folder: storage.Path,
        variables: Mapping[str, Mapping[str, tf.Variable]],
        *,
        state: RunState | None = None,
        keep: int,
        io_device: str | None,
    ) -> None:
        self.folder = folder
        self._options = tf.train.CheckpointOptions(experimental_io_device=io_device)
        self._variables = variables
        host = {} if state is None else {"state": state}
        self._checkpoint = tf.train.Checkpoint(**variables, **host)
        self._keep = keep

    def steps(self) -> list[int]:
        """The steps that are there, the newest first."""
        matches = (_INDEX_FILE.fullmatch(name) for name in self._names())
        return sorted((int(match[1]) for match in matches if match), reverse=True)

    def prefix(self, step: int) -> str:
        """What the names of a checkpoint's files begin with."""
        return str(self.folder / f"step-{step}")

    def save(self, step: int) -> None:
        """Writes a checkpoint, then removes all but the newest."""
        try:
            with storage.naming_refusals():
                self._checkpoint.write(self.prefix(step), options=self._options)
        except OSError as error:
            self.remove_unfinished()
            last = self.steps()
            raise ValueError(
                message(
                    "expected to write a checkpoint",
                    place=self.prefix(step),
                    received=_first_line(error),
                    mend=f"{storage.MENDS.get(error.errno or 0, 'start again')}; "
                    f"{self.prefix(last[0]) if last else 'nothing'} is there to "
                    "resume from",
                )
            ) from error
        for old in self.steps()[self._keep :]:
            self._remove(old)

    def damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint; None: all of it can be read."""
        try:
            with self._readable(step) as prefix:
                # tf.train.load_checkpoint does not find files of all schemes.
                reader = tf.compat.v1.train.NewCheckpointReader(prefix)
                for name in reader.get_variable_to_shape_map():
                    reader.get_tensor(name)
        except (tf.errors.OpError, IndexError, RuntimeError, ValueError) as error:
            # A file that ends too early is an IndexError.
            return _first_line(error)
        return None

    def restore(self, step: int) -> None:
        """Sets the variables, all of them or ValueError."""
        with self._readable(step) as prefix:
            self._refuse_other_variables(step, prefix)
            status = self._checkpoint.read(prefix, options=self._options)
            status.assert_existing_objects_matched()

    def restore_state(self, step: int) -> None:
        """Sets the host's state alone."""
        with self._readable(step) as prefix:
            self._checkpoint.read(prefix, options=self._options).expect_partial()

    @contextlib.contextmanager
    def _readable(self, step: int) -> Iterator[str]:
        """A checkpoint's prefix that TensorFlow does not take for a pattern."""
        with storage.literal(self.folder) as folder:
            yield str(folder / f"step-{step}")

    def _refuse_other_variables(self, step: int, prefix: str) -> None:
        """Raises ValueError where variables differ in name or shape, and names them."""
        reader = tf.compat.v1.train.NewCheckpointReader(prefix)
        there = {
            f"{weights_lib.name_of_key(key)} {list(shape)}"
            for key, shape in reader.get_variable_to_shape_map().items()
            if key.startswith(tuple(f"{kind}/" for kind in self._variables))
        }
        expected = [
            f"{kind}/{path} {list(variable.shape)}"
            for kind, variables in self._variables.items()
            for path, variable in variables.items()
        ]
        difference = weights_lib.difference(expected, there)
        if difference:
            raise ValueError(
                message(
                    "expected a checkpoint of this model",
                    place=self.prefix(step),
                    received=f"one of other variables: {difference}",
                    mend="use another --model_dir",
                )
            )

    def remove_unfinished(self) -> None:
        """Removes what a killed process had not finished writing or removing."""
        finished = set(self.steps())
        for name in self._names():
            match = _ANY_FILE.fullmatch(name)
            if match and (name.endswith("_temp") or int(match[1]) not in finished):
                storage.remove(self.folder / name)

    def _remove(self, step: int) -> None:
        # The index first: what is left without one counts for nothing.
        for name in sorted(self._names(), key=lambda name: "index" not in name):
            match = _ANY_FILE.fullmatch(name)
            if match and int(match[1]) == step:
                storage.remove(self.folder / name)

    def _names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return [place.name for place in self.folder.iterdir()]


def _first_line(error: Any) -> str:
    return str(getattr(error, "message", error)).strip().split("\n")[0]

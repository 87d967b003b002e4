"""Where finished runs can be compared: TensorBoard's HParams, MLflow.

    trackers.check_installed(config.trackers)       # before the training
    trackers.record(config.trackers, tracked)       # when the report is written

A tracker is a module with `record(run)`, and its line in `_MODULES`. What a tracker
cannot do costs a warning: hours of training do not end because a server is away.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Mapping, NamedTuple, Sequence

from trainer.messages import message
from trainer.trackers.tracked import TrackedRun as TrackedRun

_logger = logging.getLogger(__name__)


class _Tracker(NamedTuple):
    """A module of this package, the package that it needs, and what installs that."""

    module: str
    package: str
    install: str


_MODULES: Mapping[str, _Tracker] = {
    "tensorboard": _Tracker("hparams", "tensorboard", "tensorboard"),
    "mlflow": _Tracker("mlflow_runs", "mlflow", "mlflow-skinny"),
}


def check_installed(names: Sequence[str]) -> None:
    """Raises ValueError, with the command that installs it, where a package is missing."""
    for name in names:
        tracker = _MODULES[name]
        if importlib.util.find_spec(tracker.package) is None:
            raise ValueError(
                message(
                    f"--trackers={name} needs {tracker.package}",
                    received="not installed",
                    mend=f"pip install {tracker.install}",
                )
            )


def record(names: Sequence[str], run: TrackedRun) -> None:
    """Hands a finished run to each tracker."""
    for name in names:
        try:
            importlib.import_module(f"{__name__}.{_MODULES[name].module}").record(run)
        # Whatever a library or a server raises: the run itself is finished.
        except Exception as error:
            _logger.warning(
                "--trackers=%s has not taken the run: %s: %s",
                name,
                type(error).__name__,
                error,
            )

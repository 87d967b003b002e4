"""MLflow: a run in a local folder or on a server, as MLFLOW_TRACKING_URI says.

    MLFLOW_TRACKING_URI=http://localhost:5000 python -m trainer.main --trackers=mlflow ...

Without that variable, runs are in ./mlruns. The experiment is MLFLOW_EXPERIMENT_NAME, or
"bert-trainer". A run that is published again is the same run there. The small package
mlflow-skinny is enough.
"""

from __future__ import annotations

import os
import time
from typing import Any

from trainer import storage
from trainer.trackers.tracked import TrackedRun

_LOCAL = "./mlruns"
_EXPERIMENT = "bert-trainer"
_FOLDER_TAG = "trainer.model_dir"
# What a batch may hold, and a value of a setting.
_MOST_SETTINGS = 100
_MOST_CHARACTERS = 500
# The library's own defaults wait for minutes where no server answers.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
# Without it the library refuses folders since 3.17, which the small package has alone.
_FOLDERS = {"MLFLOW_ALLOW_FILE_STORE": "true"}


def record(run: TrackedRun) -> None:
    """Logs settings, metrics, report and the path of the model."""
    for name, value in (_PATIENCE | _FOLDERS).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or _LOCAL)
    run_id = _run_id(client, run)
    now = int(time.time() * 1000)
    settings = [
        Param(name, str(value)[:_MOST_CHARACTERS])
        for name, value in run.settings.items()
    ]
    for start in range(0, len(settings), _MOST_SETTINGS):
        client.log_batch(run_id, params=settings[start : start + _MOST_SETTINGS])
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in run.metrics.items()],
    )
    client.set_tag(run_id, "saved_model", run.saved_model)
    for path in run.files:
        # In a bucket the report stays where it is.
        if not isinstance(path, storage.RemotePath):
            client.log_artifact(run_id, str(path))
    client.set_terminated(run_id)


def _run_id(client: Any, run: TrackedRun) -> str:
    """Of the run that this folder has there already, or of a new one."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
    experiment = client.get_experiment_by_name(name)
    experiment_id = (
        experiment.experiment_id if experiment else client.create_experiment(name)
    )
    place = os.path.abspath(run.name) if "://" not in run.name else run.name
    quoted = place.replace("'", "\\'")
    found = client.search_runs([experiment_id], f"tags.`{_FOLDER_TAG}` = '{quoted}'")
    if found:
        return str(found[0].info.run_id)
    created = client.create_run(
        experiment_id, run_name=run.name, tags={_FOLDER_TAG: place}
    )
    return str(created.info.run_id)

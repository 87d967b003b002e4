"""Tests of trainer/trackers: what TensorBoard and MLflow can read of a run."""

from __future__ import annotations

import importlib.util
import logging
import pathlib

import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from trainer import trackers
from trainer.trackers import TrackedRun

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None


def tracked(folder: pathlib.Path) -> TrackedRun:
    folder.mkdir(exist_ok=True)
    report = folder / "report.html"
    report.write_text("<p>a report</p>")
    return TrackedRun(
        name=str(folder),
        settings={
            "learning_rate": 1e-4,
            "seed": 3,
            "calibrate": True,
            "preset": "tiny",
        },
        metrics={"test_accuracy": 0.875, "test_loss": 0.5},
        logs=folder / "logs",
        files=(report,),
        saved_model="runs/a/export/1",
    )


def test_tensorboard_reads_settings_and_metrics(tmp_path: pathlib.Path) -> None:
    run = tracked(tmp_path / "a")
    trackers.record(["tensorboard"], run)
    events = event_accumulator.EventAccumulator(
        str(tmp_path / "a" / "logs" / "hparams")
    )
    events.Reload()
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    values = data.session_start_info.hparams
    assert values["learning_rate"].number_value == 1e-4
    assert values["seed"].number_value == 3
    assert values["calibrate"].bool_value is True
    assert values["preset"].string_value == "tiny"
    (found,) = events.Tensors("test_accuracy")
    assert tensor_util.make_ndarray(found.tensor_proto) == 0.875


@pytest.mark.skipif(HAS_MLFLOW, reason="mlflow is installed here")
def test_a_package_that_is_missing_is_named_with_the_command() -> None:
    with pytest.raises(ValueError, match="needs mlflow.*pip install"):
        trackers.check_installed(["tensorboard", "mlflow"])


def test_a_tracker_that_fails_costs_a_warning(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tracked(tmp_path / "a")
    # A file where the folder of the logs should be.
    (tmp_path / "a" / "logs").write_text("")
    with caplog.at_level(logging.WARNING, "trainer"):
        trackers.record(["tensorboard"], run)
    assert "--trackers=tensorboard has not taken the run" in caplog.text


@pytest.mark.skipif(not HAS_MLFLOW, reason="needs mlflow-skinny")
def test_mlflow_has_a_run_once(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a local folder; published again, it is the same run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", str(tmp_path / "mlruns"))
    run = tracked(tmp_path / "a")
    for _ in range(2):
        trackers.record(["mlflow"], run)
    from mlflow import MlflowClient

    client = MlflowClient(str(tmp_path / "mlruns"))
    experiment = client.get_experiment_by_name("bert-trainer")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.params["learning_rate"] == "0.0001"
    assert found.data.metrics["test_accuracy"] == 0.875
    assert found.data.tags["saved_model"] == "runs/a/export/1"
    assert found.info.status == "FINISHED"
    assert [each.path for each in client.list_artifacts(found.info.run_id)] == [
        "report.html"
    ]

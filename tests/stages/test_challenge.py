"""A run's model beside the one that serves: promoted or held, and why."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from tests.test_experiment import make_config
from trainer import experiment
from trainer.config import ServingConfig
from trainer.serving import canary, manifest, predictor, promotion, versions
from trainer.serving.promotion import Promotion
from trainer.stages.record import RunResult

POOR, GOOD = {"learning_rate": 1e-6}, {"learning_rate": 1e-2}
EPOCHS = {"num_train_epochs": 4}


@pytest.fixture(autouse=True)
def no_fresh_process(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[pathlib.Path]:
    """A canary costs ten seconds; `test_compare.py` has a real one."""
    tried: list[pathlib.Path] = []
    monkeypatch.setattr(canary, "check", tried.append)
    return tried


def run_of(folder: pathlib.Path, preset: str, name: str, **changes: Any) -> RunResult:
    serving = {"export_dir": str(folder / "export"), **changes.pop("serving", {})}
    config = make_config(
        folder,
        preset,
        model_dir=str(folder / name),
        serving=ServingConfig(**serving),
        **{"training": EPOCHS, **changes},
    )
    return experiment.run(config)


@pytest.mark.slow
def test_a_month_of_versions(
    tmp_path: pathlib.Path, tiny_preset: str, no_fresh_process: list[pathlib.Path]
) -> None:
    better, not_worse = {"promote": "better"}, {"promote": "not_worse"}
    first = run_of(tmp_path, tiny_preset, "1", optimizer=POOR, serving=better)
    assert first.report["export"]["status"] == "promoted"
    assert "the first version" in first.report["export"]["status_reason"]
    assert first.report["champion"] is None

    second = run_of(tmp_path, tiny_preset, "2", optimizer=GOOD, serving=better)
    challenge = second.report["champion"]
    assert challenge["verdict"] == "better" and challenge["split"] == "test"
    # Split by content: what this run holds out, the champion has not seen either.
    assert challenge["num_left_out"] == 0
    assert second.report["export"]["status"] == "promoted"
    assert "The challenger is better" in second.summary

    third = run_of(tmp_path, tiny_preset, "3", optimizer=POOR, serving=not_worse)
    export = tmp_path / "export"
    assert third.report["champion"]["verdict"] == "worse"
    assert third.report["export"]["status"] == "held"
    assert third.report["commands"]["predict"] is None
    assert "Version 3 is held" in third.summary
    assert manifest.status(export / "3") == "held"
    assert manifest.read(export / "3")["verdict"]["verdict"] == "worse"
    assert (export / "latest").read_text() == "2\n"
    assert [path.name for path in no_fresh_process] == ["1", "2"]
    # Nobody answers by it.
    assert versions.find(str(export)).name == "2"
    with pytest.raises(ValueError, match="which is held"):
        predictor.load(str(export / "3"))
    events = [
        (each["version"], each["event"], (each["verdict"] or {}).get("verdict"))
        for each in promotion.history(export)
    ]
    assert events == [
        (1, "promoted", None),
        (2, "promoted", "better"),
        (3, "held", "worse"),
    ]
    assert promotion.history(export)[1]["accuracy"] == pytest.approx(
        second.report["after"]["test"]["accuracy"]
    )


@pytest.mark.slow
def test_two_at_once_the_second_has_to_be_compared_with_the_first(
    tmp_path: pathlib.Path, tiny_preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it exports, another run's version is promoted."""
    settle = promotion.settle

    def promoted_meanwhile(
        folder: pathlib.Path, version: int, decided: Promotion
    ) -> Promotion:
        other = folder / str(version + 10)
        other.mkdir()
        (other / "saved_model.pb").write_text("model")
        versions.set_latest(folder)
        return settle(folder, version, decided)

    monkeypatch.setattr(promotion, "settle", promoted_meanwhile)
    result = run_of(
        tmp_path, tiny_preset, "1", optimizer=POOR, serving={"promote": "better"}
    )
    assert result.report["export"]["status"] == "held"
    assert "version 11 was promoted meanwhile" in (
        result.report["export"]["status_reason"]
    )
    assert versions.latest(tmp_path / "export") == 11


@pytest.mark.slow
def test_labels_that_do_not_agree_are_refused_before_training(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    run_of(tmp_path, tiny_preset, "1", optimizer=POOR)
    content = json.loads((tmp_path / "export" / "1" / "manifest.json").read_text())
    content["constants"]["labels"] = ["bad", "neutral", "good"]
    (tmp_path / "export" / "1" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"\(lacking: neutral; new: none\)"):
        run_of(
            tmp_path,
            tiny_preset,
            "2",
            serving={"champion": str(tmp_path / "export" / "latest")},
        )
    assert not (tmp_path / "2" / "config.json").exists()


@pytest.mark.slow
def test_a_champion_may_be_looked_at_without_a_gate(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    run_of(tmp_path, tiny_preset, "1", optimizer=GOOD)
    result = run_of(
        tmp_path,
        tiny_preset,
        "2",
        optimizer=POOR,
        serving={"champion": str(tmp_path / "export")},
    )
    assert result.report["champion"]["verdict"] == "worse"
    assert result.report["export"]["status"] == "promoted"


def test_a_process_that_cannot_load_it_is_heard(tmp_path: pathlib.Path) -> None:
    """The real one, of a folder with no model that TensorFlow reads."""
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff")
    done = subprocess.run(
        [sys.executable, "-m", "trainer.serving.canary", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0

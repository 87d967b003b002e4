"""What a run says that its encoder kept: on texts that it does not train on."""

from __future__ import annotations

import csv
import html
import pathlib
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.test_experiment import assert_equal_weights, make_config
from tests.test_regression import write_prices
from trainer import experiment
from trainer.config import ServingConfig
from trainer.kept import measures
from trainer.training.checkpoints import Checkpoints

SHORT = {"num_train_epochs": 1, "save_every_steps": 7}


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that name a probe whose labels a tiny encoder can tell, and texts."""
    folder = tmp_path_factory.mktemp("general")
    generator = np.random.default_rng(5)
    # Two ways to write, of which the reviews' labels know nothing.
    words = {"plain": tiny.NEUTRAL[::2], "other": tiny.NEUTRAL[1::2]}
    with (folder / "probe.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(80):
            label = list(words)[row % 2]
            drawn = generator.choice(words[label], 8)
            writer.writerow([" ".join(drawn), label])
    lines = [" ".join(generator.choice(tiny.NEUTRAL + tiny.GOOD, 8)) for _ in range(60)]
    (folder / "texts.txt").write_text("\n".join([*lines, "", ""]))
    return {
        "general_texts": f"files:{folder}/texts.txt",
        "general_probe": f"files:{folder}/probe.csv",
    }


def test_weights_that_do_not_move_keep_all(
    general: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """To the bit: the same numbers before and after."""
    config = make_config(
        tmp_path,
        tiny_preset,
        training=SHORT,
        model={"freeze_layers": -1},
        kept=general,
    )
    found = experiment.run(config).report["kept"]
    assert [each["layer"] for each in found["layers"]] == [0, 1, 2]
    for layer in found["layers"]:
        assert layer["alikeness"] == layer["neighbour_overlap"] == 1.0
        assert layer["alikeness_of_halves"] == [1.0, 1.0]
    probe = found["probe"]
    assert probe["before"] == probe["after"] == probe["old_probe_after"] > 0.8
    assert probe["difference"] == 0 and probe["mcnemar_p"] == 1
    assert probe["verdict"] == "not_shown"
    assert found["texts"]["num_texts"] == 60
    words = found["masked_words"]
    assert words["before"] == words["after"] == words["realigned"] > 1
    assert words["difference"] == 0 and words["interval_95"] == [0, 0]
    # Of texts of eight words, one or two; and no head came with the preset.
    assert 60 <= words["num_tokens"] <= 120 and words["head"] == "frequencies"


def test_a_model_of_numbers_tells_what_its_encoder_kept(
    general: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    """The general texts have words and labels whatever the task's own texts have."""
    config = make_config(
        tmp_path,
        tiny_preset,
        data={
            "dataset": write_prices(tmp_path / "a.csv", count=80),
            "task": "regression",
        },
        training=SHORT,
        kept={**general, "watch_general_every": 4},
        serving=ServingConfig(),
    )
    result = experiment.run(config)
    found = result.report["kept"]
    assert [each["layer"] for each in found["layers"]] == [0, 1, 2]
    # It was trained, so what it makes of the texts has moved.
    assert 0 < found["layers"][-1]["alikeness"] < 1
    assert found["probe"]["num_labels"] == 2 and found["probe"]["before"] > 0.8
    assert found["watched"] and found["masked_words"]["num_tokens"] >= 60
    page = html.unescape(result.report_path.read_text())
    assert "What it kept</h2>" in page and found["sentence"] in page
    assert result.saved_model is not None
    card = (pathlib.Path(result.saved_model) / "MODEL_CARD.md").read_text()
    assert "What it kept of its general abilities" in card


@pytest.mark.slow
def test_a_rate_too_large_is_told_and_stops(
    general: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    settings = {**general, "watch_general_every": 5, "max_general_drop": 0.02}
    config = make_config(
        tmp_path,
        tiny_preset,
        training={**SHORT, "num_train_epochs": 2},
        optimizer={"learning_rate": 1.0, "warmup_fraction": 0.0},
        kept=settings,
        serving=ServingConfig(),
    )
    result = experiment.run(config)
    found = result.report["kept"]
    assert found["probe"]["verdict"] == "worse"
    assert found["masked_words"]["interval_95"][0] > 0
    assert found["stopped_at"] is not None
    assert found["stopped_at"] == result.report["training"]["num_steps_run"]
    assert found["watched"][-1]["step"] == found["stopped_at"]
    assert found["watched"][-1]["probe_drop"] > 0.02
    assert any("--max_general_drop" in each for each in result.report["warnings"])
    page = result.report_path.read_text(encoding="utf-8")
    assert "What it kept" in page and "Training was stopped at step" in page
    assert result.saved_model is not None
    card = (result.saved_model / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert found["sentence"].split(":")[0] in card.replace("\\", "")


@pytest.mark.slow
def test_a_run_that_is_killed_watches_each_step_once(
    general: dict[str, Any],
    tmp_path: pathlib.Path,
    tiny_preset: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed after step 7, and then at a watch, which has been begun."""
    whole, stopped = (
        make_config(
            tmp_path,
            tiny_preset,
            model_dir=str(tmp_path / name),
            training=SHORT,
            kept={**general, "watch_general_every": 5},
        )
        for name in ("whole", "stopped")
    )
    expected = experiment.run(whole).report["kept"]
    calls = iter(range(99))
    read, save = measures.probe_kept, Checkpoints.save_latest

    def read_or_die(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 1:
            raise RuntimeError("killed")
        return read(*arguments, **named)

    def save_and_die(self: Checkpoints) -> None:
        save(self)
        if self._state.step == 7:
            raise RuntimeError("killed")

    for owner, name, dies in (
        (Checkpoints, "save_latest", save_and_die),
        (measures, "probe_kept", read_or_die),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, dies)
            with pytest.raises(RuntimeError, match="killed"):
                experiment.run(stopped)
    found = experiment.run(stopped).report["kept"]
    assert [each["step"] for each in found["watched"]] == [5, 10, 15, 20]
    assert found == expected
    assert_equal_weights(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
def test_two_replicas_see_what_one_sees(
    general: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    reports = [
        experiment.run(
            make_config(
                tmp_path,
                tiny_preset,
                model_dir=str(tmp_path / strategy),
                training=SHORT,
                model={"dropout": 0.0},
                runtime={"strategy": strategy, "num_virtual_devices": devices},
                kept=general,
            )
        ).report["kept"]
        for strategy, devices in (("one_device", 1), ("mirrored", 2))
    ]
    one, two = ([each["alikeness"] for each in r["layers"]] for r in reports)
    np.testing.assert_allclose(one, two, atol=1e-3)
    assert min(one) < 0.999  # It did train.
    words = [each["masked_words"] for each in reports]
    assert words[0]["num_tokens"] == words[1]["num_tokens"]
    assert words[0]["before"] == pytest.approx(words[1]["before"], abs=1e-5)
    assert words[0]["after"] == pytest.approx(words[1]["after"], abs=1e-2)
    assert words[0]["difference"] != 0


def test_texts_that_are_trained_on_are_left_out_or_refused(
    general: dict[str, Any], tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    config = make_config(tmp_path, tiny_preset)
    with open(tmp_path / "reviews.csv", newline="") as file:
        reviews = [row["text"] for row in csv.DictReader(file)]
    trained = tmp_path / "trained.txt"
    trained.write_text("\n".join(reviews))
    config = make_config(
        tmp_path, tiny_preset, kept={"general_texts": f"files:{trained}"}
    )
    # Of these the run holds some out, so it must be few.
    trained.write_text("\n".join(reviews[:60]))
    with pytest.raises(ValueError) as caught:
        experiment.run(config)
    assert "that the run does not train on" in str(caught.value)
    assert "trained.txt:" in str(caught.value)
    # What the message says, done.
    texts = pathlib.Path(general["general_texts"].removeprefix("files:")).read_text()
    trained.write_text(texts + "\n".join(reviews[:60]))
    report = experiment.run(config).report
    facts = report["kept"]["texts"]
    assert facts["num_left_out"] > 20
    assert facts["num_texts"] == facts["num_available"] - facts["num_left_out"]


def test_a_probe_of_one_label_is_refused(
    tmp_path: pathlib.Path, tiny_preset: str
) -> None:
    probe = tmp_path / "probe.csv"
    rows = [f"text {row} of a kind,{'a' if row < 58 else 'b'}" for row in range(60)]
    probe.write_text("text,label\n" + "\n".join(rows))
    config = make_config(
        tmp_path, tiny_preset, kept={"general_probe": f"files:{probe}"}
    )
    with pytest.raises(ValueError, match="two labels of 5 texts at least.*a 58, b 2"):
        experiment.run(config)
